"""The V-cycle."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.linalg.multigrid.hierarchy import Hierarchy, Level


def v_cycle(grids: Hierarchy, b: Tensor) -> Tensor:
    """x near A⁻¹ b: (batch, *grid) -> (batch, *grid).

    Linear in b, symmetric (restriction is the transpose of interpolation, and the sweeps commute), and positive
    definite because the sweeps contract; so conjugate gradients may use it.
    """
    x = torch.empty_like(b)
    _descend(grids, 0, b, x)
    return x


def _descend(grids: Hierarchy, depth: int, b: Tensor, x: Tensor) -> None:
    """The cycle from a level downwards; the result goes to ``x``."""
    if depth == len(grids.levels):
        x.copy_((b.flatten(1) @ grids.inverse).reshape(b.shape))
        return
    level = grids.levels[depth]
    kept = level.buffers(b)
    r, scratch = kept
    torch.mul(b, level.step, out=x)
    for factor in level.factors[1:]:
        x.addcmul_(level.stencil.residual(x, b, r, scratch), level.step, value=factor)
    coarse = level.stencil.residual(x, b, r, scratch)
    for transfer in level.transfers:
        coarse = transfer.restricted(coarse)
    correction = torch.empty_like(coarse)
    _descend(grids, depth + 1, coarse, correction)
    _correct(level, correction, x)
    for factor in reversed(level.factors):
        x.addcmul_(level.stencil.residual(x, b, r, scratch), level.step, value=factor)
    level.spare.append(kept)


def _correct(level: Level, u: Tensor, x: Tensor) -> None:
    """x += P u, the last axis that was coarsened first."""
    for transfer in reversed(level.transfers[1:]):
        shape = list(u.shape)
        shape[transfer.dim] = transfer.fine
        finer = u.new_zeros(shape)
        transfer.add_prolonged(u, finer)
        u = finer
    level.transfers[0].add_prolonged(u, x)
