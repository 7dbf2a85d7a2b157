"""The Lagrangian expert: exact where it says so, right derivatives, labels to 1e-12, crossings, bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import pdesolve as ps
from pdesolve.pde.transport_form import TransportForm
from pdesolve.reference.pseudo_spectral import PseudoSpectral
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt

TURN = 2 * math.pi
RING = ps.Interval(0, TURN) * ps.TimeInterval(0, 1)
SOLVER = ProbedLevenbergMarquardt(factorisation=Gram(), max_steps=30, ftol=1e-2)
SMALL = ps.SpectralBranch(6, 6)
COUNTS = {"x": 24, "t": 10}
INVISCID = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def ring(pde: Any, initial: Any = torch.sin, domain: Any = RING) -> ps.Problem:
    return ps.Problem(pde, domain, [ps.InitialCondition(lambda x: initial(x)), ps.Periodic("x")])


def expert(problem: ps.Problem, state: Any = SMALL, **options: Any) -> ps.LagrangianPINN:
    return ps.LagrangianPINN(problem, SMALL, state, generator=seeded(), **{"counts": COUNTS, **options})


def scattered(n: int = 300, end: float = 1.0) -> dict[str, torch.Tensor]:
    unit = torch.rand(2, n, generator=seeded(), dtype=torch.float64)
    return {"x": TURN * unit[0], "t": end * unit[1]}


@pytest.mark.parametrize("slabs", [1, 2])
@pytest.mark.parametrize("branch", [SMALL, ps.TanhBranch((6,))], ids=["spectral", "tanh"])
def test_fast_convection_and_diffusion(branch: Any, slabs: int) -> None:
    made = ps.LagrangianPINN(
        ring(ps.LinearAdvection(50.0, 0.01)), branch, branch, generator=seeded(), counts=COUNTS, slabs=slabs
    )
    made.fit(SOLVER)
    at = scattered()
    exact = torch.exp(-0.01 * at["t"]) * torch.sin(at["x"] - 50 * at["t"])
    assert float((made.at(at)[:, 0] - exact).detach().abs().max()) < 2e-4


@pytest.mark.parametrize("nu", [0.0, 0.05])
def test_a_velocity_that_varies(nu: float) -> None:
    """J is not one here: taking U'' for u_xx would be wrong by 1e-2."""
    problem = ring(ps.LinearAdvection(lambda c, p: 3.0 + torch.sin(c.x), nu))
    branch = ps.SpectralBranch(10, 10)
    state = branch if nu else ps.ZeroBranch()
    made = ps.LagrangianPINN(problem, branch, state, generator=seeded(), counts={"x": 32, "t": 14})
    made.fit(SOLVER)
    grid = ps.StructuredGrid.periodic(RING, (5, 40))
    exact = PseudoSpectral(128, 1e-10).solve(problem, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    assert float(made({}, grid).relative_error(exact)) < 2e-5


def test_jacobian_of_the_rows() -> None:
    for branch in (SMALL, ps.TanhBranch((5, 4))):
        made = ps.LagrangianPINN(ring(ps.Burgers(0.1)), branch, branch, generator=seeded(), counts=COUNTS)
        rows = made._slab(0).rows(made._nodes(0, COUNTS, 0.0))
        theta = made.theta[0].detach() + 1e-3 * torch.randn(len(made.theta[0]), generator=seeded(), dtype=torch.float64)
        direction = torch.randn(len(theta), generator=seeded(), dtype=torch.float64)
        residual, jacobian = rows.linearise(theta)
        step = 1e-5 / direction.norm() * direction
        slope = (rows.residual(theta + step) - rows.residual(theta - step)) / 2.0
        assert torch.allclose(residual, rows.residual(theta))
        assert float((jacobian @ step - slope).norm() / slope.norm()) < 1e-6


def test_initial_and_periodic_values_hold_for_any_weights() -> None:
    made = expert(ring(ps.Burgers(0.1)))
    with torch.no_grad():
        made.theta[0].add_(0.01 * torch.randn(len(made.theta[0]), generator=seeded(), dtype=torch.float64))
    x = torch.linspace(0, TURN, 30, dtype=torch.float64)
    at_start = made.at({"x": x, "t": torch.zeros_like(x)})[:, 0]
    assert torch.allclose(at_start, torch.sin(x), atol=1e-12)
    later = torch.full_like(x, 0.3)
    assert torch.allclose(made.at({"x": x, "t": later}), made.at({"x": x + TURN, "t": later}), atol=1e-11)


def test_gradients_of_u_by_place_and_time() -> None:
    made = expert(ring(INVISCID, domain=ps.Interval(0, TURN) * ps.TimeInterval(0, 0.7)), ps.ZeroBranch())
    made.fit(SOLVER)
    at = {name: value.requires_grad_() for name, value in scattered(6, 0.7).items()}

    def value(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return made.at({"x": x, "t": t})

    assert torch.autograd.gradcheck(value, (at["x"], at["t"]), atol=1e-5)
    slope = torch.autograd.grad(made.at(at).sum(), [at["t"], at["x"]])
    u = made.at(at)[:, 0]
    assert float((slope[0] + u * slope[1]).detach().abs().max()) < 1e-9


def test_characteristics_that_cross_are_told_with_time_and_place() -> None:
    domain = ps.Interval(0, TURN) * ps.TimeInterval(0, 1.5)
    made = expert(ring(INVISCID, domain=domain), ps.ZeroBranch())
    crossing = made.fit(SOLVER).crossing
    assert crossing.crossed
    assert abs(crossing.time - 1.0) < 0.01
    assert abs(crossing.place[0] - math.pi) < 0.05
    grid = ps.StructuredGrid.periodic(domain, (7, 16))
    with pytest.raises(ps.SolveError, match=r"cross first at t = (1|0\.99|1\.00)"):
        made({}, grid)
    solution = made({}, grid, throw=False)
    assert solution.status.tolist() == [[int(ps.SolveStatus.CROSSING)]]
    early = solution.field.values[0, 0, :4]
    assert bool(torch.isfinite(early).all())  # what lies before is right


def test_solid_rotation() -> None:
    domain = ps.Rectangle((-1, 1), (-1, 1)) * ps.TimeInterval(0, 0.5)
    pde = ps.LinearAdvection(lambda c, p: (-TURN * c.y, TURN * c.x), axes="xy")

    def bump(x: Any, y: Any) -> Any:
        return torch.exp(-((x - 0.3) ** 2 + y**2) * 50.0)

    problem = ps.Problem(pde, domain, [ps.InitialCondition(bump), ps.Dirichlet(0.0)])
    made = ps.LagrangianPINN(
        problem, ps.SpectralBranch(1, 14), ps.ZeroBranch(), generator=seeded(),
        counts={"x": 4, "y": 4, "t": 18}, labels=ps.Rectangle((-1.5, 1.5), (-1.5, 1.5)),
    )  # fmt: skip
    made.fit(SOLVER)
    x, y = 2 * torch.rand(2, 200, generator=seeded(), dtype=torch.float64) - 1
    u = made.at({"x": x, "y": y, "t": torch.full_like(x, 0.5)})[:, 0]
    assert float((u - bump(-x, -y)).detach().abs().max()) < 1e-8


def test_held_ends_keep_prescribed_values() -> None:
    domain = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
    problem = ps.Problem(
        ps.LinearAdvection(0.5, 0.1), domain, [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.Dirichlet(0.0)]
    )
    branch = ps.SpectralBranch(14, 8)
    made = ps.LagrangianPINN(
        problem, branch, branch, generator=seeded(), counts={"x": 24, "t": 14}, flow=ps.Follow(0.4)
    )
    made.fit(SOLVER)
    grid = ps.StructuredGrid.uniform(domain, (5, 21))
    exact = ps.MethodOfLines(order=6).solve(problem, {}, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    assert float(made({}, grid).relative_error(exact)) < 5e-4  # initial and boundary values disagree in second order


def test_still_labels_are_an_eulerian_network() -> None:
    made = expert(ring(ps.LinearAdvection(1.0)), flow=ps.Still())
    made.fit(SOLVER)
    at = scattered()
    assert float((made.at(at)[:, 0] - torch.sin(at["x"] - at["t"])).detach().abs().max()) < 1e-5


# Bad input.


@pytest.mark.parametrize(
    ("pde", "lack"),
    [
        (lambda f, c, p: f.u.t + f.u.x**2, "not linear in u.x"),
        (lambda f, c, p: f.u.t + f.u.xxx, "u.xxx"),
        (lambda f, c, p: f.u.xx - f.u.x, "time derivative"),
        (lambda f, c, p: f.u.tt - f.u.xx, "u.tt"),
    ],
)
def test_what_an_equation_lacks_is_named(pde: Any, lack: str) -> None:
    with pytest.raises(ValueError, match=f"transport form.*{lack}"):
        TransportForm(ps.FunctionPDE(pde), {}, ("t", "x"))


def test_an_initial_condition_that_does_not_repeat() -> None:
    with pytest.raises(ValueError, match="declared periodic"):
        expert(ring(ps.Burgers(0.1), lambda x: x))


def test_a_negative_viscosity() -> None:
    with pytest.raises(ValueError, match="nu must be finite and >= 0"):
        ps.LinearAdvection(1.0, -0.1)
    with pytest.raises(ValueError, match="diffusivity is negative"):
        expert(ring(ps.FunctionPDE(lambda f, c, p: f.u.t + f.u.x + 0.1 * f.u.xx)))


def test_a_velocity_of_wrong_shape_or_not_finite() -> None:
    with pytest.raises(ValueError, match="shape"):
        ps.LinearAdvection(lambda c, p: torch.ones(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="not finite"):
        ps.LinearAdvection(lambda c, p: torch.log(c.x - 2.0))
    with pytest.raises(ValueError, match=r"velocity is not finite at t = .*, x = [3-6]"):
        expert(ring(ps.LinearAdvection(lambda c, p: torch.sqrt(3.0 - c.x))))


def test_points_outside() -> None:
    made = expert(ring(ps.LinearAdvection(1.0)), ps.ZeroBranch())
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"t = 2 is outside the time"):
        made.at({"x": one, "t": 2 * one})
    domain = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
    open_end = ps.Problem(ps.LinearAdvection(1.0), domain, [ps.InitialCondition(lambda x: x)])
    made = expert(open_end, ps.ZeroBranch())
    made.fit(SOLVER)
    with pytest.raises(ValueError, match=r"reached by no characteristic.*Dirichlet condition where the flow enters"):
        made.at({"x": 0.1 * one, "t": 0.9 * one})
    with pytest.raises(ValueError, match="x = 3 is outside the region"):
        made.at({"x": 3 * one, "t": 0.9 * one})
    assert float(made.at({"x": 0.9 * one, "t": 0.5 * one}).detach()) == pytest.approx(0.4)


def test_values_prescribed_where_the_flow_leaves() -> None:
    domain = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
    problem = ps.Problem(ps.LinearAdvection(1.0), domain, [ps.InitialCondition(0.0), ps.Dirichlet(0.0)])
    with pytest.raises(ValueError, match="leaves through 'right'"):
        expert(problem)


def test_other_parameters_and_paths_are_refused() -> None:
    made = expert(ring(ps.Burgers(0.1)))
    with pytest.raises(ValueError, match="fitted to one problem"):
        made({"nu": 0.2}, ps.StructuredGrid.periodic(RING, (3, 8)))  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="must end with Stage"):
        made.fit(SOLVER, [ps.Stage(1.0, 2.0)])
