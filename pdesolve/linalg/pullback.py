"""How products with an operator change with its tensors.

The general rules call ``torch.func.vjp``; operators that are linear in their tensors have shorter ones. All are
differentiable again in every argument. A new operator needs no rule of its own.
"""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator, ScaledOperator, TransposedOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.diagonal import DiagonalOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.operators.sparse_product import on_pattern


@singledispatch
def pullback(operator: AbstractLinearOperator, y: Tensor, x: Tensor) -> list[Tensor]:
    """∂/∂θ of Σ y · A(θ) x, one tensor for each of ``operator.tensors()``.

    Arguments:
        operator: A at θ.
        y: (..., m).
        x: (..., n).
    """

    def product(*tensors: Tensor) -> Tensor:
        return operator.with_tensors(tensors).mv(x)

    return list(torch.func.vjp(product, *operator.tensors())[1](y))


@pullback.register(SparseOperator)
def _(operator: SparseOperator, y: Tensor, x: Tensor) -> list[Tensor]:
    return [on_pattern(operator.pattern, y, x)]


@pullback.register(DenseOperator)
def _(operator: DenseOperator, y: Tensor, x: Tensor) -> list[Tensor]:
    if operator.matrix.ndim == 2:
        return [y.reshape(-1, y.shape[-1]).mT @ x.reshape(-1, x.shape[-1])]
    return [(y.unsqueeze(-1) * x.unsqueeze(-2)).sum_to_size(operator.matrix.shape)]


@pullback.register(DiagonalOperator)
def _(operator: DiagonalOperator, y: Tensor, x: Tensor) -> list[Tensor]:
    return [(y * x).sum_to_size(operator.diagonal.shape)]


@pullback.register(TransposedOperator)
def _(operator: TransposedOperator, y: Tensor, x: Tensor) -> list[Tensor]:
    return pullback(operator.operator, x, y)


@pullback.register(ScaledOperator)
def _(operator: ScaledOperator, y: Tensor, x: Tensor) -> list[Tensor]:
    return pullback(operator.operator, operator.factor * y, x)


def directional(operator: AbstractLinearOperator, dots: list[Tensor], x: Tensor) -> Tensor:
    """Ȧ x along θ̇ = ``dots``, one tensor for each of ``operator.tensors()``."""
    linear = operator
    while isinstance(linear, TransposedOperator | ScaledOperator):
        linear = linear.operator
    if isinstance(linear, SparseOperator | DenseOperator | DiagonalOperator):
        return operator.with_tensors(dots).mv(x)

    # torch refuses torch.func.jvp inside forward_ad.dual_level. The pullback is linear in y: pulling it back along θ̇
    # gives the directional derivative by two reverse passes.
    def pull(y: Tensor) -> tuple[Tensor, ...]:
        return tuple(pullback(operator, y, x))

    start = x.new_zeros((*x.shape[:-1], operator.shape[0]))
    out: Tensor = torch.func.vjp(pull, start)[1](tuple(dots))[0]
    return out
