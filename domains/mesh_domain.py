"""A mesh, with or without a time interval, as the domain of a problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import BOUNDARIES, Boundary, Box, nearest_hint
from pdesolve.domains.simplex_mesh import SimplexMesh

NORMAL = "n"
"""The axis that a boundary of a mesh is perpendicular to: its own outward normal."""


@final
@dataclass(frozen=True, eq=False)
class MeshDomain:
    """Space as a mesh with named boundaries, times an interval of time or not.

    ``Problem`` makes one of a ``SimplexMesh``; with time write ``MeshDomain(mesh, TimeInterval(0, 1))``.

    Arguments:
        mesh: space; every facet of its outer boundary belongs to exactly one of the named boundaries.
        time: interval of time (default none).

    Raises:
        ValueError: outer facets without a name or with two, triangles in space, or a box that is no interval of time.
        TypeError: something else than a mesh, or than a box.
    """

    mesh: SimplexMesh
    time: Box | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mesh, SimplexMesh):
            raise TypeError(f"a mesh domain is made of a SimplexMesh, got {type(self.mesh).__name__}")
        if self.mesh.dimension != self.mesh.space_dimension:
            raise ValueError("triangles in space are no domain: use a mesh of the plane, or of tetrahedra")
        if self.time is not None and not isinstance(self.time, Box):
            raise TypeError(f"time must be a TimeInterval, got {type(self.time).__name__}")
        if self.time is not None and self.time.axes != ("t",):
            raise ValueError(f"time must be a TimeInterval, got a box of the axes {self.time.axes}")
        outer = self.mesh.outer_facets()
        named = torch.zeros(len(self.mesh.facets.corners), dtype=torch.int64)
        for name in self.boundary_names:
            named.index_add_(0, self.mesh.facet_index(name), torch.ones_like(self.mesh.facet_index(name)))
        bare, twice = int((named[outer] == 0).sum()), int((named[outer] > 1).sum())
        if bare:
            inner = [n for n in self.mesh.boundaries if n not in self.boundary_names and len(self.mesh.boundary(n))]
            told = f"; facets between cells are in {', '.join(inner)}, which so count as none" if inner else ""
            raise ValueError(
                f"{bare} of {len(outer)} outer facets belong to no named boundary (named: "
                f"{', '.join(self.boundary_names) or 'none'}{told}): name them in the mesh, each needs a condition"
            )
        if twice:
            raise ValueError(
                f"{twice} outer facets belong to two named boundaries (of {', '.join(self.boundary_names)}): "
                "keep one name for each"
            )

    @cached_property
    def boundary_names(self) -> tuple[str, ...]:
        """The named boundaries that lie on the outside; empty ones and those with facets between cells are not."""
        outside = torch.zeros(len(self.mesh.facets.corners), dtype=torch.bool)
        outside[self.mesh.outer_facets()] = True
        places = {name: outside[self.mesh.facet_index(name)] for name in self.mesh.boundaries}
        return tuple(name for name, there in places.items() if len(there) and bool(there.all()))

    @property
    def space_axes(self) -> tuple[str, ...]:
        """The axes other than time."""
        return self.mesh.axes

    @property
    def has_time(self) -> bool:
        """Whether there is a time axis."""
        return self.time is not None

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes, time first."""
        return (*(("t",) if self.has_time else ()), *self.mesh.axes)

    def bounds(self, axis: str) -> tuple[float, float]:
        """The two ends of an axis, of the smallest box around the mesh.

        Raises:
            ValueError: on an axis that there is not.
        """
        if axis == "t" and self.time is not None:
            return self.time.bounds("t")
        return self.mesh.box.bounds(axis)

    def extent(self, axis: str) -> float:
        """The length of an axis, upper - lower."""
        low, high = self.bounds(axis)
        return high - low

    def boundary(self, name: str) -> Boundary:
        """A named boundary, perpendicular to the axis "n", its outward normal.

        Raises:
            ValueError: an unknown name (the message gives the nearest), or one without facets or with inner ones.
        """
        if name in self.boundary_names:
            return Boundary(name, NORMAL, 1, 0.0)
        if self.time is not None and name in BOUNDARIES["t"]:
            return self.time.boundary(name)
        allowed = [*self.boundary_names, *(BOUNDARIES["t"] if self.has_time else ())]
        if name in self.mesh.boundaries:
            has = "facets between cells" if len(self.mesh.boundary(name)) else "no facets"
            raise ValueError(
                f"the boundary {name!r} has {has}: conditions hold on outer facets; {nearest_hint('', allowed)}"
            )
        raise ValueError(f"the mesh has no outer boundary {name!r}; {nearest_hint(str(name), allowed)}")

    def probe(self, count: int, boundary: Boundary | None = None) -> Mapping[str, Tensor]:
        """``count`` points of space and time, on a boundary if one is given, by axis; float64.

        Arguments:
            boundary: one of the mesh, or an end of time.
        """
        on_mesh = boundary is not None and boundary.axis == NORMAL
        nodes = self.mesh.boundary_nodes(boundary.name) if on_mesh and boundary else torch.arange(self.mesh.n_nodes)
        chosen = nodes[torch.linspace(0, len(nodes) - 1, count).long()]
        points = dict(zip(self.mesh.axes, self.mesh.points[chosen].unbind(1), strict=True))
        if self.time is None:
            return points
        return {**self.time.probe(count, None if on_mesh else boundary), **points}
