"""A run that is killed or meets a full disk or a damaged file goes on to the numbers it would have had."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import training_case
from torch import nn
from training_case import FAMILY, PolynomialExpert, parameters_of, settings

from pdesolve.training import (
    CheckpointError,
    EarlyStop,
    HeldOutResidual,
    StopReason,
    TrainingReport,
    load_checkpoint,
    resume,
    train,
)
from pdesolve.training.checkpoint import FILES, SUMS
from pdesolve.training.checkpoint_folder import CheckpointFolder

ROOT = Path(__file__).resolve().parents[1]
TIMES = {"seconds"}


def assert_same_run(expert: nn.Module, report: TrainingReport, twin: nn.Module, wanted: TrainingReport) -> None:
    """Parameters and every series but the times agree bit for bit."""
    assert all(torch.equal(a, b) for a, b in zip(parameters_of(expert), parameters_of(twin), strict=True))
    assert set(report.history) == set(wanted.history)
    for name in set(wanted.history) - TIMES:
        assert report.history[name] == wanted.history[name], name


def uninterrupted(steps: int = 60, **changes: Any) -> tuple[PolynomialExpert, TrainingReport]:
    expert = PolynomialExpert()
    return expert, train(expert, FAMILY, settings(steps=steps, **changes), seed=3)


def start(task: str, folder: Path, steps: int) -> subprocess.Popen[str]:
    """A training in another process that has done at least one step."""
    process = subprocess.Popen(
        [sys.executable, training_case.__file__, task, str(folder), str(steps)],
        cwd=ROOT, env=training_case.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    return process


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send a signal at a random moment and give what the process still wrote."""
    time.sleep(random.uniform(0.05, 0.5))
    process.send_signal(number)
    out, errors = process.communicate(timeout=60)
    assert not errors, errors
    return out


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of 20 steps with checkpoints at 10, 15 and 20."""
    train(PolynomialExpert(), FAMILY, settings(steps=20), seed=3, checkpoints=tmp_path / "run")
    return tmp_path / "run"


# Ends from outside


def test_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL in the first process and in the one that resumes it; a third one finishes."""
    for task in ("train", "resume"):
        process = start(task, tmp_path, 200)
        assert "FINISHED" not in end(process, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    expert = PolynomialExpert()
    report = resume(expert, FAMILY, settings(steps=200), tmp_path)
    assert report.reason is StopReason.FINISHED
    assert_same_run(expert, report, *uninterrupted(200))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_leaves_a_checkpoint_of_its_last_step(tmp_path: Path, number: signal.Signals) -> None:
    process = start("train", tmp_path, 200)
    lines = end(process, number).split()
    assert process.returncode == 0
    assert lines[-1] == "INTERRUPTED"
    assert CheckpointFolder(tmp_path).latest() == tmp_path / f"step_{int(lines[-2]):08d}"
    expert = PolynomialExpert()
    assert_same_run(expert, resume(expert, FAMILY, settings(steps=200), tmp_path), *uninterrupted(200))


def test_resume_continues_early_stop_and_longer_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rule = EarlyStop(25, HeldOutResidual(cases=4, every=7), improvement=0.3)
    wanted = uninterrupted(200, early_stop=rule)
    assert wanted[1].reason is StopReason.EARLY_STOP

    def stop(step: int, row: Mapping[str, float]) -> None:
        if step == wanted[1].steps - 10:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(
            PolynomialExpert(), FAMILY, settings(steps=200, early_stop=rule), seed=3, checkpoints=tmp_path,
            on_step=stop,
        )  # fmt: skip
    expert = PolynomialExpert()
    report = resume(expert, FAMILY, settings(steps=200, early_stop=rule), tmp_path)
    assert_same_run(expert, report, *wanted)
    assert report.reason is StopReason.EARLY_STOP
    assert not caplog.records
    again = resume(expert, FAMILY, settings(steps=200, early_stop=rule), tmp_path)
    assert (again.steps, again.reason) == (report.steps, StopReason.EARLY_STOP)
    longer = resume(expert, FAMILY, settings(steps=wanted[1].steps + 5), tmp_path)
    assert longer.steps == wanted[1].steps + 5
    assert any("resumed with steps" in r.getMessage() for r in caplog.records)
    assert {len(series) for series in longer.history.values()} == {longer.steps}


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.RMSprop, torch.optim.NAdam, torch.optim.SGD])
def test_state_of_other_optimizers_is_kept(tmp_path: Path, optimizer: Any) -> None:
    given = {"optimizer": optimizer}
    train(PolynomialExpert(), FAMILY, settings(steps=60, time_limit=1e-9, **given), seed=3, checkpoints=tmp_path)
    expert = PolynomialExpert()
    assert_same_run(expert, resume(expert, FAMILY, settings(**given), tmp_path), *uninterrupted(**given))


# Damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def swell(path: Path) -> None:
    os.truncate(path, 2**40)  # a hole: one TiB that takes no space


@pytest.mark.parametrize("damage", [truncate, flip, link, swell, Path.unlink], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", [*FILES, SUMS])
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    run: Path, name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(run / "step_00000020" / name)
    expert = PolynomialExpert()
    assert load_checkpoint(expert, run) == 15
    warnings = [r.getMessage() for r in caplog.records]
    assert len(warnings) == 1
    assert "step_00000020" in warnings[0]
    report = resume(expert, FAMILY, settings(steps=20), run)
    assert_same_run(expert, report, *uninterrupted(20))
    assert load_checkpoint(expert, run) == 20


def test_checkpoint_folder_that_is_a_link_is_not_followed(run: Path, tmp_path: Path) -> None:
    (run / "step_00000020").rename(tmp_path / "elsewhere")
    (run / "step_00000020").symlink_to(tmp_path / "elsewhere")
    assert load_checkpoint(PolynomialExpert(), run) == 15
    resume(PolynomialExpert(), FAMILY, settings(steps=40), run)
    assert (tmp_path / "elsewhere" / SUMS).exists()


@pytest.mark.parametrize("text", ["../../etc", "/etc", "step_00000007", "", "step_00000015\nstep_00000020", "é" * 99])
def test_pointer_that_names_no_checkpoint_is_not_followed(run: Path, text: str) -> None:
    (run / "latest").write_text(text)
    assert load_checkpoint(PolynomialExpert(), run) == 20
    (run / "latest").unlink()
    assert load_checkpoint(PolynomialExpert(), run) == 20


def test_crash_before_the_pointer_moved_loses_nothing(run: Path) -> None:
    (run / "latest").write_text("step_00000015\n")
    expert = PolynomialExpert()
    assert_same_run(expert, resume(expert, FAMILY, settings(steps=20), run), *uninterrupted(20))
    assert (run / "latest").read_text() == "step_00000020\n"


def test_no_whole_checkpoint_is_an_error_that_names_each(run: Path, tmp_path: Path) -> None:
    for folder in run.glob("step_*"):
        (folder / SUMS).unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole: .*20.*15.*10"):
        resume(PolynomialExpert(), FAMILY, settings(), run)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint to resume from; start with train"):
        resume(PolynomialExpert(), FAMILY, settings(), tmp_path / "empty")
    with pytest.raises(CheckpointError, match="no such folder"):
        resume(PolynomialExpert(), FAMILY, settings(), tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_half_written_checkpoint_is_cleared(run: Path) -> None:
    left = run / ".step_00000025.0123abcd.tmp"
    left.mkdir()
    (left / FILES[0]).write_bytes(b"half")
    (run / ".pdesolve-0123456789abcdef.tmp").write_text("step_0")
    resume(PolynomialExpert(), FAMILY, settings(steps=25), run)
    assert sorted(p.name for p in run.iterdir()) == [
        "latest", "run.lock", "step_00000015", "step_00000020", "step_00000025",
    ]  # fmt: skip


# Another model, version, optimizer


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        (PolynomialExpert(4), r"another model.*'powers' is float64 \[3\] in the file, float64 \[4\] in this expert"),
        (PolynomialExpert(3, dtype=torch.float32), r"float64 \[3, 1\] in the file, float32"),
        (nn.Sequential(PolynomialExpert()), "'0.powers' is missing in the file.* and 3 more"),
    ],
)
def test_checkpoint_of_another_model_is_refused(run: Path, expert: Any, message: str) -> None:
    before = parameters_of(expert)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(expert, run)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters_of(expert), strict=True))


def test_other_optimizer_or_frozen_parameters_are_refused(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"written with torch.optim.adam.Adam, the settings say .*SGD"):
        resume(PolynomialExpert(), FAMILY, settings(optimizer=torch.optim.SGD), run)
    frozen = PolynomialExpert()
    frozen.linear.bias.requires_grad_(False)
    with pytest.raises(CheckpointError, match="other trainable parameters"):
        resume(frozen, FAMILY, settings(), run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"schema": 2}, "newer pdesolve.*schema 2.*update"), ({"schema": "x"}, "no checkpoint of pdesolve")],
)
def test_other_schema_is_refused(run: Path, changes: dict[str, Any], message: str) -> None:
    folder = run / "step_00000020"
    record = {**json.loads((folder / "metadata.json").read_text()), **changes}
    (folder / "metadata.json").write_text(json.dumps(record))
    sums = subprocess.run(["sha256sum", *FILES], cwd=folder, capture_output=True, text=True, check=True).stdout
    (folder / SUMS).write_text(sums)
    with pytest.raises(CheckpointError, match=message):
        resume(PolynomialExpert(), FAMILY, settings(), run)


# The file system


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Makes the system refuse files above a size, as a full disk does half-way through a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_leaves_the_last_checkpoint_and_nothing_half_written(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    def on_step(step: int, row: Mapping[str, float]) -> None:
        if step == 12:
            small_files(3000)

    with pytest.raises(OSError, match=r"cannot write the checkpoint.*last good one is .*step_00000010; make room"):
        train(PolynomialExpert(), FAMILY, settings(), seed=3, checkpoints=tmp_path, on_step=on_step)
    small_files(resource.RLIM_INFINITY)
    assert not list(tmp_path.glob(".*"))
    expert = PolynomialExpert()
    assert_same_run(expert, resume(expert, FAMILY, settings(), tmp_path), *uninterrupted())


@pytest.mark.parametrize("call", range(9))
def test_any_synchronisation_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """No space at the nth of the nine synchronisations of a checkpoint, whichever file it is of."""
    train(PolynomialExpert(), FAMILY, settings(time_limit=1e-9), seed=3, checkpoints=tmp_path)
    count, real = 0, os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == call + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space.*last good one is .*step_.*make room"):
        resume(PolynomialExpert(), FAMILY, settings(), tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob(".*"))
    expert = PolynomialExpert()
    assert_same_run(expert, resume(expert, FAMILY, settings(), tmp_path), *uninterrupted())


def test_folder_of_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="holds checkpoints of a run; resume it"):
        train(PolynomialExpert(), FAMILY, settings(), seed=3, checkpoints=run)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="exists"):
        train(PolynomialExpert(), FAMILY, settings(), seed=3, checkpoints=tmp_path / "file")


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    process = start("train", tmp_path, 10**6)
    try:
        with pytest.raises(BlockingIOError, match=rf"another run \(process {process.pid}\)"):
            resume(PolynomialExpert(), FAMILY, settings(), tmp_path)
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_lock_of_a_dead_run_is_taken_over(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "run.lock").write_text("4194304\n")
    caplog.set_level("INFO")
    resume(PolynomialExpert(), FAMILY, settings(steps=20), run)
    assert "process 4194304 ended without cleaning up" in caplog.records[0].getMessage()
    assert (run / "run.lock").read_text() == ""
    (run / "run.lock").unlink()
    (run / "run.lock").symlink_to("latest")
    with pytest.raises(OSError, match="cannot write into the folder"):
        resume(PolynomialExpert(), FAMILY, settings(steps=20), run)
    assert (run / "latest").read_text() == "step_00000020\n"


def test_last_few_checkpoints_are_kept(tmp_path: Path) -> None:
    report = train(PolynomialExpert(), FAMILY, settings(keep_checkpoints=2), seed=3, checkpoints=str(tmp_path / "a/b"))
    assert CheckpointFolder(tmp_path / "a/b").steps() == [55, 60]
    assert report.checkpoint == tmp_path / "a/b/step_00000060"
    expert = PolynomialExpert()
    assert load_checkpoint(expert, tmp_path / "a/b") == 60
    assert_same_run(expert, report, *uninterrupted())
