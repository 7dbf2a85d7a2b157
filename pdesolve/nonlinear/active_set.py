"""Rows that hold as equations: the point nearest to them, what they leave free, and their multipliers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.nonlinear.rows import times, transposed_times

_RANK = 1e-10


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """Some rows of a matrix G, (*batch, m, n), by the singular value decomposition of those alone.

    Rows may depend on each other: points have least length, multipliers too.

    Arguments:
        chosen: which rows, (*batch, k), k being the most there are in a member.
        there: one where a row is there, zero where it fills up.
        count: m.
        left, inverse, basis: U, Σ⁺ and Vᵀ with the rows whose σ is below 1e-10 of the largest zero.
    """

    chosen: Tensor
    there: Tensor
    count: int
    left: Tensor
    inverse: Tensor
    basis: Tensor

    @staticmethod
    def of(rows: Tensor, flags: Tensor) -> ActiveSet:
        """The rows that are marked.

        Arguments:
            rows: G, rows of similar length.
            flags: (*batch, m).
        """
        k = int(flags.sum(-1).max()) if flags.numel() else 0
        marked, chosen = flags.to(torch.int8).topk(k, -1)
        there = marked.to(rows.dtype)
        own = torch.take_along_dim(rows, chosen.unsqueeze(-1), -2) * there.unsqueeze(-1)
        left, sigma, basis = torch.linalg.svd(torch.nan_to_num(own), full_matrices=False)
        keep = sigma > _RANK * sigma[..., :1].clamp_min(torch.finfo(sigma.dtype).tiny)
        inverse = torch.where(keep, 1.0 / torch.where(keep, sigma, 1.0), 0.0)
        return ActiveSet(chosen, there, rows.shape[-2], left, inverse, basis * keep.unsqueeze(-1))

    def nearest(self, target: Tensor) -> Tensor:
        """The shortest v with G v = target on the rows, (*batch, n); the best one where they contradict each other.

        Arguments:
            target: (*batch, m); only the entries of the rows are read.
        """
        own = torch.where(self.there > 0.0, torch.take_along_dim(target, self.chosen, -1), 0.0)
        return transposed_times(self.basis, self.inverse * transposed_times(self.left, own))

    def without(self, vectors: Tensor) -> Tensor:
        """Row vectors (*batch, r, n) with their part in the rows' span taken out."""
        return vectors - (vectors @ self.basis.mT) @ self.basis

    def multipliers(self, force: Tensor) -> Tensor:
        """y with force + Gᵀy = 0 for a force in the rows' span, zero on other rows, (*batch, m)."""
        own = -times(self.left, self.inverse * times(self.basis, force)) * self.there
        return force.new_zeros((*force.shape[:-1], self.count)).scatter_add(-1, self.chosen, own)
