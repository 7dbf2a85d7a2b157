"""The nearest point of a polyhedron to the origin, exactly: a dual active-set method, batched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.nonlinear.active_set import ActiveSet
from pdesolve.nonlinear.optimality import Conditions, Point
from pdesolve.nonlinear.rows import times

_STEPS = 10  # for each unknown, and fifty more
_FEASIBLE = 1e-13
_DEPENDENT = 1e-10  # what is left of a row of length one that depends on others


@dataclass(frozen=True, eq=False)
class _State:
    v: Tensor
    y: Tensor
    side: Tensor
    entering: Tensor  # (*batch,), the row whose multiplier grows
    busy: Tensor  # whether there is one
    running: Tensor
    infeasible: Tensor


def dual_active_set(conditions: Conditions) -> tuple[Point, Tensor]:
    """The point, and which members have none: a row is violated that rows in the way only let grow.

    Begins without inequalities. The row that is violated most gets a multiplier, which grows until the row holds; where
    that of another row falls to zero before, that row leaves. The distance from the origin rises in every step, so no
    active set comes twice.

    Arguments:
        conditions: the problem, (k, row, n).

    Notes:
        Slower than an interior-point method where many rows are active, each step adding one; exact to round-off where
        that one is not: where the polyhedron is tiny seen from the origin, or flat.

    Source: Goldfarb & Idnani, *A numerically stable dual method for solving strictly convex quadratic programs*,
    Math. Program. 27 (1983).
    """
    first = conditions.on(conditions.pinned.to(torch.int8))
    none = torch.zeros_like(conditions.scale, dtype=torch.bool)
    state = _State(first.shift, first.multipliers, first.side, none.long(), none, ~none, none)
    for _ in range(_STEPS * conditions.rows.shape[-1] + 50):
        state = _entering(conditions, state)
        if not bool(state.running.any()):
            break
        state = _step(conditions, state)
    last = conditions.on(state.side)
    own = Point(state.v, state.y, state.side, conditions.error(state.v, state.y))
    mixed = Point(last.shift, state.y, state.side, conditions.error(last.shift, state.y))
    for other in (own, mixed):
        last = other.where(other.error < last.error, last)
    return last, state.infeasible


def _entering(conditions: Conditions, state: _State) -> _State:
    """Members without an entering row get the one that is violated most; without any they are done."""
    outside = torch.where(state.side == 0, conditions.outside(state.v), 0.0)
    worst, row = outside.max(-1)
    violated = worst > _FEASIBLE * conditions.scale
    return replace(
        state,
        entering=torch.where(state.busy, state.entering, row),
        busy=state.running & (state.busy | violated),
        running=state.running & (state.busy | violated),
    )


def _step(conditions: Conditions, state: _State) -> _State:
    """One full step, or one to where a multiplier is zero."""
    place = state.entering.unsqueeze(-1)
    own = torch.take_along_dim(conditions.rows, place.unsqueeze(-1), -2)  # (k, 1, n)
    moved = times(own, state.v)
    above, below = (t.gather(-1, place) for t in (conditions.above, conditions.below))
    upper = moved - above > -below - moved
    sign = torch.where(upper, 1.0, -1.0).to(own.dtype)
    beyond = torch.where(upper, moved - above, -below - moved).squeeze(-1).clamp_min(0.0)
    normal = (sign.unsqueeze(-1) * own).squeeze(-2)
    rows = ActiveSet.of(conditions.rows, state.side != 0)
    left = rows.without(normal.unsqueeze(-2)).squeeze(-2)
    change = rows.multipliers(normal)
    growth = left.square().sum(-1)
    full = torch.where(growth > _DEPENDENT**2, beyond / growth, torch.inf)
    falling = (state.side != 0) & ~conditions.pinned & (change * state.side < 0.0)
    ratio = torch.where(falling, (state.y * state.side).clamp_min(0.0) / (change * state.side).abs(), torch.inf)
    partial, leaving = ratio.min(-1)
    length = torch.minimum(full, partial)
    stuck = state.running & torch.isinf(length)
    going = state.running & ~stuck
    length = torch.where(going, length, 0.0).unsqueeze(-1)
    enters, leaves = going & (full <= partial), going & (partial < full)
    y = state.y + length * change
    y = y.scatter_add(-1, place, length * sign)
    gone = leaves.unsqueeze(-1) & (torch.arange(y.shape[-1], device=y.device) == leaving.unsqueeze(-1))
    there = enters.unsqueeze(-1) & (torch.arange(y.shape[-1], device=y.device) == place)
    side = torch.where(gone, 0, torch.where(there, sign.to(torch.int8), state.side)).to(torch.int8)
    v = torch.where(torch.isfinite(full).unsqueeze(-1), state.v - length * left, state.v)
    return _State(v, torch.where(gone, 0.0, y), side, state.entering, leaves, going, state.infeasible | stuck)
