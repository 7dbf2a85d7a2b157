"""What says where Gaussians are needed."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit
from pdesolve.experts.gaussians.sums import sums
from pdesolve.residual_minimisation.problem_rows import equation_rows


class AbstractIndicator(abc.ABC):
    """A quantity that is large where a solution is not resolved."""

    @abc.abstractmethod
    def at(self, fit: GaussianFit, fitted: Fitted, points: Tensor) -> Tensor:
        """Its values >= 0, (m,), at points (m, d)."""


@final
@dataclass(frozen=True)
class ResidualIndicator(AbstractIndicator):
    """|F|, the equation's residual, over all equations."""

    def at(self, fit: GaussianFit, fitted: Fitted, points: Tensor) -> Tensor:
        problem = fit.problem
        coordinates = {axis: points[:, j] for j, axis in enumerate(problem.box.axes)}
        rows = equation_rows(problem, coordinates, torch.ones_like(points[:, 0]))
        residual = fit.residual_of(fitted.cloud, [rows])
        with torch.no_grad():
            r = residual.residual(residual.start(fitted.weights))
        size: Tensor = torch.linalg.vector_norm(r.reshape(-1, len(points)), dim=0)
        return size


@final
@dataclass(frozen=True)
class CurvatureIndicator(AbstractIndicator):
    """√Σ_f Σ_a (∂²u_f/∂a² L_a²)², the second derivatives of a first coarse solution in units of the extents L.

    Notes:
        Of the Gaussians' part v where a lifting adds another.
    """

    def at(self, fit: GaussianFit, fitted: Fitted, points: Tensor) -> Tensor:
        box = fit.problem.box
        terms = tuple(2 * axis for axis in box.axes)
        table = sums(fitted.cloud, points, fitted.weights, terms)
        total = torch.zeros_like(points[:, 0])
        for axis, term in zip(box.axes, terms, strict=True):
            total += (table[term] * box.extent(axis) ** 2).square().sum(0)
        return total.sqrt()


@final
@dataclass(frozen=True)
class Monitor:
    """(M/mean M)^power + floor, the density that an indicator M asks for.

    Arguments:
        indicator: M.
        power: of M (default 1).
        floor: density where nothing happens, over the mean (default 1).

    Raises:
        ValueError: a power or floor that is not positive.

    Source: Huang & Russell, *Adaptive Moving Mesh Methods* (2011), section 2.
    """

    indicator: AbstractIndicator
    power: float = 1.0
    floor: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("power", self.power), ("floor", self.floor)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}")

    def at(self, fit: GaussianFit, fitted: Fitted, points: Tensor) -> Tensor:
        """The density, (m,), its mean 1 + ``floor``; even where the indicator vanishes or is not a number."""
        value = self.indicator.at(fit, fitted, points).pow(self.power)
        mean = value.mean()
        if not bool(torch.isfinite(mean) & (mean > 0)):
            return torch.ones_like(value)
        return value / mean + self.floor
