"""Gaussians moved and reshaped together with their weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.gaussians.cloud import MARGIN, GaussianCloud
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit, carried
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt

_DAMPING = 1e-3  # of the first weights: large ones that cancel let no Gaussian move
_NARROWEST, _WIDEST = 0.05, 20.0  # of the widths at the start of a round


def _default() -> AbstractMinimiser:
    return ProbedLevenbergMarquardt(max_steps=40, ftol=1e-4)


@final
@dataclass(frozen=True)
class Trained(AbstractPlacement):
    """min over weights, centres and covariances of 1/2 |r|², from the field of the fixed cloud.

    Its weights are fitted to that field anew with some damping: those of overlapping Gaussians are large and cancel,
    and then none can move.

    Arguments:
        minimiser: of all parameters, weights first (default ``ProbedLevenbergMarquardt(max_steps=40, ftol=1e-4)``;
            ``VariableProjection(N · fields)`` eliminates the weights).
        rounds: each on new points (default 3).

    Raises:
        TypeError, ValueError: no minimiser, rounds below one.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        Points are drawn for all unknowns, N (fields + d + k) of them with k numbers of a covariance, so a step costs
        (1 + 2d)³ times as much as one in the weights of a scalar field with diagonal covariances. After each round
        the weights are fitted anew; a round that does not lower the residual on new points is dropped, and ends it.
        Centres stay where a cloud may have them, widths within 1/20 and 20 of the round's first.

    Good values: some hundred Gaussians; more of them that stay are cheaper for smooth solutions.
    """

    minimiser: AbstractMinimiser = field(default_factory=_default)
    rounds: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.minimiser, AbstractMinimiser):
            raise TypeError(f"minimiser must be an AbstractMinimiser, got {type(self.minimiser).__name__}")
        positive_int(self.rounds, "rounds")

    def place(self, fit: GaussianFit, cloud: GaussianCloud, generator: torch.Generator) -> Fitted:
        best = fit.fit(cloud, generator)
        weights = carried(best, cloud, generator, _DAMPING) if best.residual < math.inf else best.weights
        for _ in range(self.rounds):
            if best.residual == math.inf:
                break
            tried = self._moved(fit, best.cloud, weights, generator)
            best = fit.better(best, tried, generator)
            if not best.history["accepted"][-1]:
                break
            weights = best.weights
        return best

    def _moved(self, fit: GaussianFit, cloud: GaussianCloud, weights: Tensor, generator: torch.Generator) -> Fitted:
        unknowns = fit.unknowns(cloud) + cloud.centres.numel() + cloud.covariance.numbers.numel()
        residual = fit.residual_of(cloud, fit.draw(cloud, unknowns, generator), trained=True)
        bounded = _Bounded(residual)
        ended = self.minimiser.minimise(bounded, residual.start(weights))
        found, moved, _ = residual.split(bounded.clamped(ended.theta))
        return fit.fit(moved, generator, found, unknowns)


@final
class _Bounded(AbstractResidual):
    """r of centres moved back to where a cloud may have them; infinite for widths out of bounds."""

    def __init__(self, residual: GaussianResidual) -> None:
        cloud = residual.cloud
        self._residual, self._widths = residual, cloud.covariance.widths()
        box = cloud.domain
        lower = [box.bounds(a)[0] - MARGIN * box.extent(a) for a in box.axes]
        upper = [box.bounds(a)[1] + MARGIN * box.extent(a) for a in box.axes]
        n, first = cloud.size, residual.n_weights
        self._centres = slice(first, first + n * len(box.axes))
        self._lower, self._upper = (cloud.centres.new_tensor(e).repeat_interleave(n) for e in (lower, upper))

    @property
    def n_rows(self) -> int:
        """m."""
        return self._residual.n_rows

    def clamped(self, theta: Tensor) -> Tensor:
        """Centres back on the edge."""
        moved = theta.clone()
        moved[self._centres] = torch.minimum(torch.maximum(theta[self._centres], self._lower), self._upper)
        return moved

    def residual(self, theta: Tensor) -> Tensor:
        at = self.clamped(theta)
        ratio = self._residual.split(at)[1].covariance.widths() / self._widths
        if not bool(((ratio > _NARROWEST) & (ratio < _WIDEST)).all()):
            return theta.new_full((self._residual.n_rows,), torch.inf)
        return self._residual.residual(at)

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        r, jacobian = self._residual.linearise(self.clamped(theta))
        centres = theta[self._centres]
        jacobian[:, self._centres] *= ((centres >= self._lower) & (centres <= self._upper)).to(r)
        return r, jacobian
