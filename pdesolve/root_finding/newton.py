"""Newton's method with a line search, for direct and iterative linear solvers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.checks import guarded
from pdesolve.linalg.choice import default_solver
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.root_finding.forcing import AbstractForcing, ExactSolves
from pdesolve.root_finding.line_search import AbstractLineSearch, backtrack
from pdesolve.root_finding.natural_monotonicity import NaturalMonotonicity
from pdesolve.root_finding.problem import RootProblem
from pdesolve.root_finding.root_finder import AbstractRootFinder, RootResult
from pdesolve.status import SolveStatus

_log = logging.getLogger(__name__)
_REUSED = 1e-9  # a correction so small that the factors before it serve derivatives after it
_ROUND_OFF = 100.0  # machine epsilons below which no tolerance is taken at its word
# Statuses of a linear solve whose direction is still worth a try: the line search judges it.
_USABLE = (SolveStatus.CONVERGED, SolveStatus.STEP_CAP, SolveStatus.ILL_CONDITIONED, SolveStatus.INACCURATE)
# Those whose size is that of the error: what a capped iteration left small may be far from the correction.
_TRUSTED = (SolveStatus.CONVERGED, SolveStatus.ILL_CONDITIONED)
_FALLS = 0.36  # a little below 1/e, between what roots and what poles of any order give; exp(-u) gives 1/e
_TIGHT = 0.1  # relative residual of a linear solve whose solution's size is that of the error


Correct = Callable[[Tensor], Tensor]
"""-J⁻¹ of a residual, J at the start of the step, in the units of the unknowns' scale."""


@dataclass(frozen=True)
class Newton(AbstractRootFinder):
    """u <- u + λ d with J(u) d = -F(u), λ by a line search.

    Converged when the correction, an estimate of the error, is small and J is a model of F that far. Small is
    max_i |d_i|/s_i <= τ = atol + rtol max_i |u_i|/s_i. A model is J where |J⁻¹F| falls to 0.36 of itself with the
    correction added, or where J⁻¹F changes by v, to 0.36 of it, along a step v of size τ: a correction that is all
    round-off does not fall. Roots of order p up to 20 pass, since (1 - 1/p)^p < 1/e; poles, with (1 + 1/p)^-p > 1/e,
    and tails like exp(-u) do not. The residual is not asked: its size says nothing while its units are unknown.

    Arguments:
        solver: of the linear systems (default ``default_solver`` of the Jacobian).
        line_search: default ``NaturalMonotonicity()``, for direct solvers; ``newton_krylov`` takes another.
        forcing: accuracy of the linear solves (default ``ExactSolves()``).
        rtol: default 1e-10, at least 100 machine epsilons.
        atol: default 1e-12, in units of ``scale``.
        scale: s, the typical size of the unknowns, one number for all (default 1) or a tensor (n,).
        max_steps: default 50.
        shortest: λ below which a step is given up (default 1e-8).

    Raises:
        ValueError: limits that cannot be met; when it is run, a scale of another length than u.

    Notes:
        Statuses: ``STEP_CAP``; ``DIVERGED`` where no step along the direction helps (a local minimum, a wrong
        derivative, a tolerance below round-off); ``NON_FINITE`` where F(start) is; the linear solver's where J is
        ``SINGULAR`` and the like. Converges quadratically near a regular root, linearly to a double one.

    Good values: rtol 1e-10 to 1e-6 in float64. Where it fails: a start from a coarser or an easier problem, or
    ``Continuation``.

    Source: Deuflhard, *Newton Methods for Nonlinear Problems* (2004), chapters 2 and 3.
    """

    solver: AbstractLinearSolver | None = None
    line_search: AbstractLineSearch = field(default_factory=NaturalMonotonicity)
    forcing: AbstractForcing = field(default_factory=ExactSolves)
    rtol: float = 1e-10
    atol: float = 1e-12
    scale: float | Tensor = 1.0
    max_steps: int = 50
    shortest: float = 1e-8

    def __post_init__(self) -> None:
        if not (0 <= self.rtol < 1 and 0 <= self.atol < float("inf") and self.rtol + self.atol > 0):
            raise ValueError(f"0 <= rtol < 1, atol >= 0 and one above zero are needed, got {self.rtol}, {self.atol}")
        if not 0 < self.shortest < 1:
            raise ValueError(f"shortest must lie in (0, 1), got {self.shortest}")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise ValueError(f"max_steps must be an integer >= 1, got {self.max_steps!r}")
        scale = torch.as_tensor(self.scale)
        if not bool(((scale > 0) & scale.isfinite()).all()):
            raise ValueError("scale must be positive and finite: it is the typical size of the unknowns")

    def linear_solver(self, operator: AbstractLinearOperator) -> AbstractLinearSolver:
        return self.solver or default_solver(operator)

    def run(self, problem: RootProblem, start: Tensor) -> RootResult:
        with torch.no_grad():
            return _Run(self, problem, start).result()


class _Run:
    """One run: where the members stand."""

    def __init__(self, newton: Newton, problem: RootProblem, start: Tensor) -> None:
        self.newton, self.problem = newton, problem
        self.scale = torch.as_tensor(newton.scale, dtype=start.dtype, device=start.device)
        if self.scale.shape not in ((), start.shape[-1:]):
            raise ValueError(f"scale must be a number or ({start.shape[-1]},), not {tuple(self.scale.shape)}")
        self.u, self.residual = start, problem.residual(start)
        finite = self.residual.isfinite().all(-1)
        running = torch.full(finite.shape, int(SolveStatus.STEP_CAP), device=start.device)
        self.status = torch.where(finite, running, int(SolveStatus.NON_FINITE))
        self.active = finite
        self.iterations = torch.zeros_like(running)
        self.correction = torch.full(finite.shape, torch.inf, dtype=start.dtype, device=start.device)
        self.detail = "" if bool(finite.all()) else _first_bad(self.residual)
        self.state: Any = None
        self.eta = 0.0
        self.ratio: float | None = None

    def result(self) -> RootResult:
        for step in range(self.newton.max_steps):
            if not bool(self.active.any()):
                break
            self._step(step)
        fresh = bool((self.correction[self.status == SolveStatus.CONVERGED] <= _REUSED).all())
        stats = {
            "iterations": self.iterations,
            "correction": self.correction,
            "residual": self.residual.abs().amax(-1),
            "detail": self.detail,
        }
        return RootResult(self.u, self.status, stats, self.state if fresh else None)

    def _step(self, step: int) -> None:
        operator = self.problem.operator(self.u)
        solver = self.newton.linear_solver(operator)
        solver, self.eta = self.newton.forcing.solver(solver, self.ratio, self.eta)
        self.state = solver.init(operator)

        def solved(residual: Tensor) -> LinearResult:
            b = -torch.where(self.active.unsqueeze(-1), residual, 0.0)
            return guarded(b, lambda rhs: solver.compute(self.state, rhs))

        found = solved(self.residual)
        self._stop(self.active & ~_among(found.status, _USABLE), found.status, _why(found, step))
        size, step_size = (self.u / self.scale).abs().amax(-1), (found.value / self.scale).abs().amax(-1)
        self.correction = torch.where(self.active, step_size / torch.where(size > 0, size, 1.0), self.correction)
        rtol = max(self.newton.rtol, _ROUND_OFF * torch.finfo(self.u.dtype).eps)
        allowed = self.newton.atol + rtol * size

        def correct(residual: Tensor) -> Tensor:
            return solved(residual).value / self.scale

        near = self.active & _among(found.status, _TRUSTED) & (step_size <= allowed)
        if self.eta > _TIGHT and bool(near.any()):
            self.ratio = 0.0  # the forcing term's tightest solve comes next
            return
        self._finish(near, found.value, step_size, allowed, correct)
        if bool(self.active.any()):
            self._search(found.value, correct)
        _log.debug("Newton step %d: %d members to go", step, int(self.active.sum()))

    def _finish(self, near: Tensor, direction: Tensor, size: Tensor, allowed: Tensor, correct: Correct) -> None:
        """The last correction, for members where J is a model of F as far as it reaches."""
        if not bool(near.any()):
            return
        last = torch.where(near.unsqueeze(-1), self.u + direction, self.u)
        residual = self.problem.residual(last)
        sound = near & residual.isfinite().all(-1)
        left = correct(torch.where(sound.unsqueeze(-1), residual, 0.0)).abs().amax(-1)
        found = sound & (left <= _FALLS * size)
        if bool((near & ~found).any()):
            found = found | (near & self._modelled(direction, size, allowed, correct))
        kept = (found & sound).unsqueeze(-1)
        self.u, self.residual = torch.where(kept, last, self.u), torch.where(kept, residual, self.residual)
        self.iterations = self.iterations + found
        self._stop(found, torch.full_like(self.status, int(SolveStatus.CONVERGED)), "")

    def _modelled(self, direction: Tensor, size: Tensor, allowed: Tensor, correct: Correct) -> Tensor:
        """Whether J⁻¹(F(u + v) - F(u)) = v to a part of v, for v along the direction and as long as is allowed."""
        reach = (allowed / torch.where(size > 0, size, 1.0)).unsqueeze(-1) * direction
        there = self.problem.residual(self.u + reach)
        change = torch.where(there.isfinite(), there - self.residual, 0.0)
        gap = (correct(change) + reach / self.scale).abs().amax(-1)  # correct has the sign of -J⁻¹
        return there.isfinite().all(-1) & (gap <= _FALLS * allowed)

    def _search(self, direction: Tensor, correct: Correct) -> None:
        before = self.residual.abs().amax(-1)
        found = backtrack(
            self.newton.line_search, self.problem.residual, correct, (self.u, self.residual), direction, self.active,
            self.newton.shortest,
        )  # fmt: skip
        self.iterations = self.iterations + self.active
        self.u, self.residual = found.u, found.residual
        lost = self.active & (found.length == 0)
        self._stop(
            lost, torch.full_like(self.status, int(SolveStatus.DIVERGED)), "no step along the Newton direction helps"
        )
        ratio = self.residual.abs().amax(-1) / torch.where(before > 0, before, 1.0)
        self.ratio = float(torch.where(self.active, ratio, 0.0).max())

    def _stop(self, members: Tensor, status: Tensor, detail: str) -> None:
        if not bool(members.any()):
            return
        self.status = torch.where(members, status, self.status)
        self.active = self.active & ~members
        self.detail = "; ".join(part for part in (self.detail, detail) if part)


def _among(status: Tensor, allowed: tuple[SolveStatus, ...]) -> Tensor:
    return torch.isin(status, torch.tensor([int(s) for s in allowed], device=status.device))


def _why(found: LinearResult, step: int) -> str:
    detail = str(found.stats.get("detail", ""))
    return f"Jacobian at step {step}" + (f": {detail}" if detail else "")


def _first_bad(residual: Tensor) -> str:
    index = tuple(int(i) for i in (~residual.isfinite()).nonzero()[0])
    return f"F(start)[{', '.join(map(str, index))}] is {float(residual[index])}"
