"""What can go wrong in training and with the files that it keeps."""

from __future__ import annotations

from pathlib import Path


class TrainingError(RuntimeError):
    """A step of training gave nothing that could be used; the message says why and what to do.

    Arguments:
        message: step, cause, remedy, and where the last good checkpoint is.
        step: the step that failed, counted from 1.
        checkpoint: the last good checkpoint, None where none is kept.
    """

    def __init__(self, message: str, step: int, checkpoint: Path | None) -> None:
        super().__init__(message)
        self.step = step
        self.checkpoint = checkpoint


class CheckpointError(ValueError):
    """A checkpoint or expert file that cannot be used: damaged, of another model, or of a newer version."""


class DamagedError(CheckpointError):
    """A file is missing, cut off or changed; an older checkpoint may still be good."""


class StepFailure(Exception):
    """The cause of a ``TrainingError``, raised where neither the step nor the checkpoint is known."""
