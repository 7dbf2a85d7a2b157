"""The Gaussians' expert beyond a lattice on one box: known factors, placements, parameters, kept factors, chords."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.factor import Factor, FactorLifting, imposed_by
from pdesolve.experts.gaussians.handed_over import HandedOver
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.lifted import lifted_terms
from pdesolve.experts.gaussians.nested import Nested
from pdesolve.experts.gaussians.placement.adapted import Adapted
from pdesolve.experts.gaussians.reduced_recovery import ReducedRecovery
from pdesolve.experts.gaussians.slabs import AdaptiveSlabs, GivenSlabs
from pdesolve.experts.gaussians.state import InSpace, State
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.problem import Observations
from pdesolve.reference.abstract import ExactSolution
from pdesolve.residual_minimisation.damped_qr import KeptQR
from pdesolve.residual_minimisation.function_residual import FunctionResidual
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.training.solve import solve

UNIT = ps.Interval(0, 1) * ps.TimeInterval(0, 1)


def heat(rate: float = 0.3, wall: float = 0.0) -> ps.Problem:
    """u_t = k u_xx with sin πx, whose walls are at zero or not."""
    return ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t - p.k * f.u.xx, fields=("u",), parameters={"k": rate}),
        UNIT,
        [ps.InitialCondition(lambda x: wall + torch.sin(math.pi * x)), ps.Dirichlet(wall)],
        reference=ExactSolution(lambda t, x, k: wall + torch.exp(-k * math.pi**2 * t) * torch.sin(math.pi * x)),
    )


def error_of(solution: ps.Solution, problem: ps.Problem) -> float:
    assert problem.reference is not None
    exact = problem.reference(solution.field.grid.coordinates(), problem.parameters)
    return float(solution.relative_error(exact.expand_as(solution.field.values[0, 0])[None, None]))


def test_a_factor_holds_conditions_exactly_and_serves_the_rest() -> None:
    problem = heat()
    expert = PhysicsInformedGaussians(
        {"t": 7, "x": 14}, slabs=4, overlaps=(2.0,), lifting=Factor(lambda x: x * (1.0 - x))
    )
    solution = solve(problem, expert)
    assert error_of(solution, problem) < 1e-6
    assert float(solution.field.values[0, 0, :, [0, -1]].abs().max()) == 0.0


def test_a_factor_with_a_root_follows_a_root() -> None:
    """√x is no sum of Gaussians; √x times one is."""
    problem = ps.Problem(
        lambda f, c, p: f.u.x - 0.5 / torch.sqrt(c.x + 1e-300),
        ps.Interval(0, 1),
        [ps.Dirichlet(0.0, on="left")],
        reference=ExactSolution(lambda x: torch.sqrt(x)),
    )
    errors = []
    for root in (None, Factor(lambda x: x**0.5)):
        expert = PhysicsInformedGaussians({"x": 12}, overlaps=(2.0,), lifting=root, tolerance=10.0)
        errors.append(error_of(solve(problem, expert), problem))
    assert errors[1] < 1e-4 * errors[0]


def test_a_factor_that_contradicts_a_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="vanishes on 'left'"):
        imposed_by(lambda x: x, heat(wall=1.0))
    with pytest.raises(ValueError, match="not finite on 'left'"):
        imposed_by(lambda x: 1.0 / x, heat())
    assert imposed_by(lambda x: 1.0 + 0.0 * x, heat()) == []


def test_liftings_of_slabs_agree_with_autograd() -> None:
    """g and m of a state with a factor, and their derivatives, against nested forward mode."""
    layout = Layout(ps.Rectangle((0, 1), (0, 1)), {"x": 5, "y": 4})
    weights = {"u": uniform(1, 20, seed=1), "p": torch.zeros(0, 20, dtype=torch.float64)}
    state = State(0.25, InSpace(layout.cloud()), weights)
    lifting = Nested(FactorLifting(("u", "p"), lambda x: x * (1.0 - x), []), HandedOver(state))
    points = uniform(6, 3, seed=2)
    at = {axis: points[:, j] for j, axis in enumerate("txy")}
    terms = [(f, term) for f in ("u", "p") for term in ("", "t", "xx", "txy")]
    found = lifted_terms(lifting, at, {}, terms)

    def value(p: Tensor, name: str) -> Tensor:
        f = p[1] * (1.0 - p[1])
        u = layout.cloud().table(p[None, 1:], ("",))[""][0] @ weights["u"][0] if name == "u" else 0.0 * p[0]
        v, m = torch.sin(p.sum()), (p[0] - 0.25 if name == "u" else 1.0)
        return f * (u + m * v)

    def derivative(name: str, term: str) -> Tensor:
        def of(p: Tensor) -> Tensor:
            return value(p, name)

        function = of
        for axis in term:
            inner, j = function, "txy".index(axis)
            function = lambda p, inner=inner, j=j: torch.func.grad(inner)(p)[j]  # noqa: E731
        return torch.stack([function(p) for p in points])

    signs = {n: [torch.sin, torch.cos, lambda s: -torch.sin(s), lambda s: -torch.cos(s)][n] for n in range(4)}
    total = points.sum(1)
    of_v = {(f, b): signs[len(b)](total) for f in ("u", "p") for b in found.needed}
    values = found.values(of_v)
    for name, term in terms:
        torch.testing.assert_close(values[name, term], derivative(name, term), rtol=1e-10, atol=1e-10)
    assert lifting.imposes("u", "initial")
    assert not lifting.imposes("p", "initial")


def test_a_state_of_rates_is_not_handed_over() -> None:
    layout = Layout(ps.Interval(0, 1), {"x": 5})
    with pytest.raises(ValueError, match="rates cannot be handed over"):
        HandedOver(State(0.0, InSpace(layout.cloud()), {"u": torch.zeros(2, 5, dtype=torch.float64)}))


def test_a_placement_lowers_the_error_of_a_peak() -> None:
    def exact(x: Tensor, y: Tensor) -> Tensor:
        return torch.exp(-((x - 0.37) ** 2 + (y - 0.61) ** 2) / 0.005)

    def source(c: ps.Coordinates, p: object) -> Tensor:
        d = (c.x - 0.37) ** 2 + (c.y - 0.61) ** 2
        return exact(c.x, c.y) * (4.0 * d / 0.005**2 - 4.0 / 0.005)

    problem = ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy - source(c, p),
        ps.Rectangle((0, 1), (0, 1)),
        [ps.Dirichlet(exact)],
        reference=ExactSolution(exact),
    )
    errors = []
    for placement in (None, Adapted(rounds=3, limit=160)):
        expert = PhysicsInformedGaussians({"x": 11, "y": 11}, overlaps=(1.5,), tolerance=10.0, placement=placement)
        errors.append(error_of(solve(problem, expert), problem))
    assert errors[1] < 0.3 * errors[0]


def test_a_placement_is_of_one_slab() -> None:
    with pytest.raises(ValueError, match="Adapted moves Gaussians of one slab"):
        PhysicsInformedGaussians(100, slabs=2, placement=Adapted())


def test_a_rate_is_found_by_solving_anew() -> None:
    """Within its standard errors, which are those of the linearised fit; without noise, to the solver's accuracy."""
    problem = heat(0.3)
    method = ReducedRecovery(lambda: PhysicsInformedGaussians({"t": 6, "x": 12}, slabs=2, overlaps=(2.0,)))
    exact = method.recover(problem, Observations.sampled(problem, 40, 0.0, seeded(1)), {"k": 0.6})
    assert abs(exact.parameters["k"] / 0.3 - 1.0) < 1e-4
    noisy = method.recover(problem, Observations.sampled(problem, 40, 0.02, seeded(2)), {"k": 0.6})
    assert abs(noisy.parameters["k"] - 0.3) < 4.0 * noisy.standard_errors["k"]
    x = Observations.sampled(problem, 40, 0.02, seeded(2)).coordinates
    slope = math.pi**2 * x["t"] * torch.exp(-0.3 * math.pi**2 * x["t"]) * torch.sin(math.pi * x["x"])
    bound = noisy.noise / float(slope.norm())
    assert noisy.standard_errors["k"] == pytest.approx(bound, rel=0.05)


def test_a_step_to_parameters_that_have_no_solution_is_halved() -> None:
    """The first one, from 0.6 towards 0.02, would make the diffusivity negative."""
    problem = heat(0.02)
    method = ReducedRecovery(lambda: PhysicsInformedGaussians({"t": 6, "x": 12}, slabs=2, overlaps=(2.0,)))
    found = method.recover(problem, Observations.sampled(problem, 40, 0.0, seeded(1)), {"k": 0.6})
    assert abs(found.parameters["k"] / 0.02 - 1.0) < 1e-3


def test_parameters_that_observations_do_not_tell_apart_are_refused() -> None:
    """u_t = a b u_xx, and one that nothing reads."""
    for product in (lambda p: p.a * p.b, lambda p: p.a + 0.0 * p.b):
        problem = ps.Problem(
            ps.FunctionPDE(
                lambda f, c, p, product=product: f.u.t - product(p) * f.u.xx,
                fields=("u",),
                parameters={"a": 0.3, "b": 1.0},
            ),
            UNIT,
            [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.Dirichlet(0.0)],
            reference=ExactSolution(lambda t, x, a, b: torch.exp(-a * math.pi**2 * t) * torch.sin(math.pi * x)),
        )
        method = ReducedRecovery(lambda: PhysicsInformedGaussians({"t": 6, "x": 12}, slabs=2, overlaps=(2.0,)))
        with pytest.raises(ValueError, match="do not determine a, b"):
            method.recover(problem, Observations.sampled(problem, 20, 0.01, seeded(1)), {"a": 0.4, "b": 1.1})


@pytest.mark.parametrize(
    ("unknown", "message"),
    [({}, "no unknown"), ({"q": 1.0}, "unknown parameter 'q'"), ({"k": 0.0}, "must not be 0")],
)
def test_wrong_unknowns_are_refused(unknown: dict[str, float], message: str) -> None:
    problem = heat()
    observed = Observations.sampled(problem, 5, 0.0, seeded(1))
    with pytest.raises(ValueError, match=message):
        ReducedRecovery(lambda: PhysicsInformedGaussians(50)).recover(problem, observed, unknown)


def test_kept_factors_are_made_anew_for_another_matrix() -> None:
    kept, first = KeptQR(), uniform(9, 4, seed=3)
    factors = kept(first, 1e-14)
    assert kept(first * (1.0 + 1e-15), 1e-14) is factors
    assert kept(first, 1e-10) is not factors
    other = first.clone()
    other[0, 0] += 1e-6
    again = kept(other, 1e-14)
    b = uniform(9, seed=4)
    torch.testing.assert_close(again.solve(b), torch.linalg.lstsq(other, b[:, None]).solution[:, 0])


def test_chords_reach_the_same_minimum_in_fewer_steps() -> None:
    """Where little is left at the minimum, as a residual of an equation should be; otherwise chords lead elsewhere."""

    def rows(theta: Tensor) -> Tensor:
        square = math.log(5.0) ** 2
        return torch.cat([theta.exp() - 5.0, 0.5 * (theta.square() - square + 1e-4), theta.roll(1) * theta - square])

    problem, start = FunctionResidual(rows), torch.zeros(6, dtype=torch.float64)
    plain = LineSearchGaussNewton(ftol=1e-12).minimise(problem, start)
    chords = LineSearchGaussNewton(ftol=1e-12, chords=20).minimise(problem, start)
    torch.testing.assert_close(chords.theta, plain.theta, rtol=1e-5, atol=1e-6)
    assert len(chords.history["cost"]) < len(plain.history["cost"])


def test_slabs_grow_and_shrink_as_the_residual_says() -> None:
    slabs = AdaptiveSlabs(1e-6, length=0.1, shortest=0.01)
    assert slabs.following(0.0, 0.1, 1e-9, math.inf) == pytest.approx(0.3)  # at most twice as long
    assert slabs.following(0.2, 0.3, 1e-3, math.inf) == pytest.approx(0.25)  # tried again at half
    assert slabs.following(0.2, 0.25, 9e-4, 1e-3) > 0.25  # half did not help: time is not what is not resolved
    assert slabs.following(0.2, 0.21, 1.0, math.inf) > 0.21  # as short as may be
    assert slabs.following(0.9, 0.99, 1e-9, math.inf) == 1.0
    assert [GivenSlabs((0.2, 1.0)).following(0.0, 0.2, 1.0, math.inf), GivenSlabs.equal(1).first()] == [1.0, 1.0]


def test_points_crowd_at_ends_that_are_not_closed() -> None:
    layout = Layout(ps.Rectangle((0, 1), (0, 1)), {"x": 40, "y": 40}, periodic=("y",))
    share = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    open_axis, closed = layout.place("x", share), layout.place("y", share)
    gaps = open_axis.diff()
    assert float(open_axis[0]) == 0.0
    assert float(open_axis[-1]) == pytest.approx(1.0)
    assert bool((gaps > 0).all())
    assert float(gaps[0]) < 0.1 * float(gaps[50])
    torch.testing.assert_close(closed, share)
    points = layout.points(2.0, seeded(1))
    assert 2.0 * layout.size <= len(points["x"]) <= 2.3 * layout.size
