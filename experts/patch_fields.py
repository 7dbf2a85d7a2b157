"""How the outputs of a network become basis fields on a patch of a mesh."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.mesh_stack import PatchStack
from pdesolve.linalg.operators.sparse import SparseOperator

if TYPE_CHECKING:
    from pdesolve.linalg import AbstractLinearSolver


@dataclass(frozen=True, eq=False)
class PatchFields:
    """Fields on stacked patches.

    Arguments:
        basis: b, (N, S), zero where values are prescribed.
        offset: p, (S,), with the prescribed values.
        status: of the solve, a scalar.
    """

    basis: Tensor
    offset: Tensor
    status: Tensor


class AbstractPatchFields(abc.ABC):
    """Makes basis fields of what a network says at the nodes."""

    layers: int
    """Layers of cells around each inner patch on which the fields are made."""

    @abc.abstractmethod
    def make(
        self, stack: PatchStack, matrix: SparseOperator, load: Tensor, fixed: Tensor, seeds: Tensor
    ) -> PatchFields:
        """The fields of one case.

        Arguments:
            stack: the patches.
            matrix: of the equation, stacked, natural conditions included, (S, S).
            load: its right-hand side, (S,), the prescribed values in place as they act on it.
            fixed: where values are prescribed, (S,).
            seeds: what the network says, (N, S).
        """


@final
@dataclass(frozen=True)
class NetworkFields(AbstractPatchFields):
    """b_i is what the network says, zero where values are prescribed."""

    layers = 0

    def make(
        self, stack: PatchStack, matrix: SparseOperator, load: Tensor, fixed: Tensor, seeds: Tensor
    ) -> PatchFields:
        zero = torch.zeros_like(load)
        return PatchFields(torch.where(fixed, 0.0, seeds), zero, torch.zeros((), dtype=torch.int64))


@final
@dataclass(frozen=True)
class EquationFields(AbstractPatchFields):
    """b_i takes the network's values on the border of the patch and meets the homogeneous equation inside.

    K_ff b_f = -K_fo ψ_o, f the nodes inside and o those on the border; the offset p meets the equation with its source
    and is zero on the border. So the network has to give traces only, and every field knows the coefficient. One sparse
    factorisation of the patches, which do not touch each other, serves all fields.

    Arguments:
        layers: of cells around each patch (default 8): what is coarse in the traces fades over that distance.
        solver: of the patches (default ``default_solver``).

    Raises:
        ValueError: layers below one.

    Notes:
        A patch without a border, such as a single one on the whole mesh, is solved outright: its basis is zero.

    Source: Hou & Wu, J. Comput. Phys. 134 (1997), with their oversampling; Babuška & Lipton, Multiscale Model. Simul. 9
    (2011): the error of the best such traces falls nearly exponentially with their number.
    """

    layers: int = 8
    solver: AbstractLinearSolver | None = None

    def __post_init__(self) -> None:
        positive_int(self.layers, "layers")

    def make(
        self, stack: PatchStack, matrix: SparseOperator, load: Tensor, fixed: Tensor, seeds: Tensor
    ) -> PatchFields:
        from pdesolve.linalg import linear_solve  # solvers load when they are used

        border = stack.border & ~fixed
        free = (~border & ~fixed).nonzero().squeeze(1)
        outside = torch.where(border, seeds, 0.0)
        inside, kept = stack.interior(matrix.pattern, free)
        values = inside.sum(matrix.values[kept])
        flipped = values.detach()[inside.pattern.transposition]
        symmetric = bool((flipped - values.detach()).abs().max() <= 1e-12 * values.detach().abs().max())
        right = torch.cat([-matrix.mv(outside)[:, free], load[free].unsqueeze(0)])
        operator = SparseOperator(inside.pattern, values, symmetric=symmetric)
        found, report = linear_solve(operator, right, self.solver, throw=False)
        basis = outside.index_copy(1, free, found[:-1])
        return PatchFields(basis, torch.zeros_like(load).index_copy(0, free, found[-1]), report.status.max())
