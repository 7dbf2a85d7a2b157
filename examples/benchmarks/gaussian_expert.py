"""One-off problems by ``PhysicsInformedGaussians`` as it is: problems that need no hand beyond its arguments."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.problem import Problem
from pdesolve.status import raise_unless_converged


@dataclass(frozen=True, eq=False)
class Fitted:
    """The expert, its residual on fresh points in units of the equation's terms, and the time of the fit."""

    expert: PhysicsInformedGaussians
    residual: float
    seconds: float

    def __call__(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """(fields, *points)."""
        flat = {axis: value.flatten() for axis, value in coordinates.items()}
        return self.expert.at(flat).reshape(-1, *next(iter(coordinates.values())).shape)


@dataclass(frozen=True)
class ExpertSetting:
    """Arguments of ``PhysicsInformedGaussians``."""

    count: int
    shares: Mapping[str, float] = field(default_factory=dict)
    overlaps: Sequence[float] = (2.0, 2.5, 3.0)

    @property
    def described(self) -> str:
        return f"{self.count} Gaussians, PhysicsInformedGaussians"

    def solve(self, problem: Problem, seed: int) -> Fitted:
        """One fit, timed."""
        expert = PhysicsInformedGaussians(self.count, shares=self.shares, overlaps=self.overlaps, seed=seed)
        began = time.perf_counter()
        report = expert.fit(problem)
        seconds = time.perf_counter() - began
        raise_unless_converged(torch.tensor([int(report.status)]), report.detail)
        return Fitted(expert, report.residual, seconds)
