"""How patches of a mesh are tied together: one Galerkin system for the weights of all patches."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.mesh_stack import PatchStack
from pdesolve.experts.patch_fields import PatchFields
from pdesolve.linalg.elimination import Edge
from pdesolve.linalg.operators.sparse import SparseOperator

_RIDGE = 1e-9


@dataclass(frozen=True, eq=False)
class StackedEquation:
    """K u = f on stacked inner patches, the prescribed values put in.

    Arguments:
        matrix: K over the cells of each patch, (S, S).
        load: f over its cells, (S,).
        defect: f - K u₀ of the whole mesh at u₀ = Σ φ_k p_k, at the stacked nodes, (S,).
    """

    matrix: SparseOperator
    load: Tensor
    defect: Tensor


@dataclass(frozen=True, eq=False)
class GalerkinSystem:
    """Blocks of Bᵀ K B w = Bᵀ (f - K p).

    Arguments:
        diagonal: (K, N, N).
        upper: block (a, b) of each edge, (E, N, N).
        lower: block (b, a), (E, N, N).
        edges: pairs a < b.
        right: (K, N).
    """

    diagonal: Tensor
    upper: Tensor
    lower: Tensor
    edges: tuple[Edge, ...]
    right: Tensor


class AbstractMeshCoupling(abc.ABC):
    """Says which function space the patches make together."""

    layers: int
    """Layers by which inner patches overlap."""

    @abc.abstractmethod
    def system(self, stack: PatchStack, equation: StackedEquation, fields: PatchFields) -> GalerkinSystem:
        """The equations of the weights of one case.

        Arguments:
            stack: the inner patches, grown by ``layers``.
            equation: K and f on them.
            fields: basis and offset there.
        """


@final
@dataclass(frozen=True)
class BlendedPatches(AbstractMeshCoupling):
    """u = Σ_k φ_k (p_k + Σ_i w_ki b_ki), φ a partition of unity: Galerkin's method in the span of these.

    u is one continuous function; its error in the energy norm is at most that of the best of its kind.

    Arguments:
        layers: of cells by which each patch grows over its neighbours (default 3).

    Raises:
        ValueError: no layers.

    Source: Babuška & Melenk, *The partition of unity method*, Int. J. Numer. Meth. Eng. 40 (1997).
    """

    layers: int = 3

    def __post_init__(self) -> None:
        positive_int(self.layers, "layers")

    def system(self, stack: PatchStack, equation: StackedEquation, fields: PatchFields) -> GalerkinSystem:
        v = fields.basis * stack.weight
        image = equation.matrix.mv(v)
        own, push = stack.at(v, stack.table), stack.at(image, stack.table)
        edges, first, second = stack.overlapping
        upper = stack.at(v, first).mT @ stack.at(image, second)
        lower = stack.at(v, second).mT @ stack.at(image, first)
        right = own.mT @ stack.at(equation.defect.unsqueeze(0), stack.table)
        return GalerkinSystem(own.mT @ push, upper, lower, edges, right.squeeze(-1))


@final
@dataclass(frozen=True)
class TiedPatches(AbstractMeshCoupling):
    """Each patch has its own cells, and rows √(ω s_j) [u_j] hold neighbours together at the nodes of their interfaces.

    s_j is the smaller of the two diagonal entries of K at node j, so ω has no units.

    Arguments:
        weight: ω (default 100).

    Raises:
        ValueError: a weight that is not positive and finite.

    Notes:
        What both sides cannot represent alike is a conflict between equation and rows: with few fields a large ω locks
        them (errors grow), a small one lets them jump.

    Good values: 30 to 300 for 32 fields; jumps fall as 1/ω until the traces lock.
    """

    weight: float = 100.0
    layers = 0

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight must be finite and > 0, got {self.weight}")

    def system(self, stack: PatchStack, equation: StackedEquation, fields: PatchFields) -> GalerkinSystem:
        alone = SeparatePatches().system(stack, equation, fields)
        edges, first, second = stack.interfaces
        if not edges:
            return alone
        stiffness = stack.at(equation.matrix.diagonal().unsqueeze(0), torch.stack([first, second]))
        scale = self.weight * stiffness.squeeze(-1).amin(0).unsqueeze(-1)  # (E, n, 1)
        a, b = stack.at(fields.basis, first), stack.at(fields.basis, second)
        gap = stack.at(fields.offset.unsqueeze(0), first) - stack.at(fields.offset.unsqueeze(0), second)
        ends = torch.tensor(edges).T
        diagonal = alone.diagonal.index_add(0, ends[0], a.mT @ (scale * a)).index_add(0, ends[1], b.mT @ (scale * b))
        right = alone.right.index_add(0, ends[0], -(a.mT @ (scale * gap)).squeeze(-1))
        right = right.index_add(0, ends[1], (b.mT @ (scale * gap)).squeeze(-1))
        upper = -(a.mT @ (scale * b))
        return GalerkinSystem(diagonal, upper, upper.mT, edges, right)


@final
@dataclass(frozen=True)
class SeparatePatches(AbstractMeshCoupling):
    """Each patch solves the equation on its own cells, with no flux but what it is given through its border.

    Notes:
        A patch without conditions of its own is not determined: a ridge of 1e-9 of K's diagonal chooses among what
        meets the equation there, and neighbours disagree.
    """

    layers = 0

    def system(self, stack: PatchStack, equation: StackedEquation, fields: PatchFields) -> GalerkinSystem:
        own = stack.at(fields.basis, stack.table)
        push = stack.at(equation.matrix.mv(fields.basis), stack.table)
        left = equation.load - equation.matrix.mv(fields.offset)
        right = own.mT @ stack.at(left.unsqueeze(0), stack.table)
        rigid = own.mT @ (stack.at(equation.matrix.diagonal().unsqueeze(0), stack.table) * own)
        none = own.new_zeros(0, own.shape[-1], own.shape[-1])
        return GalerkinSystem(own.mT @ push + _RIDGE * rigid, none, none, (), right.squeeze(-1))
