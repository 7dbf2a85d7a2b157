"""Repairs of arrays that are to become a mesh: each changes one thing and loses nothing."""

from __future__ import annotations

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
    inverted = signed_measures(points, cells[:, : shape.dimension + 1]) < 0
    if not bool(inverted.any()):
        return cells
    return torch.where(inverted[:, None], cells[:, _swapped(shape)], cells)


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
    number = torch.where(used, used.cumsum(0) - 1, -1)
    return points[used], number[cells], number


def _swapped(shape: CellShape) -> list[int]:
    """The local nodes after corners 0 and 1 changed places."""
    swap = {0: 1, 1: 0}
    nodes = [swap.get(i, i) for i in range(shape.dimension + 1)]
    if shape.order == 2:
        edges = [frozenset(edge) for edge in EDGES[shape.dimension]]
        moved = [frozenset(swap.get(i, i) for i in edge) for edge in EDGES[shape.dimension]]
        nodes += [shape.dimension + 1 + edges.index(edge) for edge in moved]
    return nodes
