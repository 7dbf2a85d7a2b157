"""Training: the loop that takes steps, writes checkpoints and knows when to end."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pdesolve.experts.abstract import AbstractExpert
from pdesolve.problem import Family
from pdesolve.training.checkpoint_folder import CheckpointFolder
from pdesolve.training.errors import StepFailure, TrainingError
from pdesolve.training.interrupt import InterruptGuard
from pdesolve.training.progress import Progress
from pdesolve.training.report import StopReason, TrainingReport
from pdesolve.training.run import TrainingRun
from pdesolve.training.settings import TrainingSettings

logger = logging.getLogger(__name__)
OnStep = Callable[[int, Mapping[str, float]], None]
"""Called after every step with the number of steps done and the new row of the history."""


def train(
    expert: AbstractExpert,
    family: Family,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoints: str | os.PathLike[str] | None = None,
    on_step: OnStep | None = None,
    progress: bool | None = None,
) -> TrainingReport:
    """Minimise the expert's residual over a family of problems: min_θ E_cases loss(Σ rows(θ)²).

    Every step draws new cases and points. Cases whose inner solve did not converge are left out of the loss of
    their step and counted. SIGINT and SIGTERM end it after the step under way, with a checkpoint; a second signal
    ends it at once.

    Arguments:
        expert: its parameters change in place; those with ``requires_grad`` false stay.
        family: a ``ProblemFamily``, or a ``Problem`` to train on that one case.
        settings: steps, batch, learning rate and the rest.
        seed: of cases and points; the same seed, expert and settings give the same numbers on a CPU.
        checkpoints: a folder, made if need be, that holds no run yet (default: none are written).
        on_step: called after every step as ``on_step(step, row)``; an exception of its ends the training.
        progress: show a progress line; default: when stderr is a terminal.

    Returns:
        History and reason of the end.

    Raises:
        TrainingError: every case of a step failed, the loss is NaN or infinite, the gradient was not finite in
            ``skip_limit`` consecutive steps, or memory ran out. The message has the remedy and the last checkpoint.
        TypeError, ValueError: expert, family and settings do not fit together.
        FileExistsError: the folder holds checkpoints; ``resume`` continues them.
        BlockingIOError: another run uses the folder.
        OSError: a checkpoint could not be written; those before it are whole.

    Notes:
        The numbers repeat only if the expert draws all that is random from the generator it is given: dropout,
        which draws from torch's global one, does not.

    Source: the loss over a family is that of Négiar, Mahoney & Krishnapriyan, ICLR 2023, section 3.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    run = TrainingRun(expert, family, settings, seed)
    if checkpoints is None:
        return _drive(run, None, on_step, progress)
    with CheckpointFolder(Path(checkpoints)).opened() as folder:
        if folder.steps():
            raise FileExistsError(f"{folder.path}: holds checkpoints of a run; resume it or choose another folder")
        _save(run, folder)
        return _drive(run, folder, on_step, progress)


def resume(
    expert: AbstractExpert,
    family: Family,
    settings: TrainingSettings,
    checkpoints: str | os.PathLike[str],
    *,
    on_step: OnStep | None = None,
    progress: bool | None = None,
) -> TrainingReport:
    """Continue a training from its newest whole checkpoint, in this or another process.

    With the same arguments as at the start, parameters and losses are bit for bit those of a run that was never
    stopped, on a CPU with the same build and number of threads.

    Arguments:
        expert: built as it was for ``train``; its parameters are replaced by those of the checkpoint.
        family, settings: as for ``train``. Other settings are allowed, more steps for one, and logged; learning
            rate and schedule are those given here, other hyperparameters of the optimizer those of the checkpoint.
        checkpoints: the folder that ``train`` wrote.
        on_step, progress: as for ``train``.

    Returns:
        History and reason of the end, the steps before included.

    Raises:
        CheckpointError: no whole checkpoint, another model, dtype or optimizer, or a newer version.
        TrainingError, BlockingIOError, OSError: as for ``train``.
    """
    run = TrainingRun(expert, family, settings, seed=0)
    with CheckpointFolder(Path(checkpoints)).existing() as folder:
        checkpoint = folder.load(expert)
        run.restore(checkpoint, folder.path)
        logger.info("resumed at step %d of %d", run.step, settings.steps)
        return _drive(run, folder, on_step, progress)


def _drive(
    run: TrainingRun, folder: CheckpointFolder | None, on_step: OnStep | None, progress: bool | None
) -> TrainingReport:
    started, saved = time.monotonic(), run.step
    settings = run.settings
    failed = int(sum(run.history.get("failed", [])))
    bar = Progress(settings.steps, run.step, failed, progress)
    with _in_training_mode(run.expert), contextlib.closing(bar), InterruptGuard() as guard:
        while (reason := _reason_to_end(run, guard, time.monotonic() - started)) is None:
            with _naming_step(run.step + 1, folder):
                row = run.take_step()
            bar.update(row)
            if on_step is not None:
                on_step(run.step, row)
            if folder is not None and run.step % settings.checkpoint_every == 0:
                _save(run, folder)
                saved = run.step
        if folder is not None and saved != run.step:
            _save(run, folder)
    logger.info("training ended after %d steps: %s", run.step, reason.value)
    history = {name: tuple(values) for name, values in run.history.items()}
    seconds = sum(history.get("seconds", ()))
    return TrainingReport(history, run.step, seconds, reason, folder.last_good if folder else None)


def _reason_to_end(run: TrainingRun, guard: InterruptGuard, seconds: float) -> StopReason | None:
    if run.step >= run.settings.steps:
        return StopReason.FINISHED
    if run.patience is not None and run.patience.exhausted:
        return StopReason.EARLY_STOP
    if guard.requested:
        return StopReason.INTERRUPTED
    if run.settings.time_limit is not None and seconds >= run.settings.time_limit:
        return StopReason.TIME_LIMIT
    return None


def _save(run: TrainingRun, folder: CheckpointFolder) -> None:
    with _naming_step(run.step, folder):
        state = run.checkpoint()
    path = folder.save(state, run.settings.keep_checkpoints)
    logger.info("checkpoint %s", path)


@contextlib.contextmanager
def _naming_step(step: int, folder: CheckpointFolder | None) -> Iterator[None]:
    """Turn the failure of a step into an error that says which step and what is left."""
    try:
        yield
    except StepFailure as failure:
        last = folder.last_good if folder else None
        left = f"the last good checkpoint is {last}" if last else "no checkpoint was kept; pass checkpoints=FOLDER"
        raise TrainingError(f"training failed at step {step}: {failure}; {left}", step, last) from failure


@contextlib.contextmanager
def _in_training_mode(expert: AbstractExpert) -> Iterator[None]:
    before = expert.training
    expert.train()
    try:
        yield
    finally:
        expert.train(before)
