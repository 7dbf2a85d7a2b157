"""The folder of one run: who may use it, what is replaced, and what is continued."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pdesolve.atomic import replacing
from pdesolve.cli.config import RunConfig, parse, read_text
from pdesolve.cli.exits import CommandError, ExitCode
from pdesolve.cli.readers import ConfigError
from pdesolve.training.folder_lock import NAME as LOCK
from pdesolve.training.folder_lock import locked

CONFIG = "config.toml"
RESULTS = (
    "solution.vtkhdf",
    "expert.safetensors",
    "summary.json",
    "field.png",
    "comparison.png",
    "interfaces.png",
    "history.png",
)
"""Everything that a run writes besides its checkpoints and a copy of its configuration."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run.

    Arguments:
        path: the folder.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def has_checkpoints(self) -> bool:
        """There is something to resume from."""
        return self.checkpoints.is_dir() and any(_is_checkpoint(p) for p in self.checkpoints.iterdir())

    def file(self, name: str) -> Path:
        """One of ``RESULTS``."""
        return self.path / name


def folder_of(config: RunConfig, source: str, out: str | None) -> RunFolder:
    """Where a run writes: --out, else [output] folder, else runs/NAME.

    Raises:
        CommandError: ``USAGE``: [output] folder leaves the folder in which the command is started.
    """
    if out is not None:
        if not out or "\0" in out:
            raise CommandError(ExitCode.USAGE, f"--out must name a folder, got {out!r}")
        return RunFolder(Path(out))
    given = config.output.folder
    if given is None:
        return RunFolder(Path("runs") / Path(source).stem)
    here = Path.cwd().resolve()
    if Path(given).is_absolute() or ".." in Path(given).parts or not (here / given).resolve().is_relative_to(here):
        raise CommandError(
            ExitCode.USAGE,
            f"{source!r}: [output] folder must lie below the folder in which the command is started, got {given!r}; "
            "a configuration may not write elsewhere, only you may, with --out DIR",
        )
    return RunFolder(Path(given))


@contextlib.contextmanager
def opened(folder: RunFolder, content: str, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Hold the folder for this run, with the configuration in it.

    Arguments:
        content: text of the configuration.
        resume: continue the run that is there.
        overwrite: delete the run that is there; other files stay.

    Raises:
        CommandError: ``USAGE``: the folder holds something and neither is wanted; something that is no run; no run
            to resume, or one of another configuration.
        BlockingIOError: another run uses it.
        OSError: it cannot be made or written.
    """
    _check(folder, content, resume, overwrite)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        _check(folder, content, resume, overwrite)  # it may have changed while nobody held it
        if not resume:
            _clear(folder)
        with replacing(folder.path / CONFIG, overwrite=True) as file:
            file.write(content.encode())
        yield


def _check(folder: RunFolder, content: str, resume: bool, overwrite: bool) -> None:
    place = repr(os.fspath(folder.path))
    entries = sorted(p.name for p in folder.path.iterdir() if p.name != LOCK) if folder.path.exists() else []
    is_run = (folder.path / CONFIG).is_file()
    if resume:
        if not is_run:
            raise CommandError(ExitCode.USAGE, f"there is no run in {place} to resume; start it without --resume")
        _check_same(folder, content)
    elif is_run and not overwrite:
        hint = "go on with --resume, replace it with --overwrite, or choose another folder with --out DIR"
        raise CommandError(ExitCode.USAGE, f"{place} holds a run; {hint}")
    elif entries and not is_run:
        hint = "choose another folder with --out DIR"
        raise CommandError(ExitCode.USAGE, f"{place} is not empty and holds no run ({entries[0]!r} is in it); {hint}")


def _check_same(folder: RunFolder, content: str) -> None:
    """What decides the numbers of the training must be as it was at the start; it may become longer."""
    try:
        before = parse(read_text(os.fspath(folder.path / CONFIG))).record()
    except ConfigError as error:
        message = f"{os.fspath(folder.path / CONFIG)!r} was changed: {error}; start again with --overwrite"
        raise CommandError(ExitCode.INPUT_FILE, message) from error
    now = parse(content).record()
    fixed = {name: tuple(now[name]) for name in ("problem", "family", "method")}
    fixed["training"] = ("batch", "learning_rate", "seed")
    for section, keys in fixed.items():
        for name in dict.fromkeys([*keys, *(before[section] if section == "family" else ())]):
            old, new = before[section].get(name), now[section].get(name)
            if old != new:
                raise CommandError(
                    ExitCode.USAGE,
                    f"[{section}] {name} was {old} when the run in {os.fspath(folder.path)!r} was started and is "
                    f"{new} now; set it back to resume, or start again with --overwrite",
                )


def _clear(folder: RunFolder) -> None:
    """Delete what a run has written, and nothing else."""
    for name in RESULTS:
        folder.file(name).unlink(missing_ok=True)
    if folder.checkpoints.is_symlink() or not folder.checkpoints.is_dir():
        return
    for entry in folder.checkpoints.iterdir():
        if _is_checkpoint(entry):
            shutil.rmtree(entry)
    (folder.checkpoints / "latest").unlink(missing_ok=True)


def _is_checkpoint(path: Path) -> bool:
    return re.fullmatch(r"step_\d{8,12}", path.name) is not None and path.is_dir() and not path.is_symlink()
