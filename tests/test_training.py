"""Training lowers the residual, repeats from its seed, ends cleanly, and never learns from a failed solve."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_case import FAMILY, PROBLEM, PolynomialExpert, parameters_of, settings

from pdesolve.condition import Dirichlet
from pdesolve.domains.geometry import Interval
from pdesolve.problem import Problem, ProblemFamily, Uniform
from pdesolve.status import SolveError, SolveStatus
from pdesolve.training import (
    AbstractSchedule,
    Constant,
    CosineDecay,
    EarlyStop,
    HeldOutResidual,
    LogResidual,
    MeanSquare,
    SmoothedLoss,
    StepHalving,
    StopReason,
    TrainingError,
    TrainingSettings,
    train,
)
from pdesolve.training.early_stop import Patience

LABELS = {"loss", "equation", "slope", "total", "learning_rate", "gradient_norm", "failed", "skipped", "seconds"}


class Spoilt(PolynomialExpert):
    """Rows that a test changes before training sees them."""

    def __init__(self, spoil: Any, **given: Any) -> None:
        super().__init__(**given)
        self.spoil, self.calls = spoil, 0

    def residual(self, parameters: Mapping[str, Tensor], generator: torch.Generator) -> Any:
        self.calls += 1
        return self.spoil(self.calls, *super().residual(parameters, generator))


class BadGradient(torch.autograd.Function):
    """The identity, whose derivative is NaN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * math.nan


def test_training_finds_the_solution_of_the_family() -> None:
    expert = PolynomialExpert()
    report = train(expert, FAMILY, settings(steps=800, learning_rate=0.05, checkpoint_every=1000), seed=0)
    k = torch.tensor([0.5, 1.3, 2.0], dtype=torch.float64)
    exact = torch.stack([k / 2, 0 * k, 0 * k], dim=1)
    assert float((expert.coefficients(k).detach() - exact).abs().max()) < 0.02
    assert report.reason is StopReason.FINISHED
    assert not report.interrupted
    assert not report.stopped_early
    assert report.steps == 800
    assert report.checkpoint is None
    assert report.final_losses["total"] < 1e-3 * report.history["total"][0]


def test_history_has_every_label_at_every_step() -> None:
    rows: list[dict[str, float]] = []
    report = train(PolynomialExpert(), FAMILY, settings(), seed=0, on_step=lambda _, row: rows.append(dict(row)))
    assert set(report.history) == LABELS
    assert {len(series) for series in report.history.values()} == {60}
    assert rows[-1] == report.final_losses
    total = torch.tensor(report.history["equation"]) + torch.tensor(report.history["slope"])
    assert torch.allclose(total, torch.tensor(report.history["total"]))
    assert report.seconds == pytest.approx(sum(report.history["seconds"]))


def test_seed_decides_the_numbers_and_leaves_the_global_generator_alone() -> None:
    runs = []
    for seed in (5, 5, 6):
        expert = PolynomialExpert()
        before = torch.get_rng_state()
        runs.append((train(expert, FAMILY, settings(), seed=seed).history["loss"], parameters_of(expert)))
        assert torch.equal(before, torch.get_rng_state())
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1], runs[1][1], strict=True))
    assert runs[0][0] != runs[2][0]


def test_single_problem_is_a_family_of_one() -> None:
    report = train(PolynomialExpert(), PROBLEM, settings(steps=300, learning_rate=0.05), seed=0)
    assert report.final_losses["total"] < 0.05 * report.history["total"][0]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), [1, 1, 1, 1, 1, 1, 1, 1]),
        (StepHalving(3), [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        (
            CosineDecay(0.25, final=0.1),
            [0.5, 1.0, *(0.1 + 0.45 * (1 + math.cos(math.pi * k / 6)) for k in range(6))],
        ),
    ],
)
def test_schedule_sets_the_learning_rate(schedule: AbstractSchedule, expected: list[float]) -> None:
    report = train(PolynomialExpert(), FAMILY, TrainingSettings(8, schedule=schedule, learning_rate=0.5), seed=0)
    assert report.history["learning_rate"] == pytest.approx([0.5 * e for e in expected])


def test_gradient_is_clipped_after_its_norm_is_recorded() -> None:
    expert = PolynomialExpert()
    before = parameters_of(expert)
    report = train(
        expert,
        FAMILY,
        TrainingSettings(1, optimizer=torch.optim.SGD, learning_rate=1.0, gradient_clip=1e-3, objective=MeanSquare()),
        seed=0,
    )
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, parameters_of(expert), strict=True)])
    assert report.history["gradient_norm"][0] > 1e-2
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-4)


def test_objectives_are_their_formulas() -> None:
    squares = torch.tensor([1.0, math.e**2, 0.0], dtype=torch.float64)
    assert float(MeanSquare()(squares)) == pytest.approx((1 + math.e**2) / 3)
    assert float(LogResidual()(squares[:2])) == pytest.approx(1.0)
    assert math.isfinite(float(LogResidual()(squares)))


# Failures


def test_failed_cases_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    expert = PolynomialExpert(fails_above=1.25)
    report = train(expert, FAMILY, settings(batch=8), seed=0)
    assert 60 < sum(report.history["failed"]) < 420
    assert sum(report.history["skipped"]) == 0
    assert all(math.isfinite(value) for value in report.history["loss"])
    assert all(bool(torch.isfinite(p).all()) for p in expert.parameters())
    warnings = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert len(warnings) == 1
    assert "raise max_steps" in warnings[0]


def test_step_follows_the_gradient_of_the_converged_cases_alone() -> None:
    def spoil(call: int, rows: dict[str, Tensor], status: Tensor) -> Any:
        return rows, status + torch.tensor([[0], [int(SolveStatus.STEP_CAP)], [0], [0]])

    expert, twin = Spoilt(spoil), PolynomialExpert()
    descent = TrainingSettings(1, 4, 0.1, optimizer=torch.optim.SGD, objective=MeanSquare())
    train(expert, FAMILY, descent, seed=0)
    generator = torch.Generator().manual_seed(0)
    rows, _ = twin.residual(FAMILY.sample(4, generator), generator)
    cost = torch.stack([r.square().sum(dim=1) for r in rows.values()]).sum(dim=0)[[0, 2, 3]].mean()
    gradients = torch.autograd.grad(cost, list(twin.parameters()))
    for moved, start, gradient in zip(expert.parameters(), twin.parameters(), gradients, strict=True):
        assert torch.allclose(moved, start - 0.1 * gradient, rtol=1e-12)


def test_failed_case_whose_nan_reaches_the_gradient_costs_a_second_evaluation() -> None:
    expert = Spoilt(lambda call, rows, status: (rows, status), fails_above=1.25)
    report = train(expert, FAMILY, settings(batch=8), seed=0)
    spoilt = sum(count > 0 for count in report.history["failed"])
    assert spoilt > 0
    assert expert.calls == report.steps + spoilt
    assert sum(report.history["skipped"]) == 0


def test_all_failed_names_step_and_remedy() -> None:
    with pytest.raises(TrainingError, match=r"step 1: .*STEP_CAP.*raise max_steps.*no checkpoint was kept") as caught:
        train(PolynomialExpert(fails_above=0.0), FAMILY, settings(), seed=0)
    assert caught.value.step == 1
    assert caught.value.checkpoint is None


def test_error_names_the_last_good_checkpoint(tmp_path: Any) -> None:
    def spoil(call: int, rows: dict[str, Tensor], status: Tensor) -> Any:
        return rows, status if call < 13 else status + int(SolveStatus.DIVERGED)

    with pytest.raises(TrainingError, match=r"step 13: .*DIVERGED.*check the residual.*step_00000010") as caught:
        train(Spoilt(spoil), FAMILY, settings(), seed=0, checkpoints=tmp_path)
    assert caught.value.checkpoint == tmp_path / "step_00000010"


def test_non_finite_loss_names_label_case_and_parameters() -> None:
    def spoil(call: int, rows: dict[str, Tensor], status: Tensor) -> Any:
        if call == 3:
            rows["slope"] = rows["slope"] + torch.tensor([[0.0], [math.inf], [0.0], [0.0]])
        return rows, status

    expert = Spoilt(spoil)
    with pytest.raises(TrainingError, match=r"step 3: the loss is inf: case 1 \(k = [0-9.]+\).*'slope'"):
        train(expert, FAMILY, settings(), seed=0)
    assert all(bool(torch.isfinite(p).all()) for p in expert.parameters())


def test_non_finite_gradient_is_never_stepped_on() -> None:
    def spoil(call: int, rows: dict[str, Tensor], status: Tensor) -> Any:
        return {k: BadGradient.apply(v) if call in (2, 3) else v for k, v in rows.items()}, status

    expert, seen = Spoilt(spoil), []
    report = train(expert, FAMILY, settings(steps=5), seed=0, on_step=lambda *_: seen.append(parameters_of(expert)))
    assert report.history["skipped"] == (0, 1, 1, 0, 0)
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[2], strict=True))
    assert not torch.equal(seen[2][0], seen[3][0])
    with pytest.raises(TrainingError, match="step 3: the gradient was not finite in 2 consecutive steps"):
        train(Spoilt(spoil), FAMILY, settings(skip_limit=2), seed=0)


def test_solve_error_and_lost_memory_become_training_errors() -> None:
    def throw(call: int, rows: dict[str, Tensor], status: Tensor) -> Any:
        raise SolveError("1 of 4 solves ended as DIVERGED", status)

    with pytest.raises(TrainingError, match="step 1: 1 of 4 solves ended as DIVERGED"):
        train(Spoilt(throw), FAMILY, settings(), seed=0)

    def allocate(call: int, rows: dict[str, Tensor], status: Tensor) -> Any:
        return {"equation": torch.empty(1 << 58)}, status

    with pytest.raises(TrainingError, match=r"out of memory \(.*\); use a smaller batch \(now 4\)"):
        train(Spoilt(allocate), FAMILY, settings(), seed=0)


def test_parameter_that_overflows_does_not_reach_a_checkpoint(tmp_path: Any) -> None:
    expert = PolynomialExpert()

    def on_step(step: int, row: Mapping[str, float]) -> None:
        if step == 10:
            with torch.no_grad():
                expert.linear.weight[0] = math.nan

    with pytest.raises(TrainingError, match=r"'linear.weight' is no longer finite.*step_00000005"):
        train(expert, FAMILY, settings(), seed=0, checkpoints=tmp_path, on_step=on_step)


# Ends before the last step


def test_early_stop_on_the_smoothed_loss() -> None:
    rule = EarlyStop(20, SmoothedLoss(0.5), improvement=1e9)
    report = train(PolynomialExpert(), FAMILY, settings(early_stop=rule), seed=0)
    assert report.steps == 21
    assert report.stopped_early
    assert report.reason is StopReason.EARLY_STOP
    loss, watched = report.history["loss"], report.history["monitor"]
    assert watched[:2] == (loss[0], 0.5 * loss[0] + 0.5 * loss[1])


def test_early_stop_on_held_out_cases_is_apart_from_the_training_numbers() -> None:
    rule = EarlyStop(1000, HeldOutResidual(cases=5, every=10))
    watched = train(PolynomialExpert(), FAMILY, settings(early_stop=rule), seed=0)
    plain = train(PolynomialExpert(), FAMILY, settings(), seed=0)
    assert watched.history["loss"] == plain.history["loss"]
    series = watched.history["monitor"]
    assert len(set(series)) == 7
    assert len(set(series[9:19])) == 1
    assert series[-1] < series[0]


def test_held_out_case_that_fails_counts_as_infinite() -> None:
    monitor = HeldOutResidual(cases=5)
    assert monitor.value(1, 0.0, math.nan, PolynomialExpert(fails_above=0.0), FAMILY) == math.inf


def test_patience_waits_for_a_fall_of_the_least_size() -> None:
    patience = Patience(EarlyStop(2, improvement=0.1), [math.nan, 1.0, 0.95])
    assert not patience.exhausted
    patience.take(0.8)
    patience.take(0.75)
    assert not patience.exhausted
    patience.take(0.75)
    assert patience.exhausted


def test_time_limit_ends_cleanly(tmp_path: Any) -> None:
    limited = settings(steps=10**6, time_limit=0.2, checkpoint_every=10**6)
    report = train(PolynomialExpert(), FAMILY, limited, seed=0, checkpoints=tmp_path)
    assert report.reason is StopReason.TIME_LIMIT
    assert report.stopped_early
    assert 1 < report.steps < 10**6
    assert report.checkpoint == tmp_path / f"step_{report.steps:08d}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_after_the_step_and_handlers_come_back(tmp_path: Any, number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    try:

        def on_step(step: int, row: Mapping[str, float]) -> None:
            if step == 7:
                os.kill(os.getpid(), number)
                time.sleep(0.01)

        report = train(PolynomialExpert(), FAMILY, settings(), seed=0, checkpoints=tmp_path, on_step=on_step)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert report.interrupted
    assert report.steps == 7
    assert report.checkpoint == tmp_path / "step_00000007"


def test_second_signal_interrupts_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_step(step: int, row: Mapping[str, float]) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    try:
        with pytest.raises(KeyboardInterrupt):
            train(PolynomialExpert(), FAMILY, settings(), seed=0, on_step=on_step)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_and_ignored_signals_are_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    seen: list[Any] = []
    try:
        train(PolynomialExpert(), FAMILY, settings(steps=1), seed=0, on_step=lambda *_: seen.append(
            signal.getsignal(signal.SIGINT)))  # fmt: skip
        reports: list[Any] = []
        worker = threading.Thread(target=lambda: reports.append(train(PolynomialExpert(), FAMILY, settings(), seed=0)))
        worker.start()
        worker.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_IGN]
    assert reports[0].steps == 60


# The user's mistakes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": True}, "steps must be an integer"),
        ({"batch": 2.0}, "batch must be an integer"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"learning_rate": math.nan}, "learning_rate must be finite"),
        ({"learning_rate": None}, "learning_rate must be a real number"),
        ({"gradient_clip": -1.0}, "gradient_clip must be > 0"),
        ({"time_limit": math.inf}, "time_limit must be finite"),
        ({"schedule": "cosine"}, "schedule must be an AbstractSchedule"),
        ({"objective": abs}, "objective must be an AbstractObjective"),
        ({"early_stop": 5}, "early_stop must be an EarlyStop"),
        ({"optimizer": None}, "optimizer must make an optimizer"),
    ],
)
def test_bad_settings_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        settings(**given)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CosineDecay(1.0),
        lambda: CosineDecay(0.1, final=2.0),
        lambda: StepHalving(0),
        lambda: EarlyStop(0),
        lambda: EarlyStop(1, improvement=-1.0),
        lambda: EarlyStop(1, monitor="loss"),  # type: ignore[arg-type]
        lambda: SmoothedLoss(1.0),
        lambda: HeldOutResidual(cases=0),
    ],
)
def test_bad_objects_are_refused(make: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        make()


def test_what_does_not_fit_together_is_refused() -> None:
    other = Problem(lambda u, _, p: u.u.xx + p.kk, Interval(0, 1), [Dirichlet(0.0)], {"kk": 1.0})
    with pytest.raises(ValueError, match=r"'kk' that the expert's problem lacks.*did you mean 'k'"):
        train(PolynomialExpert(), ProblemFamily(other, {"kk": Uniform(0, 1)}), settings(), seed=0)
    with pytest.raises(TypeError, match="family must be a ProblemFamily or a Problem"):
        train(PolynomialExpert(), {"k": 1}, settings(), seed=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expert must be an AbstractExpert"):
        train(nn.Linear(1, 1), FAMILY, settings(), seed=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="seed must be an integer"):
        train(PolynomialExpert(), FAMILY, settings(), seed=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no trainable parameters"):
        train(PolynomialExpert().requires_grad_(False), FAMILY, settings(), seed=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda call, rows, status: ({}, status), "non-empty mapping"),
        (lambda call, rows, status: ({"equation": rows["equation"][0]}, status), r"tensors \(batch, n\)"),
        (lambda call, rows, status: (rows, status[:2]), r"status codes of shape \(2, 1\)"),
        (lambda call, rows, status: ({"loss": rows["equation"]}, status), "rename the label"),
        (lambda call, rows, status: ({"equation": rows["equation"].detach()}, status), "no gradient"),
    ],
)
def test_residual_that_breaks_the_agreement_is_named(spoil: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        train(Spoilt(spoil), FAMILY, settings(), seed=0)


def test_progress_line_shows_losses_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    train(PolynomialExpert(fails_above=1.25), FAMILY, settings(batch=8), seed=0)
    assert capsys.readouterr().err == ""
    train(PolynomialExpert(fails_above=1.25), FAMILY, settings(batch=8), seed=0, progress=True)
    line = capsys.readouterr().err
    assert "60/60" in line
    assert "equation=" in line
    assert "failed=" in line
