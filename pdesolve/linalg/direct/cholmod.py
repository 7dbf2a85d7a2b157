"""Sparse Cholesky factorisation on the CPU by CHOLMOD, through cvxopt."""

from __future__ import annotations

import importlib
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

CVXOPT = OptionalPackage("cvxopt.cholmod", ("cvxopt",), (1, 3), "pip install cvxopt (GPL)")


@dataclass(frozen=True)
class Cholmod(AbstractLinearSolver):
    """P A P^T = L L^T by supernodes: half the numbers of ``SuperLU`` and dense kernels, for positive definite A only.

    Arguments:
        limits: when a result counts (default ``Limits()``).

    Raises:
        ImportError: cvxopt is missing or too old.
        TypeError: the operator has no entries (a ``JacobianOperator``).
        ValueError: the operator is not declared positive definite.
        MemoryError: the factors would not fit; names the remedy.

    Notes:
        Works in float64; tensors on a GPU are copied. A matrix that is not positive definite ends as ``INDEFINITE``.

    Good values: positive definite systems that are solved with many right-hand sides.

    Source: Chen, Davis, Hager & Rajamanickam, *Algorithm 887: CHOLMOD*, ACM TOMS 35 (2008).
    """

    limits: Limits = DEFAULT_LIMITS

    def init(self, operator: AbstractLinearOperator) -> DirectState:
        if not operator.positive_definite:
            raise ValueError("Cholmod needs an operator with positive_definite=True: use SuperLU for any other")
        matrix = sparse_matrix(operator)
        require_memory(factor_bytes(matrix) / 2, "the factors", torch.device("cpu"))
        CVXOPT.load()
        return prepare(matrix, _factorise, self.limits)

    def compute(self, state: DirectState, b: Tensor) -> LinearResult:
        return compute(state, b)

    def transpose(self, state: DirectState) -> DirectState:
        return state.T


def _factorise(matrix: Matrix) -> AbstractFactor:
    assert isinstance(matrix, SparseOperator)
    return _CholmodFactor(matrix)


class _CholmodFactor(AbstractFactor):
    """A numeric factor of ``cvxopt.cholmod``."""

    def __init__(self, matrix: SparseOperator) -> None:
        self.cholmod: Any = CVXOPT.load()
        self.package: Any = importlib.import_module("cvxopt")
        lower = matrix.pattern.rows >= matrix.pattern.columns
        values, rows, columns = (
            t[lower].cpu().numpy() for t in (matrix.values, matrix.pattern.rows, matrix.pattern.columns)
        )
        entries = self.package.spmatrix(values, rows.tolist(), columns.tolist(), matrix.shape)
        status = SolveStatus.CONVERGED
        self.factor = self.cholmod.symbolic(entries)
        try:
            self.cholmod.numeric(entries, self.factor)
        except ArithmeticError:
            status = SolveStatus.INDEFINITE
        self.status, self.fill = torch.tensor(int(status)), 0

    def solve(self, b: Tensor) -> Tensor:
        columns = self.package.matrix(b.reshape(-1, b.shape[-1]).cpu().numpy().T.copy())
        self.cholmod.solve(self.factor, columns)
        return torch.from_numpy(np.array(columns)).mT.reshape(b.shape).to(b.device)

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self.solve(b)
