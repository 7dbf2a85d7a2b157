"""Strictly convex quadratic programs, batched: every member ends with a solution or a reason."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.nonlinear.active_set import ActiveSet
from pdesolve.nonlinear.crossover import settled
from pdesolve.nonlinear.least_distance import Nearest, least_distance
from pdesolve.nonlinear.optimality import Conditions, Point, largest
from pdesolve.nonlinear.rows import times, transposed_times

_ELASTIC = 1e-7
_CONSISTENT = 1e-8
_EMPTY = 1e-9
_FEASIBLE = 1e-13
_WEAK = 1e-7
_EXACT = 1e-9  # largest violation of an optimality condition of what counts as solved
_ROUNDING = 1e-6
_PINNED = 1e-13


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
    Its point tells the active set, ``settled`` finds the right one where that is not it, and every member is judged by
    its optimality conditions at the end.

    Arguments:
        matrix: H, (*batch, n, n), symmetric positive definite.
        linear: c, (*batch, n).
        rows: C, (*batch, row, n).
        lower, upper: (*batch, row), infinite where there is no bound.
        equality: (row,), where lower = upper; dependent equalities are allowed. Other rows whose bounds agree to
            round-off are solved as equalities too.

    Notes:
        Members that depend on data beyond round-off, as rows do that differ by 1e-10 and have one bound, may end as
        infeasible although the numbers before rounding are not.

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
    pinned = _pinned(lower, upper, equality)
    fixed = ActiveSet.of(unit, pinned)
    start = fixed.nearest(above)
    miss = torch.where(pinned, times(unit, start) - above, 0.0)
    noise = _ROUNDING * _norm(origin)
    contradictory = _norm(miss) > _CONSISTENT * (_norm(torch.where(pinned, above, 0.0)) + noise)
    free = _Inequalities.of(unit, above, below, pinned, fixed, start, noise)
    near = free.solved(origin)
    shift, y, side = free.point(near, start, fixed)
    conditions = Conditions(unit, above, below, pinned, free.scale + _norm(start) + noise)
    impossible = contradictory | free.blocked
    begun = Point(shift, y, side, conditions.error(shift, y))
    found, none = settled(conditions, begun, ~(impossible | broken))
    infeasible = (impossible | none) & ~broken
    if bool(infeasible.any()):
        shift, y, side = free.point(free.softened(near, infeasible), start, fixed)
        found = Point(shift, y, side, found.error).where(infeasible, found)
    x = _back(factor, origin + found.shift)
    miss = (torch.where(found.side > 0, upper, torch.where(found.side < 0, lower, 0.0)) - times(rows, x)) / length
    closer = x + _back(factor, ActiveSet.of(unit, found.side != 0).nearest(miss))  # what rounding left of active rows

    def outside(x: Tensor) -> Tensor:
        moved = times(rows, x)
        return largest((torch.maximum(moved - upper, lower - moved) / length).clamp_min(0.0))

    x = torch.where((~infeasible & (outside(closer) < outside(x))).unsqueeze(-1), closer, x)
    # A row whose two bounds agree rests on the one that pushes.
    side = torch.where(pinned & ~equality & (found.multipliers < 0.0), -1, found.side).to(torch.int8)
    stalled = ~infeasible & ~broken & ~(found.error <= _EXACT)
    y = found.multipliers / length
    return QuadraticSolution(x, y, side, free.degenerate(near), factor, broken, infeasible, stalled)


def _pinned(lower: Tensor, upper: Tensor, equality: Tensor) -> Tensor:
    """Rows that are equations: an interior point has no room between bounds that agree to round-off."""
    width = upper - lower
    return equality | (torch.isfinite(width) & (width <= _PINNED * torch.maximum(lower.abs(), upper.abs())))


def _back(factor: Tensor, z: Tensor) -> Tensor:
    """L⁻ᵀz."""
    x: Tensor = torch.linalg.solve_triangular(factor.mT, z.unsqueeze(-1), upper=True).squeeze(-1)
    return x


def _norm(t: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(t, dim=-1)
    return length


@dataclass(frozen=True, eq=False)
class _Inequalities:
    """The other rows in the null space of the equalities, of length one, in units of the largest violation.

    Arguments:
        rows: (*batch, m, n).
        room: (*batch, 2, m).
        whole: the rows before, (*batch, m, n).
        pinned: which of them are equations, (*batch, m).
        length: of their part in the null space.
        scale: the unit, (*batch,); zero where nothing is violated.
        blocked: (*batch,), where a row that nothing can move is violated.
    """

    rows: Tensor
    room: Tensor
    whole: Tensor
    pinned: Tensor
    length: Tensor
    scale: Tensor
    blocked: Tensor

    @staticmethod
    def of(
        rows: Tensor, above: Tensor, below: Tensor, pinned: Tensor, fixed: ActiveSet, start: Tensor, noise: Tensor
    ) -> _Inequalities:
        free = fixed.without(rows)
        length = torch.linalg.vector_norm(free, dim=-1)
        empty = length <= _EMPTY
        length = torch.where(empty, 1.0, length)
        moved = times(rows, start)
        room = torch.stack([above - moved, below + moved], -2) / length.unsqueeze(-2)
        room = torch.where(pinned.unsqueeze(-2), torch.inf, room)
        allowed = _CONSISTENT * (_norm(start) + noise)
        blocked = (empty.unsqueeze(-2) & (room < -allowed[..., None, None])).flatten(-2).any(-1)
        room = torch.where(empty.unsqueeze(-2), torch.inf, room)
        unit = torch.where(empty.unsqueeze(-1), 0.0, free / length.unsqueeze(-1))
        violated = -room.flatten(-2).amin(-1) if room.shape[-1] else torch.zeros_like(room.sum((-1, -2)))
        return _Inequalities(unit, room, rows, pinned, length, violated.clamp_min(0.0), blocked)

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

    def point(self, near: Nearest, start: Tensor, fixed: ActiveSet) -> tuple[Tensor, Tensor, Tensor]:
        """(shift from z₀, multipliers, side) of all rows."""
        shift = start + self.scale.unsqueeze(-1) * near.v
        own = self.scale[..., None, None] * near.multipliers / self.length.unsqueeze(-2)
        y = own[..., 0, :] - own[..., 1, :]
        y = y + fixed.multipliers(shift + transposed_times(self.whole, y))
        side = near.active[..., 0, :].to(torch.int8) - near.active[..., 1, :].to(torch.int8)
        return shift, y, torch.where(self.pinned, 1, side).to(torch.int8)

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
    return Nearest(v, zero, zero.bool())


def _chosen(first: Tensor, a: Nearest, b: Nearest) -> Nearest:
    """``a`` for the members in ``first``, else ``b``."""
    one, two = first.unsqueeze(-1), first[..., None, None]
    return Nearest(
        torch.where(one, a.v, b.v),
        torch.where(two, a.multipliers, b.multipliers),
        torch.where(two, a.active, b.active),
    )
