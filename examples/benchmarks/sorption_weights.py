"""Weights of the equation's rows in time, on bases that nothing has trained: powers of t, frames left out, causal."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.coupling import InterfaceRows
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer, PatchSolve
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert
from pdesolve.experts.row_weight import AbstractRowWeight, TimePower, Unweighted
from pdesolve.experts.rows import RowCounts
from pdesolve.reference.benchmarks import (
    diffusion_sorption_family,
    diffusion_sorption_frame,
    reference_solution,
)
from pdesolve.reference.cache import data_folder

from report import Report  # isort: skip
from sorption_methods import PATCHES, Plan, measure, percent  # isort: skip

N_BINS = 50
SWEEPS = 3
SHARPNESS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class After(AbstractRowWeight):
    """No rows before the n-th frame of the benchmark."""

    frames: int

    def __call__(self, coordinates: Mapping[str, Tensor], domain: Box) -> Tensor:
        """One from there on, zero before."""
        return (coordinates["t"] >= 5.0 * self.frames).to(coordinates["t"].dtype)


@dataclass(frozen=True)
class ByBin(AbstractRowWeight):
    """Another weight times a table, with one entry for each of equal bins of time; the same for every case."""

    base: AbstractRowWeight
    table: tuple[float, ...]

    def __call__(self, coordinates: Mapping[str, Tensor], domain: Box) -> Tensor:
        """The base's weight times the entry of the bin that a point lies in."""
        t = coordinates["t"]
        entries = torch.tensor(self.table, dtype=t.dtype, device=t.device)
        return self.base(coordinates, domain) * entries[time_bin(t, domain, len(self.table))]


WEIGHTS: dict[str, AbstractRowWeight] = {
    "unweighted": Unweighted(),
    "t^0.5": TimePower(0.5),
    "t": TimePower(1.0),
    "t^1.5": TimePower(1.5),
    "t^2": TimePower(2.0),
    "first 5 frames left out": After(5),
    "first 20 frames left out": After(20),
}
CAUSAL_BASES: dict[str, AbstractRowWeight] = {"": Unweighted(), " times t^0.5": TimePower(0.5)}


class AbstractTrial(abc.ABC):
    """A basis that is there without training, to be solved with any row weight."""

    name: str

    @abc.abstractmethod
    def solve(self, weight: AbstractRowWeight) -> PatchSolve:
        """The inner solve of all cases."""

    @abc.abstractmethod
    def error(self, weight: AbstractRowWeight) -> tuple[float, str]:
        """Mean error in percent, and how many cases did not converge."""


@dataclass(frozen=True)
class PodModes(AbstractTrial):
    """Seven proper orthogonal modes of 16 solutions on a grid, by finite differences, for four other members.

    Arguments:
        exact: the members' solutions, (case, 1, t, x).
        basis: the modes, (7, t, x).
        grid: their nodes.
    """

    name = "7 POD modes, finite differences"
    U0 = (0.03, 0.08, 0.13, 0.17)

    exact: Tensor
    basis: Tensor
    grid: StructuredGrid

    @classmethod
    def make(cls) -> PodModes:
        """Solutions from the reference solver; conditions are rows, since the modes meet none exactly."""
        problem = diffusion_sorption_family().problem
        nodes = {
            "t": torch.linspace(0, 500, 101, dtype=torch.float64),
            "x": torch.linspace(0, 1, 1025, dtype=torch.float64),
        }
        members = {"u0": torch.linspace(0.0, 0.2, 16, dtype=torch.float64)}
        modes = reference_solution(problem, members, nodes, cache=data_folder()).flatten(1)
        basis = 100 * torch.linalg.svd(modes, full_matrices=False).Vh[:7].reshape(7, 101, 1025)
        exact = reference_solution(problem, cls._members(), nodes, cache=data_folder())
        return cls(exact, basis, StructuredGrid(("t", "x"), (nodes["t"], nodes["x"]), problem.domain))

    def solve(self, weight: AbstractRowWeight) -> PatchSolve:
        return self._solve(weight, None)

    def error(self, weight: AbstractRowWeight) -> tuple[float, str]:
        """The note adds the error of the minimum next to the solution: the solve begun at its projection."""
        columns = self.basis.flatten(1).T
        nearest = torch.linalg.lstsq(columns, self.exact.flatten(1).T).solution.T.unsqueeze(1)
        found, best = self._solve(weight, None), self._solve(weight, nearest)
        failed = int((found.report.status != 0).sum())
        note = f"{failed} of {len(self.U0)} not converged; begun at the solution {self._percent(best):.4g} %"
        return self._percent(found), note

    def _solve(self, weight: AbstractRowWeight, start: Tensor | None) -> PatchSolve:
        problem = diffusion_sorption_family().problem
        layer = HardConstraintLayer(
            problem, FiniteDifferences(self.grid), RowCounts(20_000, 101, 101),
            decomposition=cartesian_decomposition(self.grid, {}), row_weight=weight, throw=False,
        )  # fmt: skip
        values = problem.batch_parameters(self._members())
        basis = self.basis.expand(len(self.U0), -1, -1, -1)
        return layer.solve(GridBasis.lifted(problem, self.grid, basis, layer.lifting, values), values, start=start)

    def _percent(self, found: PatchSolve) -> float:
        u = torch.einsum("bn,ntx->btx", found.weights[:, 0], self.basis).unsqueeze(1)
        errors = (u - self.exact).flatten(1).norm(dim=1) / self.exact.flatten(1).norm(dim=1)
        return 100 * float(errors.mean())

    @classmethod
    def _members(cls) -> dict[str, Tensor]:
        return {"u0": torch.tensor(cls.U0, dtype=torch.float64)}


@dataclass(frozen=True)
class UntrainedBasis(AbstractTrial):
    """A random network in similarity coordinates, four patches with interface rows, for the held-out cases."""

    name = "untrained basis, similarity frame, interface rows"
    plan: Plan

    def solve(self, weight: AbstractRowWeight) -> PatchSolve:
        mixture = self._mixture(weight)
        values = mixture.problem.batch_parameters(self.plan.test_cases())
        with torch.no_grad():
            return mixture.expert.layer.solve(
                mixture.expert.backbone, values, decomposition=mixture.decomposition, coupling=mixture.coupling,
                throw=False,
            )  # fmt: skip

    def error(self, weight: AbstractRowWeight) -> tuple[float, str]:
        outcome = measure(self._mixture(weight), self.plan)
        return percent([outcome]), f"{outcome.failed} of {self.plan.cases} not converged"

    def _mixture(self, weight: AbstractRowWeight) -> MixtureOfExperts:
        family = diffusion_sorption_family()
        expert = parametric_expert(family, frame=diffusion_sorption_frame(family), row_weight=weight)
        patches = cartesian_decomposition(family.problem.domain, PATCHES)
        return MixtureOfExperts(patches, expert, InterfaceRows()).double()


def compare_row_weights(report: Report, plan: Plan) -> None:
    """Every weight on both bases."""
    for trial in (PodModes.make(), UntrainedBasis(plan)):
        for name, weight in WEIGHTS.items():
            error, note = trial.error(weight)
            report.add(f"row weight {name}: {trial.name}", error, None, "%", note)
        for name, base in CAUSAL_BASES.items():
            for found in causal_weights(trial, base):
                error, note = trial.error(found.weight)
                claim = f"row weight causal (ε = {found.sharpness:g}){name}: {trial.name}"
                report.add(claim, error, None, "%", f"{note}; {found.describe()}")


@dataclass(frozen=True)
class CausalWeight:
    """The weights that one sharpness ε ended with.

    Arguments:
        sharpness: ε.
        weight: the table.
        change: largest change of an entry in the last sweep.
    """

    sharpness: float
    weight: ByBin
    change: float

    def describe(self) -> str:
        """Smallest entry, and whether the sweeps have settled."""
        return f"entries from 1 to {min(self.weight.table):.1e}, the last sweep moved one by {self.change:.0e}"


def causal_weights(trial: AbstractTrial, base: AbstractRowWeight) -> Iterator[CausalWeight]:
    """ω_i² = exp(-ε Σ_{k<i} L_k), L_k the mean squared residual in bin k of time, by repeated solves.

    L_k is taken over all cases, patches and points of a bin, and divided by the largest of the first solve, where all
    ω_i are one: ε is a number without units. It rises from one value to the next, each from where the last one ended.

    Arguments:
        trial: what is solved.
        base: a factor beside ω, in the rows and in L (``Unweighted()`` is the published choice).

    Source: Wang, Sankaran & Perdikaris, *Respecting causality is all you need for training physics-informed neural
        networks*, 2022: there the weights move with the training, here from solve to solve.
    """
    domain = diffusion_sorption_family().problem.domain
    weight = ByBin(base, (1.0,) * N_BINS)
    residual = residual_by_bin(trial.solve(weight), base, domain)
    largest = residual.max()
    for sharpness in SHARPNESS:
        for _ in range(SWEEPS):
            before, table = weight.table, causal_table(residual / largest, sharpness)
            weight = ByBin(base, table)
            residual = residual_by_bin(trial.solve(weight), base, domain)
        yield CausalWeight(sharpness, weight, max(abs(a - b) for a, b in zip(table, before, strict=True)))


def causal_table(residual: Tensor, sharpness: float) -> tuple[float, ...]:
    """ω by bin from L by bin: one in the first bin, smaller behind bins whose residual is large."""
    return tuple(torch.exp(-0.5 * sharpness * (residual.cumsum(0) - residual)).tolist())


def residual_by_bin(found: PatchSolve, base: AbstractRowWeight, domain: Box) -> Tensor:
    """Mean of (base F)² over cases, patches and points, (bin,)."""
    block = found.rows.rows[0]
    coordinates = dict(zip(domain.axes, block.constants, strict=True))
    rows = replace(block, weight=base(coordinates, domain)).residual(found.weights).detach()
    square = rows.square().mean((0, 1))  # (patch, point)
    index = time_bin(coordinates["t"].squeeze(0), domain, N_BINS).flatten()
    total = square.new_zeros(N_BINS).index_add(0, index, square.flatten())
    return total / torch.bincount(index, minlength=N_BINS).clamp_min(1)


def time_bin(t: Tensor, domain: Box, bins: int) -> Tensor:
    """Which of ``bins`` equal bins of the time span a time lies in."""
    start, end = domain.bounds("t")
    return ((t - start) / (end - start) * bins).long().clamp(0, bins - 1)
