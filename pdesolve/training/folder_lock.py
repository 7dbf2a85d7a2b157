"""One run for each folder."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

logger = logging.getLogger(__name__)
NAME = "run.lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the file ``run.lock`` in it names the process.

    Where the system has ``flock``, the kernel frees the lock of a process that died, so a lock never outlives its
    run; the file that such a run left behind is taken over.

    Raises:
        BlockingIOError: another run holds the folder; the message has its process number.
        OSError: the folder cannot be written.
    """
    path = folder / NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise OSError(error.errno, f"cannot write into the folder ({error.strerror})", str(path)) from error
    with open(descriptor, "r+b", buffering=0) as file:
        holder = file.read(20).decode("ascii", "replace").strip()
        _acquire(descriptor, path, holder)
        if holder:
            logger.info("%s: the run of process %s ended without cleaning up; its lock is taken over", path, holder)
        try:
            file.truncate(0)
            file.seek(0)
            file.write(f"{os.getpid()}\n".encode())
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def _acquire(descriptor: int, path: Path, holder: str) -> None:
    try:
        import fcntl
    except ImportError:  # no flock on this system: two runs in one folder go unnoticed
        logger.warning("%s: this system has no file locks; do not start two runs in one folder", path)
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno,
            f"another run (process {holder or 'unknown'}) trains in this folder: wait for it or choose another folder",
            str(path),
        ) from error
