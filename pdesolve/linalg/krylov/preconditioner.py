"""Preconditioners: cheap approximations of A⁻¹ that Krylov solvers apply in every step."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator, ScaledOperator, SumOperator, TransposedOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.diagonal import DiagonalOperator


class AbstractPreconditioner(abc.ABC):
    """z = M⁻¹ r with M near A. A preconditioner is a frozen dataclass; what it knows about A is in the state.

    Nothing here is differentiable: a preconditioner changes the way to the solution, not the solution.
    """

    @abc.abstractmethod
    def init(self, operator: AbstractLinearOperator) -> Any:
        """Build M for ``operator``, whose tensors carry no graph; any object.

        Raises:
            TypeError: the preconditioner cannot work on this kind of operator.
        """

    @abc.abstractmethod
    def apply(self, state: Any, r: Tensor) -> Tensor:
        """M⁻¹ r: (..., n) -> (..., n), linear in r up to round-off, a new tensor."""

    @abc.abstractmethod
    def transpose(self, state: Any) -> Any:
        """The state for M^T, from the same work."""


@runtime_checkable
class HasDiagonal(Protocol):
    """An operator that knows its own diagonal."""

    def diagonal(self) -> Tensor:
        """(n,)."""


def diagonal_of(operator: AbstractLinearOperator) -> Tensor:
    """The diagonal of A, (n,) or (*batch, n).

    Raises:
        TypeError: the diagonal of this operator is not at hand.
    """
    if isinstance(operator, DenseOperator):
        return operator.matrix.diagonal(dim1=-2, dim2=-1)
    if isinstance(operator, DiagonalOperator):
        return operator.diagonal
    if isinstance(operator, TransposedOperator):
        return diagonal_of(operator.operator)
    if isinstance(operator, ScaledOperator):
        return operator.factor * diagonal_of(operator.operator)
    if isinstance(operator, SumOperator):
        return diagonal_of(operator.left) + diagonal_of(operator.right)
    if isinstance(operator, HasDiagonal):
        return operator.diagonal()
    raise TypeError(
        f"the diagonal of a {type(operator).__name__} is not at hand: use Identity() or a preconditioner of your own"
    )


@dataclass(frozen=True)
class Identity(AbstractPreconditioner):
    """M = I: no preconditioning."""

    def init(self, operator: AbstractLinearOperator) -> None:
        return None

    def apply(self, state: None, r: Tensor) -> Tensor:
        return r.clone()

    def transpose(self, state: None) -> None:
        return None


@dataclass(frozen=True)
class Jacobi(AbstractPreconditioner):
    """M = diag(A), with 1 where the diagonal is zero.

    Good for matrices whose rows differ in scale; the number of steps still grows like 1/h on a mesh.

    Notes:
        The sign of the diagonal is dropped, so M is positive definite for every symmetric A, as CG and MINRES need.
    """

    def init(self, operator: AbstractLinearOperator) -> Tensor:
        size = diagonal_of(operator).detach().abs()
        return torch.where(size > 0, size, 1.0).reciprocal()

    def apply(self, state: Tensor, r: Tensor) -> Tensor:
        return state * r

    def transpose(self, state: Tensor) -> Tensor:
        return state
