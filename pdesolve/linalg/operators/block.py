"""A matrix of operators as a linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator


@dataclass(frozen=True, eq=False)
class BlockOperator(AbstractLinearOperator):
    """A = [[A₁₁, A₁₂, …], [A₂₁, …], …], a grid of operators with None where a block is zero.

    Arguments:
        blocks: rows of blocks, all of the same length. Blocks of one row have equally many rows, blocks of one column
            equally many columns.

    Raises:
        ValueError: the grid is ragged, sizes do not fit, devices differ, or a whole row or column of blocks is zero.
        TypeError: number types differ.
    """

    blocks: tuple[tuple[AbstractLinearOperator | None, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.blocks or len({len(row) for row in self.blocks}) != 1 or not self.blocks[0]:
            raise ValueError(f"blocks must form a grid, not rows of lengths {[len(row) for row in self.blocks]}")
        kinds = {(block.dtype, block.device) for block in self._present()}
        if len({dtype for dtype, _ in kinds}) > 1:
            raise TypeError(f"blocks have types {sorted(str(dtype) for dtype, _ in kinds)}: convert them to one")
        if len(kinds) > 1:
            raise ValueError(f"blocks lie on {sorted(str(device) for _, device in kinds)}: move them to one device")
        self.sizes()

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.sizes()
        return sum(rows), sum(columns)

    def mv(self, x: Tensor) -> Tensor:
        rows, columns = self.sizes()
        parts = x.split(columns, dim=-1)
        return torch.cat([_row(self.blocks[i], parts, x, size) for i, size in enumerate(rows)], dim=-1)

    def rmv(self, y: Tensor) -> Tensor:
        rows, columns = self.sizes()
        parts = y.split(rows, dim=-1)
        grid = [[None if block is None else block.T for block in column] for column in zip(*self.blocks, strict=True)]
        return torch.cat([_row(grid[j], parts, y, size) for j, size in enumerate(columns)], dim=-1)

    def tensors(self) -> list[Tensor]:
        return [t for block in self._present() for t in block.tensors()]

    def with_tensors(self, tensors: Sequence[Tensor]) -> BlockOperator:
        queue = list(tensors)

        def renewed(block: AbstractLinearOperator | None) -> AbstractLinearOperator | None:
            if block is None:
                return None
            count = len(block.tensors())
            head = queue[:count]
            del queue[:count]
            return block.with_tensors(head)

        return replace(self, blocks=tuple(tuple(renewed(block) for block in row) for row in self.blocks))

    def _present(self) -> list[AbstractLinearOperator]:
        return [block for row in self.blocks for block in row if block is not None]

    def sizes(self) -> tuple[list[int], list[int]]:
        """Numbers of rows of each row of blocks, and of columns of each column of blocks."""
        rows = [_common(row, 0, f"row {i}") for i, row in enumerate(self.blocks)]
        columns = [_common(column, 1, f"column {j}") for j, column in enumerate(zip(*self.blocks, strict=True))]
        return rows, columns


def _row(
    row: Sequence[AbstractLinearOperator | None],
    parts: Sequence[Tensor],
    like: Tensor,
    size: int,
) -> Tensor:
    total = like.new_zeros((*like.shape[:-1], size))
    for block, part in zip(row, parts, strict=True):
        if block is not None:
            total = total + block.mv(part)
    return total


def _common(blocks: Sequence[AbstractLinearOperator | None], axis: int, name: str) -> int:
    sizes = {block.shape[axis] for block in blocks if block is not None}
    if len(sizes) != 1:
        what = f"has blocks of sizes {sorted(sizes)}" if sizes else "holds no block, so the matrix is singular"
        raise ValueError(f"{name} of blocks {what}")
    return sizes.pop()
