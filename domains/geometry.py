"""Axis-aligned boxes in time and space, and the names of their boundaries."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

AXES = ("t", "x", "y", "z")
"""Every axis letter, in the order in which gridded tensors carry them."""

BOUNDARIES = {
    "t": ("initial", "final"),
    "x": ("left", "right"),
    "y": ("bottom", "top"),
    "z": ("back", "front"),
}
"""Names of the lower and the upper end of each axis."""


def nearest_hint(name: str, allowed: Iterable[str]) -> str:
    """The end of an error message: what is allowed and, for a probable slip, the nearest of it.

    Arguments:
        name: what was given.
        allowed: what would have been accepted.
    """
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"allowed: {', '.join(names) or 'none'}" + (f"; did you mean {close[0]!r}?" if close else "")


def is_finite(value: float) -> bool:
    """Whether a real number is finite as a float; an integer of 400 digits is not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def finite_float(value: object, what: str) -> float:
    """``value`` as a float.

    Arguments:
        value: any real number.
        what: how the message names it.

    Raises:
        TypeError: when it is no real number.
        ValueError: when it is NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be a real number, got {value!r} ({type(value).__name__})")
    if not is_finite(value):  # type: ignore[arg-type]
        raise ValueError(f"{what} must be finite, got {value!r}")
    return float(value)


def positive_int(value: object, what: str) -> int:
    """``value`` as an int of at least 1.

    Arguments:
        value: any integer.
        what: how the message names it.

    Raises:
        TypeError: when it is no integer.
        ValueError: when it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{what} must be an integer, got {value!r} ({type(value).__name__})")
    if value < 1:
        raise ValueError(f"{what} must be at least 1, got {value}")
    return int(value)


def check_axes(axes: Sequence[str], what: str) -> tuple[str, ...]:
    """``axes`` as a tuple, if its letters are known, unique and in the order t, x, y, z.

    Arguments:
        axes: axis letters.
        what: how the message names their owner.

    Raises:
        ValueError: otherwise.
    """
    given = tuple(axes)
    for axis in given:
        if axis not in AXES:
            raise ValueError(f"{what} has the unknown axis {axis!r}; {nearest_hint(str(axis), AXES)}")
    if not given or given != tuple(axis for axis in AXES if axis in given):
        raise ValueError(f"{what} needs at least one axis, each once, in the order {AXES}; got {given}")
    return given


@dataclass(frozen=True)
class Boundary:
    """One face of a box.

    Arguments:
        name: such as ``"left"``.
        axis: the axis it is perpendicular to.
        side: -1 at the lower end of the axis, +1 at the upper; the sign of the outward normal.
        position: its coordinate on that axis.
    """

    name: str
    axis: str
    side: int
    position: float


@dataclass(frozen=True)
class Box:
    """An axis-aligned box ∏ᵢ [lᵢ, uᵢ] in time and space.

    ``Interval``, ``Rectangle``, ``Cuboid`` and ``TimeInterval`` make the usual ones; ``*`` multiplies boxes
    without a common axis: ``Interval(-1, 1) * TimeInterval(0, 1)`` has the axes ``("t", "x")``.

    Arguments:
        axes: axis letters in the order t, x, y, z.
        lower, upper: the ends along each axis, lower < upper.

    Raises:
        ValueError: on unknown, repeated or disordered axes, ends that are not finite, or lower >= upper.
        TypeError: on ends that are no real numbers.
    """

    axes: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __post_init__(self) -> None:
        axes = check_axes(self.axes, "a box")
        if not len(axes) == len(self.lower) == len(self.upper):
            raise ValueError(
                f"a box needs one lower and one upper end for each axis; got {len(axes)} axes, "
                f"{len(self.lower)} lower and {len(self.upper)} upper ends"
            )
        lower = tuple(finite_float(self.lower[i], f"the lower end of axis {a!r}") for i, a in enumerate(axes))
        upper = tuple(finite_float(self.upper[i], f"the upper end of axis {a!r}") for i, a in enumerate(axes))
        for axis, low, high in zip(axes, lower, upper, strict=True):
            if not low < high:
                raise ValueError(f"axis {axis!r} needs lower < upper, got [{low}, {high}]; swap the ends")
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def __mul__(self, other: Box) -> Box:
        """The product box, its axes ordered t, x, y, z.

        Raises:
            ValueError: when both boxes have the same axis.
        """
        if not isinstance(other, Box):
            return NotImplemented
        common = [axis for axis in self.axes if axis in other.axes]
        if common:
            hint = "give one of them another, as in Interval(0, 1, axis='y')"
            raise ValueError(f"both boxes have axis {common[0]!r}; {hint}")
        bounds = {axis: box.bounds(axis) for box in (self, other) for axis in box.axes}
        return _from_bounds({axis: bounds[axis] for axis in AXES if axis in bounds})

    @property
    def space_axes(self) -> tuple[str, ...]:
        """The axes other than time."""
        return tuple(axis for axis in self.axes if axis != "t")

    @property
    def has_time(self) -> bool:
        """Whether the box has a time axis."""
        return "t" in self.axes

    @property
    def boundary_names(self) -> tuple[str, ...]:
        """The faces in space, as boundary conditions name them; the ends of time are not among them."""
        return tuple(name for axis in self.space_axes for name in BOUNDARIES[axis])

    def bounds(self, axis: str) -> tuple[float, float]:
        """The two ends of an axis.

        Arguments:
            axis: one of ``axes``.

        Raises:
            ValueError: on an axis the box does not have.
        """
        if axis not in self.axes:
            raise ValueError(f"the box has no axis {axis!r}; {nearest_hint(axis, self.axes)}")
        position = self.axes.index(axis)
        return self.lower[position], self.upper[position]

    def extent(self, axis: str) -> float:
        """The length of an axis, upper - lower.

        Arguments:
            axis: one of ``axes``.

        Raises:
            ValueError: on an axis the box does not have.
        """
        low, high = self.bounds(axis)
        return high - low

    def boundary(self, name: str) -> Boundary:
        """The face of that name; ``"initial"`` and ``"final"`` are the two ends of time.

        Arguments:
            name: one of ``boundary_names``, ``"initial"`` or ``"final"``.

        Raises:
            ValueError: on a name the box does not have; the message gives the nearest.
        """
        for axis in self.axes:
            if name in BOUNDARIES[axis]:
                side = BOUNDARIES[axis].index(name)
                return Boundary(name, axis, (-1, 1)[side], self.bounds(axis)[side])
        allowed = [*self.boundary_names, *(BOUNDARIES["t"] if self.has_time else ())]
        hint = nearest_hint(str(name), allowed)
        raise ValueError(f"the box with axes {self.axes} has no boundary {name!r}; {hint}")

    def probe(self, count: int, boundary: Boundary | None = None) -> Mapping[str, Tensor]:
        """``count`` points spread over the box, on a face of it if one is given, by axis; float64.

        Arguments:
            count: how many.
            boundary: the face, an end of time too.
        """
        unit = torch.linspace(0.0, 1.0, count, dtype=torch.float64)
        points = {}
        for i, axis in enumerate(self.axes):
            lower, upper = self.bounds(axis)
            points[axis] = lower + (upper - lower) * unit.roll(5 * i)
            if boundary is not None and boundary.axis == axis:
                points[axis] = torch.full_like(unit, boundary.position)
        return points

    def split(self, axis: str, edges: Sequence[float]) -> tuple[Box, ...]:
        """Cut the box across one axis into ``len(edges) + 1`` boxes, in rising order.

        Arguments:
            axis: one of ``axes``.
            edges: strictly rising positions of the cuts, strictly inside the box.

        Raises:
            ValueError: on an axis the box does not have, or cuts outside it or out of order.
        """
        low, high = self.bounds(axis)
        ends = [low, *(finite_float(edge, "a cut") for edge in edges), high]
        if any(a >= b for a, b in pairwise(ends)):
            raise ValueError(f"cuts across axis {axis!r} must rise strictly inside ({low}, {high}), got {list(edges)}")
        bounds = {name: self.bounds(name) for name in self.axes}
        return tuple(_from_bounds(bounds | {axis: pair}) for pair in pairwise(ends))

    def contains(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """Which points lie in the closed box.

        Arguments:
            coordinates: one tensor per axis of the box, of shapes that broadcast; other axes are ignored.

        Returns:
            A boolean tensor of the broadcast shape; False at NaN.

        Raises:
            ValueError: when the coordinates of an axis are missing.
        """
        inside: Tensor | None = None
        for axis, low, high in zip(self.axes, self.lower, self.upper, strict=True):
            if axis not in coordinates:
                given = ", ".join(coordinates) or "none"
                raise ValueError(f"coordinates of axis {axis!r} are missing; given: {given}")
            within = (coordinates[axis] >= low) & (coordinates[axis] <= high)
            inside = within if inside is None else torch.logical_and(inside, within)
        assert inside is not None  # a box has at least one axis
        return inside


def _from_bounds(bounds: Mapping[str, tuple[float, float]]) -> Box:
    ends = bounds.values()
    return Box(tuple(bounds), tuple(low for low, _ in ends), tuple(high for _, high in ends))


def _ends(bounds: Sequence[float], axis: str) -> tuple[float, float]:
    try:
        low, high = bounds
    except (TypeError, ValueError) as error:
        raise ValueError(f"axis {axis!r} needs a pair (lower, upper), got {bounds!r}") from error
    return low, high


def Interval(lower: float, upper: float, axis: str = "x") -> Box:
    """The interval [lower, upper] along one axis.

    Arguments:
        lower, upper: its ends, lower < upper.
        axis: axis letter.

    Raises:
        ValueError, TypeError: as for ``Box``.
    """
    return Box((axis,), (lower,), (upper,))


def TimeInterval(lower: float, upper: float) -> Box:
    """The time interval [lower, upper]; multiply a box in space by it.

    Arguments:
        lower, upper: first and last time, lower < upper.

    Raises:
        ValueError, TypeError: as for ``Box``.
    """
    return Interval(lower, upper, axis="t")


def Rectangle(x: Sequence[float], y: Sequence[float]) -> Box:
    """The rectangle x₀ ≤ x ≤ x₁, y₀ ≤ y ≤ y₁.

    Arguments:
        x, y: pairs (lower, upper).

    Raises:
        ValueError, TypeError: as for ``Box``.
    """
    return _from_bounds({"x": _ends(x, "x"), "y": _ends(y, "y")})


def Cuboid(x: Sequence[float], y: Sequence[float], z: Sequence[float]) -> Box:
    """The cuboid x₀ ≤ x ≤ x₁, y₀ ≤ y ≤ y₁, z₀ ≤ z ≤ z₁.

    Arguments:
        x, y, z: pairs (lower, upper).

    Raises:
        ValueError, TypeError: as for ``Box``.
    """
    return _from_bounds({"x": _ends(x, "x"), "y": _ends(y, "y"), "z": _ends(z, "z")})
