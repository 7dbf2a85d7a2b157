"""A Jacobian that is made of products along axes, and functions in which it is well conditioned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.lattice import LatticeTables, apply_along
from pdesolve.residual_minimisation.abstract import AbstractJacobianOperator


def independent(tables: LatticeTables, least: float) -> list[Tensor]:
    """P along each axis, (n, k): T_0 P has orthonormal columns, T_q P orthogonal ones, q the highest derivative there.

    What is diagonal along all axes makes of operators with constant coefficients columns whose norms say it all.

    Arguments:
        tables: by order of the derivative, rising; the first along each axis is T_0.
        least: share of the largest singular value of T_0 below which functions are left out.
    """
    found = []
    for along in tables.along:
        first, *others = along.values()
        _, s, vt = torch.linalg.svd(first, full_matrices=False)
        kept = s > least * s[0]
        basis = vt.mT[:, kept] / s[kept]
        if others:
            basis = basis @ torch.linalg.svd(others[-1] @ basis, full_matrices=False)[2].mT
        found.append(basis)
    return found


@final
class LatticeJacobian(AbstractJacobianOperator):
    """J P D⁻¹ of J = Σ_T diag(f_T) T, T products of tables along axes, P orthonormal functions along them.

    D are the norms of the columns of J P.

    Arguments:
        tables: of each block in the orthonormal functions.
        bases: P along each axis.
        factors: of each block by operator, (equations, fields, m).
    """

    def __init__(
        self, tables: Sequence[LatticeTables], bases: Sequence[Tensor], factors: Sequence[Mapping[Any, Tensor]]
    ) -> None:
        self._tables, self._bases, self._factors = tables, bases, factors
        squares: Tensor | float = 0.0
        for table, by_key in zip(tables, factors, strict=True):
            (equations, fields, m) = next(iter(by_key.values())).shape
            found = table.squares({key: f.reshape(-1, m) for key, f in by_key.items()})
            squares = squares + found.reshape(equations, fields, *found.shape[1:]).sum(0)
        assert isinstance(squares, Tensor)
        norms: Tensor = squares.clamp_min(0.0).sqrt()
        self._norms: Tensor = torch.where(norms > 0.0, norms, torch.ones_like(norms))

    def mv(self, z: Tensor) -> Tensor:
        weights = z.reshape(self._norms.shape) / self._norms
        parts = []
        for table, by_key in zip(self._tables, self._factors, strict=True):
            sums = table.forward(weights, list(by_key))
            total = sum((f * sums[key]).sum(1) for key, f in by_key.items())
            assert isinstance(total, Tensor)
            parts.append(total.flatten())
        return torch.cat(parts)

    def rmv(self, w: Tensor) -> Tensor:
        total, first = torch.zeros_like(self._norms), 0
        for table, by_key in zip(self._tables, self._factors, strict=True):
            equations, _, m = next(iter(by_key.values())).shape
            rows = w[first : first + equations * m].reshape(equations, 1, m)
            total = total + table.adjoint({key: (f * rows).sum(0) for key, f in by_key.items()})
            first += equations * m
        found: Tensor = (total / self._norms).flatten()
        return found

    def lifted(self, z: Tensor) -> Tensor:
        weights: Tensor = z.reshape(self._norms.shape) / self._norms
        for axis, basis in enumerate(self._bases):
            weights = apply_along(basis, weights, axis + 1)
        return weights.flatten()

    @property
    def size(self) -> int:
        return self._norms.numel()
