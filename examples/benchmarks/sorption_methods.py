"""The competitors on diffusion-sorption: how each is built, trained and measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.sampling import AbstractSampler, GradedSampler, SobolSampler
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.coupling import AbstractCoupling, Independent, InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert, soft_expert
from pdesolve.experts.rows import RowCounts
from pdesolve.experts.soft_constraint_expert import SoftConstraintExpert
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.problem import ProblemFamily
from pdesolve.reference.benchmarks import (
    diffusion_sorption_family,
    diffusion_sorption_frame,
    reference_solution,
)
from pdesolve.reference.cache import data_folder
from pdesolve.reference.classical import benchmark_coordinates
from pdesolve.training import CosineDecay, TrainingSettings, train

TEST_SEED = 20_240_501
PATCHES = {"x": 4}
EARLY_SHARE = 0.8
LATE = slice(81, None)
"""Frames with t > 400."""


@dataclass(frozen=True)
class UpTo(AbstractSampler):
    """Points of another sampler squeezed into the first part of the time span: t <= start + fraction * span."""

    base: AbstractSampler
    fraction: float

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """Points in [0, fraction] along t, [0, 1] along the others, (n_boxes, n, axes)."""
        scale = torch.tensor([self.fraction if axis == "t" else 1.0 for axis in axes], dtype=torch.float64)
        return self.base.unit_points(axes, n_boxes, n, generator) * scale


WHOLE = GradedSampler({"t": 2.0}, SobolSampler())
EARLY = UpTo(WHOLE, EARLY_SHARE)
SPANS: Mapping[str, AbstractSampler] = {"rows over the whole span": WHOLE, "true extrapolation": EARLY}
"""Where a network trained on t <= 400 gets its rows at inference."""


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Arguments:
        steps: of training.
        seeds: each method is trained from each.
        cases: held-out members on which errors are measured.
        timed_cases: those of them that the classical solver is timed on.
        x_stride: every how many nodes of PDEBench's grid.
        family: makes the family.
    """

    steps: int
    seeds: tuple[int, ...]
    cases: int
    timed_cases: int
    x_stride: int
    family: Callable[[], ProblemFamily] = diffusion_sorption_family

    def test_cases(self) -> dict[str, Tensor]:
        """Held-out members, from a seed that no training uses."""
        return self.family().sample(self.cases, torch.Generator().manual_seed(TEST_SEED))

    def grid(self) -> StructuredGrid:
        """PDEBench's nodes, every ``x_stride``-th in space."""
        nodes, domain = benchmark_coordinates(), self.family().problem.domain
        return StructuredGrid(("t", "x"), (nodes["t"], nodes["x"][:: self.x_stride]), domain)

    def reference(self) -> Tensor:
        """Converged solutions, (case, 1, t, x); the frame t = 0 is the initial value everywhere."""
        values = reference_solution(
            self.family().problem, self.test_cases(), benchmark_coordinates(), cache=data_folder()
        )
        return values[..., :: self.x_stride]


@dataclass(frozen=True)
class Jumps:
    """Largest jumps at interfaces over all cases, relative to the largest value of the same kind, and their time."""

    value: float
    flux: float
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Errors of one expert on the held-out cases, relative (not percent)."""

    errors: Tensor
    late_errors: Tensor
    failed: int
    field_seconds: float
    training_seconds: float = 0.0
    jumps: Jumps | None = None


def measure(expert: AbstractExpert, plan: Plan) -> Outcome:
    """Errors against the reference."""
    cases, grid, exact = plan.test_cases(), plan.grid(), plan.reference()
    began = time.perf_counter()
    solution = expert(cases, grid, throw=False)
    seconds = time.perf_counter() - began
    late, truth = solution.field.values[:, :, LATE].flatten(1), exact[:, :, LATE].flatten(1)
    late_errors = (late - truth).norm(dim=1) / truth.norm(dim=1)
    return Outcome(solution.relative_error(exact), late_errors, int((~solution.converged).sum()), seconds)


def measure_patches(expert: MixtureOfExperts, plan: Plan) -> Outcome:
    """Errors, and jumps at interfaces: of u over the largest u of the case, of the flux over its largest there."""
    outcome, cases = measure(expert, plan), plan.test_cases()
    began = time.perf_counter()
    jumps = expert.jumps(cases)
    seconds = time.perf_counter() - began
    size = plan.reference().flatten(1).abs().amax(1)
    value, flux = jumps[""].difference / size, jumps["x"].difference / jumps["x"].size
    return replace(outcome, jumps=Jumps(float(value.max()), float(flux.max()), seconds))


E = TypeVar("E", bound=AbstractExpert)


@dataclass(frozen=True)
class Method(Generic[E]):
    """How one competitor is built and measured.

    Arguments:
        name: in the report.
        build: an untrained expert from a family, a seed and where its rows are drawn.
        evaluate: what is measured of it.
        sampler: draws the rows of training.
        inference: by label, what draws the rows of inference; each is evaluated with the same trained network.
    """

    name: str
    build: Callable[[ProblemFamily, int, AbstractSampler], E]
    evaluate: Callable[[E, Plan], Outcome] = measure
    sampler: AbstractSampler = WHOLE
    inference: Mapping[str, AbstractSampler] = field(default_factory=lambda: {"": WHOLE})

    def early(self, inference: Mapping[str, AbstractSampler]) -> Method[E]:
        """The same, trained on t <= 400."""
        return replace(self, sampler=EARLY, inference=inference)


def mixture(
    family: ProblemFamily, seed: int, frame: Frame, coupling: AbstractCoupling, sampler: AbstractSampler = WHOLE
) -> MixtureOfExperts:
    """K = 4 patches along x, N = 16 basis fields."""
    expert = parametric_expert(family, seed=seed, frame=frame, sampler=sampler)
    return MixtureOfExperts(cartesian_decomposition(family.problem.domain, PATCHES), expert, coupling)


def _similarity(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> MixtureOfExperts:
    return mixture(family, seed, diffusion_sorption_frame(family), InterfaceRows(), sampler)


def _generic(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> MixtureOfExperts:
    return mixture(family, seed, generic_frame(family), InterfaceRows(), sampler)


def _independent(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> MixtureOfExperts:
    return mixture(family, seed, diffusion_sorption_frame(family), Independent(), sampler)


def _single(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> HardConstraintExpert:
    return parametric_expert(family, seed=seed, frame=diffusion_sorption_frame(family), sampler=sampler)


def _single_equal(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> HardConstraintExpert:
    """One expert with the mixture's total of basis fields and points."""
    return parametric_expert(
        family, seed=seed, frame=diffusion_sorption_frame(family), n_basis=64, rows=RowCounts(4000, 64, 64),
        training_rows=RowCounts(1000, 32, 32), sampler=sampler,
    )  # fmt: skip


def _soft(family: ProblemFamily, seed: int, sampler: AbstractSampler) -> SoftConstraintExpert:
    return soft_expert(family, seed=seed, frame=diffusion_sorption_frame(family), sampler=sampler)


MIXTURE = Method("mixture K=4, interface rows, similarity frame", _similarity, measure_patches)
GENERIC = Method("mixture K=4, interface rows, generic frame", _generic, measure_patches)
HARD_RIVALS: tuple[Method[Any], ...] = (
    Method("mixture K=4, independent experts", _independent, measure_patches),
    Method("one expert, N=16", _single),
    Method("one expert, N=64 and 4 x the points", _single_equal),
)
SOFT_RIVAL = Method("soft-constraint PINN, same frame, network and time", _soft)
RIVALS: tuple[Method[Any], ...] = (*HARD_RIVALS, SOFT_RIVAL)

EARLY_MIXTURE = MIXTURE.early(SPANS)
EARLY_RIVALS: tuple[Method[Any], ...] = (
    *(method.early(SPANS) for method in HARD_RIVALS),
    SOFT_RIVAL.early({"": WHOLE}),  # nothing is solved for at inference
)


@dataclass(frozen=True)
class Job:
    """One method to train from every seed, for the plan's steps or for as many as fit into given seconds."""

    method: Method[Any]
    seconds: float | None = None


Outcomes = dict[str, list[Outcome]]
"""By label of ``Method.inference``, one for each seed."""


def train_all(jobs: Sequence[Job], plan: Plan) -> list[Outcomes]:
    """Train and evaluate, two processes side by side; in the order of the jobs."""
    plan.reference()  # made once, before two processes look for it
    tasks = [(job, seed, plan) for job in jobs for seed in plan.seeds]
    context = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = iter(list(pool.map(trained, tasks)))
    results: list[Outcomes] = []
    for job in jobs:
        seeds = [next(found) for _ in plan.seeds]
        results.append({label: [by_label[label] for by_label in seeds] for label in job.method.inference})
    return results


def trained(task: tuple[Job, int, Plan]) -> dict[str, Outcome]:
    """Train one method from one seed, and evaluate it in each of its ways."""
    job, seed, plan = task
    family, method = plan.family(), job.method
    expert = method.build(family, seed, method.sampler)
    settings = TrainingSettings(
        steps=plan.steps if job.seconds is None else _steps_within(job.seconds, method, family, seed),
        batch=8, learning_rate=3e-3, schedule=CosineDecay(0.03, 0.01), gradient_clip=1.0,
    )  # fmt: skip
    seconds = train(expert, family, settings, seed=seed, progress=False).seconds
    outcomes = {}
    for label, sampler in method.inference.items():
        same = method.build(family, seed, sampler)
        same.load_state_dict(expert.state_dict())
        outcomes[label] = replace(method.evaluate(same.double(), plan), training_seconds=seconds)
    return outcomes


def _steps_within(seconds: float, method: Method[Any], family: ProblemFamily, seed: int) -> int:
    """As many steps as fit, found beforehand so that the schedule of the learning rate ends in time."""
    probe = method.build(family, seed, method.sampler)
    report = train(probe, family, TrainingSettings(steps=60), seed=seed, progress=False)
    return max(20, int(seconds / statistics.median(report.history["seconds"])))


def percent(outcomes: Sequence[Outcome], pick: Callable[[Outcome], Tensor] = lambda o: o.errors) -> float:
    """Mean error over cases and seeds, in percent."""
    return 100.0 * float(torch.cat([pick(o) for o in outcomes]).mean())


def spread(outcomes: Sequence[Outcome], pick: Callable[[Outcome], Tensor] = lambda o: o.errors) -> str:
    """Mean of each seed, largest case, failures, and the largest jumps where there are patches."""
    each = ", ".join(f"{100 * float(pick(o).mean()):.4f}" for o in outcomes)
    worst = 100 * max(float(pick(o).max()) for o in outcomes)
    failed = sum(o.failed for o in outcomes)
    seconds = statistics.mean(o.training_seconds for o in outcomes)
    note = f"seeds {each}; worst case {worst:.4f} %; {failed} cases not converged; training {seconds:.0f} s"
    jumps = [o.jumps for o in outcomes if o.jumps is not None]
    if jumps:
        note += f"; jump of u {max(j.value for j in jumps):.1e}, of the flux {max(j.flux for j in jumps):.1e}"
    return note
