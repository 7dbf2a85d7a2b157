"""Problems whose parameters vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.namespace import nearest
from pdesolve.problem.distribution import AbstractDistribution
from pdesolve.problem.problem import Problem


@runtime_checkable
class Family(Protocol):
    """Cases that can be drawn: a ``ProblemFamily``, or a ``Problem``, which is a family of one."""

    @property
    def problem(self) -> Problem:
        """Equation, domain and conditions of every member."""

    @property
    def distributions(self) -> Mapping[str, AbstractDistribution]:
        """What varies, by parameter name; empty for a family of one."""

    def sample(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Parameters of cases by name, float64: (n,) of what varies, or (1,) of a family of one."""


@dataclass(frozen=True)
class ProblemFamily:
    """A problem whose parameters vary: what a parametric solver is trained on.

    Arguments:
        problem: the equation, domain and conditions; its own parameters are the defaults of those not varied.
        distributions: parameter name -> ``Uniform``, ``LogUniform`` or another ``AbstractDistribution``; conditions
            read parameters by name, so a random initial condition is a condition that reads a random parameter.

    Raises:
        ValueError: a name that is no parameter of the problem, or no distribution at all.
        TypeError: something else than a distribution, or than a problem.
    """

    problem: Problem
    distributions: Mapping[str, AbstractDistribution]

    def __post_init__(self) -> None:
        if not isinstance(self.problem, Problem):
            raise TypeError(f"a family is made of a Problem, got {type(self.problem).__name__}")
        if not self.distributions:
            raise ValueError("a family needs at least one varying parameter")
        for name, distribution in self.distributions.items():
            if not isinstance(distribution, AbstractDistribution):
                raise TypeError(f"parameter {name!r} needs a distribution such as Uniform(0, 1), got {distribution!r}")
            if name not in self.problem.parameters:
                raise ValueError(
                    f"unknown parameter {name!r} in the family: the problem has "
                    f"{', '.join(self.problem.parameters)}{nearest(name, self.problem.parameters)}"
                )

    def sample(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """n members: the varied parameters by name, each of shape (n,), float64.

        Raises:
            TypeError, ValueError: n is no integer of at least 1.
        """
        positive_int(n, "the number of members")
        return {name: d.sample(n, generator) for name, d in self.distributions.items()}
