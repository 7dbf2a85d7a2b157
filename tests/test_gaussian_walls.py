"""Walls that Gaussians meet exactly: values that move, corners, fields beside each other, orders in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.factor import Factor
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.placement.stretched import Stretched
from pdesolve.experts.gaussians.state import State
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.residual_minimisation.krylov_gauss_newton import KrylovGaussNewton

Exact = Callable[..., Tensor]
UNIT = ps.Interval(0, 1) * ps.TimeInterval(0, 1)


def warming() -> tuple[ps.Problem, Exact]:
    """Walls whose values move."""

    def exact(x: Tensor, t: Tensor) -> Tensor:
        return torch.exp(-t) * torch.cos(2 * x + 1)

    pde = ps.FunctionPDE(lambda f, c, p: f.u.t - 0.1 * f.u.xx + 0.6 * exact(c.x, c.t), fields=("u",))
    start = ps.InitialCondition(lambda x: torch.cos(2 * x + 1))
    return ps.Problem(pde, UNIT, [start, ps.Dirichlet(lambda x, t: exact(x, t))]), exact


def waving() -> tuple[ps.Problem, Exact]:
    """Second order in time: value and rate of u, not of what a lifting leaves of it, begin a slab."""

    def exact(x: Tensor, t: Tensor) -> Tensor:
        return torch.cos(x - t)

    pde = ps.FunctionPDE(lambda f, c, p: f.u.tt - f.u.xx, fields=("u",))
    start = [ps.InitialCondition(lambda x: torch.cos(x)), ps.InitialCondition(lambda x: torch.sin(x), order=1)]
    return ps.Problem(pde, UNIT, [*start, ps.Dirichlet(lambda x, t: exact(x, t))]), exact


def plate() -> tuple[ps.Problem, Exact]:
    """Two dimensions; one wall of four has a slope instead of a value."""

    def exact(x: Tensor, y: Tensor) -> Tensor:
        return torch.sin(3 * x + y) * torch.exp(y)

    def source(x: Tensor, y: Tensor) -> Tensor:
        return torch.exp(y) * (2 * torch.cos(3 * x + y) - 9 * torch.sin(3 * x + y))

    pde = ps.FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy - source(c.x, c.y), fields=("u",))
    slope = ps.Neumann(lambda x, y: 3 * torch.cos(3 * x + y) * torch.exp(y), on="right")
    values = ps.Dirichlet(lambda x, y: exact(x, y), on=("left", "bottom", "top"))
    return ps.Problem(pde, ps.Rectangle((0, 1), (0, 1)), [values, slope]), exact


def carried() -> tuple[ps.Problem, Exact]:
    """Nonlinear, in two dimensions and time."""

    def exact(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 1.0 + 0.5 * torch.sin(x - t) * torch.exp(-y)

    def source(c: Any) -> Tensor:
        slope = 0.5 * torch.cos(c.x - c.t) * torch.exp(-c.y)
        return (exact(c.t, c.x, c.y) - 1.0) * slope

    pde = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x - 0.1 * (f.u.xx + f.u.yy) - source(c), fields=("u",))
    box = ps.Rectangle((0, 1), (0, 1)) * ps.TimeInterval(0, 0.5)
    start = ps.InitialCondition(lambda x, y: 1.0 + 0.5 * torch.sin(x) * torch.exp(-y))
    return ps.Problem(pde, box, [start, ps.Dirichlet(lambda t, x, y: exact(t, x, y))]), exact


def spread(box: ps.Box, count: int = 400) -> dict[str, Tensor]:
    unit = torch.rand(len(box.axes), count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return {a: box.bounds(a)[0] + box.extent(a) * unit[j] for j, a in enumerate(box.axes)}


def error(fitted: PhysicsInformedGaussians, exact: Exact, at: Mapping[str, Tensor]) -> float:
    return float((fitted.at(at)[0] - exact(**at)).norm() / exact(**at).norm())


SMALL = {"slabs": 3, "overlaps": (2.0,)}
CASES: dict[str, tuple[Callable[[], tuple[ps.Problem, Exact]], Callable[..., PhysicsInformedGaussians], float]] = {
    "warming": (warming, lambda **c: PhysicsInformedGaussians({"t": 7, "x": 16}, **SMALL, **c), 0.5),
    "waving": (waving, lambda **c: PhysicsInformedGaussians({"t": 8, "x": 16}, **SMALL, **c), 0.5),
    "plate": (plate, lambda **c: PhysicsInformedGaussians({"x": 18, "y": 18}, overlaps=(2.0,), **c), 0.5),
    "carried": (
        carried, lambda **c: PhysicsInformedGaussians(
            {"t": 5, "x": 12, "y": 12}, slabs=2, overlaps=(1.5,), minimiser=KrylovGaussNewton(), **c), 1.0
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_walls_hold_exactly_and_the_rest_gets_no_worse(name: str) -> None:
    state, make, gain = CASES[name]
    problem, exact = state()
    plain, walled = make(), make(lifting=ps.WallLifting)
    assert plain.fit(problem).status is ps.SolveStatus.CONVERGED
    assert walled.fit(problem).status is ps.SolveStatus.CONVERGED
    at = spread(problem.box)
    assert error(walled, exact, at) <= gain * error(plain, exact, at)
    for face in problem.resolved.faces:
        if face.is_dirichlet:
            on = {**at, face.axis: torch.full_like(at[face.axis], face.position)}
            assert float((walled.at(on)[0] - exact(**on)).abs().max()) < 1e-12
            assert float((plain.at(on)[0] - exact(**on)).abs().max()) > 1e-12


@pytest.mark.parametrize("factor", [lambda x: 4 * x * (1 - x), lambda x, t: (1 + t) * torch.sin(math.pi * x)])
def test_a_factor_serves_waves_through_slabs(factor: Callable[..., Tensor]) -> None:
    """Begun with the weights' own sum instead of u, the second slab errs by 0.2."""
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.tt - f.u.xx, fields=("u",)),
        UNIT,
        [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.InitialCondition(0.0, order=1), ps.Dirichlet(0.0)],
    )
    fitted = PhysicsInformedGaussians({"t": 8, "x": 20}, lifting=Factor(factor), **SMALL)
    assert fitted.fit(problem).status is ps.SolveStatus.CONVERGED
    exact = lambda x, t: torch.sin(math.pi * x) * torch.cos(math.pi * t)  # noqa: E731
    assert error(fitted, exact, spread(problem.box)) < 1e-4


def test_a_state_over_a_lifting_knows_the_rates_of_what_is_left() -> None:
    """u = g + m w: w from u0, and w_t from u_t less what g and m do in time."""
    problem, _ = waving()
    lifting = ps.FunctionLifting(lambda x, t: t + x, lambda x, t: (2.0 + t) * (1.0 + x), ())
    layout = Layout(problem.box, {"t": 3, "x": 30}, 1.3)
    state = State.initial(problem, layout, torch.Generator().manual_seed(0), lifting)
    x = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)
    w, rate = state.basis.sums(x[:, None], state.weights["u"], ("",))[""]
    torch.testing.assert_close(x + 2 * (1 + x) * w, torch.cos(x), rtol=0.0, atol=1e-8)
    torch.testing.assert_close(1 + (1 + x) * w + 2 * (1 + x) * rate, torch.sin(x), rtol=0.0, atol=1e-8)
    value, slope = (c.value for c in state.conditions(lifting, {}))
    torch.testing.assert_close(value(x=x), torch.cos(x), rtol=0.0, atol=1e-8)
    torch.testing.assert_close(slope(x=x), torch.sin(x), rtol=0.0, atol=1e-8)


def test_walls_and_a_placement_go_together() -> None:
    problem, exact = plate()
    fitted = PhysicsInformedGaussians(
        {"x": 12, "y": 12}, overlaps=(2.0,), lifting=ps.WallLifting, placement=Stretched(rounds=1), tolerance=1.0
    )
    assert fitted.fit(problem).status is ps.SolveStatus.CONVERGED
    at = spread(problem.box)
    assert error(fitted, exact, at) < 1e-4
    on = {**at, "y": torch.zeros_like(at["y"])}
    assert float((fitted.at(on)[0] - exact(**on)).abs().max()) < 1e-12


def test_liftings_that_cannot_be() -> None:
    problem, _ = warming()
    torn = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy, fields=("u",)),
        ps.Rectangle((0, 1), (0, 1)),
        [ps.Dirichlet(1.0, on=("left", "right")), ps.Dirichlet(0.0, on=("bottom", "top"))],
    )
    given: list[tuple[ps.Problem, Any, type[Exception], str]] = [
        (problem, ps.TransfiniteLifting, ValueError, "imposes the initial values of u, which slabs hand on"),
        (problem, lambda problem: 3.0, TypeError, "must return an AbstractLifting, got float"),
        (torn, ps.WallLifting, ValueError, "says that it imposes the condition of 'u' on 'left'"),
        (problem, lambda problem: ps.FunctionLifting(0.0, lambda x: x, ("left",)), ValueError, "g misses it"),
    ]
    for case, lifting, kind, words in given:
        with pytest.raises(kind, match=words):
            PhysicsInformedGaussians(dict.fromkeys(case.box.axes, 6), lifting=lifting).fit(case)
