"""The Gaussians' expert on problems that no benchmark names: orders, axes, times, units, states that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.factor import Factor
from pdesolve.experts.gaussians.layout import AxisMap, Layout
from pdesolve.experts.gaussians.slabs import AdaptiveSlabs
from pdesolve.experts.one_off import FitReport
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.reference.suite import burgers_problem
from pdesolve.residual_minimisation import memory
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.damped_qr import KeptQR, require_damped_qr
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.status import SolveStatus
from pdesolve.training.solve import solve

Exact = Callable[[Mapping[str, Tensor]], Tensor]
SLABS = {"t": 7, "x": 14}


def heat(start: float = 0.0, end: float = 1.0, length: float = 1.0, size: float = 1.0) -> tuple[ps.Problem, Exact]:
    """u_t = k u_xx, k so that a wave falls to exp(-3)."""
    rate = 3.0 / (end - start)
    k = rate * (length / math.pi) ** 2
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t - p.k * f.u.xx, fields=("u",), parameters={"k": k}),
        ps.Interval(0, length) * ps.TimeInterval(start, end),
        [ps.InitialCondition(lambda x: size * torch.sin(math.pi * x / length)), ps.Dirichlet(0.0)],
    )
    return problem, lambda c: size * torch.exp(-rate * (c["t"] - start)) * torch.sin(math.pi * c["x"] / length)


def expert(**choices: object) -> PhysicsInformedGaussians:
    return PhysicsInformedGaussians(SLABS, **{"slabs": 3, "overlaps": (2.0,), **choices})  # type: ignore[arg-type]


def points(box: ps.Box, count: int = 300) -> dict[str, Tensor]:
    """Random, some at both ends of every axis."""
    unit = torch.rand(len(box.axes), count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = {a: box.bounds(a)[0] + box.extent(a) * unit[j] for j, a in enumerate(box.axes)}
    for column, a in zip(found.values(), box.axes, strict=True):
        column[:2], column[-2:] = box.bounds(a)[0], box.bounds(a)[1]
    return found


def errors(fitted: PhysicsInformedGaussians, *exact: Exact) -> list[float]:
    at = points(fitted.problem.box)
    return [float((u - e(at)).norm() / e(at).norm()) for u, e in zip(fitted.at(at), exact, strict=True)]


@pytest.mark.parametrize(("start", "end"), [(0.1, 0.7), (0.1, 0.9), (-3.0, -2.3), (1e6, 1e6 + 1.0), (0.2, 0.9)])
def test_time_may_start_anywhere_and_its_end_belongs_to_the_last_slab(start: float, end: float) -> None:
    problem, exact = heat(start, end)
    fitted = expert()
    assert fitted.fit(problem).status is ps.SolveStatus.CONVERGED
    assert errors(fitted, exact)[0] < 1e-5


@pytest.mark.parametrize(
    ("end", "length", "size"), [(1e6, 1e-6, 1.0), (1e-6, 1e6, 1.0), (1.0, 1.0, 1e-6), (1.0, 1.0, 1e6)]
)
def test_units_change_neither_error_nor_residual(end: float, length: float, size: float) -> None:
    """Those of u too: a residual in its units would call a field of 1e-6 solved whatever it is."""
    problem, exact = heat(0.0, end, length, size)
    fitted, plain = expert(), expert()
    report, usual = fitted.fit(problem), plain.fit(heat()[0])
    assert report.status is ps.SolveStatus.CONVERGED
    assert errors(fitted, exact)[0] < 1e-5
    assert report.residual == pytest.approx(usual.residual, rel=0.5)


def test_a_small_field_that_is_not_resolved_is_not_called_solved() -> None:
    coarse = PhysicsInformedGaussians({"t": 2, "x": 3}, overlaps=(2.0,))
    assert coarse.fit(heat(size=1e-6)[0]).status is ps.SolveStatus.UNRESOLVED


def test_an_initial_condition_that_the_gaussians_miss_is_seen() -> None:
    """A spike between nodes: the fitted state is exact at the start, of another problem."""
    problem = ps.Problem(
        lambda f, c, p: f.u.t - 1e-4 * f.u.xx,
        ps.Interval(0, 1) * ps.TimeInterval(0, 0.1),
        [ps.InitialCondition(lambda x: torch.exp(-(((x - 0.4321) / 0.003) ** 2))), ps.Dirichlet(0.0)],
    )
    report = expert(slabs=1).fit(problem)
    assert report.status is ps.SolveStatus.UNRESOLVED
    assert report.residual > 0.1


@pytest.mark.parametrize("slabs", [1, 3])
def test_time_may_be_the_only_axis(slabs: int) -> None:
    decay = ps.Problem(lambda f, c, p: f.u.t + f.u, ps.TimeInterval(0.5, 1.5), [ps.InitialCondition(1.0)])
    for count in ({"t": 12}, 20):
        fitted = PhysicsInformedGaussians(count, slabs=slabs)
        fitted.fit(decay)
        assert errors(fitted, lambda c: torch.exp(0.5 - c["t"]))[0] < 1e-6
    swing = ps.Problem(
        lambda f, c, p: f.u.tt + f.u,
        ps.TimeInterval(0, 1),
        [ps.InitialCondition(1.0), ps.InitialCondition(0.0, order=1)],
    )
    fitted = PhysicsInformedGaussians({"t": 12}, slabs=slabs)
    fitted.fit(swing)
    assert errors(fitted, lambda c: torch.cos(c["t"]))[0] < 1e-4


@pytest.mark.parametrize("slabs", [1, 3])
def test_time_may_enter_without_a_derivative(slabs: int) -> None:
    problem = ps.Problem(
        lambda f, c, p: f.u.xx + math.pi**2 * torch.sin(math.pi * c.x) * torch.cos(c.t),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.Dirichlet(0.0)],
    )
    fitted = expert(slabs=slabs)
    fitted.fit(problem)
    assert errors(fitted, lambda c: torch.sin(math.pi * c["x"]) * torch.cos(c["t"]))[0] < 1e-5


def test_orders_in_time_may_differ_between_fields() -> None:
    def residual(f: ps.Fields, c: ps.Coordinates, p: ps.Parameters) -> tuple[Tensor, Tensor]:
        wave, fall = torch.sin(math.pi * c.x), torch.exp(-c.t)
        source = (math.pi**2 - 1.0) * fall * wave - wave * torch.cos(math.pi * c.t)
        return f.u.tt - f.u.xx, f.v.t - f.v.xx - f.u - source

    start: list[ps.InitialCondition | ps.Dirichlet] = [
        ps.InitialCondition(lambda x: torch.sin(math.pi * x), field=name) for name in "uv"
    ]
    start += [ps.InitialCondition(0.0, field="u", order=1), *(ps.Dirichlet(0.0, field=name) for name in "uv")]
    problem = ps.Problem(ps.FunctionPDE(residual, fields=("u", "v")), ps.Interval(0, 1) * ps.TimeInterval(0, 1), start)
    fitted = PhysicsInformedGaussians({"t": 9, "x": 14}, slabs=4, overlaps=(2.0,))
    fitted.fit(problem)
    wave = errors(
        fitted,
        lambda c: torch.sin(math.pi * c["x"]) * torch.cos(math.pi * c["t"]),
        lambda c: torch.exp(-c["t"]) * torch.sin(math.pi * c["x"]),
    )
    assert max(wave) < 1e-4


def test_fields_may_be_periodic_along_different_axes() -> None:
    pde = ps.FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx - f.u.yy, f.v.t - f.v.xx - f.v.yy), fields=("u", "v"))
    box, fall = ps.Rectangle((0, 1), (0, 1)) * ps.TimeInterval(0, 0.02), 5.0 * math.pi**2

    def wave(x: Tensor, y: Tensor) -> Tensor:
        return torch.sin(2.0 * math.pi * x) * torch.sin(math.pi * y)

    problem = ps.Problem(
        pde,
        box,
        [
            ps.InitialCondition(wave, field="u"),
            ps.InitialCondition(lambda x, y: wave(y, x), field="v"),
            ps.Periodic("x", field="u"),
            ps.Dirichlet(0.0, on=("bottom", "top"), field="u"),
            ps.Periodic("y", field="v"),
            ps.Dirichlet(0.0, on=("left", "right"), field="v"),
        ],
    )
    fitted = PhysicsInformedGaussians({"t": 4, "x": 9, "y": 9}, slabs=2, overlaps=(2.0,), tolerance=0.1)
    fitted.fit(problem)
    found = errors(
        fitted,
        lambda c: torch.exp(-fall * c["t"]) * wave(c["x"], c["y"]),
        lambda c: torch.exp(-fall * c["t"]) * wave(c["y"], c["x"]),
    )
    assert max(found) < 5e-3


@pytest.mark.parametrize("walls", ["values", "slopes"])
def test_conditions_on_walls_may_vary_in_time_and_read_parameters(walls: str) -> None:
    def exact(t: Tensor, x: Tensor, a: Tensor) -> Tensor:
        return a * torch.exp(-0.3 * t) * torch.cos(x + 0.3)

    def slope(t: Tensor, x: Tensor, a: Tensor) -> Tensor:
        return -a * torch.exp(-0.3 * t) * torch.sin(x + 0.3)

    conditions: dict[str, list[ps.Dirichlet | ps.Neumann | ps.Robin]] = {
        "values": [ps.Dirichlet(exact)],
        "slopes": [
            ps.Neumann(slope, on="right"),
            ps.Robin(lambda t, x, a: 2.0 * exact(t, x, a) - slope(t, x, a), 2.0, 1.0, on="left"),
        ],
    }
    problem = ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t - 0.3 * f.u.xx, fields=("u",), parameters={"a": 2.0}),
        ps.Interval(0, 1) * ps.TimeInterval(0.5, 2.0),
        [ps.InitialCondition(lambda x, a: a * math.exp(-0.15) * torch.cos(x + 0.3)), *conditions[walls]],
    )
    fitted = expert()
    fitted.fit(problem)
    assert errors(fitted, lambda c: exact(c["t"], c["x"], torch.tensor(2.0)))[0] < 1e-5


def test_a_factor_may_read_time() -> None:
    """u = (1 + t) x (1 - x) times Gaussians."""
    problem, exact = heat()
    fitted = expert(lifting=Factor(lambda t, x: (1.0 + t) * x * (1.0 - x)))
    fitted.fit(problem)
    assert errors(fitted, exact)[0] < 1e-5


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_nodes_stand_evenly_about_the_middle(count: int) -> None:
    centres = Layout(ps.Interval(0, 1), {"x": count}).cloud().centres[:, 0]
    torch.testing.assert_close(centres + centres.flip(0), torch.ones_like(centres))


class Failing(AbstractMinimiser):
    """Solves linear rows, and says that it failed wherever a test of its calls says so."""

    def __init__(self, fails: Callable[[int], bool]) -> None:
        self.calls, self.fails = 0, fails

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        found = LinearLeastSquares().minimise(problem, start, watch)
        self.calls += 1
        status = ps.SolveStatus.DIVERGED if self.fails(self.calls) else found.status
        return Minimised(found.theta, status, found.history)


def test_a_trial_that_fails_is_tried_again_shorter_even_after_one_that_did_not() -> None:
    slabs = AdaptiveSlabs(1e-9, length=0.4, shortest=0.02)
    assert slabs.following(0.0, 0.2, math.inf, 1e-3) == pytest.approx(0.1)
    report = expert(slabs=AdaptiveSlabs(1e-4, 0.4, 0.02), minimiser=Failing(lambda k: k == 1)).fit(heat()[0])
    assert report.status is ps.SolveStatus.CONVERGED
    assert report.history["time"][0] == pytest.approx(0.2)


def test_a_width_that_was_solved_goes_before_one_that_failed() -> None:
    minimiser = Failing(lambda k: k == 1)
    report = expert(slabs=1, overlaps=(1.0, 2.0), minimiser=minimiser, tolerance=1.0).fit(heat()[0])
    assert report.status is ps.SolveStatus.CONVERGED
    assert report.history["overlap"] == [2.0]


@pytest.mark.parametrize("slabs", [4, AdaptiveSlabs(1e-5, 0.2, 0.05)])
def test_a_source_that_is_nan_from_some_time_on_names_the_slab(slabs: int | AdaptiveSlabs) -> None:
    problem = ps.Problem(
        lambda f, c, p: f.u.t - 0.1 * f.u.xx + torch.where(c.t > 0.6, torch.nan, 0.0),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.Dirichlet(0.0)],
    )
    fitted = expert(slabs=slabs)
    report = fitted.fit(problem)
    assert report.status is ps.SolveStatus.NON_FINITE
    assert "ends at t = 0." in report.detail
    x = torch.full((2,), 0.5, dtype=torch.float64)
    before, after = fitted.at({"t": torch.tensor([0.4, 0.9]), "x": x})[0]
    assert bool(before.isfinite() & after.isnan())
    _, status = fitted.residual({}, torch.Generator())
    assert status.flatten().tolist() == [0] * (status.numel() - 1) + [int(ps.SolveStatus.NON_FINITE)]


def test_points_of_float32_at_the_ends_are_inside_others_outside() -> None:
    """float32 of 0.7 is above 0.7."""
    problem, _ = heat(0.1, 0.7, 0.9)
    fitted = expert()
    fitted.fit(problem)
    ends = {"t": torch.tensor([0.1, 0.7]), "x": torch.tensor([0.9, 0.0])}
    assert float(ends["x"][0].double()) != 0.9
    assert bool(fitted.at(ends).isfinite().all())
    beyond = {"t": torch.tensor([0.1, 0.7001]), "x": torch.tensor([0.9001, 0.5])}
    assert bool(fitted.at(beyond).isnan().all())
    solution = fitted({"k": torch.tensor([problem.parameters["k"]])}, ps.StructuredGrid.uniform(problem.box, (3, 3)))
    assert bool(solution.converged)


def test_borders_of_slabs_belong_to_both() -> None:
    problem, _ = heat(0.1, 0.8)
    fitted = expert(slabs=(0.3, 0.31, 1.0))
    report = fitted.fit(problem)
    times = torch.tensor(report.history["time"], dtype=torch.float64)
    x = torch.linspace(0.0, 1.0, 7, dtype=torch.float64)
    for one, other, time in zip(fitted._pieces[:-1], fitted._pieces[1:], times, strict=False):
        at = torch.stack([time.expand(7), x], dim=1)
        left, right = (piece.values(at, problem.batch_parameters()) for piece in (one, other))
        torch.testing.assert_close(left, right, rtol=0.0, atol=1e-10)
    assert float(times[-1]) == 0.8


def test_settings_and_progress_are_reported() -> None:
    problem, _ = heat()
    square = AxisMap.of(lambda s: 0.5 * s + 0.5 * s**2)
    fitted = expert(slabs=(0.25, 1.0), maps={"x": square}, lifting=Factor(lambda x: x * (1.0 - x)), tolerance=1.0)
    seen: list[float] = []
    report: FitReport = fitted.fit(problem, lambda share, residual: seen.append(share))
    assert seen == [0.25, 1.0]
    assert len(report.history["residual"]) == 2
    solution = fitted({}, ps.StructuredGrid.uniform(problem.box, (3, 3)))
    settings = solution.provenance["settings"]
    for name in (
        "count",
        "slabs",
        "ends",
        "maps",
        "overlaps",
        "lifting",
        "placement",
        "minimiser",
        "tolerance",
        "seed",
    ):
        assert name in settings
    assert "0.25" in settings["ends"]
    assert "lambda" in settings["lifting"]
    rows, status = fitted.residual({}, torch.Generator().manual_seed(1))
    assert rows["equation"].shape[0] == status.shape[0] == 1
    assert status.shape[1] == 2


def test_an_interrupted_fit_leaves_no_solution() -> None:
    problem, _ = heat()
    fitted = expert()
    fitted.fit(problem)

    def stop(share: float, residual: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted.fit(problem, stop)
    with pytest.raises(ValueError, match="interrupted"):
        fitted({}, ps.StructuredGrid.uniform(problem.box, (3, 3)))


def test_kept_factors_see_changes_in_weak_columns() -> None:
    """A field in other units: its coefficients change in full, its entries by less than round-off of the largest."""
    kept = KeptQR()
    matrix = torch.randn(30, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    matrix[:, 3:] *= 1e-6
    factors = kept(matrix, 1e-14)
    other = matrix.clone()
    other[:, 3:] *= 1.0 + 1e-7
    assert kept(other, 1e-14) is not factors
    assert kept(other * (1.0 + 1e-15), 1e-14) is kept(other, 1e-14)


def test_memory_of_the_factors_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """m = 2 n: J, factors of three halves of it and as much to make them, and the triangle."""
    rows, theta = 2000, torch.zeros(1000, dtype=torch.float64)
    for copies, fits in ((4.4, False), (4.6, True)):
        free = copies * rows * len(theta) * 8.0
        monkeypatch.setattr(memory, "available_memory", lambda device, free=free: free)
        if fits:
            require_damped_qr(rows, theta)
        else:
            with pytest.raises(MemoryError, match="Jacobian of 2000 rows"):
                require_damped_qr(rows, theta)


@pytest.mark.gpu
def test_an_expert_works_where_it_is_put() -> None:
    problem, exact = heat()
    fitted = expert().to("cuda")
    fitted.fit(problem)
    assert fitted._pieces[-1].weights.device.type == "cuda"
    assert errors(fitted, exact)[0] < 1e-5
    at = {axis: x.cuda() for axis, x in points(problem.box).items()}
    assert fitted.at(at).device.type == "cuda"
    solution = solve(problem, expert(placement=None).to("cuda"))
    assert bool(solution.converged)
    torch.testing.assert_close(fitted.to("cpu").at(points(problem.box)), fitted.to("cuda").at(at).cpu())


def test_the_number_of_gaussians_grows_until_the_residual_is_met() -> None:
    """From far too few; without attempts it is the status that says so."""
    problem = burgers_problem(0.1)
    few = {"t": 7, "x": 16}
    once = PhysicsInformedGaussians(few, slabs=4, overlaps=(2.0,), tolerance=1e-5)
    assert once.fit(problem).status is SolveStatus.UNRESOLVED
    expert = PhysicsInformedGaussians(few, slabs=4, overlaps=(2.0,), tolerance=1e-5, attempts=6)
    report = expert.fit(problem)
    assert report.status is SolveStatus.CONVERGED
    assert report.residual <= 1e-5
    sizes = set(report.history["gaussians"])
    assert len(sizes) == 1
    assert sizes.pop() in {7.0 * n for n in (23, 33, 47, 66, 93)}
    with pytest.raises(ValueError, match="attempts must be at least 1"):
        PhysicsInformedGaussians(few, attempts=0)
