"""How the command ends: exit codes, and the exception that carries one."""

from __future__ import annotations

import contextlib
import enum
import os
from collections.abc import Iterator


class ExitCode(enum.IntEnum):
    """Exit codes of every command."""

    OK = 0
    USAGE = 2
    INPUT_FILE = 3
    NOT_CONVERGED = 4
    RESOURCES = 5
    INTERRUPTED = 6  # and checkpointed: the run can go on from there
    INTERNAL = 70
    KILLED_BY_INTERRUPT = 130  # nothing was checkpointed; as a shell reports SIGINT
    BROKEN_PIPE = 141  # the reader of stdout went away; as a shell reports SIGPIPE


class CommandError(Exception):
    """Ends a command with one line on stderr and an exit code.

    Arguments:
        code: the exit code.
        message: what happened; what was expected; what was got; a hint.
    """

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors within the block are the fault of the input file ``path``.

    Raises:
        CommandError: ``INPUT_FILE``, for OSError and for wrong content (ValueError, TypeError).
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "; check the name" if isinstance(error, FileNotFoundError) else "; check the permissions"
        message = f"cannot read {os.fspath(path)!r}: {reason}{'' if ';' in reason else hint}"
        raise CommandError(ExitCode.INPUT_FILE, message) from error
    except (ValueError, TypeError) as error:
        raise CommandError(ExitCode.INPUT_FILE, str(error)) from error


def classify(error: BaseException) -> tuple[ExitCode, str]:
    """Exit code and message for an exception that a command let through."""
    from pdesolve.memory import is_out_of_memory
    from pdesolve.status import SolveError

    text = str(error) or type(error).__name__
    if isinstance(error, CommandError):
        return error.code, text
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.KILLED_BY_INTERRUPT, "interrupted; nothing was saved by this command"
    if isinstance(error, SolveError):
        return ExitCode.NOT_CONVERGED, text
    if is_out_of_memory(error):
        return (
            ExitCode.RESOURCES,
            f"out of memory: {text}; use fewer cases at once, a coarser grid or float32",
        )
    if isinstance(error, OSError):
        return _classify_os_error(error)
    return (
        ExitCode.INTERNAL,
        f"internal error: {type(error).__name__}: {text}; run again with --debug and report it",
    )


def _classify_os_error(error: OSError) -> tuple[ExitCode, str]:
    place = f"{error.filename!r}: " if error.filename is not None else ""
    text = place + (error.strerror or str(error))
    wrong_name = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)
    return (ExitCode.USAGE if isinstance(error, wrong_name) else ExitCode.RESOURCES), text
