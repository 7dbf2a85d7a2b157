"""Conditions that ask a field for two values where they meet are said in words, and those that agree are not."""

from __future__ import annotations

import pytest

import pdesolve as ps
from pdesolve.experts.gaussian_network import GaussianNetwork
from pdesolve.frames.contradictions import contradictions
from pdesolve.reference.suite import burgers_problem, cavity_problem, parabolic_lid, unit_lid
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.training.solve import solve

LINE = ps.Interval(0, 1) * ps.TimeInterval(0, 1)


def heat(*conditions: ps.AbstractCondition, domain: ps.Box = LINE) -> ps.Problem:
    return ps.Problem(ps.Heat(0.1), domain, conditions)


def test_an_initial_value_against_a_boundary_value() -> None:
    problem = heat(ps.InitialCondition(1.0), ps.Dirichlet(0.0, on="left"), ps.Dirichlet(1.0, on="right"))
    assert contradictions(problem) == ["u is 1 by 'initial' and 0 by 'left' where they meet, at t = 0, x = 0"]


def test_two_boundaries_of_a_square_that_meet_in_a_corner() -> None:
    problem = ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy,
        ps.Rectangle((0, 1), (0, 1)),
        [ps.Dirichlet(1.0, on="top"), ps.Dirichlet(0.0, on=("left", "right", "bottom"))],
    )
    found = contradictions(problem)
    assert len(found) == 2
    assert all("'top'" in sentence and "y = 1" in sentence for sentence in found)


def test_an_edge_in_space_and_time_is_looked_at_along_its_length() -> None:
    """They agree at one end of the edge only."""
    domain = ps.Rectangle((0, 1), (0, 1)) * ps.TimeInterval(0, 1)
    start = ps.InitialCondition(lambda x, y: (1 - x) * y)
    agreeing = heat(
        start,
        ps.Dirichlet(lambda y: y, on="left"),
        ps.Dirichlet(0.0, on=("right", "bottom")),
        ps.Dirichlet(lambda x: 1 - x, on="top"),
        domain=domain,
    )
    assert contradictions(agreeing) == []
    wrong = heat(
        start,
        ps.Dirichlet(0.0, on=("left", "right", "bottom")),
        ps.Dirichlet(lambda x: 1 - x, on="top"),
        domain=domain,
    )
    found = contradictions(wrong)
    assert any("'initial' and 0 by 'left'" in sentence for sentence in found)
    assert any("'left'" in sentence and "'top'" in sentence for sentence in found)


def test_each_field_for_itself_and_parameters_count() -> None:
    pde = ps.FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx, f.v.t - p.a * f.v.xx), ("u", "v"), {"a": 1.0})
    conditions = [
        ps.InitialCondition(0.0, field="u"),
        ps.InitialCondition(2.0, field="v"),
        ps.Dirichlet(0.0, field="u"),
        ps.Dirichlet(lambda a: 2.0 * a, field="v"),
    ]
    assert contradictions(ps.Problem(pde, LINE, conditions)) == []
    found = contradictions(ps.Problem(pde, LINE, conditions, {"a": 1.5}))
    assert [sentence[:32] for sentence in found] == [
        "v is 2 by 'initial' and 3 by 'le",
        "v is 2 by 'initial' and 3 by 'ri",
    ]


def test_problems_whose_conditions_agree() -> None:
    assert contradictions(burgers_problem()) == []  # sin π at the ends is round-off
    assert contradictions(cavity_problem(parabolic_lid)) == []
    assert contradictions(heat(ps.InitialCondition(1.0), ps.Neumann(0.5))) == []  # a flux is no value
    assert contradictions(heat(ps.InitialCondition(lambda x: x), ps.Periodic("x"))) == []
    jump = contradictions(cavity_problem(unit_lid))
    assert len(jump) == 2
    assert all(sentence.startswith("u is") for sentence in jump)


def test_two_conditions_on_one_boundary_are_refused() -> None:
    with pytest.raises(ValueError, match="two conditions on boundary 'left'"):
        heat(ps.InitialCondition(0.0), ps.Dirichlet(0.0), ps.Dirichlet(1.0, on="left"))


def test_a_fit_that_fails_by_a_contradiction_names_it() -> None:
    problem = heat(ps.InitialCondition(1.0), ps.Dirichlet(0.0))
    expert = GaussianNetwork(9, features=2, minimiser=ProbedLevenbergMarquardt(max_steps=30, ftol=1e-3))
    with pytest.raises(ps.SolveError, match="u is 1 by 'initial' and 0 by 'left' where they meet"):
        solve(problem, expert)
