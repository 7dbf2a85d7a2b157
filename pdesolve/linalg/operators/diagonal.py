"""A diagonal matrix as a linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import require_floating


@dataclass(frozen=True, eq=False)
class DiagonalOperator(AbstractLinearOperator):
    """A x = d ⊙ x, symmetric whatever is declared.

    Arguments:
        diagonal: d, (n,), float32 or float64.

    Raises:
        TypeError: integer, complex or half precision.
        ValueError: not of one dimension.
    """

    diagonal: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "symmetric", True)
        super().__post_init__()
        require_floating("diagonal", self.diagonal)
        if self.diagonal.ndim != 1:
            raise ValueError(f"diagonal must have shape (n,), not {tuple(self.diagonal.shape)}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.diagonal.shape[0], self.diagonal.shape[0]

    def mv(self, x: Tensor) -> Tensor:
        return self.diagonal * x

    def rmv(self, y: Tensor) -> Tensor:
        return self.diagonal * y

    def tensors(self) -> list[Tensor]:
        return [self.diagonal]

    def with_tensors(self, tensors: Sequence[Tensor]) -> DiagonalOperator:
        (diagonal,) = tensors
        return replace(self, diagonal=diagonal)
