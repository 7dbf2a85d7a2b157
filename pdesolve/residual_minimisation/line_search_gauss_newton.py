"""Gauss-Newton by orthogonal transformations, the step shortened until the cost falls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.damped_qr import DampedQR, require_damped_qr
from pdesolve.residual_minimisation.journal import begin, cost_of
from pdesolve.residual_minimisation.spectrum import round_off
from pdesolve.status import SolveStatus

_PAYS = 0.6  # of the cost that a chord may leave for the next to be taken


@final
@dataclass(frozen=True)
class LineSearchGaussNewton(AbstractMinimiser):
    """θ <- θ + α argmin_p |r + J p|² + μ² |D p|², α = 1, 1/2, 1/4, ... until 1/2 |r|² falls.

    Arguments:
        damping: μ, as for ``LinearLeastSquares`` (default 1e-14).
        max_steps: default 50.
        ftol: converged where a step changes the cost by at most ftol of itself, or promises no more (default 1e-4).
        target: converged where the cost is at most this (default 0).
        shortest: α below which the step is given up (default 1e-6).
        chords: further steps on the factors of a step, as long as each lowers the cost by two fifths (default 0).

    Raises:
        ValueError: limits that are not positive.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        With chords, factors also say when to stop: where a step by those of the step before lowers the cost by less
        than ftol of itself, none are made. 2 (m + n) n² operations a step, a fraction of ``ProbedLevenbergMarquardt``:
        for problems nearly linear in θ, such as weights of fixed Gaussians on a nonlinear equation. Where parameters
        enter nonlinearly take the latter.

    Source: Björck, Numerical Methods for Least Squares Problems (1996), section 9.2.
    """

    damping: float = 1e-14
    max_steps: int = 50
    ftol: float = 1e-4
    target: float = 0.0
    shortest: float = 1e-6
    chords: int = 0

    def __post_init__(self) -> None:
        if self.max_steps < 1 or not 0 < self.shortest < 1:
            raise ValueError(
                f"max_steps must be at least 1 and shortest in (0, 1), got {self.max_steps} and {self.shortest}"
            )
        if min(self.damping, self.ftol, self.target, self.chords) < 0:
            raise ValueError(
                f"tolerances and chords must not be negative, got {self.damping}, {self.ftol}, {self.target} and "
                f"{self.chords}"
            )

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        theta, journal, failed = begin(problem, start, watch, require_damped_qr)
        if failed is not None:
            return failed
        cost, factors = journal.best_cost, None
        with torch.no_grad():
            while journal.steps < self.max_steps:
                if cost <= self.target:
                    return journal.finish(SolveStatus.CONVERGED)
                r, jacobian = problem.linearise(theta)
                if not bool(torch.isfinite(jacobian).all()):
                    return journal.finish(SolveStatus.NON_FINITE, f"step {journal.steps + 1}: the Jacobian")
                if self.chords and factors is not None and self._at_rest(r, jacobian, factors):
                    return journal.finish(SolveStatus.CONVERGED)
                factors = DampedQR(jacobian, self.damping)
                step = factors.solve(-r)
                if not bool(torch.isfinite(step).all()):
                    return journal.finish(SolveStatus.SINGULAR, "columns of the Jacobian are dependent: take a damping")
                size, moved = torch.linalg.vector_norm(r), torch.linalg.vector_norm(r + jacobian @ step)
                promised = max(cost - 0.5 * float(moved.square()), 0.0)
                if promised <= self.ftol * cost or bool(size - moved <= round_off(jacobian, theta)):
                    return journal.finish(SolveStatus.CONVERGED)
                length, before = 1.0, cost
                while not (trial := cost_of(problem.residual(theta + length * step))) < cost:
                    length *= 0.5
                    if length < self.shortest:
                        return journal.finish(SolveStatus.DIVERGED, "no length of the step lowers the cost")
                theta, cost = self._along_chords(problem, factors, theta + length * step, trial)
                stop = journal.note(theta, cost, length=length)
                if math.isclose(cost, before, rel_tol=self.ftol):
                    return journal.finish(SolveStatus.CONVERGED)
                if stop:
                    break
        return journal.finish(SolveStatus.STEP_CAP)

    def _at_rest(self, r: Tensor, jacobian: Tensor, factors: DampedQR) -> bool:
        """Whether a step by the factors of the Jacobian before, along the gradient of this one, hardly lowers |r|².

        The gradient must be this one's: r is free of what the Jacobian before could reach as soon as its step is made.
        """
        along = jacobian @ factors.solve_normal(jacobian.mT @ -r)
        lowered = (r @ along).square()
        return bool(lowered <= self.ftol * r.square().sum() * along.square().sum())

    def _along_chords(
        self, problem: AbstractResidual, factors: DampedQR, theta: Tensor, cost: float
    ) -> tuple[Tensor, float]:
        for _ in range(self.chords):
            further = theta + factors.solve(-problem.residual(theta))
            trial = cost_of(problem.residual(further))
            if not trial < cost:
                break
            theta, cost, before = further, trial, cost
            if cost > _PAYS * before:
                break
        return theta, cost
