"""How patches of one sample are tied together in the inner solve."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.domains.decomposition import Decomposition, Interface
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.experts.rows import Expand
from pdesolve.nonlinear.rows import InterfaceBlock
from pdesolve.problem import Problem


class AbstractCoupling(abc.ABC):
    """Adds rows between neighbouring patches."""

    ties_patches: bool = True
    """Whether rows may reach over two patches; if not, every patch is solved by itself."""

    @abc.abstractmethod
    def interfaces(
        self,
        problem: Problem,
        discretization: AbstractDiscretization,
        decomposition: Decomposition,
        expand: Expand,
        count: int,
        generator: torch.Generator,
    ) -> tuple[InterfaceBlock, ...]:
        """Blocks between patches; none leaves the patches independent.

        Arguments:
            problem: gives the order of the equation across each interface.
            discretization, decomposition: where the points are.
            expand: the basis at points, one piece for each interface.
            count: points on each interface.
            generator: chooses them.
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

    def interfaces(
        self,
        problem: Problem,
        discretization: AbstractDiscretization,
        decomposition: Decomposition,
        expand: Expand,
        count: int,
        generator: torch.Generator,
    ) -> tuple[InterfaceBlock, ...]:
        return ()


@dataclass(frozen=True)
class InterfaceRows(AbstractCoupling):
    """Neighbours agree in value and normal derivatives below the equation's order across their interface.

    Second order: value and flux. First order (transport, or an interface in time): value only; it is the downwind
    patch that the row determines, as its upwind neighbour is already fixed by its own rows.
    Row j is weight * (patch width)^j [∂_n^j u] / sqrt(count), so all have the units of u.

    Arguments:
        weight: factor beside the rows of the equation (default 3).
    """

    weight: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be finite and > 0, got {self.weight}")

    def interfaces(
        self,
        problem: Problem,
        discretization: AbstractDiscretization,
        decomposition: Decomposition,
        expand: Expand,
        count: int,
        generator: torch.Generator,
    ) -> tuple[InterfaceBlock, ...]:
        blocks = []
        for axis in problem.domain.axes:
            faces = [i for i in decomposition.interfaces if i.axis == axis]
            if faces:
                points = interface_points(discretization, decomposition, faces, axis, count, generator)
                orders = normal_derivatives(problem, axis)
                expansion = expand(points, tuple({o for _, o in orders})).double()
                blocks.append(self._block(problem, decomposition, faces, axis, expansion, points))
        return tuple(blocks)

    def _block(
        self,
        problem: Problem,
        decomposition: Decomposition,
        faces: list[Interface],
        axis: str,
        expansion: Expansion,
        points: Points,
    ) -> InterfaceBlock:
        widths = [decomposition.patches[f.patches[0]].box.extent(axis) for f in faces]
        sides, weights = [], []
        for field, order in normal_derivatives(problem, axis):
            side = expansion.basis[order][..., problem.field_names.index(field), :]  # (batch, edge, point, unknown)
            scale = self.weight * torch.tensor(widths, dtype=side.dtype, device=side.device) ** len(order)
            sides.append(side)
            weights.append((scale / points.shape[1] ** 0.5).unsqueeze(-1).expand(-1, side.shape[2]))
        rows = torch.cat(sides, dim=2)
        offset = torch.zeros_like(rows[..., 0])
        edges = tuple((min(f.patches), max(f.patches)) for f in faces)  # both sides are the same fields here
        return InterfaceBlock(edges, rows, rows, offset, torch.cat(weights, dim=1).unsqueeze(0))


def normal_derivatives(problem: Problem, axis: str) -> tuple[tuple[str, str], ...]:
    """(field, derivative) of what neighbours share across an axis: as many as the equation's order in each field."""
    return tuple(
        (field, axis * j) for field in problem.field_names for j in range(max(1, problem.trace.order(axis, field)))
    )


def interface_points(
    discretization: AbstractDiscretization,
    decomposition: Decomposition,
    faces: list[Interface],
    axis: str,
    count: int,
    generator: torch.Generator,
) -> Points:
    """Points on interfaces of one axis: on the upper face of each lower patch."""
    return discretization.face(decomposition, [f.patches[0] for f in faces], BOUNDARIES[axis][1], count, generator)


@dataclass(frozen=True, eq=False)
class Jump:
    """How far neighbours disagree in one derivative, and how large it is there.

    Arguments:
        difference: largest |left - right| over all interface points, (batch,).
        size: largest |value| over the same points and both sides, (batch,).
    """

    difference: Tensor
    size: Tensor


def interface_jumps(
    problem: Problem,
    discretization: AbstractDiscretization,
    decomposition: Decomposition,
    expand: Expand,
    w: Tensor,
    count: int,
    generator: torch.Generator,
) -> dict[str, Jump]:
    """Disagreement of neighbours at their interfaces, by derivative name ("" is the value).

    Arguments:
        w: weights, (batch, patch, n_basis). The rest as ``AbstractCoupling.interfaces``.
    """
    found: dict[str, Jump] = {}
    for axis in problem.domain.axes:
        faces = [i for i in decomposition.interfaces if i.axis == axis]
        if not faces:
            continue
        points = interface_points(discretization, decomposition, faces, axis, count, generator)
        orders = tuple(dict.fromkeys(order for _, order in normal_derivatives(problem, axis)))
        expansion = expand(points, orders).double()
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
