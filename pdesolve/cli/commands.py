"""The list of commands: a new command is one module and one row.

A command is a module with ``add_parser(subparsers)``, which adds its arguments and ``set_defaults(run=run)``,
and ``run(arguments) -> int``, which returns an ``ExitCode``. What ``import pdesolve`` does not import anyway, such as
h5py and matplotlib, is imported inside ``run``, so that ``pdesolve --help`` does without.
"""

from __future__ import annotations

import argparse
from typing import Any, Protocol

from pdesolve.cli import data, info, plot, run


class Command(Protocol):
    """What a module of this list must have."""

    def add_parser(self, subparsers: argparse._SubParsersAction[Any]) -> None:
        """Add the command's arguments and ``set_defaults(run=run)``."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it and return an exit code."""


COMMANDS: tuple[Command, ...] = (
    data,
    info,
    plot,
    run,
)
