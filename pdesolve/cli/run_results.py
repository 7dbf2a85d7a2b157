"""What ``pdesolve run`` computes after the training, and the files it writes: computed, never written by hand."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.atomic import replacing
from pdesolve.cli.config import RunConfig
from pdesolve.cli.output import complain
from pdesolve.cli.run_folder import RunFolder
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.plotting import plot_comparison, plot_field, plot_history, plot_interfaces
from pdesolve.problem import ProblemFamily
from pdesolve.reference import reference_solution
from pdesolve.results import save
from pdesolve.solution import Solution
from pdesolve.status import SolveError, SolveStatus
from pdesolve.training.report import BOOKKEEPING, TrainingReport

HIDDEN = BOOKKEEPING | {"loss"}
"""Series of the history that are no sums of squares: they have no place on its logarithmic axis."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Held-out cases, solved and compared.

    Arguments:
        solution: of all cases, with provenance.
        reference: (batch, component, *grid); None where it was not asked for or failed.
        reference_fault: why it failed, else empty.
        seconds: wall time of "solve" and "reference".
    """

    solution: Solution
    reference: Tensor | None
    reference_fault: str
    seconds: Mapping[str, float]

    def errors(self) -> list[float | None] | None:
        """Relative L² error of each case, None where it is not finite; None without a reference."""
        if self.reference is None:
            return None
        return [_finite(e) for e in self.solution.relative_error(self.reference).tolist()]

    def converged_errors(self) -> dict[str, float]:
        """Median and largest error of the converged cases; empty without any."""
        pairs = zip(self.errors() or [], self.solution.converged.tolist(), strict=False)
        kept = [error for error, good in pairs if good and error is not None]
        return {"median": statistics.median(kept), "largest": max(kept)} if kept else {}

    @property
    def shown(self) -> int:
        """The case of the figures: the first that converged."""
        return int(self.solution.converged.int().argmax())


def outside(cases: Mapping[str, Tensor], family: ProblemFamily) -> list[str]:
    """Names of the parameters that leave the family's range."""
    ends = {name: distribution.ends for name, distribution in family.distributions.items()}
    return [name for name, (low, high) in ends.items() if bool(((cases[name] < low) | (cases[name] > high)).any())]


def solve(
    expert: AbstractExpert, cases: Mapping[str, Tensor], grid: StructuredGrid, config: RunConfig, report: TrainingReport
) -> Evaluated:
    """Solve the cases, failed ones too, and make their reference if it is asked for."""
    start = time.perf_counter()
    solution = expert(cases, grid, throw=False)
    seconds = {"solve": time.perf_counter() - start}
    solution = dataclasses.replace(solution, provenance=provenance(config, report))
    if not config.evaluation.reference:
        return Evaluated(solution, None, "", seconds)
    start, reference, fault = time.perf_counter(), None, ""
    try:
        points = {axis: grid.axis_nodes(axis) for axis in grid.axes}
        reference = reference_solution(expert.problem, cases, points)
    except SolveError as error:
        fault = str(error)
    return Evaluated(solution, reference, fault, seconds | {"reference": time.perf_counter() - start})


def provenance(config: RunConfig, report: TrainingReport) -> dict[str, Any]:
    """Where a solution comes from, in JSON's types."""
    own = importlib.import_module("pdesolve").__version__
    return {
        "config": config.record(),
        "seeds": {
            "weights": config.method.seed,
            "training": config.training.seed,
            "evaluation": config.evaluation.seed,
        },
        "versions": {
            "pdesolve": own,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads()},
        "training": {"steps": report.steps, "seconds": report.seconds, "end": report.reason.value},
    }


def summary(found: Evaluated, report: TrainingReport) -> dict[str, Any]:
    """The run in numbers, in JSON's types."""
    solution = found.solution
    codes = solution.status.flatten().tolist()
    counts = {status.name: codes.count(status) for status in SolveStatus if status in codes}
    losses = {name: _finite(value) for name, value in report.final_losses.items() if name not in HIDDEN}
    parameters = {n: v.tolist() for n, v in solution.parameters.items() if v.shape == (solution.field.batch,)}
    return {
        "schema": 1,
        "cases": {
            "count": solution.field.batch,
            "converged": int(solution.converged.sum()),
            "solves_by_status": counts,
            "parameters": parameters,
        },
        "relative_l2_error": {
            "by_case": found.errors(),
            "converged_cases": found.converged_errors() or None,
            "reference_fault": found.reference_fault or None,
        },
        "seconds": {"training": report.seconds, **found.seconds},
        "training": {
            "steps": report.steps,
            "end": report.reason.value,
            "failed_cases": int(sum(report.history.get("failed", ()))),
            "last_sums_of_squares": losses,
        },
        "provenance": solution.provenance,
    }


def save_all(found: Evaluated, report: TrainingReport, folder: RunFolder) -> list[tuple[str, str]]:
    """Write results, summary and figures; what they are and their paths."""
    solution_path, summary_path = folder.file("solution.vtkhdf"), folder.file("summary.json")
    save(found.solution, solution_path, overwrite=True)
    content = json.dumps(summary(found, report), indent=1, allow_nan=False)
    with replacing(summary_path, overwrite=True) as file:
        file.write(content.encode())
    files = [
        ("solution, for ParaView and pdesolve plot", os.fspath(solution_path)),
        ("trained expert", os.fspath(folder.file("expert.safetensors"))),
        ("summary", os.fspath(summary_path)),
    ]
    return files + _figures(found, report, folder)


def _figures(found: Evaluated, report: TrainingReport, folder: RunFolder) -> list[tuple[str, str]]:
    """Draw one case; figures of an earlier run that have no place in this one are deleted."""
    solution, case = found.solution, found.shown
    name, grid = solution.field.names[0], solution.field.grid
    values = solution.field.component(name)[case]
    paths = {key: os.fspath(folder.file(f"{key}.png")) for key in ("field", "comparison", "interfaces", "history")}
    for path in paths.values():
        if os.path.lexists(path):
            os.unlink(path)
    made = [("field", plot_field(solution, paths["field"], case, name))]
    if found.reference is not None:
        titles, other = ("solution", "reference", "error"), found.reference[case, 0]
        drawn = plot_comparison(
            values, other, grid, titles, paths["comparison"], name=name, interfaces=solution.interfaces
        )
        made.append(("comparison with the reference", drawn))
    cut = any(at for axis, at in solution.interfaces.items() if axis != "t")
    if cut and isinstance(grid, StructuredGrid):
        try:
            drawn = plot_interfaces(values, grid, solution.interfaces, paths["interfaces"], name=name)
            made.append(("jumps at the patch interfaces", drawn))
        except ValueError as error:  # too few nodes beside an interface
            complain("warning", f"no picture of the interfaces: {error}")
    curves = {label: series for label, series in report.history.items() if label not in HIDDEN}
    if curves:
        made.append(("training", plot_history(curves, paths["history"])))
    return made


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
