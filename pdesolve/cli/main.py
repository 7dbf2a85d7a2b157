"""Entry point: reads the arguments, runs one command, and turns whatever happens into one line and a code."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from pdesolve.cli.commands import COMMANDS
from pdesolve.cli.exits import CommandError, ExitCode, classify
from pdesolve.cli.output import complain


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise CommandError(ExitCode.USAGE, f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="pdesolve",
        description="Solve partial differential equations with machine learning.",
        allow_abbrev=False,
        epilog=_exit_codes(),
    )
    version = importlib.import_module("pdesolve").__version__
    parser.add_argument("--version", action="version", version=f"pdesolve {version}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pdesolve`` with these arguments.

    Arguments:
        argv: without the program's name (default: the command line's).

    Returns:
        An ``ExitCode``.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in given  # anywhere, and known before anything can fail
    given = [argument for argument in given if argument != "--debug"]
    logging.basicConfig(format="pdesolve: %(levelname)s: %(message)s", level=logging.WARNING)
    try:
        arguments = _parse(given)
        code = ExitCode.OK if arguments is None else int(arguments.run(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk or closed pipe shows up here
        return code
    except BrokenPipeError:
        _abandon_stdout()
        return ExitCode.BROKEN_PIPE
    except BaseException as error:
        return _report(error, debug)


def _parse(argv: Sequence[str]) -> argparse.Namespace | None:
    """The arguments, or None when --help or --version has said all."""
    try:
        return build_parser().parse_args(argv)
    except SystemExit:
        return None


def _report(error: BaseException, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    code, message = classify(error)
    complain("error", message)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _abandon_stdout()
    return code


def _abandon_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not complain about it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _exit_codes() -> str:
    return "exit codes: " + ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)
