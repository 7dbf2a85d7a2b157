"""Gaussians added where the residual is large, and removed where they do nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit
from pdesolve.experts.gaussians.placement.neighbours import nearest, spacings
from pdesolve.experts.gaussians.placement.redrawn import weighted_lloyd
from pdesolve.residual_minimisation.damped_qr import DampedQR

_CANDIDATES = 24  # unknowns that rows are drawn for, for each Gaussian that is added
_LLOYD = 3
_DAMPING = 1e-10  # of the factors that tell what a Gaussian is worth
_NARROWEST, _WIDEST = 0.25, 1.0  # of the nearest Gaussian's widths, in one round


def worth(fit: GaussianFit, fitted: Fitted, generator: torch.Generator) -> Tensor:
    """By how much |r|² grows at least if a Gaussian goes and all others are fitted anew, (N,).

    c² / [(JᵀJ)⁻¹]_ii to second order, summed over fields, J with the little damping that overlapping Gaussians need.

    Source: Hassibi & Stork, Second order derivatives for network pruning: optimal brain surgeon, NeurIPS 1992.
    """
    rows = fit.draw(fitted.cloud, fit.unknowns(fitted.cloud), generator)
    residual = fit.residual_of(fitted.cloud, rows)
    theta = residual.start(fitted.weights)
    _, jacobian = residual.linearise(theta)
    total: Tensor = theta.square() / DampedQR(jacobian, _DAMPING).variances()
    return total.reshape(-1, fitted.cloud.size).sum(0)


@final
@dataclass(frozen=True)
class Adapted(AbstractPlacement):
    """Rounds of: new Gaussians where the residual is large, others out that the fit does not miss.

    Centres are drawn from new rows, of the equation and of conditions, by their parts of |r|², and spread by a few
    Lloyd steps. Each takes the shape of the nearest Gaussian, narrowed by how much closer its neighbours are now.
    Gaussians leave if |r|² grows by less than ``idle`` of itself without them, and, where the count is full, so many of
    the least worth as are added.

    Arguments:
        rounds: default 6.
        share: of the count, added in a round (default 0.15).
        limit: largest count (default that of the first cloud).
        idle: default 1e-6.

    Raises:
        TypeError, ValueError: rounds below one, a share outside (0, 1), a limit below the first cloud's count, an
            ``idle`` that is negative.

    Notes:
        A round that does not lower the residual on new points is dropped, and the next one moves half as many. Costs
        a fit and a factorisation for each round.

    Good values: share 0.1 to 0.3. Growing from a coarse cloud to the limit did better than exchange at a full count in
        some cases and much worse in others (examples/benchmarks/placements.py): the residual says which.
    """

    rounds: int = 6
    share: float = 0.15
    limit: int | None = None
    idle: float = 1e-6

    def __post_init__(self) -> None:
        positive_int(self.rounds, "rounds")
        if self.limit is not None:
            positive_int(self.limit, "limit")
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share must be in (0, 1), got {self.share}: 0.1 to 0.3 are usual")
        if not 0.0 <= self.idle < 1.0:
            raise ValueError(f"idle must be in [0, 1), got {self.idle}")

    def place(self, fit: GaussianFit, cloud: GaussianCloud, generator: torch.Generator) -> Fitted:
        limit = cloud.size if self.limit is None else self.limit
        if limit < cloud.size:
            raise ValueError(
                f"limit is {limit}, the first cloud has {cloud.size} Gaussians: raise it, or start coarser"
            )
        best, share = fit.fit(cloud, generator), self.share
        for _ in range(self.rounds):
            number = math.ceil(share * best.cloud.size)
            if best.residual == math.inf or number < 1:
                break
            changed = self._changed(fit, best, number, limit, generator)
            best = fit.better(best, fit.carried_on(changed, best, generator), generator)
            share *= 1.0 if best.history["accepted"][-1] else 0.5
        return best

    def _changed(
        self, fit: GaussianFit, before: Fitted, number: int, limit: int, generator: torch.Generator
    ) -> GaussianCloud:
        cloud = before.cloud
        value = worth(fit, before, generator)
        order = value.argsort()
        spent = value[order].cumsum(0)
        idle = int((spent < self.idle * before.residual**2).sum())
        out = min(max(idle, cloud.size + number - limit, 0), cloud.size - 1)
        kept = order[out:].sort().values
        added = _new_centres(fit, before, number, generator)
        units = cloud.covariance.widths()
        near = nearest(cloud, added, cloud.centres, units)
        centres = torch.cat([cloud.centres[kept], added])
        source = torch.cat([kept, near])
        usual = spacings(cloud, cloud.centres, units).median()
        factors = (spacings(cloud, centres, units[source]) / usual).clamp(_NARROWEST, _WIDEST)
        factors[: len(kept)] = 1.0
        shape = cloud.covariance.replaced(cloud.covariance.numbers[source])
        return GaussianCloud(
            cloud.domain, centres, shape.scaled(factors.unsqueeze(1).expand_as(centres)), cloud.periodic
        )


def _new_centres(fit: GaussianFit, before: Fitted, number: int, generator: torch.Generator) -> Tensor:
    """Drawn from new rows, those of conditions too, each by its part of |r|²."""
    cloud = before.cloud
    rows = fit.draw(cloud, max(_CANDIDATES * number, fit.unknowns(cloud)), generator)
    residual = fit.residual_of(cloud, rows)
    with torch.no_grad():
        squares = residual.residual(residual.start(before.weights)).square()
    parts = squares.split([piece.count for piece in rows])
    mass = torch.cat([p.reshape(piece.n_equations, -1).sum(0) for p, piece in zip(parts, rows, strict=True)])
    points = torch.cat([torch.stack([piece.coordinates[a] for a in cloud.domain.axes], dim=1) for piece in rows])
    if not bool((mass.sum() > 0) & torch.isfinite(mass.sum())):
        mass = torch.ones_like(mass)
    mass = mass + 1e-12 * mass.max()  # so that as many can be drawn as are asked for
    chosen = torch.multinomial(mass.to(generator.device), number, generator=generator).to(points.device)
    return weighted_lloyd(cloud, points, mass, points[chosen], _LLOYD)
