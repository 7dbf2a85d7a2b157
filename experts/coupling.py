"""How patches of one sample are tied together in the inner solve."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.discretization.abstract import Points
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.experts.flow import flow_along
from pdesolve.experts.patch_context import PatchContext
from pdesolve.nonlinear.rows import InterfaceBlock


class AbstractCoupling(abc.ABC):
    """Adds rows between neighbouring patches."""

    ties_patches: bool = True
    """Whether rows may reach over two patches; if not, every patch is solved by itself."""

    @abc.abstractmethod
    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        """Blocks between patches; none leaves the patches independent.

        Arguments:
            context: problem, patches and basis.
            count: points on each interface.
        """


@dataclass(frozen=True)
class Independent(AbstractCoupling):
    """No rows between patches: every patch is solved by itself, as published.

    Notes:
        A patch without initial or boundary data of its own is not determined by the equation alone: neighbours
        then disagree at their interface however small the residual (docs/benchmarks.md shows by how much).

    Source: Chalapathi, Du & Krishnapriyan, ICLR 2024.
    """

    ties_patches = False

    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        return []


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

    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        axes = [axis for axis in context.problem.domain.axes if context.interfaces(axis)]
        return [self._block(context, axis, count) for axis in axes]

    def _block(self, context: PatchContext, axis: str, count: int) -> InterfaceBlock:
        faces, shared = context.interfaces(axis), context.normal_derivatives(axis)
        points = interface_points(context, axis, count)
        expansion = context.expand(points, tuple({o for _, o in shared}))
        widths = [context.decomposition.patches[f.patches[0]].box.extent(axis) for f in faces]
        sides, weights = [], []
        for field, order in shared:
            side = expansion.basis[order][..., context.problem.field_names.index(field), :]  # (batch, edge, point, n)
            scale = self.weight * torch.tensor(widths, dtype=side.dtype, device=side.device) ** len(order)
            sides.append(side)
            weights.append(scale.unsqueeze(-1) * points.share())
        rows = torch.cat(sides, dim=2)
        edges = tuple((min(f.patches), max(f.patches)) for f in faces)  # both sides are the same fields here
        along = flow_along(context.problem, axis)
        flow = tuple(along if edge == f.patches else -along for edge, f in zip(edges, faces, strict=True))
        weight = torch.cat(weights, dim=1).unsqueeze(0)
        return InterfaceBlock(edges, rows, rows, torch.zeros_like(rows[..., 0]), weight, flow if along else ())


def interface_points(context: PatchContext, axis: str, count: int) -> Points:
    """Points on the interfaces of one axis: on the upper face of each lower patch."""
    return context.face(BOUNDARIES[axis][1], count, [f.patches[0] for f in context.interfaces(axis)])


@dataclass(frozen=True, eq=False)
class Jump:
    """How far neighbours disagree in one derivative, and how large it is there.

    Arguments:
        difference: largest |left - right| over all interface points, (batch,).
        size: largest |value| over the same points and both sides, (batch,).
    """

    difference: Tensor
    size: Tensor


def interface_jumps(context: PatchContext, w: Tensor, count: int) -> dict[str, Jump]:
    """Disagreement of neighbours at their interfaces, by derivative name ("" is the value).

    Arguments:
        context: problem, patches and basis.
        w: weights, (batch, patch, n_basis).
        count: points on each interface.
    """
    found: dict[str, Jump] = {}
    for axis in context.problem.domain.axes:
        faces = context.interfaces(axis)
        if not faces:
            continue
        orders = tuple(dict.fromkeys(order for _, order in context.normal_derivatives(axis)))
        expansion = context.expand(interface_points(context, axis, count), orders)
        ends = [torch.tensor(e, device=w.device) for e in zip(*(f.patches for f in faces), strict=True)]
        for order in orders:
            basis, offset = expansion.basis[order], expansion.offset[order]
            a, b = (offset + (basis * w[:, end][:, :, None, None, :]).sum(-1) for end in ends)
            jump = Jump(_largest(a - b), torch.maximum(_largest(a), _largest(b)))
            found[order] = _larger(found[order], jump) if order in found else jump
    return found


def _largest(values: Tensor) -> Tensor:
    return values.abs().flatten(1).amax(1)


def _larger(a: Jump, b: Jump) -> Jump:
    return Jump(torch.maximum(a.difference, b.difference), torch.maximum(a.size, b.size))
