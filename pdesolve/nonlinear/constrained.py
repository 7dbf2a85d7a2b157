"""Least squares under linear constraints: damped sequential quadratic programs, batched.

At w the step h minimises gᵀh + 1/2 hᵀ(JᵀJ + λD²)h with lower - Cw <= C h <= upper - Cw. The constraints being linear,
every w after the first step is feasible; so the cost alone judges steps, as in Levenberg-Marquardt. A linear problem
takes one step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.block_cholesky import BlockMatrix
from pdesolve.nonlinear.constraints import ActiveRows, joined
from pdesolve.nonlinear.least_squares import LeastSquares, Normal
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, Minimum, prepared
from pdesolve.nonlinear.quadratic_program import QuadraticSolution, quadratic_program
from pdesolve.nonlinear.rows import times, transposed_times
from pdesolve.status import SolveStatus

_FIRST_DAMPING = 1e-3
_LARGEST_DAMPING = 1e16
_FEASIBLE = 1e-8  # of a row's terms: what may be missing where a member counts as converged


@dataclass(frozen=True)
class Shape:
    """How unknowns are grouped: patches by themselves, or all patches of a sample as one member.

    Arguments:
        patches, unknowns: of the problem.
        joint: whether a sample is one member.
    """

    patches: int
    unknowns: int
    joint: bool

    @staticmethod
    def of(problem: LeastSquares) -> Shape:
        _, patches, n = problem.shape
        reaching = any(block.matrix.shape[1] != patches for block in problem.constraints)
        return Shape(patches, n, patches > 1 and (problem.tied or reaching))

    def flat(self, t: Tensor) -> Tensor:
        """(batch, patch, N) by member."""
        return t.flatten(1).unsqueeze(1) if self.joint else t

    def unflat(self, t: Tensor) -> Tensor:
        """The inverse of ``flat``."""
        return t.reshape(t.shape[0], self.patches, self.unknowns)

    def matrix(self, blocks: BlockMatrix) -> Tensor:
        """A block matrix by member, dense."""
        return blocks.dense().unsqueeze(1) if self.joint else blocks.diagonal

    def total(self, t: Tensor) -> Tensor:
        """A sum over patches where they are one member; values that are already by member stay."""
        return t.sum(1, keepdim=True) if self.joint else t

    def largest(self, t: Tensor) -> Tensor:
        return t.amax(1, keepdim=True) if self.joint else t


@dataclass(frozen=True, eq=False)
class _Iterate:
    w: Tensor  # (batch, member, unknown)
    normal: Normal
    damping: Tensor
    growth: Tensor
    newton: Tensor
    feasible: Tensor
    done: Tensor
    failed: Tensor
    infeasible: Tensor
    measure: Tensor
    multipliers: Tensor
    side: Tensor
    degenerate: Tensor
    steps: Tensor


def minimise_constrained(
    problem: LeastSquares, solver: AbstractNonlinearSolver, start: Tensor | None = None
) -> Minimum:
    """min 1/2 |r(w)|² + 1/2 wᵀΓw with lower <= C w <= upper.

    Arguments:
        problem: with constraints; gradients are not recorded.
        solver: gives gtol, max_steps, ridge and whitening.
        start: w to begin from, (batch, patch, N); default zero; it need not be feasible.

    Notes:
        Converged means |L⁻¹(∇ cost + Cᵀy)| <= gtol |r|, with L Lᵀ the matrix of the last step and y its multipliers,
        whose signs and complementarity are those of a minimum, and rows that hold to 1e-8 of their terms. A member that
        no w satisfies ends as INFEASIBLE, at the point of least violation, each row's violation being measured by the
        change of r that removes it.
        Matrices are dense, of a patch or, where rows tie patches, of a whole sample.

    Source: Nocedal & Wright, *Numerical Optimization*, chapter 18 (sequential quadratic programming).
    """
    with torch.no_grad():
        ready = prepared(problem, solver, start)
        shape = Shape.of(ready.problem)
        matrix, lower, upper, equality = joined(ready.problem.constraints, shape.patches, shape.joint)
        sound = torch.isfinite(matrix).flatten(-2).all(-1) & ~(lower.isnan() | upper.isnan()).any(-1)
        finite = _all(ready.finite, shape) & sound
        rows = torch.where(finite[..., None, None], matrix, 0.0)
        low, high = (torch.where(finite.unsqueeze(-1), t, e) for t, e in ((lower, -torch.inf), (upper, torch.inf)))
        at = _started(shape.flat(ready.w), ready.normal, finite, low)
        for _ in range(solver.max_steps):
            active = finite & ~at.done & ~at.failed & ~at.infeasible
            if not bool(active.any()):
                break
            at = _step(ready.problem, shape, solver.gtol, at, active, (rows, low, high, equality))
        return _found(ready.problem, shape, at, finite, ready.normal, ready.transform, ready.rank)


Rows = tuple[Tensor, Tensor, Tensor, Tensor]
"""C, lower, upper, and which rows are equalities."""


def _all(flags: Tensor, shape: Shape) -> Tensor:
    return flags.all(1, keepdim=True) if shape.joint else flags


def _started(w: Tensor, normal: Normal, finite: Tensor, like: Tensor) -> _Iterate:
    zero = torch.zeros_like(w[..., 0])
    no = torch.zeros_like(finite)
    return _Iterate(
        w, normal, zero, zero + 2.0, no, no, no, no, no, torch.full_like(zero, torch.inf),
        torch.zeros_like(like), torch.zeros_like(like, dtype=torch.int8), no.long(), no.long(),
    )  # fmt: skip


def _step(
    problem: LeastSquares, shape: Shape, gtol: float, at: _Iterate, active: Tensor, constraints: Rows
) -> _Iterate:
    rows, lower, upper, equality = constraints
    matrix = _matrix(problem, shape, at, active, rows)
    gradient = shape.flat(at.normal.gradient)
    shift = at.damping.unsqueeze(-1) * matrix.diagonal(dim1=-2, dim2=-1)
    here = times(rows, at.w)
    usable = active[..., None]
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    found = quadratic_program(
        torch.where(usable[..., None], matrix + torch.diag_embed(shift), identity),
        torch.where(usable, gradient, 0.0),
        torch.where(usable[..., None], rows, 0.0),
        torch.where(usable, lower - here, -torch.inf).where(~equality | usable, 0.0),
        torch.where(usable, upper - here, torch.inf).where(~equality | usable, 0.0),
        equality,
    )
    broken = found.broken | found.stalled
    infeasible = active & found.infeasible
    h = torch.where(((active & ~broken) | infeasible).unsqueeze(-1) & torch.isfinite(found.x), found.x, 0.0)
    trial = problem.linearise(shape.unflat(at.w + h))
    accepted = active & ~broken & ~infeasible & _accepts(shape, at, trial, gradient, matrix, h)
    measure = _stationarity(shape, trial, rows, found)
    rejected = active & ~accepted & ~infeasible
    slow = measure > at.measure / 10.0  # a step costs a quadratic program: Newton earlier than without constraints
    newton = (at.newton & ~broken) | (accepted & slow)
    blamed = rejected & ~(broken & at.newton)
    larger = (at.damping * at.growth).clamp_min(_FIRST_DAMPING)
    damping = torch.where(accepted, at.damping / 3.0, torch.where(blamed, larger, at.damping))
    moved, kept = accepted | infeasible, accepted.unsqueeze(-1)
    return _Iterate(
        w=torch.where(moved.unsqueeze(-1), at.w + h, at.w),
        normal=_selected(shape, moved, trial, at.normal),
        damping=torch.where(damping < 1e-9, 0.0, damping),
        growth=torch.where(accepted, 2.0, torch.where(blamed, 2.0 * at.growth, at.growth)),
        newton=newton,
        feasible=at.feasible | accepted,
        done=at.done | (accepted & (measure <= gtol) & _holds(at.w + h, rows, lower, upper)),
        failed=at.failed | (rejected & (damping > _LARGEST_DAMPING)),
        infeasible=at.infeasible | infeasible,
        measure=torch.where(accepted, measure, at.measure),
        multipliers=torch.where(kept, found.multipliers, at.multipliers),
        side=torch.where(kept, found.side, at.side),
        degenerate=torch.where(accepted, found.degenerate, at.degenerate),
        steps=at.steps + active,
    )


def _matrix(problem: LeastSquares, shape: Shape, at: _Iterate, active: Tensor, rows: Tensor) -> Tensor:
    """The Gauss-Newton matrix by member; the full Hessian for members that converge slowly.

    That one need be positive definite on the null space of the active rows only. Their squares are added, which changes
    no step along them.
    """
    gram = shape.matrix(at.normal.gram)
    newton = at.newton & active
    if not bool(newton.any()):
        return gram
    full = shape.matrix(problem.hessian(shape.unflat(at.w), at.normal.gram))
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    held = torch.where(at.side.unsqueeze(-1) != 0, rows / torch.where(length > 0.0, length, 1.0), 0.0)
    largest = gram.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None]
    return torch.where(newton[..., None, None], full + largest * (held.mT @ held), gram)


def _accepts(shape: Shape, at: _Iterate, trial: Normal, gradient: Tensor, matrix: Tensor, h: Tensor) -> Tensor:
    """Whether the cost falls by a part of what the model says; a first step makes w feasible at any cost."""
    old, new, size = shape.total(at.normal.cost), shape.total(trial.cost), shape.largest(at.normal.magnitude)
    predicted = -(gradient * h).sum(-1) - 0.5 * (times(matrix, h) * h).sum(-1)
    eps = torch.finfo(h.dtype).eps
    noise = 1e2 * eps * old + (1e2 * eps * size) ** 2
    # Where rounding left a row violated the model itself may rise on the way back.
    risen = 2.0 * predicted.clamp_max(0.0) - 10.0 * noise
    falls = torch.where(predicted <= noise, old - new >= risen, old - new > 1e-4 * predicted)
    return (falls | ~at.feasible) & torch.isfinite(new)


def _holds(w: Tensor, rows: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Whether all rows hold at w, by member, each to round-off of its own terms."""
    moved, terms = times(rows, w), times(rows.abs(), w.abs())
    bound = torch.where(moved > upper, upper, torch.where(moved < lower, lower, 0.0)).abs()
    beyond = torch.maximum(moved - upper, lower - moved)
    return (beyond <= _FEASIBLE * torch.maximum(terms, bound)).all(-1)


def _stationarity(shape: Shape, normal: Normal, rows: Tensor, found: QuadraticSolution) -> Tensor:
    """|L⁻¹(∇ cost + Cᵀy)| / |r|, what round-off leaves taken off."""
    force = shape.flat(normal.gradient) + transposed_times(rows, found.multipliers)
    scaled = torch.linalg.solve_triangular(found.factor, force.unsqueeze(-1), upper=False).squeeze(-1)
    norm = (2.0 * shape.total(normal.cost)).clamp_min(0.0).sqrt()
    floor = 1e3 * torch.finfo(norm.dtype).eps * shape.largest(normal.magnitude)
    pull = torch.linalg.vector_norm(found.multipliers * torch.linalg.vector_norm(rows, dim=-1), dim=-1)
    pulled = 1e2 * torch.finfo(norm.dtype).eps * pull / found.factor.diagonal(dim1=-2, dim2=-1).amin(-1)
    tiny = torch.finfo(norm.dtype).tiny
    left: Tensor = (torch.linalg.vector_norm(scaled, dim=-1) - floor - pulled).clamp_min(0.0)
    return left / norm.clamp_min(tiny)


def _selected(shape: Shape, accepted: Tensor, new: Normal, old: Normal) -> Normal:
    """``new`` for the members in ``accepted``, with the members of this module."""
    patches = accepted.expand(-1, shape.patches)
    cost = accepted if new.cost.shape[1] == 1 else patches
    coupling = old.gram.coupling
    if old.gram.edges:
        coupling = torch.where(accepted[..., None, None], new.gram.coupling, coupling)
    diagonal = torch.where(patches[..., None, None], new.gram.diagonal, old.gram.diagonal)
    gram = replace(old.gram, diagonal=diagonal, coupling=coupling)
    return Normal(
        torch.where(cost, new.cost, old.cost),
        torch.where(patches.unsqueeze(-1), new.gradient, old.gradient),
        gram,
        torch.where(cost, new.magnitude, old.magnitude),
    )


def _found(
    problem: LeastSquares,
    shape: Shape,
    at: _Iterate,
    finite: Tensor,
    first: Normal,
    transform: Tensor | None,
    rank: Tensor | None,
) -> Minimum:
    status = torch.full_like(at.steps, SolveStatus.STEP_CAP)
    status = torch.where(at.failed, SolveStatus.DIVERGED, status)
    status = torch.where(at.infeasible, SolveStatus.INFEASIBLE, status)
    status = torch.where(at.done, SolveStatus.CONVERGED, status)
    status = torch.where(finite, status, SolveStatus.NON_FINITE)
    every = problem.shape[:2]
    cost = shape.total(at.normal.cost)
    begun = shape.total(first.cost).clamp_min(torch.finfo(cost.dtype).tiny)
    stats = {
        "iterations": at.steps.expand(every),
        "cost": cost.expand(every),
        "relative_residual": (cost / begun).sqrt().expand(every),
        "stationarity": at.measure.expand(every),
        "rank": rank if rank is not None else torch.full(every, shape.unknowns, device=cost.device),
        "active": (at.side != 0).sum(-1).expand(every),
        "degenerate": at.degenerate.expand(every),
    }
    c = shape.unflat(at.w)
    w = c if transform is None else times(transform, c)
    held = ActiveRows(at.multipliers, at.side)
    return Minimum(w, status.expand(every), stats, problem, c, at.normal, transform, held)
