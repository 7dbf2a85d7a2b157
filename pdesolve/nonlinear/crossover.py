"""From an interior point to the vertex, edge or face on which a quadratic program has its solution."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.nonlinear.dual_active_set import dual_active_set
from pdesolve.nonlinear.optimality import Conditions, Point

_GOOD = 1e-13  # what an active set has to reach, else the dual method looks for another


def settled(conditions: Conditions, start: Point, wanted: Tensor) -> tuple[Point, Tensor]:
    """The best point found, and which members have none that is feasible.

    The active set of the interior point is tried; rows that depend on each other have multipliers of either sign, so
    those of the interior point are tried with it. What is left goes to ``dual_active_set``.

    Arguments:
        start: of the interior-point method.
        wanted: members to look at, (*batch,).
    """
    exact = conditions.on(start.side)
    best = _better(start, exact, wanted)
    mixed = conditions.error(exact.shift, start.multipliers)
    best = _better(best, Point(exact.shift, start.multipliers, exact.side, mixed), wanted)
    left, infeasible = wanted & (best.error > _GOOD), torch.zeros_like(wanted)
    if not bool(left.any()):
        return best, infeasible
    found, impossible = dual_active_set(conditions[left])
    part = best[left]
    best = best.put(left, found.where((found.error < part.error) & ~impossible, part))
    return best, infeasible.index_put((left,), impossible)


def _better(best: Point, other: Point, wanted: Tensor) -> Point:
    return other.where(wanted & (other.error < best.error), best)
