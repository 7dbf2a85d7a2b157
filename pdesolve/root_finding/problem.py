"""A nonlinear system at given parameters, as root finders see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.root_finding.jacobian import AbstractJacobian

Residual = Callable[..., Tensor]
"""F, called as F(u, *parameters): (*batch, n) -> (*batch, n), member by member."""


@dataclass(frozen=True, eq=False)
class RootProblem:
    """F(u, θ) = 0 at one θ.

    Arguments:
        function: F.
        jacobian: how ∂F/∂u becomes a linear operator.
        parameters: θ, tensors.
    """

    function: Residual
    jacobian: AbstractJacobian
    parameters: tuple[Tensor, ...] = ()

    def residual(self, u: Tensor) -> Tensor:
        """F(u, θ)."""
        return self.function(u, *self.parameters)

    def operator(self, u: Tensor) -> AbstractLinearOperator:
        """∂F/∂u at u."""
        return self.jacobian.operator(self.function, u, self.parameters)

    def at(self, parameters: tuple[Tensor, ...]) -> RootProblem:
        """The same system at other parameters."""
        return replace(self, parameters=parameters)
