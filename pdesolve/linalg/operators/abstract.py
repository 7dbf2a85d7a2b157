"""Linear operators: what a linear solver may ask of a matrix, and how operators combine.

An operator is a frozen description that holds tensors. ``mv`` and ``rmv`` are differentiable in the vector and in those
tensors; nothing is stored between calls except what depends on the sparsity pattern alone.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

_Operator = TypeVar("_Operator", bound="AbstractLinearOperator")


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractLinearOperator(abc.ABC):
    """A linear map from R^n to R^m, batched over leading dimensions of the vector.

    Subclasses override ``shape``, ``mv``, ``rmv``, ``tensors`` and ``with_tensors`` and nothing else.

    Arguments:
        symmetric: the user declares A = A^T (default false). Solvers check it, see ``checks.examine``.
        positive_definite: the user declares A symmetric with x^T A x > 0 for x ≠ 0 (default false); implies
            ``symmetric`` and is checked too.
    """

    symmetric: bool = False
    positive_definite: bool = False

    def __post_init__(self) -> None:
        if self.positive_definite:
            object.__setattr__(self, "symmetric", True)

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(rows m, columns n)."""

    @abc.abstractmethod
    def mv(self, x: Tensor) -> Tensor:
        """A x: (..., n) -> (..., m), differentiable in x and in ``tensors()``."""

    @abc.abstractmethod
    def rmv(self, y: Tensor) -> Tensor:
        """A^T y: (..., m) -> (..., n), differentiable in y and in ``tensors()``."""

    @abc.abstractmethod
    def tensors(self) -> list[Tensor]:
        """The tensors that a gradient may be asked for; at least one."""

    @abc.abstractmethod
    def with_tensors(self: _Operator, tensors: Sequence[Tensor]) -> _Operator:
        """The same operator on other tensors, in the order of ``tensors()``."""

    @property
    def dtype(self) -> torch.dtype:
        return self.tensors()[0].dtype

    @property
    def device(self) -> torch.device:
        return self.tensors()[0].device

    @property
    def T(self) -> AbstractLinearOperator:
        """A^T; (A^T)^T is A itself."""
        if isinstance(self, TransposedOperator):
            return self.operator
        return TransposedOperator(self, symmetric=self.symmetric, positive_definite=self.positive_definite)

    def detached(self: _Operator) -> _Operator:
        """The same operator, a constant to autograd."""
        return self.with_tensors([t.detach() for t in self.tensors()])

    def __matmul__(self, other: AbstractLinearOperator) -> AbstractLinearOperator:
        return ComposedOperator(self, other)

    def __add__(self, other: AbstractLinearOperator) -> AbstractLinearOperator:
        return SumOperator(
            self,
            other,
            symmetric=self.symmetric and other.symmetric,
            positive_definite=self.positive_definite and other.positive_definite,
        )

    def __sub__(self, other: AbstractLinearOperator) -> AbstractLinearOperator:
        return self + (-1.0) * other

    def __neg__(self) -> AbstractLinearOperator:
        return -1.0 * self

    def __mul__(self, factor: float) -> AbstractLinearOperator:
        """s A for a number s; a trainable factor is a ``DiagonalOperator``."""
        return ScaledOperator(
            self, float(factor), symmetric=self.symmetric, positive_definite=self.positive_definite and factor > 0
        )

    __rmul__ = __mul__


@dataclass(frozen=True, eq=False)
class TransposedOperator(AbstractLinearOperator):
    """A^T, made by ``A.T``.

    Arguments:
        operator: A.
    """

    operator: AbstractLinearOperator

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.operator.shape
        return columns, rows

    def mv(self, x: Tensor) -> Tensor:
        return self.operator.rmv(x)

    def rmv(self, y: Tensor) -> Tensor:
        return self.operator.mv(y)

    def tensors(self) -> list[Tensor]:
        return self.operator.tensors()

    def with_tensors(self, tensors: Sequence[Tensor]) -> TransposedOperator:
        return replace(self, operator=self.operator.with_tensors(tensors))


@dataclass(frozen=True, eq=False)
class ComposedOperator(AbstractLinearOperator):
    """A B, made by ``A @ B``.

    Arguments:
        left: A, (m, k).
        right: B, (k, n).

    Raises:
        ValueError: the inner sizes differ.
    """

    left: AbstractLinearOperator
    right: AbstractLinearOperator

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left.shape[1] != self.right.shape[0]:
            raise ValueError(
                f"A @ B needs as many columns in A as rows in B, not shapes {self.left.shape} and {self.right.shape}"
            )
        _same_kind(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape[0], self.right.shape[1]

    def mv(self, x: Tensor) -> Tensor:
        return self.left.mv(self.right.mv(x))

    def rmv(self, y: Tensor) -> Tensor:
        return self.right.rmv(self.left.rmv(y))

    def tensors(self) -> list[Tensor]:
        return self.left.tensors() + self.right.tensors()

    def with_tensors(self, tensors: Sequence[Tensor]) -> ComposedOperator:
        split = len(self.left.tensors())
        return replace(
            self, left=self.left.with_tensors(tensors[:split]), right=self.right.with_tensors(tensors[split:])
        )


@dataclass(frozen=True, eq=False)
class SumOperator(AbstractLinearOperator):
    """A + B, made by ``A + B``.

    Arguments:
        left: A, (m, n).
        right: B, (m, n).

    Raises:
        ValueError: the shapes differ.
    """

    left: AbstractLinearOperator
    right: AbstractLinearOperator

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left.shape != self.right.shape:
            raise ValueError(f"A + B needs equal shapes, not {self.left.shape} and {self.right.shape}")
        _same_kind(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.shape

    def mv(self, x: Tensor) -> Tensor:
        return self.left.mv(x) + self.right.mv(x)

    def rmv(self, y: Tensor) -> Tensor:
        return self.left.rmv(y) + self.right.rmv(y)

    def tensors(self) -> list[Tensor]:
        return self.left.tensors() + self.right.tensors()

    def with_tensors(self, tensors: Sequence[Tensor]) -> SumOperator:
        split = len(self.left.tensors())
        return replace(
            self, left=self.left.with_tensors(tensors[:split]), right=self.right.with_tensors(tensors[split:])
        )


@dataclass(frozen=True, eq=False)
class ScaledOperator(AbstractLinearOperator):
    """s A, made by ``s * A``.

    Arguments:
        operator: A.
        factor: s, a number.
    """

    operator: AbstractLinearOperator
    factor: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.operator.shape

    def mv(self, x: Tensor) -> Tensor:
        return self.factor * self.operator.mv(x)

    def rmv(self, y: Tensor) -> Tensor:
        return self.factor * self.operator.rmv(y)

    def tensors(self) -> list[Tensor]:
        return self.operator.tensors()

    def with_tensors(self, tensors: Sequence[Tensor]) -> ScaledOperator:
        return replace(self, operator=self.operator.with_tensors(tensors))


def _same_kind(a: AbstractLinearOperator, b: AbstractLinearOperator) -> None:
    if a.dtype != b.dtype:
        raise TypeError(f"operators of types {a.dtype} and {b.dtype} do not combine: convert one of them")
    if a.device != b.device:
        raise ValueError(f"operators on {a.device} and {b.device} do not combine: move one of them")
