"""A factorised matrix, whatever factorised it."""

from __future__ import annotations

import abc

from torch import Tensor


class AbstractFactor(abc.ABC):
    """Factors of an equilibrated matrix in float64.

    Attributes:
        status: ``SolveStatus`` codes of the factorisation, () or (*batch,). Solves with a failed member may give NaN.
        fill: numbers stored.
    """

    status: Tensor
    fill: int

    @abc.abstractmethod
    def solve(self, b: Tensor) -> Tensor:
        """A⁻¹ b for b (..., *batch, n)."""

    @abc.abstractmethod
    def solve_transposed(self, b: Tensor) -> Tensor:
        """A⁻ᵀ b for b (..., *batch, n)."""


class TransposedFactor(AbstractFactor):
    """The factors of A^T are those of A.

    Arguments:
        factor: of A.
    """

    def __init__(self, factor: AbstractFactor) -> None:
        self.factor, self.status, self.fill = factor, factor.status, factor.fill

    def solve(self, b: Tensor) -> Tensor:
        return self.factor.solve_transposed(b)

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self.factor.solve(b)
