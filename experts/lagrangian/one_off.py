"""A Lagrangian expert whose settings stand before its problem does."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.lagrangian.branch import AbstractBranch
from pdesolve.experts.lagrangian.fitting import FitStep, LagrangianReport, Stage
from pdesolve.experts.lagrangian.flow import AbstractFlow
from pdesolve.experts.lagrangian.pinn import LagrangianPINN
from pdesolve.experts.one_off import FitReport, Progress
from pdesolve.experts.resumable import AbstractResumableExpert
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser
from pdesolve.residual_minimisation.fingerprint import fingerprint
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus


@final
class LagrangianFit(AbstractResumableExpert):
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

    def fit(
        self, problem: Problem, progress: Progress | None = None, after_piece: Callable[[], None] | None = None
    ) -> FitReport:
        self._fitted = self._made(problem)
        return self._run(self._fitted.fit, progress, after_piece)

    def resume(
        self, problem: Problem, progress: Progress | None = None, after_piece: Callable[[], None] | None = None
    ) -> FitReport:
        if self._fitted is None:
            return self.fit(problem, progress, after_piece)
        if self._fitted.problem is not problem:
            raise ValueError("resume goes on with the problem that was begun: call fit for another one")
        return self._run(self._fitted.resume, progress, after_piece)

    def record(self, problem: Problem) -> dict[str, Any]:
        made = self._made(problem)
        return {**made.record(path=self.path, minimiser=self.minimiser, seed=self.seed), "rows": fingerprint(problem)}

    def make_room(self, problem: Problem, shapes: Mapping[str, Sequence[int]]) -> None:
        self._fitted, self.report = self._made(problem), None

    def _made(self, problem: Problem) -> LagrangianPINN:
        return LagrangianPINN(
            problem, self.position, self.state, generator=torch.Generator().manual_seed(self.seed), flow=self.flow,
            slabs=self.slabs, counts=self.counts, labels=self.labels, tolerance=self.tolerance,
        )  # fmt: skip

    def _run(
        self,
        run: Callable[..., LagrangianReport],
        progress: Progress | None,
        after_stage: Callable[[], None] | None,
    ) -> FitReport:
        made, self.report = self.fitted, None

        def show(at: FitStep) -> bool:
            if progress is not None:  # how many steps a stage takes is not known before
                inside = at.step / (at.step + 20.0)
                progress((at.slab + (at.stage + inside) / at.stages) / at.slabs, (2.0 * at.cost) ** 0.5)
            return False

        found = run(self.minimiser, self.path, throw=False, watch=show, after_stage=after_stage)
        codes = [next(s for s in SolveStatus if s == code) for code in made.ended.tolist()]
        failed = [index for index, code in enumerate(codes) if not code.succeeded]
        before = len(codes) - len(found.minimised)  # slabs that an earlier run has fitted
        history = {
            "time": [m.frame.start + m.frame.duration for m in made.maps],
            "residual": list(found.residual),
            "steps": [math.nan] * before + [len(ended.history["cost"]) - 1.0 for ended in found.minimised],
        }
        status = SolveStatus.CROSSING if found.crossing.crossed else SolveStatus.CONVERGED
        detail = str(found.crossing)
        if failed:
            status, at = codes[failed[0]], failed[0]
            known = found.minimised[at - before].detail if at >= before else ""
            detail = f"slab {at}: residual {found.residual[at]:.2g} {known}".strip()
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
