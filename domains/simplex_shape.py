"""Shape functions of linear and quadratic simplices: where points of a cell lie, and how the cell is stretched."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.domains.simplex_topology import EDGES


def node_places(dimension: int, order: int) -> Tensor:
    """Barycentric coordinates of the nodes of a cell, (k, dimension + 1) float64, in VTK's order.

    Arguments:
        dimension, order: of the cell.
    """
    corners = torch.eye(dimension + 1, dtype=torch.float64)
    if order == 1:
        return corners
    return torch.cat([corners, corners[torch.tensor(EDGES[dimension])].mean(1)])


def shape_values(places: Tensor, order: int) -> Tensor:
    """N at places of a cell: λ_i, or λ_i (2 λ_i - 1) at corners and 4 λ_i λ_j on edges.

    Arguments:
        places: (q, dimension + 1) barycentric coordinates.
        order: 1 or 2.

    Returns:
        (q, k).
    """
    if order == 1:
        return places
    first, second = torch.tensor(EDGES[places.shape[1] - 1]).unbind(1)
    return torch.cat([places * (2 * places - 1), 4 * places[:, first] * places[:, second]], 1)


def shape_slopes(places: Tensor, order: int) -> Tensor:
    """∂N/∂λ at places of a cell, (q, k, dimension + 1); arguments as ``shape_values``."""
    count = places.shape[1]
    if order == 1:
        return torch.eye(count, dtype=places.dtype).expand(len(places), count, count)
    first, second = torch.tensor(EDGES[count - 1]).unbind(1)
    edges = torch.zeros(len(places), len(first), count, dtype=places.dtype)
    number = torch.arange(len(first))
    edges[:, number, first] = 4 * places[:, second]
    edges[:, number, second] = 4 * places[:, first]
    return torch.cat([torch.diag_embed(4 * places - 1), edges], 1)


def positions(points: Tensor, cells: Tensor, places: Tensor, order: int) -> Tensor:
    """Where places of the cells lie, (C, q, d).

    Arguments:
        points: (P, d).
        cells: (C, k).
        places: (q, dimension + 1) barycentric coordinates.
        order: 1 or 2.
    """
    return torch.einsum("qk,ckd->cqd", shape_values(places, order), points[cells])


def jacobian_determinants(points: Tensor, cells: Tensor, places: Tensor, order: int) -> Tensor:
    """det ∂x/∂ξ at places of the cells, (C, q), ξ = λ_1, ..., λ_d; constant d! |cell| on linear ones.

    Arguments as ``positions``; cells as many-dimensional as their space.
    """
    slopes = shape_slopes(places, order)
    jacobian = torch.einsum("qkj,ckd->cqdj", slopes[..., 1:] - slopes[..., :1], points[cells])
    determinant: Tensor = torch.linalg.det(jacobian)
    return determinant
