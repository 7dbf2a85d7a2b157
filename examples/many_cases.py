"""A thousand diffusion-sorption cases at once: one basis for all of them, beside the classical solver in a batch.

The basis reads nothing that differs between the cases, so it is computed once, and products with it are matrix products
for the whole batch. It is trained for half a minute on the residual of other cases, without solution data.

    python examples/many_cases.py [--cases 1000] [--steps 400]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.frames.diffusivity import largest_diffusivity
from pdesolve.reference.classical import ClassicalResult, benchmark_coordinates, classical_error_table

FAMILY = ps.diffusion_sorption_family()
CELLS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
Cases = Mapping[str, Tensor]


@dataclass(frozen=True)
class Solved:
    """Relative L2 errors of some cases on PDEBench's grid, and seconds of all cases."""

    errors: Tensor
    weights_seconds: float
    field_seconds_per_case: float
    failed: int


def main(cases: int = 1000, steps: int = 400, compared: int = 20) -> float:
    """Solve all, print the table, return the mean error of the cases that are compared."""
    members = FAMILY.sample(cases, torch.Generator().manual_seed(777))
    few = first(members, compared)
    exact = ps.reference_solution(FAMILY.problem, few, benchmark_coordinates())
    untrained = measure(shared_expert(0, n_basis=40, points=250), members, few, exact)
    expert = shared_expert(steps, n_basis=16, points=60)
    trained = measure(expert, members, few, exact)
    rival = cheapest_rival(few, exact, root_mean_square(trained.errors))
    print(f"\n{cases} cases; errors of {compared} of them on 1024 x 101 nodes; {torch.get_num_threads()} threads")
    print(f"{'':44}{'solve, s':>10}{'field, ms/case':>16}{'mean error':>13}{'worst':>10}{'failed':>8}")
    for name, found in (("layer, untrained basis, N = 40", untrained), (f"layer, {steps} steps, N = 16", trained)):
        seconds, field = found.weights_seconds, 1e3 * found.field_seconds_per_case
        error, worst = 100 * float(found.errors.mean()), 100 * float(found.errors.max())
        print(f"{name:44}{seconds:10.2f}{field:16.2f}{error:11.4f} %{worst:8.3f} %{found.failed:8d}")
    if rival is None:
        print(f"no classical rival of at most {CELLS[-1]} cells is as accurate")
        return float(trained.errors.mean())
    seconds, field = solve_seconds(rival, members), 1e3 * rival_field_seconds(rival, few)
    name = f"classical in a batch, {rival.rival}, {rival.cells} cells"
    print(f"{name:44}{seconds:10.2f}{field:16.2f}{100 * rival.error:11.4f} %{100 * rival.worst:8.3f} %{0:8d}")
    print(f"the classical solver takes {seconds / trained.weights_seconds:.1f} times as long for the solve")
    return float(trained.errors.mean())


def shared_expert(
    steps: int, *, n_basis: int, points: int, device: str | torch.device = "cpu", seed: int = 0
) -> ps.HardConstraintExpert:
    """Four patches on a basis that reads similarity coordinates of one scale, and none of the parameters."""
    problem = FAMILY.problem
    kappa = float(largest_diffusivity(problem, "x", problem.batch_parameters()))
    frame = ps.Frame(
        ps.SimilarityCoordinates(problem, diffusivity=kappa),
        ps.SimilarityLifting(problem, interior=0.0, diffusivity=kappa),
    )
    patches = ps.cartesian_decomposition(problem.domain, {"x": 4})
    expert = ps.parametric_expert(FAMILY, n_basis=n_basis, frame=frame, seed=seed)
    if steps:
        settings = ps.TrainingSettings(
            steps, learning_rate=3e-3, schedule=ps.CosineDecay(0.03, 0.01), gradient_clip=1.0
        )
        report = ps.train(ps.MixtureOfExperts(patches, expert), FAMILY, settings, seed=seed, progress=False)
        print(f"basis of {n_basis} fields: trained {report.steps} steps in {report.seconds:.0f} s")
    layer = ps.HardConstraintLayer(
        problem, expert.layer.discretization, ps.RowCounts(points, 32, 32), decomposition=patches,
        coupling=ps.InterfaceRows(), row_weight=expert.layer.row_weight, solver=ps.LevenbergMarquardt(gtol=1e-4),
        adjoint=ps.DetachedAdjoint(), throw=False,
    )  # fmt: skip
    return ps.HardConstraintExpert(expert.backbone.to(device, torch.float64), layer)


def measure(expert: ps.HardConstraintExpert, members: Cases, few: Cases, exact: Tensor) -> Solved:
    """All weights at once, timed; the field of some cases, timed and compared."""
    nodes = benchmark_coordinates()
    grid = ps.StructuredGrid(("t", "x"), (nodes["t"], nodes["x"]), expert.problem.domain)

    def weights(cases: Cases) -> Any:
        device = next(expert.parameters()).device
        with torch.no_grad():
            return expert.layer.solve(expert.backbone, expert.problem.batch_parameters(cases, device=device)).report

    report, seconds = weights(members), seconds_of(lambda: weights(members).weights.cpu())
    solution = expert(few, grid, throw=False)
    both = seconds_of(lambda: expert(few, grid, throw=False).field.values.cpu())
    field = both - seconds_of(lambda: weights(few).weights.cpu())
    failed = int((report.status != ps.SolveStatus.CONVERGED).any(1).sum())
    errors = solution.relative_error(exact.to(solution.field.values.device)).cpu()
    return Solved(errors, seconds, field / len(errors), failed)


def cheapest_rival(few: Cases, exact: Tensor, error: float) -> ClassicalResult | None:
    """The classical solver that is fastest in a batch among those at least as accurate, in root mean square."""
    table = classical_error_table(CELLS, few, problem=FAMILY.problem, exact=exact, repeats=1)
    return min((row for row in table if row.error <= error), key=lambda row: row.batch_seconds, default=None)


def solve_seconds(rival: ClassicalResult, members: Cases) -> float:
    """All cases by the classical solver in batches, seen at two points only: the solve without the field."""
    ends = torch.tensor([250.0, 500.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    return seconds_of(lambda: rival.method.solve(FAMILY.problem, members, dict(zip(("t", "x"), ends, strict=True))))


def rival_field_seconds(rival: ClassicalResult, few: Cases) -> float:
    """What its field on PDEBench's grid takes beyond the solve, for a case."""
    whole = seconds_of(lambda: rival.method.solve(FAMILY.problem, few, benchmark_coordinates()))
    return (whole - solve_seconds(rival, few)) / len(few["u0"])


def root_mean_square(errors: Tensor) -> float:
    return float(errors.square().mean().sqrt())


def seconds_of(run: Callable[[], Any], repeats: int = 3) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def first(members: Cases, n: int) -> dict[str, Tensor]:
    return {name: value[:n] for name, value in members.items()}


def _options(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="cases at once (default 1000)")
    parser.add_argument("--steps", type=int, default=400, help="training steps (default 400)")
    return vars(parser.parse_args(arguments))


if __name__ == "__main__":
    main(**_options())
