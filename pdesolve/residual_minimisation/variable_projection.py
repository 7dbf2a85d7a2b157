"""Variable projection: parameters in which the rows are linear are eliminated at every step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.damped_qr import DampedQR
from pdesolve.residual_minimisation.journal import begin
from pdesolve.residual_minimisation.memory import jacobian_copies
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.status import SolveStatus


@final
@dataclass(frozen=True)
class VariableProjection(AbstractMinimiser):
    """min over α of min over c of 1/2 |r(c, α)|², r affine in c; θ = (c, α).

    With ∂r/∂c = Q [R; 0] the reduced rows are Q₂ᵀ r, their Jacobian is Q₂ᵀ ∂r/∂α without the term that vanishes
    with r (Kaufman).

    Arguments:
        n_linear: leading entries of θ in which r is affine.
        outer: steps in α (default ``ProbedLevenbergMarquardt(max_steps=50)``).
        damping: of the QR of ∂r/∂c (default 1e-14).

    Raises:
        ValueError: a number of linear entries outside 1 ... n - 1.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Source: Golub & Pereyra, SIAM J. Numer. Anal. 10 (1973); Kaufman, BIT 15 (1975).
    """

    n_linear: int
    outer: ProbedLevenbergMarquardt = field(default_factory=lambda: ProbedLevenbergMarquardt(max_steps=50))
    damping: float = 1e-14

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        theta, journal, failed = begin(problem, start, watch, jacobian_copies(4.0))
        if not 1 <= self.n_linear < len(theta):
            raise ValueError(f"n_linear must be in 1 ... {len(theta) - 1}, got {self.n_linear}: else nothing is left")
        if failed is not None:
            return failed
        reduced = _Reduced(problem, theta[: self.n_linear], self.damping)
        seen: Watch | None = None
        if watch is not None:
            seen = lambda step, alpha, cost: watch(step, reduced.whole(alpha), cost)  # noqa: E731
        found = self.outer.minimise(reduced, theta[self.n_linear :], seen)
        whole = reduced.whole(found.theta)
        final_cost = 0.5 * float(problem.residual(whole).detach().square().sum())
        if not math.isfinite(final_cost):
            return journal.finish(SolveStatus.NON_FINITE, found.detail)
        return Minimised(whole, found.status, found.history, found.detail)


class _Reduced(AbstractResidual):
    """r(c*(α), α) as a function of α."""

    def __init__(self, problem: AbstractResidual, linear: Tensor, damping: float) -> None:
        self._problem, self._linear, self._damping = problem, linear, damping

    def whole(self, alpha: Tensor) -> Tensor:
        """(c*(α), α)."""
        return self._projected(alpha)[0]

    def residual(self, theta: Tensor) -> Tensor:
        return self._projected(theta)[1]

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        whole, _, factors = self._projected(theta)
        r, jacobian = self._problem.linearise(whole)
        # The derivative must be taken at c*, the factors of ∂r/∂c depend on α alone.
        both = factors.beyond(torch.cat([r.unsqueeze(1), jacobian[:, len(self._linear) :]], dim=1))
        return both[:, 0], both[:, 1:]

    def _projected(self, alpha: Tensor) -> tuple[Tensor, Tensor, DampedQR]:
        k = len(self._linear)
        r, jacobian = self._problem.linearise(torch.cat([self._linear, alpha.detach()]))
        factors = DampedQR(jacobian[:, :k], self._damping)
        whole = torch.cat([self._linear + factors.solve(-r), alpha.detach()])
        return whole, factors.beyond(r.unsqueeze(1)).squeeze(1), factors
