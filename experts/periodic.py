"""Rows that tie the two ends of a periodic axis together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.experts.patch_context import PatchContext
from pdesolve.experts.shared_pieces import shared_pieces
from pdesolve.nonlinear.joint_rows import JointBlock
from pdesolve.nonlinear.rows import InterfaceBlock, RowBlock
from pdesolve.problem import Problem


def check_periodic_axes(problem: Problem, discretization: AbstractDiscretization) -> None:
    """Raise unless a problem is periodic along every axis along which the discretisation is.

    Raises:
        ValueError: a field with another condition there, or with derivatives and no condition.
    """
    resolved, kind = problem.resolved, type(discretization).__name__
    for axis in discretization.periodic_axes:
        ends = BOUNDARIES[axis]
        for name in problem.field_names:
            given = [face.boundary for face in resolved.faces if face.field == name and face.axis == axis]
            if given:
                raise ValueError(
                    f"{kind} is periodic along {axis!r}, but field {name!r} has a condition on {given[0]!r}: use "
                    "Periodic there, or FiniteDifferences along that axis"
                )
            if axis not in resolved.periodic.get(name, ()) and problem.trace.order(axis, name):
                raise ValueError(
                    f"{kind} is periodic along {axis!r}, but the problem does not say that field {name!r} agrees on "
                    f"{ends[0]!r} and {ends[1]!r}: add Periodic({axis!r}), or use FiniteDifferences along that axis"
                )


@dataclass(frozen=True, eq=False)
class PeriodicRows:
    """Rows between the ends of periodic axes.

    Arguments:
        rows: of patches that reach from one end to the other.
        interfaces: between patches at the two ends.
        joint: between the fields that several patches make at each end.
    """

    rows: list[RowBlock]
    interfaces: list[InterfaceBlock]
    joint: list[JointBlock]


def periodic_rows(context: PatchContext, count: int, weight: float, ties_patches: bool) -> PeriodicRows:
    """[∂_n^j u] = 0 between both ends of every periodic axis, j below the equation's order in the field.

    Row j is weight * extent^j * jump / sqrt(count). With one patch along the axis these are rows of that patch, with
    several they tie the first patch to the last. Where the discretisation is periodic itself, one patch needs no rows
    and independent patches differ at the ends as at any interface.

    Arguments:
        context: problem, patches and basis.
        count: points on each end.
        weight: factor beside the rows of the equation.
        ties_patches: whether rows may reach over two patches.

    Raises:
        ValueError: several patches along a periodic axis, but independent experts; a grid without nodes on both ends.
    """
    found = PeriodicRows([], [], [])
    for field, axes in context.problem.resolved.periodic.items():
        for axis in axes:
            lower, upper = (_touching(context, name) for name in BOUNDARIES[axis])
            if axis in context.discretization.periodic_axes and (lower == upper or not ties_patches):
                continue
            if lower != upper and not ties_patches:
                raise ValueError(
                    f"{len(context.decomposition.patches)} independent patches cannot be periodic along {axis!r}: use "
                    "InterfaceRows() or PartitionOfUnity(), or one patch along that axis"
                )
            if context.layout.mixed is not None:
                found.joint.extend(
                    _mixed_ends(context, context.layout.mixed, field, axis, (lower, upper), count, weight)
                )
                continue
            near, far, omega = _ends(context, field, axis, (lower, upper), count, weight)
            if lower == upper:
                found.rows.append(RowBlock(_jump, (near[0] - far[0],), (near[1] - far[1],), (), omega))
            else:
                found.interfaces.append(_tied(lower, upper, near, far, omega))
    return found


Side = tuple[Tensor, Tensor]
"""Basis (batch, piece, row, unknown) and offset (batch, piece, row) on one end."""


def _ends(
    context: PatchContext, field: str, axis: str, patches: tuple[list[int], list[int]], count: int, weight: float
) -> tuple[Side, Side, Tensor]:
    """Both ends at the same points, and the weights of their rows."""
    orders = [order for name, order in context.normal_derivatives(axis) if name == field]
    component, extent = context.problem.field_names.index(field), context.problem.domain.extent(axis)
    first = context.face(BOUNDARIES[axis][0], count, patches[0])
    second = _moved(context, first, axis).of(patches[1])
    sides = [_stacked(context.expand(points, orders), orders, component) for points in (first, second)]
    omega = torch.cat([weight * extent ** len(order) * first.share() for order in orders], dim=1)
    return sides[0], sides[1], omega.unsqueeze(0)


def _mixed_ends(
    context: PatchContext,
    mixed: OverlappingDecomposition,
    field: str,
    axis: str,
    patches: tuple[list[int], list[int]],
    count: int,
    weight: float,
) -> list[JointBlock]:
    """The same rows of the field that overlapping patches make."""
    orders = [order for name, order in context.normal_derivatives(axis) if name == field]
    component, extent = context.problem.field_names.index(field), context.problem.domain.extent(axis)
    first = context.face(BOUNDARIES[axis][0], count, patches[0])
    opposite = dict(zip(*patches, strict=True))
    found = []
    for piece in shared_pieces(mixed, first, first.share()):
        ends = [[opposite.get(p, p) for p in row] for row in piece.patches.tolist()]
        far = torch.tensor(ends, device=piece.patches.device)
        sides = [
            _stacked(context.expand_mixed(points, own, mixed, orders), orders, component)
            for points, own in ((piece.points, piece.patches), (_moved(context, piece.points, axis), far))
        ]
        omega = torch.cat([weight * extent ** len(order) * piece.weights(first.share()) for order in orders], dim=1)
        basis = torch.cat([sides[0][0], -sides[1][0]], dim=-1)
        block = RowBlock(_jump, (basis,), (sides[0][1] - sides[1][1],), (), omega.unsqueeze(0))
        found.append(JointBlock(block, tuple(map(tuple, torch.cat([piece.patches, far], dim=1).tolist()))))
    return found


def _tied(lower: Sequence[int], upper: Sequence[int], near: Side, far: Side, omega: Tensor) -> InterfaceBlock:
    """Rows between the first and the last patches, whichever has the smaller index on the left."""
    swap = torch.tensor([a > b for a, b in zip(lower, upper, strict=True)], device=omega.device)[:, None, None]
    edges = tuple((min(pair), max(pair)) for pair in zip(lower, upper, strict=True))
    offset = near[1] - far[1]
    return InterfaceBlock(
        edges,
        torch.where(swap, far[0], near[0]),
        torch.where(swap, near[0], far[0]),
        torch.where(swap[..., 0], -offset, offset),
        omega,
    )


def _touching(context: PatchContext, boundary: str) -> list[int]:
    decomposition = context.decomposition
    return [p.index for p in decomposition.patches if boundary in decomposition.boundaries_of(p.index)]


def _moved(context: PatchContext, points: Points, axis: str) -> Points:
    """The same points on the upper end of the axis; the very same where the discretisation knows one end only."""
    if axis in context.discretization.periodic_axes:
        return points
    coordinates, nodes, grid = dict(points.coordinates), points.nodes, context.discretization.grid
    coordinates[axis] = torch.full_like(coordinates[axis], context.problem.domain.bounds(axis)[1])
    if nodes is not None and grid is not None:
        if not grid.has_nodes_on(BOUNDARIES[axis][1]):
            raise ValueError(
                f"the grid leaves out the end of the periodic axis {axis!r}, whose nodes "
                f"{type(context.discretization).__name__} needs: use FourierSpectral(grid), or StructuredGrid.uniform"
            )
        nodes = nodes.clone()
        nodes[..., grid.axes.index(axis)] = len(grid.axis_nodes(axis)) - 1
    return Points(coordinates, nodes)


def _stacked(expansion: Expansion, orders: Sequence[str], component: int) -> Side:
    basis = torch.cat([expansion.basis[order][..., component, :] for order in orders], dim=2)
    offset = torch.cat([expansion.offset[order][..., component] for order in orders], dim=2)
    return basis, offset


def _jump(terms: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (terms[0],)
