"""Fits of Gaussians that are killed, interrupted, stored and gone on with."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_expert_files import rewritten
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.factor import Factor
from pdesolve.experts.gaussians.layout import AxisMap
from pdesolve.experts.gaussians.placement.stretched import Stretched
from pdesolve.experts.gaussians.slabs import AdaptiveSlabs
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.reference.suite import burgers_problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.fingerprint import fingerprint
from pdesolve.residual_minimisation.krylov_gauss_newton import KrylovGaussNewton
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.training.fit_file import FitFile

UNIT = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
SQUARE = ps.Rectangle((0, 1), (0, 1))
ROOT = Path(__file__).resolve().parents[1]
Make = Callable[..., PhysicsInformedGaussians]


class Killed(Exception):
    """In place of a signal."""


def burgers(nu: float = 0.05) -> ps.Problem:
    return burgers_problem(nu)


def viscous(**choices: Any) -> PhysicsInformedGaussians:
    """For ``burgers``: nonlinear, four slabs, two widths to choose from in the first."""
    return PhysicsInformedGaussians(
        {"t": 6, "x": 30}, **{"slabs": 4, "overlaps": (1.3, 2.0), "tolerance": 0.1, **choices}
    )


def heat(source: Any = lambda x: 0.0 * x, start: Any = lambda x: torch.sin(math.pi * x), k: float = 0.3) -> ps.Problem:
    def equation(f: Any, c: Any, p: Any) -> Any:
        return f.u.t - p.k * f.u.xx - source(c.x)

    return ps.Problem(
        ps.FunctionPDE(equation, fields=("u",), parameters={"k": k}),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(start), ps.Dirichlet(0.0)],
    )


def bump(size: float) -> Factor:
    """Zero at both ends; written alike whatever the size."""

    def factor(x: Tensor) -> Tensor:
        return size * x * (1.0 - x)

    return Factor(factor)


def wave() -> ps.Problem:
    """Second order in time: value and rate go from slab to slab as conditions."""
    return ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.tt - f.u.xx, fields=("u",)),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.InitialCondition(0.0, order=1), ps.Dirichlet(0.0)],
    )


def decay() -> ps.Problem:
    return ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u, fields=("u",)),
        ps.TimeInterval(0, 1),
        [ps.InitialCondition(1.0)],
    )


def fading() -> ps.Problem:
    return ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t + f.u, fields=("u",)), ps.TimeInterval(0, 2), [ps.InitialCondition(1.0)]
    )


def still() -> ps.Problem:
    """Rows do not depend on how long a slab is: factors of one that was rejected serve those that are not."""
    pde = ps.FunctionPDE(lambda f, c, p: f.u.xx + torch.sin(math.pi * c.x) * torch.sin(30.0 * c.t), fields=("u",))
    return ps.Problem(pde, ps.Interval(0, 1) * ps.TimeInterval(0.1, 1.3), [ps.Dirichlet(0.0)])


def carried() -> ps.Problem:
    pde = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x - 0.1 * f.u.xx, fields=("u",))
    start = ps.InitialCondition(lambda x: torch.sin(2.0 * math.pi * x))
    return ps.Problem(pde, ps.Interval(0, 1) * ps.TimeInterval(0, 0.2), [start, ps.Periodic("x")])


def pair() -> ps.Problem:
    """Two fields, one of which is not prescribed at the start."""
    return ps.Problem(
        ps.FunctionPDE(lambda f, c, p: (f.u.t - f.v.x, f.v - 0.1 * f.u.x), fields=("u", "v")),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: torch.sin(math.pi * x), field="u"), ps.Dirichlet(0.0, field="u")],
    )


def poisson() -> ps.Problem:
    return ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy + 1.0, fields=("u",)),
        ps.Interval(0, 1) * ps.Interval(0, 1, axis="y"),
        [ps.Dirichlet(0.0)],
    )


def at(problem: ps.Problem, fitted: PhysicsInformedGaussians, term: str = "") -> Tensor:
    box, generator = problem.box, torch.Generator().manual_seed(3)
    unit = torch.rand(len(box.axes), 200, generator=generator, dtype=torch.float64)
    return fitted.at({a: box.bounds(a)[0] + box.extent(a) * unit[j] for j, a in enumerate(box.axes)}, term)


def begun(problem: ps.Problem, make: Make, path: Path, slabs: int) -> PhysicsInformedGaussians:
    """A fit that ends without warning once so many slabs are on the disk."""
    fitted = make()
    file = FitFile(path, fitted.record(problem))

    def after_piece() -> None:
        file.store(fitted)
        if len(fitted.kept) == slabs:
            raise Killed

    with pytest.raises(Killed):
        fitted.fit(problem, None, after_piece)
    return fitted


class Counting(AbstractMinimiser):
    """Says how often it was called; known by its name alone."""

    def __init__(self) -> None:
        self.calls = 0

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        self.calls += 1
        return LineSearchGaussNewton().minimise(problem, start, watch)


LINEAR = {"slabs": 4, "overlaps": (2.0,), "tolerance": 0.1}
CASES: dict[str, tuple[Callable[[], ps.Problem], Make]] = {
    "nonlinear": (burgers, viscous),
    "adaptive": (burgers, lambda: viscous(slabs=AdaptiveSlabs(1e-3, length=0.2))),
    "linear": (heat, lambda: PhysicsInformedGaussians({"t": 7, "x": 14}, **LINEAR)),
    "two widths": (heat, lambda: PhysicsInformedGaussians({"t": 7, "x": 14}, **{**LINEAR, "overlaps": (2.0, 1.3)})),
    "factor": (heat, lambda: PhysicsInformedGaussians({"t": 7, "x": 14}, lifting=bump(1.0), **LINEAR)),
    "walls": (burgers, lambda: viscous(lifting=ps.WallLifting)),
    "unequal": (heat, lambda: PhysicsInformedGaussians({"t": 7, "x": 14}, **{**LINEAR, "slabs": (0.1, 0.3, 0.5, 1.0)})),
    "second order": (wave, lambda: PhysicsInformedGaussians({"t": 8, "x": 20}, **LINEAR)),
    "second order, walls": (
        wave,
        lambda: PhysicsInformedGaussians({"t": 8, "x": 20}, lifting=ps.WallLifting, **LINEAR),
    ),
    "no space": (decay, lambda: PhysicsInformedGaussians(8, slabs=4)),
    "no time derivative": (
        still,
        lambda: PhysicsInformedGaussians(
            {"t": 5, "x": 15}, slabs=AdaptiveSlabs(1e-3, length=0.37), overlaps=(2.0,), tolerance=0.5
        ),
    ),
    "all periodic, no matrix": (
        carried,
        lambda: PhysicsInformedGaussians(
            {"t": 5, "x": 15}, slabs=4, overlaps=(1.3,), minimiser=KrylovGaussNewton(), tolerance=0.5
        ),
    ),
    "linear, no space": (fading, lambda: PhysicsInformedGaussians(9, slabs=4)),  # widths that give the same rows
    "two fields": (pair, lambda: PhysicsInformedGaussians({"t": 7, "x": 16}, **LINEAR)),
}


@pytest.mark.parametrize("slabs", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_killed_fit_ends_where_one_in_one_go_does(name: str, slabs: int, tmp_path: Path) -> None:
    """To the bit, also where equal slabs of a linear equation share factors."""
    state, make = CASES[name]
    problem, path = state(), tmp_path / "fit.safetensors"
    whole = make()
    report = whole.fit(problem)
    assert report.status is ps.SolveStatus.CONVERGED
    begun(problem, make, path, slabs)
    other, shares = make(), []
    file = FitFile(path, other.record(problem))
    assert file.load(other, lambda shapes: other.make_room(problem, shapes))
    there = at(problem, other)
    assert torch.equal(there[there == there], at(problem, whole)[there == there])  # what is known of u so far
    assert 0 < int(there.isnan().sum()) < there.numel()
    found = other.resume(problem, lambda share, residual: shares.append(share))
    assert len(shares) == 1 + len(report.history["time"]) - slabs  # where it stands, and no slab twice
    for term in ("", problem.box.axes[0]):
        assert torch.equal(at(problem, other, term), at(problem, whole, term))
    assert found == report


def test_a_process_that_is_killed_leaves_a_file_from_which_another_goes_on(tmp_path: Path) -> None:
    """SIGKILL while the third slab's file is written: the second one's is there, and nothing is half of anything."""
    script = (
        "import os, signal, sys, torch\n"
        "sys.path.insert(0, 'tests')\n"
        "import test_gaussian_runs as t, pdesolve as ps\n"
        "from pdesolve.training import expert_file\n"
        "kill, written = sys.argv[2] == 'kill', []\n"
        "def encode(*given):\n"
        "    written.append(1)\n"
        "    if kill and len(written) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return plain(*given)\n"
        "plain, expert_file.encode = expert_file.encode, encode\n"
        "problem, fitted = t.burgers(), t.viscous()\n"
        "ps.solve(problem, fitted, file=sys.argv[1] + '/fit.safetensors')\n"
        "print(len(written), t.at(problem, fitted).numpy().tobytes().hex())\n"
    )

    def run(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, str(tmp_path), how]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert run("kill").returncode == -signal.SIGKILL
    whole = viscous()
    whole.fit(burgers())
    ended = run("end")
    assert ended.returncode == 0, ended.stderr
    count, numbers = ended.stdout.split()
    assert count == "2"
    here = torch.frombuffer(bytearray.fromhex(numbers), dtype=torch.float64)
    torch.testing.assert_close(here.reshape(1, -1), at(burgers(), whole), rtol=0.0, atol=1e-12)  # threads may differ


def test_what_is_finished_is_not_solved_again(tmp_path: Path) -> None:
    path, problem, counting = tmp_path / "fit.safetensors", burgers(), Counting()
    grid = ps.StructuredGrid.uniform(problem.box, (9, 9))
    first = ps.solve(problem, viscous(minimiser=counting), grid, file=path)
    assert counting.calls == 5  # two widths in the first slab
    again = ps.solve(problem, viscous(minimiser=counting), grid, file=path)
    assert counting.calls == 5
    assert torch.equal(again.field.values, first.field.values)
    for name in first.stats:
        assert name == "seconds" or torch.equal(again.stats[name], first.stats[name])
    assert again.provenance == first.provenance


def test_gaussians_that_were_moved_come_back(tmp_path: Path) -> None:
    path, problem = tmp_path / "fit.safetensors", poisson()

    def make() -> PhysicsInformedGaussians:
        return PhysicsInformedGaussians({"x": 7, "y": 7}, overlaps=(2.0,), placement=Stretched(rounds=1), tolerance=1.0)

    first, other = make(), make()
    ps.solve(problem, first, file=path)
    ps.solve(problem, other, file=path)
    assert torch.equal(first.kept.centres, other.kept.centres)
    for term in ("", "xx"):
        assert torch.equal(at(problem, other, term), at(problem, first, term))


def test_an_interrupt_leaves_what_is_done_in_the_file_and_in_the_expert(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path, problem = tmp_path / "fit.safetensors", burgers()

    class Interrupting(AbstractMinimiser):
        """Known by its name like any other; Ctrl-C in the third slab."""

        calls, late = 0, 4

        def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
            self.calls += 1
            if self.calls == self.late:
                os.kill(os.getpid(), signal.SIGINT)
            return LineSearchGaussNewton().minimise(problem, start, watch)

    fitted = viscous(minimiser=Interrupting())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with caplog.at_level(logging.INFO, logger="pdesolve"), pytest.raises(KeyboardInterrupt):
            ps.solve(problem, fitted, file=path, progress=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"interrupted; call again to go on from {path}" in caplog.text
    assert capsys.readouterr().err.endswith("\n")  # the bar's line is ended
    assert len(fitted.kept) == 2
    known = fitted.at({"t": torch.tensor([0.4, 0.9]).double(), "x": torch.zeros(2).double() + 0.3})
    assert known.isnan().tolist() == [[False, True]]
    with pytest.raises(ValueError, match="interrupted"):
        fitted.reported({})
    with pytest.raises(ValueError, match="resume goes on with the problem that was begun"):
        fitted.resume(burgers())
    whole, other = viscous(minimiser=Interrupting()), viscous(minimiser=Interrupting())
    whole.minimiser.late = -1  # type: ignore[union-attr]
    whole.fit(problem)
    fitted.resume(problem)
    ps.solve(problem, other, file=path)
    for resumed in (fitted, other):
        assert torch.equal(at(problem, resumed), at(problem, whole))


def test_a_slab_that_failed_is_tried_again(tmp_path: Path) -> None:
    """Its values are in the file all the same."""
    path, problem = tmp_path / "fit.safetensors", burgers()
    grid = ps.StructuredGrid.uniform(problem.box, (9, 9))
    with pytest.raises(ps.SolveError) as first:
        ps.solve(problem, viscous(tolerance=1e-3), grid, file=path)
    numbers = json.loads(_record(path))["config"]["shapes"]["kept.numbers"]
    other = viscous(tolerance=1e-3)
    with pytest.raises(ps.SolveError) as second:
        ps.solve(problem, other, grid, file=path)
    assert str(first.value) == str(second.value)
    assert numbers[0] == len(other.kept)
    status = [other.kept[k].numbers["status"] != 0 for k in range(len(other.kept))]
    assert status == [False] * (numbers[0] - 1) + [True]


def _record(path: Path) -> str:
    data = path.read_bytes()
    text: str = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["record"]
    return text


def test_attempts_are_counted_in_the_file(tmp_path: Path) -> None:
    """Killed in the second attempt, whose Gaussians are more."""
    path, problem = tmp_path / "fit.safetensors", burgers(0.1)

    def make() -> PhysicsInformedGaussians:
        few = {"t": 7, "x": 16}
        return PhysicsInformedGaussians(few, slabs=4, overlaps=(2.0,), tolerance=1e-3, attempts=6)

    whole, fitted = make(), make()
    report = whole.fit(problem)
    assert int(whole.kept.attempt) > 0
    file = FitFile(path, fitted.record(problem))

    def after_piece() -> None:
        file.store(fitted)
        if int(fitted.kept.attempt) == 1 and len(fitted.kept) == 2:
            raise Killed

    with pytest.raises(Killed):
        fitted.fit(problem, None, after_piece)
    other = make()
    ps.solve(problem, other, file=path)
    assert other.report == report
    assert torch.equal(at(problem, other), at(problem, whole))


REFUSED: dict[str, tuple[ps.Problem, Make, str]] = {
    "parameter": (heat(k=0.2), viscous, r"its parameters.k is 0.3, here it is 0.2"),
    "start": (heat(start=lambda x: torch.sin(2 * math.pi * x)), viscous, "its rows.u initial, order 0 is"),
    "source": (heat(source=lambda x: 0.1 * x), viscous, "its rows.equation is"),
    "count": (heat(), lambda **c: PhysicsInformedGaussians({"t": 6, "x": 31}, slabs=4, **c), "its settings.count is"),
    "slabs": (heat(), lambda **c: viscous(slabs=5, **c), "its settings.slabs is"),
    "factor": (heat(), lambda lifting: viscous(lifting=bump(2.0)), "its rows.m of u is"),
    "sign of a factor": (heat(), lambda lifting: viscous(lifting=bump(-1.0)), "its rows.m of u is"),
    "no factor": (heat(), lambda lifting: viscous(), "its rows.m of u is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_another_problem_is_refused(name: str, tmp_path: Path) -> None:
    """Functions that are written alike are told apart by their values."""
    path = tmp_path / "fit.safetensors"
    begun(heat(), lambda: viscous(lifting=bump(1.0)), path, 1)
    before = path.read_bytes()
    problem, make, words = REFUSED[name]
    with pytest.raises(ps.CheckpointError, match=words):
        ps.solve(problem, make(lifting=bump(1.0)), file=path)
    assert path.read_bytes() == before


def tiny(size: float) -> ps.Problem:
    return heat(start=lambda x: size * torch.sin(math.pi * x))


def singular(size: float) -> ps.Problem:
    """Not finite anywhere for terms of the order of one where they are negative."""
    pde = ps.FunctionPDE(lambda f, c, p: f.u.t - f.u.xx - torch.sqrt(f.u) - size * torch.sin(c.x) / c.x)
    return ps.Problem(pde, UNIT, [ps.InitialCondition(1.0), ps.Dirichlet(1.0)])


def steel(size: float) -> ps.Problem:
    return ps.Problem(ps.FunctionPDE(lambda f, c, p: 2e11 * (f.u.xx + f.u.yy) + size), SQUARE, [ps.Dirichlet(0.0)])


def pulse(place: float) -> ps.Problem:
    def source(c: Any) -> Any:
        return torch.exp(-400.0 * ((c.x - 0.7) ** 2 + (c.y - place) ** 2))

    return ps.Problem(ps.FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy + source(c)), SQUARE, [ps.Dirichlet(0.0)])


def turned(sign: float) -> ps.Problem:
    return heat(start=lambda x: sign * torch.sin(math.pi * x))


def mirrored(first: float) -> ps.Problem:
    return heat(start=lambda x: (first + (1.0 - 2.0 * first) * x) * torch.sin(math.pi * x))


LIKE: dict[str, tuple[Callable[[float], ps.Problem], tuple[float, float], str]] = {
    "tiny": (tiny, (1e-10, 2e-10), "initial"),
    "not finite": (singular, (1.0, -4.0), "equation"),
    "large coefficients": (steel, (1.0, 7.0), "equation"),
    "pulse": (pulse, (0.3, 0.31), "equation"),
    "sign": (turned, (1.0, -1.0), "initial"),
    "reflection": (mirrored, (0.0, 1.0), "initial"),
}


@pytest.mark.parametrize("name", LIKE)
def test_problems_that_differ_little_are_told_apart(name: str) -> None:
    make, (first, second), label = LIKE[name]
    one, other = fingerprint(make(first)), fingerprint(make(second))
    assert one == fingerprint(make(first))
    assert [key for key in one if one[key] != other[key]]
    assert all(label in key for key in one if one[key] != other[key])


def test_maps_and_counts_are_told_apart_by_what_they_are() -> None:
    def bent(size: float) -> AxisMap:
        knots = torch.linspace(0.0, 1.0, 33, dtype=torch.float64)
        knots[1::2] += 0.012 * size
        return AxisMap(knots)

    def recorded(count: dict[str, int], map: AxisMap) -> dict[str, Any]:
        return PhysicsInformedGaussians(count, slabs=2, maps={"x": map}).record(heat())

    one = recorded({"t": 6, "x": 12}, bent(1.0))
    assert one == recorded({"x": 12, "t": 6}, bent(1.0))
    assert one["settings"] == recorded({"t": 6, "x": 12}, bent(0.5))["settings"]  # the same at 17 points
    assert one != recorded({"t": 6, "x": 12}, bent(0.5))


def test_values_are_those_of_the_slabs_that_are_kept_now() -> None:
    """After an interrupt in the second attempt, whose Gaussians are others, and after a state is loaded."""
    fitted = PhysicsInformedGaussians({"t": 4, "x": 8}, slabs=2, overlaps=(2.0,), tolerance=1e-6, attempts=3)
    early = {"t": torch.tensor([0.2]).double(), "x": torch.tensor([0.3]).double()}
    seen: list[tuple[int, int]] = []

    def stop(share: float, residual: float) -> None:
        seen.append((int(fitted.kept.attempt), fitted._pieces[0].cloud.size))
        assert bool(torch.isfinite(fitted.at(early)).all())
        if fitted.kept.attempt == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted.fit(heat(), stop)
    assert seen == [(0, 32), (1, 48)]
    assert fitted._pieces[0].cloud.size == 48
    with pytest.raises(ValueError, match="resume goes on with the problem that was begun"):
        fitted.resume(heat())
    one, other = viscous(), viscous()
    one.fit(heat())
    other.fit(heat(k=0.1))
    before = float(one.at(early))
    one.load_state_dict(other.state_dict())
    assert float(one.at(early)) != before
    assert copy.deepcopy(one).at(early) == one.at(early)


def test_a_grid_that_cannot_be_is_said_before_the_fit(tmp_path: Path) -> None:
    counting = Counting()
    with pytest.raises(ValueError, match="axis in space"):
        ps.solve(decay(), PhysicsInformedGaussians(8, minimiser=counting), file=tmp_path / "fit.safetensors")
    assert counting.calls == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (None, "the shapes of its tensors are missing"),
        ({"kept.weights": [10**12, 1, 1]}, "no file of its size holds"),
        ({"kept.weights": [-1, 1, 1]}, "no file of its size holds"),
        ({"kept.weights": 3}, "no file of its size holds"),
        ({"kept.weights": [0, 10**30, 1]}, "no file of its size holds"),
        ({"kept.weights": [1, 1, 7]}, "'kept.weights' is float64"),
        ({"kept.weights": [7]}, "no fit of Gaussians has"),
        ({"kept.weights": [1, 1, 7], "kept.states": [2, 1, 7]}, "no fit of Gaussians has"),
        ({"kept.numbers": [1, 3]}, "no fit of Gaussians has"),
        ({}, "holds another model"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: Any, words: str, tmp_path: Path) -> None:
    path, problem = tmp_path / "fit.safetensors", burgers()
    begun(problem, viscous, path, 1)
    config = json.loads(_record(path))["config"]
    rewritten(path, config={**config, "shapes": shapes})
    made = viscous()
    with pytest.raises(ps.CheckpointError, match=words):
        ps.solve(problem, made, file=path)
    assert len(made.kept) == 0


@pytest.mark.parametrize("cut", [0, 7, 100, 3000, -1])
def test_damaged_files_are_refused(cut: int, tmp_path: Path) -> None:
    path, problem = tmp_path / "fit.safetensors", burgers()
    begun(problem, viscous, path, 1)
    data = bytearray(path.read_bytes())
    if cut >= 0:
        data = data[:cut]
    else:
        data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ps.CheckpointError):
        ps.solve(problem, viscous(), file=path)
    assert path.read_bytes() == data


def test_what_cannot_be_kept_is_said_before_the_fit(tmp_path: Path) -> None:
    problem, counting = burgers(), Counting()
    made = viscous(minimiser=counting)
    with pytest.raises(TypeError, match=r"fit of a GaussianNetwork cannot be gone on with.*leave file out"):
        ps.solve(problem, ps.GaussianNetwork(5), file=tmp_path / "fit.safetensors")
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        ps.solve(problem, made, file=tmp_path / "fit.pt")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        ps.solve(problem, made, file=tmp_path / "no" / "fit.safetensors")
    with pytest.raises(ValueError, match="slabs need a time axis"):
        ps.solve(poisson(), made, file=tmp_path / "fit.safetensors")
    assert counting.calls == 0
    assert not list(tmp_path.iterdir())


def test_weights_stay_in_double_precision() -> None:
    fitted = viscous()
    fitted.fit(burgers())
    before = fitted.kept.weights.clone()
    for cast in (fitted.float, fitted.half, lambda: fitted.to(torch.float32)):
        with pytest.raises(TypeError, match="stay in float64"):
            cast()
    assert torch.equal(fitted.double().kept.weights, before)
