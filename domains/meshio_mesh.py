"""Meshes from what meshio reads: cells of one kind, named boundaries and subdomains."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.conforming import check_conforming
from pdesolve.domains.simplex_check import InvertedCellsError, UnusedPointsError, check_range
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_repair import drop_unused, turn_cells
from pdesolve.domains.simplex_topology import Array, row_keys

_log = logging.getLogger(__name__)

KINDS = {"triangle": "line", "triangle6": "line", "tetra": "triangle", "tetra10": "triangle"}
"""meshio's name of a kind of cell -> how the names of its facets begin."""

CORNERS = {"triangle": 3, "triangle6": 3, "tetra": 4, "tetra10": 4}
DIMENSIONS = {"vertex": 0, "line": 1, "triangle": 2, "quad": 2, "polygon": 2}
OWN = "pdesolve:"
MOST_VALUES = 1000
FLAT = 1e-12


def from_meshio(mesh: Any) -> SimplexMesh:
    """The triangles in the plane, or the tetrahedra, of a ``meshio.Mesh``.

    Names come from cell sets (Gmsh's physical groups, Abaqus' element sets), else from whole numbers on cells, as
    ``name=value``; sets of nodes (Abaqus) name the outer facets that have all their corners there. A set of cells of
    the highest dimension is a subdomain, one of their facets a boundary. Inverted cells are turned, points that no cell
    uses are dropped. What bounds nothing here (vertices, lines in a mesh of tetrahedra) is left out.

    Arguments:
        mesh: meshio's.

    Raises:
        ValueError: other or mixed kinds of cells, triangles that are not in a plane z = const, doubled or hanging
            nodes, and what ``SimplexMesh`` refuses.
    """
    kind = _kind(mesh)
    points = _points(mesh)
    if CORNERS[kind] == 3:
        points = _flattened(points, _block_nodes(mesh, kind))
    return _assembled(mesh, kind, points)


def surface_from_meshio(mesh: Any) -> SimplexMesh:
    """The triangles in space of a ``meshio.Mesh``, as stl files have them.

    Arguments:
        mesh: meshio's.

    Raises:
        ValueError: no triangles or mixed kinds of them, points without a third coordinate, and as ``from_meshio``.
    """
    kinds = sorted({block.type for block in mesh.cells if block.type in ("triangle", "triangle6")})
    if len(kinds) != 1:
        raise ValueError(f"one kind of triangles is needed, got {', '.join(kinds) or _kinds(mesh)}")
    points = _points(mesh)
    if points.shape[1] != 3:
        raise ValueError(
            "triangles in space need points with three coordinates; read_mesh reads triangles in the plane"
        )
    return _assembled(mesh, kinds[0], points)


def _assembled(mesh: Any, kind: str, points: Tensor) -> SimplexMesh:
    cells = _block_nodes(mesh, kind)
    boundaries, subdomains = {}, {}
    for name, sets in _sets(mesh):
        inner = [block for block, part in zip(mesh.cells, sets, strict=True) if block.type == kind and len(part)]
        if inner:
            subdomains[name] = _cell_index(mesh, kind, sets)
        outer = _facet_rows(mesh, kind, sets)
        if len(outer):
            boundaries[name] = outer
    if not mesh.cell_sets:
        cells, subdomains = _each_once(cells, CORNERS[kind], len(points), subdomains)
    lost = sorted(set(mesh.field_data) - set(boundaries) - set(subdomains))
    if lost:
        _log.warning("no facet or cell has the name %s: it names nothing in this mesh", ", ".join(lost))
    number = torch.arange(len(points))
    if not bool(torch.isfinite(points).all()):  # it may be those that no cell uses
        check_range(cells, len(points), "the cells")
        points, cells, number = drop_unused(points, cells)
    try:  # rather than look at every cell twice
        result = _mesh_of(points, cells, number, boundaries, subdomains)
    except UnusedPointsError:
        points, cells, number = drop_unused(points, cells)
        result = _mesh_of(points, cells, number, boundaries, subdomains)
    check_conforming(result)
    return _with_node_sets(result, mesh.point_sets, number)


def _mesh_of(
    points: Tensor, cells: Tensor, number: Tensor, boundaries: dict[str, Tensor], subdomains: dict[str, Tensor]
) -> SimplexMesh:
    """The mesh, cells turned where they are inverted, boundaries in new numbers."""
    named = {name: _distinct(_renumbered(rows, number, name), len(points)) for name, rows in boundaries.items()}
    try:
        return SimplexMesh(points, cells, named, subdomains)
    except InvertedCellsError:
        return SimplexMesh(points, turn_cells(points, cells), named, subdomains)


def _kind(mesh: Any) -> str:
    """The one kind of cells of the highest dimension."""
    kinds: set[str] = {block.type for block in mesh.cells if len(block.data)}
    highest = max((_dimension(kind) for kind in kinds), default=0)
    top = sorted(kind for kind in kinds if _dimension(kind) == highest)
    if len(top) != 1 or top[0] not in KINDS:
        raise ValueError(
            f"cells of one kind among {', '.join(KINDS)} are needed, got {_kinds(mesh)}; split other cells into "
            "simplices, or export one order only"
        )
    return top[0]


def _dimension(kind: str) -> int:
    return next((d for start, d in DIMENSIONS.items() if kind.rstrip("0123456789") == start), 3)


def _kinds(mesh: Any) -> str:
    counts: dict[str, int] = {}
    for block in mesh.cells:
        counts[block.type] = counts.get(block.type, 0) + len(block.data)
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "no cells"


def _points(mesh: Any) -> Tensor:
    points = np.asarray(mesh.points)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or points.dtype.kind not in "fiu":
        raise ValueError(f"points must be real numbers (P, 2) or (P, 3), got {points.dtype} of shape {points.shape}")
    return torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64))


def _block_nodes(mesh: Any, kind: str) -> Tensor:
    return _whole(np.concatenate([np.asarray(block.data) for block in mesh.cells if block.type == kind]), "the cells")


def _whole(index: Array, what: str) -> Tensor:
    if index.dtype.kind not in "iu":
        raise ValueError(f"{what} must be whole numbers, got {index.dtype}")
    return torch.from_numpy(np.ascontiguousarray(index.astype(np.int64, copy=False)))


def _flattened(points: Tensor, cells: Tensor) -> Tensor:
    """Points without z, if all that cells use have the same."""
    if points.shape[1] == 2:
        return points
    check_range(cells, len(points), "the cells")
    used = points[torch.unique(cells)]
    extent = used.amax(0) - used.amin(0)
    if not bool(extent[2] <= FLAT * extent.max()):  # also NaN
        raise ValueError(
            f"triangles must lie in a plane z = const, got z from {float(used[:, 2].min()):.6g} to "
            f"{float(used[:, 2].max()):.6g}; read_surface reads triangles in space"
        )
    return points[:, :2].contiguous()


def _sets(mesh: Any) -> Iterator[tuple[str, list[Array]]]:
    """Names and, for each block, the places of the cells that have it."""
    found = {name: sets for name, sets in mesh.cell_sets.items() if not name.startswith("gmsh:")}
    for name, sets in found.items():
        if len(sets) == len(mesh.cells):
            yield name, [np.asarray([] if part is None else part, dtype=np.int64) for part in sets]
        else:
            _log.warning("the set %r has %d parts for %d blocks: left out", name, len(sets), len(mesh.cells))
    if found:
        return
    for name, blocks in mesh.cell_data.items():
        yield from _numbered(mesh, name, [np.asarray(block) for block in blocks])


def _numbered(mesh: Any, name: str, blocks: list[Array]) -> Iterator[tuple[str, list[Array]]]:
    """Sets of the cells that carry the same whole number."""
    if name == "gmsh:geometrical" or any(block.dtype.kind not in "iu" or block.ndim != 1 for block in blocks):
        return
    values = np.unique(np.concatenate(blocks))
    if len(values) > MOST_VALUES:
        _log.info("the numbers %r on cells have %d values: taken for no names", name, len(values))
        return
    dimensions = [_dimension(block.type) for block in mesh.cells]
    for value in values.tolist():
        for dimension in sorted(set(dimensions)):
            parts = [
                np.flatnonzero(block == value) if here == dimension else np.empty(0, dtype=np.int64)
                for block, here in zip(blocks, dimensions, strict=True)
            ]
            chosen = _name_of(name, value, dimension, mesh.field_data)
            if chosen and any(len(part) for part in parts):
                yield chosen, parts


def _name_of(name: str, value: int, dimension: int, field_data: Mapping[str, Any]) -> str:
    """What a number on cells of some dimension stands for; empty for nothing."""
    if name.startswith(OWN):
        return name.removeprefix(OWN) if value == 1 else ""
    if name != "gmsh:physical":
        return f"{name}={value}"
    known = [key for key, pair in field_data.items() if np.asarray(pair).tolist() == [value, dimension]]
    return known[0] if known else str(value) if value else ""


def _cell_index(mesh: Any, kind: str, sets: list[Array]) -> Tensor:
    """Places among all cells of a kind, rising."""
    start, parts = 0, []
    for block, part in zip(mesh.cells, sets, strict=True):
        if block.type == kind:
            parts.append(part + start)
            start += len(block.data)
    index = _whole(np.concatenate(parts), "a set of cells")
    check_range(index, start, "a set of cells", "cells")
    rising = bool((index[1:] > index[:-1]).all())
    result: Tensor = index if rising else torch.unique(index)
    return result


def _facet_rows(mesh: Any, kind: str, sets: list[Array]) -> Tensor:
    """The corners of the facets of a set."""
    width = CORNERS[kind] - 1
    rows = []
    for block, part in zip(mesh.cells, sets, strict=True):
        if block.type.rstrip("0123456789") == KINDS[kind] and block.type != kind and len(part):
            check_range(torch.from_numpy(part), len(block.data), "a set of facets", "facets")
            rows.append(np.asarray(block.data)[part, :width])
    return _whole(np.concatenate(rows), "the facets") if rows else torch.empty((0, width), dtype=torch.int64)


def _each_once(
    cells: Tensor, corners: int, n_points: int, subdomains: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cells without repetition: version 2 of Gmsh's format writes a cell once for each of its groups."""
    if len(subdomains) < 2:
        return cells, subdomains
    check_range(cells, n_points, "the cells")
    keys = row_keys(cells[:, :corners].sort(1).values, n_points)
    distinct, number = torch.unique(keys, return_inverse=True)
    if len(distinct) == len(cells):
        return cells, subdomains
    first = torch.full((len(distinct),), len(cells)).scatter_reduce(0, number, torch.arange(len(cells)), "amin")
    kept = first.sort().values
    place = torch.empty(len(distinct), dtype=torch.int64)
    place[number[kept]] = torch.arange(len(kept))
    return cells[kept], {name: torch.unique(place[number[index]]) for name, index in subdomains.items()}


def _renumbered(rows: Tensor, number: Tensor, name: str) -> Tensor:
    check_range(rows, len(number), f"the facets of {name!r}")
    found = number[rows]
    if bool((found < 0).any()):
        raise ValueError(f"the boundary {name!r} has facets with nodes that no cell uses: name facets of cells")
    return found


def _distinct(rows: Tensor, n_points: int) -> Tensor:
    keys = row_keys(rows.sort(1).values, n_points).numpy()
    return rows[torch.from_numpy(np.sort(np.unique(keys, return_index=True)[1]))]


def _with_node_sets(mesh: SimplexMesh, sets: Mapping[str, Any], number: Tensor) -> SimplexMesh:
    """The mesh with the outer facets that have all their corners in a set of nodes."""
    boundaries, outer = dict(mesh.boundaries), mesh.outer_corners
    for name, nodes in sets.items():
        marked = torch.zeros(mesh.n_nodes, dtype=torch.bool)
        index = _whole(np.asarray(nodes), f"the set of nodes {name!r}")
        check_range(index, len(number), f"the set of nodes {name!r}")
        index = number[index]
        marked[index[index >= 0]] = True
        rows = outer[marked[outer].all(1)]
        if len(rows) and name not in boundaries:
            boundaries[name] = rows
        else:
            _log.info("the set of nodes %r names no boundary: it holds no outer facet, or the name is taken", name)
    if boundaries.keys() == mesh.boundaries.keys():
        return mesh
    return SimplexMesh(mesh.points, mesh.cells, boundaries, mesh.subdomains)
