"""Strictly convex quadratic programs, batched: every member ends with a solution or a reason."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.nonlinear.active_set import ActiveSet
from pdesolve.nonlinear.least_distance import Nearest, least_distance
from pdesolve.nonlinear.rows import times, transposed_times

_ELASTIC = 1e-7
_CONSISTENT = 1e-8
_EMPTY = 1e-9
_FEASIBLE = 1e-13
_WEAK = 1e-7
_EXACT = 1e-9
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class QuadraticSolution:
    """What ``quadratic_program`` returns.

    Arguments:
        x: the minimiser, (*batch, n); of an infeasible member about the point of least violation, in the metric of H.
        multipliers: y, (*batch, row), with H x + c + Cᵀy = 0; positive at an upper bound, negative at a lower one.
        side: 1 where a row rests on its upper bound or is an equality, -1 on its lower one, else 0.
        degenerate: active rows whose multiplier is zero, (*batch,): one-sided derivatives differ there.
        factor: L with H = L Lᵀ.
        broken, infeasible, stalled: (*batch,); none: solved.
    """

    x: Tensor
    multipliers: Tensor
    side: Tensor
    degenerate: Tensor
    factor: Tensor
    broken: Tensor
    infeasible: Tensor
    stalled: Tensor


def quadratic_program(
    matrix: Tensor, linear: Tensor, rows: Tensor, lower: Tensor, upper: Tensor, equality: Tensor
) -> QuadraticSolution:
    """min_x 1/2 xᵀH x + cᵀx with lower <= C x <= upper.

    With H = L Lᵀ, z = Lᵀx and z₀ = -L⁻¹c this is the nearest point to z₀; equalities leave z₀ + p + v with p of least
    length and v in their null space; what is left is ``least_distance`` in units of the largest violation at v = 0.

    Arguments:
        matrix: H, (*batch, n, n), symmetric positive definite.
        linear: c, (*batch, n).
        rows: C, (*batch, row, n).
        lower, upper: (*batch, row), infinite where there is no bound.
        equality: (row,), where lower = upper; dependent equalities are allowed.

    Source: Lawson & Hanson, *Solving Least Squares Problems*, chapter 23 (reduction to the least distance).
    """
    n = matrix.shape[-1]
    factor, info = torch.linalg.cholesky_ex(matrix)
    broken = (info != 0) | ~torch.isfinite(factor).flatten(-2).all(-1)
    identity = torch.eye(n, dtype=matrix.dtype, device=matrix.device)
    factor = torch.where(broken[..., None, None], identity, factor)
    unit = torch.linalg.solve_triangular(factor, rows.mT, upper=False).mT
    length = torch.linalg.vector_norm(unit, dim=-1)
    length = torch.where(length > 0.0, length, 1.0)
    unit = unit / length.unsqueeze(-1)
    origin = -torch.linalg.solve_triangular(factor, linear.unsqueeze(-1), upper=False).squeeze(-1)
    above, below = upper / length - times(unit, origin), times(unit, origin) - lower / length
    fixed = ActiveSet.of(unit, equality.expand(above.shape))
    start = fixed.nearest(above)
    miss = torch.where(equality, times(unit, start) - above, 0.0)
    size = 1.0 + torch.linalg.vector_norm(torch.where(equality, above, 0.0), dim=-1)
    contradictory = torch.linalg.vector_norm(miss, dim=-1) > _CONSISTENT * size
    free = _Inequalities.of(unit[..., ~equality, :], above[..., ~equality], below[..., ~equality], fixed, start)
    near = free.solved(origin)
    infeasible = (contradictory | free.blocked | near.infeasible) & ~broken
    if bool(infeasible.any()):
        near = free.softened(near, infeasible)
    shift = start + free.scale.unsqueeze(-1) * near.v
    y = torch.zeros_like(above)
    own = free.scale[..., None, None] * near.multipliers / free.length.unsqueeze(-2)
    y[..., ~equality] = own[..., 0, :] - own[..., 1, :]
    y = y + fixed.multipliers(shift + transposed_times(unit, y))
    side = equality.to(torch.int8).expand(above.shape).clone()
    side[..., ~equality] = near.active[..., 0, :].to(torch.int8) - near.active[..., 1, :].to(torch.int8)
    exact = _on_active_set(unit, above, below, equality, side, free.scale + _ROUNDING * _norm(origin))
    better = exact.good & ~infeasible
    shift = torch.where(better.unsqueeze(-1), exact.shift, shift)
    y = torch.where(better.unsqueeze(-1), exact.multipliers, y) / length
    x = _back(factor, origin + shift)
    miss = (torch.where(side > 0, upper, torch.where(side < 0, lower, 0.0)) - times(rows, x)) / length
    closer = _back(factor, exact.rows.nearest(miss))  # what rounding left of the rows that hold
    x = torch.where(better.unsqueeze(-1), x + closer, x)
    stalled = ~infeasible & ~near.solved & ~broken & ~better
    return QuadraticSolution(x, y, side, free.degenerate(near), factor, broken, infeasible, stalled)


@dataclass(frozen=True, eq=False)
class _Exact:
    """The point of an active set.

    Arguments:
        rows: the active ones.
        shift: from z₀, (*batch, n).
        multipliers: (*batch, row).
        good: (*batch,), where it is feasible and its multipliers have the right sign.
    """

    rows: ActiveSet
    shift: Tensor
    multipliers: Tensor
    good: Tensor


def _on_active_set(unit: Tensor, above: Tensor, below: Tensor, equality: Tensor, side: Tensor, scale: Tensor) -> _Exact:
    """z₀ + G_A⁺ b_A, refined once."""
    rows = ActiveSet.of(unit, side != 0)
    goal = torch.where(side > 0, above, torch.where(side < 0, -below, 0.0))
    shift = rows.nearest(goal)
    shift = shift + rows.nearest(goal - times(unit, shift))
    y = rows.multipliers(shift)
    moved = times(unit, shift)
    outside = torch.maximum(moved - above, -below - moved).clamp_min(0.0)
    wrong = torch.where(equality, 0.0, -y * side)
    good = (_most(outside) <= _EXACT * scale) & (_most(wrong) <= _EXACT * (scale + _most(y.abs())))
    return _Exact(rows, shift, y, good)


def _back(factor: Tensor, z: Tensor) -> Tensor:
    """L⁻ᵀz."""
    x: Tensor = torch.linalg.solve_triangular(factor.mT, z.unsqueeze(-1), upper=True).squeeze(-1)
    return x


def _most(t: Tensor) -> Tensor:
    """The largest entry, zero of none."""
    return t.amax(-1) if t.shape[-1] else t.sum(-1)


def _norm(t: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(t, dim=-1)
    return length


@dataclass(frozen=True, eq=False)
class _Inequalities:
    """The other rows in the null space of the equalities, of length one, in units of the largest violation.

    Arguments:
        rows: (*batch, m, n).
        room: (*batch, 2, m).
        length: of the rows before.
        scale: the unit, (*batch,); zero where nothing is violated.
        blocked: (*batch,), where a row that nothing can move is violated.
    """

    rows: Tensor
    room: Tensor
    length: Tensor
    scale: Tensor
    blocked: Tensor

    @staticmethod
    def of(rows: Tensor, above: Tensor, below: Tensor, fixed: ActiveSet, start: Tensor) -> _Inequalities:
        free = fixed.without(rows)
        length = torch.linalg.vector_norm(free, dim=-1)
        empty = length <= _EMPTY
        length = torch.where(empty, 1.0, length)
        moved = times(rows, start)
        room = torch.stack([above - moved, below + moved], -2) / length.unsqueeze(-2)
        blocked = (empty.unsqueeze(-2) & (room < -_CONSISTENT)).flatten(-2).any(-1)
        room = torch.where(empty.unsqueeze(-2), torch.inf, room)
        unit = torch.where(empty.unsqueeze(-1), 0.0, free / length.unsqueeze(-1))
        violated = -room.flatten(-2).amin(-1) if room.shape[-1] else torch.zeros_like(room.sum((-1, -2)))
        return _Inequalities(unit, room, length, violated.clamp_min(0.0), blocked)

    def solved(self, origin: Tensor) -> Nearest:
        """The nearest point; nothing is computed where no member violates a row."""
        size = 1.0 + torch.linalg.vector_norm(origin, dim=-1)
        free = self.scale <= _FEASIBLE * size
        if bool(free.all()):
            return _resting(self, torch.zeros_like(origin))
        near = least_distance(self._shown(free), self._units(free))
        return _chosen(free, _resting(self, torch.zeros_like(origin)), near)

    def softened(self, near: Nearest, infeasible: Tensor) -> Nearest:
        """Infeasible members at their point of least violation."""
        free = ~infeasible | (self.scale <= 0.0)
        if bool(free.all()):
            return near
        return _chosen(free, near, least_distance(self._shown(free), self._units(free), _ELASTIC))

    def degenerate(self, near: Nearest) -> Tensor:
        """Number of rows without room and without a multiplier."""
        scale = torch.where(self.scale > 0.0, self.scale, 1.0)[..., None, None]
        moved = times(self.rows, near.v)
        room = self.room / scale - torch.stack([moved, -moved], -2)
        return ((room.abs() < _WEAK) & (near.multipliers < _WEAK)).flatten(-2).sum(-1)

    def _units(self, free: Tensor) -> Tensor:
        """The room in units of the scale; none to respect for the members in ``free``."""
        scale = torch.where(free, 1.0, self.scale)[..., None, None]
        return torch.where(free[..., None, None], torch.inf, self.room / scale)

    def _shown(self, free: Tensor) -> Tensor:
        return torch.where(free[..., None, None], 0.0, self.rows)


def _resting(problem: _Inequalities, v: Tensor) -> Nearest:
    """Nothing moves."""
    zero = torch.zeros_like(problem.room)
    none = torch.zeros_like(problem.blocked)
    return Nearest(v, zero, zero.bool(), ~none, none)


def _chosen(first: Tensor, a: Nearest, b: Nearest) -> Nearest:
    """``a`` for the members in ``first``, else ``b``."""
    one, two = first.unsqueeze(-1), first[..., None, None]
    return Nearest(
        torch.where(one, a.v, b.v),
        torch.where(two, a.multipliers, b.multipliers),
        torch.where(two, a.active, b.active),
        torch.where(first, a.solved, b.solved),
        torch.where(first, a.infeasible, b.infeasible),
    )
