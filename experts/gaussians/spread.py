"""How many Gaussians stand along each axis, and how they are spread."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch

from pdesolve.domains.geometry import Box, positive_int
from pdesolve.experts.gaussians.layout import AxisMap, Layout
from pdesolve.problem import Problem

_IN_TIME = 7  # Gaussians of a slab along t where only a total is given
_TIME_OVERLAP = 2.5  # few Gaussians in time do best when they are wide, like a polynomial
_CLOSED_FORMS = 4  # highest order of the equation for which derivatives are tested
_FINER = 1.4  # of a refinement, along each axis
_SAME_END = 1e-9  # of the extent


@final
@dataclass(frozen=True, eq=False)
class Spread:
    """Gaussians by axis.

    Arguments:
        count: a total, or a number along each axis.
        maps: x(s) of axes along which they are not evenly spread.

    Raises:
        TypeError, ValueError: counts below one, maps of another kind.
    """

    count: int | Mapping[str, int]
    maps: Mapping[str, AxisMap]

    def __post_init__(self) -> None:
        if isinstance(self.count, Mapping):
            named = {axis: positive_int(n, f"count of {axis!r}") for axis, n in self.count.items()}
            object.__setattr__(self, "count", named)
        else:
            object.__setattr__(self, "count", positive_int(self.count, "count"))
        for axis, map in self.maps.items():
            if not isinstance(map, AxisMap):
                raise TypeError(f"the map of {axis!r} must be an AxisMap, got {type(map).__name__}: use AxisMap.of")
        object.__setattr__(self, "maps", dict(self.maps))

    def check(self, box: Box) -> None:
        """Whether counts and maps are those of a domain.

        Raises:
            ValueError: axes that it lacks, counts for some axes only, a map that does not end where its axis does.
        """
        counted = self.count if isinstance(self.count, Mapping) else {}
        for axis in (*counted, *self.maps):
            if axis not in box.axes:
                raise ValueError(f"counts and maps name axis {axis!r}, the domain has {', '.join(box.axes)}")
        if counted and len(counted) < len(box.axes):
            lacking = ", ".join(a for a in box.axes if a not in counted)
            raise ValueError(f"counts are given for {', '.join(counted)}, not for {lacking}: give all or a total")
        for axis, map in self.maps.items():
            (low, high), room = box.bounds(axis), _SAME_END * box.extent(axis)
            first, last = map(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
            if abs(first - low) > room or abs(last - high) > room:
                raise ValueError(
                    f"the map of {axis!r} runs from {first:.6g} to {last:.6g}, the axis from {low:.6g} to {high:.6g}: "
                    "let it end where the axis does"
                )

    def counts(self, box: Box) -> Mapping[str, int]:
        """By axis; of a total as many as come nearest, two at least."""
        if isinstance(self.count, Mapping):
            return self.count
        if not box.space_axes:
            return {"t": self.count}
        in_time = {"t": _IN_TIME} if box.has_time else {}
        side = (self.count / math.prod(in_time.values())) ** (1.0 / len(box.space_axes))
        return {**in_time, **dict.fromkeys(box.space_axes, max(2, round(side)))}

    def refined(self, box: Box) -> Spread:
        """More along every axis in space; along t where it is the only one."""
        grown = box.space_axes or ("t",)
        counts = {a: math.ceil(_FINER * n) if a in grown else n for a, n in self.counts(box).items()}
        return Spread(counts, self.maps)

    def layout(self, problem: Problem, overlap: float) -> Layout:
        """On the domain of a problem; axes along which all its fields are periodic are closed."""
        box = problem.box
        overlaps = {axis: _TIME_OVERLAP if axis == "t" else overlap for axis in box.axes}
        return Layout(box, self.counts(box), overlaps, self.maps, closed_axes(problem))


def closed_axes(problem: Problem) -> tuple[str, ...]:
    """Axes along which all fields are periodic: images close them."""
    periodic = set(problem.box.axes)
    for name in problem.field_names:
        periodic &= set(problem.resolved.periodic.get(name, ()))
    return tuple(axis for axis in problem.box.axes if axis in periodic)


def require_closed_forms(problem: Problem) -> None:
    """Raise unless the equation's derivatives are among those of Gaussians that are tested.

    Raises:
        ValueError: an equation of a higher order than four.
    """
    order = max(len(term) for _, term in problem.trace.terms)
    if order > _CLOSED_FORMS:
        raise ValueError(
            f"the equation is of order {order}, closed derivatives of Gaussians go to order {_CLOSED_FORMS}: write it "
            "as a system of lower order"
        )
