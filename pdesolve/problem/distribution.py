"""What a parameter of a family is drawn from."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import is_finite


class AbstractDistribution(abc.ABC):
    """A range of values, how to draw from it, and how to turn a value into a network's feature."""

    @property
    @abc.abstractmethod
    def ends(self) -> tuple[float, float]:
        """The lower and the upper end of the range, both finite."""

    @abc.abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n values, shape (n,), float64, on the generator's device."""

    @abc.abstractmethod
    def scaled(self, value: Tensor) -> Tensor:
        """The value mapped from the range to [-1, 1], shaped like it."""


@final
@dataclass(frozen=True)
class Uniform(AbstractDistribution):
    """A parameter drawn uniformly from [lower, upper).

    Arguments:
        lower, upper: ends of the range, lower < upper, in the parameter's units.

    Raises:
        ValueError: ends that are not finite, or lower >= upper.
        TypeError: ends that are no numbers.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        _check_numbers(self.lower, self.upper)
        if not (is_finite(self.lower) and is_finite(self.upper) and self.lower < self.upper):
            raise ValueError(f"a range needs finite lower < upper, got [{self.lower}, {self.upper}]")

    @property
    def ends(self) -> tuple[float, float]:
        return float(self.lower), float(self.upper)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.lower + (self.upper - self.lower) * _unit(n, generator)

    def scaled(self, value: Tensor) -> Tensor:
        return (value - (self.lower + self.upper) / 2) * (2.0 / (self.upper - self.lower))


@final
@dataclass(frozen=True)
class LogUniform(AbstractDistribution):
    """A positive parameter whose logarithm is uniform on [log lower, log upper); its feature is the scaled logarithm.

    Arguments:
        lower, upper: ends of the range, 0 < lower < upper, in the parameter's units.

    Raises:
        ValueError: lower <= 0, an infinite upper end, or lower >= upper.
        TypeError: ends that are no numbers.

    Good values: for parameters that vary over more than a decade, such as viscosities.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        _check_numbers(self.lower, self.upper)
        if not (0 < self.lower < self.upper and is_finite(self.upper)):
            raise ValueError(f"a logarithmic range needs 0 < lower < upper, got [{self.lower}, {self.upper}]")

    @property
    def ends(self) -> tuple[float, float]:
        return float(self.lower), float(self.upper)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.lower * (self.upper / self.lower) ** _unit(n, generator)

    def scaled(self, value: Tensor) -> Tensor:
        low, high = math.log(self.lower), math.log(self.upper)
        return (torch.log(value) - (low + high) / 2) * (2.0 / (high - low))


def _check_numbers(lower: object, upper: object) -> None:
    for what, end in (("lower", lower), ("upper", upper)):
        if isinstance(end, bool) or not isinstance(end, (int, float)):
            raise TypeError(f"{what} must be a real number, got {end!r}")


def _unit(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
