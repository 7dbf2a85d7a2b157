"""Fixed, stretched, redrawn, adapted and trained Gaussians at equal count, and narrow ones over near pairs only.

    python examples/benchmarks/placements.py [--quick] [--json FILE] [--only SECTION ...]

Residuals are on even points that no fit has seen, errors are relative L2 on a held-out grid, medians of three seeds.
Burgers has ν = 0.02: the front of ν = 0.01/π is beyond some hundred Gaussians on all of space and time, wherever they
stand; slabs are for that.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pdesolve.domains.geometry import Interval, Rectangle, TimeInterval
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.adapted import Adapted
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit
from pdesolve.experts.gaussians.placement.fixed import Fixed
from pdesolve.experts.gaussians.placement.in_turn import InTurn
from pdesolve.experts.gaussians.placement.redrawn import Redrawn
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.experts.gaussians.placement.stretched import Stretched
from pdesolve.experts.gaussians.placement.trained import Trained
from pdesolve.experts.gaussians.sums import sums
from pdesolve.problem import Problem
from pdesolve.reference.abstract import relative_error
from pdesolve.reference.suite import allen_cahn_problem, burgers_problem
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt

from report import Report, start  # isort: skip

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Case:
    """A problem in one slab, and the lattice that fixed Gaussians stand on.

    Arguments:
        make: the problem.
        end: of its time; a shorter one in ``--quick``.
        counts: Gaussians along each axis.
        periodic: axes with images.
    """

    make: Callable[[], Problem]
    end: float
    counts: Mapping[str, int]
    periodic: tuple[str, ...] = ()

    def problem(self) -> Problem:
        return replace(self.make(), domain=Interval(-1.0, 1.0) * TimeInterval(0.0, self.end))

    def cloud(self, problem: Problem, share: float) -> GaussianCloud:
        counts = {axis: round(share * n) for axis, n in self.counts.items()}
        return Layout(problem.box, counts, periodic=self.periodic, outside=1.0).cloud()


FULL = {
    "burgers": Case(partial(burgers_problem, 0.02), 1.0, {"t": 8, "x": 26}),
    "allen_cahn": Case(allen_cahn_problem, 1.0, {"t": 8, "x": 26}, ("x",)),
}
QUICK = {name: replace(case, end=0.4, counts={"t": 6, "x": 20}) for name, case in FULL.items()}


def ways(count: int, rounds: int) -> dict[str, tuple[AbstractPlacement, float]]:
    """Placement and the share of the lattice, along each axis, that it begins from."""
    trained = Trained(ProbedLevenbergMarquardt(Gram(), max_steps=40, ftol=1e-4), rounds)
    return {
        "fixed": (Fixed(), 1.0),
        "stretched by curvature": (Stretched(), 1.0),
        "redrawn by curvature": (Redrawn(), 1.0),
        "adapted, exchanged": (Adapted(rounds=8), 1.0),
        "adapted, grown": (Adapted(rounds=10, limit=count), 0.8),
        "trained": (trained, 1.0),
        "stretched, then trained": (InTurn((Stretched(), trained)), 1.0),
    }


def compare(name: str, report: Report) -> None:
    case = (QUICK if report.quick else FULL)[name]
    problem = case.problem()
    count = case.cloud(problem, 1.0).size
    fit = GaussianFit(problem, SampledRows(problem), LineSearchGaussNewton(ftol=1e-2, max_steps=30))
    grid = StructuredGrid.uniform(problem.box, (81, 161))
    coordinates = grid.coordinates()
    assert problem.reference is not None
    exact = problem.reference(coordinates, problem.batch_parameters()).reshape(grid.shape)
    points = torch.stack([coordinates[a].expand(grid.shape).flatten() for a in grid.axes], dim=1)
    even = replace(SampledRows(problem), near=0.0)
    fixed = float("nan")
    for way, (placement, share) in ways(count, 1 if report.quick else 3).items():
        began = time.perf_counter()
        found = [placement.place(fit, case.cloud(problem, share), torch.Generator().manual_seed(s)) for s in SEEDS]
        seconds = (time.perf_counter() - began) / len(SEEDS)
        rows = [even(f.cloud, 4000, torch.Generator().manual_seed(99)) for f in found]
        residual = statistics.median(fit.size_on(f, r) for f, r in zip(found, rows, strict=True))
        error = statistics.median(_error(f, points, exact) for f in found)
        note = f"at most {max(f.cloud.size for f in found)} Gaussians, {seconds:.1f} s each"
        what = f"{name}, t to {case.end:g}, {way}"
        report.add(f"{what}: residual", residual, None if way == "fixed" else fixed, "", note)
        report.add(f"{what}: error", error)
        fixed = residual if way == "fixed" else fixed


def _error(fitted: Fitted, points: Tensor, exact: Tensor) -> float:
    return float(relative_error(fitted.values(points)[0].reshape(exact.shape), exact))


def truncation(report: Report) -> None:
    """10 000 Gaussians at 20 000 points, three derivatives."""
    side, number = 100, 4000 if report.quick else 20_000
    cloud = Layout(Rectangle((-1, 1), (-1, 1)), {"x": side, "y": side}, 1.5).cloud()
    generator = torch.Generator().manual_seed(0)
    points = 2.0 * torch.rand(number, 2, generator=generator, dtype=torch.float64) - 1.0
    weights, terms = torch.randn(1, cloud.size, generator=generator, dtype=torch.float64), ("", "xx", "yy")

    def dense() -> dict[str, Tensor]:
        size = max(16, (1 << 17) // cloud.size)
        parts: dict[str, list[Tensor]] = {term: [] for term in terms}
        for piece in points.split(size):
            table = cloud.table(piece, terms)
            for term in terms:
                parts[term].append(weights @ table[term].mT)
        return {term: torch.cat(found, dim=1) for term, found in parts.items()}

    def timed(run: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], float]:
        began = time.perf_counter()
        return run(), time.perf_counter() - began

    near, quick = timed(lambda: sums(cloud, points, weights, terms))
    every, slow = timed(dense)
    worst = max(float((near[t] - every[t]).abs().max() / every[t].abs().max()) for t in terms)
    what = f"{cloud.size} Gaussians at {number} points"
    report.add(f"{what}: sums over near pairs against all pairs, largest difference", worst, 1e-13)
    report.add(f"{what}: time over near pairs over that of all", quick / slow, 1.0, "", f"{quick:.2g} s, {slow:.2g} s")


SECTIONS = {**{name: partial(compare, name) for name in FULL}, "truncation": truncation}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections."""
    return start("placements", arguments, SECTIONS).run()


if __name__ == "__main__":
    sys.exit(main())
