"""What the names in a configuration stand for: the only place where a text chooses what is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from pdesolve.cli.config import EvaluationSection, MethodSection, ProblemSection, RunConfig, from_document
from pdesolve.cli.readers import ConfigError, check_complete, check_names, shown
from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.geometry import Box, Interval, TimeInterval
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.coupling import AbstractCoupling, Independent, InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert, soft_expert
from pdesolve.experts.partition_of_unity import PartitionOfUnity
from pdesolve.frames.abstract import FunctionCoordinates
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.heat import Heat
from pdesolve.problem import LogUniform, Problem, ProblemFamily, Uniform
from pdesolve.reference.benchmarks import diffusion_sorption_frame, diffusion_sorption_problem

Entry = TypeVar("Entry")
Range = tuple[float, float]


@dataclass(frozen=True)
class Limits:
    """What values of a parameter make sense.

    Arguments:
        low, high: ends of the interval.
        closed: the ends belong to it.
    """

    low: float = 0.0
    high: float = math.inf
    closed: bool = False

    def check(self, value: float, where: str) -> None:
        """Raise unless a value lies within."""
        if not (self.low < value < self.high or (self.closed and value in (self.low, self.high))):
            ends = "" if self.closed else ", ends excluded"
            wanted = f"> {self.low:g}" if math.isinf(self.high) else f"from {self.low:g} to {self.high:g}{ends}"
            raise ConfigError(f"{where} must be {wanted}, got {shown(value)}")


POSITIVE = Limits()


@dataclass(frozen=True)
class ProblemChoice:
    """A problem that can be named.

    Arguments:
        make: the problem, of the values of its parameters.
        limits: of each parameter that can be set or varied.
        varied: parameter -> range of the family where [family] gives none.
        logarithmic: parameters whose logarithm is uniform.
        frame: coordinates and lifting of its experts.
    """

    make: Callable[[Mapping[str, float]], Problem]
    limits: Mapping[str, Limits]
    varied: Mapping[str, Range]
    logarithmic: frozenset[str]
    frame: Callable[[ProblemFamily], Frame]


def heat(parameters: Mapping[str, float]) -> Problem:
    """u_t = κ u_xx on [0, 1], u = 0 at both ends, u(x, 0) = sin πx."""
    box = Interval(0.0, 1.0) * TimeInterval(0.0, 1.0)
    start = InitialCondition(lambda x: torch.sin(math.pi * x))
    return Problem(Heat(), box, [start, Dirichlet(0.0)], parameters)


def burgers(parameters: Mapping[str, float]) -> Problem:
    """u_t + u u_x = ν u_xx on [-1, 1], u = 0 at both ends, u(x, 0) = -sin πx."""
    box = Interval(-1.0, 1.0) * TimeInterval(0.0, 1.0)
    start = InitialCondition(lambda x: -torch.sin(math.pi * x))
    return Problem(Burgers(), box, [start, Dirichlet(0.0)], parameters)


def diffusion_sorption(parameters: Mapping[str, float]) -> Problem:
    """The benchmark of ``pdesolve.reference``."""
    return diffusion_sorption_problem(**parameters)


def burgers_frame(family: ProblemFamily) -> Frame:
    """The generic lifting; features t, x, log ν and one that is steep in the front."""
    scaled = family.distributions["nu"].scaled
    coordinates = FunctionCoordinates(
        lambda t: 2.0 * t - 1.0,
        lambda x: x,
        lambda nu: scaled(nu),
        lambda x, nu: x / torch.sqrt(x * x + 16.0 * nu * nu),  # the front at x = 0 has the width O(ν)
    )
    return Frame(coordinates, generic_frame(family).lifting)


PROBLEMS: Mapping[str, ProblemChoice] = {
    "diffusion-sorption": ProblemChoice(
        diffusion_sorption,
        {
            "u0": Limits(0.0, 1.0, closed=True),
            "D": POSITIVE,
            "porosity": Limits(0.0, 1.0),
            "bulk_density": POSITIVE,
            "k": POSITIVE,
            "n_f": POSITIVE,
            "regularisation": POSITIVE,
        },
        {"u0": (0.0, 0.2)},
        frozenset({"D"}),
        diffusion_sorption_frame,
    ),
    "burgers": ProblemChoice(burgers, {"nu": POSITIVE}, {"nu": (0.02, 0.2)}, frozenset({"nu"}), burgers_frame),
    "heat": ProblemChoice(heat, {"kappa": POSITIVE}, {"kappa": (0.01, 0.1)}, frozenset({"kappa"}), generic_frame),
}

COUPLINGS: Mapping[str, Callable[[], AbstractCoupling]] = {
    "interface-rows": InterfaceRows,
    "independent": Independent,
    "partition-of-unity": PartitionOfUnity,
}


def make_family(problem: ProblemSection, ranges: Mapping[str, Range]) -> ProblemFamily:
    """The family of [problem] and [family].

    Raises:
        ConfigError: an unknown problem or parameter, a value out of its limits, one both fixed and varied.
    """
    choice = _chosen(PROBLEMS, problem.name, "[problem] name", "problem")
    varied = dict(ranges) or choice.varied
    for where, names in (("[problem] parameters", problem.parameters), ("[family]", varied)):
        check_names(names, choice.limits, where, "parameter")
    for name, value in problem.parameters.items():
        if name in varied:
            raise ConfigError(
                f"[problem] parameters.{name} fixes what [family] varies over {list(varied[name])}; give it in one "
                "of them (a family needs at least one varied parameter)"
            )
        choice.limits[name].check(value, f"[problem] parameters.{name}")
    for name, ends in varied.items():
        for end in ends:
            choice.limits[name].check(end, f"[family] {name}")
    distributions = {
        name: LogUniform(*ends) if name in choice.logarithmic else Uniform(*ends) for name, ends in varied.items()
    }
    return ProblemFamily(choice.make(problem.parameters), distributions)


def make_expert(config: RunConfig, family: ProblemFamily) -> AbstractExpert:
    """The untrained expert of [method].

    Raises:
        ConfigError: an unknown method or coupling, or a key that the method does not have.
    """
    make, allowed = _chosen(METHODS, config.method.name, "[method] name", "method")
    for name in ("patches", "basis", "coupling", "max_steps"):
        if getattr(config.method, name) is not None and name not in allowed:
            users = [method for method, (_, keys) in METHODS.items() if name in keys]
            raise ConfigError(
                f"[method] {name} says nothing to {config.method.name!r}: it belongs to {users}; leave it out"
            )
    return make(config.method, family, PROBLEMS[config.problem.name])


def rebuild_expert(record: Mapping[str, Any]) -> AbstractExpert:
    """The expert of a file of ``pdesolve run``, for ``load_expert(path, rebuild_expert)``; in float64.

    Arguments:
        record: the configuration that the file holds.

    Raises:
        ConfigError: a record that is no configuration, or of a newer version, or one that names unknown things.
    """
    config = from_document(record)
    return make_expert(config, make_family(config.problem, config.family)).double()


def make_cases(evaluation: EvaluationSection, family: ProblemFamily, problem: str) -> dict[str, torch.Tensor]:
    """The held-out members, varied parameters by name, (cases,).

    Raises:
        ConfigError: lists that are not of the varied parameters, or values out of their limits.
    """
    if isinstance(evaluation.cases, int):
        return family.sample(evaluation.cases, torch.Generator().manual_seed(evaluation.seed))
    where = "[evaluation] cases"
    check_names(evaluation.cases, family.distributions, where, "varied parameter")
    check_complete(evaluation.cases, family.distributions, where, "varied parameter")
    for name, values in evaluation.cases.items():
        for value in values:
            PROBLEMS[problem].limits[name].check(value, f"{where}.{name}")
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in evaluation.cases.items()}


def make_grid(evaluation: EvaluationSection, box: Box) -> StructuredGrid:
    """Centres of equal cells in space, where no two conditions meet, and times from first to last.

    Raises:
        ConfigError: axes that are not the problem's.
    """
    check_names(evaluation.grid, box.axes, "[evaluation] grid", "axis")
    check_complete(evaluation.grid, box.axes, "[evaluation] grid", "axis")
    return StructuredGrid.cell_centred(box, [evaluation.grid[axis] for axis in box.axes])


def _single(method: MethodSection, family: ProblemFamily, choice: ProblemChoice) -> HardConstraintExpert:
    basis = 16 if method.basis is None else method.basis
    solver = None if method.max_steps is None else LevenbergMarquardt(max_steps=method.max_steps)
    return parametric_expert(
        family,
        n_basis=basis,
        frame=choice.frame(family),
        widths=method.widths,
        seed=method.seed,
        solver=solver,
    )


def _mixture(method: MethodSection, family: ProblemFamily, choice: ProblemChoice) -> MixtureOfExperts:
    box = family.problem.box
    patches = method.patches if method.patches is not None else {box.space_axes[0]: 4}
    check_names(patches, box.axes, "[method] patches", "axis")
    coupling = _chosen(COUPLINGS, method.coupling or "interface-rows", "[method] coupling", "coupling")
    return MixtureOfExperts(cartesian_decomposition(box, patches), _single(method, family, choice), coupling())


def _soft(method: MethodSection, family: ProblemFamily, choice: ProblemChoice) -> AbstractExpert:
    return soft_expert(family, frame=choice.frame(family), widths=method.widths, seed=method.seed)


Make = Callable[[MethodSection, ProblemFamily, ProblemChoice], AbstractExpert]
METHODS: Mapping[str, tuple[Make, frozenset[str]]] = {
    "mixture": (_mixture, frozenset({"patches", "basis", "coupling", "max_steps"})),
    "single": (_single, frozenset({"basis", "max_steps"})),
    "soft": (_soft, frozenset()),
}
"""How an expert is made, and the keys of [method] that only some methods have."""


def _chosen(entries: Mapping[str, Entry], name: str, where: str, what: str) -> Entry:
    check_names([name], entries, where, what)
    return entries[name]
