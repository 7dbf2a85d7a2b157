"""How the Jacobian of a nonlinear system becomes a linear operator: matrix-free, dense, or given by the user."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.jacobian import JacobianOperator


class AbstractJacobian(abc.ABC):
    """Makes ∂F/∂u at a point; differentiable in u and the parameters, as second derivatives of a root need it."""

    batched: bool = False
    """Whether u may have leading dimensions."""

    @abc.abstractmethod
    def operator(
        self, function: Callable[..., Tensor], u: Tensor, parameters: tuple[Tensor, ...]
    ) -> AbstractLinearOperator:
        """∂F/∂u at u (n,), or (*batch, n) where ``batched``."""


@dataclass(frozen=True)
class MatrixFree(AbstractJacobian):
    """Products by forward and reverse differentiation of F; no entries are formed.

    For Krylov solvers whose preconditioner needs no entries. Direct solvers refuse it.
    """

    def operator(
        self, function: Callable[..., Tensor], u: Tensor, parameters: tuple[Tensor, ...]
    ) -> AbstractLinearOperator:
        return JacobianOperator(function, u, parameters)


@dataclass(frozen=True)
class DenseJacobian(AbstractJacobian):
    """The whole matrix, n products with unit vectors at once; members of a batch have one each.

    Good values: below about a thousand unknowns, and batches of small systems.
    """

    batched = True

    def operator(
        self, function: Callable[..., Tensor], u: Tensor, parameters: tuple[Tensor, ...]
    ) -> AbstractLinearOperator:
        n = u.shape[-1]
        members = u.shape[:-1].numel()

        def flat(point: Tensor, *theta: Tensor) -> Tensor:
            return function(point.reshape(u.shape), *theta).reshape(-1)

        # Members do not see each other: one direction for all of them gives a column of each matrix.
        unit = torch.eye(n, dtype=u.dtype, device=u.device).unsqueeze(-2).expand(n, members, n)
        columns = JacobianOperator(flat, u.reshape(-1), parameters, rows=members * n).mv(unit.reshape(n, -1))
        return DenseOperator(columns.reshape(n, *u.shape).movedim(0, -1))


@dataclass(frozen=True, eq=False)
class GivenJacobian(AbstractJacobian):
    """A function of the user's that assembles ∂F/∂u, as finite-element codes do.

    Arguments:
        assemble: called as ``assemble(u, *parameters)``, gives an operator of shape (n, n). It has to be the derivative
            of F: Newton's convergence and every gradient rest on it, so ``find_root`` compares one product.

    Notes:
        Second derivatives of a root need an operator that is differentiable in u and the parameters.
    """

    assemble: Callable[..., AbstractLinearOperator]

    def operator(
        self, function: Callable[..., Tensor], u: Tensor, parameters: tuple[Tensor, ...]
    ) -> AbstractLinearOperator:
        return self.assemble(u, *parameters)
