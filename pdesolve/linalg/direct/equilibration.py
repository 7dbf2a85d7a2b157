"""Rows and columns scaled to magnitude one before a factorisation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pdesolve.linalg.checks import largest
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator

Matrix = SparseOperator | DenseOperator
_SWEEPS = 10


def equilibrated(matrix: Matrix) -> tuple[Matrix, Tensor, Tensor]:
    """R A C with every row's and column's largest entry between about 1/2 and 2.

    Each sweep divides rows and columns by the square root of their largest entries, so a symmetric matrix stays
    symmetric and a positive definite one positive definite. Factors are powers of two: no entry is rounded.

    Arguments:
        matrix: A, finite and without empty rows or columns.

    Returns:
        R A C, and the diagonals of R and C, (*batch, n).

    Source: Ruiz, *A scaling algorithm to equilibrate both rows and columns norms in matrices* (2001).
    """
    rows, columns = magnitudes(matrix)
    left, right = torch.ones_like(rows), torch.ones_like(columns)
    for _ in range(_SWEEPS):
        if bool(((rows.log2().abs() <= 1) & (columns.log2().abs() <= 1)).all()):
            break
        row_step, column_step = _halving(rows), _halving(columns)
        matrix = scaled(matrix, row_step, column_step)
        left, right = left * row_step, right * column_step
        rows, columns = magnitudes(matrix)
    return matrix, left, right


def magnitudes(matrix: Matrix) -> tuple[Tensor, Tensor]:
    """Largest magnitude in each row and in each column, (*batch, n)."""
    if isinstance(matrix, SparseOperator):
        return largest(matrix)
    size = matrix.matrix.abs()
    return size.amax(-1), size.amax(-2)


def sums(matrix: Matrix) -> tuple[Tensor, Tensor]:
    """Sums of magnitudes of each row and of each column, (*batch, n)."""
    if isinstance(matrix, SparseOperator):
        size, pattern = matrix.values.abs(), matrix.pattern
        rows = size.new_zeros(pattern.shape[0]).index_add(0, pattern.rows, size)
        if matrix.symmetric:
            return rows, rows
        return rows, size.new_zeros(pattern.shape[1]).index_add(0, pattern.columns, size)
    dense = matrix.matrix.abs()
    return dense.sum(-1), dense.sum(-2)


def scaled(matrix: Matrix, left: Tensor, right: Tensor) -> Matrix:
    """diag(left) A diag(right)."""
    if isinstance(matrix, SparseOperator):
        values = left[matrix.pattern.rows].mul_(matrix.values)  # in place: these are the largest arrays of all
        return replace(matrix, values=values.mul_(right[matrix.pattern.columns]))
    return replace(matrix, matrix=matrix.matrix * left.unsqueeze(-1) * right.unsqueeze(-2))


def _halving(size: Tensor) -> Tensor:
    """The power of two nearest to 1/sqrt(size)."""
    return (-0.5 * size.log2()).round().exp2()
