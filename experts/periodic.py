"""Rows that tie the two ends of a periodic axis together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.experts.rows import Expand
from pdesolve.nonlinear.rows import InterfaceBlock, RowBlock
from pdesolve.problem import Problem


def periodic_rows(
    problem: Problem,
    discretization: AbstractDiscretization,
    decomposition: Decomposition,
    expand: Expand,
    count: int,
    generator: torch.Generator,
    weight: float,
    coupled: bool,
) -> tuple[list[RowBlock], list[InterfaceBlock]]:
    """[∂_n^j u] = 0 between both ends of every periodic axis, j below the equation's order along it.

    Row j is weight * extent^j * jump / sqrt(count). With one patch along the axis these are rows of that patch, with
    several they tie the first patch to the last.

    Arguments:
        weight: factor beside the rows of the equation.
        coupled: whether patches may be tied together at all.

    Raises:
        ValueError: several patches along a periodic axis, but independent experts.
    """
    rows: list[RowBlock] = []
    interfaces: list[InterfaceBlock] = []
    for field, axes in problem.resolved.periodic.items():
        for axis in axes:
            lower, upper = (_touching(decomposition, name) for name in BOUNDARIES[axis])
            first = discretization.face(decomposition, lower, BOUNDARIES[axis][0], count, generator)
            last = _moved(first, discretization, problem, axis)
            orders = tuple(axis * j for j in range(max(1, problem.trace.order(axis))))
            component = problem.field_names.index(field)
            near, far = (_stacked(expand(points, orders).double(), orders, component) for points in (first, last))
            scale = [weight * problem.domain.extent(axis) ** j / count**0.5 for j in range(len(orders))]
            omega = torch.tensor(scale, dtype=torch.float64, device=near[0].device).repeat_interleave(count)
            if lower == upper:
                rows.append(_block(near[0] - far[0], near[1] - far[1], omega))
                continue
            if not coupled:
                raise ValueError(
                    f"{len(decomposition.patches)} independent patches cannot be periodic along {axis!r}: use "
                    "InterfaceRows(), or one patch along that axis"
                )
            edges = tuple(zip(lower, upper, strict=True))
            interfaces.append(InterfaceBlock(edges, near[0], far[0], near[1] - far[1], omega.expand(1, 1, -1)))
    return rows, interfaces


def _touching(decomposition: Decomposition, boundary: str) -> list[int]:
    return [p.index for p in decomposition.patches if boundary in decomposition.boundaries_of(p.index)]


def _moved(points: Points, discretization: AbstractDiscretization, problem: Problem, axis: str) -> Points:
    """The same points on the opposite end of the axis."""
    coordinates = dict(points.coordinates)
    coordinates[axis] = torch.full_like(coordinates[axis], problem.domain.bounds(axis)[1])
    nodes = points.nodes
    if nodes is not None and discretization.grid is not None:
        nodes = nodes.clone()
        nodes[..., discretization.grid.axes.index(axis)] = len(discretization.grid.axis_nodes(axis)) - 1
    return Points(coordinates, nodes)


def _stacked(expansion: Expansion, orders: Sequence[str], component: int) -> tuple[Tensor, Tensor]:
    """Basis (batch, piece, order * point, unknown) and offset (batch, piece, order * point) of one component."""
    basis = torch.cat([expansion.basis[order][..., component, :] for order in orders], dim=2)
    offset = torch.cat([expansion.offset[order][..., component] for order in orders], dim=2)
    return basis, offset


def _block(basis: Tensor, offset: Tensor, weight: Tensor) -> RowBlock:
    return RowBlock(_first_term, (basis,), (offset,), (), weight.expand(1, 1, -1))


def _first_term(terms: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (terms[0],)
