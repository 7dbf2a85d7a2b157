"""One PDE solved by a small network over sums of moving Gaussians, all parameters by Levenberg-Marquardt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.function_expert import AbstractFunctionExpert
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.head import Head
from pdesolve.experts.gaussians.network_residual import NetworkResidual
from pdesolve.experts.gaussians.placement.fit import Rows
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.experts.gaussians.spread import closed_axes, require_closed_forms
from pdesolve.experts.one_off import FitReport, Progress
from pdesolve.frames.abstract import NoLifting
from pdesolve.frames.contradictions import contradictions
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, Minimised
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.status import SolveStatus

_FRESH = 4000


@final
class GaussianNetwork(AbstractFunctionExpert):
    """u = MLP(f), f_k = Σ_i c_ki exp(-1/2 (x - μ_ki)ᵀ Σ_ki⁻¹ (x - μ_ki)), K features, as published; in float64.

    Weights, centres, diagonal covariances and the network are one vector, fitted by Levenberg-Marquardt with closed
    derivatives, in place of the paper's Adam.

    Arguments:
        count: N, Gaussians of each feature (default 50).
        features: K (default 4).
        widths: hidden layers of the MLP, tanh (default (16,)).
        points: of the equation over unknowns (default 2).
        condition_weight: of the conditions' rows (default 30).
        tolerance: root mean square of the rows on fresh points above which the fit has failed, in the equation's units
            (default 0.1).
        minimiser: default ``ProbedLevenbergMarquardt(max_steps=200, ftol=1e-4)``.
        rounds: of it, each on new points (default 1).
        seed: of points, centres and network (default 0).

    Raises:
        ValueError: numbers below one, fewer points than unknowns; in ``fit`` an equation of an order above four.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        2 m P² operations a step for P = K N (1 + 2d) + network parameters. Some seeds end in a poorer minimum than
        others: residuals on fresh points say which. ``PhysicsInformedGaussians``, whose
        weights enter linearly, does better for the same time on smooth problems.

    Good values: K N up to 300.

    Source: Kang, Oh, Hong & Park, PIG, ICLR 2025 (arXiv 2412.05994).
    """

    def __init__(
        self,
        count: int = 50,
        *,
        features: int = 4,
        widths: Sequence[int] = (16,),
        points: float = 2.0,
        condition_weight: float = 30.0,
        tolerance: float = 0.1,
        minimiser: AbstractMinimiser | None = None,
        rounds: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.count, self.features = positive_int(count, "count"), positive_int(features, "features")
        self.widths = tuple(positive_int(width, "a width") for width in widths)
        if not points >= 1:
            raise ValueError(f"points must be at least 1 for each unknown, got {points}: fewer leave some undetermined")
        if not (condition_weight > 0 and tolerance > 0):
            raise ValueError(f"condition_weight and tolerance must be positive, got {condition_weight}, {tolerance}")
        self.points, self.condition_weight, self.tolerance = points, condition_weight, tolerance
        self.minimiser = minimiser or ProbedLevenbergMarquardt(max_steps=200, ftol=1e-4)
        self.rounds, self.seed = positive_int(rounds, "rounds"), seed
        self._fitted: tuple[NetworkResidual, Tensor] | None = None

    def fit(self, problem: Problem, progress: Progress | None = None) -> FitReport:
        require_closed_forms(problem)
        self._problem, self.report = problem, None
        generator = torch.Generator().manual_seed(self.seed)
        cloud = self._cloud(problem, generator)
        head = Head((self.features, *self.widths, len(problem.field_names)))
        draw = SampledRows(problem, self.points, condition_weight=self.condition_weight, near=0.0)
        unknowns = head.count + cloud.size * (1 + 2 * len(problem.box.axes))
        history: dict[str, list[float]] = {"residual": [], "steps": []}
        weights = torch.randn(cloud.size, generator=generator, dtype=torch.float64)
        theta = self._rows(problem, cloud, head, []).start(head.drawn(generator, weights.device), weights)
        for k in range(self.rounds):
            residual = self._rows(problem, cloud, head, draw(cloud, unknowns, generator))
            ended = self.minimiser.minimise(residual, theta)
            theta = ended.theta
            fresh = self._rows(problem, cloud, head, draw(cloud, _FRESH, generator))
            left = float(torch.linalg.vector_norm(fresh.residual(theta)))
            history["residual"].append(left)
            history["steps"].append(len(ended.history["cost"]) - 1.0)
            if progress is not None:
                progress((k + 1) / self.rounds, left)
            if ended.status not in (SolveStatus.CONVERGED, SolveStatus.STEP_CAP):
                break
        self._fitted = (residual, theta)
        self.report = self._report(ended, left, history)
        return self.report

    def _report(self, ended: Minimised, left: float, history: Mapping[str, Sequence[float]]) -> FitReport:
        status = ended.status
        if not math.isfinite(left):
            status = SolveStatus.NON_FINITE
        elif status is SolveStatus.STEP_CAP and left <= self.tolerance:
            status = SolveStatus.CONVERGED  # steps that were saved, not missing
        elif status is SolveStatus.CONVERGED and left > self.tolerance:
            status = SolveStatus.UNRESOLVED
        failed = status is not SolveStatus.CONVERGED
        known = [f"residual {left:.2g} on fresh points", ended.detail, *contradictions(self.problem)]
        detail = "; ".join(part for part in known if part) if failed else ""
        return FitReport(status, left, history, detail)

    def _rows(self, problem: Problem, cloud: GaussianCloud, head: Head, rows: Rows) -> NetworkResidual:
        return NetworkResidual(problem, cloud, head, NoLifting(problem.field_names), rows)

    def _cloud(self, problem: Problem, generator: torch.Generator) -> GaussianCloud:
        box = problem.box
        low, extent = torch.tensor(box.lower).double(), torch.tensor([box.extent(a) for a in box.axes]).double()
        number = self.features * self.count
        unit = torch.rand(number, len(box.axes), generator=generator, dtype=torch.float64)
        widths = (extent / self.count ** (1.0 / len(box.axes))).expand(number, -1)
        return GaussianCloud(box, low + extent * unit, Diagonal.of(widths), closed_axes(problem))

    def at(self, coordinates: Mapping[str, Tensor], term: str = "") -> Tensor:
        """A derivative of all fields at points, (fields, m).

        Arguments:
            coordinates: by axis, (m,).
            term: such as "xx" (default the value).
        """
        points = torch.stack([coordinates[a].to(torch.float64) for a in self.problem.box.axes], dim=1)
        assert self._fitted is not None
        residual, theta = self._fitted
        with torch.no_grad():
            return residual.values(theta, points, (term,))[term].mT

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        status, problem = torch.tensor([[int(self.reported(parameters).status)]]), self.problem
        assert self._fitted is not None
        fitted, theta = self._fitted
        draw = SampledRows(problem, self.points, condition_weight=self.condition_weight, near=0.0)
        labels: dict[str, Tensor] = {}
        for rows in draw(fitted.cloud, _FRESH, generator):
            labels[rows.label] = self._rows(problem, fitted.cloud, fitted.head, [rows]).residual(theta).unsqueeze(0)
        return labels, status

    @property
    def settings(self) -> Mapping[str, object]:
        """What was asked for."""
        return {
            "count": self.count,
            "features": self.features,
            "widths": self.widths,
            "points": self.points,
            "condition_weight": self.condition_weight,
            "tolerance": self.tolerance,
            "minimiser": self.minimiser,
            "rounds": self.rounds,
            "seed": self.seed,
        }
