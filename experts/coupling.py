"""How patches of one sample are tied together in the inner solve."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.discretization.abstract import Expansion, Points
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.experts.flow import flow_along
from pdesolve.experts.layout import Layout
from pdesolve.experts.patch_context import PatchContext
from pdesolve.nonlinear.rows import InterfaceBlock
from pdesolve.problem import Problem


@dataclass(frozen=True, eq=False)
class Jump:
    """How far neighbours disagree in one derivative, and how large it is there.

    Arguments:
        difference: largest |left - right| over all points that were looked at, (batch,).
        size: largest |value| over the same points and both sides, (batch,).
    """

    difference: Tensor
    size: Tensor


class AbstractCoupling(abc.ABC):
    """Says which boxes carry rows, adds rows between neighbours, and joins what the patches found."""

    ties_patches: bool = True
    """Whether rows may reach over two patches; if not, every patch is solved by itself."""

    @abc.abstractmethod
    def layout(self, decomposition: Decomposition, problem: Problem) -> Layout:
        """The boxes in which patches carry rows, and how their fields make one.

        Arguments:
            decomposition: the patches as the user cut them.
            problem: equation and conditions.
        """

    @abc.abstractmethod
    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        """Blocks between patches; none leaves the patches independent.

        Arguments:
            context: problem, patches and basis.
            count: points on each interface.
        """

    @abc.abstractmethod
    def jumps(self, context: PatchContext, w: Tensor, count: int) -> dict[str, Jump]:
        """Disagreement of neighbours where their fields are joined, by derivative name ("" is the value).

        Arguments:
            context: problem, patches and basis.
            w: weights, (batch, patch, n_basis).
            count: points on each interface.
        """


@final
@dataclass(frozen=True)
class Independent(AbstractCoupling):
    """No rows between patches: every patch is solved by itself, as published.

    Notes:
        A patch without initial or boundary data of its own is not determined by the equation alone: neighbours
        then disagree at their interface however small the residual (docs/benchmarks.md shows by how much).

    Source: Chalapathi, Du & Krishnapriyan, ICLR 2024.
    """

    ties_patches = False

    def layout(self, decomposition: Decomposition, problem: Problem) -> Layout:
        return Layout(decomposition, decomposition)

    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        return []

    def jumps(self, context: PatchContext, w: Tensor, count: int) -> dict[str, Jump]:
        return interface_jumps(context, w, count)


@final
@dataclass(frozen=True)
class InterfaceRows(AbstractCoupling):
    """Neighbours agree in value and normal derivatives below the equation's order across their interface.

    Second order: value and flux, which both sides feel: all patches are one least-squares problem. Where information
    runs one way along an axis (``flow_along``: first-order transport with its condition on one side, and time) the
    rows determine the patch behind the interface only: patches are solved in that order, each with its neighbour's
    values as data, so what happens downwind does not reach upwind. Transport: value only, from the upwind side.
    Row j is weight * (patch width)^j [∂_n^j u] / sqrt(count), so all have the units of u.

    Arguments:
        weight: factor beside the rows of the equation (default 20).

    Raises:
        ValueError: a weight that is not positive and finite.

    Notes:
        K patches along an axis with a direction are K solves one after another. The weights then minimise each
        patch's own cost, not the sum: with ``DetachedAdjoint`` training follows each patch's own gradient and leaves
        out what a patch does to those behind it; ``ImplicitAdjoint`` gives the gradient of the sum.

    Good values: 3 to 20. On diffusion-sorption a backbone trained with 3 has two thirds of the error of one trained
    with 20, and five times its jumps (docs/benchmarks.md).
    """

    weight: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be finite and > 0, got {self.weight}")

    def layout(self, decomposition: Decomposition, problem: Problem) -> Layout:
        return Layout(decomposition, decomposition)

    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        axes = [axis for axis in context.problem.domain.axes if context.interfaces(axis)]
        return [self._block(context, axis, count) for axis in axes]

    def jumps(self, context: PatchContext, w: Tensor, count: int) -> dict[str, Jump]:
        return interface_jumps(context, w, count)

    def _block(self, context: PatchContext, axis: str, count: int) -> InterfaceBlock:
        points = interface_points(context, axis, count)
        return agreement(context, axis, points, context.normal_derivatives(axis), self.weight)


def agreement(
    context: PatchContext, axis: str, points: Points, shared: Sequence[tuple[str, str]], weight: float
) -> InterfaceBlock:
    """Rows weight * (patch width)^j [∂_n^j u] / sqrt(count) between the neighbours along one axis.

    Arguments:
        context: problem, patches and basis.
        axis: whose interfaces; they determine one side only where information runs one way (``flow_along``).
        points: where, one piece for each of these interfaces.
        shared: (field, derivative) of each row.
        weight: factor beside the rows of the equation.
    """
    faces = context.interfaces(axis)
    edges = tuple((min(f.patches), max(f.patches)) for f in faces)
    both = context.expand_sides(points, edges, tuple({o for _, o in shared}))
    widths = [context.decomposition.patches[f.patches[0]].box.extent(axis) for f in faces]
    weights = []
    for _, order in shared:
        scale = weight * torch.tensor(widths, dtype=torch.float64, device=points.device) ** len(order)
        weights.append(scale.unsqueeze(-1) * points.share())
    left = _sided(context, both[0], shared)
    right = left if both[1] is both[0] else _sided(context, both[1], shared)
    along = flow_along(context.problem, axis)
    flow = tuple(along if edge == f.patches else -along for edge, f in zip(edges, faces, strict=True))
    omega = torch.cat(weights, dim=1).unsqueeze(0)
    return InterfaceBlock(edges, left, right, torch.zeros_like(left[..., 0]), omega, flow if along else ())


def _sided(context: PatchContext, expansion: Expansion, shared: Sequence[tuple[str, str]]) -> Tensor:
    """The basis of one side for all rows, (batch, edge, row, unknown)."""
    index = context.problem.field_names.index
    return torch.cat([expansion.basis[order][..., index(field), :] for field, order in shared], dim=2)


def interface_points(context: PatchContext, axis: str, count: int) -> Points:
    """Points on the interfaces of one axis: on the upper face of each lower patch."""
    return context.face(BOUNDARIES[axis][1], count, [f.patches[0] for f in context.interfaces(axis)])


def interface_jumps(context: PatchContext, w: Tensor, count: int) -> dict[str, Jump]:
    """Disagreement of neighbours at their interfaces, by derivative name ("" is the value).

    Arguments:
        context: problem, patches and basis.
        w: weights, (batch, patch, n_basis).
        count: points on each interface.
    """
    found: dict[str, Jump] = {}
    for axis in context.problem.domain.axes:
        if context.interfaces(axis):
            add_jumps(found, context, axis, interface_points(context, axis, count), w)
    return found


def add_jumps(found: dict[str, Jump], context: PatchContext, axis: str, points: Points, w: Tensor) -> None:
    """Join what neighbours along one axis disagree in at points to what was found along others."""
    pairs = [face.patches for face in context.interfaces(axis)]
    orders = tuple(dict.fromkeys(order for _, order in context.normal_derivatives(axis)))
    both = context.expand_sides(points, pairs, orders)
    ends = [torch.tensor(e, device=w.device) for e in zip(*pairs, strict=True)]
    for order in orders:
        a, b = (
            side.offset[order] + (side.basis[order] * w[:, end][:, :, None, None, :]).sum(-1)
            for side, end in zip(both, ends, strict=True)
        )
        jump = Jump(_largest(a - b), torch.maximum(_largest(a), _largest(b)))
        found[order] = _larger(found[order], jump) if order in found else jump


def _largest(values: Tensor) -> Tensor:
    return values.abs().flatten(1).amax(1)


def _larger(a: Jump, b: Jump) -> Jump:
    return Jump(torch.maximum(a.difference, b.difference), torch.maximum(a.size, b.size))
