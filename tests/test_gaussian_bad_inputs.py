"""What may be wrong with a problem or the numbers of its expert, each through ``PhysicsInformedGaussians`` itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

import pdesolve as ps
from pdesolve.experts.gaussians.factor import Factor
from pdesolve.experts.gaussians.layout import AxisMap
from pdesolve.experts.gaussians.placement.adapted import Adapted
from pdesolve.experts.gaussians.slabs import AdaptiveSlabs
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.reference.suite import burgers_problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.training.solve import solve

SQUARE = ps.Rectangle((-1, 1), (-1, 1))
POISSON = ps.Problem(lambda f, c, p: f.u.xx + f.u.yy - 1.0, SQUARE, [ps.Dirichlet(0.0)])
UNIT = ps.Interval(0, 1) * ps.TimeInterval(0, 1)


def heat(initial: Callable[..., object] | float) -> ps.Problem:
    return ps.Problem(lambda f, c, p: f.u.t - f.u.xx, UNIT, [ps.InitialCondition(initial), ps.Dirichlet(0.0)])


HEAT = heat(lambda x: torch.sin(math.pi * x))


@pytest.mark.parametrize("overlap", [0.0, -1.0, math.nan, math.inf])
def test_widths_that_are_not_positive(overlap: float) -> None:
    with pytest.raises(ValueError, match="overlap"):
        PhysicsInformedGaussians(10, overlaps=(overlap,))


def test_no_width_at_all() -> None:
    with pytest.raises(ValueError, match="overlaps"):
        PhysicsInformedGaussians(10, overlaps=())


@pytest.mark.parametrize(("low", "high"), [(-9.0, 1.0), (-1.0, 0.5), (-0.5, 1.0), (1.0, 3.0)])
def test_maps_that_put_centres_outside_or_leave_a_part_out(low: float, high: float) -> None:
    expert = PhysicsInformedGaussians({"x": 9, "y": 9}, maps={"x": AxisMap.uniform(low, high)})
    with pytest.raises(ValueError, match=r"map of 'x' runs from .* the axis from -1 to 1"):
        solve(POISSON, expert)


@pytest.mark.parametrize("knots", [(0.0,), (0.0, 0.0), (1.0, 0.0), (0.0, math.nan), (0.0, math.inf)])
def test_maps_that_do_not_rise(knots: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        AxisMap(torch.tensor(knots, dtype=torch.float64))


@pytest.mark.parametrize("slabs", [2, (0.3, 1.0), AdaptiveSlabs(length=1.0)])
def test_what_is_of_one_slab(slabs: int | Sequence[float] | AdaptiveSlabs) -> None:
    """Slabs that begin with the whole time may become shorter."""
    with pytest.raises(ValueError, match="map along t"):
        PhysicsInformedGaussians(50, slabs=slabs, maps={"t": AxisMap.uniform(0.0, 1.0)})
    with pytest.raises(ValueError, match="Adapted moves Gaussians of one slab"):
        PhysicsInformedGaussians(50, slabs=slabs, placement=Adapted())
    with pytest.raises(ValueError, match="slabs need a time axis"):
        solve(POISSON, PhysicsInformedGaussians(50, slabs=slabs))


@pytest.mark.parametrize("points", [0.5, 0.0, math.nan, math.inf])
def test_fewer_points_than_unknowns(points: float) -> None:
    with pytest.raises(ValueError, match="points must be"):
        PhysicsInformedGaussians(10, points=points)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan])
def test_a_tolerance_that_is_not_positive(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be"):
        PhysicsInformedGaussians(10, tolerance=tolerance)


@pytest.mark.parametrize("count", [0, -3, {"x": 0, "y": 4}])
def test_counts_below_one(count: int | dict[str, int]) -> None:
    with pytest.raises(ValueError, match="count"):
        PhysicsInformedGaussians(count)


@pytest.mark.parametrize("count", [2.5, True, "9", {"x": 2.0}])
def test_counts_that_are_no_integers(count: object) -> None:
    with pytest.raises(TypeError, match="count"):
        PhysicsInformedGaussians(count)  # type: ignore[arg-type]


@pytest.mark.parametrize("slabs", [0, (), (0.5,), (0.5, 0.5, 1.0), (-0.5, 1.0), (0.5, 2.0), (math.nan, 1.0)])
def test_slabs_that_do_not_cut_time(slabs: int | Sequence[float]) -> None:
    with pytest.raises(ValueError, match="slabs"):
        PhysicsInformedGaussians(10, slabs=slabs)


@pytest.mark.parametrize("slabs", [True, 1.5, "ab"])
def test_slabs_of_another_kind(slabs: object) -> None:
    with pytest.raises(TypeError, match="slabs"):
        PhysicsInformedGaussians(10, slabs=slabs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("placement", "AbstractPlacement"),
        ("minimiser", "AbstractMinimiser"),
        ("lifting", "lifting must be a function"),
        ("maps", "map of 'x' must be an AxisMap"),
    ],
)
def test_arguments_of_another_kind(name: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        PhysicsInformedGaussians(10, **{name: {"x": 1.0}})  # type: ignore[arg-type]


def test_a_gram_matrix_that_is_singular_is_no_obstacle() -> None:
    """Gaussians six spacings wide, dependent to working precision; the solution is exact to what they can do."""
    expert = PhysicsInformedGaussians({"x": 14, "y": 14}, overlaps=(6.0,))
    problem = ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy + 2.0 * torch.sin(c.x) * torch.sin(c.y),
        SQUARE,
        [ps.Dirichlet(lambda x, y: torch.sin(x) * torch.sin(y))],
    )
    solution = solve(problem, expert)
    at = torch.cat([expert._pieces[0].cloud.centres, 0.01 + expert._pieces[0].cloud.centres])
    table = expert._pieces[0].cloud.table(at, ("",))[""]
    assert int(torch.linalg.matrix_rank(table.mT @ table)) < 14 * 14
    nodes = solution.field.grid.coordinates()
    exact = torch.sin(nodes["x"]) * torch.sin(nodes["y"])
    assert float(solution.relative_error(exact.expand_as(solution.field.values))) < 1e-8


def test_a_nonlinear_problem_sent_to_the_linear_solver() -> None:
    expert = PhysicsInformedGaussians({"t": 5, "x": 12}, overlaps=(2.0,), minimiser=LinearLeastSquares())
    with pytest.raises(ValueError, match=r"not affine.*ProbedLevenbergMarquardt"):
        solve(burgers_problem(0.1), expert)


@pytest.mark.parametrize("minimiser", [LinearLeastSquares(damping=0.0), LineSearchGaussNewton(damping=0.0)])
def test_dependent_columns_without_damping_are_a_status(minimiser: AbstractMinimiser) -> None:
    """v stands in no row."""
    pde = ps.FunctionPDE(lambda f, c, p: (f.u.xx - 1.0 + 0.0 * f.v,), fields=("u", "v"))
    problem = ps.Problem(pde, ps.Interval(0, 1), [ps.Dirichlet(0.0, field="u")])
    solution = solve(problem, PhysicsInformedGaussians(9, overlaps=(2.0,), minimiser=minimiser), throw=False)
    assert int(solution.status[0, 0]) == ps.SolveStatus.SINGULAR


def test_factors_that_cannot_be() -> None:
    """Of an axis that is not there; not finite; and not periodic where u is, in value or in slope."""
    for factor, message in ((lambda q: q, "reads 'q'"), (lambda x: 1.0 / x, "not finite")):
        with pytest.raises(ValueError, match=message):
            solve(HEAT, PhysicsInformedGaussians({"t": 5, "x": 9}, lifting=Factor(factor)))
    ring = ps.Problem(
        lambda f, c, p: f.u.t - f.u.xx,
        UNIT,
        [ps.InitialCondition(lambda x: torch.sin(2.0 * math.pi * x)), ps.Periodic("x")],
    )
    for factor in (lambda x: 1.0 + x, lambda x: 2.0 + x * (1.0 - x)):
        with pytest.raises(ValueError, match="along which u is periodic"):
            solve(ring, PhysicsInformedGaussians({"t": 5, "x": 9}, lifting=Factor(factor)))
    expert = PhysicsInformedGaussians(
        {"t": 7, "x": 14},
        slabs=20,
        overlaps=(2.0,),
        lifting=Factor(lambda x: 2.0 + torch.cos(2.0 * math.pi * x)),
        tolerance=1.0,
    )
    solution = solve(ring, expert)
    assert float(solution.field.values[0, 0, :, [0, -1]].diff().abs().max()) < 1e-12


def test_conditions_that_contradict_each_other_are_named() -> None:
    with pytest.raises(ps.SolveError, match=r"u is 1 by 'initial' and 0 by 'left' where they meet"):
        solve(heat(1.0), PhysicsInformedGaussians({"t": 7, "x": 16}, overlaps=(2.0,)))


def test_an_order_above_the_closed_forms() -> None:
    problem = ps.Problem(lambda f, c, p: f.u.t + f.u.xxxxx, UNIT, [ps.InitialCondition(0.0), ps.Dirichlet(0.0)])
    with pytest.raises(ValueError, match=r"order 5.*order 4.*system"):
        solve(problem, PhysicsInformedGaussians(10))


def test_nan_in_a_source_of_every_kind_of_problem() -> None:
    """Linear, nonlinear, and in an initial condition between the points that a problem looks at itself."""
    for power in (1, 2):
        problem = ps.Problem(
            lambda f, c, p, power=power: f.u.xx + f.u.yy - f.u**power - torch.where(c.x > 0.9, torch.nan, 1.0),
            SQUARE,
            [ps.Dirichlet(0.0)],
        )
        with pytest.raises(ps.SolveError, match="NON_FINITE"):
            solve(problem, PhysicsInformedGaussians(49, overlaps=(2.0,)))
    spot = heat(lambda x: torch.where((x - 0.47).abs() < 0.02, torch.nan, torch.sin(math.pi * x)))
    solution = solve(spot, PhysicsInformedGaussians({"t": 5, "x": 60}, overlaps=(2.0,)), throw=False)
    assert int(solution.status[0, 0]) == ps.SolveStatus.NON_FINITE


@pytest.mark.parametrize(
    ("problem", "count"), [(POISSON, {"x": 500, "y": 500}), (HEAT, {"t": 5, "x": 100_000}), (HEAT, 500_000)]
)
def test_memory_that_is_not_there_is_said_before_it_is_taken(problem: ps.Problem, count: object) -> None:
    """In the fit of the initial state too."""
    with pytest.raises(MemoryError, match=r"Jacobian of \d+ rows and \d+ parameters takes .* GiB.*Sketched"):
        solve(problem, PhysicsInformedGaussians(count, overlaps=(2.0,)))  # type: ignore[arg-type]


def test_a_slab_that_does_not_converge_is_named_with_its_time() -> None:
    problem = ps.Problem(
        lambda f, c, p: f.u.t - 0.01 * f.u.xx - torch.where(c.t > 0.5, torch.sin(60.0 * c.x), 0.0),
        UNIT,
        [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.Dirichlet(0.0)],
    )
    expert = PhysicsInformedGaussians({"t": 7, "x": 14}, slabs=4, overlaps=(2.0,))
    with pytest.raises(ps.SolveError, match=r"UNRESOLVED.*slab 3, which ends at t = 0\.75.*more Gaussians"):
        solve(problem, expert)
    solution = solve(problem, expert, throw=False)
    values = solution.field.values[0, 0]
    assert bool(values[:50].isfinite().all() & values[-20:].isnan().all())


def test_parameters_that_were_not_fitted() -> None:
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.xx - p.k, fields=("u",), parameters={"k": 0.3}),
        ps.Interval(0, 1),
        [ps.Dirichlet(0.0)],
    )
    expert, grid = PhysicsInformedGaussians(12, overlaps=(2.0,)), ps.StructuredGrid.uniform(problem.box, (5,))
    expert.fit(problem)
    expert({"k": torch.tensor([0.3])}, grid)  # float32
    for given in ({"k": torch.tensor([0.4])}, {"k": torch.tensor([0.3, 0.3])}):
        with pytest.raises(ValueError, match="'k' differs from the one fitted"):
            expert(given, grid)
    with pytest.raises(ValueError, match="unknown parameter 'q'"):
        expert({"q": torch.tensor([0.3])}, grid)
    with pytest.raises(ValueError, match="coordinates of x are missing"):
        expert.at({"y": torch.zeros(2)})
