"""Experts of one problem whose solution can be asked for at any point."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import torch
from torch import Tensor

from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.one_off import AbstractOneOffExpert, FitReport
from pdesolve.experts.provenance import provenance
from pdesolve.field import Field
from pdesolve.problem import Problem
from pdesolve.solution import Solution
from pdesolve.status import raise_unless_converged


class AbstractFunctionExpert(AbstractOneOffExpert):
    """An expert of one problem whose u is a function of the point; grids are points like others.

    ``fit`` sets ``_problem`` first and ``report`` last, so that an interrupted fit is no fit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._problem: Problem | None = None
        self.report: FitReport | None = None

    @property
    def problem(self) -> Problem:
        if self._problem is None:
            raise ValueError("this expert has no problem yet: call solve(problem, expert), or expert.fit(problem)")
        return self._problem

    @abc.abstractmethod
    def at(self, coordinates: Mapping[str, Tensor], term: str = "") -> Tensor:
        """A derivative of all fields at points, (fields, m).

        Arguments:
            coordinates: by axis, (m,).
            term: such as "xx" (default the value).
        """

    @property
    @abc.abstractmethod
    def settings(self) -> Mapping[str, object]:
        """What a solution says of the expert that made it."""

    def reported(self, parameters: Mapping[str, Tensor]) -> FitReport:
        """How the fit ended.

        Arguments:
            parameters: by name, one case.

        Raises:
            ValueError: parameters other than those fitted; no fit, or one that was interrupted.
        """
        problem = self.problem
        for name, value in parameters.items():
            given = torch.as_tensor(value)
            fitted = problem.parameters.get(name)
            # In the precision of what is given: 0.1 as float32 is not 0.1.
            same = fitted is None or (
                given.numel() == 1 and float(given) == float(torch.as_tensor(fitted, dtype=given.dtype))
            )
            if not same:
                raise ValueError(f"parameter {name!r} differs from the one fitted: fit an expert for each problem")
        problem.batch_parameters(parameters)  # refuses names that it does not know
        if self.report is None:
            raise ValueError("the last fit was interrupted: call fit again, or resume where the expert has it")
        return self.report

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        report, problem = self.reported(parameters), self.problem
        status = torch.tensor([[int(report.status)]])
        if throw:
            raise_unless_converged(status, report.detail)
        coordinates = {axis: value.flatten() for axis, value in grid.coordinates().items()}
        values = self.at(coordinates).reshape(1, len(problem.field_names), *grid.shape)
        stats = {name: torch.tensor([numbers], dtype=torch.float64) for name, numbers in report.history.items()}
        stats["worst_residual"] = torch.tensor([[report.residual]], dtype=torch.float64)
        record = provenance(problem, self, **self.settings, detail=report.detail)
        field = Field(values, grid, problem.field_names)
        return Solution(field, status, stats, problem.batch_parameters(), provenance=record)
