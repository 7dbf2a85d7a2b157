"""Sparse direct solver on CUDA by cuDSS, through nvmath-python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.direct.equilibration import Matrix
from pdesolve.linalg.direct.factor import AbstractFactor
from pdesolve.linalg.direct.memory import factor_bytes, require_memory
from pdesolve.linalg.direct.system import DEFAULT_LIMITS, DirectState, Limits, compute, prepare
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.assemble import sparse_matrix
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.optional import OptionalPackage
from pdesolve.status import SolveStatus

NVMATH = OptionalPackage(
    "nvmath.sparse.advanced",
    ("nvmath-python",),
    (0, 6),
    "pip install 'nvmath-python[cu12]' (or [cu13], the major version of torch.version.cuda)",
)
_SAVING = 0.6  # supernodes share their indices


@dataclass(frozen=True)
class CuDSS(AbstractLinearSolver):
    """A = L U on the GPU with a nested-dissection ordering.

    Not run on a GPU so far: written against nvmath-python 1.0, with tests marked ``gpu``.

    Arguments:
        limits: when a result counts (default ``Limits()``).

    Raises:
        ImportError: nvmath-python is missing, too old, or does not accept the cuDSS that is installed (each version
            accepts exactly one minor version of it).
        TypeError: the operator has no entries, or does not lie on a CUDA device.
        MemoryError: the factors would not fit; names the remedy.

    Notes:
        Works in float64. cuDSS has no solve with A^T: the transpose is factorised too, in a second factorisation that
        the condition estimate asks for. Pivots that are too small are perturbed silently; refinement repairs that,
        and where it cannot the backward error says so. What is declared beyond symmetry of the entries and a positive
        diagonal is not used, and not refuted.
    """

    limits: Limits = DEFAULT_LIMITS

    def init(self, operator: AbstractLinearOperator) -> DirectState:
        if operator.device.type != "cuda":
            raise TypeError(f"CuDSS needs tensors on a CUDA device, not {operator.device}: use SuperLU or Pardiso")
        matrix = sparse_matrix(operator)
        require_memory(_SAVING * factor_bytes(matrix), "the factors", matrix.device)
        NVMATH.load()
        return prepare(matrix, _factorise, self.limits)

    def compute(self, state: DirectState, b: Tensor) -> LinearResult:
        return compute(state, b)

    def transpose(self, state: DirectState) -> DirectState:
        return state.T


def _factorise(matrix: Matrix) -> AbstractFactor:
    assert isinstance(matrix, SparseOperator)
    return _CuDSSFactor(matrix)


class _Solver:
    """An nvmath ``DirectSolver`` with one right-hand side that is overwritten for each solve."""

    def __init__(self, matrix: SparseOperator) -> None:
        package: Any = NVMATH.load()
        self.b = matrix.values.new_zeros(matrix.shape[0])
        self.matrix = matrix.pattern.matrix(matrix.values.contiguous())
        try:
            self.solver = package.DirectSolver(self.matrix, self.b)
        except RuntimeError as error:
            if "requires cuDSS version" in str(error):
                raise ImportError(f"{error} {NVMATH.install}") from error
            raise
        self.solver.plan()
        self.solver.factorize()

    def __call__(self, vector: Tensor) -> Tensor:
        self.b.copy_(vector)
        out: Tensor = self.solver.solve()
        return out

    def __del__(self) -> None:
        if hasattr(self, "solver"):
            self.solver.free()


class _CuDSSFactor(AbstractFactor):
    """Factors of A, and of A^T from the first time that these are asked for; one of them where A is symmetric."""

    def __init__(self, matrix: SparseOperator) -> None:
        self.matrix, self.forward = matrix, _Solver(matrix)
        self.backward: _Solver | None = self.forward if matrix.symmetric else None
        self.status, self.fill = torch.tensor(int(SolveStatus.CONVERGED)), 0

    def solve(self, b: Tensor) -> Tensor:
        return _each(self.forward, b)

    def solve_transposed(self, b: Tensor) -> Tensor:
        if self.backward is None:
            self.backward = _Solver(self.matrix.transposed())
        return _each(self.backward, b)


def _each(solver: _Solver, b: Tensor) -> Tensor:
    vectors = [solver(vector) for vector in b.reshape(-1, b.shape[-1])]
    return torch.stack(vectors).reshape(b.shape)
