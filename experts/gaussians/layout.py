"""Where Gaussians and points stand: a lattice, and points, drawn out along each axis by a density."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.domains.sampling import AbstractSampler, SobolSampler
from pdesolve.experts.gaussians.cloud import MARGIN, GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal


@final
@dataclass(frozen=True, eq=False)
class AxisMap:
    """x(s), s in [0, 1], rising and piecewise linear between equally spaced s; straight beyond both ends.

    Arguments:
        knots: x at s = 0, 1/K, ..., 1, strictly rising, (K + 1,).
    """

    knots: Tensor

    @staticmethod
    def uniform(low: float, high: float) -> AxisMap:
        """The straight map."""
        return AxisMap(torch.tensor([low, high], dtype=torch.float64))

    def __call__(self, s: Tensor) -> Tensor:
        """x, any shape."""
        steps = torch.linspace(0.0, 1.0, len(self.knots), dtype=s.dtype, device=s.device)
        return _interpolate(s, steps, self.knots.to(s))

    def slope(self, s: Tensor, reach: float) -> Tensor:
        """(x(s + reach) - x(s - reach)) / (2 reach): dx/ds over a neighbourhood."""
        return (self(s + reach) - self(s - reach)) / (2.0 * reach)


def _interpolate(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Piecewise linear through (x, y), x rising; the first and last pieces go on beyond the ends."""
    piece = torch.searchsorted(x, at.contiguous(), right=True).clamp(1, len(x) - 1)
    low, high = x[piece - 1], x[piece]
    share = (at - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)
    return y[piece - 1] + share * (y[piece] - y[piece - 1])


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """n_a nodes along each axis a, equally spaced in s, and the Gaussians on their products.

    Arguments:
        domain: the box.
        counts: n_a by axis; half a cell of them reaches beyond both ends of an axis that is not periodic.
        maps: x(s) by axis (default straight).
        periodic: axes with images.
    """

    domain: Box
    counts: Mapping[str, int]
    maps: Mapping[str, AxisMap] = field(default_factory=dict)
    periodic: tuple[str, ...] = ()
    outside: float = 1.0

    @property
    def size(self) -> int:
        """N."""
        return math.prod(self.counts[axis] for axis in self.domain.axes)

    def map(self, axis: str) -> AxisMap:
        """x(s) of an axis."""
        return self.maps.get(axis) or AxisMap.uniform(*self.domain.bounds(axis))

    def cloud(self, overlap: float, device: torch.device | None = None) -> GaussianCloud:
        """The Gaussians, their half widths ``overlap`` times the spacing of the nodes.

        Raises:
            ValueError: an overlap that is not positive.
        """
        if not (overlap > 0 and math.isfinite(overlap)):
            raise ValueError(f"overlap must be positive and finite, got {overlap}: 1 to 4 spacings are usual")
        columns, widths = [], []
        for axis in self.domain.axes:
            n = self.counts[axis]
            index = torch.arange(n, dtype=torch.float64, device=device)
            if axis in self.periodic:
                s, step = (index + 0.5) / n, 1.0 / n
            else:
                outside = min(self.outside, (n - 1) / 4)
                step = 1.0 / max(n - 1 - 2 * outside, 1)
                s = (index - outside) * step if n > 1 else index + 0.5
            (low, high), room = self.domain.bounds(axis), MARGIN * self.domain.extent(axis)
            columns.append(self.map(axis)(s).clamp(low - room, high + room))
            widths.append(overlap * step * self.map(axis).slope(s, 1.5 * step))
        centres = torch.stack([c.flatten() for c in torch.meshgrid(*columns, indexing="ij")], dim=1)
        spread = torch.stack([w.flatten() for w in torch.meshgrid(*widths, indexing="ij")], dim=1)
        return GaussianCloud(self.domain, centres, Diagonal.of(spread), self.periodic)


@final
@dataclass(frozen=True, eq=False)
class MappedSampler(AbstractSampler):
    """Points as dense as a layout's Gaussians.

    Arguments:
        layout: gives the maps.
        base: spreads s in the unit cube (default scrambled Sobol points).
    """

    layout: Layout
    base: AbstractSampler = field(default_factory=SobolSampler)

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractSampler.unit_points``."""
        unit = self.base.unit_points(axes, n_boxes, n, generator)
        columns = []
        for j, axis in enumerate(axes):
            low, high = self.layout.domain.bounds(axis)
            columns.append(((self.layout.map(axis)(unit[..., j]) - low) / (high - low)).clamp(0.0, 1.0))
        return torch.stack(columns, dim=-1)
