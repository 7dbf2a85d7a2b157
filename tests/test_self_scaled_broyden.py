"""Self-scaled Broyden steps: the secant condition, the same minima as Gauss-Newton, honest statuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.placement.fit import GaussianFit
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.reference.suite import burgers_problem
from pdesolve.residual_minimisation.abstract import AbstractResidual
from pdesolve.residual_minimisation.adam import AdamDescent
from pdesolve.residual_minimisation.function_residual import FunctionResidual
from pdesolve.residual_minimisation.gradient import rows_and_gradient
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.residual_minimisation.self_scaled_broyden import SelfScaledBroyden, scaling, updated
from pdesolve.status import SolveStatus

POINTS = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64)


def rosenbrock(theta: Tensor) -> Tensor:
    return torch.stack([10.0 * (theta[1] - theta[0] ** 2), 1.0 - theta[0]])


def network(theta: Tensor) -> Tensor:
    """u'' of a tanh network with six neurons against that of a sine, and both ends: a small PINN."""
    w, b, c = theta.reshape(3, 6)
    value = torch.tanh(POINTS[:, None] * w + b)
    second = (-2.0 * value * (1.0 - value.square()) * w.square()) @ c
    ends = value[[0, -1]] @ c
    return torch.cat([(second + math.pi**2 * torch.sin(math.pi * POINTS)) / 10.0, 3.0 * ends])


START = torch.cat([2.0 + uniform(6, seed=1), uniform(6, seed=2), uniform(6, seed=3)])


@pytest.mark.parametrize("seed", range(4))
def test_an_update_keeps_the_secant_condition_and_stays_positive(seed: int) -> None:
    root = uniform(5, 5, seed=seed)
    inverse = root @ root.mT + 0.1 * torch.eye(5, dtype=torch.float64)
    gradient, length = uniform(5, seed=seed + 10), 0.7
    s = -length * inverse @ gradient
    y = uniform(5, seed=seed + 20)
    y = y * torch.sign(s @ y)
    new = updated(inverse, s, y, length, gradient)
    assert new is not None
    torch.testing.assert_close(new @ y, s)
    torch.testing.assert_close(new, new.mT)
    assert float(torch.linalg.eigvalsh(new).min()) > 0
    assert updated(inverse, s, -y, length, gradient) is inverse


@pytest.mark.parametrize(("b", "h"), [(0.2, 8.0), (1.0, 1.5), (5.0, 0.9), (2.0, 0.5)])
def test_the_scaling_never_enlarges_and_the_update_is_positive(b: float, h: float) -> None:
    tau, phi = scaling(b, h, 10)
    assert 0 < tau <= 1
    assert phi > -1.0 / (b * h)  # positive definite for all φ above 1/(1 - b h) < 0, and for b h = 1 for any
    if b == 1.0:
        assert scaling(1.0, 1.0, 10) == (1.0, 1.0)


def test_a_quadratic_is_minimised() -> None:
    matrix = uniform(30, 8, seed=1) * torch.logspace(0, 2, 8, dtype=torch.float64)
    b = uniform(30, seed=2)
    rows = FunctionResidual(lambda theta: matrix @ theta - b)
    found = SelfScaledBroyden().minimise(rows, torch.zeros(8, dtype=torch.float64))
    exact = LinearLeastSquares().minimise(rows, torch.zeros(8, dtype=torch.float64))
    assert found.status is SolveStatus.CONVERGED, found.detail
    torch.testing.assert_close(found.theta, exact.theta, rtol=1e-5, atol=1e-7)


def test_a_nonlinear_problem_is_minimised() -> None:
    found = SelfScaledBroyden(ftol=0.0).minimise(
        FunctionResidual(rosenbrock), torch.tensor([-1.2, 1.0], dtype=torch.float64)
    )
    assert found.status is SolveStatus.CONVERGED, found.detail
    torch.testing.assert_close(found.theta, torch.ones(2, dtype=torch.float64), rtol=0.0, atol=1e-8)


def test_a_network_is_fitted_better_than_by_adam() -> None:
    rows = FunctionResidual(network)
    ours = SelfScaledBroyden(max_steps=300).minimise(rows, START)
    adam = AdamDescent(rate=1e-2, max_steps=900).minimise(rows, START)
    assert ours.history["cost"][-1] < 0.05 * adam.history["cost"][-1]
    full = ProbedLevenbergMarquardt(max_steps=100).minimise(rows, START)
    assert full.history["cost"][-1] < ours.history["cost"][-1]  # what it is a baseline to


def test_a_step_cap_and_a_watch_end_a_run() -> None:
    rows = FunctionResidual(network)
    capped = SelfScaledBroyden(max_steps=5).minimise(rows, START)
    assert capped.status is SolveStatus.STEP_CAP
    assert len(capped.history["cost"]) == len(capped.history["seconds"]) == 6
    assert len(capped.history["length"]) == 5
    assert all(b < a for a, b in zip(capped.history["cost"], capped.history["cost"][1:], strict=False))
    seen: list[int] = []

    def watch(step: int, theta: Tensor, cost: float) -> bool:
        seen.append(step)
        return step == 3

    assert SelfScaledBroyden().minimise(rows, START, watch).status is SolveStatus.STEP_CAP
    assert seen == [1, 2, 3]


def test_a_target_ends_a_run() -> None:
    found = SelfScaledBroyden(target=1e-2).minimise(FunctionResidual(network), START)
    assert found.status is SolveStatus.CONVERGED
    assert found.history["cost"][-1] <= 1e-2 < found.history["cost"][-2]


def test_a_residual_that_is_not_finite_is_a_status() -> None:
    rows = FunctionResidual(lambda theta: torch.cat([theta, theta.log()]))
    found = SelfScaledBroyden().minimise(rows, torch.tensor([-1.0, 2.0], dtype=torch.float64))
    assert found.status is SolveStatus.NON_FINITE
    assert "row 2 of 4" in found.detail


def test_a_gradient_that_is_not_finite_is_a_status() -> None:
    """√|θ - 1|² has no slope at its kink."""
    rows = FunctionResidual(lambda theta: torch.sqrt((theta - 1.0).abs()) + 1.0)
    found = SelfScaledBroyden().minimise(rows, torch.ones(2, dtype=torch.float64))
    assert found.status is SolveStatus.NON_FINITE
    assert "gradient" in found.detail


def test_steps_that_lead_where_rows_are_not_finite_are_shortened() -> None:
    """The minimum of (log θ - 1)² + ... is at e; a first step may land at θ < 0."""
    rows = FunctionResidual(lambda theta: 5.0 * (theta.log() - 1.0))
    found = SelfScaledBroyden(ftol=0.0).minimise(rows, torch.tensor([40.0, 0.02], dtype=torch.float64))
    torch.testing.assert_close(found.theta, torch.full((2,), math.e, dtype=torch.float64), rtol=1e-7, atol=0.0)


class NoGraph(AbstractResidual):
    """Rows that record no gradients: J is asked for."""

    def residual(self, theta: Tensor) -> Tensor:
        return rosenbrock(theta.detach())

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return FunctionResidual(rosenbrock).linearise(theta)


class WrongJacobian(NoGraph):
    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        r, jacobian = super().linearise(theta)
        return r, -jacobian


def test_rows_without_a_graph_give_their_jacobian() -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    found = SelfScaledBroyden(ftol=0.0).minimise(NoGraph(), start)
    torch.testing.assert_close(found.theta, torch.ones(2, dtype=torch.float64), rtol=0.0, atol=1e-8)
    wrong = SelfScaledBroyden().minimise(WrongJacobian(), start)
    assert wrong.status is SolveStatus.DIVERGED
    assert torch.equal(wrong.theta, start)


def test_the_gradient_through_gaussians_is_that_of_their_closed_jacobian() -> None:
    problem = burgers_problem(0.1)
    cloud = Layout(problem.box, {"t": 4, "x": 6}, 1.0).cloud()
    fit = GaussianFit(problem, SampledRows(problem), SelfScaledBroyden())
    rows = fit.residual_of(cloud, fit.draw(cloud, 24, seeded()), trained=True)
    theta = rows.start(uniform(1, 24, seed=1))
    r, gradient = rows_and_gradient(rows, theta)
    expected, jacobian = rows.linearise(theta)
    torch.testing.assert_close(r, expected)
    torch.testing.assert_close(gradient, jacobian.mT @ expected, rtol=1e-9, atol=1e-9 * float(gradient.abs().max()))
    found = SelfScaledBroyden(max_steps=40).minimise(rows, theta)
    assert found.history["cost"][-1] < 1e-2 * found.history["cost"][0]


def test_one_parameter_and_a_stationary_start() -> None:
    rows = FunctionResidual(lambda theta: torch.cat([theta.exp() - 2.0, theta]))
    found = SelfScaledBroyden().minimise(rows, torch.tensor([3.0], dtype=torch.float64))
    theta = float(found.theta)
    assert abs((math.exp(theta) - 2.0) * math.exp(theta) + theta) < 1e-6
    still = SelfScaledBroyden().minimise(FunctionResidual(lambda t: t.square() + 1.0), torch.zeros(2).double())
    assert still.status is SolveStatus.CONVERGED


def test_memory_is_estimated_before_it_is_taken() -> None:
    with pytest.raises(MemoryError, match=r"H of 2000000 parameters.*GiB.*Sketched"):
        SelfScaledBroyden().minimise(FunctionResidual(lambda theta: theta[:3]), torch.ones(2_000_000).double())


@pytest.mark.parametrize("settings", [{"max_steps": 0}, {"ftol": -1.0}, {"gtol": math.nan}, {"armijo": 0.95}])
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        SelfScaledBroyden(**settings)
