"""Gauss-Newton whose steps are found by conjugate gradients on the least-squares problem, J never formed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import (
    AbstractMinimiser,
    AbstractOperatorResidual,
    AbstractResidual,
    Minimised,
    Watch,
)
from pdesolve.residual_minimisation.conjugate_gradients import conjugate_gradients
from pdesolve.residual_minimisation.journal import begin, cost_of
from pdesolve.status import SolveStatus

_STUCK = (
    "no length of the step lowers the cost: functions that are nearly dependent end so, by round-off; take narrower "
    "ones or a minimiser that factorises"
)
_CAPPED = "the last step ran into max_iterations: take more, shorter slabs, or a minimiser that factorises"


@final
@dataclass(frozen=True)
class KrylovGaussNewton(AbstractMinimiser):
    """θ <- θ + α P argmin_z |r + J P z|², α = 1, 1/2, 1/4, ... until 1/2 |r|² falls, z by conjugate gradients (CGLS).

    Arguments:
        tolerance: iterations end where the last ten lower |r + J P z|² by at most this share of it (default 1e-4).
        max_iterations: of each step (default 2 000).
        max_steps: default 30.
        ftol: converged where a step promises to change the cost by at most ftol of itself (default 1e-2).
        shortest: α below which the step is given up (default 1e-6).

    Raises:
        TypeError: in ``minimise`` a residual without products, one that is no ``AbstractOperatorResidual``.
        ValueError: limits that are not positive.

    Notes:
        Memory of a few vectors. What the last iterations hardly lower is not seen: where J P is ill-conditioned a run
        ends as converged with slow modes left. Equations of the first order in time on slabs are its case. Steady flows
        are not: the lid-driven cavity ended with an error of 0.3 in its velocities at a residual no larger than a
        factorisation leaves, which errs by 1e-4. Nor is the second order in time: Klein-Gordon 4e-4 instead of 8e-6.

    Good values: as they are; a smaller tolerance where a tenth of it changes the result.

    Source: Björck, Numerical Methods for Least Squares Problems (1996), sections 7.4 and 9.2.
    """

    tolerance: float = 1e-4
    max_iterations: int = 2000
    max_steps: int = 30
    ftol: float = 1e-2
    shortest: float = 1e-6

    def __post_init__(self) -> None:
        if min(self.max_iterations, self.max_steps) < 1 or not 0 < self.shortest < 1:
            raise ValueError(
                f"max_iterations and max_steps must be at least 1 and shortest in (0, 1), got {self.max_iterations}, "
                f"{self.max_steps} and {self.shortest}"
            )
        if not min(self.tolerance, self.ftol) > 0:
            raise ValueError(f"tolerances must be positive, got {self.tolerance} and {self.ftol}")

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        if not isinstance(problem, AbstractOperatorResidual):
            raise TypeError(
                f"{type(problem).__name__} gives its Jacobian as a matrix: use LineSearchGaussNewton or "
                "ProbedLevenbergMarquardt"
            )
        theta, journal, failed = begin(problem, start, watch)
        if failed is not None:
            return failed
        cost = journal.best_cost
        with torch.no_grad():
            while journal.steps < self.max_steps:
                if cost == 0.0:
                    return journal.finish(SolveStatus.CONVERGED)
                r, jacobian = problem.operator(theta)
                found = conjugate_gradients(jacobian, -r, self.tolerance, self.max_iterations)
                step = jacobian.lifted(found.solution)
                if not bool(torch.isfinite(step).all()):
                    return journal.finish(SolveStatus.NON_FINITE, f"step {journal.steps + 1}")
                if found.lowered <= self.ftol * cost and found.iterations < self.max_iterations:
                    return journal.finish(SolveStatus.CONVERGED)
                length = 1.0
                while not (trial := cost_of(problem.residual(theta + length * step))) < cost:
                    length *= 0.5
                    if length < self.shortest:
                        return journal.finish(SolveStatus.DIVERGED, _STUCK)
                theta, cost = theta + length * step, trial
                if journal.note(theta, cost, length=length, iterations=float(found.iterations)):
                    break
        capped = journal.steps and journal.history["iterations"][-1] >= self.max_iterations
        return journal.finish(SolveStatus.STEP_CAP, _CAPPED if capped else "")
