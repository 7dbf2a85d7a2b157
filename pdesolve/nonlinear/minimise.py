"""The one loop that runs every nonlinear solver: counting, NaN checks, masks and status live here."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.execution import AbstractExecution, Eager
from pdesolve.nonlinear.constraints import ActiveRows
from pdesolve.nonlinear.least_squares import LeastSquares, Normal
from pdesolve.nonlinear.members import Members
from pdesolve.nonlinear.ridge import AbstractRidge
from pdesolve.nonlinear.rows import times
from pdesolve.nonlinear.whitening import Whitening
from pdesolve.status import SolveStatus


@dataclass(frozen=True, eq=False)
class Iterate:
    """Where every member stands.

    Arguments:
        w: unknowns, (batch, patch, N).
        normal: linearisation at w.
        stationarity: ``stationarity(normal)``.
        memory: what the solver keeps, tensors by member.
        failed: members on which the solver gave up, with no step left to try.
        curved: members that the next step should know second derivatives for, by member; they are asked for once in a
            few steps, and members that wait take a step without.
    """

    w: Tensor
    normal: Normal
    stationarity: Tensor
    memory: dict[str, Tensor]
    failed: Tensor
    curved: Tensor

    def part(self, members: Members) -> Iterate:
        """Where some members stand."""
        memory = {name: members.cut(value) for name, value in self.memory.items()}
        by_member = (self.w, self.stationarity, self.failed, self.curved)
        w, measure, failed, curved = (members.cut(t) for t in by_member)
        return Iterate(w, members.normal(self.normal), measure, memory, failed, curved)

    def joined(self, members: Members, part: Iterate) -> Iterate:
        """All members, with what ``part`` has become of some."""
        return Iterate(
            members.put(self.w, part.w),
            members.put_normal(self.normal, part.normal),
            members.put(self.stationarity, part.stationarity),
            {name: members.put(value, part.memory[name]) for name, value in self.memory.items()},
            members.put(self.failed, part.failed),
            members.put(self.curved, part.curved),
        )


class AbstractNonlinearSolver(abc.ABC):
    """A method that improves w step by step; ``minimise`` owns the loop around it."""

    max_steps: int
    gtol: float
    ridge: AbstractRidge
    whitening: Whitening
    execution: AbstractExecution = Eager()

    @abc.abstractmethod
    def init(self, problem: LeastSquares, w: Tensor, normal: Normal) -> Iterate:
        """The first iterate."""

    @abc.abstractmethod
    def step(self, problem: LeastSquares, iterate: Iterate, active: Tensor, curved: bool) -> Iterate:
        """One step for the members in ``active``; the others keep their w.

        It must not wait for the device: nothing in it may branch on a tensor's values.

        Arguments:
            curved: whether any active member was in ``iterate.curved`` when that was last looked at.
        """

    def terminate(self, iterate: Iterate) -> Tensor:
        """Which members are stationary: max_j |J_j·r| / (|J_j| |r|) <= gtol, or zero to round-off."""
        return iterate.stationarity <= self.gtol


@dataclass(frozen=True, eq=False)
class Minimum:
    """What ``minimise`` returns.

    Arguments:
        w: unknowns of the problem as given, (batch, patch, N).
        status: ``SolveStatus`` codes, (batch, patch).
        stats: by name, each (batch, patch): iterations, cost, relative_residual, stationarity, rank.
        problem: the problem that was solved, ridge included, in the solver's own unknowns c.
        c: the unknowns there.
        normal: its linearisation at c.
        transform: w = transform c, or None for w = c.
        held: multipliers of the constraints, if the problem has any.
    """

    w: Tensor
    status: Tensor
    stats: dict[str, Tensor]
    problem: LeastSquares
    c: Tensor
    normal: Normal
    transform: Tensor | None = None
    held: ActiveRows | None = None


def stationarity(normal: Normal) -> Tensor:
    """max_j |J_j·r| / (|J_j| |r| + round-off), by member: the largest cosine between the residual and a column."""
    columns = normal.gram.diagonal.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    tiny = torch.finfo(columns.dtype).tiny
    norm = (2.0 * normal.cost).clamp_min(0).sqrt()
    largest = (normal.gradient.abs() / columns.clamp_min(tiny)).amax(-1)
    if norm.shape != largest.shape:
        largest = largest.amax(1, keepdim=True)
    floor = 1e3 * torch.finfo(columns.dtype).eps * normal.magnitude
    return largest.sub(floor).clamp_min(0) / norm.clamp_min(tiny)


def minimise(problem: LeastSquares, solver: AbstractNonlinearSolver, start: Tensor | None = None) -> Minimum:
    """Run a solver until every member is stationary, has failed, or the step cap is reached.

    Arguments:
        problem: what to minimise; gradients are not recorded.
        solver: the method.
        start: w to begin from, (batch, patch, N); default zero, the lifting.
    """
    if problem.constraints:
        raise ValueError("the problem has constraints: use minimise_constrained")
    with torch.no_grad():
        ready = prepared(problem, solver, start)
        problem, w, normal, finite, transform, rank = ready.parts()
        first = solver.init(problem, w, normal)
        iterate, iterations, done = _loop(problem, solver, first, finite, solver.max_steps, solver.execution)
        status = _status(iterate, finite, done)
        shape = problem.shape[:2]
        initial = normal.cost.clamp_min(torch.finfo(w.dtype).tiny)
        stats = {
            "iterations": iterations.expand(shape),
            "cost": iterate.normal.cost.expand(shape),
            "relative_residual": (iterate.normal.cost / initial).sqrt().expand(shape),
            "stationarity": iterate.stationarity.expand(shape),
            "rank": rank if rank is not None else torch.full(shape, problem.shape[2], device=w.device),
        }
        w = iterate.w if transform is None else times(transform, iterate.w)
        return Minimum(w, status.expand(shape), stats, problem, iterate.w, iterate.normal, transform)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A problem with ridge and whitening, at its starting point.

    Arguments:
        problem: in the unknowns c.
        w: c to begin from.
        normal: the linearisation there.
        finite: which members are finite there.
        transform, rank: of the whitening, if there is one.
    """

    problem: LeastSquares
    w: Tensor
    normal: Normal
    finite: Tensor
    transform: Tensor | None
    rank: Tensor | None

    def parts(self) -> tuple[LeastSquares, Tensor, Normal, Tensor, Tensor | None, Tensor | None]:
        return self.problem, self.w, self.normal, self.finite, self.transform, self.rank


def prepared(problem: LeastSquares, solver: AbstractNonlinearSolver, start: Tensor | None) -> Prepared:
    """What a solver begins with; gradients are not recorded."""
    problem = problem.detached()
    w = problem.zeros() if start is None else start.detach().to(problem.like.dtype)
    look = solver.execution.run(_first_look, problem, solver.ridge, solver.whitening, w)
    if not bool(look.flagged.any()):
        return Prepared(problem.penalised(look.ridge), w, look.penalised, look.finite, None, None)
    if solver.ridge.on_weights:
        problem = problem.penalised(look.ridge)
    transform, rank = solver.whitening.transform(problem, w, look.flagged)
    problem = problem.transformed(transform).penalised(_dropped(transform))
    if start is not None:
        w = times(torch.linalg.pinv(transform), w)
    normal = problem.linearise(w)
    if not solver.ridge.on_weights:
        ridge = _ridge(normal, solver.ridge, look.finite)
        problem, normal = problem.penalised(ridge), problem.regularised(normal, w, ridge)
    return Prepared(problem, w, normal, look.finite, transform, rank)


@dataclass(frozen=True, eq=False)
class _FirstLook:
    """What is seen at the starting point.

    Arguments:
        finite: which members are finite there.
        ridge: Γ.
        penalised: the linearisation with the ridge.
        flagged: which patches need whitening.
    """

    finite: Tensor
    ridge: Tensor
    penalised: Normal
    flagged: Tensor


def _first_look(problem: LeastSquares, ridge: AbstractRidge, whitening: Whitening, w: Tensor) -> _FirstLook:
    normal = problem.linearise(w)
    finite = problem.any_member(~_finite(normal)).logical_not()
    matrix = _ridge(normal, ridge, finite)
    penalised = problem.regularised(normal, w, matrix)
    seen = penalised if ridge.on_weights else normal
    return _FirstLook(finite, matrix, penalised, whitening.flagged(seen.gram.diagonal))


def _loop(
    problem: LeastSquares,
    solver: AbstractNonlinearSolver,
    iterate: Iterate,
    finite: Tensor,
    steps: int,
    execution: AbstractExecution,
) -> tuple[Iterate, Tensor, Tensor]:
    """(last iterate, steps taken by member, which members are stationary).

    The host waits for the device once before every few steps, to see how many members go on. Once half of the members
    are done, the others go on by themselves: a few hard members do not cost the whole batch a pass over all rows in
    every step.
    """
    iterations = torch.zeros_like(finite, dtype=torch.int64)
    done, together = solver.terminate(iterate), _unseen_steps(finite.device)
    active = finite & ~done
    for step in range(0, steps, together):
        count, curved = torch.stack([active.sum(), (active & iterate.curved).sum()]).tolist()
        if count == 0:
            break
        if 2 * (size := execution.size(count)) <= active.numel():
            members = Members(_enlarged(active, size - count), problem.shape[:2])
            part, left = members.problem(problem), steps - step
            rest = _loop(part, solver, iterate.part(members), members.cut(active), left, execution)
            iterate = iterate.joined(members, rest[0])
            return iterate, members.put(iterations, members.cut(iterations) + rest[1]), members.put(done, rest[2])
        for _ in range(min(together, steps - step)):
            iterations = iterations + active
            iterate, done, active = execution.run(_advanced, problem, solver, iterate, active, curved > 0)
    return iterate, iterations, done


def _advanced(
    problem: LeastSquares, solver: AbstractNonlinearSolver, iterate: Iterate, active: Tensor, curved: bool
) -> tuple[Iterate, Tensor, Tensor]:
    """(iterate after a step, which members are stationary, which go on)."""
    iterate = solver.step(problem, iterate, active, curved)
    done = solver.terminate(iterate)
    return iterate, done, active & ~done & ~iterate.failed


def _enlarged(active: Tensor, more: int) -> Tensor:
    """``active`` with some more members, which will stand by."""
    if more == 0:
        return active
    others = (~active).flatten().nonzero()[:more, 0]
    return active.flatten().index_fill(0, others, True).reshape(active.shape)


def _unseen_steps(device: torch.device) -> int:
    """Steps between two looks at the members: a look is free on a CPU, and stalls a GPU."""
    return 1 if device.type == "cpu" else 4


def _status(iterate: Iterate, finite: Tensor, done: Tensor) -> Tensor:
    status = torch.full_like(finite, SolveStatus.STEP_CAP, dtype=torch.int64)
    status = torch.where(iterate.failed, SolveStatus.DIVERGED, status)
    status = torch.where(done, SolveStatus.CONVERGED, status)
    return torch.where(finite, status, SolveStatus.NON_FINITE)


def _ridge(normal: Normal, ridge: AbstractRidge, finite: Tensor) -> Tensor:
    """Γ, that of a member that is not finite being the ridge of a zero matrix."""
    gram = normal.gram.diagonal
    return ridge.matrix(torch.where(finite[..., None, None], gram, torch.zeros_like(gram)))


def _finite(normal: Normal) -> Tensor:
    """(batch, patch), where everything is finite."""
    cost = torch.isfinite(normal.cost)
    return cost & torch.isfinite(normal.gradient).all(-1) & torch.isfinite(normal.gram.diagonal).flatten(-2).all(-1)


def _dropped(transform: Tensor) -> Tensor:
    """A unit diagonal on the unknowns that whitening left out, whose columns are zero."""
    return torch.diag_embed((transform.abs().amax(-2) == 0).to(transform.dtype))
