"""Triangles and tetrahedra as tables: where their facets are, and which cells share one.

Local nodes are in VTK's order. The first are the corners; then one on each edge, in the order of ``EDGES``. The
corners of a facet turn outwards: counter-clockwise seen from outside of a cell of positive measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

EDGES = {2: ((0, 1), (1, 2), (2, 0)), 3: ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))}
"""Dimension -> corners of each edge."""

FACETS = {2: ((0, 1), (1, 2), (2, 0)), 3: ((0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2))}
"""Dimension -> corners of each facet, turning outwards."""

SHAPES = {(2, 3): (2, 1), (2, 6): (2, 2), (3, 4): (3, 1), (3, 10): (3, 2), (3, 3): (2, 1), (3, 6): (2, 2)}
"""(space dimension, nodes per cell) -> (dimension of a cell, order)."""

INT64_MAX = torch.iinfo(torch.int64).max


class Facets(NamedTuple):
    """The facets of all cells, each once.

    Arguments:
        corners: (F, d) nodes, rising in each row.
        cells: (F, 2) the cells on both sides; the second is -1 at the boundary.
        of_cell: (C, d + 1) the facets of each cell, in the order of ``FACETS``.
        most: largest number of cells that share one facet; 2 in a manifold.
        flipped: (F,) whether both cells see the facet turn the same way, which happens where cells lie over each other.
    """

    corners: Tensor
    cells: Tensor
    of_cell: Tensor
    most: int
    flipped: Tensor


@dataclass(frozen=True)
class CellShape:
    """A kind of cell.

    Arguments:
        dimension: 2 (triangle) or 3 (tetrahedron).
        order: 1 (corners only) or 2 (also the middles of edges).
    """

    dimension: int
    order: int

    @property
    def n_nodes(self) -> int:
        """Nodes of a cell."""
        return self.dimension + 1 + (len(EDGES[self.dimension]) if self.order == 2 else 0)

    @property
    def facets(self) -> tuple[tuple[int, ...], ...]:
        """Local nodes of each facet: corners, then the middles of its edges."""
        if self.order == 1:
            return FACETS[self.dimension]
        middle = {frozenset(edge): self.dimension + 1 + i for i, edge in enumerate(EDGES[self.dimension])}
        return tuple(
            (*facet, *(middle[frozenset(edge)] for edge in _closed(facet))) for facet in FACETS[self.dimension]
        )


def _closed(facet: tuple[int, ...]) -> list[tuple[int, int]]:
    """The edges of a facet: one for a line, three for a triangle."""
    if len(facet) == 2:
        return [(facet[0], facet[1])]
    return list(zip(facet, (*facet[1:], facet[0]), strict=True))


def row_keys(rows: Tensor, n: int) -> Tensor:
    """One integer for each row, equal for equal rows and ordered like them.

    Arguments:
        rows: (r, c) of integers in [0, n).
        n: number of values.
    """
    key, size = rows[:, 0], n
    for column in rows.unbind(1)[1:]:
        if size > INT64_MAX // n:  # too many for one integer: number what occurs
            distinct, key = torch.unique(key, return_inverse=True)
            size = len(distinct)
        key, size = key * n + column, size * n
    return key


def cell_facets(corners: Tensor, n_points: int) -> Facets:
    """The facets of cells, and who shares them.

    Arguments:
        corners: (C, d + 1) the corners of each cell.
        n_points: their number.
    """
    n_cells, dimension = len(corners), corners.shape[1] - 1
    local = torch.tensor(FACETS[dimension], device=corners.device)
    facets = corners[:, local].flatten(0, 1)  # (C (d + 1), d)
    in_order, place = facets.sort(1)
    # the parity of the sorting permutation tells which way the cell sees its facet turn
    odd = torch.zeros(len(facets), dtype=torch.bool, device=corners.device)
    for i in range(dimension):
        for j in range(i + 1, dimension):
            odd ^= place[:, i] > place[:, j]
    keys, order = row_keys(in_order, n_points).sort(stable=True)
    first = torch.ones(len(keys), dtype=torch.bool, device=corners.device)
    first[1:] = keys[1:] != keys[:-1]
    number = first.cumsum(0) - 1
    start = first.nonzero().squeeze(1)
    count = torch.diff(start, append=start.new_tensor([len(keys)]))
    of_cell = torch.empty_like(number)
    of_cell[order] = number
    owner = order // (dimension + 1)
    second = torch.where(count > 1, owner[(start + 1).clamp(max=len(owner) - 1)], -1)
    odd = odd[order]
    flipped = (count > 1) & (odd[start] == odd[(start + 1).clamp(max=len(owner) - 1)])
    return Facets(
        corners=in_order[order[start]],
        cells=torch.stack([owner[start], second], 1),
        of_cell=of_cell.reshape(n_cells, dimension + 1),
        most=int(count.max()),
        flipped=flipped,
    )


def find_rows(rows: Tensor, table: Tensor, n: int) -> Tensor:
    """The place of each row in a table, -1 where it is not there.

    Arguments:
        rows: (r, c) integers in [0, n).
        table: (m, c), each row once.
        n: number of values.
    """
    if not len(rows) or not len(table):
        return torch.full((len(rows),), -1, dtype=torch.int64, device=rows.device)
    keys = row_keys(torch.cat([table, rows]), n)
    wanted = keys[len(table) :]
    known, order = keys[: len(table)].sort()
    place = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    return torch.where(known[place] == wanted, order[place], -1)


def signed_measures(points: Tensor, corners: Tensor) -> Tensor:
    """Signed areas or volumes, det[v₁ - v₀, ..., v_d - v₀] / d!; areas of triangles in space have no sign.

    Arguments:
        points: (P, d).
        corners: (C, d + 1), or (C, 3) of triangles in space.

    Returns:
        (C,).
    """
    vertex = points[corners]
    sides = vertex[:, 1:] - vertex[:, :1]
    if sides.shape[1] < sides.shape[2]:
        length: Tensor = torch.linalg.vector_norm(torch.linalg.cross(sides[:, 0], sides[:, 1]), dim=1)
        return length / 2
    product: Tensor
    if sides.shape[1] == 2:
        product = sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]
        return product / 2
    product = (torch.linalg.cross(sides[:, 0], sides[:, 1]) * sides[:, 2]).sum(1)
    return product / 6
