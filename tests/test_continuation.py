"""Paths of problems and fresh points: what a single solve cannot reach, and what it says where the path ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.placement.fit import GaussianFit
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.residual_minimisation.continuation import Continuation
from pdesolve.residual_minimisation.function_residual import FunctionResidual
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.residual_minimisation.resampled import Resampled
from pdesolve.residual_minimisation.self_scaled_broyden import SelfScaledBroyden
from pdesolve.status import SolveStatus

START = torch.zeros(1, dtype=torch.float64)


def wiggled(amplitude: float) -> FunctionResidual:
    """θ - 3 + a (sin 4θ - sin 12): zero at 3 for every a, with hollows on the way for large ones."""
    return FunctionResidual(lambda theta: theta - 3.0 + amplitude * (torch.sin(4.0 * theta) - math.sin(12.0)))


@pytest.mark.parametrize("minimiser", [ProbedLevenbergMarquardt(), SelfScaledBroyden(ftol=0.0)])
def test_a_path_leads_round_the_hollows_that_hold_a_single_solve(minimiser: Any) -> None:
    alone = LineSearchGaussNewton(ftol=1e-12).minimise(wiggled(1.5), START)
    assert abs(float(alone.theta) - 3.0) > 0.1
    found = Continuation(minimiser, (0.0, 0.5, 1.5)).run(wiggled, START)
    assert found.status is SolveStatus.CONVERGED, found.detail
    assert float(found.theta) == pytest.approx(3.0, abs=1e-7)
    assert found.history["value"] == [0.0, 0.5, 1.5]
    assert found.history["accepted"] == [1.0, 1.0, 1.0]


def steady_burgers(nu: float) -> ps.Problem:
    """u u' + u = ν u'' + f with a front of width ν in the middle."""
    exact: Callable[..., Tensor] = lambda x: -torch.tanh(x / (2 * nu))  # noqa: E731
    return ps.Problem(
        lambda f, c, p: f.u * f.u.x - p.nu * f.u.xx + f.u - exact(c.x),
        ps.Interval(-1, 1),
        [ps.Dirichlet(exact)],
        {"nu": nu},
        reference=lambda c, p: exact(c["x"]),
    )


def test_a_viscosity_falls_while_the_gaussians_stay() -> None:
    """The front at the last viscosity, from rest."""
    cloud = Layout(ps.Interval(-1, 1), {"x": 70}).cloud()

    def rows(nu: float) -> Any:
        problem = steady_burgers(nu)
        fit = GaussianFit(problem, SampledRows(problem, near=0.0), LinearLeastSquares())
        return fit.residual_of(cloud, fit.draw(cloud, cloud.size, seeded()))

    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    exact = -torch.tanh(x / 0.1)

    def error(theta: Tensor) -> float:
        return float((cloud.table(x[:, None], ("",))[""] @ theta - exact).norm() / exact.norm())

    start = torch.zeros(70, dtype=torch.float64)
    minimiser = LineSearchGaussNewton(max_steps=60)
    found = Continuation(minimiser, (1.0, 0.3, 0.1, 0.05)).run(rows, start)
    assert found.status is SolveStatus.CONVERGED, found.detail
    assert error(found.theta) < 1e-3


def test_a_step_that_fails_is_halved() -> None:
    """Far jumps end at the step cap, half ones do not."""
    found = Continuation(ProbedLevenbergMarquardt(max_steps=5, ftol=0.0, target=1e-16), (1.0, 400.0)).run(
        lambda p: FunctionResidual(lambda theta: theta.exp() - p), START
    )
    assert found.status is SolveStatus.CONVERGED, found.detail
    assert float(found.theta) == pytest.approx(math.log(400.0), abs=1e-6)
    assert found.history["value"][:3] == [1.0, 400.0, pytest.approx(20.0)]
    assert 0.0 in found.history["accepted"]


def test_a_path_that_cannot_be_followed_says_where_it_ended() -> None:
    """θ² = 1 - p has no root beyond p = 1, and no finite row beyond 2."""

    def rows(p: float) -> FunctionResidual:
        return FunctionResidual(lambda theta: (theta.square() - 1.0 + p) / (1.0 if p <= 1.0 else 0.0))

    minimiser = ProbedLevenbergMarquardt()
    found = Continuation(minimiser, (0.2, 0.6, 3.0), halvings=2).run(rows, torch.ones(1, dtype=torch.float64))
    assert found.status is SolveStatus.NON_FINITE
    assert "the last value reached, to 1.0" in found.detail
    assert "row 0 of 1 is inf" in found.detail
    last = [v for v, a in zip(found.history["value"], found.history["accepted"], strict=True) if a][-1]
    assert 0.9 < last <= 1.0
    assert float(found.theta) ** 2 == pytest.approx(1.0 - last, abs=1e-6)
    first = Continuation(minimiser, (3.0,)).run(rows, torch.ones(1, dtype=torch.float64))
    assert first.status is SolveStatus.NON_FINITE
    assert "the first value 3" in first.detail


def sampled(count: int, generator: torch.Generator) -> FunctionResidual:
    """A polynomial of degree 9 through exp(-8 x²) at random points."""
    x = 2.0 * torch.rand(count, generator=generator, dtype=torch.float64) - 1.0
    powers = x[:, None] ** torch.arange(10)
    return FunctionResidual(lambda theta: (powers @ theta - torch.exp(-8 * x.square())) / count**0.5)


def test_rounds_on_new_points_tell_the_cost_on_all_points() -> None:
    """Ten coefficients from eleven points fit those, and not the others."""
    generator = seeded(1)
    few = Resampled(LinearLeastSquares(), rounds=3, ftol=0.0).run(
        lambda: sampled(11, generator), torch.zeros(10).double()
    )
    many = Resampled(LinearLeastSquares(), rounds=3).run(lambda: sampled(400, generator), torch.zeros(10).double())
    assert max(few.history["fitted"]) < 0.05 * min(few.history["cost"][1:])
    assert many.history["cost"][-1] < 2.0 * many.history["fitted"][-1]
    whole = sampled(4000, seeded(2))
    costs = [0.5 * float(whole.residual(run.theta).square().sum()) for run in (few, many)]
    assert costs[1] < costs[0]
    assert many.status is SolveStatus.CONVERGED


def test_few_steps_on_many_sets_of_points_get_there() -> None:
    generator = seeded(3)
    once = ProbedLevenbergMarquardt(max_steps=1)
    found = Resampled(once, rounds=6, ftol=0.0).run(lambda: sampled(300, generator), uniform(10, seed=1))
    assert found.history["cost"][-1] < 0.01 * found.history["cost"][0]
    runs = [Resampled(once, rounds=2).run(_drawn(seeded(5)), uniform(10, seed=1)).theta for _ in range(2)]
    assert torch.equal(runs[0], runs[1])


def _drawn(generator: torch.Generator) -> Callable[[], FunctionResidual]:
    return lambda: sampled(50, generator)


def test_a_round_that_is_not_finite_is_named() -> None:
    calls = iter((sampled(50, seeded()), FunctionResidual(lambda theta: theta.log() * math.nan)))
    found = Resampled(LinearLeastSquares(), rounds=3, ftol=0.0).run(lambda: next(calls), torch.zeros(10).double())
    assert found.status is SolveStatus.NON_FINITE
    assert "round 2" in found.detail


MINIMISER = ProbedLevenbergMarquardt()
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no values": (lambda: Continuation(MINIMISER, ()), "at least one"),
    "not finite": (lambda: Continuation(MINIMISER, (1.0, math.inf)), "finite"),
    "repeated": (lambda: Continuation(MINIMISER, (1.0, 1.0)), "must differ"),
    "halvings": (lambda: Continuation(MINIMISER, (1.0,), halvings=-1), "halvings"),
    "no minimiser": (lambda: Continuation(None, (1.0,)), "AbstractMinimiser"),  # type: ignore[arg-type]
    "no minimiser again": (lambda: Resampled(None), "AbstractMinimiser"),  # type: ignore[arg-type]
    "rounds": (lambda: Resampled(MINIMISER, rounds=0), "rounds"),
    "ftol": (lambda: replace(Resampled(MINIMISER), ftol=math.nan), "ftol"),
    "start": (lambda: Resampled(MINIMISER).run(_drawn(seeded()), [1.0]), "floating"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        make()
