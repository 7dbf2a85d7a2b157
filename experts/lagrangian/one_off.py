"""A Lagrangian expert whose settings stand before its problem does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.lagrangian.branch import AbstractBranch
from pdesolve.experts.lagrangian.fitting import FitStep, Stage
from pdesolve.experts.lagrangian.flow import AbstractFlow
from pdesolve.experts.lagrangian.pinn import LagrangianPINN
from pdesolve.experts.one_off import AbstractOneOffExpert, FitReport, Progress
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus


@final
class LagrangianFit(AbstractOneOffExpert):
    """A ``LagrangianPINN`` that ``solve(problem, expert)`` makes and fits; ``fitted`` is it.

    Arguments:
        position, state: branches, as of ``LagrangianPINN``.
        minimiser: default ``ProbedLevenbergMarquardt(factorisation=Gram(), ftol=1e-3)``.
        path: stages that lead to the equation (default: that alone).
        flow, slabs, counts, labels, tolerance: as of ``LagrangianPINN``.
        seed: of the first weights and the nodes (default 0).

    Raises:
        TypeError: a seed that is no integer.
        ValueError, TypeError: in ``fit``, see ``LagrangianPINN``.
    """

    def __init__(
        self,
        position: AbstractBranch,
        state: AbstractBranch,
        *,
        minimiser: AbstractMinimiser | None = None,
        path: Sequence[Stage] = (Stage(),),
        flow: AbstractFlow | None = None,
        slabs: int = 1,
        counts: Mapping[str, int] | None = None,
        labels: Box | None = None,
        tolerance: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed must be an integer, got {seed!r}")
        self.position, self.state, self.path, self.flow = position, state, tuple(path), flow
        default = ProbedLevenbergMarquardt(factorisation=Gram(), ftol=1e-3)
        self.minimiser = default if minimiser is None else minimiser
        self.slabs, self.counts, self.labels, self.tolerance, self.seed = slabs, counts, labels, tolerance, seed
        self._fitted: LagrangianPINN | None = None
        self.report: FitReport | None = None

    @property
    def fitted(self) -> LagrangianPINN:
        """The expert of the problem that was fitted last."""
        if self._fitted is None:
            raise ValueError("this expert has no problem yet: call solve(problem, expert), or expert.fit(problem)")
        return self._fitted

    @property
    def problem(self) -> Problem:
        return self.fitted.problem

    def fit(self, problem: Problem, progress: Progress | None = None) -> FitReport:
        made = LagrangianPINN(
            problem, self.position, self.state, generator=torch.Generator().manual_seed(self.seed), flow=self.flow,
            slabs=self.slabs, counts=self.counts, labels=self.labels, tolerance=self.tolerance,
        )  # fmt: skip
        self._fitted, self.report = made, None

        def show(at: FitStep) -> bool:
            if progress is not None:  # how many steps a stage takes is not known before
                inside = at.step / (at.step + 20.0)
                progress((at.slab + (at.stage + inside) / at.stages) / at.slabs, (2.0 * at.cost) ** 0.5)
            return False

        found = made.fit(self.minimiser, self.path, throw=False, watch=show)
        codes = [next(s for s in SolveStatus if s == code) for code in made.ended.tolist()]
        failed = [index for index, code in enumerate(codes) if not code.succeeded]
        history = {
            "time": [m.frame.start + m.frame.duration for m in made.maps],
            "residual": list(found.residual),
            "steps": [len(ended.history["cost"]) - 1.0 for ended in found.minimised],
        }
        status = SolveStatus.CROSSING if found.crossing.crossed else SolveStatus.CONVERGED
        detail = str(found.crossing)
        if failed:
            status, at = codes[failed[0]], failed[0]
            detail = f"slab {at}: residual {found.residual[at]:.2g} {found.minimised[at].detail}".strip()
        if progress is not None:
            progress(1.0, max(found.residual))
        self.report = FitReport(status, max(found.residual), history, detail)
        return self.report

    def at(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """u at any points, (point, field), as ``LagrangianPINN.at``."""
        return self.fitted.at(coordinates)

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        return self.fitted.residual(parameters, generator)

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        solution: Solution = self.fitted(parameters, grid, generator, throw)
        return solution
