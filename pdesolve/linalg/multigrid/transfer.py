"""Interpolation along one axis from every second cell, with weights from the conductances."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AxisTransfer:
    """P along one axis: coarse values stay where they are, cells between receive

        u_i = w⁻_i u_{i-1} + w⁺_i u_{i+1} ,   w^∓ = g^∓/(g⁻ + g⁺) ,

    which makes the flux through cell i along the axis continuous: linear for equal conductances, and nearly the value
    on the well conducting side where they differ. A boundary with u = 0 counts as a neighbour of value zero.
    Cells 1, 3, 5, … are kept; of an odd number of wrapped cells the last one too.

    Arguments:
        dim: the axis, counted from the end.
        fine, coarse: cells along the axis.
        wrapped: whether the last cell is the first one's neighbour.
        lower, upper: w⁻ and w⁺ of cells 0, 2, 4, …, broadcasting to the fine grid.
    """

    dim: int
    fine: int
    coarse: int
    wrapped: bool
    lower: Tensor
    upper: Tensor

    def restricted(self, r: Tensor) -> Tensor:
        """P^T r: (..., fine, ...) -> (..., coarse, ...), a new tensor."""
        dim = self.dim
        out = _kept(r, dim, self.wrapped).clone(memory_format=torch.contiguous_format)
        between = _between(r, dim, self.wrapped)
        inner, tail = min(between.shape[dim], self.coarse), between.shape[dim] - 1
        out.narrow(dim, 0, inner).addcmul_(between.narrow(dim, 0, inner), self.upper.narrow(dim, 0, inner))
        out.narrow(dim, 0, tail).addcmul_(between.narrow(dim, 1, tail), self.lower.narrow(dim, 1, tail))
        if self.wrapped:
            last = out.narrow(dim, self.coarse - 1, 1)
            last.addcmul_(between.narrow(dim, 0, 1), self.lower.narrow(dim, 0, 1))
        return out

    def add_prolonged(self, u: Tensor, out: Tensor) -> None:
        """out += P u for u (..., coarse, ...), out (..., fine, ...)."""
        dim = self.dim
        if self.wrapped and self.fine % 2:
            _kept(out.narrow(dim, 0, self.fine - 1), dim, False).add_(u.narrow(dim, 0, self.coarse - 1))
            out.narrow(dim, self.fine - 1, 1).add_(u.narrow(dim, self.coarse - 1, 1))
        else:
            _kept(out, dim, False).add_(u)
        between = _between(out, dim, self.wrapped)
        inner, tail = min(between.shape[dim], self.coarse), between.shape[dim] - 1
        between.narrow(dim, 0, inner).addcmul_(u.narrow(dim, 0, inner), self.upper.narrow(dim, 0, inner))
        between.narrow(dim, 1, tail).addcmul_(u.narrow(dim, 0, tail), self.lower.narrow(dim, 1, tail))
        if self.wrapped:
            last = u.narrow(dim, self.coarse - 1, 1)
            between.narrow(dim, 0, 1).addcmul_(last, self.lower.narrow(dim, 0, 1))


def coarse_size(n: int, wrapped: bool) -> int:
    """Cells that are kept of n."""
    return (n + 1) // 2 if wrapped else n // 2


def _every_second(t: Tensor, dim: int, start: int, stop: int) -> Tensor:
    """A view of t at start, start + 2, …, before stop."""
    index: list[slice] = [slice(None)] * t.ndim
    index[dim] = slice(start, stop, 2)
    return t[tuple(index)]


def _kept(t: Tensor, dim: int, wrapped: bool) -> Tensor:
    n = t.shape[dim]
    odd = _every_second(t, dim, 1, n)
    if wrapped and n % 2:
        return torch.cat([odd, t.narrow(dim, n - 1, 1)], dim)
    return odd


def _between(t: Tensor, dim: int, wrapped: bool) -> Tensor:
    n = t.shape[dim]
    return _every_second(t, dim, 0, n - 1 if wrapped and n % 2 else n)
