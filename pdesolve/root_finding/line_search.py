"""How far to go along a Newton direction."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST, _MOST = 0.1, 0.5  # by how much a rejected step is shortened


class AbstractLineSearch(abc.ABC):
    """Judges trial points u + λ d by a measure that has to fall."""

    @abc.abstractmethod
    def measure(self, residual: Tensor, correct: Callable[[Tensor], Tensor]) -> Tensor:
        """What has to fall, (*batch,), at a point with this residual.

        Arguments:
            residual: F there, (*batch, n).
            correct: -J⁻¹ of a residual, J at the start of the step, in the units of the unknowns' scale.
        """

    @abc.abstractmethod
    def enough(self, before: Tensor, after: Tensor, length: Tensor) -> Tensor:
        """Whether the measure fell enough for a step of this length, (*batch,)."""


@dataclass(frozen=True, eq=False)
class Searched:
    """Where a line search ended.

    Arguments:
        u: the new point; the old one where nothing was found.
        residual: F there.
        length: λ, zero where nothing was found.
    """

    u: Tensor
    residual: Tensor
    length: Tensor


def backtrack(
    search: AbstractLineSearch,
    evaluate: Callable[[Tensor], Tensor],
    correct: Callable[[Tensor], Tensor],
    start: tuple[Tensor, Tensor],
    direction: Tensor,
    active: Tensor,
    shortest: float,
) -> Searched:
    """Try λ = 1 and shorter steps until each active member's measure has fallen enough.

    A rejected step is shortened to where a parabola through the measures has its minimum, kept within a tenth and a
    half; a trial point with NaN or Inf counts as too far.

    Arguments:
        start: u and F(u).
        direction: d, (*batch, n).
        active: members to move, (*batch,).
        shortest: λ below which a member gives up.
    """
    u, residual = start
    before = search.measure(residual, correct)
    length, waiting = torch.ones_like(before), active.clone()
    out_u, out_residual = u, residual
    while bool(waiting.any()):
        trial = torch.where(waiting.unsqueeze(-1), u + length.unsqueeze(-1) * direction, u)
        there = evaluate(trial)
        finite = there.isfinite().all(-1)
        after = search.measure(torch.where(finite.unsqueeze(-1), there, 0.0), correct)
        good = waiting & finite & search.enough(before, after, length)
        out_u = torch.where(good.unsqueeze(-1), trial, out_u)
        out_residual = torch.where(good.unsqueeze(-1), there, out_residual)
        waiting = waiting & ~good
        shorter = torch.where(finite & after.isfinite(), _interpolated(before, after, length), _LEAST)
        length = torch.where(waiting, length * shorter, length)
        lost = waiting & (length < shortest)
        length = torch.where(lost, 0.0, length)
        waiting = waiting & ~lost
    return Searched(out_u, out_residual, torch.where(active, length, 0.0))


def _interpolated(before: Tensor, after: Tensor, length: Tensor) -> Tensor:
    """Minimum of the parabola through m²(0), its slope -2 m² and m²(λ), as a part of λ."""
    m, t = before.square(), after.square()
    curvature = t - m + 2.0 * length * m
    best = length * m / torch.where(curvature > 0, curvature, 1.0)
    return torch.where(curvature > 0, best, _MOST).clamp(_LEAST, _MOST)
