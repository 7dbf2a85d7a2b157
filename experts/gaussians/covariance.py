"""What the shape of a cloud's Gaussians must tell."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Table = Mapping[str, Tensor]
"""∂^α φ_i at points by name of the derivative, each (points, N)."""

Shifted = Callable[[str], Tensor]
"""Σ_α f_α ∂^(α + β) φ_i by the name β, (points, N): the rows' own combination of derivatives, β times more."""


class AbstractCovariance(abc.ABC):
    """Σ_i of N Gaussians in d dimensions, positive by construction, as a tensor of free numbers."""

    @property
    @abc.abstractmethod
    def numbers(self) -> Tensor:
        """The free numbers, (N, k)."""

    @abc.abstractmethod
    def replaced(self, numbers: Tensor) -> AbstractCovariance:
        """The same kind with other free numbers, (N, k) with any N."""

    @abc.abstractmethod
    def widths(self) -> Tensor:
        """√Σ_jj, the half width along each axis, (N, d)."""

    @abc.abstractmethod
    def scaled(self, factors: Tensor) -> AbstractCovariance:
        """S Σ S, S = diag(factors): each Gaussian drawn out along the axes; factors > 0, (N, d)."""

    @abc.abstractmethod
    def derivatives(
        self, points: Tensor, centres: Tensor, axes: str, periods: Sequence[float | None], terms: Sequence[str]
    ) -> dict[str, Tensor]:
        """∂^α φ_i at points in closed form.

        Arguments:
            points: (m, d).
            centres: μ, (N, d).
            axes: letters of the d axes.
            periods: length of each periodic axis, None for others; images are summed to round-off.
            terms: the α.
        """

    @abc.abstractmethod
    def sensitivities(self, axes: str, shifted: Shifted) -> list[Tensor]:
        """Σ_α f_α ∂(∂^α φ_i)/∂(free number k), k tensors (m, N)."""


def image_shifts(period: float, reach: float) -> range:
    """Which images of a periodic axis are felt: all within ``reach`` of a whole period."""
    number = 1 + int(reach // period)
    return range(-number, number + 1)


REACH = 8.6
"""Half widths beyond which exp(-z²/2) is below 1e-16."""
