"""Points that belong together, laid out as pieces of one length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Groups:
    """Indices of points by group.

    Arguments:
        of: the group of each piece, (piece,).
        table: indices, (piece, length); a piece that is not full is filled up with an index that it has.
        there: which of them count, (piece, length) boolean.
    """

    of: Tensor
    table: Tensor
    there: Tensor


def grouped(keys: Tensor, n_groups: int, length: int, at_least: int = 0) -> Groups:
    """Pieces of ``length`` points with equal keys.

    Arguments:
        keys: the group of each point, (point,) int64.
        n_groups: how many groups there are.
        length: points of a piece.
        at_least: pieces that each group gets even if it has no points (default 0).
    """
    order = keys.argsort(stable=True)
    ordered, counts = keys[order], torch.bincount(keys, minlength=n_groups)
    pieces = ((counts + length - 1) // length).clamp_min(at_least)
    rank = torch.arange(len(keys), device=keys.device) - (counts.cumsum(0) - counts)[ordered]
    row, column = (pieces.cumsum(0) - pieces)[ordered] + rank // length, rank % length
    of = torch.repeat_interleave(torch.arange(n_groups, device=keys.device), pieces)
    table = torch.zeros(len(of), length, dtype=torch.int64, device=keys.device)
    there = torch.zeros_like(table, dtype=torch.bool)
    first = column == 0
    table[row[first]] = order[first].unsqueeze(-1)
    table[row, column] = order
    there[row, column] = True
    return Groups(of, table, there)
