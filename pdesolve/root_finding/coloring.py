"""Colours for the columns of a sparse matrix such that columns of one colour share no row."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.linalg.operators.sparsity_pattern import SparsityPattern


def color_columns(pattern: SparsityPattern) -> Tensor:
    """A colouring of the graph in which columns with a common row are neighbours, (n,) int64, colours from zero.

    Colour after colour takes a maximal independent set of what is left. Each set grows by rounds: a column enters when
    its priority, random but fixed, beats those of all neighbours that may still enter.

    Arguments:
        pattern: m x n.

    Source: Jones & Plassmann, *A parallel graph coloring heuristic* (1993); Luby (1986).
    """
    n, device = pattern.shape[1], pattern.columns.device
    first, second = _neighbours(pattern)
    priority = torch.randperm(n, generator=torch.Generator().manual_seed(0)).to(device) + 1
    colors = torch.full((n,), -1, dtype=torch.int64, device=device)
    color = 0
    while bool((colors < 0).any()):
        _spread(colors, color, priority, first, second)
        left = (colors[first] < 0) & (colors[second] < 0)
        first, second = first[left], second[left]
        color += 1
    return colors


def _spread(colors: Tensor, color: int, priority: Tensor, first: Tensor, second: Tensor) -> None:
    """Give ``color`` to a maximal independent set of the columns without one, in place."""
    candidate = colors < 0
    while first.numel():
        rank = torch.where(candidate, priority, 0)
        strongest = torch.zeros_like(rank).scatter_reduce(0, first, rank[second], "amax")
        chosen = candidate & (rank > strongest)
        colors[chosen] = color
        beaten = torch.zeros_like(candidate)
        beaten[first[chosen[second]]] = True
        candidate = candidate & ~chosen & ~beaten
        running = candidate[first] & candidate[second]
        first, second = first[running], second[running]
    colors[candidate] = color


def _neighbours(pattern: SparsityPattern) -> tuple[Tensor, Tensor]:
    """Pairs of different columns with a common row, both ways: where AᵀA has entries."""
    ones = torch.ones(pattern.count, dtype=torch.float32, device=pattern.columns.device)
    product = pattern.T.matrix(ones) @ pattern.matrix(ones)
    columns = product.col_indices().long()
    rows = torch.arange(pattern.shape[1], device=columns.device).repeat_interleave(product.crow_indices().diff().long())
    apart = rows != columns
    return rows[apart], columns[apart]
