"""What a lifting promises is checked for the parameters of every call, and generic frames look at whole families."""

from __future__ import annotations

import math

import pytest
import torch

import pdesolve as ps

DOMAIN = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
GRID = ps.StructuredGrid.cell_centred(DOMAIN, (6, 20))


def heat(conditions: list, parameters: dict[str, float] | None = None) -> ps.Problem:  # type: ignore[type-arg]
    return ps.Problem(ps.Heat(kappa=0.1), DOMAIN, conditions, parameters or {})


def rising() -> ps.Problem:
    conditions = [ps.InitialCondition(0.0), ps.Dirichlet(lambda b: b, on="left"), ps.Dirichlet(0.0, on="right")]
    return heat(conditions, {"b": 0.0})


def test_a_family_is_looked_at_as_a_whole() -> None:
    """The default b = 0 agrees with the initial value, b = 1 does not."""
    family = ps.ProblemFamily(rising(), {"b": ps.Uniform(0.0, 1.0)})
    assert isinstance(ps.generic_frame(family).lifting, ps.SimilarityLifting)
    expert = ps.parametric_expert(family, n_basis=48, widths=(48,), dtype=torch.float64)
    times = {axis: GRID.axis_nodes(axis) for axis in GRID.axes}
    exact = ps.MethodOfLines().solve(family.problem, {"b": 1.0}, times)
    assert float(expert({"b": 1.0}, GRID).relative_error(exact)) < 0.02


def test_parameters_that_break_the_frame_s_promise_are_refused() -> None:
    expert = ps.parametric_expert(rising(), n_basis=8, dtype=torch.float64)
    expert({"b": 0.0}, GRID)
    with pytest.raises(ValueError, match=r"'left'.*ProblemFamily"):
        expert({"b": 1.0}, GRID)
    with pytest.raises(ValueError, match=r"'left'.*ProblemFamily"):
        expert({"b": torch.tensor([math.nan, 1.0])}, GRID)  # one that is not a number hides no other
    with pytest.raises(ValueError, match=r"'left'"):
        ps.soft_expert(rising())({"b": 1.0}, GRID)


@pytest.mark.parametrize(
    ("lift", "multiplier", "where"),
    [
        (lambda x: x, lambda x, t: x * t, "right"),
        (lambda x: 0 * x, lambda x, t: x * (1 - x) * (t + 1), "initial"),
    ],
)
def test_a_lifting_of_ones_own_is_checked(lift: object, multiplier: object, where: str) -> None:
    problem = heat([ps.InitialCondition(lambda x: 0 * x), ps.Dirichlet(0.0)])
    lifting = ps.FunctionLifting(lift, multiplier, imposed=("left", "right", "initial"))  # type: ignore[arg-type]
    frame = ps.Frame(ps.ScaledCoordinates(problem), lifting)
    with pytest.raises(ValueError, match=where):
        ps.parametric_expert(problem, n_basis=4, frame=frame, dtype=torch.float64)({}, GRID)


def wave(conditions: list) -> ps.Problem:  # type: ignore[type-arg]
    return ps.Problem(lambda f, c, p: f.u.tt - f.u.xx, DOMAIN, conditions)


def test_a_lifting_that_leaves_the_initial_velocity_free_is_refused() -> None:
    """m = t x (1 - x) vanishes at the start, its time derivative does not: u_t(0) would be anything."""
    start = ps.InitialCondition(lambda x: torch.sin(math.pi * x))
    problem = wave([start, ps.InitialCondition(0.0, order=1), ps.Dirichlet(0.0)])
    imposed = ("left", "right", "initial")
    free = lambda x: torch.sin(math.pi * x), lambda x, t: t * x * (1 - x)
    wrong = lambda x, t: torch.sin(math.pi * x) * (1 + t), lambda x, t: t**2 * x * (1 - x)
    for lift, multiplier in (free, wrong):
        lifting = ps.FunctionLifting(lift, multiplier, imposed)
        frame = ps.Frame(ps.ScaledCoordinates(problem), lifting)
        with pytest.raises(ValueError, match=r"'initial' of order 1"):
            ps.parametric_expert(problem, n_basis=4, frame=frame, dtype=torch.float64)({}, GRID)


def test_a_wave_between_moving_ends_is_solved() -> None:
    """u = sin(2x + 2t): initial velocity and boundary values that change in time."""
    conditions = [ps.InitialCondition(lambda x: torch.sin(2 * x)), ps.Dirichlet(lambda x, t: torch.sin(2 * x + 2 * t))]
    problem = wave([*conditions, ps.InitialCondition(lambda x: 2 * torch.cos(2 * x), order=1)])
    expert = ps.parametric_expert(problem, n_basis=64, widths=(64,), dtype=torch.float64)
    t, x = GRID.coordinates()["t"], GRID.coordinates()["x"]
    assert float(expert({}, GRID).relative_error(torch.sin(2 * x + 2 * t)[None, None])) < 0.01


def test_a_flux_that_contradicts_the_initial_slope_is_resolved() -> None:
    """u_x(0) = -1 from rest: u starts like the square root of time."""
    problem = heat([ps.InitialCondition(0.0), ps.Neumann(1.0, on="left"), ps.Neumann(0.0, on="right")])
    expert = ps.parametric_expert(problem, n_basis=64, widths=(64,), dtype=torch.float64)
    exact = ps.MethodOfLines().solve(problem, {}, {axis: GRID.axis_nodes(axis) for axis in GRID.axes})
    assert isinstance(expert.layer.row_weight, ps.Unweighted)
    assert float(expert({}, GRID).relative_error(exact)) < 0.03


def test_agreeing_fluxes_need_no_corner() -> None:
    problem = heat([ps.InitialCondition(lambda x: torch.cos(math.pi * x)), ps.Neumann(0.0)])
    expert = ps.parametric_expert(problem, n_basis=48, widths=(48,), dtype=torch.float64)
    t, x = GRID.coordinates()["t"], GRID.coordinates()["x"]
    exact = torch.exp(-0.1 * math.pi**2 * t) * torch.cos(math.pi * x)
    assert float(expert({}, GRID).relative_error(exact[None, None])) < 0.01
