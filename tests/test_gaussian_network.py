"""A network over sums of Gaussians: its Jacobian in closed form, a Helmholtz problem fitted, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussian_network import GaussianNetwork
from pdesolve.experts.gaussians.cholesky import Cholesky
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.head import Head
from pdesolve.experts.gaussians.network_residual import NetworkResidual
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.frames.abstract import NoLifting
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.training.solve import solve

SQUARE = ps.Rectangle((-1, 1), (-1, 1))


def helmholtz() -> ps.Problem:
    """Δu + u = q, u = sin πx sin πy."""

    def exact(x: Tensor, y: Tensor) -> Tensor:
        return torch.sin(math.pi * x) * torch.sin(math.pi * y)

    return ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy + f.u - (1.0 - 2.0 * math.pi**2) * exact(c.x, c.y),
        SQUARE,
        [ps.Dirichlet(0.0)],
        reference=lambda c, p: exact(c["x"], c["y"]),
    )


def burgers(periodic: bool) -> ps.Problem:
    ends = [ps.Periodic("x")] if periodic else [ps.Dirichlet(0.0)]
    domain = ps.Interval(-1, 1) * ps.TimeInterval(0, 1)
    return ps.Problem(ps.Burgers(0.1), domain, [ps.InitialCondition(lambda x: -torch.sin(math.pi * x)), *ends])


def two_fields() -> ps.Problem:
    pde = ps.FunctionPDE(lambda f, c, p: (f.u.xx - f.u * f.v, f.v.x + f.u), fields=("u", "v"))
    return ps.Problem(pde, ps.Interval(0, 1), [ps.Dirichlet(1.0, field="u"), ps.Neumann(0.0, field="v")])


CASES: dict[str, tuple[ps.Problem, tuple[int, ...], bool]] = {
    "one layer": (helmholtz(), (3, 5, 1), False),
    "two layers, full covariance": (helmholtz(), (2, 4, 3, 1), True),
    "no hidden layer": (helmholtz(), (2, 1), False),
    "nonlinear in time": (burgers(False), (2, 4, 1), False),
    "two fields": (two_fields(), (2, 4, 2), False),
    "periodic, by rows": (burgers(True), (2, 4, 1), False),
}


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_jacobian_of_all_parameters(name: str, lifted: bool) -> None:
    problem, sizes, full = CASES[name]
    if lifted and name in ("periodic, by rows", "two fields"):
        return
    d, n = len(problem.box.axes), 3 * sizes[0]
    low, extent = torch.tensor(problem.box.lower), torch.tensor([problem.box.extent(a) for a in problem.box.axes])
    centres = (low + extent * (0.5 + 0.5 * uniform(n, d, seed=1))).double()
    shape = 0.2 * uniform(n, d, d, seed=2) + 0.5 * torch.eye(d, dtype=torch.float64)
    covariance = Cholesky.of(shape @ shape.mT) if full else Diagonal.of(0.5 + 0.2 * uniform(n, d, seed=3))
    cloud, head = GaussianCloud(problem.box, centres, covariance), Head(sizes)
    lifting = ps.AdditiveLifting(problem) if lifted else NoLifting(problem.field_names)
    rows = SampledRows(problem, face_points=4, near=0.0, lifting=lifting)(cloud, 12, seeded())
    residual = NetworkResidual(problem, cloud, head, lifting, rows)
    theta = residual.start(head.drawn(seeded(1), centres.device), uniform(n, seed=4))
    r, jacobian = residual.linearise(theta)
    torch.testing.assert_close(r, residual.residual(theta))
    for k, row in enumerate(torch.eye(len(theta), dtype=torch.float64)):
        step = 1e-6 * row
        column = (residual.residual(theta + step) - residual.residual(theta - step)) / 2e-6
        torch.testing.assert_close(jacobian[:, k], column, rtol=1e-5, atol=1e-6 * float(jacobian.abs().max()))


def test_gradients_of_the_rows_are_those_of_the_jacobian() -> None:
    """What Adam and Broyden steps use."""
    problem, sizes, _ = CASES["nonlinear in time"]
    cloud = GaussianCloud(problem.box, 0.5 + 0.4 * uniform(4, 2), Diagonal.of(torch.full((4, 2), 0.4).double()))
    residual = NetworkResidual(problem, cloud, Head(sizes), NoLifting(("u",)), SampledRows(problem)(cloud, 9, seeded()))
    theta = residual.start(Head(sizes).drawn(seeded(), cloud.centres.device), uniform(4)).requires_grad_()
    residual.residual(theta).square().sum().mul(0.5).backward()
    r, jacobian = residual.linearise(theta)
    torch.testing.assert_close(theta.grad, jacobian.mT @ r)


def test_a_helmholtz_problem_is_fitted() -> None:
    problem, grid = helmholtz(), ps.StructuredGrid.uniform(SQUARE, (21, 31))
    expert = GaussianNetwork(9, minimiser=ProbedLevenbergMarquardt(max_steps=60, ftol=1e-4))
    solution = solve(problem, expert, grid)
    assert problem.reference is not None
    exact = problem.reference(grid.coordinates(), {}).reshape(solution.field.values.shape)
    assert float(solution.relative_error(exact)) < 2e-3
    assert float(solution.stats["worst_residual"]) < 0.1
    at = {"x": torch.tensor([0.3, -0.4]).double(), "y": torch.tensor([0.1, 0.8]).double()}
    slope = math.pi * torch.cos(math.pi * at["x"]) * torch.sin(math.pi * at["y"])
    torch.testing.assert_close(expert.at(at, "x")[0], slope, rtol=0.0, atol=2e-2)
    labels, _ = expert.residual({}, seeded(9))
    assert float(labels["equation"].square().sum().sqrt()) < 0.1
    assert set(labels) == {"equation", "u on left", "u on right", "u on bottom", "u on top"}


def test_a_fit_that_falls_short_says_so() -> None:
    expert = GaussianNetwork(2, features=1, widths=(2,), minimiser=ProbedLevenbergMarquardt(max_steps=3))
    with pytest.raises(ps.SolveError, match="fresh points"):
        solve(helmholtz(), expert)
    assert not bool(solve(helmholtz(), expert, throw=False).converged)


def test_a_source_that_is_nan_is_a_status() -> None:
    problem = ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy - torch.where(c.x > 0.9, torch.nan, 1.0), SQUARE, [ps.Dirichlet(0.0)]
    )
    solution = solve(problem, GaussianNetwork(4, features=2), throw=False)
    assert int(solution.status[0, 0]) == ps.SolveStatus.NON_FINITE


def test_memory_that_the_jacobian_would_not_fit_into_is_said_before() -> None:
    with pytest.raises(MemoryError, match=r"Jacobian of \d+ rows and 2000\d+ parameters.*GiB.*Sketched"):
        GaussianNetwork(100_000, features=4).fit(helmholtz())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNetwork(0), "count"),
        (lambda: GaussianNetwork(features=0), "features"),
        (lambda: GaussianNetwork(widths=(0,)), "width"),
        (lambda: GaussianNetwork(points=0.5), "fewer leave some"),
        (lambda: GaussianNetwork(tolerance=0.0), "tolerance"),
        (lambda: GaussianNetwork().problem, "no problem yet"),
        (lambda: network(5, (2, 4, 1)), "5 Gaussians cannot be shared"),
        (lambda: network(4, (2, 4, 2)), "2 outputs, the problem 1"),
        (
            lambda: GaussianNetwork(4).fit(
                ps.Problem(lambda f, c, p: f.u.xxxxx + f.u, ps.Interval(0, 1), [ps.Dirichlet(0.0)])
            ),
            "order 5",
        ),
    ],
)
def test_wrong_input_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def network(count: int, sizes: tuple[int, ...]) -> NetworkResidual:
    cloud = GaussianCloud(SQUARE, 0.5 * uniform(count, 2), Diagonal.of(torch.ones(count, 2).double()))
    return NetworkResidual(helmholtz(), cloud, Head(sizes), NoLifting(("u",)), [])
