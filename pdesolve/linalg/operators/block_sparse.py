"""A matrix of equal dense blocks, of which few are not zero, as a linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from pdesolve.linalg.block_cholesky import BlockMatrix
from pdesolve.linalg.elimination import Edge, plan
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import require_floating


@dataclass(frozen=True, eq=False)
class BlockSparseOperator(AbstractLinearOperator):
    """A with blocks A_aa = ``diagonal[a]``, A_ab = ``coupling[e]`` and A_ba = A_abᵀ for each edge e = (a, b).

    What coupled experts solve: N unknowns on each of P patches, one block for each patch and each pair of neighbours.
    Vectors are (..., P N), patch after patch.

    Arguments:
        diagonal: (*batch, P, N, N), float32 or float64.
        coupling: (*batch, E, N, N).
        edges: pairs (a, b), 0 <= a < b < P, each once (default none: block diagonal).

    Raises:
        TypeError: integer, complex or half precision blocks, or two types.
        ValueError: shapes, edges or devices do not fit together.

    Notes:
        ``positive_definite=True`` is what ``BlockSchur`` asks for: it is checked, as everywhere.
    """

    diagonal: Tensor
    coupling: Tensor
    edges: tuple[Edge, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "edges", tuple((int(a), int(b)) for a, b in self.edges))
        require_floating("diagonal", self.diagonal)
        require_floating("coupling", self.coupling)
        if self.diagonal.ndim < 3 or self.diagonal.shape[-1] != self.diagonal.shape[-2]:
            raise ValueError(f"diagonal must have shape (*batch, P, N, N), not {tuple(self.diagonal.shape)}")
        *batch, _, n, _ = self.diagonal.shape
        wanted = (*batch, len(self.edges), n, n)
        if tuple(self.coupling.shape) != wanted:
            raise ValueError(f"coupling must have shape {wanted}, one block for each edge, not {_shape(self.coupling)}")
        if self.coupling.dtype != self.diagonal.dtype:
            raise TypeError(f"coupling is {self.coupling.dtype}, diagonal {self.diagonal.dtype}: convert one of them")
        if self.coupling.device != self.diagonal.device:
            raise ValueError(f"coupling lies on {self.coupling.device}, diagonal on {self.diagonal.device}: move one")
        plan(self.diagonal.shape[-3], self.edges)  # raises for edges that are none

    @property
    def shape(self) -> tuple[int, int]:
        size = self.diagonal.shape[-3] * self.diagonal.shape[-1]
        return size, size

    @property
    def blocks(self) -> BlockMatrix:
        """What ``BlockCholesky`` factorises."""
        return BlockMatrix(self.diagonal, self.coupling, self.edges)

    def mv(self, x: Tensor) -> Tensor:
        return self.blocks.matvec(self.parted(x)).flatten(-2)

    def rmv(self, y: Tensor) -> Tensor:
        return replace(self, diagonal=self.diagonal.mT).mv(y)

    def tensors(self) -> list[Tensor]:
        return [self.diagonal, self.coupling]

    def with_tensors(self, tensors: Sequence[Tensor]) -> BlockSparseOperator:
        diagonal, coupling = tensors
        return replace(self, diagonal=diagonal, coupling=coupling)

    def parted(self, x: Tensor) -> Tensor:
        """(..., P N) -> (..., P, N)."""
        out: Tensor = x.unflatten(-1, (self.diagonal.shape[-3], self.diagonal.shape[-1]))
        return out


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
