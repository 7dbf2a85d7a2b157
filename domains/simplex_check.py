"""What a mesh of simplices has to satisfy, and sentences for where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.simplex_shape import jacobian_determinants, node_places
from pdesolve.domains.simplex_topology import (
    BLOCK,
    EDGES,
    FACETS,
    SHAPES,
    Array,
    CellShape,
    facet_nodes_of,
    row_keys,
    signed_measures,
    turned_keys,
)

FLAT = 1e-14
"""Measure over (longest side)^d below which a cell is degenerate: what rounding leaves of a flat one."""


class InvertedCellsError(ValueError):
    """Cells whose nodes are ordered the wrong way round, which ``turn_cells`` mends."""


class UnusedPointsError(ValueError):
    """Points that no cell uses, which ``drop_unused`` drops."""


def check_points(points: Any) -> Tensor:
    """(P, d) float64 points, if they are that and finite."""
    _check_tensor(points, torch.float64, "points")
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not len(points):
        raise ValueError(f"points must have the shape (P, 2) or (P, 3) with P > 0, got {tuple(points.shape)}")
    finite = torch.isfinite(points).all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        raise ValueError(f"points must be finite; {int((~finite).sum())} are not, first {row}: {points[row].tolist()}")
    return _kept(points)


def check_cells(points: Tensor, cells: Any) -> Tensor:
    """(C, k) cells of the points, if they are sound one by one."""
    _check_tensor(cells, torch.int64, "cells")
    space = int(points.shape[1])
    allowed = [k for d, k in SHAPES if d == space]
    if cells.ndim != 2 or cells.shape[1] not in allowed or not len(cells):
        nodes = ", ".join(map(str, sorted(allowed)))
        raise ValueError(
            f"cells must have the shape (C, k) with C > 0 and k one of {nodes} for points of {space} coordinates, got "
            f"{tuple(cells.shape)}"
        )
    check_range(cells, len(points), "cells")
    used = torch.zeros(len(points), dtype=torch.bool)
    used[cells.reshape(-1)] = True
    if not bool(used.all()):
        node, count = int((~used).nonzero()[0]), int((~used).sum())
        raise UnusedPointsError(f"{count} points belong to no cell, the first is {node}: drop them (drop_unused does)")
    if SHAPES[space, int(cells.shape[1])][1] == 2:  # of linear cells a node twice leaves no measure
        _check_distinct(cells)
    _check_measures(points, cells)
    return _kept(cells)


def check_facets(points: Tensor, corners: Tensor) -> tuple[Tensor, Array]:
    """The cells form a manifold and do not lie over each other at a facet.

    Returns:
        The corners of the outer facets, (n, d), rising in each row, and ``turned_keys`` in order: they fall out here.
    """
    keys = turned_keys(corners, len(points)).reshape(-1)
    keys.sort()
    change = keys[1:] ^ keys[:-1]
    same = change <= 1  # the same facet, seen from the other side or from the same
    crowded = same[1:] & same[:-1]
    if crowded.any():
        nodes, cells = _who(corners, len(points), keys[int(crowded.argmax())] >> 1)
        raise ValueError(
            f"the facet {nodes} belongs to {len(cells)} cells, {cells[:4]} among them: the mesh is no manifold; remove "
            "doubled or crossing cells"
        )
    folded = change == 0
    if corners.shape[1] == points.shape[1] + 1 and folded.any():
        nodes, cells = _who(corners, len(points), keys[int(folded.argmax())] >> 1)
        raise ValueError(
            f"the cells {cells} lie on the same side of their common facet {nodes}: the mesh folds over itself "
            f"({int(folded.sum())} such facets); remesh there"
        )
    alone = np.ones(len(keys), dtype=np.bool_)
    alone[1:] &= ~same
    alone[:-1] &= ~same
    return facet_nodes_of(keys[alone] >> 1, corners, len(points)), keys


def _who(corners: Tensor, n_points: int, facet: int) -> tuple[list[int], list[int]]:
    """The nodes of a facet and the cells that have it."""
    cell, side = ((turned_keys(corners, n_points) >> 1) == facet).nonzero()
    local = FACETS[corners.shape[1] - 1][int(side[0])]
    return corners[int(cell[0]), list(local)].tolist(), cell.tolist()


def check_middles(cells: Tensor, dimension: int, n_points: int) -> None:
    """Cells that share an edge share its middle, and no middle is a corner elsewhere."""
    corners, middles = cells[:, : dimension + 1], cells[:, dimension + 1 :]
    is_corner = torch.zeros(n_points, dtype=torch.bool)
    is_corner[corners.reshape(-1)] = True
    if bool(is_corner[middles].any()):
        row = int(is_corner[middles].any(1).nonzero()[0])
        raise ValueError(
            f"cell {row} has the corner of another in the middle of an edge: a hanging node, or nodes in another order "
            "than VTK's"
        )
    edges = corners[:, torch.tensor(EDGES[dimension])].reshape(-1, 2).sort(1).values
    edge, number = torch.unique(row_keys(edges, n_points), return_inverse=True)
    middle = torch.full((len(edge),), -1)
    middle[number] = middles.reshape(-1)
    unequal = middle[number] != middles.reshape(-1)
    if bool(unequal.any()):
        corner = edges[int(unequal.nonzero()[0])].tolist()
        raise ValueError(f"cells that share the edge {corner} have different nodes in its middle: merge the nodes")
    owner = torch.full((n_points,), -1)
    owner[middle] = torch.arange(len(middle))
    if bool((owner[middle] != torch.arange(len(middle))).any()):
        node = int(middle[owner[middle] != torch.arange(len(middle))][0])
        raise ValueError(f"node {node} is the middle of two edges: give each edge a node of its own")


def check_curvature(points: Tensor, cells: Tensor, dimension: int) -> None:
    """Quadratic cells do not turn inside out at any of their nodes."""
    determinants = jacobian_determinants(points, cells, node_places(dimension, 2), 2)
    bad = (determinants <= 0).any(1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ValueError(
            f"cell {row} is inverted by its curved edges, its Jacobian falls to {float(determinants[row].min()):.3g} "
            f"({int(bad.sum())} such cells): move the middles of its edges, or use linear cells there"
        )


def check_named_facets(name: Any, facets: Any, shape: CellShape, n_points: int) -> Tensor:
    """The corners of a boundary's facets, (F, dimension)."""
    _check_name(name, "boundary")
    _check_tensor(facets, torch.int64, f"boundary {name!r}")
    allowed = (shape.dimension, len(shape.facets[0]))
    if facets.ndim != 2 or facets.shape[1] not in allowed:
        widths = " or ".join(str(n) for n in sorted(set(allowed)))
        raise ValueError(f"boundary {name!r} must have the shape (F, {widths}), got {tuple(facets.shape)}")
    check_range(facets, n_points, f"boundary {name!r}")
    corners: Tensor = facets[:, : shape.dimension]
    return corners


def check_subdomain(name: Any, index: Any, n_cells: int) -> Tensor:
    """(n,) different cells."""
    _check_name(name, "subdomain")
    _check_tensor(index, torch.int64, f"subdomain {name!r}")
    if index.ndim != 1:
        raise ValueError(f"subdomain {name!r} must have the shape (n,), got {tuple(index.shape)}")
    check_range(index, n_cells, f"subdomain {name!r}", "cells")
    seen = torch.zeros(n_cells, dtype=torch.bool)
    seen[index] = True
    if int(seen.sum()) != len(index):
        raise ValueError(f"subdomain {name!r} names a cell twice: name each once")
    return _kept(index)


def check_range(index: Tensor, n: int, what: str, of: str = "points") -> None:
    """All entries lie in [0, n)."""
    if not index.numel():
        return
    low, high = int(index.min()), int(index.max())
    if low == 1 and high == n:
        raise ValueError(f"{what} number the {of} from 1 to {n}: number them from 0, subtract 1")
    if low < 0 or high >= n:
        raise ValueError(f"{what} must lie in 0 to {n - 1}, the {n} {of}; got {low if low < 0 else high}")


def _check_distinct(cells: Tensor) -> None:
    repeated = torch.zeros(len(cells), dtype=torch.bool)
    for start in range(0, len(cells), BLOCK):
        column = cells[start : start + BLOCK].T.contiguous()
        for i in range(1, len(column)):
            repeated[start : start + BLOCK] |= (column[:i] == column[i]).any(0)
    if bool(repeated.any()):
        row = int(repeated.nonzero()[0])
        raise ValueError(f"cell {row} has a node twice: {cells[row].tolist()} ({int(repeated.sum())} such cells)")


def _check_measures(points: Tensor, cells: Tensor) -> None:
    dimension, _ = SHAPES[int(points.shape[1]), int(cells.shape[1])]
    corners = cells[:, : dimension + 1]
    measures = signed_measures(points, corners)
    extent = (points.amax(0) - points.amin(0)).amax()
    # few are small beside the whole mesh; NaN, of coordinates whose products overflow, is among them
    small = (~(measures.abs() > FLAT * extent**dimension)).nonzero().squeeze(1)
    vertex = points[corners[small]]
    size = (vertex.amax(1) - vertex.amin(1)).amax(1) ** dimension
    flat = small[~(measures[small].abs() > FLAT * size)]
    if len(flat):
        _check_distinct(cells)
        row = int(flat[0])
        raise ValueError(
            f"cell {row} is degenerate, its measure is {float(measures[row]):.3g} ({len(flat)} such cells): remove or "
            "remesh it"
        )
    inverted = measures < 0
    if bool(inverted.any()):
        row = int(inverted.nonzero()[0])
        raise InvertedCellsError(
            f"cell {row} is inverted, its measure is {float(measures[row]):.3g} ({int(inverted.sum())} such cells): "
            "order its nodes the other way (turn_cells does)"
        )


def _check_name(name: Any, kind: str) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"the name of a {kind} must be a text that is not empty, got {name!r}")


def _check_tensor(tensor: Any, dtype: torch.dtype, what: str) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype != dtype:
        got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{what} must be a tensor of {dtype}, got {got}; use torch.as_tensor(..., dtype={dtype})")
    if tensor.requires_grad:
        raise ValueError(f"{what} require a gradient, which a mesh does not carry; pass {what}.detach()")


def _kept(tensor: Tensor) -> Tensor:
    """A copy on the CPU; inference tensors could never enter autograd later."""
    with torch.inference_mode(False):
        return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
