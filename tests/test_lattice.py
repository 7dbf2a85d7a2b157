"""Gaussians as products along axes: the same sums, the same Jacobian, and steps without a matrix."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.factor import FactorLifting
from pdesolve.experts.gaussians.lattice import places, product_tables
from pdesolve.experts.gaussians.lattice_residual import LatticeResidual
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.experts.gaussians.state import State
from pdesolve.experts.gaussians.sums import sums
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.residual_minimisation.abstract import AbstractJacobianOperator, AbstractOperatorResidual
from pdesolve.residual_minimisation.conjugate_gradients import conjugate_gradients
from pdesolve.residual_minimisation.function_residual import FunctionResidual
from pdesolve.residual_minimisation.krylov_gauss_newton import KrylovGaussNewton
from pdesolve.residual_minimisation.problem_rows import condition_rows, equation_rows

RING = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
CASES = {
    "nonlinear in time": ps.Problem(
        ps.Burgers(nu=0.1),
        ps.Interval(-1, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: -torch.sin(torch.pi * x)), ps.Dirichlet(0.0)],
    ),
    "two fields, one of them periodic": ps.Problem(
        ps.FunctionPDE(
            lambda f, c, p: (f.u.t + c.x * f.v.x - 0.1 * f.u.xx, f.v.t - f.u * f.v), fields=("u", "v"), parameters={}
        ),
        RING,
        [
            ps.InitialCondition(lambda x: torch.sin(2 * torch.pi * x), field="u"),
            ps.InitialCondition(0.5, field="v"),
            ps.Periodic("x", field="u"),
            ps.Dirichlet(0.5, field="v"),
        ],
    ),
    "three axes": ps.Problem(
        lambda f, c, p: f.u.t - c.y * f.u.x - 0.2 * (f.u.xx + f.u.yy),
        ps.Rectangle((0, 1), (0, 2)) * ps.TimeInterval(0, 0.5),
        [
            ps.InitialCondition(lambda x, y: x * y),
            ps.Dirichlet(lambda x, y: x * y, on=("left", "bottom", "top")),
            ps.Neumann(0.0, on="right"),
        ],
    ),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return 2.0 * torch.rand(*shape, generator=seeded(seed), dtype=torch.float64) - 1.0


def both(name: str) -> tuple[LatticeResidual, GaussianResidual]:
    """The same rows by products and by tables."""
    problem = CASES[name]
    layout = Layout(problem.box, {axis: {"t": 4, "x": 7, "y": 5}[axis] for axis in problem.box.axes}, 1.5)
    lifting: AbstractLifting = NoLifting(problem.field_names)
    inside = layout.points(2.0, seeded())
    weight = torch.full_like(inside["x"], len(inside["x"]) ** -0.5)
    faces = condition_rows(problem, lifting, lambda boundary: layout.face(boundary, 3.0, 9, seeded(1)), 2.0)
    rows = [equation_rows(problem, inside, weight), *faces]
    assert any(row.opposite is not None for row in rows) == ("periodic" in name)
    cloud = layout.cloud()
    return LatticeResidual(problem, cloud, lifting, rows), GaussianResidual(problem, cloud, lifting, rows)


@pytest.mark.parametrize("name", CASES)
def test_rows_and_jacobian_are_those_of_tables(name: str) -> None:
    products, tables = both(name)
    theta = uniform(len(products.start()), seed=2)
    r, jacobian = tables.linearise(theta)
    found, operator = products.operator(theta)
    scale = float(r.abs().max())
    for same in (found, products.residual(theta), products.linearise(theta)[0]):
        torch.testing.assert_close(same, r, rtol=0.0, atol=1e-12 * scale)
    z, w = uniform(operator.size, seed=3), uniform(len(r), seed=4)
    image, step = operator.mv(z), operator.lifted(z)
    room = 1e-10 * float(jacobian.abs().max() * step.abs().sum())
    torch.testing.assert_close(image, jacobian @ step, rtol=0.0, atol=room)
    assert float(operator.rmv(w) @ z) == pytest.approx(float(w @ image), rel=1e-11)
    columns = torch.stack([operator.mv(e) for e in torch.eye(operator.size, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(columns.norm(dim=0), torch.ones(operator.size, dtype=torch.float64))


def test_its_functions_are_well_conditioned() -> None:
    """The matrix of weights is not, by orders of magnitude."""
    products, tables = both("nonlinear in time")
    _, jacobian = tables.linearise(products.start())
    _, operator = products.operator(products.start())
    columns = torch.stack([operator.mv(e) for e in torch.eye(operator.size, dtype=torch.float64)], dim=1)
    assert float(torch.linalg.cond(columns)) < 1e-2 * float(torch.linalg.cond(jacobian))


def test_conjugate_gradients_find_the_least_squares_solution() -> None:
    products, _ = both("two fields, one of them periodic")
    r, operator = products.operator(products.start())
    columns = torch.stack([operator.mv(e) for e in torch.eye(operator.size, dtype=torch.float64)], dim=1)
    found = conjugate_gradients(operator, -r, 1e-10, 2000)
    best = torch.linalg.lstsq(columns, -r.unsqueeze(1)).solution.squeeze(1)
    least = float((r + columns @ best).norm())
    assert float((r + operator.mv(found.solution)).norm()) == pytest.approx(least, rel=1e-6)
    assert found.lowered == pytest.approx(0.5 * (float(r.norm()) ** 2 - least**2), rel=1e-6)
    assert 10 < found.iterations < 2000


@pytest.mark.parametrize("periodic", [False, True])
def test_sums_by_axis_are_those_of_tables(periodic: bool) -> None:
    """On a lattice, on a lattice several times and in disorder, on a face; at scattered points the others remain."""
    domain = ps.Rectangle((0, 1), (0, 2))
    cloud = Layout(domain, {"x": 9, "y": 8}, 1.4, periodic=("x",) if periodic else ()).cloud()
    weights = uniform(2, cloud.size)
    x, y = (v.flatten() for v in torch.meshgrid(uniform(20).abs(), uniform(30, seed=1).abs(), indexing="ij"))
    lattice = torch.stack([x, y], dim=1)
    face = torch.stack([torch.ones(300, dtype=torch.float64), 2.0 * uniform(300, seed=2).abs()], dim=1)
    mixed = lattice.repeat(3, 1)[torch.randperm(1800, generator=seeded())]
    for points in (lattice, mixed, face, 2.0 * uniform(300, 2).abs().clamp_max(0.5)):
        found, table = sums(cloud, points, weights, ("", "xy", "xx")), cloud.table(points, ("", "xy", "xx"))
        for term, value in found.items():
            expected = weights @ table[term].mT
            torch.testing.assert_close(value, expected, rtol=0.0, atol=1e-12 * float(expected.abs().max()))


def test_sums_on_a_lattice_have_gradients_in_the_points() -> None:
    cloud = Layout(ps.Rectangle((0, 1), (0, 2)), {"x": 9, "y": 8}, 1.4).cloud()
    weights = uniform(1, cloud.size)
    x, y = (v.flatten() for v in torch.meshgrid(uniform(20).abs(), uniform(30, seed=1).abs(), indexing="ij"))
    points = torch.stack([x, y], dim=1).requires_grad_()
    (found,) = torch.autograd.grad(sums(cloud, points, weights, ("",))[""].sum(), points)
    expected = sums(cloud, points.detach(), weights, ("x", "y"))
    torch.testing.assert_close(found, torch.cat([expected["x"], expected["y"]]).mT, rtol=0.0, atol=1e-10)


def test_points_that_are_no_lattice_are_refused() -> None:
    x, y = (v.flatten() for v in torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij"))
    assert [len(place) for place in places({"x": x, "y": y})] == [3, 4]
    with pytest.raises(ValueError, match="lattice"):
        places({"y": y, "x": x})  # the first axis runs fastest
    with pytest.raises(ValueError, match="lattice"):
        places({"x": x[:-1], "y": y[:-1]})


def test_gaussians_that_are_no_products_are_refused() -> None:
    problem = CASES["nonlinear in time"]
    layout = Layout(problem.box, {"t": 4, "x": 7}, 1.5)
    cloud = layout.cloud()
    assert cloud.along is not None
    moved = cloud.with_parameters(cloud.centres + 0.01, cloud.covariance.numbers)
    points = layout.points(2.0, seeded())
    rows = [equation_rows(problem, points, torch.ones_like(points["x"]))]
    with pytest.raises(ValueError, match="must be products along axes"):
        LatticeResidual(problem, moved, NoLifting(("u",)), rows)
    with pytest.raises(ValueError, match="no products of 4 x 6 along t, x"):
        GaussianCloud(
            problem.box,
            cloud.centres,
            cloud.covariance,
            along=(cloud.along[0], Layout(problem.box, {"t": 4, "x": 6}).along(("x",)).cloud()),
        )


def test_a_difference_along_two_axes_is_no_product() -> None:
    lines = Layout(ps.Rectangle((0, 1), (0, 1)), {"x": 4, "y": 4}).cloud().lines()
    assert lines is not None
    at = [torch.tensor([0.1, 0.4], dtype=torch.float64), torch.tensor([0.2, 0.3], dtype=torch.float64)]
    tables, far = (product_tables(lines, place, [(0, 0)]) for place in (at, [p + 0.5 for p in at]))
    with pytest.raises(ValueError, match="differ along 2 axes"):
        tables.minus(far)


def test_rows_that_nothing_moves_are_counted() -> None:
    """The first equation knows no field: its rows stay, and so do the places of the others."""
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: (0.0 * c.x + 1.0, f.u.x - 1.0), fields=("u",), parameters={}),
        ps.Interval(0, 1),
        [ps.Dirichlet(0.0, on="left")],
    )
    layout = Layout(problem.box, {"x": 9})
    points = layout.points(2.0, seeded())
    rows = [equation_rows(problem, points, torch.ones_like(points["x"]))]
    products = LatticeResidual(problem, layout.cloud(), NoLifting(("u",)), rows)
    r, operator = products.operator(products.start())
    image = operator.mv(uniform(operator.size))
    assert image.shape == r.shape
    assert float(image[: len(points["x"])].abs().max()) == 0.0 < float(image.abs().max())


def test_few_gaussians_with_more_points_on_faces_than_inside() -> None:
    """Functions are those of the places inside: on a face there is one along its own axis."""
    problem = ps.Problem(
        lambda f, c, p: f.u.t + f.u.x,
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: x), ps.Dirichlet(lambda t: -t, on="left")],
    )
    expert = PhysicsInformedGaussians({"t": 3, "x": 4}, overlaps=(2.0,), minimiser=KrylovGaussNewton(), tolerance=0.1)
    assert expert.fit(problem).status is ps.SolveStatus.CONVERGED
    at = {"t": torch.full((5,), 0.6, dtype=torch.float64), "x": torch.linspace(0, 1, 5, dtype=torch.float64)}
    torch.testing.assert_close(expert.at(at)[0], at["x"] - 0.6, rtol=0.0, atol=0.02)


def test_an_initial_state_over_a_factor() -> None:
    problem = ps.Problem(
        lambda f, c, p: f.u.t - f.u.xx - f.u.yy,
        ps.Rectangle((0, 1), (0, 1)) * ps.TimeInterval(0, 1),
        [
            ps.InitialCondition(lambda x, y: x * (1 - x) * torch.cos(3 * x * y)),
            ps.Dirichlet(0.0, on="left"),
            ps.Neumann(0.0, on=("right", "bottom", "top")),
        ],
    )
    layout = Layout(problem.box, {"t": 3, "x": 22, "y": 22}, 1.3)
    state = State.initial(problem, layout, seeded(), FactorLifting(("u",), lambda x: x * (2.0 - x), []))
    points = uniform(300, 2).abs()
    x, y = points.unbind(1)
    u = x * (2.0 - x) * state.basis.sums(points, state.weights["u"], ("",))[""][0]
    torch.testing.assert_close(u, x * (1 - x) * torch.cos(3 * x * y), rtol=0.0, atol=1e-6)


def wave(c: Mapping[str, Tensor]) -> Tensor:
    return torch.sin(math.pi * (c["x"] - 0.7 * c["t"])) * torch.exp(-c["y"])


@pytest.mark.parametrize("linear", [True, False])
def test_a_problem_in_three_dimensions_without_a_matrix(linear: bool) -> None:
    def square(u: Tensor) -> Tensor:
        return u if linear else u + 0.5 * u * u

    def source(c: ps.Namespace) -> Tensor:
        u = torch.sin(torch.pi * (c.x - 0.7 * c.t)) * torch.exp(-c.y)
        rate = -0.7 * torch.pi * torch.cos(torch.pi * (c.x - 0.7 * c.t)) * torch.exp(-c.y)
        return rate - u - 0.1 * (1 - torch.pi**2) * u + square(u)

    def exact(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.sin(torch.pi * (x - 0.7 * t)) * torch.exp(-y)

    problem = ps.Problem(
        lambda f, c, p: f.u.t + f.u.y - 0.1 * (f.u.xx + f.u.yy) + square(f.u) - source(c),
        ps.Rectangle((-1, 1), (0, 1)) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x, y: torch.sin(torch.pi * x) * torch.exp(-y)), ps.Dirichlet(exact)],
    )
    count = {"t": 6, "x": 22, "y": 20}
    expert = PhysicsInformedGaussians(count, slabs=2, overlaps=(1.3,), minimiser=KrylovGaussNewton())
    report = expert.fit(problem)
    assert report.status is ps.SolveStatus.CONVERGED
    points = {"t": uniform(500).abs(), "x": uniform(500, seed=1), "y": uniform(500, seed=2).abs()}
    error = float((expert.at(points)[0] - wave(points)).norm() / wave(points).norm())
    assert error < 3e-5, error
    assert max(report.history["steps"]) <= (2 if linear else 6)


def test_a_residual_with_a_matrix_is_refused() -> None:
    with pytest.raises(TypeError, match="FunctionResidual gives its Jacobian as a matrix: use LineSearch"):
        KrylovGaussNewton().minimise(FunctionResidual(lambda theta: theta - 1.0), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("given", [{"tolerance": 0.0}, {"ftol": -1.0}, {"max_iterations": 0}, {"shortest": 1.0}])
def test_settings_that_are_not_positive_are_refused(given: Mapping[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be (positive|at least 1)"):
        KrylovGaussNewton(**given)  # type: ignore[arg-type]


def test_iterations_that_do_not_suffice_are_a_cap() -> None:
    products, _ = both("nonlinear in time")
    ended = KrylovGaussNewton(max_iterations=3, max_steps=2).minimise(products, products.start())
    assert ended.status is ps.SolveStatus.STEP_CAP
    assert ended.history["cost"][-1] < ended.history["cost"][0]
    assert "max_iterations" in ended.detail


@dataclass(frozen=True, eq=False)
class _Line(AbstractOperatorResidual, AbstractJacobianOperator):
    """r = θ - 1 with a slope that is wrong by a factor."""

    slope: float
    size: int = 2

    def residual(self, theta: Tensor) -> Tensor:
        return theta - 1.0

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return theta - 1.0, self.slope * torch.eye(2, dtype=theta.dtype)

    def operator(self, theta: Tensor) -> tuple[Tensor, AbstractJacobianOperator]:
        return theta - 1.0, self

    def mv(self, z: Tensor) -> Tensor:
        return self.slope * z

    def rmv(self, w: Tensor) -> Tensor:
        return self.slope * w

    def lifted(self, z: Tensor) -> Tensor:
        return z


@pytest.mark.parametrize(
    ("slope", "status", "detail"),
    [
        (1.0, ps.SolveStatus.CONVERGED, ""),
        (-1.0, ps.SolveStatus.DIVERGED, "no length of the step lowers the cost.*factorises"),
        (math.nan, ps.SolveStatus.NON_FINITE, "step 1"),
    ],
)
def test_how_steps_end(slope: float, status: ps.SolveStatus, detail: str) -> None:
    ended = KrylovGaussNewton().minimise(_Line(slope), torch.zeros(2, dtype=torch.float64))
    assert ended.status is status
    assert re.search(detail, ended.detail)
