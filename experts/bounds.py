"""Bounds on the solution: positivity, concentrations between zero and one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from pdesolve.condition.value import Value
from pdesolve.discretization.abstract import Points
from pdesolve.domains.geometry import positive_int
from pdesolve.domains.sampling import sample_nodes
from pdesolve.experts.linear_constraint import AbstractLinearConstraint, bound_at, check_bound, field_index, known_at
from pdesolve.experts.patch_context import PatchContext
from pdesolve.nonlinear.constraints import LinearConstraints


@final
@dataclass(frozen=True)
class Bounds(AbstractLinearConstraint):
    """lower <= u <= upper at points of every patch.

    Arguments:
        lower: number or function of axes and parameters by name (default none).
        upper: likewise (default none).
        points: how many points of each patch carry the bounds (default 200): nodes of a grid, its boundaries included,
            drawn without repetition, all of them where there are no more; else points of the collocation's sampler.
        field: the unknown (default the only one).

    Raises:
        ValueError: no bound at all, lower above upper, NaN, points below one; at the call, an unknown field or name.
        TypeError: a bound that is neither number nor function.

    Notes:
        Between the points u may leave the bounds by what the basis can do there: on a grid give as many points as a
        patch has nodes to have it nowhere. Where a condition that the lifting imposes exactly lies outside of the
        bounds no w helps, and the solve ends as INFEASIBLE.

    Good values: 10 points for each basis field and patch.
    """

    lower: Value | None = None
    upper: Value | None = None
    points: int = 200
    field: str | None = None

    def __post_init__(self) -> None:
        positive_int(self.points, "points")
        if self.lower is None and self.upper is None:
            raise ValueError("Bounds needs lower, upper or both: Bounds(lower=0.0) is positivity")
        for what, value in (("lower", self.lower), ("upper", self.upper)):
            if value is not None:
                check_bound(value, f"the {what} bound")
        lower, upper = self.lower, self.upper
        if isinstance(lower, (int, float)) and isinstance(upper, (int, float)) and lower > upper:
            raise ValueError(f"the lower bound {lower} is above the upper bound {upper}: swap them")

    def rows(self, context: PatchContext) -> LinearConstraints:
        points, index = self._points(context), field_index(context, self.field)
        expansion = context.expand(points, ("",))
        basis, offset = expansion.basis[""][..., index, :], expansion.offset[""][..., index]
        there, known = points.distinct() > 0, known_at(context, points.coordinates)
        low, high = (
            torch.full_like(offset, end) if value is None else bound_at(value, known, offset, what)
            for value, end, what in (
                (self.lower, -torch.inf, "the lower bound"),
                (self.upper, torch.inf, "the upper bound"),
            )
        )
        return LinearConstraints(
            basis,
            torch.where(there, low - offset, -torch.inf),
            torch.where(there, high - offset, torch.inf),
            name=self._name(context.problem.field_names[index]),
            coordinates=points.coordinates,
        )

    def _points(self, context: PatchContext) -> Points:
        grid = context.discretization.grid
        if grid is None:
            return context.interior(self.points)
        nodes = sample_nodes(context.decomposition.node_ranges, self.points, context.generator)
        return context.owned(Points.at_nodes(grid, nodes))

    def _name(self, field: str) -> str:
        ends = [
            "" if value is None else "a function" if callable(value) else f"{value:g}"
            for value in (self.lower, self.upper)
        ]
        return f"{f'{ends[0]} <= ' if ends[0] else ''}{field}{f' <= {ends[1]}' if ends[1] else ''}"
