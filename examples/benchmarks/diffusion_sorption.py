"""Diffusion-sorption on 100 held-out initial conditions: every method, every control, the classical solver.

    python examples/benchmarks/diffusion_sorption.py [--quick] [--json FILE]

Each method is trained separately, from three seeds, without solution data. Two processes of one thread each share the
work; times of training are therefore those of one core.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch
from torch import Tensor

from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.sampling import AbstractSampler, GradedSampler, SobolSampler
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.coupling import AbstractCoupling, Independent, InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert, soft_expert
from pdesolve.experts.row_weight import AbstractRowWeight, TimePower, Unweighted
from pdesolve.experts.rows import RowCounts
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.frames.similarity import SimilarityLifting
from pdesolve.problem import ProblemFamily
from pdesolve.reference.benchmarks import REFERENCE_METHOD, diffusion_sorption_family, reference_solution
from pdesolve.reference.cache import data_folder
from pdesolve.reference.classical import benchmark_coordinates, classical_error_table, time_at_error
from pdesolve.reference.method_of_lines import MethodOfLines
from pdesolve.reference.pdebench import pdebench_solution
from pdesolve.training import CosineDecay, TrainingSettings, train

from report import Report, start  # isort: skip

TEST_SEED = 20_240_501
PATCHES = {"x": 4}


@dataclass(frozen=True)
class UpTo(AbstractSampler):
    """Points of another sampler squeezed into the first part of the time span: t <= start + fraction * span."""

    base: AbstractSampler
    fraction: float

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """Points in [0, fraction] along t, [0, 1] along the others, (n_boxes, n, axes)."""
        scale = torch.tensor([self.fraction if axis == "t" else 1.0 for axis in axes], dtype=torch.float64)
        return self.base.unit_points(axes, n_boxes, n, generator) * scale


EARLY = UpTo(GradedSampler({"t": 2.0}, SobolSampler()), 0.8)


@dataclass(frozen=True)
class Method:
    """How one competitor is built: an untrained expert from a family and a seed."""

    name: str
    build: Callable[[ProblemFamily, int], AbstractExpert]


def chosen_frame(family: ProblemFamily) -> Frame:
    """Similarity coordinates; no correction between the layers, where the constant initial state is steady."""
    return Frame(generic_frame(family).coordinates, SimilarityLifting(family.problem, interior=0.0))


def mixture(
    family: ProblemFamily, seed: int, frame: Frame, coupling: AbstractCoupling, sampler: AbstractSampler | None = None
) -> MixtureOfExperts:
    """K = 4 patches along x, N = 16 basis fields."""
    expert = parametric_expert(family, seed=seed, frame=frame, sampler=sampler)
    return MixtureOfExperts(cartesian_decomposition(family.problem.domain, PATCHES), expert, coupling)


def _similarity(family: ProblemFamily, seed: int) -> AbstractExpert:
    return mixture(family, seed, chosen_frame(family), InterfaceRows())


def _generic(family: ProblemFamily, seed: int) -> AbstractExpert:
    return mixture(family, seed, generic_frame(family), InterfaceRows())


def _independent(family: ProblemFamily, seed: int) -> AbstractExpert:
    return mixture(family, seed, chosen_frame(family), Independent())


def _early(family: ProblemFamily, seed: int) -> AbstractExpert:
    return mixture(family, seed, chosen_frame(family), InterfaceRows(), EARLY)


def _single(family: ProblemFamily, seed: int) -> AbstractExpert:
    return parametric_expert(family, seed=seed, frame=chosen_frame(family))


def _single_equal(family: ProblemFamily, seed: int) -> AbstractExpert:
    """One expert with the mixture's total of basis fields and points."""
    return parametric_expert(
        family, seed=seed, frame=chosen_frame(family), n_basis=64, rows=RowCounts(4000, 64, 64),
        training_rows=RowCounts(1000, 32, 32),
    )  # fmt: skip


def _soft(family: ProblemFamily, seed: int) -> AbstractExpert:
    return soft_expert(family, seed=seed, frame=chosen_frame(family))


MIXTURE = Method("mixture K=4, interface rows, similarity frame", _similarity)
GENERIC = Method("mixture K=4, interface rows, generic frame", _generic)
EARLY_MIXTURE = Method("mixture K=4, interface rows, trained on t <= 400", _early)
RIVALS = (
    Method("mixture K=4, independent experts", _independent),
    Method("one expert, N=16", _single),
    Method("one expert, N=64 and 4 x the points", _single_equal),
    Method("soft-constraint PINN, same frame, network and time", _soft),
)


@dataclass(frozen=True)
class Outcome:
    """Errors of one trained method on the held-out cases, relative (not percent)."""

    errors: Tensor
    late_errors: Tensor
    failed: int
    training_seconds: float
    solve_seconds: float
    field_seconds: float
    value_jump: float = 0.0
    flux_jump: float = 0.0
    extrapolated: Tensor | None = None


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    steps: int
    seeds: tuple[int, ...]
    cases: int
    x_stride: int

    def test_cases(self) -> dict[str, Tensor]:
        """Held-out members, from a seed that no training uses."""
        return diffusion_sorption_family().sample(self.cases, torch.Generator().manual_seed(TEST_SEED))

    def grid(self) -> StructuredGrid:
        """PDEBench's nodes, every ``x_stride``-th in space."""
        nodes = benchmark_coordinates()
        return StructuredGrid(("t", "x"), (nodes["t"], nodes["x"][:: self.x_stride]), _domain())

    def reference(self) -> Tensor:
        """Converged solutions, (case, 1, t, x); the frame t = 0 is the initial value everywhere."""
        values = reference_solution(
            diffusion_sorption_family().problem, self.test_cases(), benchmark_coordinates(), cache=data_folder()
        )
        return values[..., :: self.x_stride]


FULL = Plan(steps=1200, seeds=(0, 1, 2), cases=100, x_stride=1)
QUICK = Plan(steps=300, seeds=(0,), cases=10, x_stride=8)


def _domain() -> Box:
    return diffusion_sorption_family().problem.domain


def run(job: tuple[Method, int, Plan, float | None]) -> Outcome:
    """Train one method from one seed, for the plan's steps or for given seconds, and evaluate it."""
    method, seed, plan, seconds = job
    torch.set_num_threads(1)
    family = diffusion_sorption_family()
    expert = method.build(family, seed)
    steps = plan.steps
    if seconds is not None:  # a rival of equal time: as many steps as fit, so that its schedule ends in time
        probe = train(method.build(family, seed), family, TrainingSettings(steps=60), seed=seed, progress=False)
        steps = max(20, int(seconds / statistics.median(probe.history["seconds"])))
    settings = TrainingSettings(
        steps=steps, batch=8, learning_rate=3e-3, schedule=CosineDecay(0.03, 0.01), gradient_clip=1.0
    )
    report = train(expert, family, settings, seed=seed, progress=False)
    return evaluate_expert(expert.double(), plan, report.seconds)


def evaluate_expert(expert: AbstractExpert, plan: Plan, training_seconds: float = 0.0) -> Outcome:
    """Errors against the reference, interface jumps and times."""
    cases, grid, exact = plan.test_cases(), plan.grid(), plan.reference()
    extrapolated = None
    if isinstance(expert, MixtureOfExperts) and _is_early(expert):
        extrapolated = _late(expert(cases, grid, throw=False).field.values, exact)
        expert = _with_rows_everywhere(expert)
    began = time.perf_counter()
    solution = expert(cases, grid, throw=False)
    field_seconds = time.perf_counter() - began
    value_jump, flux_jump, solve_seconds = 0.0, 0.0, 0.0
    if isinstance(expert, MixtureOfExperts):
        began = time.perf_counter()
        jumps = expert.jumps(cases)
        solve_seconds = time.perf_counter() - began
        value_jump = float((jumps[""].difference / solution.field.values.flatten(1).abs().amax(1)).max())
        flux_jump = float((jumps["x"].difference / jumps["x"].size).max())
    return Outcome(
        solution.relative_error(exact), _late(solution.field.values, exact), int((~solution.converged).sum()),
        training_seconds, solve_seconds, field_seconds, value_jump, flux_jump, extrapolated,
    )  # fmt: skip


def _is_early(expert: MixtureOfExperts) -> bool:
    return isinstance(expert.expert.layer.discretization.sampler, UpTo)  # type: ignore[attr-defined]


def _with_rows_everywhere(expert: MixtureOfExperts) -> MixtureOfExperts:
    """The same backbone, with the rows of its inference over the whole time span."""
    layer = parametric_expert(diffusion_sorption_family()).layer
    return MixtureOfExperts(expert.decomposition, HardConstraintExpert(expert.expert.backbone, layer), expert.coupling)


def _late(values: Tensor, exact: Tensor) -> Tensor:
    """Relative L2 error over t > 400, (case,)."""
    a, b = values[:, :, 81:].flatten(1), exact[:, :, 81:].flatten(1)
    return (a - b).norm(dim=1) / b.norm(dim=1)


def percent(outcomes: Sequence[Outcome], pick: Callable[[Outcome], Tensor] = lambda o: o.errors) -> float:
    """Mean error over cases and seeds, in percent."""
    return 100.0 * float(torch.cat([pick(o) for o in outcomes]).mean())


def spread(outcomes: Sequence[Outcome]) -> str:
    """Mean of each seed, largest case, failures."""
    each = ", ".join(f"{100 * float(o.errors.mean()):.4f}" for o in outcomes)
    worst = 100 * max(float(o.errors.max()) for o in outcomes)
    failed = sum(o.failed for o in outcomes)
    seconds = statistics.mean(o.training_seconds for o in outcomes)
    return f"seeds {each}; worst case {worst:.4f} %; {failed} cases not converged; training {seconds:.0f} s"


def main_claims(report: Report, plan: Plan, results: dict[str, list[Outcome]]) -> None:
    """The rows of the mixture with interface rows."""
    loose = 3.0 if report.quick else 1.0
    best = results[MIXTURE.name]
    report.add(f"error of the {MIXTURE.name}", percent(best), 0.03 * loose, "%", spread(best))
    generic = results[GENERIC.name]
    report.add(f"error of the {GENERIC.name}", percent(generic), 1.0 * loose, "%", spread(generic))
    report.add("interface jump of u over max u", max(o.value_jump for o in best), 1e-4 * loose, "")
    report.add("interface jump of the flux over its largest value there", max(o.flux_jump for o in best), 1e-2 * loose)
    early = results[EARLY_MIXTURE.name]
    late = percent(early, lambda o: o.late_errors)
    report.add("trained on t <= 400, error on t > 400, rows over the whole span", late, 0.1 * loose, "%")
    beyond = percent(early, lambda o: o.errors if o.extrapolated is None else o.extrapolated)
    report.add("trained on t <= 400, error on t > 400, true extrapolation", beyond, 0.3 * loose, "%")
    solve = statistics.mean(o.solve_seconds for o in best) / plan.cases
    field = statistics.mean(o.field_seconds for o in best) / plan.cases
    report.add("inference, weights and jumps, one core", solve, None, "s/case")
    report.add("inference, weights and field on the grid, one core", field, None, "s/case")


def controls(report: Report, plan: Plan) -> None:
    """What is there before any training: the lifting alone, and an untrained basis, in both frames."""
    family, exact, cases = diffusion_sorption_family(), plan.reference(), plan.test_cases()
    for name, frame in (("similarity frame", chosen_frame(family)), ("generic frame", generic_frame(family))):
        lifting = soft_expert(family, frame=frame).double()
        with torch.no_grad():
            for parameter in lifting.parameters():
                parameter.zero_()
        error = lifting(cases, plan.grid()).relative_error(exact)
        report.add(f"control: the lifting alone, {name}", 100 * float(error.mean()), None, "%")
        for coupling in (InterfaceRows(), Independent()):
            outcome = evaluate_expert(mixture(family, 0, frame, coupling).double(), plan)
            claim = f"control: untrained basis, {type(coupling).__name__}, {name}"
            report.add(claim, percent([outcome]), None, "%", spread([outcome]))


def published_scheme(report: Report) -> None:
    """Published scheme of PDEBench against our reference, at u0 = 0.1."""
    nodes = benchmark_coordinates()
    ours = reference_solution(diffusion_sorption_family().problem, {"u0": 0.1}, nodes, cache=data_folder())[0, 0]
    theirs = pdebench_solution(0.1, nodes["t"])
    difference = float((theirs - ours).norm() / ours.norm())
    report.add("PDEBench's own scheme against the converged reference, u0 = 0.1", 100 * difference, None, "%")


def reference_error(report: Report) -> None:
    """The reference against one with twice the nodes and a hundredth of the tolerance."""
    nodes, problem = benchmark_coordinates(), diffusion_sorption_family().problem
    cases = {"u0": torch.tensor([0.002, 0.05, 0.1, 0.2], dtype=torch.float64)}
    coarse = reference_solution(problem, cases, nodes)
    fine = MethodOfLines(nodes=2 * REFERENCE_METHOD.nodes - 1, order=6, rtol=1e-9).solve(problem, cases, nodes)
    error = ((coarse - fine).flatten(1).norm(dim=1) / fine.flatten(1).norm(dim=1)).max()
    report.add("the reference's own error, by refinement, largest of 4 cases", float(error), 1e-6, "relative")


@dataclass(frozen=True)
class After(AbstractRowWeight):
    """No rows before the n-th frame of the benchmark."""

    frames: int

    def __call__(self, coordinates: Mapping[str, Tensor], domain: Box) -> Tensor:
        """One from there on, zero before."""
        return (coordinates["t"] >= 5.0 * self.frames).to(coordinates["t"].dtype)


WEIGHTS: dict[str, AbstractRowWeight] = {
    "unweighted": Unweighted(),
    "t^0.5": TimePower(0.5),
    "t": TimePower(1.0),
    "t^1.5": TimePower(1.5),
    "t^2": TimePower(2.0),
    "first 5 frames left out": After(5),
    "first 20 frames left out": After(20),
}


def ablation(report: Report, plan: Plan) -> None:
    """Row weights with a basis that contains the solution (proper orthogonal modes on the grid), and untrained."""
    family = diffusion_sorption_family()
    nodes = {
        "t": torch.linspace(0, 500, 101, dtype=torch.float64),
        "x": torch.linspace(0, 1, 1025, dtype=torch.float64),
    }
    grid = StructuredGrid(("t", "x"), (nodes["t"], nodes["x"]), family.problem.domain)
    members = {"u0": torch.linspace(0.0, 0.2, 16, dtype=torch.float64)}
    test = {"u0": torch.tensor([0.03, 0.08, 0.13, 0.17], dtype=torch.float64)}
    modes = reference_solution(family.problem, members, nodes, cache=data_folder()).flatten(1)
    exact = reference_solution(family.problem, test, nodes, cache=data_folder())
    basis = torch.linalg.svd(modes, full_matrices=False).Vh[:7].reshape(7, 101, 1025)
    for name, weight in WEIGHTS.items():
        layer = HardConstraintLayer(
            family.problem, FiniteDifferences(grid), RowCounts(20_000, 101, 101),
            decomposition=cartesian_decomposition(grid, {}), row_weight=weight, throw=False,
        )  # fmt: skip
        u, found = layer(basis.expand(4, -1, -1, -1) * 100, parameters=test)
        error = (u - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
        note = f"{int((found.status != 0).sum())} of 4 not converged"
        report.add(f"row weight {name}: 7 POD modes, finite differences", 100 * float(error.mean()), None, "%", note)
    for name, weight in WEIGHTS.items():
        expert = parametric_expert(family, frame=chosen_frame(family), row_weight=weight)
        patches = cartesian_decomposition(family.problem.domain, PATCHES)
        outcome = evaluate_expert(MixtureOfExperts(patches, expert).double(), plan)
        claim = f"row weight {name}: untrained basis, similarity frame, interface rows"
        report.add(claim, percent([outcome]), None, "%", f"{outcome.failed} of {plan.cases} not converged")
    report.add(
        "row weight causal (depends on the residual of earlier times)", None, None, "",
        "it would make the rows depend on the weights that are solved for, beyond what the layer's rows can",
    )  # fmt: skip


def classical(report: Report, plan: Plan, error: float) -> None:
    """Seconds of the classical solver at the mixture's error (both root mean square), alone and in a batch."""
    few = {name: value[:20] for name, value in plan.test_cases().items()}  # their times do not depend on more
    table = classical_error_table(parameters=few)
    for row in table:
        note = f"{1e3 * row.seconds:.1f} ms alone, {1e3 * row.batch_seconds:.2f} ms in a batch of {len(few['u0'])}"
        report.add(f"classical, {row.rival}, {row.cells} cells: error", 100 * row.error, None, "%", note)
    report.add("classical solver at the mixture's error, one case alone", time_at_error(table, error), None, "s/case")
    batched = time_at_error(table, error, batched=True)
    report.add(f"classical solver at the mixture's error, batch of {len(few['u0'])}", batched, None, "s/case")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, report."""
    report = start("diffusion_sorption", arguments)
    plan = QUICK if report.quick else FULL
    plan.reference()
    methods = [MIXTURE, GENERIC, EARLY_MIXTURE] + ([] if report.quick else list(RIVALS))
    results: dict[str, list[Outcome]] = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        first = list(pool.map(run, [(m, s, plan, None) for m in methods[:3] for s in plan.seeds]))
        for i, method in enumerate(methods[:3]):
            results[method.name] = first[i * len(plan.seeds) : (i + 1) * len(plan.seeds)]
        main_claims(report, plan, results)
        seconds = statistics.mean(o.training_seconds for o in results[MIXTURE.name])
        rest = list(pool.map(run, [(m, s, plan, seconds) for m in methods[3:] for s in plan.seeds]))
        for i, method in enumerate(methods[3:]):
            found = rest[i * len(plan.seeds) : (i + 1) * len(plan.seeds)]
            note = spread(found)
            if found[0].value_jump:
                note += f"; jump of u {max(o.value_jump for o in found):.1e}"
                note += f", of the flux {max(o.flux_jump for o in found):.1e}"
            report.add(f"rival: {method.name}", percent(found), None, "%", note)
    controls(report, plan)
    published_scheme(report)
    reference_error(report)
    if report.quick:
        for claim in [f"rival: {method.name}" for method in RIVALS] + [f"row weight {name}" for name in WEIGHTS]:
            report.add(claim, None, None, "", "left out by --quick")
    else:
        ablation(report, plan)
    errors = torch.cat([o.errors for o in results[MIXTURE.name]])
    classical(report, plan, float(errors.square().mean().sqrt()))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
