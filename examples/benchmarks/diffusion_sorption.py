"""Diffusion-sorption on 100 held-out initial conditions: every method, every control, the classical solver.

    python examples/benchmarks/diffusion_sorption.py [--quick] [--json FILE] [--only SECTION ...]

Each method is trained separately, from three seeds, without solution data. Two processes of one thread each share the
work; times of training are therefore those of one core.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pdesolve.experts.coupling import Independent, InterfaceRows
from pdesolve.experts.parametric import soft_expert
from pdesolve.frames.generic import generic_frame
from pdesolve.reference.benchmarks import (
    REFERENCE_METHOD,
    diffusion_sorption_family,
    diffusion_sorption_frame,
    reference_solution,
)
from pdesolve.reference.cache import data_folder
from pdesolve.reference.classical import benchmark_coordinates, classical_error_table, time_at_error
from pdesolve.reference.method_of_lines import MethodOfLines
from pdesolve.reference.pdebench import pdebench_solution

from report import Report, Section, start  # isort: skip
from sorption_methods import (  # isort: skip
    EARLY_MIXTURE, EARLY_RIVALS, GENERIC, MIXTURE, RIVALS, Job, Jumps, Method, Outcome, Outcomes, Plan, measure,
    mixture, percent, spread, train_all,
)  # fmt: skip
from sorption_weights import compare_row_weights  # isort: skip

FULL = Plan(steps=1200, seeds=(0, 1, 2), cases=100, timed_cases=20, x_stride=1)
QUICK = Plan(steps=300, seeds=(0,), cases=10, timed_cases=4, x_stride=8)
LEFT_OUT = "left out by --quick"

TRAINING = f"training of the {MIXTURE.name}, one core"
ROOT_MEAN_SQUARE = f"root mean square error of the {MIXTURE.name}"
LATE_BOUNDS: Mapping[str, float] = {"rows over the whole span": 0.1, "true extrapolation": 0.3}
"""Of the mixture with interface rows; the others are only shown."""


def plan_of(report: Report) -> Plan:
    """The sizes of a full run or of ``--quick``."""
    return QUICK if report.quick else FULL


def bound_of(report: Report, bound: float) -> float:
    """Looser by three for ``--quick``, which trains less."""
    return 3.0 * bound if report.quick else bound


def methods(report: Report) -> None:
    """The mixture with interface rows in both frames, its jumps and its times."""
    plan = plan_of(report)
    best, generic = (found[""] for found in train_all([Job(MIXTURE), Job(GENERIC)], plan))
    report.add(f"error of the {MIXTURE.name}", percent(best), bound_of(report, 0.03), "%", spread(best))
    report.add(f"error of the {GENERIC.name}", percent(generic), bound_of(report, 1.0), "%", spread(generic))
    errors = torch.cat([o.errors for o in best])
    report.add(ROOT_MEAN_SQUARE, 100 * float(errors.square().mean().sqrt()), None, "%", "over cases and seeds")
    report.add(TRAINING, statistics.mean(o.training_seconds for o in best), None, "s", "mean of the seeds")
    jumps = jumps_of(best)
    report.add("interface jump of u over max u", max(j.value for j in jumps), bound_of(report, 1e-4))
    flux = max(j.flux for j in jumps)
    report.add("interface jump of the flux over its largest value there", flux, bound_of(report, 1e-2))
    solve = statistics.mean(j.seconds for j in jumps) / plan.cases
    field = statistics.mean(o.field_seconds for o in best) / plan.cases
    report.add("inference, weights and jumps, one core", solve, None, "s/case")
    report.add("inference, weights and field on the grid, one core", field, None, "s/case")


def jumps_of(outcomes: Sequence[Outcome]) -> list[Jumps]:
    """The jumps that were measured."""
    return [o.jumps for o in outcomes if o.jumps is not None]


def rivals(report: Report) -> None:
    """Other methods, each for as long as the mixture was trained."""
    claims = {method.name: f"rival: {method.name}" for method in RIVALS}
    if report.quick:
        return leave_out(report, list(claims.values()))
    seconds = report.value("methods", TRAINING)
    results = train_all([Job(method, seconds) for method in RIVALS], plan_of(report))
    for method, found in zip(RIVALS, results, strict=True):
        report.add(claims[method.name], percent(found[""]), None, "%", spread(found[""]))


def extrapolation(report: Report) -> None:
    """Every method trained on t <= 400 for the same number of steps, its error on t > 400."""
    jobs = [Job(EARLY_MIXTURE)]
    if not report.quick:
        jobs += [Job(method) for method in EARLY_RIVALS]
    for job, found in zip(jobs, train_all(jobs, plan_of(report)), strict=True):
        bounds = LATE_BOUNDS if job.method is EARLY_MIXTURE else {}
        late_errors(report, job.method, found, bounds)
    if report.quick:
        leave_out(report, [late_claim(method, label) for method in EARLY_RIVALS for label in method.inference])


def late_errors(report: Report, method: Method[Any], found: Outcomes, bounds: Mapping[str, float]) -> None:
    """One row for each way of inference."""
    for label, outcomes in found.items():
        bound = bound_of(report, bounds[label]) if label in bounds else None
        note = spread(outcomes, lambda o: o.late_errors)
        report.add(late_claim(method, label), percent(outcomes, lambda o: o.late_errors), bound, "%", note)


def late_claim(method: Method[Any], label: str) -> str:
    """What a row of ``extrapolation`` says."""
    return ", ".join(part for part in ("trained on t <= 400, error on t > 400", label) if part) + f": {method.name}"


def leave_out(report: Report, claims: Sequence[str]) -> None:
    """Rows that say what --quick does not run."""
    for claim in claims:
        report.add(claim, None, None, "", LEFT_OUT)


def controls(report: Report) -> None:
    """What is there before any training: the lifting alone, and an untrained basis, in both frames."""
    plan, family = plan_of(report), diffusion_sorption_family()
    exact, cases = plan.reference(), plan.test_cases()
    for name, frame in (
        ("similarity frame", diffusion_sorption_frame(family)),
        ("generic frame", generic_frame(family)),
    ):
        lifting = soft_expert(family, frame=frame).double()
        with torch.no_grad():
            for parameter in lifting.parameters():
                parameter.zero_()
        error = lifting(cases, plan.grid()).relative_error(exact)
        report.add(f"control: the lifting alone, {name}", 100 * float(error.mean()), None, "%")
        for coupling in (InterfaceRows(), Independent()):
            outcome = measure(mixture(family, 0, frame, coupling).double(), plan)
            claim = f"control: untrained basis, {type(coupling).__name__}, {name}"
            report.add(claim, percent([outcome]), None, "%", spread([outcome]))


def reference(report: Report) -> None:
    """The published scheme of PDEBench against our reference at u0 = 0.1, and our reference against a finer one."""
    nodes, problem = benchmark_coordinates(), diffusion_sorption_family().problem
    ours = reference_solution(problem, {"u0": 0.1}, nodes, cache=data_folder())[0, 0]
    theirs = pdebench_solution(0.1, nodes["t"])
    difference = float((theirs - ours).norm() / ours.norm())
    report.add("PDEBench's own scheme against the converged reference, u0 = 0.1", 100 * difference, None, "%")
    cases = {"u0": torch.tensor([0.002, 0.05, 0.1, 0.2], dtype=torch.float64)}
    coarse = reference_solution(problem, cases, nodes)
    fine = MethodOfLines(nodes=2 * REFERENCE_METHOD.nodes - 1, order=6, rtol=1e-9).solve(problem, cases, nodes)
    error = ((coarse - fine).flatten(1).norm(dim=1) / fine.flatten(1).norm(dim=1)).max()
    report.add("the reference's own error, by refinement, largest of 4 cases", float(error), 1e-6, "relative")


def row_weights(report: Report) -> None:
    """Weights of the rows in time, without training."""
    if report.quick:
        return leave_out(report, ["row weights: powers of t, frames left out, causal"])
    compare_row_weights(report, plan_of(report))


def classical(report: Report) -> None:
    """Seconds of the classical solver at the mixture's error (both root mean square), alone and in a batch."""
    error = report.value("methods", ROOT_MEAN_SQUARE) / 100.0
    batch = plan_of(report).timed_cases
    few = {name: value[:batch] for name, value in plan_of(report).test_cases().items()}
    table = classical_error_table(parameters=few)
    for row in table:
        note = f"{1e3 * row.seconds:.1f} ms alone, {1e3 * row.batch_seconds:.2f} ms in a batch of {batch}"
        report.add(f"classical, {row.rival}, {row.cells} cells: error", 100 * row.error, None, "%", note)
    report.add("classical solver at the mixture's error, one case alone", time_at_error(table, error), None, "s/case")
    batched = time_at_error(table, error, batched=True)
    report.add(f"classical solver at the mixture's error, batch of {batch}", batched, None, "s/case")


SECTIONS: Mapping[str, Section] = {
    "methods": methods,
    "rivals": rivals,
    "extrapolation": extrapolation,
    "controls": controls,
    "reference": reference,
    "row_weights": row_weights,
    "classical": classical,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, report."""
    return start("diffusion_sorption", arguments, SECTIONS).run()


if __name__ == "__main__":
    sys.exit(main())
