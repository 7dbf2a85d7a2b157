"""The interface of root finders."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.root_finding.problem import RootProblem


@dataclass(frozen=True, eq=False)
class RootResult:
    """Where a root finder ended.

    Arguments:
        value: u, (*batch, n), finite; of failed members the last good iterate.
        status: ``SolveStatus`` codes, (*batch,).
        stats: iterations, correction (size of the last Newton correction over that of u) and residual (largest |F_i|),
            each (*batch,); "detail", a sentence on what went wrong.
        state: the linear solver's for ∂F/∂u at ``value``, if the root finder has one that is accurate enough.
    """

    value: Tensor
    status: Tensor
    stats: dict[str, Any] = field(default_factory=dict)
    state: Any = None


class AbstractRootFinder(abc.ABC):
    """Solves F(u) = 0; a frozen dataclass. ``find_root`` differentiates all root finders alike."""

    @abc.abstractmethod
    def run(self, problem: RootProblem, start: Tensor) -> RootResult:
        """Find a root near ``start`` (*batch, n), given tensors without graph; a failure is a status."""

    @abc.abstractmethod
    def linear_solver(self, operator: AbstractLinearOperator) -> AbstractLinearSolver:
        """What solves with ∂F/∂u, here and in derivatives."""
