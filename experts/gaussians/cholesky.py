"""Gaussians of any orientation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.covariance import REACH, AbstractCovariance, Shifted, image_shifts
from pdesolve.jet import canonical, closure


@final
@dataclass(frozen=True, eq=False)
class Cholesky(AbstractCovariance):
    """Σ⁻¹ = A = L Lᵀ, L lower triangular; free are the logarithms of its diagonal, and what is below.

    With y = A (x - μ): ∂_i ∂^α φ = -y_i ∂^α φ - Σ_j α_j A_ij ∂^(α - e_j) φ. A parameter's derivative is one in space:
    ∂φ/∂L_jc = -Σ_ab Σ_ja (L⁻ᵀ)_bc ∂_a ∂_b φ - (L⁻ᵀ)_jc φ, from ∂_a ∂_b φ = (y_a y_b - A_ab) φ.

    Arguments:
        packed: log L_jj for j < d, then L_jc row by row, (N, d (d + 1)/2).
        dimension: d.
    """

    packed: Tensor
    dimension: int

    @staticmethod
    def of(covariance: Tensor) -> Cholesky:
        """From covariances Σ, (N, d, d).

        Raises:
            ValueError: a matrix that is not symmetric and positive definite.
        """
        factor, info = torch.linalg.cholesky_ex(torch.linalg.inv(covariance))
        symmetric = torch.allclose(covariance, covariance.mT, rtol=1e-10, atol=0.0)
        if bool((info != 0).any()) or not symmetric or not bool(torch.isfinite(factor).all()):
            raise ValueError("covariances must be symmetric and positive definite: give L Lᵀ of a regular L")
        d = covariance.shape[-1]
        rows, columns = torch.tril_indices(d, d, -1)
        diagonal = factor.diagonal(dim1=-2, dim2=-1).log()
        return Cholesky(torch.cat([diagonal, factor[:, rows, columns]], dim=1), d)

    @property
    def numbers(self) -> Tensor:
        return self.packed

    def replaced(self, numbers: Tensor) -> Cholesky:
        return Cholesky(numbers, self.dimension)

    def factor(self) -> Tensor:
        """L, (N, d, d)."""
        d = self.dimension
        lower = torch.diag_embed(self.packed[:, :d].exp())
        rows, columns = torch.tril_indices(d, d, -1)
        lower[:, rows, columns] = self.packed[:, d:]
        return lower

    def widths(self) -> Tensor:
        # Σ = L⁻ᵀ L⁻¹: infinite, not an error, where a trial step makes L singular.
        factor = self.factor()
        unit = torch.eye(self.dimension, dtype=factor.dtype, device=factor.device).expand_as(factor)
        widths: Tensor = torch.linalg.vector_norm(torch.linalg.solve_triangular(factor, unit, upper=False), dim=-2)
        return widths

    def scaled(self, factors: Tensor) -> Cholesky:
        # (S Σ S)⁻¹ = (S⁻¹ L)(S⁻¹ L)ᵀ: the rows of L are divided.
        d = self.dimension
        below = torch.tril_indices(d, d, -1)[0]
        diagonal = self.packed[:, :d] - factors.log()
        return Cholesky(torch.cat([diagonal, self.packed[:, d:] / factors[:, below]], dim=1), d)

    def derivatives(
        self, points: Tensor, centres: Tensor, axes: str, periods: Sequence[float | None], terms: Sequence[str]
    ) -> dict[str, Tensor]:
        reach = REACH * self.widths().amax(0)
        shifts = [
            [0.0] if period is None else [k * period for k in image_shifts(period, float(reach[j]))]
            for j, period in enumerate(periods)
        ]
        total: dict[str, Tensor] = {}
        for shift in product(*shifts):
            table = self._image(points + points.new_tensor(shift), centres, axes, terms)
            total = {term: total[term] + table[term] if total else table[term] for term in terms}
        return total

    def _image(self, points: Tensor, centres: Tensor, axes: str, terms: Sequence[str]) -> dict[str, Tensor]:
        factor = self.factor()
        precision = factor @ factor.mT
        offset = points.unsqueeze(1) - centres
        y = torch.einsum("nij,mnj->imn", precision, offset)
        table: dict[str, Tensor] = {}
        for term in closure(tuple(terms)):
            if not term:
                table[term] = torch.exp(-0.5 * torch.einsum("mnj,jmn->mn", offset, y))
                continue
            lower, i = term[:-1], axes.index(term[-1])
            value = -y[i] * table[lower]
            for j, axis in enumerate(axes):
                if axis in lower:
                    value = value - lower.count(axis) * precision[:, i, j] * table[lower.replace(axis, "", 1)]
            table[term] = value
        return {term: table[term] for term in terms}

    def sensitivities(self, axes: str, shifted: Shifted) -> list[Tensor]:
        d, factor = self.dimension, self.factor()
        covariance = torch.cholesky_inverse(factor)
        inverse = torch.linalg.solve_triangular(
            factor, torch.eye(d, dtype=factor.dtype, device=factor.device).expand_as(factor), upper=False
        ).mT
        here = shifted("")
        second = {(a, b): shifted(canonical(axes[a] + axes[b])) for a in range(d) for b in range(a, d)}

        def of(j: int, c: int) -> Tensor:
            total: Tensor = inverse[:, j, c] * here
            for a in range(d):
                for b in range(d):
                    total = total + covariance[:, j, a] * inverse[:, b, c] * second[min(a, b), max(a, b)]
            return -total

        rows, columns = torch.tril_indices(d, d, -1).tolist()
        diagonal = [factor[:, j, j] * of(j, j) for j in range(d)]  # the free number is the logarithm
        return diagonal + [of(j, c) for j, c in zip(rows, columns, strict=True)]
