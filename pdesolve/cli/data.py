"""``pdesolve data make NAME``: classical solutions of a family's cases, as a file that others' code reads."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdesolve.cli.exits import CommandError, ExitCode
from pdesolve.cli.output import emit
from pdesolve.cli.readers import LARGEST_SEED, ConfigError, integer

if TYPE_CHECKING:
    from torch import Tensor

    from pdesolve.domains.grid import StructuredGrid
    from pdesolve.problem import Problem
    from pdesolve.results.pdebench import AbstractPDEBenchLayout

Scheme = Callable[["Problem", Mapping[str, "Tensor"], "StructuredGrid"], "Tensor"]

MAX_VALUES = 2**28
_AT_ONCE = 64


def _per_seed(names: tuple[str, ...]) -> AbstractPDEBenchLayout:
    from pdesolve.results.pdebench import PerSeedLayout

    return PerSeedLayout()


def _flat(names: tuple[str, ...]) -> AbstractPDEBenchLayout:
    from pdesolve.results.pdebench import FlatLayout

    return FlatLayout(names) if len(names) > 1 else FlatLayout()


def _converged(problem: Problem, cases: Mapping[str, Tensor], grid: StructuredGrid) -> Tensor:
    from pdesolve.reference import reference_solution

    return reference_solution(problem, cases, {axis: grid.axis_nodes(axis) for axis in grid.axes})


def _ghost_cells(problem: Problem, cases: Mapping[str, Tensor], grid: StructuredGrid) -> Tensor:
    from pdesolve.pde.diffusion_sorption import DiffusionSorption
    from pdesolve.reference import pdebench_solution

    if not isinstance(problem.pde, DiffusionSorption):
        raise ConfigError("--scheme pdebench is PDEBench's own for diffusion-sorption only; use --scheme converged")
    return pdebench_solution(cases["u0"], grid.axis_nodes("t"), cells=grid.shape[1], pde=problem.pde)


def _each(cases: Mapping[str, Tensor]) -> list[list[str]]:
    """The drawn parameters of each case, as lines of YAML."""
    count = len(next(iter(cases.values())))
    return [
        [f"case: {i}", "sim:", *(f"  {name}: {_number(values[i])}" for name, values in cases.items())]
        for i in range(count)
    ]


def _together(cases: Mapping[str, Tensor]) -> list[list[str]]:
    """The drawn parameters of all cases in one text."""
    return [["sim:", *(f"  {name}: [{', '.join(map(_number, values))}]" for name, values in cases.items())]]


def _number(value: Tensor | float) -> str:
    """With every bit, and with the point without which YAML 1.1 takes 1e-06 for a text."""
    mantissa, mark, exponent = repr(float(value)).partition("e")
    return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}{mark}{exponent}"


@dataclass(frozen=True)
class Format:
    """A layout that can be named.

    Arguments:
        layout: for fields of some names.
        ending: of the file's name.
        drawn: lines on the parameters of the cases, one list for each text that the layout holds.
    """

    layout: Callable[[tuple[str, ...]], AbstractPDEBenchLayout]
    ending: str
    drawn: Callable[[Mapping[str, Tensor]], list[list[str]]]


FORMATS: Mapping[str, Format] = {
    "pdebench": Format(_per_seed, ".h5", _each),
    "pdebench-flat": Format(_flat, ".hdf5", _together),
}

SCHEMES: Mapping[str, Scheme] = {"converged": _converged, "pdebench": _ghost_cells}


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command's arguments."""
    parser = subparsers.add_parser("data", help="make data sets", description="make data sets", allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    text = "solve random cases of a family with a classical solver and write them to one file"
    make = actions.add_parser("make", help=text, description=text, allow_abbrev=False)
    make.add_argument("name", metavar="NAME", help="diffusion-sorption, burgers or heat")
    make.add_argument("--format", choices=tuple(FORMATS), default="pdebench", help="layout (default pdebench)")
    make.add_argument("--scheme", choices=tuple(SCHEMES), default="converged", help="solver (default converged)")
    make.add_argument("--cases", metavar="N", type=int, default=100, help="number of cases (default 100)")
    make.add_argument("--times", metavar="N", type=int, default=101, help="instants, ends included (default 101)")
    make.add_argument("--cells", metavar="N", type=int, default=1024, help="values at cell centres (default 1024)")
    make.add_argument("--seed", metavar="N", type=int, default=0, help="of the cases (default 0)")
    make.add_argument("--out", metavar="FILE", help="the file (default: NAME in $PDESOLVE_DATA or data/generated)")
    make.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    make.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Solve, write, and print the file's path."""
    import torch

    from pdesolve.atomic import check_target
    from pdesolve.cli.config import ProblemSection
    from pdesolve.cli.registry import make_family
    from pdesolve.results.pdebench import write_pdebench

    try:
        _check(arguments)
        family = make_family(ProblemSection(arguments.name), {})
        chosen = FORMATS[arguments.format]
        path = _path(arguments, chosen.ending)
        check_target(path, overwrite=arguments.overwrite)
        cases = family.sample(arguments.cases, torch.Generator().manual_seed(arguments.seed))
        values, grid = _solved(arguments, family.problem, cases)
    except ConfigError as error:
        raise CommandError(ExitCode.USAGE, f"{error}; see pdesolve data make --help") from error
    layout, texts = chosen.layout(family.problem.field_names), _configs(arguments, family.problem, cases)
    write_pdebench(path, values, grid, layout, config=texts, overwrite=arguments.overwrite)
    emit(str(path))
    return ExitCode.OK


def _check(arguments: argparse.Namespace) -> None:
    for name, low, high in (("cases", 1, 10**6), ("times", 2, 10**6), ("cells", 3, 10**6), ("seed", 0, LARGEST_SEED)):
        integer(low, high)(getattr(arguments, name), f"--{name}")
    count = arguments.cases * arguments.times * arguments.cells
    if count > MAX_VALUES:
        raise ConfigError(f"{count:.1e} values are asked for, at most {MAX_VALUES:.1e} are made at once; fewer cases")


def _path(arguments: argparse.Namespace, ending: str) -> Path:
    """Where to write; the folder of the default is made."""
    from pdesolve.reference import data_folder

    if arguments.out is not None:
        return Path(arguments.out)
    folder = data_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{arguments.name.replace('-', '_')}{ending}"


def _solved(
    arguments: argparse.Namespace, problem: Problem, cases: Mapping[str, Tensor]
) -> tuple[Tensor, StructuredGrid]:
    """Values (case, component, t, x) and where they stand: instants with both ends, cell centres."""
    import torch

    from pdesolve.domains.grid import StructuredGrid

    shape = (arguments.times, arguments.cells)
    ends, centres = (make(problem.box, shape).nodes for make in (StructuredGrid.uniform, StructuredGrid.cell_centred))
    grid = StructuredGrid(problem.box.axes, (ends[0], centres[1]), problem.box)
    scheme = SCHEMES[arguments.scheme]
    parts = [
        scheme(problem, {name: value[start : start + _AT_ONCE] for name, value in cases.items()}, grid).float()
        for start in range(0, arguments.cases, _AT_ONCE)
    ]
    return torch.cat(parts), grid


def _configs(arguments: argparse.Namespace, problem: Problem, cases: Mapping[str, Tensor]) -> list[str]:
    """YAML texts: where the file comes from, what was drawn, and the parameters that are the same in all cases."""
    version = importlib.import_module("pdesolve").__version__
    head = [f"name: {arguments.name}", f"written_by: pdesolve {version}", f"scheme: {arguments.scheme}"]
    head.append(f"seed: {arguments.seed}")
    fixed = [f"  {name}: {_number(value)}" for name, value in problem.parameters.items() if name not in cases]
    return ["\n".join([*head, *drawn, *fixed]) + "\n" for drawn in FORMATS[arguments.format].drawn(cases)]
