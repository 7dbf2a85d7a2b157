"""Dense direct solver for small systems and batches of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.linalg.direct.equilibration import Matrix
from pdesolve.linalg.direct.factor import AbstractFactor
from pdesolve.linalg.direct.memory import require_memory
from pdesolve.linalg.direct.system import DEFAULT_LIMITS, DirectState, Limits, compute, prepare
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.assemble import dense_matrix
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.status import SolveStatus


@dataclass(frozen=True)
class DenseLU(AbstractLinearSolver):
    """P A = L U with partial pivoting, or A = L L^T where the operator is declared positive definite.

    Takes every operator: one that is not dense is applied to the identity. A batch of matrices is factorised together
    on the device of the operator; a member that fails leaves the others as they are.

    Arguments:
        limits: when a result counts (default ``Limits()``).

    Raises:
        MemoryError: n² numbers would not fit; names the remedy.

    Notes:
        Works in float64. O(n³) time and O(n²) memory.

    Good values: below about a thousand unknowns, or many small systems at once.
    """

    limits: Limits = DEFAULT_LIMITS

    def init(self, operator: AbstractLinearOperator) -> DirectState:
        members = operator.tensors()[0].numel() if isinstance(operator, DenseOperator) else operator.shape[0] ** 2
        require_memory(4 * 8 * members, "the dense matrix and its factors", operator.device)
        return prepare(dense_matrix(operator), _factorise, self.limits)

    def compute(self, state: DirectState, b: Tensor) -> LinearResult:
        return compute(state, b)

    def transpose(self, state: DirectState) -> DirectState:
        return state.T


@dataclass(frozen=True)
class _Layout:
    """How right-hand sides (*lead, n) become columns of matrices (*batch, n, n), ``lead`` broadcast with ``batch``.

    Dimensions along which there is one matrix for many right-hand sides become columns, the others stay in front.
    """

    batch: tuple[int, ...]

    @property
    def members(self) -> tuple[int, ...]:
        return tuple(size for size in self.batch if size != 1)

    def matrices(self, matrix: Tensor) -> Tensor:
        """(*batch, n, n) -> (*members, n, n)."""
        return matrix.reshape(*self.members, *matrix.shape[-2:])

    def through(self, b: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        """``solve``, which takes (*members, n, columns), on b (*lead, n)."""
        lead = b.ndim - 1
        padded = (1,) * (lead - len(self.batch)) + self.batch
        kept = [i for i in range(lead) if padded[i] != 1]
        order = [*kept, lead, *(i for i in range(lead) if padded[i] == 1)]
        moved = b.permute(order)
        columns = solve(moved.reshape(*moved.shape[: len(kept) + 1], -1))
        inverse = sorted(range(b.ndim), key=order.__getitem__)
        return columns.reshape(moved.shape).permute(inverse)


class _LUFactor(AbstractFactor):
    """``factors`` and ``pivots`` as ``torch.linalg.lu_factor_ex`` gives them."""

    def __init__(self, matrix: Tensor) -> None:
        batch = matrix.shape[:-2]
        self.layout = _Layout(tuple(batch))
        self.factors, self.pivots, info = torch.linalg.lu_factor_ex(self.layout.matrices(matrix))
        self.status = torch.where(info == 0, int(SolveStatus.CONVERGED), int(SolveStatus.SINGULAR)).reshape(batch)
        self.fill = matrix.numel()

    def solve(self, b: Tensor) -> Tensor:
        return self.layout.through(b, lambda c: torch.linalg.lu_solve(self.factors, self.pivots, c))

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self.layout.through(b, lambda c: torch.linalg.lu_solve(self.factors, self.pivots, c, adjoint=True))


class _CholeskyFactor(AbstractFactor):
    """The lower triangle of A = L L^T."""

    def __init__(self, matrix: Tensor) -> None:
        batch = matrix.shape[:-2]
        self.layout = _Layout(tuple(batch))
        self.lower, info = torch.linalg.cholesky_ex(self.layout.matrices(matrix))
        self.status = torch.where(info == 0, int(SolveStatus.CONVERGED), int(SolveStatus.INDEFINITE)).reshape(batch)
        self.fill = matrix.numel()

    def solve(self, b: Tensor) -> Tensor:
        return self.layout.through(b, lambda c: torch.cholesky_solve(c, self.lower))

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self.solve(b)


def _factorise(matrix: Matrix) -> AbstractFactor:
    assert isinstance(matrix, DenseOperator)
    return _CholeskyFactor(matrix.matrix) if matrix.positive_definite else _LUFactor(matrix.matrix)
