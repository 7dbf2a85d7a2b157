"""The classical reference solver: rates against theory, refinement, balances, failures, and its files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from math import pi
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition, Neumann, Periodic, Robin
from pdesolve.domains.geometry import Interval, Rectangle, TimeInterval
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.pde.heat import Heat
from pdesolve.problem import Problem
from pdesolve.reference.benchmarks import (
    REFERENCE_METHOD,
    diffusion_sorption_family,
    diffusion_sorption_problem,
    reference_solution,
)
from pdesolve.reference.cache import data_folder, load_reference, save_reference
from pdesolve.reference.classical import (
    ClassicalResult,
    benchmark_coordinates,
    classical_error_table,
    classical_rivals,
    time_at_error,
)
from pdesolve.reference.method_of_lines import MethodOfLines
from pdesolve.reference.pdebench import pdebench_solution
from pdesolve.reference.stencils import Grading
from pdesolve.status import SolveError, SolveStatus

DATA = Path(__file__).resolve().parents[1] / "data"
UNIT = Interval(0.0, 1.0) * TimeInterval(0.0, 1.0)
K = 0.1


def span(lower: float, upper: float, n: int) -> Tensor:
    return torch.linspace(lower, upper, n, dtype=torch.float64)


POINTS = {"t": span(0.0, 1.0, 12), "x": span(0.0, 1.0, 37)}
T, X = POINTS["t"][:, None], POINTS["x"][None]


def relative(values: Tensor, exact: Tensor) -> Tensor:
    """Relative L2 error of each case."""
    difference = torch.linalg.vector_norm((values - exact).flatten(1), dim=1)
    return difference / torch.linalg.vector_norm(exact.flatten(1), dim=1)


def heat(*conditions: Any) -> Problem:
    return Problem(Heat(K), UNIT, conditions)


def advection(nu: float, *conditions: Any) -> Problem:
    pde = FunctionPDE(lambda f, c, p: f.u.t + f.u.x - p.nu * f.u.xx, parameters={"nu": nu})
    return Problem(pde, UNIT, conditions)


def wave() -> Problem:
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.v.value, f.v.t - f.u.xx), fields=("u", "v"))
    start = InitialCondition(lambda x: torch.sin(pi * x), field="u")
    return Problem(pde, UNIT, [start, InitialCondition(0.0, field="v"), Dirichlet(0.0, field="u")])


LEFT = 2.0 * math.cos(0.3) - 3.0 * math.sin(0.3)
SMOOTH = Grading(layer=1e-2, core=4.0)

# name -> problem, exact solution, grading, orders to test
CASES: dict[str, tuple[Problem, Tensor, Grading | None, tuple[int, ...]]] = {
    "dirichlet": (
        heat(InitialCondition(lambda x: torch.sin(pi * x)), Dirichlet(0.0)),
        torch.exp(-K * pi**2 * T) * torch.sin(pi * X),
        None,
        (2, 4, 6),
    ),
    "neumann, graded": (
        heat(InitialCondition(lambda x: torch.cos(pi * x)), Neumann(0.0)),
        torch.exp(-K * pi**2 * T) * torch.cos(pi * X),
        SMOOTH,
        (2, 4, 6),
    ),
    "robin in time": (
        heat(
            InitialCondition(lambda x: torch.cos(x - 0.3)),
            Robin(lambda t: LEFT * torch.exp(-K * t), alpha=2.0, beta=3.0, on="left"),
            Neumann(lambda t: -math.sin(0.7) * torch.exp(-K * t), on="right"),
        ),
        torch.exp(-K * T) * torch.cos(X - 0.3),
        None,
        (2, 4),
    ),
    "periodic": (
        advection(0.01, InitialCondition(lambda x: torch.sin(2 * pi * x)), Periodic("x")),
        torch.exp(-0.04 * pi**2 * T) * torch.sin(2 * pi * (X - T)),
        SMOOTH,
        (2, 4, 6),
    ),
    "outflow without a condition": (
        Problem(
            FunctionPDE(lambda f, c, p: f.u.t + f.u.x),
            UNIT,
            [
                InitialCondition(lambda x: torch.sin(2 * pi * x)),
                Dirichlet(lambda t: -torch.sin(2 * pi * t), on="left"),
            ],
        ),
        torch.sin(2 * pi * (X - T)),
        None,
        (2, 4),
    ),
    "two fields": (wave(), torch.cos(pi * T) * torch.sin(pi * X), None, (2, 4)),
}


@pytest.mark.parametrize(("name", "order"), [(name, order) for name, case in CASES.items() for order in case[3]])
def test_error_falls_with_the_order_of_the_stencils(name: str, order: int) -> None:
    problem, exact, grading, _ = CASES[name]
    errors = []
    for nodes in (25, 49):
        method = MethodOfLines(nodes, order, grading, rtol=1e-10)
        errors.append(float((method.solve(problem, {}, POINTS)[0, 0] - exact).abs().max()))
    assert order - 0.4 < math.log2(errors[0] / errors[1]) < order + 1.0, errors


def test_error_falls_with_the_tolerance() -> None:
    problem, exact, _, _ = CASES["dirichlet"]
    errors = []
    for rtol in (1e-3, 1e-5, 1e-7, 1e-9):
        method = MethodOfLines(97, 6, None, rtol=rtol)
        errors.append(float((method.solve(problem, {}, POINTS)[0, 0] - exact).abs().max()))
    assert all(error < 3.0 * rtol for error, rtol in zip(errors, (1e-3, 1e-5, 1e-7, 1e-9), strict=True)), errors
    assert errors[-1] < 1e-4 * errors[0]


def cole_hopf(t: Tensor, x: Tensor, nu: float) -> Tensor:
    """Burgers' equation from u(x, 0) = -sin(πx) on [-1, 1], by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite.hermgauss(120)
    eta = torch.from_numpy(nodes) * torch.sqrt(4.0 * nu * t)[:, None, None]
    y = x[None, :, None] - eta
    kernel = torch.exp(-torch.cos(pi * y) / (2.0 * pi * nu)) * torch.from_numpy(weights)
    return -(torch.sin(pi * y) * kernel).sum(-1) / kernel.sum(-1)


@pytest.mark.parametrize("grading", [None, Grading(layer=0.1, core=1.0)])
def test_burgers_agrees_with_cole_hopf(grading: Grading | None) -> None:
    domain = Interval(-1.0, 1.0) * TimeInterval(0.0, 1.0)
    problem = Problem(Burgers(0.05), domain, [InitialCondition(lambda x: -torch.sin(pi * x)), Dirichlet(0.0)])
    t, x = span(0.0, 1.0, 11)[1:], span(-1.0, 1.0, 51)
    u = MethodOfLines(257, 6, grading, rtol=1e-8).solve(problem, {}, {"t": t, "x": x})
    assert float((u[0, 0] - cole_hopf(t, x, 0.05)).abs().max()) < 2e-7


@pytest.mark.parametrize("u0", [0.002, 0.1, pytest.param(0.05, marks=pytest.mark.slow), 0.2])
def test_diffusion_sorption_reference_is_converged(u0: float) -> None:
    problem, points = diffusion_sorption_problem(), benchmark_coordinates()
    u = reference_solution(problem, {"u0": u0}, points)
    finer = MethodOfLines(897, 6, Grading(layer=2e-6, core=20.0), rtol=1e-8)
    assert float(relative(u, finer.solve(problem, {"u0": u0}, points))) < 1e-7
    assert bool((u[:, :, 0] == u0).all())
    assert 0.0 < float(u.min()) <= float(u.max()) < 1.0


def test_a_batch_gives_what_its_cases_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdesolve.reference.method_of_lines._CHUNK", 2 * 129)  # two cases, then one
    problem, method = diffusion_sorption_problem(), MethodOfLines(129, 4, rtol=1e-7)
    points = {"t": span(0.0, 500.0, 6), "x": span(0.0, 1.0, 9)}
    cases = {"u0": torch.tensor([0.0, 0.01, 0.2]), "D": torch.tensor([5e-4, 4e-4, 6e-4])}
    together = method.solve(problem, cases, points)
    for i in range(3):
        alone = method.solve(problem, {k: float(v[i]) for k, v in cases.items()}, points)
        assert float((together[i] - alone[0]).abs().max()) < 1e-6


def test_points_may_come_in_any_order_and_lie_on_the_boundary() -> None:
    problem = diffusion_sorption_problem()
    method = MethodOfLines(129, rtol=1e-5)
    t, x = torch.tensor([500.0, 0.0, 30.0]), torch.tensor([1.0, 0.3, 0.0])
    u = method.solve(problem, {}, {"t": t, "x": x})[0, 0]
    ordered = method.solve(problem, {}, {"t": t.sort().values, "x": x.sort().values})[0, 0]
    assert torch.equal(u, ordered[t.argsort().argsort()][:, x.argsort().argsort()])
    assert u[0, 2] == pytest.approx(1.0, abs=1e-9)
    assert u[1].tolist() == [0.1, 0.1, 0.1]  # the initial condition, at the boundary too
    assert method.solve(problem, {}, {"t": t[:0], "x": x}).shape == (1, 1, 0, 3)


def test_mass_is_balanced() -> None:
    """d/dt ∫ m(u) dx = D u_x(1) - D u_x(0) with m' = R, between t = 50 and 500."""
    pde, problem = DiffusionSorption(), diffusion_sorption_problem(0.05)
    gauss, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(40))
    h = 1e-3
    x = torch.cat([0.5 * (gauss + 1.0), h * torch.arange(5), 1.0 - h * torch.arange(5)])
    t = torch.cat([torch.tensor([50.0, 500.0], dtype=torch.float64), 275.0 + 225.0 * gauss])
    u = reference_solution(problem, {}, {"t": t, "x": x})[0, 0]
    one_sided = torch.tensor([-25.0, 48.0, -36.0, 16.0, -3.0], dtype=torch.float64) / (12.0 * h)
    inflow = -pde.D * (u[:, 40:45] @ one_sided)
    outflow = pde.D * (u[:, 45:50] @ one_sided)
    factor = (1.0 - pde.porosity) / pde.porosity * pde.bulk_density * pde.k
    mass = ((u + factor * u**pde.n_f)[:2, :40] * weights).sum(1) / 2.0  # ε is seen by u < 1e-4 only
    gained = 225.0 * float(((inflow - outflow)[2:] * weights).sum())
    assert float(mass[1] - mass[0]) == pytest.approx(gained, rel=2e-5)
    assert float((u[:, 45] - outflow).abs().max()) < 1e-8  # the film at x = 1


def test_pdebench_scheme_differs_by_its_half_cell() -> None:
    problem, errors = diffusion_sorption_problem(), {}
    for cells in (512, 1024):
        points = benchmark_coordinates(cells, 51)
        exact = reference_solution(problem, {"u0": 0.1}, points)
        errors[cells] = float(relative(pdebench_solution(0.1, points["t"], cells=cells), exact))
    assert 5e-4 < errors[1024] < 3e-3
    assert errors[512] == pytest.approx(2.0 * errors[1024], rel=0.1)


def test_pdebench_scheme_takes_batches_and_refuses_nonsense() -> None:
    u0, t = torch.tensor([0.05, 0.2], dtype=torch.float64), span(0.0, 100.0, 3)
    both = pdebench_solution(u0, t, cells=64)
    assert both.shape == (2, 1, 3, 64)
    assert float((both[1:] - pdebench_solution(0.2, t, cells=64)).abs().max()) < 1e-5
    with pytest.raises(ValueError, match="u0 must be finite"):
        pdebench_solution(math.nan, t)
    with pytest.raises(ValueError, match="times must be"):
        pdebench_solution(0.1, -t)
    with pytest.raises(ValueError, match="3 cells"):
        pdebench_solution(0.1, t, cells=2)


def stretched(layer: float, nodes: int) -> np.ndarray[Any, Any]:
    return Grading(layer, 10.0).nodes(-2.0, 3.0, nodes)


@pytest.mark.parametrize("nodes", [16, 129, 1024])
@pytest.mark.parametrize("layer", [1e-9, 1e-5, 1.0])
def test_graded_nodes_are_smooth_and_symmetric(layer: float, nodes: int) -> None:
    x = stretched(layer, nodes)
    spacing = np.diff(x)
    assert (x[0], x[-1], len(x)) == (-2.0, 3.0, nodes)
    assert (spacing > 0).all()
    assert np.allclose(x + x[::-1], 1.0, atol=1e-12)
    ratios = spacing[1:] / spacing[:-1]
    assert np.abs(np.log(ratios)).max() < 60.0 / nodes


def field_of(residual: Callable[..., Any], *conditions: Any, domain: Any = UNIT) -> Problem:
    return Problem(FunctionPDE(residual), domain, conditions)


ZERO = InitialCondition(0.0)
SQUARE = Rectangle((0.0, 1.0), (0.0, 1.0)) * TimeInterval(0.0, 1.0)
REFUSED: dict[str, tuple[Callable[[], Problem], str]] = {
    "squared": (lambda: field_of(lambda f, c, p: f.u.t**2 - f.u.x, ZERO), "not affine in u_t"),
    "second order": (
        lambda: field_of(lambda f, c, p: f.u.tt - f.u.x, ZERO, InitialCondition(0.0, order=1)),
        r"u\.tt",
    ),
    "mixed": (lambda: field_of(lambda f, c, p: f.u.t + f.u.xt, ZERO), r"u\.tx"),
    "two space axes": (
        lambda: Problem(Heat(axes="xy"), SQUARE, [ZERO, Dirichlet(0.0)]),
        "one space axis",
    ),
    "no time": (
        lambda: field_of(lambda f, c, p: f.u.xx - 1.0, Dirichlet(0.0), domain=Interval(0, 1)),
        "one space axis and time",
    ),
    "no rate": (lambda: field_of(lambda f, c, p: f.u.x - 1.0), "reads no u.t"),
    "fifth derivative": (
        lambda: field_of(lambda f, c, p: f.u.t + f.u.xxxxx, ZERO, Periodic("x")),
        "up to order 4",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_problems_outside_the_scope_are_refused(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        MethodOfLines(33).solve(make(), {}, POINTS)


def test_wrong_input_is_refused() -> None:
    problem, method = diffusion_sorption_problem(), MethodOfLines(33)
    good = {"t": span(0.0, 1.0, 2), "x": span(0.0, 1.0, 2)}
    with pytest.raises(ValueError, match="unknown parameter 'u1'"):
        method.solve(problem, {"u1": 0.1}, good)
    with pytest.raises(ValueError, match="'x' are missing"):
        method.solve(problem, {}, {"t": good["t"]})
    with pytest.raises(ValueError, match=r"must lie in \[0.0, 500.0\]"):
        method.solve(problem, {}, {**good, "t": torch.tensor([0.0, 501.0])})
    with pytest.raises(ValueError, match="must lie in"):
        method.solve(problem, {}, {**good, "x": torch.tensor([math.nan])})
    with pytest.raises(ValueError, match="1-D"):
        method.solve(problem, {}, {**good, "x": torch.zeros(2, 2)})


@pytest.mark.parametrize(
    "settings",
    [{"order": 3}, {"nodes": 8}, {"nodes": 0}, {"rtol": 0.0}, {"rtol": 1e-15}, {"atol": -1.0}, {"max_steps": 0}],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        MethodOfLines(**settings)


@pytest.mark.parametrize(("layer", "core"), [(0.0, 1.0), (2.0, 1.0), (1e-3, -1.0), (math.nan, 1.0)])
def test_wrong_grading_is_refused(layer: float, core: float) -> None:
    with pytest.raises(ValueError, match=r"layer|core"):
        Grading(layer, core)


def test_failed_cases_are_named_with_their_remedy() -> None:
    problem = diffusion_sorption_problem()
    points = {"t": span(0.0, 500.0, 3), "x": span(0.0, 1.0, 3)}
    method = MethodOfLines(65, rtol=1e-3)
    with pytest.raises(SolveError, match=r"1 of 3 cases .* case 1: .* not finite\. Check") as caught:
        method.solve(problem, {"u0": torch.tensor([0.1, math.nan, 0.2])}, points)
    assert caught.value.status.tolist() == [0, SolveStatus.NON_FINITE, 0]
    with pytest.raises(SolveError, match="max_steps") as caught:
        replace(method, max_steps=3).solve(problem, {}, points)
    assert caught.value.status.tolist() == [SolveStatus.STEP_CAP]
    with pytest.raises(SolveError, match=r"case 1: .* well posed") as caught:  # negative diffusion
        replace(method, max_steps=100).solve(problem, {"D": torch.tensor([5e-4, -5e-4])}, points)
    assert caught.value.status.tolist() == [0, SolveStatus.STEP_CAP]


def test_blow_up_is_an_error_and_no_number() -> None:
    problem = field_of(
        lambda f, c, p: f.u.t - f.u.xx - f.u**2, InitialCondition(lambda x: 50.0 * x * (1.0 - x)), Dirichlet(0.0)
    )
    with pytest.raises(SolveError, match=r"time step became too small at t = 0\.\d") as caught:
        MethodOfLines(65, rtol=1e-4).solve(problem, {}, POINTS)
    assert caught.value.status.tolist() == [SolveStatus.DIVERGED]


def test_family_draws_the_benchmark(generator: torch.Generator) -> None:
    family = diffusion_sorption_family(n_f=0.9)
    u0 = family.sample(100, generator)["u0"]
    assert float(u0.min()) >= 0.0
    assert 0.15 < float(u0.max()) < 0.2
    assert family.problem.parameters["n_f"] == 0.9


CASE = {"u0": torch.tensor([0.05, 0.1], dtype=torch.float64)}
COARSE = {"t": span(0.0, 500.0, 4), "x": span(0.0, 1.0, 5)}
CHEAP = MethodOfLines(33, rtol=1e-3)


def cached(folder: Path, problem: Problem | None = None, method: MethodOfLines = CHEAP) -> Tensor:
    return reference_solution(problem or diffusion_sorption_problem(), CASE, COARSE, method=method, cache=folder)


def test_cache_gives_back_what_was_solved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new" / "folder"
    first = cached(folder)
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(MethodOfLines, "solve", lambda *a, **k: pytest.fail("solved again"))
    assert torch.equal(cached(folder), first)


def test_cache_tells_problems_apart(tmp_path: Path) -> None:
    def other(value: float, film: float, initial: Any = lambda u0: u0) -> Problem:
        start, left = InitialCondition(initial), Dirichlet(value, on="left")
        film_condition = Robin(0.0, beta=lambda D: film * D, on="right")
        domain = Interval(0.0, 1.0) * TimeInterval(0.0, 500.0)
        return Problem(DiffusionSorption(), domain, [start, left, film_condition], parameters={"u0": 0.1})

    cached(tmp_path)
    cached(tmp_path, other(1.0, 1.0))  # the same problem, written differently
    assert len(list(tmp_path.iterdir())) == 1
    cached(tmp_path, other(0.9, 1.0))
    cached(tmp_path, other(1.0, 2.0))
    cached(tmp_path, other(1.0, 1.0, lambda u0: 0.1 + 0.0 * u0))  # the same at the default u0 only
    cached(tmp_path, diffusion_sorption_problem(k=1e-4))
    cached(tmp_path, method=replace(CHEAP, nodes=34))
    assert len(list(tmp_path.iterdir())) == 6


def test_nothing_is_cached_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PDESOLVE_DATA", str(tmp_path / "data"))
    reference_solution(diffusion_sorption_problem(), CASE, COARSE, method=CHEAP)
    assert list(tmp_path.iterdir()) == []
    assert data_folder() == tmp_path / "data"
    monkeypatch.setenv("PDESOLVE_DATA", "~/cache")
    assert data_folder() == Path.home() / "cache"
    monkeypatch.delenv("PDESOLVE_DATA")
    assert data_folder() == Path("data") / "generated"


def overwrite(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _wrong_value(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["values"][0, 0, 1, 1] += 1e-9


def _wrong_key(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["provenance key"] = "0" * 64


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "truncated": _truncate,
    "empty": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_text("not HDF5"),
    "one value": _wrong_value,
    "other key": _wrong_key,
    "link out": lambda path: overwrite(path, "values", h5py.ExternalLink("/etc/hostname", "/values")),
    "other shape": lambda path: overwrite(path, "values", np.zeros((2, 1, 4, 6))),
    "other type": lambda path: overwrite(path, "values", np.zeros((2, 1, 4, 5), dtype="f4")),
    "a group": lambda path: overwrite(path, "coordinates", 1.0),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_cache_is_refused(name: str, tmp_path: Path) -> None:
    cached(tmp_path)
    (path,) = tmp_path.iterdir()
    DAMAGE[name](path)
    with pytest.raises(ValueError, match=r"no sound reference solution .* delete it"):
        cached(tmp_path)


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(TypeError):
        save_reference(path, torch.zeros(1, 1, 1, 1), {"t": object()}, {}, {})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="no reference solution at"):
        load_reference(path)


def test_committed_reference_is_reproduced() -> None:
    path = DATA / "diffusion_sorption.h5"
    assert hashlib.sha256(path.read_bytes()).hexdigest() in (DATA / "README.md").read_text(encoding="utf-8")
    reference = load_reference(path)
    u = REFERENCE_METHOD.solve(diffusion_sorption_problem(), reference.parameters, reference.coordinates)
    assert u.shape == reference.values.shape == (4, 1, 51, 64)
    assert float(relative(u, reference.values).max()) < 1e-7
    assert {"method", "problem", "accuracy", "license"} <= set(reference.provenance)


def test_classical_rivals_reach_their_errors() -> None:
    table = classical_error_table((32, 64), {"u0": torch.tensor([0.01, 0.2])}, repeats=1)
    assert [(row.rival, row.cells) for row in table] == [
        (name, cells) for cells in (32, 64) for name in classical_rivals(cells)
    ]
    uniform, graded = table[::2], table[1::2]
    assert uniform[1].error < 0.5 * uniform[0].error < 2e-3
    assert graded[1].error < 0.25 * graded[0].error < 1e-4
    assert all(row.error <= row.worst and 0.0 < row.batch_seconds < 5.0 for row in table)


def test_time_at_error_follows_the_table() -> None:
    def row(rival: str, error: float, seconds: float) -> ClassicalResult:
        return ClassicalResult(rival, 1, CHEAP, error, error, seconds, seconds / 10.0)

    table = [row("a", 1e-2, 1.0), row("a", 1e-4, 4.0), row("b", 1e-3, 1.5)]
    assert time_at_error(table, 1e-4) == pytest.approx(4.0)
    assert time_at_error(table, 2e-3) == pytest.approx(1.5)
    assert time_at_error(table[:2], 1e-3) == pytest.approx(2.0)
    assert time_at_error(table[:2], 1e-3, batched=True) == pytest.approx(0.2)
    assert time_at_error(table, 1.0) == pytest.approx(1.0)
    assert time_at_error(table, 1e-5) == math.inf
    with pytest.raises(ValueError, match="empty"):
        time_at_error([], 1e-3)
    with pytest.raises(ValueError, match="positive"):
        time_at_error(table, 0.0)
