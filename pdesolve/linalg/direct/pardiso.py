"""Sparse direct solver on the CPU by Intel's PARDISO, through pypardiso."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
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

PYPARDISO = OptionalPackage("pypardiso", ("pypardiso",), (0, 4), "pip install pypardiso (about 1 GB, x86 only)")
_SAVING = 0.6  # supernodes share their indices


@dataclass(frozen=True)
class Pardiso(AbstractLinearSolver):
    """A = L U, or L L^T where the operator is declared positive definite, with a nested-dissection ordering.

    Arguments:
        limits: when a result counts (default ``Limits()``).

    Raises:
        ImportError: pypardiso is missing or too old.
        TypeError: the operator has no entries (a ``JacobianOperator``).
        MemoryError: the factors would not fit; names the remedy.

    Notes:
        Works in float64 on all cores; tensors on a GPU are copied. Pivots that are too small are perturbed silently;
        refinement repairs that, and where it cannot the backward error says so.

    Good values: three-dimensional problems up to about 80³, where it takes a small part of the time of ``SuperLU``.

    Source: Schenk & Gärtner, *Solving unsymmetric sparse systems of linear equations with PARDISO* (2004).
    """

    limits: Limits = DEFAULT_LIMITS

    def init(self, operator: AbstractLinearOperator) -> DirectState:
        matrix = sparse_matrix(operator)
        require_memory(_SAVING * factor_bytes(matrix), "the factors", torch.device("cpu"))
        PYPARDISO.load()
        return prepare(matrix, _factorise, self.limits)

    def compute(self, state: DirectState, b: Tensor) -> LinearResult:
        return compute(state, b)

    def transpose(self, state: DirectState) -> DirectState:
        return state.T


_UNSYMMETRIC, _POSITIVE_DEFINITE = 11, 2  # matrix types of PARDISO
_FULL_CONTROL = {1: 1, 2: 2, 8: 0, 10: 13, 11: 1, 13: 1, 18: -1, 21: 1, 24: 0, 27: 0, 35: 0}
_NOT_POSITIVE = -4  # zero pivot, or not positive definite


def _factorise(matrix: Matrix) -> AbstractFactor:
    assert isinstance(matrix, SparseOperator)
    return _PardisoFactor(matrix)


class _PardisoFactor(AbstractFactor):
    """A ``pypardiso.PyPardisoSolver`` and the matrix that it wants to see again with every solve."""

    def __init__(self, matrix: SparseOperator) -> None:
        from scipy.sparse import csc_matrix, csr_matrix, triu

        package = PYPARDISO.load()
        values, columns, starts = (
            t.cpu().numpy() for t in (matrix.values, matrix.pattern.columns, matrix.pattern.starts)
        )
        self.matrix: Any = csr_matrix((values, columns, starts), shape=matrix.shape)
        definite = matrix.positive_definite
        if definite:
            self.matrix = csr_matrix(triu(self.matrix))
        # pypardiso takes the same arrays read as compressed columns for a request to solve with A^T.
        parts = (self.matrix.data, self.matrix.indices, self.matrix.indptr)
        self.transposed: Any = self.matrix if definite else csc_matrix(parts, shape=matrix.shape)
        self.solver = package.PyPardisoSolver(mtype=_POSITIVE_DEFINITE if definite else _UNSYMMETRIC)
        for index, value in _FULL_CONTROL.items():
            self.solver.set_iparm(index, 0 if definite and index in (11, 13) else value)
        weakref.finalize(self, _released, self.solver)
        status = SolveStatus.CONVERGED
        try:
            self.solver.factorize(self.matrix)
        except package.PyPardisoError as error:
            if error.value != _NOT_POSITIVE:
                raise
            status = SolveStatus.INDEFINITE if definite else SolveStatus.SINGULAR
        self.fill = int(self.solver.get_iparm(18))
        self.status = torch.tensor(int(status))

    def solve(self, b: Tensor) -> Tensor:
        return self._solved(b, self.matrix)

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self._solved(b, self.transposed)

    def _solved(self, b: Tensor, matrix: Any) -> Tensor:
        columns = np.asfortranarray(b.reshape(-1, b.shape[-1]).cpu().numpy().T)
        out = self.solver.solve(matrix, columns)
        return torch.from_numpy(out).mT.reshape(b.shape).to(b.device)


def _released(solver: Any) -> None:
    """Memory inside the library is not seen by Python."""
    solver.free_memory()
