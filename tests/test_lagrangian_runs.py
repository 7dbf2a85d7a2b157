"""Fits of the Lagrangian expert as runs: watched, stopped, killed and gone on with; by ``solve`` and by Adam."""

from __future__ import annotations

import logging
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import pdesolve as ps
from pdesolve.experts.lagrangian.fitting import FitStep
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.adam import AdamDescent
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.training.fit_file import FitFile
from pdesolve.training.slabs import _record

TURN = 2 * math.pi
RING = ps.Interval(0, TURN) * ps.TimeInterval(0, 1)
SOLVER = ProbedLevenbergMarquardt(factorisation=Gram(), max_steps=30, ftol=1e-2)
PATH = [ps.Stage(diffusivity=2.0), ps.Stage()]
BRANCH = ps.SpectralBranch(4, 4)
AT = {"x": torch.linspace(0, TURN, 20, dtype=torch.float64), "t": torch.linspace(0, 1, 20, dtype=torch.float64)}


def problem(nu: float = 0.1) -> ps.Problem:
    conditions = [ps.InitialCondition(lambda x: 5.0 + torch.sin(x)), ps.Periodic("x")]
    return ps.Problem(ps.LinearAdvection(5.0, nu), RING, conditions)


def expert(seed: int = 0, nu: float = 0.1, slabs: int = 3) -> ps.LagrangianPINN:
    return ps.LagrangianPINN(
        problem(nu),
        BRANCH,
        BRANCH,
        generator=torch.Generator().manual_seed(seed),
        counts={"x": 12, "t": 6},
        slabs=slabs,
    )


class StopAt:
    """Asks for a stop at the first step of a slab and stage; keeps what it saw."""

    def __init__(self, slab: int, stage: int) -> None:
        self.place = (slab, stage)
        self.seen: list[FitStep] = []

    def __call__(self, at: FitStep) -> bool:
        self.seen.append(at)
        return (at.slab, at.stage) == self.place


def test_a_watch_sees_every_step_and_can_stop() -> None:
    made, watch = expert(), StopAt(1, 1)
    report = made.fit(SOLVER, PATH, watch=watch)
    assert report.stopped
    assert len(report.residual) == 1
    assert made.stages.tolist() == [2, 1, 0]
    assert {(at.slab, at.stage) for at in watch.seen} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {(at.slabs, at.stages) for at in watch.seen} == {(3, 2)}
    early = {"x": AT["x"], "t": AT["t"] / 3}
    assert bool(torch.isfinite(made.at(early)).all())
    with pytest.raises(ValueError, match=r"slab 1 of 3 is not fitted, u is known up to t = 0\.333333.*call resume"):
        made.at(AT)
    with pytest.raises(ValueError, match="call resume"):
        made({}, ps.StructuredGrid.periodic(RING, (4, 8)))


def test_a_fit_that_was_stopped_ends_where_one_in_one_go_does() -> None:
    made, whole = expert(), expert()
    whole.fit(SOLVER, PATH)
    made.fit(SOLVER, PATH, watch=StopAt(1, 0))
    before, watch = made.theta[0].detach().clone(), StopAt(-1, 0)
    report = made.resume(SOLVER, PATH, watch=watch)
    assert not report.stopped
    assert min(at.slab for at in watch.seen) == 1
    assert torch.equal(made.theta[0], before)
    assert len(report.residual) == 3
    torch.testing.assert_close(made.at(AT), whole.at(AT), rtol=0, atol=1e-9)
    assert float(made({}, ps.StructuredGrid.periodic(RING, (4, 8))).stats["worst_residual"]) == max(report.residual)


def test_a_killed_fit_goes_on_from_its_file(tmp_path: Path) -> None:
    """The file of each stage is whole; another process, with another seed, takes up the slabs that are done."""
    path, made = tmp_path / "front.safetensors", expert()

    class Killed(Exception):
        pass

    def die(at: FitStep) -> bool:
        if at.slab == 2:
            raise Killed
        return False

    file = FitFile(path, _record(made, PATH))
    with pytest.raises(Killed):
        made.fit(SOLVER, PATH, watch=die, after_stage=lambda: file.store(made))
    other = expert(seed=1)
    report = ps.fit_slabs(other, SOLVER, PATH, file=path)
    assert len(report.minimised) == 1  # the last slab alone
    assert float(other.shift) == float(made.shift)
    whole = expert()
    whole.fit(SOLVER, PATH)
    torch.testing.assert_close(other.at(AT), whole.at(AT), rtol=0, atol=1e-9)
    again = expert(seed=2)
    assert not ps.fit_slabs(again, SOLVER, PATH, file=path).minimised
    assert torch.equal(again.at(AT), other.at(AT))


class Signalling(AbstractMinimiser):
    """The solver of these tests, and SIGINT at the second step of its fourth run: slab 1, stage 1."""

    def __init__(self) -> None:
        self.runs = 0

    def minimise(self, problem: AbstractResidual, start: torch.Tensor, watch: Watch | None = None) -> Minimised:
        self.runs += 1

        def seen(step: int, theta: torch.Tensor, cost: float) -> bool:
            if (self.runs, step) == (4, 2):
                os.kill(os.getpid(), signal.SIGINT)
            return watch is not None and watch(step, theta, cost)

        return SOLVER.minimise(problem, start, seen)


def test_a_signal_stops_after_the_step_and_the_state_is_on_the_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, made = tmp_path / "front.safetensors", expert()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with caplog.at_level(logging.INFO, logger="pdesolve"):
            report = ps.fit_slabs(made, Signalling(), PATH, file=path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert report.stopped
    assert made.stages.tolist() == [2, 1, 0]
    assert f"stopped by a signal; call again to go on from {path}" in caplog.text
    assert "slab 1 of 3, stage 2 of 2: cost" in caplog.text
    other = expert(seed=1)
    final = ps.fit_slabs(other, SOLVER, PATH, file=path)
    assert len(final.minimised) == 2
    assert len(final.residual) == 3


def test_a_slab_that_is_fitted_anew_takes_along_all_that_set_out_from_it() -> None:
    made = expert()
    made.fit(SOLVER)
    made.ended[1] = int(ps.SolveStatus.UNRESOLVED)
    watch = StopAt(-1, 0)
    report = made.resume(SOLVER, watch=watch)
    assert len(report.minimised) == 2
    assert made.ended.tolist() == [0, 0, 0]
    assert made.resume(SOLVER).minimised == ()


def test_a_file_of_another_problem_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "front.safetensors"
    ps.fit_slabs(expert(slabs=1), SOLVER, file=path)
    with pytest.raises(ps.CheckpointError, match=r"its parameters.*is 0.1, here it is 0.2"):
        ps.fit_slabs(expert(nu=0.2, slabs=1), SOLVER, file=path)
    with pytest.raises(ps.CheckpointError, match=r"its settings\.slabs is"):
        ps.fit_slabs(expert(slabs=2), SOLVER, file=path)
    with pytest.raises(ps.CheckpointError, match=r"its settings\.path is"):
        ps.fit_slabs(expert(slabs=1), SOLVER, PATH, file=path)


def test_what_cannot_be_written_is_said_before_the_fit(tmp_path: Path) -> None:
    made = expert()
    with pytest.raises(ValueError, match=r"ends in \.safetensors"):
        ps.fit_slabs(made, SOLVER, file=tmp_path / "front.pt")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        ps.fit_slabs(made, SOLVER, file=tmp_path / "no" / "front.safetensors")
    assert made.stages.tolist() == [0, 0, 0]
    with pytest.raises(TypeError, match="must be a LagrangianPINN, got LagrangianFit"):
        ps.fit_slabs(ps.LagrangianFit(BRANCH, BRANCH), SOLVER)  # type: ignore[arg-type]


def test_the_bar_says_slab_stage_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    ps.fit_slabs(expert(), SOLVER, PATH, progress=True)
    err = capsys.readouterr().err
    assert "slab=3/3" in err
    assert "stage=2/2" in err
    assert "loss=" in err
    ps.fit_slabs(expert(), SOLVER)
    assert not capsys.readouterr().err  # no terminal, no bar


def test_a_slab_that_failed_is_told_by_the_solution() -> None:
    """A source that is not finite at a value of u that the start does not take."""
    conditions = [ps.InitialCondition(lambda x: 1.0 + 0.1 * torch.sin(x)), ps.Periodic("x")]
    pde = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u.x - torch.log(2.0 - f.u + 0.0 * c.x) * torch.log(1.2 - c.t))
    made = ps.LagrangianPINN(
        ps.Problem(pde, ps.Interval(0, TURN) * ps.TimeInterval(0, 1), conditions), BRANCH, BRANCH,
        generator=torch.Generator().manual_seed(0), counts={"x": 12, "t": 6},
    )  # fmt: skip
    with torch.no_grad():
        made.maps[0].split(made.theta[0])[1].add_(10.0)  # u far beyond 2
    with pytest.raises(ps.SolveError, match=r"NON_FINITE.*slab 0: at the start row"):
        made.fit(SOLVER)
    made.fit(SOLVER, throw=False)
    assert made({}, ps.StructuredGrid.periodic(RING, (4, 8)), throw=False).status.tolist() == [
        [int(ps.SolveStatus.NON_FINITE)]
    ]

    with torch.no_grad():
        made.theta[0].zero_()
    assert len(made.resume(SOLVER).minimised) == 1  # what failed is not done
    assert made.ended.tolist() == [int(ps.SolveStatus.CONVERGED)]


def test_a_blow_up_is_not_resolved() -> None:
    """u² as a source, from 1.5: infinite at t = 2/3. The minimiser ends well, the residual says that u is wrong."""
    conditions = [ps.InitialCondition(lambda x: 1.5 + 0.2 * torch.sin(x)), ps.Periodic("x")]
    pde = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u.x - f.u**2)
    made = ps.LagrangianPINN(
        ps.Problem(pde, RING, conditions), BRANCH, BRANCH, generator=torch.Generator().manual_seed(0),
        counts={"x": 12, "t": 8},
    )  # fmt: skip
    report = made.fit(SOLVER)
    assert report.residual[0] > 0.1
    with pytest.raises(ps.SolveError, match=r"UNRESOLVED.*slab 0: residual"):
        made({}, ps.StructuredGrid.periodic(RING, (4, 8)))
    with pytest.raises(ps.SolveError, match=r"UNRESOLVED"):
        made.at(AT)
    assert bool(torch.isfinite(made.at(AT, throw=False)).all())
    fit = ps.LagrangianFit(BRANCH, BRANCH, counts={"x": 12, "t": 8}, minimiser=SOLVER)
    assert fit.fit(made.problem).status is ps.SolveStatus.UNRESOLVED
    with pytest.raises(TypeError, match=r"seed must be an integer, got 1\.5"):
        ps.LagrangianFit(BRANCH, BRANCH, seed=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tolerance must be positive"):
        ps.LagrangianFit(BRANCH, BRANCH, tolerance=0.0).fit(made.problem)


def test_points_behind_a_crossing_are_refused() -> None:
    inviscid = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x)
    domain = ps.Interval(0, TURN) * ps.TimeInterval(0, 1.5)
    case = ps.Problem(inviscid, domain, [ps.InitialCondition(lambda x: torch.sin(x)), ps.Periodic("x")])
    made = ps.LagrangianPINN(
        case, ps.SpectralBranch(6, 4), ps.ZeroBranch(), generator=torch.Generator().manual_seed(0),
        counts={"x": 24, "t": 8},
    )  # fmt: skip
    made.fit(SOLVER)
    x = torch.tensor([1.0, 1.0], dtype=torch.float64)
    times = torch.tensor([0.9, 1.1], dtype=torch.float64)
    with pytest.raises(ps.SolveError, match=r"CROSSING.*cross first at t = (1|0\.99|1\.00)"):
        made.at({"x": x, "t": times})
    found = made.at({"x": x, "t": times}, throw=False)
    assert torch.isfinite(found[:, 0]).tolist() == [True, False]


def test_solve_takes_it_like_any_expert_of_one_problem(capsys: pytest.CaptureFixture[str]) -> None:
    made = ps.LagrangianFit(BRANCH, BRANCH, path=PATH, slabs=2, counts={"x": 12, "t": 6})
    with pytest.raises(ValueError, match="no problem yet"):
        _ = made.problem
    solution = ps.solve(problem(), made, ps.StructuredGrid.periodic(RING, (5, 16)), progress=True)
    err = capsys.readouterr().err
    assert "100%" in err
    at = solution.field.grid.coordinates()
    exact = 5.0 + torch.exp(-0.1 * at["t"]) * torch.sin(at["x"] - 5.0 * at["t"])
    assert float((solution.field.values[0, 0] - exact).abs().max()) < 1e-3
    assert set(solution.stats) >= {"worst_residual", "seconds", "jacobian"}
    assert made.report is not None
    assert made.report.status is ps.SolveStatus.CONVERGED
    assert made.report.history["time"] == [0.5, 1.0]
    assert torch.equal(made.at(AT), made.fitted.at(AT))


class Interrupted(AbstractMinimiser):
    """Ctrl-C in the middle of the second slab, as it comes where no guard is."""

    def __init__(self) -> None:
        self.runs = 0

    def minimise(self, problem: AbstractResidual, start: torch.Tensor, watch: Watch | None = None) -> Minimised:
        self.runs += 1
        if self.runs == 2:
            raise KeyboardInterrupt
        return SOLVER.minimise(problem, start, watch)


def test_solve_that_was_interrupted_leaves_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    made = ps.LagrangianFit(BRANCH, BRANCH, slabs=2, counts={"x": 12, "t": 6}, minimiser=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        ps.solve(problem(), made, progress=True)
    assert capsys.readouterr().err.endswith("\n")  # the bar has ended
    assert made.fitted.stages.tolist() == [1, 0]
    with pytest.raises(ValueError, match="slab 1 of 2 is not fitted"):
        made.at(AT)
    made.fitted.resume(SOLVER)
    assert bool(torch.isfinite(made.at(AT)).all())


def test_solve_goes_on_from_a_file(tmp_path: Path) -> None:
    """Of an interrupted fit; a finished one is not run again, and another problem refused."""
    path, grid = tmp_path / "fit.safetensors", ps.StructuredGrid.periodic(RING, (5, 16))

    def make(minimiser: AbstractMinimiser = SOLVER) -> ps.LagrangianFit:
        return ps.LagrangianFit(BRANCH, BRANCH, slabs=2, counts={"x": 12, "t": 6}, minimiser=minimiser)

    whole, before = make(Interrupted()), make(Interrupted())
    whole.minimiser.runs = 2  # type: ignore[attr-defined]
    report = whole.fit(problem())
    with pytest.raises(KeyboardInterrupt):
        ps.solve(problem(), before, grid, file=path)
    other = make(Interrupted())
    ps.solve(problem(), other, grid, file=path)
    assert other.minimiser.runs == 1  # type: ignore[attr-defined]
    assert other.report is not None
    assert math.isnan(other.report.history["steps"][0])  # another process knows
    assert other.report.history["steps"][1] == report.history["steps"][1]
    assert other.report.history["residual"] == report.history["residual"]
    assert torch.equal(other.at(AT), whole.at(AT))
    again = make(Interrupted())
    ps.solve(problem(), again, grid, file=path)
    assert again.minimiser.runs == 0  # type: ignore[attr-defined]
    with pytest.raises(ps.CheckpointError, match="its parameters"):
        ps.solve(problem(0.2), make(Interrupted()), grid, file=path)
    with pytest.raises(ps.CheckpointError, match=r"its settings\.minimiser"):
        ps.solve(problem(), make(), grid, file=path)
    with pytest.raises(ValueError, match="resume goes on with the problem that was begun"):
        again.resume(problem())


def test_a_slab_that_was_not_judged_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted between its last stage and the residual that judges it."""
    made, whole = expert(slabs=2), expert(slabs=2)
    whole.fit(SOLVER)

    def interrupted(self: ps.LagrangianPINN, *given: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ps.LagrangianPINN, "_checked_residual", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made.fit(SOLVER)
    assert made.stages.tolist() == [1, 0]
    made.resume(SOLVER)
    assert made.ended.tolist() == [0, 0]
    torch.testing.assert_close(made.at(AT), whole.at(AT), rtol=0, atol=1e-9)


def test_solve_says_that_characteristics_cross() -> None:
    inviscid = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x)
    domain = ps.Interval(0, TURN) * ps.TimeInterval(0, 1.5)
    case = ps.Problem(inviscid, domain, [ps.InitialCondition(lambda x: torch.sin(x)), ps.Periodic("x")])
    made = ps.LagrangianFit(ps.SpectralBranch(6, 4), ps.ZeroBranch(), counts={"x": 24, "t": 8})
    with pytest.raises(ps.SolveError, match=r"CROSSING.*cross first at t = "):
        ps.solve(case, made)
    assert made.report is not None
    assert made.report.status is ps.SolveStatus.CROSSING


@pytest.mark.parametrize("branch", [ps.TanhBranch((8,)), ps.PatchedBranch(ps.TanhBranch((4,)), {"x": 3})])
def test_adam_fits_the_same_expert(branch: Any) -> None:
    """The same rows and weights as Levenberg-Marquardt's: the cost falls by orders of magnitude."""
    made = ps.LagrangianPINN(
        problem(), branch, branch, generator=torch.Generator().manual_seed(0), counts={"x": 16, "t": 6}
    )
    report = made.fit(AdamDescent(rate=1e-2, max_steps=400))
    cost = report.minimised[0].history["cost"]
    assert cost[-1] < 1e-2 * cost[0]
    assert report.minimised[0].status is ps.SolveStatus.STEP_CAP
    exact = 5.0 + torch.exp(-0.1 * AT["t"]) * torch.sin(AT["x"] - 5.0 * AT["t"])
    assert float((made.at(AT)[:, 0] - exact).detach().abs().max()) < 0.03
