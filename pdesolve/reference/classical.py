"""How fast a classical solver reaches an error: the rival that a learned solver has to be compared with."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.problem import Problem
from pdesolve.reference.benchmarks import diffusion_sorption_problem, reference_solution
from pdesolve.reference.method_of_lines import MethodOfLines
from pdesolve.reference.stencils import Grading


@dataclass(frozen=True)
class ClassicalResult:
    """One classical solver on a set of cases.

    Arguments:
        rival: its name, such as "uniform".
        cells: number of cells in space.
        method: the solver itself.
        error: root mean square over the cases of the relative L2 error.
        worst: the largest of the cases' errors.
        seconds: time for one case solved alone, median over cases and repeats.
        batch_seconds: time for one case when all cases are solved together, median over repeats.
    """

    rival: str
    cells: int
    method: MethodOfLines
    error: float
    worst: float
    seconds: float
    batch_seconds: float


def classical_rivals(cells: int) -> dict[str, MethodOfLines]:
    """Second order on equal spacing and fourth order on graded nodes, with tolerances to match.

    Arguments:
        cells: number of cells; nodes are one more.
    """
    second = min(1e-2, 1e-3 * (128 / cells) ** 2)
    fourth = min(1e-2, max(1e-8, 3e-4 * (64 / cells) ** 3))
    return {
        "uniform, order 2": MethodOfLines(cells + 1, 2, None, rtol=second, atol=1e-8),
        "graded, order 4": MethodOfLines(cells + 1, 4, Grading(1e-2, 10.0), rtol=fourth, atol=1e-10),
    }


def classical_error_table(
    cells: Sequence[int] = (32, 64, 128, 256, 512, 1024),
    parameters: Mapping[str, float | Tensor] | None = None,
    *,
    problem: Problem | None = None,
    coordinates: Mapping[str, Tensor] | None = None,
    exact: Tensor | None = None,
    repeats: int = 3,
) -> list[ClassicalResult]:
    """Seconds and errors of the classical rivals against the converged reference.

    Arguments:
        cells: numbers of cells.
        parameters: the cases, by name (batch,) (default u0 = 0.002, 0.05, 0.1, 0.2).
        problem: default the diffusion-sorption benchmark.
        coordinates: where errors are measured (default the benchmark's grid, 1024 cell centres by 101 times).
        exact: (batch, component, n_t, n_x), the reference if there is one already.
        repeats: timings per case, at least 1; one untimed run goes before.

    Returns:
        One row for each rival and number of cells.

    Raises:
        ValueError: ``exact`` of another shape, or no repeats; otherwise as ``MethodOfLines.solve``.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    problem = problem or diffusion_sorption_problem()
    cases = problem.batch_parameters(parameters or {"u0": torch.tensor([0.002, 0.05, 0.1, 0.2])})
    points = coordinates or benchmark_coordinates()
    reference = reference_solution(problem, cases, points) if exact is None else exact
    return [
        _measured(name, n, method, problem, cases, points, reference, repeats)
        for n in cells
        for name, method in classical_rivals(n).items()
    ]


def _measured(
    name: str,
    cells: int,
    method: MethodOfLines,
    problem: Problem,
    cases: Mapping[str, Tensor],
    points: Mapping[str, Tensor],
    reference: Tensor,
    repeats: int,
) -> ClassicalResult:
    """Error and time of one solver; the solution that gives the error is the untimed run."""
    solution = method.solve(problem, cases, points)
    if solution.shape != reference.shape:
        raise ValueError(f"exact has shape {tuple(reference.shape)}, {tuple(solution.shape)} is needed")
    norms = torch.linalg.vector_norm(reference.flatten(1), dim=1)
    errors = torch.linalg.vector_norm((solution - reference).flatten(1), dim=1) / norms
    batch = len(solution)
    alone = [{k: v.expand(batch)[i : i + 1] for k, v in cases.items()} for i in range(batch)]
    single = [_seconds(method, problem, case, points) for case in alone for _ in range(repeats)]
    together = [_seconds(method, problem, cases, points) / batch for _ in range(repeats)]
    return ClassicalResult(
        name,
        cells,
        method,
        float(errors.square().mean().sqrt()),
        float(errors.max()),
        statistics.median(single),
        statistics.median(together),
    )


def benchmark_coordinates(cells: int = 1024, frames: int = 101) -> dict[str, Tensor]:
    """The diffusion-sorption benchmark's points: t = 0, 5, ..., 500 and cell centres x = (i + 1/2)/1024."""
    x = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    return {"t": torch.linspace(0.0, 500.0, frames, dtype=torch.float64), "x": x}


def time_at_error(table: Sequence[ClassicalResult], error: float, *, batched: bool = False) -> float:
    """Seconds per case in which the best of the rivals reaches an error, by interpolation between its rows.

    Arguments:
        table: rows of ``classical_error_table``.
        error: relative L2 error > 0.
        batched: of cases solved together, instead of one alone.

    Returns:
        Seconds; infinite if no row is that accurate, those of the cheapest row if all are.

    Raises:
        ValueError: an empty table or an error that is not positive.
    """
    if not table:
        raise ValueError("the table is empty")
    if not error > 0.0:
        raise ValueError(f"the error must be positive, got {error!r}")
    names = dict.fromkeys(row.rival for row in table)
    return min(_time_of([row for row in table if row.rival == name], error, batched) for name in names)


def _time_of(rows: Sequence[ClassicalResult], error: float, batched: bool) -> float:
    def seconds(row: ClassicalResult) -> float:
        return row.batch_seconds if batched else row.seconds

    enough = [row for row in rows if row.error <= error]
    if not enough:
        return math.inf
    best = min(enough, key=seconds)
    coarser = [row for row in rows if row.error > error and seconds(row) < seconds(best)]
    if not coarser:
        return seconds(best)
    nearest = min(coarser, key=lambda row: row.error)
    # between two rows error and time follow a power law
    share = math.log(nearest.error / error) / math.log(nearest.error / best.error) if best.error > 0.0 else 1.0
    return math.exp((1.0 - share) * math.log(seconds(nearest)) + share * math.log(seconds(best)))


def _seconds(
    method: MethodOfLines, problem: Problem, cases: Mapping[str, Tensor], points: Mapping[str, Tensor]
) -> float:
    start = time.perf_counter()
    method.solve(problem, cases, points)
    return time.perf_counter() - start
