"""A sparse matrix in compressed rows as a linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import require_floating
from pdesolve.linalg.operators.sparse_product import sparse_product
from pdesolve.linalg.operators.sparsity_pattern import SparsityPattern, Triplets


@dataclass(frozen=True, eq=False)
class SparseOperator(AbstractLinearOperator):
    """A with entries a_ij = ``values`` at the positions of ``pattern``.

    Gradients reach ``values``, on the pattern only: O(nnz) time and memory. In a training loop keep the pattern and
    make a new operator with new values, ``SparseOperator(pattern, values)``.

    Arguments:
        pattern: positions, shared between operators.
        values: (nnz,), float32 or float64, in the order of the pattern.

    Raises:
        TypeError: integer, complex or half precision values.
        ValueError: not one value for each position, or on another device than the pattern.
    """

    pattern: SparsityPattern
    values: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        require_floating("values", self.values)
        if self.values.shape != (self.pattern.count,):
            raise ValueError(f"values must have shape ({self.pattern.count},), not {tuple(self.values.shape)}")
        if self.values.device != self.pattern.columns.device:
            raise ValueError(
                f"values lie on {self.values.device}, the pattern on {self.pattern.columns.device}: use pattern.to(...)"
            )

    @staticmethod
    def from_triplets(
        rows: Any,
        columns: Any,
        values: Tensor,
        shape: tuple[int, int],
        *,
        symmetric: bool = False,
        positive_definite: bool = False,
    ) -> SparseOperator:
        """From (row, column, value), duplicates added; gradients reach ``values``.

        To build the pattern once and use it often call ``Triplets.of`` and ``Triplets.sum`` yourself.
        """
        triplets = Triplets.of(rows, columns, shape)
        slot = triplets.slot.to(values.device)
        pattern = triplets.pattern.to(values.device)
        total = Triplets(pattern, slot).sum(values)
        return SparseOperator(pattern, total, symmetric=symmetric, positive_definite=positive_definite)

    @staticmethod
    def from_torch(tensor: Tensor, *, symmetric: bool = False, positive_definite: bool = False) -> SparseOperator:
        """From a torch COO or CSR tensor of two dimensions; gradients reach it.

        Raises:
            TypeError: another layout.
        """
        if tensor.layout == torch.sparse_csr:
            lengths = tensor.crow_indices().diff().long()
            rows = torch.arange(tensor.shape[0], device=tensor.device).repeat_interleave(lengths)
            columns, values = tensor.col_indices(), tensor.values()
        elif tensor.layout == torch.sparse_coo:
            tensor = tensor.coalesce()
            (rows, columns), values = tensor.indices(), tensor.values()
        else:
            raise TypeError(f"tensor has layout {tensor.layout}: give COO or CSR, or a DenseOperator for a dense one")
        shape = (tensor.shape[0], tensor.shape[1])
        return SparseOperator.from_triplets(
            rows, columns, values, shape, symmetric=symmetric, positive_definite=positive_definite
        )

    @staticmethod
    def from_scipy(matrix: Any, *, symmetric: bool = False, positive_definite: bool = False) -> SparseOperator:
        """From any SciPy sparse matrix or array, on the CPU; the numbers are copied.

        Raises:
            TypeError: not a SciPy matrix, or its numbers are not float32 or float64.
        """
        if not hasattr(matrix, "tocoo"):
            raise TypeError(f"matrix must be a SciPy sparse matrix, not {type(matrix).__name__}")
        coo = matrix.tocoo()
        values = torch.as_tensor(coo.data.copy())
        require_floating("matrix", values)
        return SparseOperator.from_triplets(
            coo.row, coo.col, values, coo.shape, symmetric=symmetric, positive_definite=positive_definite
        )

    @property
    def shape(self) -> tuple[int, int]:
        return self.pattern.shape

    def mv(self, x: Tensor) -> Tensor:
        return sparse_product(self.pattern, self.values, x)

    def rmv(self, y: Tensor) -> Tensor:
        return sparse_product(self.pattern.T, self.values[self.pattern.transposition], y)

    def tensors(self) -> list[Tensor]:
        return [self.values]

    def with_tensors(self, tensors: Sequence[Tensor]) -> SparseOperator:
        (values,) = tensors
        return replace(self, values=values)

    def transposed(self) -> SparseOperator:
        """A^T with its own rows, where ``T`` only swaps ``mv`` and ``rmv``."""
        return replace(self, pattern=self.pattern.T, values=self.values[self.pattern.transposition])

    def diagonal(self) -> Tensor:
        """(min(m, n),), zero where no entry is stored."""
        place = self.pattern.diagonal
        stored = place >= 0
        return self.values.new_zeros(place.shape[0]).masked_scatter(stored, self.values[place[stored]])
