"""Gaussians with weights on one box: the whole domain, or one slab of time that hands its end over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import BOUNDARIES, Box
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.lifted import lifted_terms
from pdesolve.experts.gaussians.state import State
from pdesolve.experts.gaussians.sums import sums
from pdesolve.frames.abstract import AbstractLifting
from pdesolve.pde.trace import Term
from pdesolve.residual_minimisation.problem_rows import ProblemRows


@final
@dataclass(frozen=True, eq=False)
class Slab:
    """u_f = g_f + m_f Σ_i c_fi φ_i on a box.

    Arguments:
        cloud: φ.
        lifting: g and m.
        fields: names, in the order of the weights.
        weights: c, (fields, N).
        layout: where Gaussians and points stood at first.
    """

    cloud: GaussianCloud
    lifting: AbstractLifting
    fields: tuple[str, ...]
    weights: Tensor
    layout: Layout

    @property
    def box(self) -> Box:
        """Where it holds."""
        return self.cloud.domain

    def values(self, points: Tensor, parameters: Mapping[str, Tensor], term: str = "") -> Tensor:
        """∂^α u at points (m, d), (fields, m)."""
        at = {axis: points[:, j] for j, axis in enumerate(self.box.axes)}
        found = self._terms(at, parameters, [(f, term) for f in self.fields])
        return torch.stack([found[f, term] for f in self.fields])

    def residual(self, rows: Sequence[ProblemRows], parameters: Mapping[str, Tensor]) -> Tensor:
        """r, (m,), on rows of a problem."""
        return torch.cat(
            [
                piece.residual(self._terms(piece.coordinates, parameters, piece.terms, piece.opposite), parameters)
                for piece in rows
            ]
        )

    def _terms(
        self,
        at: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        terms: Sequence[Term],
        opposite: Mapping[str, Tensor] | None = None,
    ) -> dict[Term, Tensor]:
        lifted = lifted_terms(self.lifting, at, parameters, terms, opposite)
        of_v = self._sums(at, lifted.needed)
        if opposite is not None:
            far = self._sums(opposite, lifted.needed)
            of_v = {beta: value - far[beta] for beta, value in of_v.items()}
        return lifted.values({(f, b): value[j] for b, value in of_v.items() for j, f in enumerate(self.fields)})

    def _sums(self, at: Mapping[str, Tensor], terms: Sequence[str]) -> dict[str, Tensor]:
        points = torch.stack([at[axis] for axis in self.box.axes], dim=1)
        return sums(self.cloud, points, self.weights, terms)


def handed_on(slab: Slab, state: State) -> State:
    """The state at the end of a slab, exactly: the Gaussians in space are the same, only their weights move on.

    Arguments:
        slab: whose Gaussians are the products of its layout.
        state: what it set out from.
    """
    end, weights = slab.box.bounds("t")[1], slab.weights
    in_time = slab.layout.along(("t",)).cloud(weights.device)
    ended = {}
    for own, (name, before) in zip(weights, state.weights.items(), strict=True):
        orders = ["t" * k for k in range(len(before))]
        table = in_time.table(weights.new_tensor([[end]]), orders)
        rates = torch.cat([weights.new_zeros(0, in_time.size), *table.values()])  # (orders, n_t)
        moved = rates @ own.reshape(in_time.size, -1)
        lifted = slab.lifting.imposes(name, BOUNDARIES["t"][0])
        ended[name] = before + (end - state.time) * moved if lifted else moved
    return State(end, state.basis, ended)
