"""Repairs of arrays that are to become a mesh: each changes one thing and loses nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.simplex_topology import EDGES, SHAPES, CellShape, signed_measures


def turn_cells(points: Tensor, cells: Tensor) -> Tensor:
    """Cells with a positive measure: inverted ones get two corners swapped, and the middles of edges with them.

    Arguments:
        points: (P, d).
        cells: (C, k), k as for ``SimplexMesh``.

    Returns:
        (C, k); the same tensor where no cell is inverted.
    """
    shape = CellShape(*SHAPES[int(points.shape[1]), int(cells.shape[1])])
    inverted = (signed_measures(points, cells[:, : shape.dimension + 1]) < 0).nonzero().squeeze(1)
    if not len(inverted):
        return cells
    turned = cells.clone()
    turned[inverted] = cells[inverted][:, _swapped(shape)]
    return turned


def turned_rows(rows: Tensor, which: Tensor) -> Tensor:
    """Rows of which the first two entries change places where ``which`` is true: linear cells turned round."""
    swapped = torch.cat([rows[:, [1, 0]], rows[:, 2:]], 1)
    return torch.where(which[:, None], swapped, rows)


def drop_unused(points: Tensor, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points that cells use, and the cells in their numbers.

    Arguments:
        points: (P, d).
        cells: (C, k).

    Returns:
        Points (Q, d), cells (C, k), and the new number of each old point, (P,), -1 for one that is gone.
    """
    used = torch.zeros(len(points), dtype=torch.bool)
    used[cells.reshape(-1)] = True
    if bool(used.all()):
        return points, cells, torch.arange(len(points))
    number = torch.where(used, used.cumsum(0) - 1, -1)
    return points[used], number[cells], number


def merge_nodes(points: Tensor, cells: Tensor, distance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Points closer than a distance become one: chains of them too.

    Arguments:
        points: (P, d).
        cells: (C, k).
        distance: largest between two that are one. Good values: 1e-6 of the shortest edge.

    Returns:
        Points (Q, d), the first of each group; cells (C, k); and the new number of each old point, (P,).

    Raises:
        ValueError: a distance that is not positive.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if not distance > 0:
        raise ValueError(f"the distance must be positive, got {distance}")
    pairs = cKDTree(points.numpy()).query_pairs(distance, output_type="ndarray")
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    _, label = connected_components(links, directed=False)
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # new points in the order of the old
    new = torch.from_numpy(rank[number.reshape(-1)].astype(np.int64))
    return points[torch.from_numpy(np.sort(first))], new[cells], new


def _swapped(shape: CellShape) -> list[int]:
    """The local nodes after corners 0 and 1 changed places."""
    swap = {0: 1, 1: 0}
    nodes = [swap.get(i, i) for i in range(shape.dimension + 1)]
    if shape.order == 2:
        edges = [frozenset(edge) for edge in EDGES[shape.dimension]]
        moved = [frozenset(swap.get(i, i) for i in edge) for edge in EDGES[shape.dimension]]
        nodes += [shape.dimension + 1 + edges.index(edge) for edge in moved]
    return nodes
