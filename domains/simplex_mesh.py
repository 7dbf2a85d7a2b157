"""Meshes of triangles or tetrahedra, with named boundaries and subdomains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, nearest_hint
from pdesolve.domains.simplex_check import (
    check_cells,
    check_curvature,
    check_facets,
    check_middles,
    check_named_facets,
    check_points,
    check_subdomain,
)
from pdesolve.domains.simplex_topology import (
    SHAPES,
    Array,
    CellShape,
    Facets,
    cell_facets,
    countable,
    facet_owners,
    find_rows,
    row_keys,
    signed_measures,
    turned_facets,
)

SPACE = ("x", "y", "z")


@final
@dataclass(frozen=True, eq=False)
class SimplexMesh:
    """A conforming mesh of triangles in the plane or in space, or of tetrahedra; linear or quadratic.

    Kind and order follow from the shapes. Nodes of a cell are in VTK's order: corners, then the middles of the
    edges 01, 12, 20 of a triangle, and 03, 13, 23 of a tetrahedron. Triangles turn counter-clockwise, tetrahedra
    have a positive volume. ``read_mesh`` reads files. Everything is kept on the CPU.

    Arguments:
        points: (P, d) float64 coordinates, d = 2 or 3; each is used by a cell.
        cells: (C, k) int64 node indices; k = 3 or 6 for triangles, 4 or 10 for tetrahedra.
        boundaries: name -> (F, n) int64 nodes of its facets, n = 2 or 3 of lines, 3 or 6 of triangles; corners alone
            will do. A facet may lie between two cells.
        subdomains: name -> (n,) int64 cell indices.

    Raises:
        ValueError: shapes that are no such mesh, coordinates that are not finite, indices out of range, points that no
            cell uses, degenerate or inverted cells, cells that lie over each other, facets shared by three cells,
            named facets that are none of the mesh, or a cell twice in a subdomain.
        TypeError: another dtype, or names that are no text.

    Notes:
        Two nodes in one place (a slit) are allowed here; ``check_conforming``, which readers call, refuses them.
    """

    points: Tensor
    cells: Tensor
    boundaries: Mapping[str, Tensor] = field(default_factory=dict)
    subdomains: Mapping[str, Tensor] = field(default_factory=dict)
    outer_corners: Tensor = field(init=False, repr=False)
    """(n, dimension) the corners of the facets with a cell on one side only, rising in each row."""

    def __post_init__(self) -> None:
        points = check_points(self.points)
        cells = check_cells(points, self.cells)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "cells", cells)
        if self.order == 2:
            check_middles(cells, self.dimension, len(points))
            if self.dimension == self.space_dimension:
                check_curvature(points, cells, self.dimension)
        outer, keys = check_facets(points, self.corners)
        object.__setattr__(self, "outer_corners", outer)
        boundaries = self._checked_boundaries(self.boundaries, keys)
        subdomains = {name: check_subdomain(name, index, len(cells)) for name, index in self.subdomains.items()}
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "subdomains", subdomains)

    @classmethod
    def from_skfem(cls, mesh: Any) -> SimplexMesh:
        """The mesh of a scikit-fem ``MeshTri``, ``MeshTet``, ``MeshTri2`` or ``MeshTet2``, names kept.

        Arguments:
            mesh: scikit-fem's.

        Raises:
            ValueError, TypeError: as for the class, and on another kind of mesh.
        """
        from pdesolve.domains.skfem_mesh import from_skfem

        return from_skfem(mesh)

    def to_skfem(self) -> Any:
        """The scikit-fem mesh with the same cells in the same order and the same names.

        Its degrees of freedom are those of the order of the mesh; point ``skfem_order(mesh)[i]`` is degree i.

        Raises:
            ValueError: triangles in space, which scikit-fem lacks.
        """
        from pdesolve.domains.skfem_mesh import to_skfem

        return to_skfem(self)

    @property
    def space_dimension(self) -> int:
        """Number of coordinates, 2 or 3."""
        return int(self.points.shape[1])

    @property
    def cell_shape(self) -> CellShape:
        """Dimension and order of the cells."""
        return CellShape(*SHAPES[self.space_dimension, int(self.cells.shape[1])])

    @property
    def dimension(self) -> int:
        """2 for triangles, 3 for tetrahedra."""
        return self.cell_shape.dimension

    @property
    def order(self) -> int:
        """1 or 2."""
        return self.cell_shape.order

    @property
    def n_nodes(self) -> int:
        """Number of points."""
        return len(self.points)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.cells)

    @property
    def shape(self) -> tuple[int]:
        """That of one field's values, (n_nodes,)."""
        return (self.n_nodes,)

    @property
    def axes(self) -> tuple[str, ...]:
        """Letters of the coordinates."""
        return SPACE[: self.space_dimension]

    @property
    def box(self) -> Box:
        """The smallest box around the points.

        Raises:
            ValueError: triangles in space that lie in a plane across an axis.
        """
        return Box(self.axes, tuple(self.points.amin(0).tolist()), tuple(self.points.amax(0).tolist()))

    @property
    def corners(self) -> Tensor:
        """(C, dimension + 1) the corners of each cell."""
        return self.cells[:, : self.dimension + 1]

    @cached_property
    def facets(self) -> Facets:
        """The facets (edges of triangles, faces of tetrahedra), each once."""
        return cell_facets(self.corners, self.n_nodes)

    @cached_property
    def measures(self) -> Tensor:
        """(C,) areas or volumes; those of quadratic cells are of the straight-sided ones."""
        return signed_measures(self.points, self.corners)

    def coordinates(self) -> dict[str, Tensor]:
        """Axis to the coordinate of every node, (P,) float64; views, not to be written to."""
        return dict(zip(self.axes, self.points.unbind(1), strict=True))

    def boundary(self, name: str) -> Tensor:
        """The facets of a named boundary, (F, n) nodes.

        Raises:
            ValueError: an unknown name; the message gives the nearest.
        """
        return _named(self.boundaries, name, "boundary")

    def subdomain(self, name: str) -> Tensor:
        """The cells of a named subdomain, (n,).

        Raises:
            ValueError: an unknown name; the message gives the nearest.
        """
        return _named(self.subdomains, name, "subdomain")

    def boundary_nodes(self, name: str) -> Tensor:
        """The nodes of a named boundary, rising, (n,).

        Raises:
            ValueError: an unknown name; the message gives the nearest.
        """
        nodes: Tensor = torch.unique(self.boundary(name))
        return nodes

    def facet_index(self, name: str) -> Tensor:
        """The place of each facet of a named boundary in ``facets``, (F,).

        Raises:
            ValueError: an unknown name; the message gives the nearest.
        """
        return find_rows(self.boundary(name)[:, : self.dimension].sort(1).values, self.facets.corners, self.n_nodes)

    def facet_nodes(self, index: Tensor) -> Tensor:
        """All nodes of facets, turning outwards of their first cell.

        Arguments:
            index: (n,) places in ``facets``.

        Returns:
            (n, nodes of a facet) corners, then middles of edges.
        """
        cell = self.facets.cells[index, 0]
        side = (self.facets.of_cell[cell] == index[:, None]).int().argmax(1)
        local = torch.tensor(self.cell_shape.facets)[side]
        nodes: Tensor = self.cells[cell].gather(1, local)
        return nodes

    def outer_facets(self) -> Tensor:
        """The facets with a cell on one side only, (n,) places in ``facets``."""
        return (self.facets.cells[:, 1] < 0).nonzero().squeeze(1)

    def _checked_boundaries(self, boundaries: Mapping[str, Tensor], keys: Array) -> dict[str, Tensor]:
        """The facets with all their nodes, turning outwards of one of their cells."""
        if not boundaries:
            return {}
        shape = self.cell_shape
        corners = [check_named_facets(name, facets, shape, self.n_nodes) for name, facets in boundaries.items()]
        whole, known = self._turned(torch.cat(corners), keys)
        sizes = [len(facets) for facets in corners]
        parts = zip(boundaries, corners, known.split(sizes), whole.split(sizes), strict=True)
        checked = {}
        for name, given, there, nodes in parts:
            if not bool(there.all()):
                row = int((~there).nonzero()[0])
                raise ValueError(
                    f"facet {row} of boundary {name!r}, nodes {given[row].tolist()}, is no facet of any cell: name "
                    "facets that cells have"
                )
            rows = row_keys(given.sort(1).values, self.n_nodes)
            if len(torch.unique(rows)) != len(rows):
                raise ValueError(f"boundary {name!r} names a facet twice: name each once")
            checked[name] = nodes.clone()
        return checked

    def _turned(self, corners: Tensor, keys: Array) -> tuple[Tensor, Tensor]:
        """All nodes of facets, turning outwards of one of their cells, and whether a cell has them."""
        if self.order == 1 and countable(self.dimension, self.n_nodes):
            return turned_facets(keys, corners, self.n_nodes)
        cell, side = facet_owners(self.corners, corners, self.n_nodes)
        return self.cells[cell].gather(1, torch.tensor(self.cell_shape.facets)[side]), cell >= 0


def _named(named: Mapping[str, Tensor], name: str, kind: str) -> Tensor:
    if name not in named:
        raise ValueError(f"the mesh has no {kind} {name!r}; {nearest_hint(str(name), named)}")
    return named[name]
