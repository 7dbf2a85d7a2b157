"""The Lagrangian expert on harder cases: walls, inflow, systems, planes, crossings between the nodes, devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.reference.pseudo_spectral import PseudoSpectral
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt

TURN = 2 * math.pi
RING = ps.Interval(0, TURN) * ps.TimeInterval(0, 1)
UNIT = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
SQUARE = ps.Rectangle((0, 1), (0, 1)) * ps.TimeInterval(0, 1)
SOLVER = ProbedLevenbergMarquardt(factorisation=Gram(), max_steps=30, ftol=1e-2)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def fitted(problem: ps.Problem, position: Any, state: Any, counts: dict[str, int], **options: Any) -> ps.LagrangianPINN:
    made = ps.LagrangianPINN(problem, position, state, generator=seeded(), counts=counts, **options)
    made.fit(SOLVER)
    return made


def scattered(domain: Any, n: int = 200) -> dict[str, Tensor]:
    unit = torch.rand(len(domain.axes), n, generator=seeded(), dtype=torch.float64)
    return {a: domain.bounds(a)[0] + domain.extent(a) * u for a, u in zip(domain.axes, unit, strict=True)}


def worst(made: ps.LagrangianPINN, exact: Callable[..., Tensor]) -> float:
    at = scattered(made.problem.box)
    with torch.no_grad():
        return float((made.at(at)[:, 0] - exact(**at)).abs().max())


# Ends.


def wave(x: Any, t: Any) -> Any:
    return torch.sin(4.0 * (x - t))


def inflow() -> ps.Problem:
    """u = sin 4(x - t): everything that is there at the end has come in through the left one."""
    conditions = [
        ps.InitialCondition(lambda x: torch.sin(4.0 * x)),
        ps.Dirichlet(lambda t: torch.sin(-4.0 * t), on="left"),
    ]
    return ps.Problem(ps.LinearAdvection(1.0), UNIT, conditions)


def test_strong_inflow_with_values_that_move() -> None:
    branch = ps.SpectralBranch(14, 8)
    made = fitted(inflow(), branch, branch, {"x": 28, "t": 12}, slabs=4, flow=ps.Follow(0.5))
    assert worst(made, wave) < 2e-5
    times = torch.linspace(0, 1, 11, dtype=torch.float64)
    left = made.at({"x": torch.zeros_like(times), "t": times})[:, 0]
    assert float((left - torch.sin(-4.0 * times)).detach().abs().max()) < 1e-12


def test_both_ends_move_in_time() -> None:
    nu, speed, k = 0.05, 0.5, 3.0

    def exact(x: Any, t: Any) -> Any:
        return torch.exp(-nu * k * k * t) * torch.sin(k * (x - speed * t))

    conditions = [
        ps.InitialCondition(lambda x: torch.sin(k * x)),
        ps.Dirichlet(lambda t: exact(0.0, t), on="left"),
        ps.Dirichlet(lambda t: exact(1.0, t), on="right"),
    ]
    branch = ps.SpectralBranch(12, 8)
    problem = ps.Problem(ps.LinearAdvection(speed, nu), UNIT, conditions)
    made = fitted(problem, branch, branch, {"x": 24, "t": 12}, slabs=3)
    assert worst(made, exact) < 1e-5


def test_a_front_of_burgers_between_held_ends() -> None:
    nu = 0.05

    def exact(x: Any, t: Any) -> Any:
        return 0.5 - 0.5 * torch.tanh((x - 0.3 - 0.5 * t) / (4.0 * nu))

    conditions = [
        ps.InitialCondition(lambda x: exact(x, 0.0)),
        ps.Dirichlet(lambda t: exact(0.0, t), on="left"),
        ps.Dirichlet(lambda t: exact(1.0, t), on="right"),
    ]
    branch = ps.SpectralBranch(16, 8)
    problem = ps.Problem(ps.Burgers(nu), UNIT, conditions)
    made = fitted(problem, branch, branch, {"x": 32, "t": 12}, slabs=2, flow=ps.Follow(0.5))
    assert worst(made, exact) < 5e-5


# Systems.


def test_two_fields_that_turn_into_each_other() -> None:
    """u_t + a u_x = -v, v_t + a v_x = u turns (u, v) along the curves of a = 2 + sin x, where J is not one."""
    pde = ps.FunctionPDE(
        lambda f, c, p: (
            f.u.t + (2.0 + torch.sin(c.x)) * f.u.x + f.v,
            f.v.t + (2.0 + torch.sin(c.x)) * f.v.x - f.u,
        ),
        fields=("u", "v"),
    )
    conditions = [
        ps.InitialCondition(lambda x: torch.sin(x), field="u"),
        ps.InitialCondition(lambda x: torch.cos(2.0 * x), field="v"),
        ps.Periodic("x", field="u"),
        ps.Periodic("x", field="v"),
    ]
    problem = ps.Problem(pde, RING, conditions)
    branch = ps.SpectralBranch(12, 10)
    made = fitted(problem, branch, branch, {"x": 36, "t": 14})
    grid = ps.StructuredGrid.periodic(RING, (5, 40))
    exact = PseudoSpectral(128, 1e-10).solve(problem, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    solution = made({}, grid)
    assert solution.field.names == ("u", "v")
    for i in range(2):
        gap = (solution.field.values - exact)[:, i]
        assert float(gap.norm() / exact[:, i].norm()) < 1e-5


def test_two_fields_of_different_diffusivity_and_a_velocity_that_one_of_them_makes() -> None:
    """u carries itself and v; v decays into u's warmth: Burgers with a passenger."""
    pde = ps.FunctionPDE(
        lambda f, c, p: (f.u.t + f.u * f.u.x - 0.1 * f.u.xx, f.v.t + f.u * f.v.x - 0.05 * f.v.xx + f.u * f.v),
        fields=("u", "v"),
    )
    conditions = [
        ps.InitialCondition(lambda x: 2.0 + torch.sin(x), field="u"),
        ps.InitialCondition(lambda x: torch.cos(x), field="v"),
        ps.Periodic("x", field="u"),
        ps.Periodic("x", field="v"),
    ]
    problem = ps.Problem(pde, RING, conditions)
    branch = ps.SpectralBranch(10, 8)
    made = fitted(problem, branch, branch, {"x": 30, "t": 12})
    grid = ps.StructuredGrid.periodic(RING, (5, 40))
    exact = PseudoSpectral(128, 1e-10).solve(problem, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    gap = made({}, grid).field.values - exact
    assert float(gap[:, 0].norm() / (exact[:, 0] - 2.0).norm()) < 1e-4
    assert float(gap[:, 1].norm() / exact[:, 1].norm()) < 1e-4


# Planes.


def bump(x: Any, y: Any) -> Any:
    return (16.0 * x * (1.0 - x) * y * (1.0 - y)) ** 3


def test_walls_on_all_sides_of_a_square() -> None:
    """Velocities along the axes and a product to start from: the solution is the product of two on intervals."""
    problem = ps.Problem(
        ps.LinearAdvection((0.3, -0.2), 0.02, axes="xy"),
        SQUARE, [ps.InitialCondition(bump), ps.Dirichlet(0.0)],
    )  # fmt: skip
    branch = ps.SpectralBranch(9, 4)
    made = fitted(problem, ps.SpectralBranch(4, 3), branch, {"x": 14, "y": 14, "t": 7})
    grid = ps.StructuredGrid.uniform(SQUARE, (3, 11, 11))
    factors = []
    for speed in (0.3, -0.2):
        line = ps.Problem(
            ps.LinearAdvection(speed, 0.02), UNIT,
            [ps.InitialCondition(lambda x: (4.0 * x * (1.0 - x)) ** 3), ps.Dirichlet(0.0)],
        )  # fmt: skip
        at = {"t": grid.axis_nodes("t"), "x": grid.axis_nodes("x")}
        factors.append(ps.MethodOfLines(order=6).solve(line, {}, at)[0, 0])
    exact = factors[0].unsqueeze(2) * factors[1].unsqueeze(1)  # (t, x, y)
    solution = made({}, grid)
    assert float(solution.relative_error(exact[None, None])) < 3e-3
    assert float(solution.field.values[0, 0, :, [0, -1]].abs().max()) < 1e-12


def test_inflow_through_two_sides_of_a_square() -> None:
    """u = cos(2x - 3y) + t x y: at the sides where (0.3, 0.2) enters it keeps the values of the start."""

    def exact(x: Any, y: Any, t: Any) -> Any:
        return torch.cos(2.0 * x - 3.0 * y) + t * x * y

    pde = ps.FunctionPDE(lambda f, c, p: f.u.t + 0.3 * f.u.x + 0.2 * f.u.y - c.x * c.y - c.t * (0.3 * c.y + 0.2 * c.x))
    conditions = [
        ps.InitialCondition(lambda x, y: torch.cos(2.0 * x - 3.0 * y)),
        ps.Dirichlet(lambda y: torch.cos(3.0 * y), on="left"),
        ps.Dirichlet(lambda x: torch.cos(2.0 * x), on="bottom"),
    ]
    branch = ps.SpectralBranch(7, 4)
    made = fitted(ps.Problem(pde, SQUARE, conditions), branch, branch, {"x": 12, "y": 12, "t": 7}, flow=ps.Follow(0.5))
    assert worst(made, exact) < 1e-3
    y = torch.linspace(0, 1, 9, dtype=torch.float64)
    left = made.at({"x": torch.zeros_like(y), "y": y, "t": torch.ones_like(y)})[:, 0]
    assert float((left - torch.cos(3.0 * y)).detach().abs().max()) < 1e-12


def test_a_plane_point_that_nothing_reaches() -> None:
    """Without values at the inflow the part behind the oldest curves is refused, the rest is exact."""
    problem = ps.Problem(ps.LinearAdvection((0.5, 0.0), axes="xy"), SQUARE, [ps.InitialCondition(bump)])
    made = fitted(problem, ps.SpectralBranch(1, 2), ps.ZeroBranch(), {"x": 4, "y": 4, "t": 4})
    half, late = torch.full((1,), 0.5, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    found = made.at({"x": half + 0.3, "y": half, "t": late})
    torch.testing.assert_close(found[0], bump(half - 0.2, half), rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match=r"x = 0.3, y = 0.5, t = 1 is reached by no characteristic.*x = -0.2"):
        made.at({"x": half - 0.2, "y": half, "t": late})


# Crossings.


@pytest.mark.parametrize("late", [1e-5, 1e-3, 0.3])
def test_a_crossing_between_the_nodes_of_the_search(late: float) -> None:
    """Curves of sin x cross first at ξ = π, midway between two labels of the grid, and here just before the end."""
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x),
        ps.Interval(0, TURN) * ps.TimeInterval(0, 1.0 + late),
        [ps.InitialCondition(lambda x: torch.sin(x)), ps.Periodic("x")],
    )
    made = fitted(problem, ps.SpectralBranch(2, 2), ps.ZeroBranch(), {"x": 8, "t": 4})
    event = made.crossing()
    assert event.crossed
    assert event.time == pytest.approx(1.0, abs=1e-6)
    assert event.place[0] == pytest.approx(math.pi, abs=1e-3)


def test_no_crossing_just_before_it() -> None:
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x),
        ps.Interval(0, TURN) * ps.TimeInterval(0, 1.0 - 1e-5),
        [ps.InitialCondition(lambda x: torch.sin(x)), ps.Periodic("x")],
    )
    event = fitted(problem, ps.SpectralBranch(2, 2), ps.ZeroBranch(), {"x": 8, "t": 4}).crossing()
    assert not event.crossed
    assert event.jacobian == pytest.approx(1e-5, rel=1e-2)  # not what the nearest node has


def test_a_narrow_crossing_of_many_waves() -> None:
    """Steepest at one of many places: the grid follows the nodes of the fit."""

    def start(x: Any) -> Any:
        return torch.sin(40.0 * x) * 0.02 + 0.001 * torch.sin(x)

    domain = ps.Interval(0, TURN) * ps.TimeInterval(0, 1.3)
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x), domain, [ps.InitialCondition(start), ps.Periodic("x")]
    )
    made = fitted(problem, ps.SpectralBranch(41, 1), ps.ZeroBranch(), {"x": 128, "t": 3})
    steepest = 0.8 + 0.001 * math.cos(math.pi / 40)  # at x = 39 π / 40
    event = made.crossing()
    assert event.crossed
    assert event.time == pytest.approx(1.0 / steepest, rel=1e-3)


def test_curves_that_cross_where_they_have_left_do_not_count() -> None:
    """X = ξ + τ ξ (2 - T₂) folds from τ = 1/7 on, at X > 1, where labels have left the domain."""
    problem = ps.Problem(
        ps.LinearAdvection(1.0), UNIT, [ps.InitialCondition(lambda x: 0.0 * x), ps.Dirichlet(0.0, on="left")]
    )
    made = ps.LagrangianPINN(
        problem, ps.SpectralBranch(2, 1), ps.ZeroBranch(), generator=seeded(), counts={"x": 8, "t": 4}
    )
    with torch.no_grad():
        made.theta[0].copy_(torch.tensor([2.0, 0.0, 0.0, 0.0, -1.0, 0.0]))
    one = torch.ones(1, dtype=torch.float64)
    points = made.maps[0].at(made.maps[0].jets({"x": one, "t": one}, ("x",)))
    slope = points.displaced(points.position.values(made.theta[0].detach())).by_term()["x"]
    assert float(slope) == pytest.approx(-6.0)  # the fold is there
    event = made.crossing()
    assert not event.crossed
    assert event.place[0] <= 1.0


# Devices.


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", ["ring by patches", "moving ends", "plane"])
def test_everything_follows_the_device_of_the_weights(case: str, device: str) -> None:
    """Fit, evaluation, gradients, crossing, residual and solution on the device, the same numbers as on the CPU."""
    made, cpu = (device_case(case).to(where) for where in (device, "cpu"))
    for each in (made, cpu):
        each.fit(ProbedLevenbergMarquardt(factorisation=Gram(), max_steps=4))
    at = scattered(made.problem.box, 50)
    given = {axis: value.to(device).requires_grad_() for axis, value in at.items()}
    u = made.at(given)
    assert u.device.type == device
    torch.testing.assert_close(u.detach().cpu(), cpu.at(at).detach(), rtol=0, atol=1e-7)
    slopes = torch.autograd.grad(u.sum(), list(given.values()))
    assert all(slope.device.type == device and bool(torch.isfinite(slope).all()) for slope in slopes)
    n = (3, *(5 for _ in made.problem.box.space_axes))
    solution = made({}, ps.StructuredGrid.uniform(made.problem.box, n))
    assert solution.field.values.device.type == solution.status.device.type == device
    rows, status = made.residual({}, seeded())
    assert {r.device.type for r in rows.values()} == {status.device.type} == {device}
    assert not made.crossing().crossed


@pytest.mark.parametrize("case", ["ring", "moving ends", "plane"])
def test_rows_stay_on_the_device_of_the_weights(case: str) -> None:
    """On the device without numbers, which refuses tensors of another one: what stayed behind shows without CUDA."""
    made = device_case(case).to("meta")
    theta = made.theta[0].detach()
    rows = made._slab(0).rows(made._nodes(0, made.counts, 0.3))
    residual, jacobian = rows.linearise(theta)
    assert residual.device.type == jacobian.device.type == rows.residual(theta).device.type == "meta"
    assert jacobian.shape == (len(residual), len(theta))


def device_case(case: str) -> ps.LagrangianPINN:
    if case == "moving ends":
        branch = ps.SpectralBranch(8, 5)
        return ps.LagrangianPINN(
            inflow(), branch, branch, generator=seeded(), counts={"x": 16, "t": 8}, slabs=4, flow=ps.Follow(0.5)
        )
    if case == "plane":
        problem = ps.Problem(ps.LinearAdvection((0.5, 0.1), axes="xy"), SQUARE, [ps.InitialCondition(bump)])
        return ps.LagrangianPINN(
            problem, ps.SpectralBranch(1, 2), ps.ZeroBranch(), generator=seeded(), counts={"x": 4, "y": 4, "t": 4},
            labels=ps.Rectangle((-1, 2), (-1, 2)),
        )  # fmt: skip
    conditions = [ps.InitialCondition(lambda x, nu: 3.0 + nu * torch.sin(x)), ps.Periodic("x")]
    problem = ps.Problem(ps.Burgers(0.1), RING, conditions)
    branch = ps.TanhBranch((4,)) if case == "ring" else ps.PatchedBranch(ps.TanhBranch((4,)), {"x": 2})
    return ps.LagrangianPINN(problem, branch, branch, generator=seeded(), counts={"x": 16, "t": 6}, slabs=2)


# Bad input: what tests/test_lagrangian.py does not have.

BRANCH = ps.SpectralBranch(2, 2)
SIN = [ps.InitialCondition(lambda x: torch.sin(x)), ps.Periodic("x")]
CARRIED = ps.FunctionPDE(
    lambda f, c, p: (f.u.t + f.u.x - 0.1 * f.u.xx, f.v.t + f.v.x - 0.1 * f.v.xx), fields=("u", "v")
)
CUBE = ps.Cuboid((0, 1), (0, 1), (0, 1)) * ps.TimeInterval(0, 1)


def made_of(problem: Any = None, position: Any = BRANCH, **options: Any) -> ps.LagrangianPINN:
    problem = ps.Problem(ps.LinearAdvection(1.0), RING, SIN) if problem is None else problem
    return ps.LagrangianPINN(problem, position, BRANCH, **{"generator": seeded(), **options})


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"problem": 3}, TypeError, "solves a Problem, got int"),
        ({"position": "tanh"}, TypeError, "position must be a branch such as TanhBranch"),
        ({"flow": "still"}, TypeError, r"flow must be Follow\(\) or Still\(\)"),
        ({"generator": None}, TypeError, r"must be a torch\.Generator, got NoneType"),
        ({"counts": {"y": 3}}, ValueError, "counts names the axis 'y', the domain has t, x"),
        ({"counts": {"x": 0}}, ValueError, "count of axis 'x' must be at least 1"),
        ({"slabs": 1.5}, TypeError, "slabs must be an integer"),
        ({"labels": 3}, TypeError, "labels must be a box in space"),
        ({"labels": ps.Interval(-1, 8)}, ValueError, "periodic axis x must be the domain's"),
        ({"labels": ps.Rectangle((0, 7), (0, 1))}, ValueError, r"labels has the axes \('x', 'y'\)"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be positive"),
    ],
)
def test_bad_settings(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        made_of(**options)


@pytest.mark.parametrize(
    ("problem", "match"),
    [
        (
            lambda: ps.Problem(ps.LinearAdvection(0.5, 0.1), UNIT, [ps.InitialCondition(0.0), ps.Neumann(0.0)]),
            "'left' is no Dirichlet condition",
        ),
        (
            lambda: ps.Problem(ps.LinearAdvection(0.5, 0.1), UNIT, [ps.InitialCondition(1.0), ps.Dirichlet(0.0)]),
            "u on 'left' and the initial condition differ by 1 at the start",
        ),
        (
            lambda: ps.Problem(
                ps.LinearAdvection((0.1, 0.1), nu=0.1, axes="xy"),
                SQUARE, [ps.InitialCondition(lambda x, y: 0.0 * x), ps.Dirichlet(lambda t: t)],
            ),
            r"in two dimensions: at all times",
        ),
        (
            lambda: ps.Problem(
                ps.LinearAdvection((1.0, 1.0, 1.0), axes="xyz"),
                CUBE, [ps.InitialCondition(0.0), *(ps.Periodic(axis) for axis in "xyz")],
            ),
            "one or two space axes are covered, the domain has x, y, z",
        ),
        (
            lambda: ps.Problem(
                CARRIED, RING,
                [
                    *(ps.InitialCondition(lambda x: torch.sin(x), field=f) for f in "uv"),
                    ps.Periodic("x", field="u"), ps.Dirichlet(0.0, field="v"),
                ],
            ),
            "only some fields are periodic along x",
        ),
        (
            lambda: ps.Problem(
                ps.FunctionPDE(lambda f, c, p: (f.u.t + f.u.x, f.v.t + 2.0 * f.v.x), fields=("u", "v")), RING,
                [
                    *(ps.InitialCondition(lambda x: torch.sin(x), field=f) for f in "uv"),
                    *(ps.Periodic("x", field=f) for f in "uv"),
                ],
            ),
            "different velocities along x",
        ),
        (
            lambda: ps.Problem(ps.LinearAdvection(lambda c, p: torch.sqrt(1.05 - 1.06 * c.t)), RING, SIN),
            "velocity is not finite at t = 1, x",
        ),
    ],
)  # fmt: skip
def test_bad_problems(problem: Callable[[], ps.Problem], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        made_of(problem())


def test_labels_that_do_not_cover_the_domain() -> None:
    with pytest.raises(ValueError, match=r"labels along x cover \[0\.5, 2\.0\], the domain needs \[0\.0, 1\.0\]"):
        made_of(
            ps.Problem(ps.LinearAdvection(1.0), UNIT, [ps.InitialCondition(lambda x: x)]), labels=ps.Interval(0.5, 2)
        )


def test_bad_fits_and_points() -> None:
    made, one = made_of(), torch.ones(1, dtype=torch.float64)
    with pytest.raises(TypeError, match="minimiser must be one such as"):
        made.fit(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must consist of Stage objects"):
        made.fit(SOLVER, [1, ps.Stage()])  # type: ignore[list-item]
    assert made.ended.tolist() == [-1]  # nothing was begun
    for at, match in (
        ({"x": one}, "coordinates of axis 't' are missing"),
        ({"x": one.expand(2), "t": one}, "different lengths"),
        ({"x": one[None], "t": one[None]}, "must be 1-D"),
        ({"x": one * math.nan, "t": one}, "x = nan is outside"),
        ({"x": one, "t": one * math.inf}, "t = inf is outside the time"),
    ):
        with pytest.raises(ValueError, match=match):
            made.at(at)
    with pytest.raises(TypeError, match="must be real"):
        made.at({"x": one.to(torch.complex128), "t": one})
    assert made.at({"x": one[:0], "t": one[:0]}).shape == (0, 1)


def test_bad_stages() -> None:
    with pytest.raises(ValueError, match=r"factor of the diffusivity is -2\.0, below zero"):
        ps.Stage(diffusivity=-2.0)
    with pytest.raises(ValueError, match="factor of the velocity must be finite"):
        ps.Stage(velocity=math.nan)
    with pytest.raises(TypeError, match="factor of the velocity must be a real number"):
        ps.Stage("slow")  # type: ignore[arg-type]


def test_bad_curves() -> None:
    made, half = made_of(slabs=2), torch.full((1,), 0.5, dtype=torch.float64)
    for label, times, match in (
        (half.expand(2), [0.1], r"finite entry for each of x, got \[0\.5, 0\.5\]"),
        (half * math.nan, [0.1], "finite entry for each of x"),
        (half, [0.9, 0.1], r"times must rise from 0 to 1 at most, got \[0\.9, 0\.1\]"),
        (half, [0.5, 1.5], "times must rise from 0 to 1"),
        (half, [math.nan], "times must rise from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=match):
            made.curve(label, torch.tensor(times, dtype=torch.float64))
    assert made.curve(half, torch.tensor([0.0, 0.5, 1.0])).shape == (3, 1)
