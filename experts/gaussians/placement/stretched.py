"""Gaussians moved along the axes, each axis by a density of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, positive_int
from pdesolve.domains.sampling import SobolSampler
from pdesolve.experts.gaussians.cloud import MARGIN, GaussianCloud
from pdesolve.experts.gaussians.layout import AxisMap
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit
from pdesolve.experts.gaussians.placement.indicator import CurvatureIndicator, Monitor

_LOOKED_AT = 64  # points for each bin of a density
_SMOOTH = 0.02  # of the extent: a density changes by no more than a factor over that
_STEEPEST = 1e-3  # slope of a map at least, so that centres never meet


def axis_map(box: Box, axis: str, at: Tensor, density: Tensor, bins: int = 64) -> AxisMap:
    """x(s) that spreads equal steps of s by the largest density that any point of that coordinate has.

    The mean would overlook a front that stands there for a part of the time.

    Arguments:
        box: the domain.
        axis: which.
        at: coordinates along it of points that fill the box evenly, (m,).
        density: there, (m,), positive.
        bins: pieces of the map (default 64).
    """
    low, high = box.bounds(axis)
    index = ((at - low) / (high - low) * bins).long().clamp(0, bins - 1)
    marginal = density.new_zeros(bins).scatter_reduce_(0, index, density, "amax")
    steps = torch.arange(bins, dtype=density.dtype, device=density.device)
    kernel = torch.exp(-(steps[:, None] - steps).abs() / (_SMOOTH * bins))
    marginal = (kernel / kernel.sum(1, keepdim=True)) @ marginal
    marginal = marginal / marginal.mean()
    cumulative = torch.cat([marginal.new_zeros(1), marginal.clamp_min(_STEEPEST).cumsum(0)])
    ends = torch.linspace(low, high, bins + 1, dtype=density.dtype, device=density.device)
    return AxisMap.by_density(ends, cumulative, 4 * bins)


def density_maps(fit: GaussianFit, fitted: Fitted, monitor: Monitor, generator: torch.Generator) -> dict[str, AxisMap]:
    """Maps of all axes, such as a ``Layout`` takes, by a density of a first coarse solution."""
    box, device = fit.problem.box, fitted.cloud.centres.device
    bins = 64
    drawn = SobolSampler().sample(box, _LOOKED_AT * bins, generator, torch.float64, device)
    at = {axis: value.flatten() for axis, value in drawn.items()}
    density = monitor.at(fit, fitted, torch.stack([at[a] for a in box.axes], dim=1))
    return {axis: axis_map(box, axis, at[axis], density, bins) for axis in box.axes}


def stretched(cloud: GaussianCloud, maps: Mapping[str, AxisMap]) -> GaussianCloud:
    """Centres moved by x(s), s the share of the extent at which they stood; widths by its slope.

    Periodic axes stay as they are: a map of the ends onto themselves would tear them.
    """
    centres, factors = cloud.centres.clone(), torch.ones_like(cloud.centres)
    widths = cloud.covariance.widths()
    for j, axis in enumerate(cloud.domain.axes):
        if axis not in maps or axis in cloud.periodic:
            continue
        (low, high), length = cloud.domain.bounds(axis), cloud.domain.extent(axis)
        s = (centres[:, j] - low) / length
        reach = 0.5 * widths[:, j] / length
        factors[:, j] = (maps[axis](s + reach) - maps[axis](s - reach)) / (2.0 * reach * length)
        room = MARGIN * length
        centres[:, j] = maps[axis](s).clamp(low - room, high + room)
    return GaussianCloud(cloud.domain, centres, cloud.covariance.scaled(factors), cloud.periodic)


@final
@dataclass(frozen=True)
class Stretched(AbstractPlacement):
    """Every axis stretched so that Gaussians are as dense along it as a monitor asks for.

    Arguments:
        monitor: density by residual or curvature of the solution so far (default ``Monitor(CurvatureIndicator())``).
        rounds: how often the density is taken anew, always from the even cloud (default 2).

    Raises:
        ValueError: rounds below one.

    Notes:
        Products of maps: for fronts along axes, not for those that run askew, nor single peaks among many.
        Costs a fit for each round. A round that does not lower the residual on new points is dropped, and ends it.

    Good values: two rounds; a first solution that is no solution yet shows where the front is all the same.
    """

    monitor: Monitor = field(default_factory=lambda: Monitor(CurvatureIndicator()))
    rounds: int = 2

    def __post_init__(self) -> None:
        positive_int(self.rounds, "rounds")

    def place(self, fit: GaussianFit, cloud: GaussianCloud, generator: torch.Generator) -> Fitted:
        best = fit.fit(cloud, generator)
        for _ in range(self.rounds):
            if best.residual == math.inf:
                break
            maps = density_maps(fit, best, self.monitor, generator)
            tried = fit.carried_on(stretched(cloud, maps), best, generator)
            best = fit.better(best, tried, generator)
            if not best.history["accepted"][-1]:
                break
        return best
