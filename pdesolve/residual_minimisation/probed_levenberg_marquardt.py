"""Levenberg-Marquardt whose trust region is chosen by trying several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.journal import begin, cost_of, first_bad
from pdesolve.residual_minimisation.orthogonal import Orthogonal
from pdesolve.residual_minimisation.spectrum import AbstractFactorisation, Scale, Spectrum
from pdesolve.status import SolveStatus

_SHRINK = 16.0
_RETRIES = 14  # times _SHRINK: 1e-17 of the first radius


@final
@dataclass(frozen=True)
class ProbedLevenbergMarquardt(AbstractMinimiser):
    """θ <- θ + p(Δ), p(Δ) = argmin |r + J p| over |D p| <= Δ, Δ the best of several by the true cost.

    One factorisation of J gives the steps of all radii; each costs one evaluation of r. A ratio of true to predicted
    decrease, which the textbook's method judges one radius by, is not needed.

    Arguments:
        factorisation: how J is decomposed (default ``Orthogonal()``; ``Gram()`` is faster and keeps half the digits,
            ``Sketched(size)`` never forms J).
        probes: the radii tried, as multiples of the last one taken (default 1/8, 1/2, 2, 8, and the undamped step).
        max_steps: default 200.
        gtol: converged where |Jᵀr| <= gtol |J| |r|, columns scaled (default 1e-12).
        ftol: converged where neither the true nor the predicted cost falls by more than ftol of itself (default 1e-9).
        target: converged where the cost is at most this (default 0).

    Raises:
        TypeError, ValueError: a start that is no real vector; probes, steps or tolerances that are not positive.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        CONVERGED also where a step promises less than the round-off of |r|. DIVERGED where no radius lowers the cost.
        Fails silently on no account, but finds the nearest minimum only: resample points or continue in a parameter
        where the landscape has many.

    Good values: ftol 1e-6 for a first solve that others follow.

    Source: Moré 1978 for the trust region and scaling; probing after "DSGNAR", arXiv 2607.02194.
    """

    factorisation: AbstractFactorisation = field(default_factory=Orthogonal)
    probes: Sequence[float] = (0.125, 0.5, 2.0, 8.0, math.inf)
    max_steps: int = 200
    gtol: float = 1e-12
    ftol: float = 1e-9
    target: float = 0.0

    def __post_init__(self) -> None:
        if not self.probes or any(not p > 0 for p in self.probes):
            raise ValueError(f"probes must be positive multiples of the radius, at least one, got {self.probes}")
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if min(self.gtol, self.ftol, self.target) < 0:
            raise ValueError(f"tolerances must not be negative, got {self.gtol}, {self.ftol}, {self.target}")

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        theta, journal, failed = begin(problem, start, watch, self.factorisation.require)
        if failed is not None:
            return failed
        scale, radius, cost = Scale(), math.nan, journal.best_cost
        with torch.no_grad():
            residual = problem.residual(theta)
        while journal.steps < self.max_steps:
            if cost <= self.target:
                return journal.finish(SolveStatus.CONVERGED)
            try:
                with torch.no_grad():
                    model = self.factorisation.spectrum(problem, theta, residual, scale)
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
                return journal.finish(SolveStatus.NON_FINITE, f"step {journal.steps + 1}: {error}")
            if not bool(torch.isfinite(model.coefficients).all() & torch.isfinite(model.values).all()):
                found = first_bad(model.residual)
                return journal.finish(SolveStatus.NON_FINITE, f"step {journal.steps + 1}: the Jacobian, {found}")
            if self._stationary(model):
                return journal.finish(SolveStatus.CONVERGED)
            tried = self._try_radii(problem, theta, model, radius, cost)
            if tried is None:
                hint = "no radius lowers the cost although the linear model says so"
                return journal.finish(SolveStatus.DIVERGED, hint)
            before, predicted = cost, tried.predicted
            theta, cost, radius, residual = tried.theta, tried.cost, tried.radius, tried.residual
            stop = journal.note(theta, cost, radius=radius, predicted=predicted)
            if max(before - cost, predicted) <= self.ftol * before:
                return journal.finish(SolveStatus.CONVERGED)
            if stop:
                break
        return journal.finish(SolveStatus.STEP_CAP)

    def _stationary(self, model: Spectrum) -> bool:
        """The gradient vanishes, or |r| can fall by round-off only."""
        if not len(model.values):
            return True
        size = torch.linalg.vector_norm(model.residual)
        reachable = torch.linalg.vector_norm(model.coefficients)
        left = (size.square() - reachable.square()).clamp_min(0.0).sqrt()
        return bool((model.stationarity <= self.gtol) | (size - left <= model.floor))

    def _try_radii(
        self, problem: AbstractResidual, theta: Tensor, model: Spectrum, radius: float, cost: float
    ) -> _Tried | None:
        newton = float(torch.linalg.vector_norm(model.newton))
        if math.isnan(radius):  # nothing is known yet: spread from the undamped step down to the scale of r
            least = min(newton, float(torch.linalg.vector_norm(model.residual)))
            multiples = [newton * (least / newton) ** (k / 8) for k in range(9)] if newton else [0.0]
        else:
            multiples = [min(radius * probe, newton) for probe in self.probes]
        for _ in range(_RETRIES):
            radii = model.values.new_tensor(sorted(set(multiples)))
            steps = model.within(radii)
            candidates = theta + model.lift(steps)
            # One evaluation for each of a handful of radii.
            with torch.no_grad():
                residuals = [problem.residual(candidate) for candidate in candidates]
            costs = [cost_of(r) for r in residuals]
            best = min(range(len(costs)), key=costs.__getitem__)
            if costs[best] < cost:
                predicted = float(model.predicted(steps)[best])
                taken = float(torch.linalg.vector_norm(steps[best]))
                return _Tried(candidates[best], costs[best], taken, predicted, residuals[best])
            multiples = [m / _SHRINK for m in (min(multiples), min(multiples) * 4, min(multiples) * 0.25)]
        return None


@dataclass(frozen=True, eq=False)
class _Tried:
    """The best of the steps tried."""

    theta: Tensor
    cost: float
    radius: float
    predicted: float
    residual: Tensor
