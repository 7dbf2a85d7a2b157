"""Geometries given by a signed distance: disks, balls, polygons, boxes, and what unions and cuts make of them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, finite_float, positive_int

MOST_ROUNDS = 1000
NEWTON_STEPS = 30
ON_BOUNDARY = 1e-9
LAYER = 0.02


class AbstractGeometry(abc.ABC):
    """A bounded region {x : d(x) < 0} of the plane or of space.

    ``a | b``, ``a & b`` and ``a - b`` are union, intersection and difference. Let them overlap: where two boundaries
    coincide, a point between both regions is taken for one of the boundary.
    """

    @abc.abstractmethod
    def distance(self, points: Tensor) -> Tensor:
        """The signed distance d to the boundary, negative inside; after a boolean operation only a bound on it.

        Arguments:
            points: (n, dimension).

        Returns:
            (n,).
        """

    @property
    @abc.abstractmethod
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Lower and upper ends of a box around the region."""

    @abc.abstractmethod
    def boundary_candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """Random points uniform on a curve or surface that contains the boundary, (n, dimension)."""

    @property
    @abc.abstractmethod
    def boundary_measure(self) -> float:
        """Length or area of the curve or surface that the candidates are uniform on."""

    @property
    def dimension(self) -> int:
        """2 or 3."""
        return len(self.bounds[0])

    def contains(self, points: Tensor) -> Tensor:
        """Which points lie inside or on the boundary, (n,) boolean; False at NaN."""
        return self.distance(points) <= 0

    def sample_interior(self, n: int, generator: torch.Generator) -> Tensor:
        """Points uniform in the interior, by rejection from the box around it.

        Arguments:
            n: number of points.
            generator: the only source of randomness.

        Returns:
            (n, dimension) float64 on the generator's device.

        Raises:
            ValueError: n < 1, or a region so thin that 1000 rounds of rejection do not fill n.
        """
        low, high = (torch.tensor(end, dtype=torch.float64, device=generator.device) for end in self.bounds)

        def proposed(count: int) -> Tensor:
            draws = torch.rand(count, len(low), dtype=torch.float64, generator=generator, device=generator.device)
            points = low + (high - low) * draws
            return points[self.distance(points) < 0]

        return _filled(proposed, n, "interior")

    def sample_boundary(self, n: int, generator: torch.Generator) -> Tensor:
        """Points uniform on the boundary; arguments and result as ``sample_interior``.

        Raises:
            ValueError: as ``sample_interior``.
        """
        size = ON_BOUNDARY * max(high - low for low, high in zip(*self.bounds, strict=True))

        def proposed(count: int) -> Tensor:
            points = self.boundary_candidates(count, generator)
            return points[self.distance(points).abs() <= size]

        return _filled(proposed, n, "boundary")

    def __or__(self, other: AbstractGeometry) -> AbstractGeometry:
        return Combination(self, other, 1, 1)

    def __and__(self, other: AbstractGeometry) -> AbstractGeometry:
        return Combination(self, other, -1, 1)

    def __sub__(self, other: AbstractGeometry) -> AbstractGeometry:
        return Combination(self, other, -1, -1)


@final
@dataclass(frozen=True)
class Ball(AbstractGeometry):
    """A disk or ball |x - c| < r.

    Arguments:
        centre: 2 or 3 coordinates.
        radius: r > 0.

    Raises:
        ValueError, TypeError: another number of coordinates, or numbers that are not finite or not positive.
    """

    centre: tuple[float, ...]
    radius: float

    def __post_init__(self) -> None:
        centre = tuple(finite_float(value, "a coordinate of the centre") for value in self.centre)
        if len(centre) not in (2, 3):
            raise ValueError(f"the centre needs 2 or 3 coordinates, got {len(centre)}")
        if finite_float(self.radius, "the radius") <= 0:
            raise ValueError(f"the radius must be positive, got {self.radius}")
        object.__setattr__(self, "centre", centre)

    def distance(self, points: Tensor) -> Tensor:
        """See ``AbstractGeometry.distance``."""
        return _norm(points - points.new_tensor(self.centre)) - self.radius

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple(c - self.radius for c in self.centre), tuple(c + self.radius for c in self.centre)

    def boundary_candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractGeometry.boundary_candidates``."""
        place = generator.device
        direction = torch.randn(n, len(self.centre), dtype=torch.float64, generator=generator, device=place)
        return direction.new_tensor(self.centre) + self.radius * direction / _norm(direction)[:, None]

    @property
    def boundary_measure(self) -> float:
        return 2 * torch.pi * self.radius * (1.0 if len(self.centre) == 2 else 2 * self.radius)


@final
@dataclass(frozen=True)
class Polygon(AbstractGeometry):
    """A polygon without holes whose sides do not cross.

    Arguments:
        vertices: (x, y) in order, either way round; at least 3.

    Raises:
        ValueError, TypeError: fewer than 3, numbers that are not finite, two in one place one after another, or sides
            that cross.
    """

    vertices: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        rows = tuple((finite_float(x, "a vertex"), finite_float(y, "a vertex")) for x, y in self.vertices)
        if len(rows) < 3:
            raise ValueError(f"a polygon needs at least 3 vertices, got {len(rows)}")
        object.__setattr__(self, "vertices", rows)
        start, side = self._sides(torch.zeros(0, dtype=torch.float64))
        if bool((side == 0).all(1).any()):
            first = int((side == 0).all(1).nonzero()[0])
            raise ValueError(f"vertices {first} and the next are in one place, {rows[first]}: drop one")
        crossing = _crossing(start, start + side)
        if crossing is not None:
            raise ValueError(
                f"the sides from vertices {crossing[0]} and {crossing[1]} cross: order the vertices around it"
            )

    def _sides(self, like: Tensor) -> tuple[Tensor, Tensor]:
        start = like.new_tensor(self.vertices)
        return start, start.roll(-1, 0) - start

    def distance(self, points: Tensor) -> Tensor:
        """See ``AbstractGeometry.distance``."""
        start, side = self._sides(points)
        offset = points[:, None] - start
        share = ((offset * side).sum(-1) / side.square().sum(-1)).clamp(0, 1)
        nearest = _norm(offset - share[..., None] * side).amin(1)
        # an odd number of sides crosses the ray to the right of a point inside
        above = start[:, 1] > points[:, 1:2]
        straddles = above != above.roll(-1, 1)
        right = points[:, :1] < start[:, 0] + offset[..., 1] / side[:, 1].where(side[:, 1] != 0, 1.0) * side[:, 0]
        inside = (straddles & right).sum(1) % 2 == 1
        return torch.where(inside, -nearest, nearest)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        x, y = zip(*self.vertices, strict=True)
        return (min(x), min(y)), (max(x), max(y))

    def boundary_candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractGeometry.boundary_candidates``."""
        start, side = self._sides(torch.zeros(0, dtype=torch.float64, device=generator.device))
        chosen = torch.multinomial(_norm(side), n, replacement=True, generator=generator)
        share = torch.rand(n, 1, dtype=torch.float64, generator=generator, device=generator.device)
        return start[chosen] + share * side[chosen]

    @property
    def boundary_measure(self) -> float:
        return float(_norm(self._sides(torch.zeros(0, dtype=torch.float64))[1]).sum())


@final
@dataclass(frozen=True)
class BoxGeometry(AbstractGeometry):
    """A ``Box`` in two or three space dimensions as a geometry that others can be cut from.

    Arguments:
        box: such as ``Rectangle((0, 1), (0, 1))``.

    Raises:
        ValueError: a time axis, or one axis only.
    """

    box: Box

    def __post_init__(self) -> None:
        if self.box.has_time or len(self.box.axes) < 2:
            raise ValueError(f"a geometry needs 2 or 3 space axes, got {self.box.axes}")

    def distance(self, points: Tensor) -> Tensor:
        """See ``AbstractGeometry.distance``."""
        low, high = points.new_tensor(self.box.lower), points.new_tensor(self.box.upper)
        beyond = (points - (low + high) / 2).abs() - (high - low) / 2
        return _norm(beyond.clamp(min=0)) + beyond.amax(1).clamp(max=0)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.box.lower, self.box.upper

    def boundary_candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractGeometry.boundary_candidates``."""
        place, axes = generator.device, len(self.box.axes)
        low = torch.tensor(self.box.lower, dtype=torch.float64, device=place)
        high = torch.tensor(self.box.upper, dtype=torch.float64, device=place)
        points = low + (high - low) * torch.rand(n, axes, dtype=torch.float64, generator=generator, device=place)
        face = torch.multinomial((high - low).prod() / (high - low), n, replacement=True, generator=generator)
        upper = torch.rand(n, dtype=torch.float64, generator=generator, device=place) < 0.5
        points[torch.arange(n, device=place), face] = torch.where(upper, high[face], low[face])
        return points

    @property
    def boundary_measure(self) -> float:
        sides = [high - low for low, high in zip(self.box.lower, self.box.upper, strict=True)]
        volume = float(torch.tensor(sides, dtype=torch.float64).prod())
        return 2 * sum(volume / side for side in sides)


@final
@dataclass(frozen=True)
class Combination(AbstractGeometry):
    """Union, intersection or difference, d = s₁ min(s₁ d_first, s₂ d_second); made by ``|``, ``&`` and ``-``.

    Arguments:
        first, second: of the same dimension.
        sign: s of the result: 1 for the union, -1 for the others.
        sign_of_second: -1 for the difference.

    Raises:
        ValueError: different dimensions.
    """

    first: AbstractGeometry
    second: AbstractGeometry
    sign: int
    sign_of_second: int

    def __post_init__(self) -> None:
        if self.first.dimension != self.second.dimension:
            raise ValueError(f"both need the same dimension, got {self.first.dimension} and {self.second.dimension}")

    def distance(self, points: Tensor) -> Tensor:
        """See ``AbstractGeometry.distance``."""
        first, second = self.first.distance(points), self.sign_of_second * self.second.distance(points)
        return self.sign * torch.minimum(self.sign * first, self.sign * second)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        (a, b), (c, d) = self.first.bounds, self.second.bounds
        if self.sign > 0:
            return tuple(map(min, a, c)), tuple(map(max, b, d))
        if self.sign_of_second < 0:
            return a, b
        return tuple(map(max, a, c)), tuple(map(min, b, d))

    def boundary_candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractGeometry.boundary_candidates``."""
        parts = [g.boundary_candidates(n, generator) for g in (self.first, self.second)]
        sizes = [self.first.boundary_measure, self.second.boundary_measure]
        draws = torch.rand(n, 1, dtype=torch.float64, generator=generator, device=generator.device)
        return torch.where(draws * sum(sizes) < sizes[0], parts[0], parts[1])

    @property
    def boundary_measure(self) -> float:
        return self.first.boundary_measure + self.second.boundary_measure


@final
@dataclass(frozen=True)
class SignedDistance(AbstractGeometry):
    """A region given by a function of one's own.

    Arguments:
        function: (n, dimension) -> (n,), negative inside, differentiable near the boundary by autograd.
        lower, upper: ends of a box around the region.

    Raises:
        ValueError: another dimension than 2 or 3, or lower not below upper.

    Notes:
        Boundary points are interior of a thin layer moved along the gradient onto d = 0: uniform where |∇d| = 1, as of
        a true distance, and only roughly otherwise.
    """

    function: Callable[[Tensor], Tensor]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.lower) not in (2, 3) or len(self.lower) != len(self.upper):
            raise ValueError(f"2 or 3 coordinates are needed, got {len(self.lower)} lower and {len(self.upper)} upper")
        if not all(low < high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ValueError(f"every lower end must lie below the upper, got {self.lower} and {self.upper}")

    def distance(self, points: Tensor) -> Tensor:
        """See ``AbstractGeometry.distance``."""
        return self.function(points)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return tuple(self.lower), tuple(self.upper)

    def boundary_candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractGeometry.boundary_candidates``."""
        place = generator.device
        low = torch.tensor(self.lower, dtype=torch.float64, device=place)
        high = torch.tensor(self.upper, dtype=torch.float64, device=place)
        layer = LAYER * float((high - low).max())

        def near(count: int) -> Tensor:
            draws = torch.rand(16 * count, len(low), dtype=torch.float64, generator=generator, device=place)
            points = low + (high - low) * draws
            return points[self.function(points).abs() < layer]

        points = _filled(near, n, "boundary")
        for _ in range(NEWTON_STEPS):
            with torch.enable_grad():
                moving = points.detach().requires_grad_()
                value = self.function(moving)
                slope = torch.autograd.grad(value.sum(), moving)[0]
            points = points - (value / slope.square().sum(1).clamp(min=1e-30)).detach()[:, None] * slope
        return points.detach()

    @property
    def boundary_measure(self) -> float:
        """Σ|layer| / (2 · half width) on a fixed set of Sobol points."""
        low, high = torch.tensor(self.lower, dtype=torch.float64), torch.tensor(self.upper, dtype=torch.float64)
        unit = torch.quasirandom.SobolEngine(len(low)).draw(1 << 16, dtype=torch.float64)
        layer = LAYER * float((high - low).max())
        share = float((self.function(low + (high - low) * unit).abs() < layer).double().mean())
        return share * float((high - low).prod()) / (2 * layer)


@final
@dataclass(frozen=True)
class ForeignGeometry(AbstractGeometry):
    """A geometry of DeepXDE, or any object with its methods ``inside`` and ``random_boundary_points``.

    Its boundary points come from NumPy's global generator, which a draw from ours seeds and which is then put back.

    Arguments:
        geometry: the object, with ``bbox`` and ``dim``.

    Raises:
        TypeError: a method is missing.
    """

    geometry: Any

    def __post_init__(self) -> None:
        wanted = ("inside", "random_boundary_points", "bbox", "dim")
        missing = [name for name in wanted if not hasattr(self.geometry, name)]
        if missing:
            raise TypeError(f"a geometry needs {', '.join(wanted)}; {type(self.geometry).__name__} lacks {missing[0]}")

    def distance(self, points: Tensor) -> Tensor:
        """-1 inside, 1 outside, 0 on the boundary: the sign of a distance, which is all such an object knows."""
        array = points.detach().cpu().numpy()
        inside = torch.as_tensor(self.geometry.inside(array)).to(points.device)
        result = torch.where(inside, -1.0, 1.0).to(points)
        if hasattr(self.geometry, "on_boundary"):
            result[torch.as_tensor(self.geometry.on_boundary(array)).to(points.device)] = 0.0
        return result

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        low, high = self.geometry.bbox
        return tuple(map(float, low)), tuple(map(float, high))

    def boundary_candidates(self, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractGeometry.boundary_candidates``."""
        import numpy as np

        seed = int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            points = self.geometry.random_boundary_points(n, random="pseudo")
        finally:
            np.random.set_state(before)
        return torch.as_tensor(np.asarray(points), dtype=torch.float64).to(generator.device)

    @property
    def boundary_measure(self) -> float:
        raise NotImplementedError(
            "a foreign geometry does not tell its boundary's measure: combine it by its own operations"
        )


def Disk(centre: Sequence[float], radius: float) -> Ball:
    """The disk |x - c| < r in the plane.

    Arguments:
        centre: (x, y).
        radius: r > 0.

    Raises:
        ValueError, TypeError: as for ``Ball``.
    """
    if len(centre) != 2:
        raise ValueError(f"the centre of a disk needs 2 coordinates, got {len(centre)}")
    return Ball(tuple(centre), radius)


def _norm(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return length


def _filled(proposed: Callable[[int], Tensor], n: int, what: str) -> Tensor:
    """The first n accepted of as many proposals as it takes."""
    n = positive_int(n, "the number of points")
    parts: list[Tensor] = []
    found = 0
    for _ in range(MOST_ROUNDS):
        parts.append(proposed(max(2 * n, 64)))
        found += len(parts[-1])
        if found >= n:
            return torch.cat(parts)[:n]
    raise ValueError(f"only {found} of {n} points were found on the {what}: it is empty, or too thin for its box")


def _crossing(start: Tensor, end: Tensor) -> tuple[int, int] | None:
    """Two sides that are no neighbours and have a point in common."""
    n = len(start)
    i, j = torch.triu_indices(n, n, 2).unbind()
    apart = (j - i) < n - 1
    i, j = i[apart], j[apart]

    def turn(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])).sign()

    first = turn(start[i], end[i], start[j]) * turn(start[i], end[i], end[j])
    second = turn(start[j], end[j], start[i]) * turn(start[j], end[j], end[i])
    crossing = (first <= 0) & (second <= 0) & ~((first == 0) & (second == 0))
    if not bool(crossing.any()):
        return None
    at = int(crossing.nonzero()[0])
    return int(i[at]), int(j[at])
