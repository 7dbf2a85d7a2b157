"""Sparse direct solver on the CPU by SciPy's SuperLU, ordered for meshes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pdesolve.linalg.direct.equilibration import Matrix, sums
from pdesolve.linalg.direct.factor import AbstractFactor
from pdesolve.linalg.direct.memory import REMEDY, factor_bytes, require_memory
from pdesolve.linalg.direct.ordering import AbstractOrdering, ByShape
from pdesolve.linalg.direct.system import DEFAULT_LIMITS, DirectState, Limits, compute, prepare
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.assemble import sparse_matrix
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.status import SolveStatus

_BY_SHAPE = ByShape()
_NARROW_PANEL = 4  # columns factorised together: a quarter faster on plane meshes than SuperLU's own choice


@dataclass(frozen=True)
class SuperLU(AbstractLinearSolver):
    """P A Q = L U with an ordering of A + A^T and pivots kept on the diagonal where these are large.

    Arguments:
        limits: when a result counts (default ``Limits()``).
        ordering: the order of elimination (default ``ByShape()``: minimum degree for plane meshes, nested dissection
            for solid ones).
        pivot_threshold: a diagonal pivot is taken when it is at least this part of the largest entry of its column
            (default 0.1; zero is used where the operator is declared positive definite, which needs no pivoting).

    Raises:
        TypeError: the operator has no entries (a ``JacobianOperator``).
        MemoryError: the factors would not fit; names the remedy.

    Notes:
        Works in float64 on one core; tensors on a GPU are copied. SciPy's default ordering (COLAMD) is meant for
        least-squares problems: on a 48³ grid it takes several times the time and memory.

    Good values: two-dimensional problems up to about a million unknowns, three-dimensional ones up to about 40³;
        ``NestedDissection()`` for matrices that are factorised again and again on one pattern.

    Source: Li, *An overview of SuperLU*, ACM TOMS 31 (2005); Liu, *Modification of the minimum-degree
    algorithm by multiple elimination* (1985).
    """

    limits: Limits = DEFAULT_LIMITS
    ordering: AbstractOrdering = _BY_SHAPE
    pivot_threshold: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.pivot_threshold <= 1:
            raise ValueError(f"pivot_threshold must lie in 0 ... 1, not {self.pivot_threshold}")

    def init(self, operator: AbstractLinearOperator) -> DirectState:
        matrix = sparse_matrix(operator)
        require_memory(factor_bytes(matrix), "the factors", torch.device("cpu"))
        return prepare(matrix, self._factorise, self.limits)

    def compute(self, state: DirectState, b: Tensor) -> LinearResult:
        return compute(state, b)

    def transpose(self, state: DirectState) -> DirectState:
        return state.T

    def _factorise(self, matrix: Matrix) -> AbstractFactor:
        assert isinstance(matrix, SparseOperator)
        threshold = 0.0 if matrix.positive_definite else self.pivot_threshold
        return _SuperLUFactor(matrix, threshold, self.ordering.order(matrix.pattern))


class _SuperLUFactor(AbstractFactor):
    """A ``scipy.sparse.linalg.SuperLU`` object; None where the matrix is exactly singular."""

    def __init__(self, matrix: SparseOperator, threshold: float, order: Tensor | None) -> None:
        self.order = None if order is None else order.numpy()
        self.factors = _factors(matrix, threshold, self.order)
        self.fill = self.factors.nnz if self.factors is not None else 0
        status = SolveStatus.CONVERGED if self.factors is not None else SolveStatus.SINGULAR
        if self.factors is not None and matrix.positive_definite and not _definite(matrix, self.factors):
            status = SolveStatus.INDEFINITE
        self.status = torch.tensor(int(status))

    def solve(self, b: Tensor) -> Tensor:
        return self._solved(b, "N")

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self._solved(b, "T")

    def _solved(self, b: Tensor, which: str) -> Tensor:
        rows = b.reshape(-1, b.shape[-1]).cpu().numpy()
        if self.order is not None:
            rows = rows[:, self.order]
        out = self.factors.solve(rows.T, trans=which)  # (n, k) in the column-major order that SuperLU works on
        if self.order is not None:
            placed = np.empty_like(rows)
            placed[:, self.order] = out.T
            out = placed.T
        return torch.from_numpy(out).mT.reshape(b.shape).to(b.device)


def _factors(matrix: SparseOperator, threshold: float, order: Any) -> Any:
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    # The rows of A^T are the columns of A, and of A itself where it is symmetric.
    other = matrix if matrix.symmetric else matrix.transposed()
    values, rows, starts = (t.cpu().numpy() for t in (other.values, other.pattern.columns, other.pattern.starts))
    columns = csc_array((values, rows, starts), shape=matrix.shape)
    if order is not None:
        columns = columns[order][:, order]
    rule: Literal["MMD_AT_PLUS_A", "NATURAL"] = "MMD_AT_PLUS_A" if order is None else "NATURAL"
    panel = _NARROW_PANEL if order is None else None
    options = {"SymmetricMode": True}
    try:
        return splu(columns, permc_spec=rule, diag_pivot_thresh=threshold, panel_size=panel, options=options)
    except MemoryError as error:
        raise MemoryError(f"the factors of {matrix.shape[0]} unknowns did not fit into memory: {REMEDY}") from error
    except RuntimeError as error:
        if "singular" in str(error):
            return None
        raise


def _definite(matrix: SparseOperator, factors: Any) -> bool:
    """Whether a symmetric matrix is positive definite.

    Diagonal dominance proves it for nothing. Otherwise the signs of U's diagonal tell: with pivots on the diagonal
    A = L D L^T, and as many eigenvalues as pivots are positive (Sylvester). That copies U.
    """
    diagonal = matrix.diagonal()
    if bool((2 * diagonal * (1 + 1e-12) >= sums(matrix)[0]).all()):
        return True
    return bool(np.array_equal(factors.perm_r, factors.perm_c) and (factors.U.diagonal() > 0).all())
