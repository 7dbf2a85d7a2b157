"""Finer meshes, and the same mesh in another order."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_repair import drop_unused, turned_rows
from pdesolve.domains.simplex_shape import node_places, shape_values
from pdesolve.domains.simplex_topology import EDGES, row_keys, signed_measures

TRIANGLES = ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5))
CORNERS = ((0, 4, 6, 7), (4, 1, 5, 8), (6, 5, 2, 9), (7, 8, 9, 3))
DIAGONALS = {(4, 9): (5, 6, 7, 8), (5, 7): (4, 6, 9, 8), (6, 8): (4, 5, 9, 7)}
"""Diagonal of the octahedron that is left -> the ring of the other four nodes around it."""

LINES = ((0, 2), (2, 1))


def to_quadratic(mesh: SimplexMesh) -> SimplexMesh:
    """The mesh with a node in the middle of each edge, after the nodes it has; straight edges.

    Arguments:
        mesh: linear; a quadratic one is given back.
    """
    if mesh.order == 2:
        return mesh
    ends = mesh.cells[:, torch.tensor(EDGES[mesh.dimension])].flatten(0, 1).sort(1).values
    _, number = torch.unique(row_keys(ends, mesh.n_nodes), return_inverse=True)
    pairs = torch.empty(int(number.max()) + 1, 2, dtype=torch.int64)
    pairs[number] = ends
    points = torch.cat([mesh.points, mesh.points[pairs].mean(1)])
    cells = torch.cat([mesh.cells, number.reshape(mesh.n_cells, -1) + mesh.n_nodes], 1)
    return SimplexMesh(points, cells, mesh.boundaries, mesh.subdomains)


def to_linear(mesh: SimplexMesh) -> SimplexMesh:
    """The mesh of the corners alone.

    Arguments:
        mesh: quadratic; a linear one is given back.
    """
    if mesh.order == 1:
        return mesh
    points, cells, number = drop_unused(mesh.points, mesh.corners)
    boundaries = {name: number[facets[:, : mesh.dimension]] for name, facets in mesh.boundaries.items()}
    return SimplexMesh(points, cells, boundaries, mesh.subdomains)


def refine(mesh: SimplexMesh, times: int = 1) -> SimplexMesh:
    """Every edge halved: a triangle becomes 4, a tetrahedron 8, curved edges stay on their curve; names are kept.

    The octahedron in the middle of a tetrahedron is cut along its shortest diagonal.

    Arguments:
        mesh: of any kind.
        times: how often (default 1).

    Raises:
        ValueError: a negative number of times.

    Source: Bey, Tetrahedral grid refinement, Computing 55 (1995), for which diagonals keep shapes bounded.
    """
    if times < 0:
        raise ValueError(f"times must be 0 or more, got {times}")
    for _ in range(times):
        mesh = _halved(mesh)
    return mesh


def _halved(mesh: SimplexMesh) -> SimplexMesh:
    parent = to_quadratic(mesh)
    local = _children(parent)  # (C, children, d + 1) local nodes
    count = local.shape[1]
    cells = parent.cells[:, None].expand(-1, count, -1).gather(2, local).flatten(0, 1)
    inverted = signed_measures(parent.points, cells) < 0
    local, cells = turned_rows(local.flatten(0, 1), inverted), turned_rows(cells, inverted)
    boundaries = {name: _split(facets, mesh.dimension) for name, facets in parent.boundaries.items()}
    offsets = torch.arange(count)
    subdomains = {name: (index[:, None] * count + offsets).reshape(-1) for name, index in mesh.subdomains.items()}
    fine = SimplexMesh(parent.points, cells, boundaries, subdomains)
    return fine if mesh.order == 1 else _curved(parent, to_quadratic(fine), local)


def _children(parent: SimplexMesh) -> Tensor:
    if parent.dimension == 2:
        return torch.tensor(TRIANGLES).expand(parent.n_cells, -1, -1)
    point = parent.points[parent.cells]
    ends = torch.tensor(list(DIAGONALS))
    shortest = torch.linalg.vector_norm(point[:, ends[:, 0]] - point[:, ends[:, 1]], dim=2).argmin(1)
    inner = torch.tensor([[(*axis, ring[i], ring[(i + 1) % 4]) for i in range(4)] for axis, ring in DIAGONALS.items()])
    return torch.cat([torch.tensor(CORNERS).expand(parent.n_cells, -1, -1), inner[shortest]], 1)


def _split(facets: Tensor, dimension: int) -> Tensor:
    table = LINES if dimension == 2 else TRIANGLES
    return facets[:, torch.tensor(table)].flatten(0, 1)


def _curved(parent: SimplexMesh, fine: SimplexMesh, local: Tensor) -> SimplexMesh:
    """The middles of the new edges on the curves of the old cells."""
    places = node_places(parent.dimension, 2)[local]  # (cell, corner, barycentric)
    middles = places[:, torch.tensor(EDGES[parent.dimension])].mean(2)
    share = shape_values(middles.flatten(0, 1), 2).reshape(*middles.shape[:2], -1)
    owner = torch.arange(parent.n_cells).repeat_interleave(len(local) // parent.n_cells)
    points = fine.points.clone()
    points[fine.cells[:, parent.dimension + 1 :]] = share @ parent.points[parent.cells[owner]]
    return SimplexMesh(points, fine.cells, fine.boundaries, fine.subdomains)
