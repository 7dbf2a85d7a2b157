"""A residual given as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractResidual

_DIRECTIONS = 256  # differentiated together


@final
class FunctionResidual(AbstractResidual):
    """r(θ) of a user's function of torch operations, its Jacobian by torch.func.

    Arguments:
        function: from θ, (n,), to r, (m,).

    Raises:
        TypeError: a function that cannot be called.

    Notes:
        Forwards where parameters are fewer than rows, backwards otherwise, a few hundred directions at a time.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, got {type(function).__name__}")
        self._function = function

    def residual(self, theta: Tensor) -> Tensor:
        return self._function(theta)

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return dense_jacobian(self._function, theta)


def dense_jacobian(function: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """(r, J) of a function of torch operations, forwards or backwards, whichever needs fewer directions."""
    theta = theta.detach()
    with torch.no_grad():
        rows = function(theta)
    if len(theta) > len(rows):
        return rows, torch.func.jacrev(function, chunk_size=_DIRECTIONS)(theta).detach()
    return rows, forward_products(function, theta, torch.eye(len(theta), dtype=theta.dtype, device=theta.device))


def forward_products(function: Callable[[Tensor], Tensor], theta: Tensor, directions: Tensor) -> Tensor:
    """J Ω, (m, k), of directions Ωᵀ, (k, n)."""

    def along(direction: Tensor) -> Tensor:
        product: Tensor = torch.func.jvp(function, (theta,), (direction,))[1]
        return product

    with torch.no_grad():
        columns: Tensor = torch.func.vmap(along, chunk_size=_DIRECTIONS)(directions)
    return columns.mT.detach()
