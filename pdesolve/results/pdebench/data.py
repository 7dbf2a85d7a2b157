"""Samples of a PDEBench file in this package's order of axes, and whether they belong to a problem."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pdesolve.domains.grid import StructuredGrid
from pdesolve.field import Field
from pdesolve.problem import Family

# A line "name: number" at any depth. The text is never parsed as YAML, which would need a library.
_NUMBER = re.compile(r"^[ \t-]*(\w+)[ \t]*:[ \t]*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[ \t]*(?:#.*)?$", re.M)


@dataclass(frozen=True, eq=False)
class PDEBenchData:
    """Samples of a PDEBench file.

    Arguments:
        values: (batch, component, t, x, y, z), axes that the file lacks left out; dtype of the file.
        grid: the nodes, time included.
        names: one for each component.
        samples: their numbers in the file, (batch,).
        configs: the YAML text of each sample, or one for the whole file; empty where there is none.
    """

    values: Tensor
    grid: StructuredGrid
    names: tuple[str, ...]
    samples: tuple[int, ...]
    configs: tuple[str, ...] = ()

    @property
    def field(self) -> Field:
        """Values, grid and names as one ``Field``."""
        return Field(self.values, self.grid, self.names)


def mismatch(
    family: Family, axes: Sequence[str], fields: Sequence[str], named: bool, configs: Sequence[str]
) -> tuple[str, str] | None:
    """(expected, got) where a file cannot hold solutions of a family, None if it may.

    Arguments:
        family: what it should belong to; a ``Problem`` is a family of one.
        axes, fields: of the file.
        named: whether the names of the fields are the file's own.
        configs: texts whose ``name: number`` lines are compared with the problem's parameters.

    Notes:
        A parameter that has another name there, or that varies within the family, is not compared.
    """
    problem = family.problem
    if tuple(axes) != problem.domain.axes:
        return f"the problem's axes {', '.join(problem.domain.axes)}", ", ".join(axes)
    wanted = problem.field_names
    if len(fields) != len(wanted) or (named and len(wanted) > 1 and set(fields) != set(wanted)):
        return f"the problem's fields {', '.join(wanted)}", f"{len(fields)}: {', '.join(fields)}"
    for text in configs:
        for name, value in _NUMBER.findall(text):
            own = None if name in family.distributions else problem.parameters.get(name)
            if own is not None and abs(float(value) - own) > 1e-6 * max(abs(own), abs(float(value))):
                return f"{name} = {own:g} as the problem has", f"{name} = {value} in its configuration"
    return None
