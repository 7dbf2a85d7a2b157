"""Gaussians with centres and shapes: where they are, and their derivatives at points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.experts.gaussians.covariance import AbstractCovariance

MARGIN = 0.5
"""How far outside the domain centres may stand, in its extents: neighbours beyond a boundary make good fits at it."""


@final
@dataclass(frozen=True, eq=False)
class GaussianCloud:
    """φ_i(x) = exp(-1/2 (x - μ_i)ᵀ Σ_i⁻¹ (x - μ_i)), summed over images along periodic axes.

    Arguments:
        domain: the box; its axes are the columns of the centres.
        centres: μ, (N, d).
        covariance: Σ.
        periodic: axes along which images are summed (default none).
        along: where the Gaussians are products, the last axis running fastest, those along each axis (default none).

    Raises:
        ValueError: shapes that do not fit the domain, centres not finite or further outside than half its extent,
            covariances of another number; lines that are not one for each axis or whose products are not N.
    """

    domain: Box
    centres: Tensor
    covariance: AbstractCovariance
    periodic: tuple[str, ...] = ()
    along: tuple[GaussianCloud, ...] | None = None

    def __post_init__(self) -> None:
        d = len(self.domain.axes)
        if self.centres.ndim != 2 or self.centres.shape[1] != d or not len(self.centres):
            raise ValueError(
                f"centres must be (N, {d}), one column for each of the axes {', '.join(self.domain.axes)}, N >= 1; "
                f"got {tuple(self.centres.shape)}"
            )
        if len(self.covariance.numbers) != len(self.centres):
            raise ValueError(
                f"{len(self.centres)} centres need as many covariances, got {len(self.covariance.numbers)}"
            )
        if self.along is not None:
            sizes = {line.axes: line.size for line in self.along}
            if tuple(sizes) != tuple((axis,) for axis in self.domain.axes) or math.prod(sizes.values()) != self.size:
                raise ValueError(
                    f"{self.size} Gaussians along {', '.join(self.domain.axes)} are no products of "
                    f"{' x '.join(map(str, sizes.values()))} along {', '.join('-'.join(a) for a in sizes)}: give "
                    "one line for each axis, or none"
                )
        for j, axis in enumerate(self.domain.axes):
            (low, high), room = self.domain.bounds(axis), MARGIN * self.domain.extent(axis)
            column = self.centres[:, j]
            if not bool(((column >= low - room) & (column <= high + room)).all()):
                raise ValueError(
                    f"centres lie outside the domain along {axis!r}: they span [{float(column.min()):.3g}, "
                    f"{float(column.max()):.3g}], allowed is [{low - room:.3g}, {high + room:.3g}], the domain and "
                    "half its extent on either side"
                )

    @property
    def axes(self) -> tuple[str, ...]:
        """Of the domain."""
        return self.domain.axes

    @property
    def size(self) -> int:
        """N."""
        return len(self.centres)

    @property
    def periods(self) -> tuple[float | None, ...]:
        """Length of each periodic axis, None for the others."""
        return tuple(self.domain.extent(a) if a in self.periodic else None for a in self.domain.axes)

    def lines(self) -> tuple[GaussianCloud, ...] | None:
        """Those along each axis whose products these are; none where they are no products."""
        return (self,) if len(self.axes) == 1 else self.along

    def table(self, points: Tensor, terms: Sequence[str]) -> dict[str, Tensor]:
        """∂^α φ_i by name, each (m, N), at points (m, d)."""
        return self.covariance.derivatives(points, self.centres, "".join(self.domain.axes), self.periods, terms)

    def with_parameters(self, centres: Tensor, numbers: Tensor) -> GaussianCloud:
        """The same cloud elsewhere; its centres may have left the domain."""
        moved = object.__new__(GaussianCloud)
        for name, value in vars(self).items():
            object.__setattr__(moved, name, value)
        object.__setattr__(moved, "along", None)
        object.__setattr__(moved, "centres", centres)
        object.__setattr__(moved, "covariance", self.covariance.replaced(numbers))
        return moved
