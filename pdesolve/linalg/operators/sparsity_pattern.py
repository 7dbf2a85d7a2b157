"""Which entries of a sparse matrix are stored: found once, shared by all matrices with these entries."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from pdesolve.linalg.direct.ordering import dissection, level_width

_LARGEST = torch.iinfo(torch.int32).max
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _untransformed(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run with plain tensors inside torch.func transforms too, so that what is cached outlives the transform."""

    @wraps(function)
    def plain(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with torch._C._DisableFuncTorch():
            return function(*args, **kwargs)

    return plain


@dataclass(frozen=True, eq=False)
class SparsityPattern:
    """Positions of the stored entries of an m x n matrix in compressed rows (CSR), columns rising in each row.

    Made by ``Triplets`` or ``SparseOperator.from_scipy`` and ``from_torch``, which sort and sum duplicates.

    Arguments:
        shape: (m, n).
        starts: (m + 1,), int32, where each row starts.
        columns: (nnz,), int32.
    """

    shape: tuple[int, int]
    starts: Tensor
    columns: Tensor

    @property
    def count(self) -> int:
        """Number of stored entries, nnz."""
        return self.columns.shape[0]

    @cached_property
    @_untransformed
    def rows(self) -> Tensor:
        """Row of each entry, (nnz,), int32."""
        lengths = self.starts.diff()
        index = torch.arange(self.shape[0], dtype=torch.int32, device=self.starts.device)
        return index.repeat_interleave(lengths.long())

    @cached_property
    @_untransformed
    def transposition(self) -> Tensor:
        """(nnz,), int32: the values of A^T are ``values[transposition]`` on the pattern ``T``."""
        return self.columns.argsort(stable=True).int()

    @cached_property
    @_untransformed
    def T(self) -> SparsityPattern:
        """The pattern of A^T; ``pattern.T.T`` is ``pattern``, and so is ``pattern.T`` where it is symmetric."""
        order = self.transposition
        starts, columns = _starts(torch.bincount(self.columns, minlength=self.shape[1])), self.rows[order]
        if self.shape[0] == self.shape[1] and torch.equal(starts, self.starts) and torch.equal(columns, self.columns):
            return self
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(order.shape[0], dtype=order.dtype, device=order.device)
        other = SparsityPattern(self.shape[::-1], starts, columns)
        other.__dict__.update(T=self, transposition=inverse, rows=self.columns[order])
        return other

    @cached_property
    @_untransformed
    def symmetric(self) -> bool:
        """Whether (i, j) is stored wherever (j, i) is."""
        return self.T is self

    @cached_property
    @_untransformed
    def diagonal(self) -> Tensor:
        """Place of the entry (i, i) of each row, (min(m, n),), int64; -1 where it is not stored."""
        places = torch.full((min(self.shape),), -1, dtype=torch.int64, device=self.columns.device)
        found = (self.rows == self.columns).nonzero().squeeze(-1)
        places[self.rows[found].long()] = found
        return places

    @cached_property
    @_untransformed
    def level_width(self) -> float:
        """Mean width of the level sets of the graph: its typical separator."""
        return level_width(self)

    @cached_property
    @_untransformed
    def dissection(self) -> Tensor:
        """The unknowns in an order that keeps the factors of a solid mesh small, (n,), on the CPU."""
        return dissection(self)

    def matrix(self, values: Tensor) -> Tensor:
        """A torch CSR tensor that shares memory with ``values`` (nnz,)."""
        _silence_beta_warning()
        return torch.sparse_csr_tensor(self.starts, self.columns, values, self.shape, check_invariants=False)

    def to(self, device: torch.device | str) -> SparsityPattern:
        """A copy on another device."""
        return SparsityPattern(self.shape, self.starts.to(device), self.columns.to(device))


@dataclass(frozen=True, eq=False)
class Triplets:
    """How a list of (row, column, value) with duplicates becomes a matrix: the pattern, and where each value goes.

    Built once, used for every new list of values: ``SparseOperator(t.pattern, t.sum(values))``.

    Arguments:
        pattern: of the matrix.
        slot: (n_triplets,), place of each triplet among the stored entries.
    """

    pattern: SparsityPattern
    slot: Tensor

    @staticmethod
    @_untransformed
    def of(rows: Any, columns: Any, shape: tuple[int, int]) -> Triplets:
        """Sort and merge positions.

        Arguments:
            rows, columns: (n_triplets,) integers, from zero.
            shape: (m, n).

        Raises:
            TypeError: indices are not integers.
            ValueError: an index is out of range, lengths differ, the shape holds a zero, or more than 2³¹ - 1 entries
                or rows are asked for.
        """
        if min(shape) < 1:
            raise ValueError(f"shape {tuple(shape)} has no rows or no columns")
        rows, columns = _index("rows", rows, shape[0]), _index("columns", columns, shape[1])
        if rows.shape != columns.shape:
            raise ValueError(f"rows and columns must be equally many, not {rows.shape[0]} and {columns.shape[0]}")
        if max(*shape, rows.shape[0]) > _LARGEST:
            raise ValueError(f"shape {shape} with {rows.shape[0]} entries is beyond 32-bit indices: split the system")
        keys, slot = torch.unique(rows * shape[1] + columns, return_inverse=True)
        lengths = torch.bincount(keys // shape[1], minlength=shape[0])
        return Triplets(SparsityPattern((shape[0], shape[1]), _starts(lengths), (keys % shape[1]).int()), slot)

    def sum(self, values: Tensor) -> Tensor:
        """Values of the stored entries, duplicates added: (n_triplets,) -> (nnz,), differentiable."""
        if values.shape != self.slot.shape:
            raise ValueError(f"values must have shape {tuple(self.slot.shape)}, not {tuple(values.shape)}")
        return values.new_zeros(self.pattern.count).index_add(0, self.slot, values)


def _index(name: str, positions: Any, size: int) -> Tensor:
    index: Tensor = torch.as_tensor(positions)
    if index.dtype.is_floating_point or index.dtype.is_complex or index.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, not {index.dtype}")
    if index.ndim != 1:
        raise ValueError(f"{name} must have shape (n_triplets,), not {tuple(index.shape)}")
    outside = ((index < 0) | (index >= size)).nonzero()
    if outside.numel():
        first = int(outside[0, 0])
        raise ValueError(f"{name}[{first}] = {int(index[first])} is outside 0 ... {size - 1}: indices start at zero")
    return index.long()


def _starts(lengths: Tensor) -> Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).int()


@lru_cache(maxsize=1)
def _silence_beta_warning() -> None:
    """torch warns once in a process about compressed tensors, at the first one: this one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zero = torch.zeros(2, dtype=torch.int32)
        torch.sparse_csr_tensor(zero, zero[:0], torch.zeros(0), (1, 1), check_invariants=False)
