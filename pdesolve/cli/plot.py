"""``pdesolve plot FILE``: pictures of a results file."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, Any

from pdesolve.cli.exits import CommandError, ExitCode, reading
from pdesolve.cli.output import complain, emit

if TYPE_CHECKING:
    from pdesolve.solution import Solution


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command's arguments."""
    text = "draw the fields of a results file, and their jumps at patch interfaces, as PNG"
    parser = subparsers.add_parser("plot", help=text, description=text, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help="a .vtkhdf file written by pdesolve")
    parser.add_argument("--out", metavar="DIR", help="folder for the pictures, made if missing (default: beside FILE)")
    parser.add_argument("--case", metavar="N", type=int, default=0, help="which case of the batch (default 0)")
    parser.add_argument("--field", metavar="NAME", help="one field only (default: all)")
    parser.add_argument("--overwrite", action="store_true", help="replace pictures that exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths."""
    from pdesolve.domains.grid import StructuredGrid
    from pdesolve.plotting import plot_field, plot_interfaces
    from pdesolve.results import load

    with reading(arguments.file):
        solution = load(arguments.file)
    fields = _chosen(solution, arguments)
    folder = arguments.out if arguments.out is not None else os.path.dirname(arguments.file) or os.curdir
    paths = _paths(fields, folder, solution, arguments)
    os.makedirs(folder, exist_ok=True)
    for name, (picture, jumps) in zip(fields, paths, strict=True):
        emit(plot_field(solution, picture, arguments.case, name))
        field = solution.field
        if not isinstance(field.grid, StructuredGrid) or not any(solution.interfaces.values()):
            continue
        values = field.component(name)[arguments.case]
        try:
            emit(plot_interfaces(values, field.grid, solution.interfaces, jumps, name=name))
        except ValueError as error:  # too few nodes beside an interface
            complain("warning", f"no picture of the interfaces: {error}")
    return ExitCode.OK


def _chosen(solution: Solution, arguments: argparse.Namespace) -> tuple[str, ...]:
    """The fields to draw, once the request is known to fit the file."""
    field = solution.field
    if not 0 <= arguments.case < field.batch:
        expected = f"expected 0 to {field.batch - 1}; got {arguments.case}"
        raise CommandError(ExitCode.USAGE, f"no such case in {arguments.file!r}; {expected}; choose with --case N")
    if arguments.field is None:
        return field.names
    if arguments.field not in field.names:
        expected = f"expected one of {', '.join(field.names)}; got {arguments.field!r}"
        raise CommandError(ExitCode.USAGE, f"no such field in {arguments.file!r}; {expected}; choose with --field NAME")
    return (arguments.field,)


def _paths(
    fields: tuple[str, ...], folder: str, solution: Solution, arguments: argparse.Namespace
) -> list[tuple[str, str]]:
    """Two paths for each field; refused as a whole before the first is written."""
    stem = os.path.splitext(os.path.basename(arguments.file))[0][:120]
    case = f"_case{arguments.case}" if solution.field.batch > 1 else ""
    names = [re.sub(r"[^\w-]", "_", name)[:60] for name in fields]
    if len(set(names)) < len(names):
        names = [f"{name}_{i}" for i, name in enumerate(names)]
    bases = [os.path.join(folder, f"{stem}_{name}{case}") for name in names]
    pairs = [(f"{base}.png", f"{base}_interfaces.png") for base in bases]
    taken = [path for pair in pairs for path in pair if os.path.lexists(path)]
    if taken and not arguments.overwrite:
        hint = "choose another folder with --out DIR, or replace them with --overwrite"
        raise CommandError(ExitCode.USAGE, f"{taken[0]!r} exists; {hint}")
    return pairs
