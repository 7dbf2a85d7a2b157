"""The checkpoints of one run: a new folder for each, a pointer to the latest, the last few kept."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pdesolve.atomic import replacing
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.training.checkpoint import Checkpoint, read_checkpoint, synchronise, write_checkpoint
from pdesolve.training.errors import CheckpointError, DamagedError
from pdesolve.training.folder_lock import locked
from pdesolve.training.stored_tensors import load_into, read_bounded

logger = logging.getLogger(__name__)
POINTER = "latest"


class CheckpointFolder:
    """``step_00000100/``, ``step_00000200/``, ... and a text file ``latest`` that names the newest.

    A checkpoint is written under a hidden name, synchronised to the disk and renamed, and only then does ``latest``
    name it: whatever kills the writer, the checkpoint before stays whole.

    Arguments:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_good: Path | None = None
        """What was last written or read back whole by this object."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[CheckpointFolder]:
        """Hold the folder for this run, made if need be, and clear what a killed run left half-written."""
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            for entry in self.path.iterdir():
                # the second pattern is that of a pointer half-written by pdesolve.atomic
                if re.fullmatch(r"\.step_\d+\.[0-9a-f]{8}\.tmp|\.pdesolve-[0-9a-f]{16}\.tmp", entry.name):
                    _remove(entry)
            yield self

    @contextlib.contextmanager
    def existing(self) -> Iterator[CheckpointFolder]:
        """As ``opened``, but a folder that does not exist is an error and is not made."""
        if not self.path.is_dir():
            raise CheckpointError(f"{self.path}: there is no such folder to resume from")
        with self.opened():
            yield self

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, rising."""
        if not self.path.is_dir():
            return []
        names = (re.fullmatch(r"step_(\d{8,12})", entry.name) for entry in self.path.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def latest(self) -> Path | None:
        """The checkpoint that ``latest`` names, or the newest where that names none."""
        steps = self.steps()
        with contextlib.suppress(DamagedError):
            name = read_bounded(self.path / POINTER, 64).decode("ascii", "replace").strip()
            if any(_name(step) == name for step in steps):
                return self.path / name
        return self.path / _name(steps[-1]) if steps else None

    def save(self, checkpoint: Checkpoint, keep: int) -> Path:
        """Write a checkpoint, point to it, and drop all but the last ``keep``.

        Raises:
            OSError: no space or permission; earlier checkpoints are untouched and nothing half-written is left.
        """
        target = self.path / _name(checkpoint.step)
        temporary = self.path / f".{target.name}.{secrets.token_hex(4)}.tmp"
        try:
            temporary.mkdir()
            write_checkpoint(temporary, checkpoint)
            # Only a damaged one, or one of a branch given up, can have the name already.
            _remove(target)
            temporary.rename(target)
            synchronise(self.path)
            with replacing(self.path / POINTER, overwrite=True) as file:
                file.write(f"{target.name}\n".encode())
        except OSError as error:
            left = f"the last good one is {self.last_good}" if self.last_good else "there is none before it"
            hint = "make room or give permission, and resume"
            reason = f"cannot write the checkpoint ({os.strerror(error.errno or errno.EIO)}); {left}; {hint}"
            raise OSError(error.errno, reason, str(target)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.last_good = target
        self._drop(checkpoint.step, keep)
        return target

    def load(self, expert: AbstractExpert) -> Checkpoint:
        """The newest checkpoint that is whole; damaged ones are passed over with a warning.

        Raises:
            CheckpointError: there is none, none is whole, or it is of another model, dtype or a newer version.
        """
        first = self.latest()
        if first is None:
            raise CheckpointError(f"{self.path}: there is no checkpoint to resume from; start with train(...)")
        others = [self.path / _name(step) for step in reversed(self.steps())]
        faults = []
        for folder in [first, *(other for other in others if other != first)]:
            try:
                checkpoint = read_checkpoint(folder, expert)
                if folder.name != _name(checkpoint.step):
                    raise DamagedError(f"{folder}: holds step {checkpoint.step}")
            except DamagedError as error:
                faults.append(str(error))
                logger.warning("damaged checkpoint passed over: %s", error)
            else:
                self.last_good = folder
                return checkpoint
        raise CheckpointError(f"no checkpoint is whole: {'; '.join(faults)}")

    def _drop(self, current: int, keep: int) -> None:
        steps = self.steps()
        kept = [step for step in steps if step <= current][-keep:]
        for step in set(steps) - set(kept):
            _remove(self.path / _name(step))


def load_checkpoint(expert: AbstractExpert, checkpoints: str | os.PathLike[str]) -> int:
    """Put the newest whole checkpoint of a run into an expert, to use it without training on.

    Arguments:
        expert: built as it was for the training; changed in place, on its own device.
        checkpoints: the folder given to ``train``.

    Returns:
        How many steps it was trained.

    Raises:
        CheckpointError: there is none, none is whole, or it is of another model, dtype or a newer version.
    """
    folder = CheckpointFolder(Path(checkpoints))
    checkpoint = folder.load(expert)
    load_into(expert, checkpoint.model, folder.path)
    return checkpoint.step


def _name(step: int) -> str:
    return f"step_{step:08d}"


def _remove(path: Path) -> None:
    """Take away a folder or file, or a link without what it points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)
