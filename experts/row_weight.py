"""Weights of residual rows in time: which part of a solution a least-squares solve should get right first."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.frames.agreement import values_disagree
from pdesolve.problem import Family


class AbstractRowWeight(abc.ABC):
    """Gives ω, the factor of each residual row."""

    @abc.abstractmethod
    def __call__(self, coordinates: Mapping[str, Tensor], domain: Box) -> Tensor:
        """ω > 0 at points, shaped like the coordinates."""


@dataclass(frozen=True)
class Unweighted(AbstractRowWeight):
    """ω = 1: right for steady problems and for initial values that agree with the boundary's (the default there)."""

    def __call__(self, coordinates: Mapping[str, Tensor], domain: Box) -> Tensor:
        return torch.ones_like(next(iter(coordinates.values())))


@dataclass(frozen=True)
class TimePower(AbstractRowWeight):
    """ω = T (t/T)^p: weights the first instants down, where a jump makes the residual grow like 1/t.

    The factor T gives a row the units of u, so rows of different equations and conditions compare. Where initial and
    boundary values agree the weight wastes what the first instants tell: use ``Unweighted`` there.

    Arguments:
        power: p >= 0 (default 0.5).

    Raises:
        ValueError: p negative or not finite.

    Source: the ablation in docs/benchmarks.md.
    """

    power: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.power < float("inf"):
            raise ValueError(f"power must be finite and >= 0, got {self.power}")

    def __call__(self, coordinates: Mapping[str, Tensor], domain: Box) -> Tensor:
        start, end = domain.bounds("t")
        span = end - start
        return span * ((coordinates["t"] - start) / span).clamp_min(1e-12) ** self.power


def default_row_weight(family: Family) -> AbstractRowWeight:
    """``TimePower()`` where an initial value contradicts a boundary value for some member, else ``Unweighted``."""
    return TimePower() if values_disagree(family) else Unweighted()
