"""Rows that read the unknowns of several patches at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from pdesolve.linalg.elimination import Edge
from pdesolve.nonlinear.rows import RowBlock


@dataclass(frozen=True, eq=False)
class JointBlock:
    """Rows ω F(Σ_j S_0j w_kj + g_0, Σ_j S_1j w_kj + g_1, ...) on pieces of points with patches k_1..k_J each.

    Arguments:
        block: the rows, pieces standing for patches; the unknowns of a piece are those of its J patches one after
            another, (batch, piece, point, J N).
        patches: for each piece its J patches; one may stand there twice.
        label: what the rows are, for reports.
    """

    block: RowBlock
    patches: tuple[tuple[int, ...], ...]
    label: str = "conditions"

    @property
    def pairs(self) -> tuple[Edge, ...]:
        """All pairs of different patches that share rows, each once."""
        found: dict[Edge, None] = {}
        for piece in self.patches:
            for i, a in enumerate(piece):
                found.update({(min(a, b), max(a, b)): None for b in piece[i + 1 :] if a != b})
        return tuple(found)

    @cached_property
    def _index(self) -> Tensor:
        """(piece, J)."""
        return torch.tensor(self.patches, device=self.block.weight.device)

    def tensors(self) -> tuple[Tensor, ...]:
        """As ``RowBlock.tensors``."""
        return self.block.tensors()

    def with_tensors(self, tensors: Sequence[Tensor]) -> JointBlock:
        return replace(self, block=self.block.with_tensors(tensors))

    def parts(self) -> tuple[Tensor, ...]:
        """As ``RowBlock.parts``."""
        return self.block.parts()

    def with_parts(self, parts: Sequence[Tensor]) -> JointBlock:
        return replace(self, block=self.block.with_parts(parts))

    def memberwise(self) -> JointBlock:
        """As ``RowBlock.memberwise``: a piece belongs to one sample."""
        return replace(self, block=self.block.memberwise())

    @property
    def batch(self) -> int:
        return self.block.batch

    def batched(self, batch: int) -> JointBlock:
        return replace(self, block=self.block.batched(batch))

    def gather(self, w: Tensor) -> Tensor:
        """The unknowns of each piece, (batch, piece, J N), of those of the patches, (batch, patch, N)."""
        return w[:, self._index].flatten(2)

    def scatter(self, onto: Tensor, vector: Tensor) -> Tensor:
        """Add (batch, piece, J N) to the patches' (batch, patch, N)."""
        parts = vector.unflatten(-1, (self._index.shape[1], -1)).flatten(1, 2)
        return onto.index_add(1, self._index.flatten(), parts)

    def scatter_matrix(self, diagonal: Tensor, coupling: dict[Edge, Tensor], matrix: Tensor) -> Tensor:
        """Add (batch, piece, J N, J N) to the diagonal blocks, which are returned, and to those of the pairs."""
        count = self._index.shape[1]
        blocks = matrix.unflatten(-1, (count, -1)).unflatten(-3, (count, -1))  # (batch, piece, J, N, J, N)
        for j in range(count):
            diagonal = diagonal.index_add(1, self._index[:, j], blocks[:, :, j, :, j])
        for piece, patches in enumerate(self.patches):
            for i, a in enumerate(patches):
                for j in range(i + 1, count):
                    b, cross = patches[j], blocks[:, piece, i, :, j]
                    if a == b:
                        twice = (cross + cross.mT).unsqueeze(1)
                        diagonal = diagonal.index_add(1, self._index[piece, i : i + 1], twice)
                    else:
                        edge = (min(a, b), max(a, b))
                        coupling[edge] = coupling.get(edge, 0.0) + (cross if a < b else cross.mT)
        return diagonal

    def transformed(self, transform: Tensor) -> JointBlock:
        """The rows in unknowns c with w = transform c, (batch, patch, N, N)."""
        own, count = transform[:, self._index], self._index.shape[1]  # (batch, piece, J, N, N)
        basis = [
            (s.unflatten(-1, (count, -1)).movedim(-2, 2) @ own).movedim(2, -2).flatten(-2) for s in self.block.basis
        ]
        return replace(self, block=replace(self.block, basis=tuple(basis)))

    def within(self, place: dict[int, int]) -> JointBlock | None:
        """The pieces all of whose patches are in ``place``, with the numbers that it gives them; None without any."""
        inside = [i for i, piece in enumerate(self.patches) if all(p in place for p in piece)]
        if not inside:
            return None
        block = self.block.on(torch.tensor(inside, device=self.block.weight.device))
        return replace(self, block=block, patches=tuple(tuple(place[p] for p in self.patches[i]) for i in inside))
