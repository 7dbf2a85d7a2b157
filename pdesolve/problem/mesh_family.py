"""Problems on a mesh whose coefficient fields vary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from pdesolve.domains.geometry import positive_int
from pdesolve.domains.mesh_values import AbstractMeshValues
from pdesolve.namespace import nearest
from pdesolve.problem.distribution import AbstractDistribution
from pdesolve.problem.problem import Problem


@dataclass(frozen=True)
class MeshFamily:
    """A problem on a mesh whose parameters are random fields, and random numbers beside them.

    Arguments:
        problem: on a mesh.
        fields: parameter name -> a function ``(n, generator)`` that gives n fields, such as ``RandomInclusions``.
        distributions: of numbers, as for ``ProblemFamily`` (default none).

    Raises:
        ValueError: a name that is no parameter of the problem, a name twice, or nothing that varies.
        TypeError: a problem on a box, or something that gives no fields.
    """

    problem: Problem
    fields: Mapping[str, Callable[[int, torch.Generator], AbstractMeshValues]]
    distributions: Mapping[str, AbstractDistribution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = self.problem.mesh_domain
        if not self.fields:
            raise ValueError("a mesh family needs a field that varies: use ProblemFamily for numbers alone")
        for name in (*self.fields, *self.distributions):
            if name not in self.problem.parameters:
                raise ValueError(
                    f"unknown parameter {name!r} in the family: the problem has "
                    f"{', '.join(self.problem.parameters)}{nearest(name, self.problem.parameters)}"
                )
            if name in self.fields and name in self.distributions:
                raise ValueError(f"parameter {name!r} varies as a field and as a number: keep one")
        for name, draw in self.fields.items():
            if not callable(draw):
                raise TypeError(f"{name!r} needs a function (n, generator) that gives fields, got {draw!r}")

    def sample(self, n: int, generator: torch.Generator) -> dict[str, Any]:
        """n members: fields and numbers by name.

        Raises:
            TypeError, ValueError: n is no integer of at least 1.
        """
        positive_int(n, "the number of members")
        numbers = {name: d.sample(n, generator) for name, d in self.distributions.items()}
        return {**{name: draw(n, generator) for name, draw in self.fields.items()}, **numbers}
