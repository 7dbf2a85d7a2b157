"""Weights of Gaussians that stand somewhere, and the residual on points that the fit has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.experts.gaussians.sums import sums
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, Minimised
from pdesolve.residual_minimisation.damped_qr import DampedQR
from pdesolve.residual_minimisation.problem_rows import ProblemRows

Rows = Sequence[ProblemRows]
DrawRows = Callable[[GaussianCloud, int, torch.Generator], Rows]
"""Called with (cloud, unknowns, generator): rows on new points that determine so many unknowns of that cloud."""

_CARRY_POINTS = 2  # for each Gaussian


@dataclass(frozen=True, eq=False)
class Fitted:
    """Gaussians with their weights.

    Arguments:
        cloud: the Gaussians.
        weights: c, (fields, N).
        minimised: how the weights were found.
        residual: |r| on points that no fit has seen.
        history: one number for each round of a placement: "before" and "after", |r| on the same new points of what was
            there and of what was tried, "size", N, and "accepted".
    """

    cloud: GaussianCloud
    weights: Tensor
    minimised: Minimised
    residual: float
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def values(self, points: Tensor, term: str = "") -> Tensor:
        """∂^α v of all fields, (fields, m), at points (m, d); without a lifting v is u."""
        return sums(self.cloud, points, self.weights, (term,))[term]


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """What a placement needs to know to judge where Gaussians should stand.

    Arguments:
        problem: equation and conditions.
        draw: makes rows, such as ``SampledRows(problem)``, or what an expert uses itself.
        minimiser: finds weights of Gaussians that stay where they are.
        lifting: u = g + m v, v the Gaussians (default ``NoLifting``).
    """

    problem: Problem
    draw: DrawRows
    minimiser: AbstractMinimiser
    lifting: AbstractLifting | None = None

    def residual_of(self, cloud: GaussianCloud, rows: Rows, trained: bool = False) -> GaussianResidual:
        """The rows of a cloud."""
        lifting = NoLifting(self.problem.field_names) if self.lifting is None else self.lifting
        return GaussianResidual(self.problem, cloud, lifting, rows, trained=trained)

    def unknowns(self, cloud: GaussianCloud) -> int:
        """Weights of a cloud."""
        return cloud.size * len(self.problem.field_names)

    def fit(
        self,
        cloud: GaussianCloud,
        generator: torch.Generator,
        weights: Tensor | None = None,
        unknowns: int | None = None,
    ) -> Fitted:
        """The weights of a cloud.

        Arguments:
            cloud: the Gaussians.
            generator: draws the rows.
            weights: to start from, (fields, N) (default zero).
            unknowns: that the rows must determine (default the weights).
        """
        rows = self.draw(cloud, unknowns or self.unknowns(cloud), generator)
        if weights is None:
            weights = cloud.centres.new_zeros(len(self.problem.field_names), cloud.size)
        residual = self.residual_of(cloud, rows)
        ended = self.minimiser.minimise(residual, residual.start(weights))
        found = residual.split(ended.theta)[0]
        fitted = Fitted(cloud, found, ended, math.inf)
        return _with_residual(fitted, self.size_on(fitted, self.draw(cloud, self.unknowns(cloud), generator)))

    def carried_on(self, cloud: GaussianCloud, before: Fitted, generator: torch.Generator) -> Fitted:
        """The weights of another cloud, started from the field that was there before."""
        return self.fit(cloud, generator, carried(before, cloud, generator))

    def size_on(self, fitted: Fitted, rows: Rows) -> float:
        """|r| on rows, infinite where it is not a number."""
        residual = self.residual_of(fitted.cloud, rows)
        with torch.no_grad():
            size = float(torch.linalg.vector_norm(residual.residual(residual.start(fitted.weights))))
        return size if math.isfinite(size) else math.inf

    def better(self, before: Fitted, tried: Fitted, generator: torch.Generator) -> Fitted:
        """Whichever has the smaller residual on new points, made as dense as the Gaussians that are tried."""
        rows = self.draw(tried.cloud, self.unknowns(tried.cloud), generator)
        old, new = self.size_on(before, rows), self.size_on(tried, rows)
        accepted = new < old
        row = {"before": old, "after": new, "size": float(tried.cloud.size), "accepted": float(accepted)}
        history = {name: [*before.history.get(name, ()), number] for name, number in row.items()}
        return _with_residual(tried if accepted else before, min(old, new), history)


def _with_residual(fitted: Fitted, residual: float, history: Mapping[str, Sequence[float]] | None = None) -> Fitted:
    kept = fitted.history if history is None else history
    return Fitted(fitted.cloud, fitted.weights, fitted.minimised, residual, kept)


def carried(before: Fitted, cloud: GaussianCloud, generator: torch.Generator, damping: float = 1e-8) -> Tensor:
    """Weights (fields, N) with which other Gaussians make about the same field: a start, no result.

    Arguments:
        before: the field.
        cloud: the other Gaussians.
        generator: draws points.
        damping: of the fit; the larger, the smaller the weights (default 1e-8).
    """
    count = _CARRY_POINTS * cloud.size
    shape, device = (count, len(cloud.domain.axes)), generator.device
    unit = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
    lower, upper = (
        torch.tensor(ends, dtype=torch.float64, device=cloud.centres.device)
        for ends in (cloud.domain.lower, cloud.domain.upper)
    )
    points = lower + (upper - lower) * unit.to(lower.device)
    points = torch.cat([points, torch.minimum(torch.maximum(cloud.centres, lower), upper)])
    factors = DampedQR(cloud.table(points, ("",))[""], damping)
    return torch.stack([factors.solve(row) for row in before.values(points)])
