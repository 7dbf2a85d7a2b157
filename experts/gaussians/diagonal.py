"""Gaussians whose axes are those of the domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.covariance import REACH, AbstractCovariance, Shifted, image_shifts
from pdesolve.transforms import untransformed

_WORTH = 1024  # points from which looking for equal places costs less than it may save


@final
@dataclass(frozen=True, eq=False)
class Diagonal(AbstractCovariance):
    """Σ = diag(σ₁², ..., σ_d²), the free numbers being s_j = log σ_j.

    φ = Π_j h_0(x_j), h_{k+1} = -(z h_k + k h_{k-1} / σ) / σ with z = (x - μ)/σ: Hermite's recursion along an axis.
    A parameter's derivative is a derivative in space: ∂φ/∂μ_j = -∂_j φ and ∂φ/∂s_j = σ_j² ∂_j² φ + φ.

    Arguments:
        log_scale: s, (N, d).
    """

    log_scale: Tensor

    @staticmethod
    def of(widths: Tensor) -> Diagonal:
        """From half widths σ > 0, (N, d).

        Raises:
            ValueError: widths that are not positive and finite.
        """
        if not bool((torch.isfinite(widths) & (widths > 0)).all()):
            raise ValueError(
                f"widths must be positive and finite, got {float(widths.min())} among them: they are half widths σ in "
                "units of the axes"
            )
        return Diagonal(widths.log())

    @property
    def numbers(self) -> Tensor:
        return self.log_scale

    def replaced(self, numbers: Tensor) -> Diagonal:
        return Diagonal(numbers)

    def widths(self) -> Tensor:
        return self.log_scale.exp()

    def scaled(self, factors: Tensor) -> Diagonal:
        return Diagonal(self.log_scale + factors.log())

    def derivatives(
        self, points: Tensor, centres: Tensor, axes: str, periods: Sequence[float | None], terms: Sequence[str]
    ) -> dict[str, Tensor]:
        widths, tables = self.widths(), []
        for j, axis in enumerate(axes):
            order = max((term.count(axis) for term in terms), default=0)
            tables.append(_along(points[:, j, None], centres[:, j], widths[:, j], order, periods[j]))
        out: dict[str, Tensor] = {}
        for term in terms:
            product = tables[0][term.count(axes[0])]
            for axis, table in zip(axes[1:], tables[1:], strict=True):
                product = product * table[term.count(axis)]
            out[term] = product
        return out

    def sensitivities(self, axes: str, shifted: Shifted) -> list[Tensor]:
        squares, here = (2.0 * self.log_scale).exp(), shifted("")
        return [torch.addcmul(here, squares[:, j], shifted(2 * axis)) for j, axis in enumerate(axes)]


def _along(x: Tensor, centre: Tensor, width: Tensor, order: int, period: float | None) -> list[Tensor]:
    """``_hermite``; on a lattice, where few places and widths along an axis are different, each of them once."""
    fixed = not (centre.requires_grad or width.requires_grad) and untransformed(centre)
    if fixed and len(x) >= _WORTH:
        pairs, which = torch.unique(torch.stack([centre, width]), dim=1, return_inverse=True)
        if 2 * pairs.shape[1] <= len(centre):
            return [h.index_select(1, which) for h in _hermite(x, pairs[0], pairs[1], order, period)]
    return _hermite(x, centre, width, order, period)


def _hermite(x: Tensor, centre: Tensor, width: Tensor, order: int, period: float | None) -> list[Tensor]:
    """h_0 ... h_order at x (m, 1), each (m, N)."""
    if period is not None:
        reach = REACH * float(width.max()) if width.numel() else 0.0
        images = [_hermite(x + k * period, centre, width, order, None) for k in image_shifts(period, reach)]
        return [torch.stack(same).sum(0) for same in zip(*images, strict=True)]
    inverse = 1.0 / width
    z = (x - centre) * inverse
    table = [torch.exp(-0.5 * z * z)]
    slope = -z * inverse
    for k in range(order):
        following = slope * table[k]
        if k:
            following = torch.addcmul(following, table[k - 1], inverse.square(), value=-float(k))
        table.append(following)
    return table
