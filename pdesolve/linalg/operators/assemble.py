"""Operators as matrices with entries, for solvers that factorise.

A new kind of operator that has entries registers with ``triplets``: ``@triplets.register``.
"""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import (
    AbstractLinearOperator,
    ComposedOperator,
    ScaledOperator,
    SumOperator,
    TransposedOperator,
)
from pdesolve.linalg.operators.block import BlockOperator
from pdesolve.linalg.operators.block_sparse import BlockSparseOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.diagonal import DiagonalOperator
from pdesolve.linalg.operators.sparse import SparseOperator

Entries = tuple[Tensor, Tensor, Tensor]


@singledispatch
def triplets(operator: AbstractLinearOperator) -> Entries:
    """Rows, columns (int64) and values of the entries, duplicates allowed.

    Raises:
        TypeError: the operator has no entries at hand.
    """
    raise TypeError(
        f"{type(operator).__name__} has no entries to factorise: use a Krylov solver, or DenseLU for a small system"
    )


@triplets.register(SparseOperator)
def _(operator: SparseOperator) -> Entries:
    return operator.pattern.rows.long(), operator.pattern.columns.long(), operator.values.detach()


@triplets.register(DenseOperator)
def _(operator: DenseOperator) -> Entries:
    if operator.matrix.ndim > 2:
        raise TypeError("a batch of dense matrices has no sparse form: use DenseLU")
    rows, columns = operator.matrix.nonzero().unbind(-1)
    return rows, columns, operator.matrix.detach()[rows, columns]


@triplets.register(DiagonalOperator)
def _(operator: DiagonalOperator) -> Entries:
    index = torch.arange(operator.shape[0], device=operator.device)
    return index, index, operator.diagonal.detach()


@triplets.register(BlockSparseOperator)
def _(operator: BlockSparseOperator) -> Entries:
    p, n = operator.diagonal.shape[-3], operator.diagonal.shape[-1]
    if operator.diagonal.ndim > 3:
        raise TypeError("a batch of block-sparse matrices has no single sparse form: use BlockSchur or DenseLU")
    edges = torch.tensor(operator.edges, device=operator.device).reshape(-1, 2).mT
    own = torch.arange(p, device=operator.device)
    a, b = torch.cat([own, edges[0], edges[1]]), torch.cat([own, edges[1], edges[0]])
    coupling = operator.coupling.detach()
    values = torch.cat([operator.diagonal.detach(), coupling, coupling.mT])
    inside = torch.arange(n, device=operator.device)
    rows = (a[:, None, None] * n + inside[:, None]).expand(values.shape)
    columns = (b[:, None, None] * n + inside).expand(values.shape)
    return rows.reshape(-1), columns.reshape(-1), values.reshape(-1)


@triplets.register(TransposedOperator)
def _(operator: TransposedOperator) -> Entries:
    rows, columns, values = triplets(operator.operator)
    return columns, rows, values


@triplets.register(ScaledOperator)
def _(operator: ScaledOperator) -> Entries:
    rows, columns, values = triplets(operator.operator)
    return rows, columns, operator.factor * values


@triplets.register(SumOperator)
def _(operator: SumOperator) -> Entries:
    return _joined([triplets(operator.left), triplets(operator.right)])


@triplets.register(ComposedOperator)
def _(operator: ComposedOperator) -> Entries:
    left, right = sparse_matrix(operator.left), sparse_matrix(operator.right)
    product = left.pattern.matrix(left.values) @ right.pattern.matrix(right.values)
    lengths = product.crow_indices().diff().long()
    rows = torch.arange(product.shape[0], device=product.device).repeat_interleave(lengths)
    return rows, product.col_indices().long(), product.values()


@triplets.register(BlockOperator)
def _(operator: BlockOperator) -> Entries:
    rows_of, columns_of = operator.sizes()
    found, top = [], 0
    for i, row in enumerate(operator.blocks):
        left = 0
        for j, block in enumerate(row):
            if block is not None:
                rows, columns, values = triplets(block)
                found.append((rows + top, columns + left, values))
            left += columns_of[j]
        top += rows_of[i]
    return _joined(found)


def sparse_matrix(operator: AbstractLinearOperator) -> SparseOperator:
    """The operator in compressed rows, a constant to autograd, with what was declared.

    Raises:
        TypeError: the operator has no entries at hand.
    """
    if isinstance(operator, SparseOperator):
        return operator.detached()
    rows, columns, values = triplets(operator)
    return SparseOperator.from_triplets(
        rows,
        columns,
        values,
        operator.shape,
        symmetric=operator.symmetric,
        positive_definite=operator.positive_definite,
    )


def dense_matrix(operator: AbstractLinearOperator) -> DenseOperator:
    """The operator as a dense matrix, a constant to autograd, with what was declared.

    Anything but a ``DenseOperator`` is applied to the identity, n products.
    """
    with torch.no_grad():
        if isinstance(operator, DenseOperator):
            matrix = operator.matrix.detach()
        else:
            n = operator.shape[1]
            unit = torch.eye(n, dtype=operator.dtype, device=operator.device)
            batch = operator.mv(unit[0]).ndim - 1
            matrix = operator.mv(unit.reshape(n, *(1,) * batch, n)).movedim(0, -1)
    return DenseOperator(matrix, symmetric=operator.symmetric, positive_definite=operator.positive_definite)


def _joined(parts: list[Entries]) -> Entries:
    rows, columns, values = (torch.cat(part) for part in zip(*parts, strict=True))
    return rows, columns, values
