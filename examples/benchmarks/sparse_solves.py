"""Sparse solves: direct against SciPy's defaults, multigrid, jumps and anisotropy, gradients, torch-sla beside.

    python examples/benchmarks/sparse_solves.py [--quick] [--json FILE] [--device cuda]

Direct solves run in a fresh process each, so that the peak of memory is theirs; the estimate that a solve rests on is
part of its time.
"""

from __future__ import annotations

import importlib.util
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import Tensor

from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.multigrid.algebraic import AlgebraicMultigrid
from pdesolve.linalg.multigrid.geometric import GeometricMultigrid
from pdesolve.linalg.multigrid.grid_diffusion import GridDiffusion
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.solve import linear_solve

from report import Report, median_seconds, start  # isort: skip

RTOL = 1e-10


def poisson(*grid: int, device: torch.device | None = None) -> GridDiffusion:
    """-Δ on the unit box, u = 0 around it."""
    one = torch.ones((), dtype=torch.float64, device=device)
    return GridDiffusion(grid, tuple(1.0 / n for n in grid), one, positive_definite=True)


def stored(*grid: int) -> SparseOperator:
    """The same with entries."""
    return poisson(*grid).to_sparse()


def right(operator: AbstractLinearOperator) -> Tensor:
    """A random right-hand side: every frequency is in it."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(operator.shape[0], generator=generator, dtype=torch.float64).to(operator.device)


# Direct solves, each in a process of its own.


def by_scipy(grid: tuple[int, ...]) -> tuple[float, float]:
    """Seconds and bytes of SciPy's default: splu(A).solve(b)."""
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    operator = stored(*grid)
    parts = operator.values.numpy(), operator.pattern.columns.numpy(), operator.pattern.starts.numpy()
    matrix, b = csc_array(parts, shape=operator.shape), right(operator).numpy()  # symmetric: rows are columns
    return _cost(lambda: splu(matrix).solve(b))


def by_superlu(grid: tuple[int, ...]) -> tuple[float, float]:
    """Seconds and bytes of ours, with all its checks."""
    operator = stored(*grid)
    b = right(operator)
    linear_solve(stored(8, 8), right(stored(8, 8)), SuperLU())  # imports are not counted
    return _cost(lambda: linear_solve(operator, b, SuperLU()))


def _cost(solve: Callable[[], object]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    solve()
    seconds = time.perf_counter() - begin
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024.0


def alone(measure: Callable[[tuple[int, ...]], tuple[float, float]], grid: tuple[int, ...]) -> tuple[float, float]:
    """``measure(grid)`` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, grid).result()


def direct(report: Report) -> None:
    """Factor and solve against SciPy's default, time and memory, interleaved."""
    planes = [((256, 256), 1.0, 1.0)] if report.quick else [((512, 512), 0.7, 0.6)]
    boxes = [((20,) * 3, 1.0, 1.0)] if report.quick else [((48,) * 3, 0.4, 0.6)]
    for grid, time_bound, memory_bound in planes + boxes:
        repeats = 5 if len(grid) == 2 else 1
        ours, theirs = [], []
        for _ in range(repeats):
            theirs.append(alone(by_scipy, grid))
            ours.append(alone(by_superlu, grid))
        (seconds, size), (their_seconds, their_size) = (
            [statistics.median(c) for c in zip(*r, strict=True)] for r in (ours, theirs)
        )
        name = f"Poisson {_name(grid)}, direct"
        note = f"{seconds:.2f} s against {their_seconds:.2f} s, median of {repeats}"
        report.add(f"{name}: time over that of SciPy's default", seconds / their_seconds, time_bound, "x", note)
        note = f"{size / 2**20:.0f} MB against {their_size / 2**20:.0f} MB beyond the matrix"
        report.add(f"{name}: memory over that of SciPy's default", size / their_size, memory_bound, "x", note)


# Multigrid.


def multigrid(report: Report) -> None:
    """Poisson on growing boxes to 1e-10, setup and solve, and the steps."""
    sizes = (31, 63) if report.quick else (31, 63, 127)
    bounds = {48: 0.5, 63: 0.6, 127: 0.6}
    steps = []
    for n in (*sizes, 48):
        operator = poisson(n, n, n, device=report.device)
        seconds, count = cost_of(report, operator, CG(GeometricMultigrid(), rtol=RTOL))
        steps.append(count)
        note = f"{count} steps, setup and solve"
        report.add(f"multigrid CG, Poisson {_name((n,) * 3)} to 1e-10", seconds, bounds.get(n), "s", note)
    spread = float(max(steps[:-1]) - min(steps[:-1]))
    report.add(f"multigrid CG: steps on {sizes[-1]}³ beyond those on {sizes[0]}³", spread, 2.0, "steps")
    n = 255 if report.quick else 1023
    seconds, count = cost_of(report, poisson(n, n, device=report.device), CG(GeometricMultigrid(), rtol=RTOL))
    report.add(f"multigrid CG, Poisson {_name((n, n))} to 1e-10", seconds, None, "s", f"{count} steps, setup and solve")
    if report.device.type == "cuda" and not report.quick:
        seconds, count = cost_of(
            report, poisson(255, 255, 255, device=report.device), CG(GeometricMultigrid(), rtol=RTOL)
        )
        report.add("multigrid CG, Poisson 255 x 255 x 255 to 1e-10", seconds, None, "s", f"{count} steps")
    if importlib.util.find_spec("pyamg") is None:
        report.add("AMG CG, Poisson 48 x 48 x 48 to 1e-10", None, None, "s", "pyamg is not installed")
        return
    n = 24 if report.quick else 48
    seconds, count = cost_of(report, stored(n, n, n), CG(AlgebraicMultigrid(), rtol=RTOL))
    report.add(f"AMG CG, Poisson {_name((n,) * 3)} to 1e-10", seconds, None, "s", f"{count} steps, setup and solve")


def hard_coefficients(report: Report) -> None:
    """Steps with a coefficient that jumps by 1e6, and with anisotropy of 1e3; no required time."""
    n, m = (64, 24) if report.quick else (256, 64)
    for name, coefficient in (*jumps(n, 2).items(), *jumps(m, 3).items()):
        grid = tuple(coefficient.shape)
        operator = GridDiffusion(grid, 1.0 / grid[0], coefficient.to(report.device), positive_definite=True)
        by_chance = "chance" in name
        if by_chance and importlib.util.find_spec("pyamg") is None:
            report.add(f"jump of 1e6, {name}, {_name(grid)}", None, 40.0, "steps", "pyamg is not installed")
            continue
        preconditioner = AlgebraicMultigrid() if by_chance else GeometricMultigrid()
        _, count = cost_of(report, operator, CG(preconditioner, rtol=RTOL, max_steps=400), repeats=1)
        report.add(f"jump of 1e6, {name}, {_name(grid)}", float(count), 40.0, "steps", type(preconditioner).__name__)
    for spacing in ((1.0, 1e3**0.5), (1e3**0.5, 1.0), (1.0, 30.0**0.5, 1e3**0.5)):
        grid = (n,) * 2 if len(spacing) == 2 else (m,) * 3
        operator = GridDiffusion(grid, spacing, torch.ones((), dtype=torch.float64, device=report.device))
        _, count = cost_of(report, operator, CG(GeometricMultigrid(), rtol=RTOL), repeats=1)
        ratios = " : ".join(f"{h**2:.0f}" for h in spacing)
        report.add(f"anisotropy 1e3, h² = {ratios}, {_name(grid)}", float(count), 40.0, "steps")


def jumps(n: int, count: int) -> dict[str, Tensor]:
    """Coefficients between 1 and 1e6."""
    x = torch.meshgrid(*[(torch.arange(n, dtype=torch.float64) + 0.5) / n] * count, indexing="ij")
    distance = torch.stack([(axis - 0.47).square() for axis in x]).sum(0)
    fields = torch.stack([(7 * axis).floor() for axis in x]).sum(0) % 2
    chance = torch.rand((n,) * count, generator=torch.Generator().manual_seed(1)) < 0.5
    conditions = {"a ball inside": distance < 0.1, "chequers of 7 fields": fields == 0, "each cell by chance": chance}
    return {name: torch.where(where, 1e6, 1.0).double() for name, where in conditions.items()}


def cost_of(
    report: Report, operator: AbstractLinearOperator, solver: AbstractLinearSolver, repeats: int = 5
) -> tuple[float, int]:
    """Median seconds of setup and solve, and steps; raises where it does not converge."""
    b, found = right(operator), []

    def run() -> None:
        found.append(linear_solve(operator, b, solver)[1])

    with torch.no_grad():
        seconds = median_seconds(run, repeats, 1 if repeats > 1 else 0, report.device)
    return seconds, int(found[-1].stats["iterations"].max())


# Gradients.


def gradients(report: Report) -> None:
    """The backward pass of a direct solve over its forward pass, and torch-sla beside it."""
    sizes, bound = ((96, 160), 1.0) if report.quick else ((256, 512), 0.5)
    rivals = {"ours": _ours} if importlib.util.find_spec("torch_sla") is None else {"ours": _ours, "sla": _torch_sla}
    for n in sizes:
        operator, name = stored(n, n), f"direct solve, Poisson {_name((n, n))}"
        runs: dict[str, list[tuple[float, float]]] = {rival: [] for rival in rivals}
        for turn in range(5):  # interleaved: what slows the machine slows both
            for rival, solve in rivals.items():
                runs[rival].append(_passes(solve, operator, 1.0 + 0.1 * turn))
        forward, backward = (statistics.median(part) for part in zip(*runs["ours"], strict=True))
        note = f"{forward:.3f} s and {backward:.3f} s"
        report.add(f"{name}: backward over forward", backward / forward, 0.35, "x", note)
        claim = f"{name}, forward + backward: time over torch-sla's"
        if "sla" not in runs:
            report.add(claim, None, bound, "x", "torch-sla not installed")
            continue
        total, theirs = (statistics.median(map(sum, runs[rival])) for rival in ("ours", "sla"))
        report.add(claim, total / theirs, bound, "x", f"{total:.3f} s against {theirs:.3f} s, medians of 5")


def _ours(operator: SparseOperator, values: Tensor, b: Tensor) -> Tensor:
    return linear_solve(SparseOperator(operator.pattern, values), b, SuperLU())[0]


def _torch_sla(operator: SparseOperator, values: Tensor, b: Tensor) -> Tensor:
    from torch_sla import spsolve

    rows, columns = operator.pattern.rows.long(), operator.pattern.columns.long()
    out: Tensor = spsolve(values, rows, columns, operator.shape, b, backend="scipy", method="lu")
    return out


def _passes(
    method: Callable[[SparseOperator, Tensor, Tensor], Tensor], operator: SparseOperator, factor: float
) -> tuple[float, float]:
    """Seconds of the forward and the backward pass of a multiple of A: values that were not seen before."""
    values, b = (factor * operator.values).requires_grad_(), right(operator).requires_grad_()
    begin = time.perf_counter()
    total = method(operator, values, b).square().sum()
    middle = time.perf_counter()
    total.backward()
    return middle - begin, time.perf_counter() - middle


def _name(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))


SECTIONS = {
    "direct": direct,
    "multigrid": multigrid,
    "hard_coefficients": hard_coefficients,
    "gradients": gradients,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; ``--quick`` takes smaller grids."""
    return start("sparse_solves", arguments, SECTIONS, cuda=True).run()


if __name__ == "__main__":
    sys.exit(main())
