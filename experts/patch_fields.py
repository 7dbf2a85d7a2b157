"""How the outputs of a network become basis fields on a patch of a mesh."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.mesh_stack import PatchStack
from pdesolve.linalg.operators.sparse import SparseOperator

if TYPE_CHECKING:
    from pdesolve.linalg import AbstractLinearSolver, LinearReport

_SYMMETRIC = 1e-12


def is_symmetric(matrix: SparseOperator) -> bool:
    """Whether the entries are symmetric up to rounding, as assembled."""
    values, other = matrix.values.detach(), matrix.pattern.transposition
    return bool((values[other] - values).abs().max() <= _SYMMETRIC * values.abs().max())


@dataclass(frozen=True, eq=False)
class PatchFactors:
    """K inside the patches, which do not touch each other there, factorised once for all that is solved with it.

    Arguments:
        free: stacked unknowns inside, without prescribed values, (n,).
        operator: K there.
        solver: of it.
        state: what the solver made of it.
    """

    free: Tensor
    operator: SparseOperator
    solver: AbstractLinearSolver
    state: Any

    @staticmethod
    def of(
        stack: PatchStack, matrix: SparseOperator, fixed: Tensor, solver: AbstractLinearSolver | None
    ) -> PatchFactors:
        """Factorise.

        Arguments:
            stack: the patches.
            matrix: K, stacked, (S, S).
            fixed: where values are prescribed, (S,).
            solver: default ``default_solver``.
        """
        from pdesolve.linalg import default_solver  # solvers load when they are used

        free = (~stack.border & ~fixed).nonzero().squeeze(1)
        inside, kept = stack.part(matrix.pattern, free, free)
        values = inside.sum(matrix.values[kept])
        operator = SparseOperator(inside.pattern, values)
        operator = replace(operator, symmetric=is_symmetric(operator))
        solver = solver or default_solver(operator)
        return PatchFactors(free, operator, solver, solver.init(operator.detached()))

    def fixed(self) -> PatchFactors:
        """The same without gradients to K."""
        return replace(self, operator=self.operator.detached())

    def solve(self, right: Tensor) -> tuple[Tensor, LinearReport]:
        """K⁻¹ of right-hand sides (..., n)."""
        from pdesolve.linalg import linear_solve

        return linear_solve(self.operator, right, self.solver, throw=False, state=self.state)


@dataclass(frozen=True, eq=False)
class PatchFields:
    """Fields on stacked patches.

    Arguments:
        basis: b, (N, S) at S stacked unknowns, zero where values are prescribed.
        offset: p, (S,), with the prescribed values.
        status: of the solve, a scalar.
        factors: of the equation inside the patches, where they were needed.
    """

    basis: Tensor
    offset: Tensor
    status: Tensor
    factors: PatchFactors | None = None

    def at(self, places: Tensor) -> PatchFields:
        """The fields at some of the stacked unknowns."""
        return replace(self, basis=self.basis.index_select(1, places), offset=self.offset[places])


class AbstractPatchFields(abc.ABC):
    """Makes basis fields of what a network says at the nodes."""

    layers: int
    """Layers of cells around each inner patch on which the fields are made."""

    @abc.abstractmethod
    def places(self, stack: PatchStack, fixed: Tensor) -> Tensor:
        """The stacked unknowns for which the network is asked, (n,).

        Arguments:
            stack: the patches.
            fixed: where values are prescribed, (S,).
        """

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
            seeds: what the network says at ``places``, (N, n).
        """


@final
@dataclass(frozen=True)
class NetworkFields(AbstractPatchFields):
    """b_i is what the network says, zero where values are prescribed."""

    layers = 0

    def places(self, stack: PatchStack, fixed: Tensor) -> Tensor:
        return (~fixed).nonzero().squeeze(1)

    def make(
        self, stack: PatchStack, matrix: SparseOperator, load: Tensor, fixed: Tensor, seeds: Tensor
    ) -> PatchFields:
        basis = seeds.new_zeros(len(seeds), len(load)).index_copy(1, self.places(stack, fixed), seeds)
        return PatchFields(basis, torch.zeros_like(load), torch.zeros((), dtype=torch.int64))


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
        A single patch on the whole mesh has no border and no fields: it is solved outright.

    Source: Hou & Wu, J. Comput. Phys. 134 (1997), with their oversampling; Babuška & Lipton, Multiscale Model. Simul. 9
    (2011): the error of the best such traces falls nearly exponentially with their number.
    """

    layers: int = 8
    solver: AbstractLinearSolver | None = None

    def __post_init__(self) -> None:
        positive_int(self.layers, "layers")

    def places(self, stack: PatchStack, fixed: Tensor) -> Tensor:
        return (stack.border & ~fixed).nonzero().squeeze(1)

    def make(
        self, stack: PatchStack, matrix: SparseOperator, load: Tensor, fixed: Tensor, seeds: Tensor
    ) -> PatchFields:
        factors = PatchFactors.of(stack, matrix, fixed, self.solver)
        free, border = factors.free, self.places(stack, fixed)
        right = load[free].unsqueeze(0)
        if not len(border):
            found, report = factors.solve(right)
            basis = seeds.new_zeros(0, len(load))
        else:
            towards, kept = stack.part(matrix.pattern, free, border)
            outside = SparseOperator(towards.pattern, towards.sum(matrix.values[kept]))
            found, report = factors.solve(torch.cat([-outside.mv(seeds), right]))
            basis = seeds.new_zeros(len(seeds), len(load)).index_copy(1, border, seeds)
            basis = basis.index_copy(1, free, found[:-1])
        offset = torch.zeros_like(load).index_copy(0, free, found[-1])
        return PatchFields(basis, offset, report.status.max(), factors)
