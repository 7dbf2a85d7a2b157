"""Where Gaussians and points stand: a lattice, and points, drawn out along each axis by a density."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.domains.sampling import AbstractSampler, SobolSampler
from pdesolve.experts.gaussians.cloud import MARGIN, GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal

_CROWDED = 3.0  # spacings from an end over which points crowd like Chebyshev's
_TABLE = 2049
_BEYOND = 0.25  # of the nodes at most stand beyond either end
_ROOM = 0.96  # of the room that a cloud leaves beyond the ends


@final
@dataclass(frozen=True, eq=False)
class AxisMap:
    """x(s), s in [0, 1], rising and piecewise linear between equally spaced s; straight beyond both ends.

    Arguments:
        knots: x at s = 0, 1/K, ..., 1, strictly rising, (K + 1,).

    Raises:
        ValueError: knots that do not rise.
    """

    knots: Tensor

    def __post_init__(self) -> None:
        knots = self.knots
        if knots.ndim != 1 or len(knots) < 2 or not bool((knots[1:] > knots[:-1]).all() & torch.isfinite(knots).all()):
            raise ValueError(
                "a map of an axis must rise with s from 0 to 1, its values finite at two knots at least, got "
                f"shape {tuple(knots.shape)}"
            )

    @staticmethod
    def uniform(low: float, high: float) -> AxisMap:
        """The straight map."""
        return AxisMap(torch.tensor([low, high], dtype=torch.float64))

    @staticmethod
    def of(function: Callable[[Tensor], Tensor], pieces: int = 4096) -> AxisMap:
        """A function that rises from the lower end at s = 0 to the upper end at s = 1.

        Raises:
            ValueError: a function that does not rise.
        """
        return AxisMap(function(torch.linspace(0.0, 1.0, pieces + 1, dtype=torch.float64)))

    @staticmethod
    def by_density(x: Tensor, below: Tensor, pieces: int = 4096) -> AxisMap:
        """Equal steps of s hold equal shares of a density.

        Arguments:
            x: from the lower end to the upper, rising, (m,).
            below: the integral of the density up to there, rising, in any unit, (m,).
            pieces: of the map.
        """
        s = torch.linspace(0.0, 1.0, pieces + 1, dtype=x.dtype, device=x.device)
        knots = _interpolate(s, (below - below[0]) / (below[-1] - below[0]), x)
        return AxisMap(torch.cat([x[:1], knots[1:-1], x[-1:]]))

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
        counts: n_a by axis.
        overlaps: half widths over the spacing of the nodes, one for all axes or by axis (default 2).
        maps: x(s) by axis (default straight).
        periodic: axes with images; along the others nodes stand beyond both ends, as far as Gaussians reach and at
            most half of the extent.
        outside: at most so many beyond either end (default: as many as that).

    Raises:
        ValueError: an overlap that is not positive.
    """

    domain: Box
    counts: Mapping[str, int]
    overlaps: float | Mapping[str, float] = 2.0
    maps: Mapping[str, AxisMap] = field(default_factory=dict)
    periodic: tuple[str, ...] = ()
    outside: float = math.inf

    def __post_init__(self) -> None:
        for axis in self.domain.axes:
            overlap = self._overlap(axis)
            if not (overlap > 0 and math.isfinite(overlap)):
                raise ValueError(f"overlaps must be positive and finite, got {overlap} for {axis!r}: 1 to 4 are usual")

    @property
    def size(self) -> int:
        """N."""
        return math.prod(self.counts[axis] for axis in self.domain.axes)

    def _overlap(self, axis: str) -> float:
        return self.overlaps[axis] if isinstance(self.overlaps, Mapping) else self.overlaps

    def along(self, axes: Sequence[str]) -> Layout:
        """The same on some of the axes."""
        domain = self.domain
        box = Box(tuple(axes), tuple(domain.bounds(a)[0] for a in axes), tuple(domain.bounds(a)[1] for a in axes))
        return replace(self, domain=box, periodic=tuple(a for a in self.periodic if a in axes))

    def map(self, axis: str) -> AxisMap:
        """x(s) of an axis."""
        return self.maps.get(axis) or AxisMap.uniform(*self.domain.bounds(axis))

    def _outside(self, axis: str) -> float:
        """Nodes beyond either end: wide Gaussians need them as neighbours, narrow ones to be summed to round-off.

        At most a quarter of all, and none further away than a cloud allows.
        """
        overlap, n = self._overlap(axis), self.counts[axis]
        low, high = self.domain.bounds(axis)
        room, map = _ROOM * MARGIN * (high - low), self.map(axis)
        outside = min(max(2.0 * overlap, 8.0 / overlap), _BEYOND * (n - 1), self.outside)
        while outside > 0.0:
            reach = outside / (max(n - 1, 1) - 2.0 * outside)
            first, last = map(torch.tensor([-reach, 1.0 + reach], dtype=torch.float64)).tolist()
            if first >= low - room and last <= high + room:
                break
            outside = max(0.0, outside - 0.25)
        return outside

    def _step(self, axis: str) -> float:
        n = self.counts[axis]
        return 1.0 / n if axis in self.periodic else 1.0 / (max(n - 1, 1) - 2.0 * self._outside(axis))

    def cloud(self, device: torch.device | None = None) -> GaussianCloud:
        """The Gaussians, the last axis' nodes running fastest."""
        columns, widths = [], []
        for axis in self.domain.axes:
            n, step = self.counts[axis], self._step(axis)
            index = torch.arange(n, dtype=torch.float64, device=device)
            s = (index + 0.5) * step if axis in self.periodic or n == 1 else (index - self._outside(axis)) * step
            columns.append(self.map(axis)(s))
            widths.append(self._overlap(axis) * step * self.map(axis).slope(s, 1.5 * step))
        centres, spread = (
            torch.stack([c.flatten() for c in torch.meshgrid(*parts, indexing="ij")], dim=1)
            for parts in (columns, widths)
        )
        lines = None if len(columns) == 1 else tuple(self.along((axis,)).cloud(device) for axis in self.domain.axes)
        return GaussianCloud(self.domain, centres, Diagonal.of(spread), self.periodic, lines)

    def place(self, axis: str, share: Tensor) -> Tensor:
        """x below which a share of the points lies; they crowd at ends that are not closed, where Gaussians end.

        The density in s is √(1 + δ/s) √(1 + δ/(1 - s)), δ three spacings: Chebyshev's where nodes are few, even inside
        where they are many.
        """
        if axis in self.periodic:
            return self.map(axis)(share)
        delta = _CROWDED * self._step(axis)
        # s = sin²(φ/2) takes the roots away
        phi = torch.linspace(0.0, math.pi, _TABLE, dtype=share.dtype, device=share.device)
        s = torch.sin(0.5 * phi).square()
        density = ((s + delta) * (1.0 - s + delta)).sqrt()
        below = torch.cumulative_trapezoid(density, phi)
        below = torch.cat([below.new_zeros(1), below / below[-1]])
        return self.map(axis)(torch.sin(0.5 * _interpolate(share, below, phi)).square())

    def points(self, ratio: float, generator: torch.Generator) -> dict[str, Tensor]:
        """A lattice of points by axis, (m,), m about ``ratio`` times the Gaussians; the generator shifts it."""
        share = ratio ** (1.0 / len(self.domain.axes))
        counts = {axis: math.ceil(share * self.counts[axis]) for axis in self.domain.axes}
        return self._lattice(counts, generator)

    def face(self, boundary: str, ratio: float, least: int, generator: torch.Generator) -> dict[str, Tensor]:
        """A lattice of points on a face by axis, (m,).

        Arguments:
            boundary: its name, "initial" too.
            ratio: m over the Gaussians that stand side by side along it.
            least: m at least.
            generator: shifts it.
        """
        face = self.domain.boundary(boundary)
        along = [axis for axis in self.domain.axes if axis != face.axis]
        d = max(len(along), 1)
        counts = {a: math.ceil(max(ratio ** (1.0 / d) * self.counts[a], least ** (1.0 / d))) for a in along}
        return self._lattice(counts, generator, {face.axis: face.position})

    def _lattice(
        self, counts: Mapping[str, int], generator: torch.Generator, at: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """Products of places along all axes, the last running fastest; one place along those of ``at``."""
        columns = []
        for axis in self.domain.axes:
            if at and axis in at:
                columns.append(torch.tensor([at[axis]], dtype=torch.float64, device=generator.device))
                continue
            n, device = counts[axis], generator.device
            shift = 0.25 + 0.5 * torch.rand(1, generator=generator, dtype=torch.float64, device=device)
            columns.append(self.place(axis, (torch.arange(n, dtype=torch.float64, device=device) + shift) / n))
        grid = torch.meshgrid(*columns, indexing="ij")
        return {axis: column.flatten() for axis, column in zip(self.domain.axes, grid, strict=True)}


@final
@dataclass(frozen=True, eq=False)
class MappedSampler(AbstractSampler):
    """Points as dense as those of a layout.

    Arguments:
        layout: gives the density.
        base: spreads shares in the unit cube (default scrambled Sobol points).
    """

    layout: Layout
    base: AbstractSampler = field(default_factory=SobolSampler)

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractSampler.unit_points``."""
        unit = self.base.unit_points(axes, n_boxes, n, generator)
        columns = []
        for j, axis in enumerate(axes):
            low, high = self.layout.domain.bounds(axis)
            columns.append(((self.layout.place(axis, unit[..., j]) - low) / (high - low)).clamp(0.0, 1.0))
        return torch.stack(columns, dim=-1)
