"""Cases to train on: members of a family, or the one problem there is."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pdesolve.experts.abstract import AbstractExpert
from pdesolve.namespace import nearest
from pdesolve.problem import Family


def check_family(expert: AbstractExpert, family: Family) -> None:
    """Raise unless the expert can solve the family's members."""
    if not isinstance(family, Family):
        raise TypeError(f"family must be a ProblemFamily or a Problem, got {type(family).__name__}")
    if not isinstance(expert, AbstractExpert):
        raise TypeError(f"expert must be an AbstractExpert, got {type(expert).__name__}")
    known = expert.problem.parameters
    for name in family.sample(1, torch.Generator()):
        if name not in known:
            raise ValueError(
                f"the family has a parameter {name!r} that the expert's problem lacks: it has "
                f"{', '.join(known) or 'none'}{nearest(name, known)}"
            )


def moved(cases: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The cases on a device."""
    return {name: value.to(device) for name, value in cases.items()}
