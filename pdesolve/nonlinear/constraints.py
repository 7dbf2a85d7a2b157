"""Linear constraints on the unknowns of patches: lower <= C w <= upper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pdesolve.nonlinear.rows import times


@dataclass(frozen=True, eq=False)
class LinearConstraints:
    """lower <= C w <= upper, row by row, for each *member*: a patch, or all patches of a sample together.

    Arguments:
        matrix: C, (batch, member, row, unknown); with one member for several patches the unknowns are those of the
            patches one after another.
        lower, upper: (batch, member, row); -inf and inf where there is none, as in padding.
        equality: whether lower and upper are the same in all rows (default no).
        name: what it is, for messages.
        coordinates: axis -> (member, row), where the rows stand, for messages.
    """

    matrix: Tensor
    lower: Tensor
    upper: Tensor
    equality: bool = False
    name: str = "constraint"
    coordinates: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Everything a gradient may be asked for."""
        return self.matrix, self.lower, self.upper

    def with_tensors(self, tensors: Sequence[Tensor]) -> LinearConstraints:
        """The same rows on other tensors, in the order of ``tensors()``."""
        matrix, lower, upper = tensors
        return replace(self, matrix=matrix, lower=lower, upper=upper)

    @property
    def batch(self) -> int:
        return max(t.shape[0] for t in self.tensors())

    def batched(self, batch: int) -> LinearConstraints:
        """All tensors expanded to a common batch."""
        return self.with_tensors([t.expand(batch, *t.shape[1:]) for t in self.tensors()])

    def on(self, patches: Tensor, count: int) -> LinearConstraints:
        """The rows of some of ``count`` patches, by index.

        Raises:
            ValueError: rows over all patches together.
        """
        if self.matrix.shape[1] != count:
            raise ValueError(
                f"{self.name} reaches over all patches, which are solved one after another here: use one patch along "
                "the axis of flow, or leave it out"
            )
        kept = self.with_tensors([t.index_select(1, patches) for t in self.tensors()])
        return replace(kept, coordinates={axis: c.index_select(0, patches) for axis, c in self.coordinates.items()})

    def transformed(self, transform: Tensor) -> LinearConstraints:
        """The rows in unknowns c with w = transform c, (batch, patch, N, N)."""
        batch, patches, n, _ = transform.shape
        if self.matrix.shape[1] == patches:
            return replace(self, matrix=self.matrix @ transform)
        rows = self.matrix.reshape(batch, -1, patches, n).movedim(2, 1) @ transform
        return replace(self, matrix=rows.movedim(1, 2).reshape(batch, 1, -1, patches * n))

    def violation(self, w: Tensor) -> Tensor:
        """How far C w lies outside, in the units of the rows, (batch, member, row), at least 0.

        Arguments:
            w: (batch, patch, N).
        """
        values = times(self.matrix, w.reshape(w.shape[0], self.matrix.shape[1], -1))
        return torch.maximum(self.lower - values, values - self.upper).clamp_min(0)


@dataclass(frozen=True, eq=False)
class ActiveRows:
    """Constraints at a constrained minimum, by member.

    Arguments:
        multipliers: y, (batch, member, row), with ∇(cost) + Cᵀy = 0.
        side: 1 on the upper bound or an equality, -1 on the lower bound, 0 off both; (batch, member, row).
    """

    multipliers: Tensor
    side: Tensor


def joined(blocks: Sequence[LinearConstraints], patches: int, joint: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(C, lower, upper, which rows are equalities) of all blocks, by member.

    Arguments:
        blocks: at least one.
        patches: of the problem.
        joint: whether all patches of a sample are one member.
    """
    parts = [_over_all(block, patches) if joint else block.tensors() for block in blocks]
    matrix, lower, upper = (torch.cat([part[k] for part in parts], 2) for k in range(3))
    flags = [torch.full((part[0].shape[2],), block.equality) for part, block in zip(parts, blocks, strict=True)]
    return matrix, lower, upper, torch.cat(flags).to(matrix.device)


def parted(blocks: Sequence[LinearConstraints], rows: Tensor) -> list[Tensor]:
    """The inverse of ``joined`` on tensors (batch, member, row): one for each block, (batch, its member, its row)."""
    found, start = [], 0
    for block in blocks:
        batch, members, count = block.lower.shape
        width = count * members // rows.shape[1]
        found.append(rows[:, :, start : start + width].reshape(batch, members, count))
        start += width
    return found


def _over_all(block: LinearConstraints, patches: int) -> tuple[Tensor, Tensor, Tensor]:
    """The rows with all patches as one member: block diagonal where they were of one patch each."""
    matrix, lower, upper = block.tensors()
    if matrix.shape[1] != patches or patches == 1:
        return matrix, lower, upper
    batch, _, rows, n = matrix.shape
    identity = torch.eye(patches, dtype=matrix.dtype, device=matrix.device).reshape(1, patches, 1, patches, 1)
    wide = (matrix.unsqueeze(3) * identity).reshape(batch, 1, patches * rows, patches * n)
    return wide, lower.reshape(batch, 1, -1), upper.reshape(batch, 1, -1)
