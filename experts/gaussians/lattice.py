"""Sums of functions that are products along axes, at points that are too: one axis after another."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.cloud import GaussianCloud

Key = tuple[Any, ...]
"""Which table along each axis."""
Orders = tuple[int, ...]
"""Of a derivative, along each axis."""


def orders_of(term: str, axes: Sequence[str]) -> Orders:
    """Of a derivative such as "xxy"."""
    return tuple(term.count(axis) for axis in axes)


def places(coordinates: Mapping[str, Tensor]) -> list[Tensor]:
    """Along each axis, of points that are all products of rising places, the last axis running fastest.

    Arguments:
        coordinates: by axis, (m,).

    Raises:
        ValueError: points that are not.
    """
    found = [column.unique() for column in coordinates.values()]
    grid = torch.meshgrid(*found, indexing="ij")
    for axis, wanted, column in zip(coordinates, grid, coordinates.values(), strict=True):
        if wanted.numel() != column.numel() or not torch.equal(wanted.flatten(), column):
            sizes = " x ".join(str(len(place)) for place in found)
            raise ValueError(
                f"points must be a lattice, all products of places along axes, the last axis running fastest: along "
                f"{axis!r} they are not those of {sizes} places"
            )
    return found


@final
@dataclass(frozen=True, eq=False)
class LatticeTables:
    """Tables of functions along each axis at places along it; a product of one for each axis is an operator.

    Arguments:
        along: for each axis tables by name, each (m_a, n_a).

    Notes:
        Operators share what they have in common: of several the sums over an axis are made once for each combination
        of the tables from there to the last axis.
    """

    along: Sequence[Mapping[Hashable, Tensor]]

    def forward(self, weights: Tensor, wanted: Sequence[Key]) -> dict[Key, Tensor]:
        """Σ_i T(p, i) c_i of each wanted operator T, (k, m), of weights c (k, n_1, ..., n_d)."""
        found: dict[Key, Tensor] = {(): weights}
        for axis in reversed(range(len(self.along))):
            tails = dict.fromkeys(key[axis:] for key in wanted)
            found = {tail: apply_along(self.along[axis][tail[0]], found[tail[1:]], axis + 1) for tail in tails}
        return {key: value.flatten(1) for key, value in found.items()}

    def adjoint(self, values: Mapping[Key, Tensor]) -> Tensor:
        """Σ_T Σ_p T(p, i) v_T(p), (k, n_1, ..., n_d), of values v_T (k, m) by operator."""
        shape = [len(next(iter(tables.values()))) for tables in self.along]
        found = {key: value.reshape(-1, *shape) for key, value in values.items()}
        for axis, tables in enumerate(self.along):
            summed: dict[Key, Tensor] = {}
            for key, value in found.items():
                part = apply_along(tables[key[0]].mT, value, axis + 1)
                summed[key[1:]] = summed[key[1:]] + part if key[1:] in summed else part
            found = summed
        return found[()]

    def changed(self, bases: Sequence[Tensor]) -> LatticeTables:
        """Tables of other functions, those of axis a times bases[a] (n_a, k_a)."""
        along = [
            {name: table @ basis for name, table in tables.items()}
            for tables, basis in zip(self.along, bases, strict=True)
        ]
        return LatticeTables(along)

    def minus(self, other: LatticeTables) -> LatticeTables:
        """The difference of two products that differ along one axis alone.

        Raises:
            ValueError: those that differ along others too, whose difference is no product.
        """
        along, differing = [], 0
        for own, far in zip(self.along, other.along, strict=True):
            if all(torch.equal(table, far[name]) for name, table in own.items()):
                along.append(own)
                continue
            along.append({name: table - far[name] for name, table in own.items()})
            differing += 1
        if differing > 1:
            raise ValueError(
                f"the places differ along {differing} axes: the difference of two products must be along one"
            )
        return LatticeTables(along)

    def squares(self, factors: Mapping[Key, Tensor]) -> Tensor:
        """Σ_p (Σ_T f_T(p) T(p, i))², (k, n_1, ..., n_d), of factors (k, m) by operator: the columns' squared norms."""
        keys = list(factors)
        pairs = [(a, b) for i, a in enumerate(keys) for b in keys[i:]]
        values: dict[Key, Tensor] = {}
        for a, b in pairs:
            product = factors[a] * factors[b]
            values[tuple(zip(a, b, strict=True))] = product if a == b else 2.0 * product
        along: list[dict[Hashable, Tensor]] = []
        for axis, tables in enumerate(self.along):
            names = dict.fromkeys((a[axis], b[axis]) for a, b in pairs)
            along.append({(p, q): tables[p] * tables[q] for p, q in names})
        return LatticeTables(along).adjoint(values)


def product_tables(lines: Sequence[GaussianCloud], at: Sequence[Tensor], orders: Sequence[Orders]) -> LatticeTables:
    """Derivatives of the Gaussians along each axis at places along it, those of any of the ``orders``."""
    along: list[dict[Hashable, Tensor]] = []
    for j, (line, place) in enumerate(zip(lines, at, strict=True)):
        named = {k: line.axes[0] * k for k in sorted({order[j] for order in orders})}
        table = line.table(place.unsqueeze(1), list(named.values()))
        along.append({k: table[term] for k, term in named.items()})
    return LatticeTables(along)


def apply_along(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """Σ_j matrix(i, j) x(..., j, ...) over one axis of x."""
    if axis == x.ndim - 1:
        return x @ matrix.mT
    shape = x.shape
    stacked = x.reshape(math.prod(shape[:axis]), shape[axis], -1)
    return (matrix @ stacked).reshape(*shape[:axis], len(matrix), *shape[axis + 1 :])
