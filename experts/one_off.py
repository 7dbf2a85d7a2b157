"""Experts that are fitted to one problem."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pdesolve.experts.abstract import AbstractExpert
from pdesolve.problem import Problem
from pdesolve.status import SolveStatus


@dataclass(frozen=True)
class FitReport:
    """How a fit ended.

    Arguments:
        status: of the whole.
        residual: root mean square of the rows on points that no fit has seen, over the size of their terms.
        history: by name, one number for each piece in time ("time", "residual", "steps", ...).
        detail: what is known beyond the status; a slab that failed is named with its time.
    """

    status: SolveStatus
    residual: float
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    detail: str = ""


Progress = Callable[[float, float], None]
"""Called with (share done, residual)."""


class AbstractOneOffExpert(AbstractExpert):
    """An expert whose parameters belong to one problem, which ``fit`` gives it."""

    @abc.abstractmethod
    def fit(self, problem: Problem, progress: Progress | None = None) -> FitReport:
        """Solve one problem and keep the result; afterwards the expert can be called on grids."""
