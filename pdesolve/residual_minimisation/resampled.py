"""Points drawn anew between rounds of a minimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised
from pdesolve.residual_minimisation.journal import Journal, check_start, cost_of
from pdesolve.status import SolveStatus

DrawResidual = Callable[[], AbstractResidual]
"""Rows on new points at each call; the generator that draws them is the caller's."""


@final
@dataclass(frozen=True, eq=False)
class Resampled:
    """Rounds of a minimiser, each on new points, from the θ of the one before.

    The cost of θ on the new points, before they are fitted, says how far the rows speak for all points.

    Arguments:
        minimiser: of each round.
        rounds: at most (default 5).
        ftol: converged where the cost on new points falls by no more than this of itself (default 0.1).

    Raises:
        TypeError: no minimiser.
        ValueError: rounds below one, a negative ``ftol``.

    Notes:
        θ is the one whose cost on new points is least. A failed round ends the run with its status; one that ends at
        its step cap does not, so that few steps on many sets of points are possible.
    """

    minimiser: AbstractMinimiser
    rounds: int = 5
    ftol: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.minimiser, AbstractMinimiser):
            raise TypeError(f"minimiser must be an AbstractMinimiser, got {type(self.minimiser).__name__}")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if not self.ftol >= 0:
            raise ValueError(f"ftol must not be negative, got {self.ftol}")

    def run(self, draw: DrawResidual, start: Tensor) -> Minimised:
        """The best θ on points that it was not fitted to.

        Arguments:
            draw: rows on new points.
            start: θ, (n,).

        Returns:
            θ, status, and a history whose "cost" is that on new points, at the start and after each round, and "fitted"
            that on the points of the round.
        """
        rows = draw()
        theta = check_start(rows, start)
        journal = Journal(theta, cost_of(rows.residual(theta).detach()), None)
        for _ in range(self.rounds):
            before = journal.history["cost"][-1]
            ended = self.minimiser.minimise(rows, theta)
            if ended.status not in (SolveStatus.CONVERGED, SolveStatus.STEP_CAP):
                return journal.finish(ended.status, f"round {journal.steps + 1}: {ended.detail}")
            rows, theta = draw(), ended.theta
            cost = cost_of(rows.residual(theta).detach())
            journal.note(theta, cost, fitted=min(ended.history["cost"]))
            if before - cost <= self.ftol * before and journal.steps > 1:
                return journal.finish(SolveStatus.CONVERGED)
        return journal.finish(SolveStatus.STEP_CAP)
