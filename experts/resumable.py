"""Experts of one problem whose fit can be gone on with after whatever ended it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pdesolve.experts.one_off import AbstractOneOffExpert, FitReport, Progress
from pdesolve.problem import Problem


class AbstractResumableExpert(AbstractOneOffExpert):
    """An expert whose fit goes piece after piece, and whose ``state_dict`` holds all that are done."""

    @abc.abstractmethod
    def fit(
        self, problem: Problem, progress: Progress | None = None, after_piece: Callable[[], None] | None = None
    ) -> FitReport:
        """Solve one problem and keep the result; afterwards the expert can be called on grids.

        Arguments:
            problem: what to solve.
            progress: called after each piece.
            after_piece: called whenever another one is in ``state_dict``, such as to store it.
        """

    @abc.abstractmethod
    def resume(
        self, problem: Problem, progress: Progress | None = None, after_piece: Callable[[], None] | None = None
    ) -> FitReport:
        """Go on with a fit that was ended early: pieces that the state holds are kept, one that failed is tried again.

        Arguments as for ``fit``.

        Raises:
            ValueError: another problem than the one that was begun.
        """

    @abc.abstractmethod
    def record(self, problem: Problem) -> dict[str, Any]:
        """What has to agree for a state to be gone on with, as text: problem, settings, versions."""

    @abc.abstractmethod
    def make_room(self, problem: Problem, shapes: Mapping[str, Sequence[int]]) -> None:
        """Prepare ``state_dict`` for tensors that are to be loaded; what was fitted before is forgotten.

        Arguments:
            problem: whose fit it is.
            shapes: of the tensors by name; none at all forgets a fit.
        """
