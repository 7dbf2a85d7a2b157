"""What the constraint layer is for: a family of functions, a thousand cases at once, parameters from noisy data.

    python examples/benchmarks/layer_uses.py [--quick] [--json FILE] [--only SECTION ...] [--device cuda]

Nothing is trained on solution data. ``family`` is trained in two processes of one thread each, on the CPU; the other
sections are those of ``examples/many_cases.py`` and ``examples/parameter_recovery.py``, on the device.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.sampling import AbstractSampler
from pdesolve.experts.coupling import InterfaceRows
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert, soft_expert
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.problem import ProblemFamily
from pdesolve.reference.benchmarks import REFERENCE_METHOD, reference_solution
from pdesolve.reference.cache import data_folder
from pdesolve.reference.classical import benchmark_coordinates, classical_error_table, time_at_error
from pdesolve.reference.function_family import diffusion_sorption_function_family, diffusion_sorption_function_frame
from pdesolve.reference.method_of_lines import MethodOfLines

from report import Report, Section, start  # isort: skip
from sorption_methods import (  # isort: skip
    PATCHES, WHOLE, Job, Method, Outcome, Plan, measure, measure_patches, percent, spread, train_all,
)  # fmt: skip

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the examples are what is measured
import many_cases  # isort: skip
import parameter_recovery  # isort: skip

FULL = Plan(1200, (0, 1, 2), 100, 20, 1, diffusion_sorption_function_family)
QUICK = Plan(250, (0,), 10, 4, 8, diffusion_sorption_function_family)
FRAMES: Mapping[str, Callable[[ProblemFamily], Frame]] = {
    "frame about the diffusing state": diffusion_sorption_function_frame,
    "generic frame": generic_frame,
}


def mixture(family: ProblemFamily, seed: int, sampler: AbstractSampler, n_basis: int, frame: Frame) -> MixtureOfExperts:
    """K = 4 patches along x."""
    expert = parametric_expert(family, n_basis=n_basis, seed=seed, frame=frame, sampler=sampler)
    return MixtureOfExperts(cartesian_decomposition(family.problem.domain, PATCHES), expert, InterfaceRows())


def sixteen(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> MixtureOfExperts:
    return mixture(family, seed, sampler, 16, diffusion_sorption_function_frame(family))


def thirty_two(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> MixtureOfExperts:
    return mixture(family, seed, sampler, 32, diffusion_sorption_function_frame(family))


def generic(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> MixtureOfExperts:
    return mixture(family, seed, sampler, 32, generic_frame(family))


METHODS = (
    (Method("mixture K=4, N=16, frame about the diffusing state", sixteen, measure_patches), 0.5),
    (Method("mixture K=4, N=32, frame about the diffusing state", thirty_two, measure_patches), 0.05),
)
RIVAL = Method("mixture K=4, N=32, generic frame", generic, measure_patches)
TEST_SEED = 777
TIMED = f"root mean square error of the {METHODS[1][0].name}"


def bound_of(report: Report, bound: float) -> float:
    """Looser by three for ``--quick``."""
    return 3.0 * bound if report.quick else bound


def plan_of(report: Report) -> Plan:
    """The sizes of a full run or of ``--quick``."""
    return QUICK if report.quick else FULL


def left_out(report: Report) -> bool:
    """Whether a section that is trained on the CPU is left out, with a row that says so."""
    if report.device.type != "cpu":
        report.add("trained on the CPU: see the table of the CPU", None)
    return report.device.type != "cpu"


def family(report: Report) -> None:
    """Held-out members of the family of functions, for both sizes of basis and in the generic frame."""
    if left_out(report):
        return
    plan = plan_of(report)
    jobs = [Job(method) for method, _ in METHODS] + ([] if report.quick else [Job(RIVAL)])
    found = [outcomes[""] for outcomes in train_all(jobs, plan)]
    for (method, bound), outcomes in zip(METHODS, found, strict=False):
        report.add(f"error of the {method.name}", percent(outcomes), bound_of(report, bound), "%", spread(outcomes))
        seconds = statistics.mean(o.training_seconds for o in outcomes)
        report.add(f"training of the {method.name}, one core", seconds, None, "s", "mean of the seeds")
    best = found[1]
    errors = torch.cat([o.errors for o in best])
    report.add(TIMED, 100 * float(errors.square().mean().sqrt()), None, "%", "over cases and seeds")
    jump = max(o.jumps.value for o in best if o.jumps is not None)
    report.add("interface jump of u over max u, N=32", jump, bound_of(report, 1e-3))
    field = statistics.mean(o.field_seconds for o in best) / plan.cases
    report.add("inference, weights and field on the grid, N=32, one core", field, None, "s/case")
    if report.quick:
        report.add(f"error of the {RIVAL.name}", None, None, "%", "left out by --quick")
    else:
        report.add(f"error of the {RIVAL.name}", percent(found[2]), None, "%", spread(found[2]))


def controls(report: Report) -> None:
    """What is there before any training, the reference's own error, and the classical solver at the mixture's error."""
    if left_out(report):
        return
    plan, members = plan_of(report), diffusion_sorption_function_family()
    for name, frame in FRAMES.items():
        report.add(f"control: the lifting alone, {name}", percent([lifting_alone(plan, frame(members))]), None, "%")
        for n_basis in (16, 32):
            found = measure(mixture(members, 0, WHOLE, n_basis, frame(members)).double(), plan)
            report.add(f"control: untrained basis, N={n_basis}, {name}", percent([found]), None, "%", spread([found]))
    few = {name: value[: plan.timed_cases] for name, value in plan.test_cases().items()}
    four = {name: value[:4] for name, value in few.items()}
    coarse = reference_solution(members.problem, four, benchmark_coordinates())
    finer = MethodOfLines(nodes=2 * REFERENCE_METHOD.nodes - 1, order=6, rtol=1e-9)
    fine = finer.solve(members.problem, four, benchmark_coordinates())
    error = float(((coarse - fine).flatten(1).norm(dim=1) / fine.flatten(1).norm(dim=1)).max())
    report.add("the reference's own error, by refinement, largest of 4 cases", error, 1e-6, "relative")
    table = classical_error_table((16, 24, 32, 48, 64, 96, 128), few, problem=members.problem, repeats=1)
    error = report.value("family", TIMED) / 100.0
    for batched, what in ((False, "one case alone"), (True, f"batch of {plan.timed_cases}")):
        seconds = time_at_error(table, error, batched=batched)
        report.add(f"classical solver at the error of N=32, {what}", seconds, None, "s/case")


def lifting_alone(plan: Plan, frame: Frame) -> Outcome:
    """Without any network."""
    lifting = soft_expert(plan.family(), frame=frame).double()
    with torch.no_grad():
        for parameter in lifting.parameters():
            parameter.zero_()
    return measure(lifting, plan)


def cases_at_once(report: Report) -> None:
    """All weights of 1 000 cases on one basis, against the classical solver in batches at the same error."""
    compared, steps = (10, 200) if report.quick else (100, 600)
    members = many_cases.FAMILY.sample(1000, torch.Generator().manual_seed(TEST_SEED))
    few = many_cases.first(members, compared)
    exact = reference_solution(many_cases.FAMILY.problem, few, benchmark_coordinates(), cache=data_folder())
    untrained = many_cases.shared_expert(0, n_basis=40, points=250, device=report.device)
    show_cases(report, "untrained basis, N=40", many_cases.measure(untrained, members, few, exact), None, None)
    trained = many_cases.shared_expert(steps, n_basis=16, points=60, device=report.device)
    found = many_cases.measure(trained, members, few, exact)
    show_cases(report, "trained basis, N=16", found, bound_of(report, 0.05), bound_of(report, 1.0))
    rival = many_cases.cheapest_rival(few, exact, many_cases.root_mean_square(found.errors))
    claim = "1 000 cases at once, classical in batches, at the error of the trained basis"
    if rival is None:
        return report.add(claim, None, None, "s", f"no rival of at most {many_cases.CELLS[-1]} cells is as accurate")
    seconds = many_cases.solve_seconds(rival, members)
    note = f"{rival.rival}, {rival.cells} cells, root mean square error {100 * rival.error:.4f} %, one thread"
    report.add(f"{claim}: solve", seconds, None, "s", note)
    field = 1e3 * many_cases.rival_field_seconds(rival, few)
    report.add(f"{claim}: field on 1024 x 101 nodes", field, None, "ms/case", f"batch of {compared}")
    ratio = seconds / found.weights_seconds
    report.add(f"{claim}: solve over that of the layer", ratio, None, "x", "without the training of the basis")


def show_cases(
    report: Report, basis: str, found: many_cases.Solved, error: float | None, seconds: float | None
) -> None:
    """Error, time of all weights and of the field; with the bounds, if there are any."""
    claim, compared = f"1 000 cases at once, {basis}", len(found.errors)
    note = f"{compared} cases; worst {100 * float(found.errors.max()):.4f} %; {found.failed} of 1 000 not converged"
    report.add(f"{claim}: mean error", 100 * float(found.errors.mean()), error, "%", note)
    report.add(f"{claim}: all weights", found.weights_seconds, seconds, "s", "shortest of 3")
    field = 1e3 * found.field_seconds_per_case
    report.add(f"{claim}: field on 1024 x 101 nodes", field, None, "ms/case", f"batch of {compared}, not in the above")


def recovery(report: Report) -> None:
    """D and k from 20 values with noise of 1 %: estimates and standard errors of both ways, and their times."""
    steps = 150 if report.quick else 300
    for name in ("D", "k"):
        models = parameter_recovery.layer_model(name, steps, report.device), parameter_recovery.classical_model(name)
        data = [parameter_recovery.noisy_values(seed) for seed in range(3)]
        pairs = [
            [
                parameter_recovery.recover(model, name, values, by_adjoint)
                for model, by_adjoint in zip(models, (True, False), strict=True)
            ]
            for values in data
        ]
        apart = max(abs(a.estimate - b.estimate) / b.error for a, b in pairs)
        truth = parameter_recovery.PROBLEM.parameters[name]
        shown = "; ".join(f"{a.estimate:.4e} ± {a.error:.1e} and {b.estimate:.4e} ± {b.error:.1e}" for a, b in pairs)
        note = f"true {truth:g}; layer and classical: {shown}"
        report.add(
            f"{name}: layer's estimate from the classical one, standard errors", apart, bound_of(report, 0.1), "", note
        )
        ratio = max(abs(a.error / b.error - 1.0) for a, b in pairs)
        report.add(
            f"{name}: standard errors, relative difference", ratio, bound_of(report, 0.02), "", "largest of 3 seeds"
        )
        off = max(abs(a.estimate - truth) / a.error for a, _ in pairs)
        report.add(f"{name}: layer's estimate from the truth, standard errors", off, None, "", "largest of 3 seeds")
        for i, what in enumerate(("layer, 20 passes of the adjoint a step", "classical, differences")):
            seconds = statistics.median(pair[i].seconds for pair in pairs)
            report.add(f"{name}: one recovery by the {what}", seconds, None, "s", "median of 3 seeds, without training")


SECTIONS: Mapping[str, Section] = {
    "family": family,
    "controls": controls,
    "cases_at_once": cases_at_once,
    "recovery": recovery,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, solve, compare, report."""
    return start("layer_uses", arguments, SECTIONS, cuda=True).run()


if __name__ == "__main__":
    sys.exit(main())
