"""Networks from fine to coarse with all that a cycle needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.linalg.multigrid.coarsen import coarsened, strengths, strong_axes
from pdesolve.linalg.multigrid.smoother import Chebyshev
from pdesolve.linalg.multigrid.stencil import Stencil
from pdesolve.linalg.multigrid.transfer import AxisTransfer

_log = logging.getLogger(__name__)
_DIRECT = 256  # unknowns that are solved by a dense inverse


@dataclass(frozen=True, eq=False)
class Level:
    """One grid but the coarsest.

    Arguments:
        stencil: A on this grid.
        step: ω_1/diag(A), (*grid).
        factors: ω_k/ω_1.
        transfers: restriction to the next grid, axis after axis.
        spare: buffers to be used again.
    """

    stencil: Stencil
    step: Tensor
    factors: Sequence[float]
    transfers: Sequence[AxisTransfer]
    spare: list[tuple[Tensor, ...]] = field(default_factory=list)

    def buffers(self, b: Tensor) -> tuple[Tensor, ...]:
        """r and scratch for right-hand sides b; from ``spare`` where they fit.

        Taking and giving back are single list operations, so two threads may cycle with one hierarchy.
        """
        try:
            kept = self.spare.pop()
        except IndexError:
            kept = ()
        if kept and kept[0].shape == b.shape:
            return kept
        return torch.empty_like(b), self.stencil.scratch(b)


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """All grids.

    Arguments:
        levels: from the finest.
        inverse: of A on the coarsest grid, dense, (n, n), symmetric; the pseudo-inverse where constants are free.
        grid: the coarsest.
    """

    levels: Sequence[Level]
    inverse: Tensor
    grid: tuple[int, ...]


def hierarchy(stencil: Stencil, smoother: Chebyshev) -> Hierarchy:
    """Coarsen until a dense inverse is cheap; the networks keep the type of ``stencil``."""
    singular, levels = stencil.singular, []
    while torch.Size(stencil.grid).numel() > _DIRECT:
        strength = strengths(stencil)
        axes = strong_axes(strength)
        weights = smoother.weights(min(strength[axis] for axis in axes) / sum(strength))
        coarse, transfers = coarsened(stencil, axes)
        factors = [weight / weights[0] for weight in weights]
        levels.append(Level(stencil, weights[0] / stencil.diagonal(), factors, transfers))
        stencil = coarse
    _log.debug("multigrid: grids %s, then %s solved directly", [level.stencil.grid for level in levels], stencil.grid)
    return Hierarchy(levels, _inverse(stencil, singular), stencil.grid)


def _inverse(stencil: Stencil, singular: bool) -> Tensor:
    double = stencil.with_tensors([t.double() for t in stencil.tensors()])
    n = torch.Size(stencil.grid).numel()
    identity = torch.eye(n, dtype=torch.float64, device=stencil.mass.device)
    matrix = double.product(identity.reshape(n, *stencil.grid)).reshape(n, n)
    constant = torch.full_like(matrix, 1.0 / n)
    size = matrix.diagonal().mean()
    shift = torch.where(size > 0, size, 1.0) if singular else matrix.new_zeros(())
    inverse: Tensor = torch.linalg.inv(matrix + shift * constant)
    if singular:
        inverse = inverse - constant / shift
    return (0.5 * (inverse + inverse.mT)).to(stencil.mass.dtype)
