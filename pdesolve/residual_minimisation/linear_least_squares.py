"""One least-squares solve for rows that are affine in the parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractKeepingMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.damped_qr import DampedQR, Factorise, require_damped_qr
from pdesolve.residual_minimisation.journal import begin, cost_of
from pdesolve.residual_minimisation.spectrum import round_off
from pdesolve.status import SolveStatus


@final
@dataclass(frozen=True)
class LinearLeastSquares(AbstractKeepingMinimiser):
    """θ = θ₀ + argmin_p |r + J p|² + μ² |D p|², D the norms of J's columns, by orthogonal transformations.

    Arguments:
        damping: μ (default 1e-14: what makes a rank-deficient J, which Gaussians that overlap have, as good as a full
            one; larger where the data hold noise).
        refinements: solves of the same factors for what is left (default 1).
        factorise: gives the factors (default ``DampedQR``; a ``KeptQR()`` keeps them from one problem to the next).

    Raises:
        ValueError: rows that are not affine in θ; a negative damping or number of refinements.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        2 (m + n) n² operations. More parameters than rows are allowed: the smallest step that fits is taken.

    Source: Björck, Numerical Methods for Least Squares Problems (1996), section 2.7.
    """

    damping: float = 1e-14
    refinements: int = 1
    factorise: Factorise = DampedQR

    def __post_init__(self) -> None:
        if not self.damping >= 0 or self.refinements < 0:
            raise ValueError(
                f"damping and refinements must not be negative, got {self.damping} and {self.refinements}: "
                "leave them out for 1e-14 and 1"
            )

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        theta, journal, failed = begin(problem, start, watch, require_damped_qr)
        if failed is not None:
            return failed
        with torch.no_grad():
            r, jacobian = problem.linearise(theta)
            if not bool(torch.isfinite(jacobian).all()):
                return journal.finish(SolveStatus.NON_FINITE, "the Jacobian holds NaN or Inf at the start")
            factors = self.factorise(jacobian, self.damping)
            shared, factors.served = factors.served, True
            for _ in range(1 + self.refinements):
                step = factors.solve(-r)
                if not bool(torch.isfinite(step).all()):
                    return journal.finish(SolveStatus.SINGULAR, "columns of the Jacobian are dependent: take a damping")
                moved = problem.residual(theta + step)
                self._check_affine(moved, r, jacobian, step, theta)
                if cost_of(moved) < journal.best_cost or not journal.steps:
                    theta, r = theta + step, moved
                journal.note(theta, cost_of(r))
        return replace(journal.finish(SolveStatus.CONVERGED), shared=shared)

    def recall(self, problem: AbstractResidual, start: Tensor) -> None:
        if self.factorise is not DampedQR:  # which keeps nothing
            with torch.no_grad():
                self.factorise(problem.linearise(start)[1], self.damping).served = True

    def _check_affine(self, moved: Tensor, r: Tensor, jacobian: Tensor, step: Tensor, theta: Tensor) -> None:
        off = torch.linalg.vector_norm(moved - r - jacobian @ step)
        size = torch.linalg.vector_norm(r) + torch.linalg.vector_norm(jacobian @ step)
        # One more than |θ| + |p|: rows that vanish at the start are round-off of terms that θ does not show.
        round_offs = round_off(jacobian, theta.abs() + step.abs() + 1.0)
        if not bool(off <= 1e-8 * size + 1e3 * round_offs):
            raise ValueError(
                f"the residual is not affine in its parameters: it differs from r + J p by {float(off / size):.1e} of "
                "itself: use ProbedLevenbergMarquardt, or hold the nonlinear parameters fixed"
            )
