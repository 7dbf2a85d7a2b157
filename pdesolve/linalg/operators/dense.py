"""A dense matrix, or a batch of them, as a linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator


def require_floating(name: str, tensor: Any) -> None:
    """Raise TypeError unless ``tensor`` is a float32 or float64 tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a tensor, not {type(tensor).__name__}: use torch.as_tensor")
    if tensor.dtype not in (torch.float32, torch.float64):
        remedy = "solve for real and imaginary part" if tensor.is_complex() else "convert with .double() or .float()"
        raise TypeError(f"{name} must be float32 or float64, not {tensor.dtype}: {remedy}")


@dataclass(frozen=True, eq=False)
class DenseOperator(AbstractLinearOperator):
    """A x = ``matrix`` x.

    Arguments:
        matrix: A, (*batch, m, n), float32 or float64. The batch broadcasts against the leading dimensions of vectors:
            one matrix for each right-hand side, factorised together.

    Raises:
        TypeError: integer, complex or half precision.
        ValueError: fewer than two dimensions.
    """

    matrix: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        require_floating("matrix", self.matrix)
        if self.matrix.ndim < 2:
            raise ValueError(f"matrix must have shape (*batch, m, n), not {tuple(self.matrix.shape)}")

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[-2], self.matrix.shape[-1]

    def mv(self, x: Tensor) -> Tensor:
        return _product(self.matrix, x)

    def rmv(self, y: Tensor) -> Tensor:
        return _product(self.matrix.mT, y)

    def tensors(self) -> list[Tensor]:
        return [self.matrix]

    def with_tensors(self, tensors: Sequence[Tensor]) -> DenseOperator:
        (matrix,) = tensors
        return replace(self, matrix=matrix)

    def diagonal(self) -> Tensor:
        """(*batch, min(m, n))."""
        return self.matrix.diagonal(dim1=-2, dim2=-1)


def _product(matrix: Tensor, x: Tensor) -> Tensor:
    if matrix.ndim == 2:
        return x @ matrix.mT
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)
