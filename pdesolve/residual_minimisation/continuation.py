"""A hard problem by way of easier ones: each is solved from the solution of the one before."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised
from pdesolve.status import SolveStatus

ResidualAt = Callable[[float], AbstractResidual]
"""The rows at a value of the parameter; all have the same θ."""


@final
@dataclass(frozen=True, eq=False)
class Continuation:
    """θ(p_k) from θ(p_{k-1}) along p_0, ..., p_K, such as a viscosity that falls.

    A value whose solve fails is approached by one half way from the last that succeeded: √(pq) where both have one
    sign, since viscosities and Reynolds numbers run over decades, and (p + q)/2 else.

    Arguments:
        minimiser: of each.
        values: p_0, ..., p_K; the last is what is asked for.
        halvings: of a step, in a row, before it is given up (default 4).

    Raises:
        TypeError: no minimiser.
        ValueError: no values, values that are not finite or repeat one another; a negative number of halvings.

    Notes:
        Follows a branch as far as it can be followed by p: at a turning point the halvings run out.

    Good values: a factor of 2 to 4 between neighbours.

    Source: Allgower & Georg, *Introduction to Numerical Continuation Methods* (2003), chapter 2.
    """

    minimiser: AbstractMinimiser
    values: Sequence[float]
    halvings: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.minimiser, AbstractMinimiser):
            raise TypeError(f"minimiser must be an AbstractMinimiser, got {type(self.minimiser).__name__}")
        values = list(self.values)
        if not values or not all(math.isfinite(v) for v in values):
            raise ValueError(f"values must be finite, at least one, got {values}")
        if any(a == b for a, b in pairwise(values)):
            raise ValueError(f"neighbouring values must differ, got {values}")
        if self.halvings < 0:
            raise ValueError(f"halvings must not be negative, got {self.halvings}")

    def run(self, residual_at: ResidualAt, start: Tensor) -> Minimised:
        """The solution at the last value, or at the last that could be reached, with the status of the one that failed.

        Arguments:
            residual_at: rows by value.
            start: θ for p_0, (n,).

        Returns:
            θ, status, and a history with one number for each solve: "value", "cost", "steps", "accepted".
        """
        ahead, halved, reached = list(self.values), 0, math.nan
        history: dict[str, list[float]] = {"value": [], "cost": [], "steps": [], "accepted": []}
        theta = start
        while ahead:
            value = ahead[0]
            ended = self.minimiser.minimise(residual_at(value), theta)
            accepted = ended.status.succeeded
            row = {
                "value": value,
                "cost": min(ended.history["cost"]),
                "steps": len(ended.history["cost"]) - 1.0,
                "accepted": float(accepted),
            }
            for name, number in row.items():
                history[name].append(number)
            if accepted:
                theta, reached, halved = ended.theta, ahead.pop(0), 0
                continue
            if math.isnan(reached) or halved == self.halvings:
                where = "the first value" if math.isnan(reached) else f"{reached:.6g}, the last value reached, to"
                return Minimised(theta, ended.status, history, f"from {where} {value:.6g}: {ended.detail}".rstrip(": "))
            ahead.insert(0, _between(reached, value))
            halved += 1
        return Minimised(theta, SolveStatus.CONVERGED, history)


def _between(a: float, b: float) -> float:
    return math.copysign(math.sqrt(a * b), a) if a * b > 0 else 0.5 * (a + b)
