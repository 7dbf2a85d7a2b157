"""Every minimiser of one residual vector: the same minima, honest statuses, errors in one sentence."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual
from pdesolve.residual_minimisation.adam import AdamDescent
from pdesolve.residual_minimisation.function_residual import FunctionResidual
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.residual_minimisation.orthogonal import Orthogonal
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.residual_minimisation.sketched import Sketched
from pdesolve.residual_minimisation.variable_projection import VariableProjection
from pdesolve.status import SolveStatus

POINTS = torch.linspace(-1.0, 1.0, 60, dtype=torch.float64)
NEWTON_LIKE: dict[str, AbstractMinimiser] = {
    "orthogonal": ProbedLevenbergMarquardt(),
    "gram": ProbedLevenbergMarquardt(Gram()),
    "line search": LineSearchGaussNewton(damping=1e-10, ftol=1e-9),
}


def rosenbrock(theta: Tensor) -> Tensor:
    return torch.stack([10.0 * (theta[1] - theta[0] ** 2), 1.0 - theta[0]])


def two_spheres(theta: Tensor) -> Tensor:
    """Two rows of seven parameters."""
    return torch.stack([theta.square().sum() - 3.0, theta.pow(3).sum() - 1.0])


def bumps(theta: Tensor) -> Tensor:
    """A sum of two Gaussians against one that they can make."""

    def field(c: Tensor, m: Tensor, s: Tensor) -> Tensor:
        return torch.exp(-(((POINTS[:, None] - m) * s.exp()) ** 2)) @ c

    exact = torch.tensor([[1.0, -0.5], [-0.4, 0.3], [1.2, 0.8]], dtype=torch.float64)
    return field(*theta.reshape(3, 2)) - field(*exact)


@pytest.mark.parametrize("name", NEWTON_LIKE)
@pytest.mark.parametrize(
    ("function", "start"),
    [
        (rosenbrock, [-1.2, 1.0]),
        (two_spheres, [-1.0, -0.6, -0.2, 0.2, 0.5, 0.9, 1.3]),
        (bumps, [0.5, -0.2, -0.3, 0.1, 1.0, 1.0]),
    ],
)
def test_zero_residuals_are_found(name: str, function: object, start: list[float]) -> None:
    rows = FunctionResidual(function)  # type: ignore[arg-type]
    found = NEWTON_LIKE[name].minimise(rows, torch.tensor(start, dtype=torch.float64))
    assert found.status == SolveStatus.CONVERGED, found.detail
    assert float(rows.residual(found.theta).norm()) < 1e-12
    assert found.history["cost"][-1] < 1e-24


@pytest.mark.parametrize("name", NEWTON_LIKE)
def test_a_minimum_that_is_not_zero(name: str) -> None:
    """r = (exp θ - 2, θ): stationary where (e^θ - 2) e^θ + θ = 0."""
    rows = FunctionResidual(lambda theta: torch.cat([theta.exp() - 2.0, theta]))
    found = NEWTON_LIKE[name].minimise(rows, torch.tensor([3.0], dtype=torch.float64))
    assert found.status == SolveStatus.CONVERGED
    theta = float(found.theta)
    assert abs((math.exp(theta) - 2.0) * math.exp(theta) + theta) < 1e-4


@pytest.mark.parametrize("factorisation", [Orthogonal(), Gram()])
@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_steps_within_a_radius_are_those_of_least_squares(
    factorisation: Orthogonal | Gram, shape: tuple[int, int]
) -> None:
    """Compared with a damped solve by torch, in parameter space and in sample space."""
    from pdesolve.residual_minimisation.spectrum import Scale

    matrix, b = uniform(*shape, seed=1), uniform(shape[0], seed=2)
    rows = FunctionResidual(lambda theta: matrix @ theta - b)
    theta = torch.zeros(shape[1], dtype=torch.float64)
    model = factorisation.spectrum(rows, theta, rows.residual(theta), Scale())
    q = model.within(torch.tensor([0.3, 1e9], dtype=torch.float64))
    d = matrix.norm(dim=0)
    small, whole = model.lift(q)
    assert float((small * d).norm()) == pytest.approx(0.3, rel=1e-9)
    gradient = (matrix / d).mT @ (matrix @ small - b)
    cosine = torch.nn.functional.cosine_similarity(gradient, small * d, dim=0)
    assert float(cosine) == pytest.approx(-1.0, abs=1e-9)
    assert torch.allclose(whole * d, torch.linalg.pinv(matrix / d) @ b, atol=1e-8)
    before, after = 0.5 * b.square().sum(), 0.5 * (matrix @ small - b).square().sum()
    assert float(model.predicted(q)[0]) == pytest.approx(float(before - after), rel=1e-9)


def test_linear_rows_take_one_solve() -> None:
    matrix, b = uniform(40, 12, seed=3), uniform(40, seed=4)
    found = LinearLeastSquares().minimise(FunctionResidual(lambda theta: matrix @ theta - b), uniform(12, seed=5))
    assert found.status == SolveStatus.CONVERGED
    assert torch.allclose(found.theta, torch.linalg.lstsq(matrix, b).solution, atol=1e-12)


@pytest.mark.parametrize("rank", [3, 8])
def test_a_singular_gram_matrix_does_not_spoil_the_linear_solve(rank: int) -> None:
    """Repeated columns, and more parameters than rows."""
    factor, mixing = uniform(10, rank, seed=6), uniform(rank, 20, seed=7)
    matrix = factor @ mixing
    b = matrix @ uniform(20, seed=8)
    found = LinearLeastSquares().minimise(
        FunctionResidual(lambda theta: matrix @ theta - b), torch.zeros(20, dtype=torch.float64)
    )
    assert float((matrix @ found.theta - b).norm()) < 1e-11 * float(b.norm())
    assert float(found.theta.norm()) < 1e3


def test_rows_that_vanish_but_for_rounding_are_no_nonlinear_problem() -> None:
    """Terms of 10 that cancel at the start up to steps of 2e-15, in which nothing is affine."""
    matrix = uniform(60, 2, seed=9)
    rows = FunctionResidual(lambda theta: (10.0 + matrix @ theta) - (10.0 + 5e-15 * matrix[:, 0]))
    noise = rows.residual(torch.zeros(2, dtype=torch.float64))
    assert 0.0 < float(noise.abs().max()) < 1e-14
    found = LinearLeastSquares().minimise(rows, torch.zeros(2, dtype=torch.float64))
    assert found.status == SolveStatus.CONVERGED
    assert float(found.theta.norm()) < 1e-13


def test_the_linear_solver_refuses_a_nonlinear_problem() -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"not affine.*ProbedLevenbergMarquardt"):
        LinearLeastSquares().minimise(FunctionResidual(rosenbrock), start)


@pytest.mark.parametrize("minimiser", [*NEWTON_LIKE.values(), LinearLeastSquares()])
def test_a_residual_that_is_not_finite_is_a_status(minimiser: AbstractMinimiser) -> None:
    rows = FunctionResidual(lambda theta: torch.cat([theta, theta.log()]))
    found = minimiser.minimise(rows, torch.tensor([-1.0, 2.0], dtype=torch.float64))
    assert found.status == SolveStatus.NON_FINITE
    assert "row 2 of 4" in found.detail
    assert torch.equal(found.theta, torch.tensor([-1.0, 2.0], dtype=torch.float64))


class WrongJacobian(AbstractResidual):
    """Says downhill where it is uphill."""

    def residual(self, theta: Tensor) -> Tensor:
        return theta.square() + 1.0

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self.residual(theta), torch.diag(-2.0 * theta)


@pytest.mark.parametrize("minimiser", NEWTON_LIKE.values())
def test_wrong_derivatives_diverge(minimiser: AbstractMinimiser) -> None:
    found = minimiser.minimise(WrongJacobian(), torch.ones(3, dtype=torch.float64))
    assert found.status == SolveStatus.DIVERGED
    assert "lowers the cost" in found.detail


def test_a_step_cap_and_a_watch_end_a_run() -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    capped = ProbedLevenbergMarquardt(max_steps=2).minimise(FunctionResidual(rosenbrock), start)
    assert capped.status == SolveStatus.STEP_CAP
    assert len(capped.history["cost"]) == len(capped.history["seconds"]) == 3
    seen: list[int] = []

    def watch(step: int, theta: Tensor, cost: float) -> bool:
        seen.append(step)
        return step == 3

    watched = ProbedLevenbergMarquardt().minimise(FunctionResidual(rosenbrock), start, watch)
    assert watched.status == SolveStatus.STEP_CAP
    assert seen == [1, 2, 3]


class Huge(AbstractResidual):
    """Rows that nobody could keep the Jacobian of."""

    def residual(self, theta: Tensor) -> Tensor:
        return theta[:1].expand(5_000_000)

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        raise AssertionError("the Jacobian was asked for")


@pytest.mark.parametrize("minimiser", [*NEWTON_LIKE.values(), LinearLeastSquares()])
def test_memory_is_estimated_before_it_is_taken(minimiser: AbstractMinimiser) -> None:
    with pytest.raises(MemoryError, match=r"5000000 rows and 400000 parameters.*GiB.*Sketched"):
        minimiser.minimise(Huge(), torch.ones(400_000, dtype=torch.float64))


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (torch.ones(2, dtype=torch.int64), TypeError, "floating"),
        (torch.ones(2, 2, dtype=torch.float64), ValueError, "vector"),
        (torch.ones(0, dtype=torch.float64), ValueError, "at least one"),
        ([1.0, 2.0], TypeError, "list"),
    ],
)
def test_bad_starts_are_refused(start: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ProbedLevenbergMarquardt().minimise(FunctionResidual(rosenbrock), start)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProbedLevenbergMarquardt(probes=()),
        lambda: ProbedLevenbergMarquardt(probes=(0.0,)),
        lambda: ProbedLevenbergMarquardt(max_steps=0),
        lambda: ProbedLevenbergMarquardt(ftol=-1.0),
        lambda: LinearLeastSquares(damping=-1.0),
    ],
)
def test_bad_settings_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="must"):
        make()  # type: ignore[operator]


def test_runs_repeat() -> None:
    start = torch.randn(6, generator=seeded(), dtype=torch.float64)
    runs = [ProbedLevenbergMarquardt(max_steps=5).minimise(FunctionResidual(bumps), start) for _ in range(2)]
    assert torch.equal(runs[0].theta, runs[1].theta)


def test_a_sketch_reaches_the_minimum_without_the_jacobian() -> None:
    """Three directions of seven at a time."""

    class NoJacobian(AbstractResidual):
        def residual(self, theta: Tensor) -> Tensor:
            return torch.cat([two_spheres(theta), 0.1 * (theta - 1.0)])

        def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
            raise AssertionError("the Jacobian was asked for")

    start = torch.linspace(-1.0, 1.3, 7, dtype=torch.float64)
    sketch = Sketched(3, seeded())
    found = ProbedLevenbergMarquardt(sketch, max_steps=300, ftol=0.0).minimise(NoJacobian(), start)
    full = FunctionResidual(NoJacobian().residual)
    best = ProbedLevenbergMarquardt().minimise(full, found.theta)
    assert found.history["cost"][-1] < 1.01 * best.history["cost"][-1]
    assert found.history["cost"][-1] < 0.3 * found.history["cost"][0]


def test_adam_is_a_baseline_on_the_same_interface() -> None:
    matrix, b = uniform(20, 4, seed=3), uniform(20, seed=4)
    rows = FunctionResidual(lambda theta: matrix @ theta - b)
    found = AdamDescent(rate=0.05, max_steps=500).minimise(rows, torch.zeros(4, dtype=torch.float64))
    exact = LinearLeastSquares().minimise(rows, torch.zeros(4, dtype=torch.float64))
    assert found.status == SolveStatus.STEP_CAP
    assert found.history["cost"][-1] == pytest.approx(exact.history["cost"][-1], rel=1e-4)


def test_variable_projection_eliminates_the_linear_weights() -> None:
    """From a start whose weights are far off, in fewer steps than all parameters together take."""
    start = torch.tensor([40.0, -30.0, -0.3, 0.1, 1.0, 1.0], dtype=torch.float64)
    found = VariableProjection(2).minimise(FunctionResidual(bumps), start)
    together = ProbedLevenbergMarquardt(max_steps=50).minimise(FunctionResidual(bumps), start)
    assert found.status == SolveStatus.CONVERGED, found.detail
    assert float(bumps(found.theta).norm()) < 1e-10
    assert len(found.history["cost"]) < len(together.history["cost"])
    with pytest.raises(ValueError, match="n_linear"):
        VariableProjection(6).minimise(FunctionResidual(bumps), start)
