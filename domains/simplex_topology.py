"""Triangles and tetrahedra as tables: where their facets are, and which cells share one.

Local nodes are in VTK's order. The first are the corners; then one on each edge, in the order of ``EDGES``. The
corners of a facet turn outwards: counter-clockwise seen from outside of a cell of positive measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

EDGES = {2: ((0, 1), (1, 2), (2, 0)), 3: ((0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3))}
"""Dimension -> corners of each edge."""

FACETS = {2: ((0, 1), (1, 2), (2, 0)), 3: ((0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2))}
"""Dimension -> corners of each facet, turning outwards."""

SHAPES = {(2, 3): (2, 1), (2, 6): (2, 2), (3, 4): (3, 1), (3, 10): (3, 2), (3, 3): (2, 1), (3, 6): (2, 2)}
"""(space dimension, nodes per cell) -> (dimension of a cell, order)."""

INT64_MAX = torch.iinfo(torch.int64).max
BLOCK = 1 << 13
Array = np.ndarray[Any, np.dtype[Any]]


class Facets(NamedTuple):
    """The facets of all cells, each once.

    Arguments:
        corners: (F, d) nodes, rising in each row.
        cells: (F, 2) the cells on both sides; the second is -1 at the boundary.
        of_cell: (C, d + 1) the facets of each cell, in the order of ``FACETS``.
    """

    corners: Tensor
    cells: Tensor
    of_cell: Tensor


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
    def name(self) -> str:
        """Such as ``"quadratic tetrahedra"``."""
        return ("quadratic " if self.order == 2 else "") + ("triangles" if self.dimension == 2 else "tetrahedra")

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


def turned_keys(corners: Tensor, n_points: int) -> Array:
    """A number for each facet of each cell, (C, d + 1), in the order of ``FACETS``.

    Halved, it tells the facet; its last bit tells which way the cell sees the facet turn, so two cells on opposite
    sides of a facet have numbers that differ in that bit alone.

    Arguments:
        corners: (C, d + 1) the corners of each cell.
        n_points: their number.
    """
    facets, n_facets = FACETS[corners.shape[1] - 1], corners.shape[1]
    if _is_large(n_facets - 1, n_points):
        rows = corners[:, torch.tensor(facets)].flatten(0, 1)
        in_order, place = rows.sort(1)
        odd = (
            sum((place[:, i] > place[:, j]).long() for i in range(n_facets - 1) for j in range(i + 1, n_facets - 1)) % 2
        )
        numbers = torch.unique(row_keys(in_order, n_points), return_inverse=True)[1]
        return np.asarray((2 * numbers + odd).reshape(-1, n_facets))
    keys = np.empty(tuple(corners.shape), dtype=np.int64)
    for start in range(0, len(corners), BLOCK):
        column = np.ascontiguousarray(corners[start : start + BLOCK].numpy().T)
        for i, facet in enumerate(facets):
            keys[start : start + BLOCK, i] = _turned_key([column[j] for j in facet], n_points)
    return keys


def _turned_key(columns: list[Array], n: int) -> Array:
    """Sorts two or three columns; every exchange turns the facet."""
    odd = np.zeros(len(columns[0]), dtype=np.bool_)
    for i, j in ((0, 1), (1, 2), (0, 1))[: 1 if len(columns) == 2 else 3]:
        odd ^= columns[i] > columns[j]
        columns[i], columns[j] = np.minimum(columns[i], columns[j]), np.maximum(columns[i], columns[j])
    key = columns[0]
    for column in columns[1:]:
        key = key * n + column
    result: Array = 2 * key + odd
    return result


def cell_facets(corners: Tensor, n_points: int) -> Facets:
    """The facets of cells, and who shares them.

    Arguments:
        corners: (C, d + 1) the corners of each cell.
        n_points: their number.
    """
    n_facets = corners.shape[1]
    keys = turned_keys(corners, n_points).reshape(-1)
    order = np.argsort(keys)
    facet = keys[order] >> 1
    first = np.ones(len(facet), dtype=np.bool_)
    np.not_equal(facet[1:], facet[:-1], out=first[1:])
    start = np.flatnonzero(first)
    owner = order // n_facets
    cells = np.full((len(start), 2), -1)
    cells[:, 0] = owner[start]
    shared = np.diff(start, append=len(facet)) > 1
    cells[shared, 1] = owner[start[shared] + 1]
    of_cell = np.empty(len(facet), dtype=np.int64)
    of_cell[order] = np.cumsum(first) - 1
    local = torch.tensor(FACETS[n_facets - 1])[torch.from_numpy(order[start] % n_facets)]
    nodes = corners[torch.from_numpy(cells[:, 0])].gather(1, local)
    return Facets(nodes.sort(1).values, torch.from_numpy(cells), torch.from_numpy(of_cell.reshape(-1, n_facets)))


def facet_nodes_of(numbers: Array, corners: Tensor, n_points: int) -> Tensor:
    """The corners, rising, of facets that are given by ``turned_keys`` halved.

    Arguments:
        numbers: (n,).
        corners: (C, d + 1) the corners of each cell.
        n_points: their number.

    Returns:
        (n, d).
    """
    dimension = corners.shape[1] - 1
    if _is_large(dimension, n_points):
        cell, side = np.isin(turned_keys(corners, n_points) >> 1, numbers).nonzero()
        local = torch.tensor(FACETS[dimension])[torch.from_numpy(side)]
        rows: Tensor = torch.unique(corners[torch.from_numpy(cell)].gather(1, local).sort(1).values, dim=0)
        return rows
    columns = []
    for _ in range(dimension):
        columns.append(numbers % n_points)
        numbers = numbers // n_points
    return torch.from_numpy(np.stack(columns[::-1], 1))


def turned_facets(keys: Array, facets: Tensor, n_points: int) -> tuple[Tensor, Tensor]:
    """Facets turning outwards of a cell that has them, and whether any has.

    Arguments:
        keys: ``turned_keys`` of all cells, sorted, such that ``countable`` holds.
        facets: (F, d) nodes in any order.
        n_points: number of points.

    Returns:
        Corners (F, d), and (F,).
    """
    rising = facets.sort(1).values
    wanted = 2 * row_keys(rising, n_points).numpy()
    there = keys[np.searchsorted(keys, wanted).clip(max=len(keys) - 1)]
    odd = torch.from_numpy(there & 1).bool()
    turned = torch.where(odd[:, None], torch.cat([rising[:, [1, 0]], rising[:, 2:]], 1), rising)
    return turned, torch.from_numpy(there >> 1 == wanted >> 1)


def countable(dimension: int, n_points: int) -> bool:
    """Whether ``turned_keys`` can be told from a facet's nodes alone."""
    return not _is_large(dimension, n_points)


def _is_large(dimension: int, n_points: int) -> bool:
    """Whether a facet's nodes and a bit do not fit one integer."""
    return bool(2 * n_points**dimension > INT64_MAX)


def facet_owners(corners: Tensor, facets: Tensor, n_points: int) -> tuple[Tensor, Tensor]:
    """A cell that has each facet, and the facet's place in ``FACETS`` there; -1 where no cell has it.

    Arguments:
        corners: (C, d + 1) the corners of each cell.
        facets: (F, d) nodes in any order.
        n_points: number of points.

    Returns:
        Cells and places, (F,) each.
    """
    dimension = corners.shape[1] - 1
    marked = torch.zeros(n_points, dtype=torch.int8)
    marked[facets.reshape(-1)] = 1
    count = torch.zeros(len(corners), dtype=torch.int8)
    for column in corners.unbind(1):
        count += marked[column]
    near = (count >= dimension).nonzero().squeeze(1)
    table = corners[near][:, torch.tensor(FACETS[dimension])].flatten(0, 1).sort(1).values
    place = find_rows(facets.sort(1).values, table, n_points)
    found = place >= 0
    place = place.clamp(min=0)
    if not len(near):
        return place - 1, place - 1
    return torch.where(found, near[place // (dimension + 1)], -1), torch.where(found, place % (dimension + 1), -1)


def find_rows(rows: Tensor, table: Tensor, n: int) -> Tensor:
    """The place of each row in a table, -1 where it is not there.

    Arguments:
        rows: (r, c) integers in [0, n).
        table: (m, c); of equal rows the first is found.
        n: number of values.
    """
    if not len(rows) or not len(table):
        return torch.full((len(rows),), -1, dtype=torch.int64, device=rows.device)
    keys = row_keys(torch.cat([table, rows]), n)
    wanted = keys[len(table) :]
    known, order = keys[: len(table)].sort(stable=True)
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
    measures = np.empty(len(corners))
    columns, index = [np.ascontiguousarray(column) for column in points.numpy().T], corners.numpy()
    for start in range(0, len(corners), BLOCK):  # what a block needs stays in the processor's cache
        block = np.ascontiguousarray(index[start : start + BLOCK].T)
        vertex = [column.take(block) for column in columns]  # each (corner, cell)
        with np.errstate(over="ignore", invalid="ignore"):  # NaN of huge coordinates is looked at by whoever asks
            measures[start : start + BLOCK] = _measure([v[1:] - v[0] for v in vertex])
    return torch.from_numpy(measures)


def _measure(sides: list[Array]) -> Array:
    """Of the coordinates of the sides, each (side, cell)."""
    if len(sides) == 2:
        (ax, bx), (ay, by) = sides
        product: Array = ax * by - ay * bx
        return product / 2
    x, y, z = sides
    normal = (y[0] * z[1] - z[0] * y[1], z[0] * x[1] - x[0] * z[1], x[0] * y[1] - y[0] * x[1])
    if len(x) == 2:
        length: Array = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
        return length / 2
    volume: Array = normal[0] * x[2] + normal[1] * y[2] + normal[2] * z[2]
    return volume / 6
