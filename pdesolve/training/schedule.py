"""How the learning rate changes in the course of a training."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import final

from pdesolve.domains.geometry import finite_float, positive_int


class AbstractSchedule(abc.ABC):
    """A factor on the learning rate that depends on the step only, so that a resumed run continues exactly."""

    @abc.abstractmethod
    def factor(self, step: int, steps: int) -> float:
        """The factor of one step.

        Arguments:
            step: 0 ... steps - 1.
            steps: how many there are in all.
        """


@final
@dataclass(frozen=True)
class Constant(AbstractSchedule):
    """η_k = η."""

    def factor(self, step: int, steps: int) -> float:
        return 1.0


@final
@dataclass(frozen=True)
class CosineDecay(AbstractSchedule):
    """A linear rise from 0 to η, then η (ε + (1 - ε) (1 + cos π s) / 2) with s from 0 to 1.

    Arguments:
        warm_up: part of the steps that rise (default 0).
        final: ε, what is left of the rate at the end (default 0).

    Raises:
        ValueError: ``warm_up`` outside [0, 1), ``final`` outside [0, 1].

    Source: Loshchilov & Hutter, "SGDR", ICLR 2017, eq. 5 without restarts.
    """

    warm_up: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= finite_float(self.warm_up, "warm_up") < 1:
            raise ValueError(f"warm_up is a fraction of the steps in [0, 1), got {self.warm_up}")
        if not 0 <= finite_float(self.final, "final") <= 1:
            raise ValueError(f"final is a fraction of the learning rate in [0, 1], got {self.final}")

    def factor(self, step: int, steps: int) -> float:
        rising = math.ceil(self.warm_up * steps)
        if step < rising:
            return (step + 1) / rising
        done = min(1.0, (step - rising) / max(1, steps - rising))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


@final
@dataclass(frozen=True)
class StepHalving(AbstractSchedule):
    """η_k = η / 2^⌊k / every⌋.

    Arguments:
        every: steps between two halvings.

    Raises:
        TypeError, ValueError: ``every`` is no integer of at least 1.
    """

    every: int

    def __post_init__(self) -> None:
        positive_int(self.every, "every")

    def factor(self, step: int, steps: int) -> float:
        return math.ldexp(1.0, -(step // self.every))
