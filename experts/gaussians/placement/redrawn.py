"""Gaussians drawn anew by a density of the whole domain."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.domains.sampling import SobolSampler
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit
from pdesolve.experts.gaussians.placement.indicator import CurvatureIndicator, Monitor
from pdesolve.experts.gaussians.placement.neighbours import nearest, spacings, wrapped

_CANDIDATES = 32  # for each Gaussian


def weighted_lloyd(cloud: GaussianCloud, points: Tensor, mass: Tensor, centres: Tensor, steps: int) -> Tensor:
    """Centres (n, d) each moved to the centroid of the points nearest to it, several times.

    Arguments:
        cloud: gives extents and periodic axes.
        points: candidates, (m, d).
        mass: of each, (m,).
        centres: at first, (n, d).
        steps: how often.

    Source: Du, Faber & Gunzburger, Centroidal Voronoi tessellations, SIAM Review 41 (1999).
    """
    extents = points.new_tensor([cloud.domain.extent(a) for a in cloud.domain.axes])
    low = points.new_tensor(cloud.domain.lower)
    for _ in range(steps):
        owner = nearest(cloud, points, centres, extents)
        own = wrapped(cloud, points - centres[owner])
        moved = torch.zeros_like(centres).index_add_(0, owner, mass.unsqueeze(1) * own)
        total = mass.new_zeros(len(centres)).index_add_(0, owner, mass)
        centres = centres + moved / total.clamp_min(torch.finfo(mass.dtype).tiny).unsqueeze(1)
    closed = torch.tensor([a in cloud.periodic for a in cloud.domain.axes], device=points.device)
    return torch.where(closed, low + (centres - low).remainder(extents), centres)


@final
@dataclass(frozen=True)
class Redrawn(AbstractPlacement):
    """The Gaussians inside the domain drawn by a monitor, spread by weighted Lloyd steps; as many as before.

    Those beyond the boundary stay. Widths are those of the nearest Gaussian before, times how much closer the
    neighbours are: what the widths were to the spacing of the first cloud they stay.

    Arguments:
        monitor: density by residual or curvature of the solution so far (default ``Monitor(CurvatureIndicator())``).
        rounds: how often (default 2).
        steps: of Lloyd in each (default 10).

    Raises:
        ValueError: rounds or steps below one.

    Notes:
        A round that does not lower the residual on new points is dropped, and ends it. The lattice is lost: where
        the solution is as rough everywhere, even Gaussians on a lattice fit better.
    """

    monitor: Monitor = field(default_factory=lambda: Monitor(CurvatureIndicator()))
    rounds: int = 2
    steps: int = 10

    def __post_init__(self) -> None:
        positive_int(self.rounds, "rounds")
        positive_int(self.steps, "steps")

    def place(self, fit: GaussianFit, cloud: GaussianCloud, generator: torch.Generator) -> Fitted:
        best = fit.fit(cloud, generator)
        for _ in range(self.rounds):
            if best.residual == math.inf:
                break
            tried = fit.carried_on(self._drawn(fit, best, generator), best, generator)
            best = fit.better(best, tried, generator)
            if not best.history["accepted"][-1]:
                break
        return best

    def _drawn(self, fit: GaussianFit, before: Fitted, generator: torch.Generator) -> GaussianCloud:
        cloud = before.cloud
        box, centres = cloud.domain, cloud.centres
        inside = box.contains({axis: centres[:, j] for j, axis in enumerate(box.axes)})
        count = int(inside.sum())
        if not count:
            return cloud
        drawn = SobolSampler().sample(box, _CANDIDATES * count, generator, torch.float64, centres.device)
        points = torch.stack([drawn[a].flatten() for a in box.axes], dim=1)
        density = self.monitor.at(fit, before, points)
        chosen = torch.multinomial(density.to(generator.device), count, generator=generator).to(points.device)
        # Lloyd's density is that of the mass to the power d/(d + 2).
        d = len(box.axes)
        found = weighted_lloyd(cloud, points, density.pow((d + 2) / d), points[chosen], self.steps)
        units = cloud.covariance.widths()
        near = nearest(cloud, found, centres, units)
        moved = torch.cat([centres[~inside], found])
        source = torch.cat([(~inside).nonzero().flatten(), near])
        usual = spacings(cloud, centres, units).median()
        factors = spacings(cloud, moved, units[source]) / usual
        factors = torch.where(torch.arange(len(moved), device=moved.device) < len(moved) - count, 1.0, factors)
        shape = cloud.covariance.replaced(cloud.covariance.numbers[source])
        return GaussianCloud(box, moved, shape.scaled(factors.unsqueeze(1).expand_as(moved)), cloud.periodic)
