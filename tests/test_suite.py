"""The benchmark suite: references state an error that holds, and solve the very problem that they belong to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pdesolve.condition import InitialCondition, Neumann, value_at
from pdesolve.domains import Interval, StructuredGrid, TimeInterval
from pdesolve.jet import Jet, closure
from pdesolve.pde.allen_cahn import AllenCahn
from pdesolve.pde.helmholtz import Helmholtz
from pdesolve.pde.klein_gordon import KleinGordon
from pdesolve.pde.steady_navier_stokes import SteadyNavierStokes
from pdesolve.pde.trace import evaluate
from pdesolve.problem import Problem
from pdesolve.reference import MethodOfLines
from pdesolve.reference.abstract import AbstractReference, ExactSolution, relative_error
from pdesolve.reference.cavity_flow import CavityFlow
from pdesolve.reference.cole_hopf import ColeHopf
from pdesolve.reference.degenerate_diffusion import DegenerateDiffusion
from pdesolve.reference.etdrk4 import PeriodicSpectral
from pdesolve.reference.suite import (
    allen_cahn_problem,
    burgers_problem,
    cavity_problem,
    flow_mixing_problem,
    helmholtz_problem,
    klein_gordon_problem,
    korteweg_de_vries_problem,
    nonlinear_diffusion_problem,
    sine_lid,
    unit_lid,
)
from pdesolve.status import SolveError


@dataclass(frozen=True)
class Named:
    """A problem of the suite.

    Arguments:
        error: bound on what the reference states of itself.
        shape: of the grid it is tried on.
        coarse: a cheaper twin of its reference, for the numerical ones.
    """

    problem: Problem
    shape: tuple[int, ...]
    error: float
    coarse: Callable[[Any], Any] | None = None

    @property
    def reference(self) -> AbstractReference:
        assert isinstance(self.problem.reference, AbstractReference)
        return self.problem.reference

    def points(self) -> dict[str, Tensor]:
        return StructuredGrid.uniform(self.problem.domain, self.shape).coordinates()


def _with(**changes: Any) -> Callable[[Any], Any]:
    return lambda reference: replace(reference, **changes)


SUITE = {
    "Allen-Cahn": Named(allen_cahn_problem(), (5, 41), 1e-8, _with(points=1024, step=4e-3)),
    "Burgers": Named(burgers_problem(), (11, 41), 1e-12, _with(nodes=60)),
    "Helmholtz (4, 1)": Named(helmholtz_problem(), (41, 41), 1e-14),
    "Helmholtz (10, 10)": Named(helmholtz_problem(10, 10), (41, 41), 1e-13),
    "Klein-Gordon": Named(klein_gordon_problem(), (11, 11, 11), 1e-14),
    "flow mixing": Named(flow_mixing_problem(), (11, 11, 11), 1e-14),
    "Korteweg-de Vries": Named(korteweg_de_vries_problem(), (5, 41), 1e-7, _with(points=384, step=5e-4)),
    "nonlinear diffusion": Named(nonlinear_diffusion_problem(), (5, 31, 31), 1e-4, _with(cells=64, steps=300)),
    "cavity, parabolic lid": Named(cavity_problem(), (21, 21), 2e-4, _with(degree=24)),
    "cavity, sine lid": Named(cavity_problem(sine_lid), (21, 21), 2e-4, _with(degree=24)),
    "cavity, unit lid": Named(cavity_problem(unit_lid), (21, 21), 2e-3, _with(degree=24)),
}
NUMERICAL = [name for name, case in SUITE.items() if case.coarse is not None]
EXACT = [name for name, case in SUITE.items() if case.coarse is None]


def velocities(case: Named, values: Tensor) -> Tensor:
    """Without the pressure, which is not finite in the upper corners."""
    return values[:2] if len(case.problem.field_names) > 1 else values


@pytest.mark.parametrize("name", NUMERICAL)
def test_a_stated_error_is_about_the_true_one(name: str) -> None:
    case = SUITE[name]
    points, parameters = case.points(), case.problem.parameters
    assert case.coarse is not None
    coarse = case.coarse(case.reference)
    best = velocities(case, case.reference(points, parameters))
    found = velocities(case, coarse(points, parameters))
    stated = relative_error(found, velocities(case, coarse.refined()(points, parameters)))
    true = relative_error(found, best)
    assert best.isfinite().all()
    assert 0.3 * true < stated < 3.0 * true + 1e-13
    assert stated < max(50.0 * case.error, 2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NUMERICAL)
def test_references_are_as_good_as_they_say(name: str) -> None:
    case = SUITE[name]
    points = case.points()
    finer = case.reference.refined()  # type: ignore[attr-defined]
    found = (velocities(case, r(points, case.problem.parameters)) for r in (case.reference, finer))
    assert relative_error(*found) < {"cavity, unit lid": 1e-4}.get(name, 2e-5 if "cavity" in name else 1e-6)


@pytest.mark.parametrize("name", EXACT)
def test_exact_solutions_meet_equation_and_conditions(name: str) -> None:
    case = SUITE[name]
    problem = case.problem
    generator = torch.Generator().manual_seed(0)
    points = {}
    for axis in problem.domain.axes:
        low, high = problem.domain.bounds(axis)
        points[axis] = low + (high - low) * torch.rand(200, generator=generator, dtype=torch.float64)
    parameters = problem.batch_parameters()
    terms = closure(problem.trace.derivatives())
    jets = {axis: Jet.variable(value, axis, terms) for axis, value in points.items()}
    assert isinstance(case.reference, ExactSolution)
    jet = value_at(case.reference.formula, {**parameters, **jets})
    values = {(f, d): jet.term(d) for f, d in problem.trace.terms}
    (residual,) = evaluate(problem.pde, values, points, parameters)
    size = max(float(value.abs().max()) for value in values.values())
    assert float(residual.abs().max()) < 1e-12 * size
    assert case.reference.error(points, problem.parameters) < case.error
    _check_conditions(problem, case.reference, points, 1e-12)


def _check_conditions(problem: Problem, reference: Any, points: dict[str, Tensor], tolerance: float) -> None:
    """Values of the reference where conditions give u itself."""
    many = len(problem.field_names) > 1

    def off(field: str, value: Any, at: dict[str, Tensor]) -> float:
        found = reference(at, problem.parameters)
        found = found[problem.field_names.index(field)] if many else found
        return float((found - value_at(value, {**problem.batch_parameters(), **at})).abs().max())

    for (field, order), value in problem.resolved.initial.items():
        if order == 0:
            at = {**points, "t": torch.full_like(points["t"], problem.domain.bounds("t")[0])}
            assert off(field, value, at) <= tolerance
    for face in problem.resolved.faces:
        at = {**points, face.axis: torch.full_like(points[face.axis], face.position)}
        assert off(face.field, face.value, at) <= tolerance


@pytest.mark.parametrize("name", NUMERICAL)
def test_numerical_references_meet_the_conditions(name: str) -> None:
    case = SUITE[name]
    assert case.coarse is not None
    generator = torch.Generator().manual_seed(0)
    points = {}
    for axis in case.problem.domain.axes:
        low, high = case.problem.domain.bounds(axis)
        points[axis] = low + (high - low) * torch.rand(7, generator=generator, dtype=torch.float64)
    _check_conditions(case.problem, case.coarse(case.reference), points, 1e-9)


def test_allen_cahn_and_korteweg_de_vries_agree_with_the_method_of_lines() -> None:
    half = Problem(  # even about x = 0 and 1, so half of it without flux has the same solution
        AllenCahn(),
        Interval(0.0, 1.0) * TimeInterval(0.0, 1.0),
        [InitialCondition(lambda x: x * x * torch.cos(math.pi * x)), Neumann(0.0)],
    )
    for problem, method, bound in (
        (half, MethodOfLines(1025, order=6, rtol=1e-8), 1e-6),
        (korteweg_de_vries_problem(), MethodOfLines(513, order=6, rtol=1e-7), 1e-5),
    ):
        whole = allen_cahn_problem() if problem is half else problem
        grid = StructuredGrid.uniform(problem.domain, (11, 41))
        other = method.solve(problem, {}, {a: grid.axis_nodes(a) for a in grid.axes})[0, 0]
        assert whole.reference is not None
        assert relative_error(other, whole.reference(grid.coordinates(), whole.parameters)) < bound


def test_burgers_agrees_with_the_method_of_lines() -> None:
    problem = burgers_problem(0.02)
    grid = StructuredGrid.uniform(problem.domain, (6, 41))
    other = MethodOfLines(513, order=6, rtol=1e-8).solve(problem, {}, {a: grid.axis_nodes(a) for a in grid.axes})
    assert relative_error(other[0, 0], ColeHopf()(grid.coordinates(), problem.parameters)) < 1e-6


def test_korteweg_de_vries_keeps_its_invariants() -> None:
    """∫u, ∫u² and ∫(u³/3 - δ² u_x²), by the trapezoidal rule, which is spectral here."""
    problem, n = korteweg_de_vries_problem(), 512
    x = -1.0 + 2.0 * torch.arange(n, dtype=torch.float64) / n
    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    assert problem.reference is not None
    u = problem.reference({"t": t[:, None].expand(3, n), "x": x.expand(3, n)}, problem.parameters)
    modes = 1j * math.pi * torch.arange(n // 2 + 1, dtype=torch.float64)
    slope = torch.fft.irfft(modes * torch.fft.rfft(u), n=n)
    for density in (u, u * u, u**3 / 3.0 - 0.022**2 * slope * slope):
        assert float((density.mean(1) - density[0].mean()).abs().max()) < 1e-8


def test_the_unit_cavity_has_the_known_vortex() -> None:
    """Botella & Peyret (1998): the least u on x = 1/2 at Re = 100 is -0.21404 at y = 0.4581."""
    y = torch.linspace(0.40, 0.52, 121, dtype=torch.float64)
    u = CavityFlow(unit_lid, 32)({"x": torch.full_like(y, 0.5), "y": y}, {"reynolds": 100.0})[0]
    assert float(u.min()) == pytest.approx(-0.21404, abs=5e-5)
    assert float(y[u.argmin()]) == pytest.approx(0.4581, abs=1.1e-3)


def test_diffusion_keeps_symmetry_and_decays() -> None:
    """A start that is symmetric about the diagonal stays so, and no mass enters."""
    box = nonlinear_diffusion_problem().domain
    reference = DegenerateDiffusion(lambda x, y: torch.exp(-8.0 * (x * x + y * y)), box, cells=64, steps=100)
    u = reference(StructuredGrid.uniform(box, (4, 21, 21)).coordinates(), {"kappa": 0.05})
    assert float((u - u.mT).abs().max()) < 1e-9  # the root of a spline that is zero to rounding
    mass = u.sum((1, 2))
    assert float(mass.diff().max()) < 1e-4 * float(mass[0])  # what quadrature on 21 nodes allows
    assert float(mass[-1]) < float(mass[0])
    assert float(u[-1].max()) < float(u[0].max())


def test_references_take_any_shape_and_refuse_nonsense() -> None:
    flat = {"t": torch.tensor([0.5, 0.0, 0.5]), "x": torch.tensor([0.1, -0.3, 1.0])}
    for name in ("Allen-Cahn", "Burgers"):
        case = SUITE[name]
        assert case.coarse is not None
        u = case.coarse(case.reference)(flat, case.problem.parameters)
        assert u.shape == (3,)
        assert u.dtype == torch.float64
        assert u[1] == pytest.approx(float(case.reference(flat, case.problem.parameters)[1]), abs=1e-12)
    with pytest.raises(ValueError, match="needs the parameter 'nu'"):
        ColeHopf()(flat, {})
    with pytest.raises(ValueError, match="one case at a time"):
        ColeHopf()(flat, {"nu": torch.tensor([0.1, 0.2])})
    with pytest.raises(ValueError, match="times must be at least 0"):
        PeriodicSpectral(SUITE["Allen-Cahn"].reference.equation)(  # type: ignore[attr-defined]
            {**flat, "t": -flat["t"]}, allen_cahn_problem().parameters
        )
    with pytest.raises(ValueError, match=r"times must lie in \[0.0, 1.0\]"):
        SUITE["nonlinear diffusion"].reference({a: torch.tensor([2.0]) for a in "txy"}, {"kappa": 0.05})


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "formula": (lambda: ExactSolution(3.0), "formula must be a function"),  # type: ignore[arg-type]
    "nodes": (lambda: ColeHopf(0), "at least 1"),
    "step": (lambda: PeriodicSpectral(SUITE["Allen-Cahn"].reference.equation, step=0.0), "step must be positive"),  # type: ignore[attr-defined]
    "odd cells": (lambda: DegenerateDiffusion(lambda x, y: x, nonlinear_diffusion_problem().domain, 33), "even"),
    "box": (lambda: DegenerateDiffusion(lambda x, y: x, burgers_problem().domain), "axes t, x, y"),
    "lid": (lambda: CavityFlow(1.0), "lid must be a function"),  # type: ignore[arg-type]
    "degree": (lambda: CavityFlow(unit_lid, 4), "at least 8"),
    "waves": (lambda: helmholtz_problem(0), "at least 1"),
    "source": (lambda: Helmholtz(source=1.0), "source must be a function"),  # type: ignore[arg-type]
    "wave speed": (lambda: KleinGordon(speed=-1.0), "speed must be finite and > 0"),
    "one axis": (lambda: SteadyNavierStokes(axes="x"), "at least two"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_cavity_that_does_not_converge_says_so() -> None:
    with pytest.raises(SolveError, match="did not converge on degree"):
        CavityFlow(unit_lid, 8)({"x": torch.tensor([0.5]), "y": torch.tensor([0.5])}, {"reynolds": 1e7})
