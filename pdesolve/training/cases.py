"""Cases to train on: members of a family, or the one problem there is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pdesolve.experts.abstract import AbstractExpert
from pdesolve.namespace import nearest
from pdesolve.problem import Problem, ProblemFamily

Family = ProblemFamily | Problem
"""What a training draws its cases from; a plain ``Problem`` is a family of one case."""


def draw(family: Family, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """n members of a family, or the single case of a problem: name -> (batch,), float64."""
    if isinstance(family, ProblemFamily):
        return family.sample(n, generator)
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in family.parameters.items()}


def check_family(expert: AbstractExpert, family: Family) -> None:
    """Raise unless the expert can solve the family's members."""
    if not isinstance(family, (ProblemFamily, Problem)):
        raise TypeError(f"family must be a ProblemFamily or a Problem, got {type(family).__name__}")
    if not isinstance(expert, AbstractExpert):
        raise TypeError(f"expert must be an AbstractExpert, got {type(expert).__name__}")
    known = expert.problem.parameters
    names = family.distributions if isinstance(family, ProblemFamily) else family.parameters
    for name in names:
        if name not in known:
            raise ValueError(
                f"the family has a parameter {name!r} that the expert's problem lacks: it has "
                f"{', '.join(known) or 'none'}{nearest(name, known)}"
            )


def moved(cases: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The cases on a device."""
    return {name: value.to(device) for name, value in cases.items()}
