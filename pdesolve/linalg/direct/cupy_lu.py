"""Sparse direct solver for CUDA tensors: factors made on the CPU, triangular solves on the GPU, through CuPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

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

CUPY = OptionalPackage(
    "cupy",
    ("cupy-cuda12x", "cupy-cuda13x", "cupy"),
    (13,),
    "pip install cupy-cuda12x (or cupy-cuda13x for CUDA 13)",
)


@dataclass(frozen=True)
class CuPyLU(AbstractLinearSolver):
    """P A Q = L U by ``cupyx.scipy.sparse.linalg.splu``.

    Not run on a GPU so far: written against the documentation of CuPy 13, with tests marked ``gpu``.

    Arguments:
        limits: when a result counts (default ``Limits()``).

    Raises:
        ImportError: CuPy is missing or too old.
        TypeError: the operator has no entries, or does not lie on a CUDA device.
        MemoryError: the factors would not fit; names the remedy.

    Notes:
        Works in float64. The factorisation costs what ``SuperLU`` costs; many solves with it are faster.
    """

    limits: Limits = DEFAULT_LIMITS

    def init(self, operator: AbstractLinearOperator) -> DirectState:
        if operator.device.type != "cuda":
            raise TypeError(f"CuPyLU needs tensors on a CUDA device, not {operator.device}: use SuperLU")
        matrix = sparse_matrix(operator)
        require_memory(factor_bytes(matrix), "the factors", torch.device("cpu"))
        CUPY.load()
        return prepare(matrix, _factorise, self.limits)

    def compute(self, state: DirectState, b: Tensor) -> LinearResult:
        return compute(state, b)

    def transpose(self, state: DirectState) -> DirectState:
        return state.T


def _factorise(matrix: Matrix) -> AbstractFactor:
    assert isinstance(matrix, SparseOperator)
    return _CuPyFactor(matrix)


class _CuPyFactor(AbstractFactor):
    """A ``cupyx.scipy.sparse.linalg.SuperLU`` object."""

    def __init__(self, matrix: SparseOperator) -> None:
        self.package: Any = CUPY.load()
        from cupyx.scipy.sparse import csr_matrix
        from cupyx.scipy.sparse.linalg import splu

        parts = (matrix.values, matrix.pattern.columns, matrix.pattern.starts)
        entries = csr_matrix(tuple(self.package.from_dlpack(t.contiguous()) for t in parts), shape=matrix.shape)
        threshold = 0.0 if matrix.positive_definite else 0.1
        status, self.factors, self.fill = SolveStatus.CONVERGED, None, 0
        try:
            options = {"SymmetricMode": True}
            self.factors = splu(entries, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=threshold, options=options)
            self.fill = int(self.factors.nnz)
        except RuntimeError as error:
            if "singular" not in str(error):
                raise
            status = SolveStatus.SINGULAR
        self.status = torch.tensor(int(status))

    def solve(self, b: Tensor) -> Tensor:
        return self._solved(b, "N")

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self._solved(b, "T")

    def _solved(self, b: Tensor, which: str) -> Tensor:
        assert self.factors is not None
        columns = self.package.from_dlpack(b.reshape(-1, b.shape[-1]).contiguous()).T
        out: Tensor = from_dlpack(self.factors.solve(columns, which))
        return out.mT.reshape(b.shape)
