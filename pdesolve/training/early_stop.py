"""When to stop before the last step: a watched number, and patience with it."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import final

import torch

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.evaluation import device_of
from pdesolve.problem import Family
from pdesolve.status import SolveError, SolveStatus
from pdesolve.training.cases import moved
from pdesolve.training.evaluation import squares_by_label


class AbstractMonitor(abc.ABC):
    """A number that should fall. It depends on its own last value and on this step only, so a run can be resumed."""

    @abc.abstractmethod
    def value(self, step: int, loss: float, previous: float, expert: AbstractExpert, family: Family) -> float:
        """The number after a step.

        Arguments:
            step: counted from 1.
            loss: of this step.
            previous: what this method gave after the step before; NaN after the first.
            expert, family: what is trained, and on what.
        """


@final
@dataclass(frozen=True)
class SmoothedLoss(AbstractMonitor):
    """s_k = β s_(k-1) + (1 - β) loss_k, s_1 = loss_1.

    Arguments:
        decay: β (default 0.98, about 50 steps).
    """

    decay: float = 0.98

    def __post_init__(self) -> None:
        if not 0 <= finite_float(self.decay, "decay") < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}")

    def value(self, step: int, loss: float, previous: float, expert: AbstractExpert, family: Family) -> float:
        return loss if math.isnan(previous) else self.decay * previous + (1 - self.decay) * loss


@final
@dataclass(frozen=True)
class HeldOutResidual(AbstractMonitor):
    """Median over held-out cases of log Σ rows²; a case whose solve failed counts as infinite.

    Arguments:
        cases: how many members of the family (default 16).
        every: steps between two evaluations; the value is kept between them (default 50).
        seed: of the cases and points, the same at every evaluation and apart from the training's (default 0).
    """

    cases: int = 16
    every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int(self.cases, "cases")
        positive_int(self.every, "every")

    def value(self, step: int, loss: float, previous: float, expert: AbstractExpert, family: Family) -> float:
        if step % self.every and not math.isnan(previous):
            return previous
        generator = torch.Generator().manual_seed(self.seed)
        cases = moved(family.sample(self.cases, generator), device_of(expert))
        try:
            squares, status = squares_by_label(expert, cases, generator)
        except SolveError:
            return math.inf
        total = torch.stack([s.detach().cpu() for s in squares.values()]).sum(dim=0)
        good = (status.cpu() == SolveStatus.CONVERGED).all(dim=1) & torch.isfinite(total)
        costs = torch.where(good, total, math.inf)
        return float(torch.log(costs + torch.finfo(costs.dtype).tiny).median())


@final
@dataclass(frozen=True)
class EarlyStop:
    """Stop when the watched number has not fallen by ``improvement`` for ``patience`` steps.

    Arguments:
        patience: steps to wait; more than ``every`` of a ``HeldOutResidual``.
        monitor: what is watched (default ``SmoothedLoss()``).
        improvement: the least fall that counts, absolute (default 0; losses are logarithms under ``LogResidual``,
            so 0.01 is one per cent there).

    Raises:
        TypeError, ValueError: numbers out of their range.
    """

    patience: int
    monitor: AbstractMonitor = SmoothedLoss()
    improvement: float = 0.0

    def __post_init__(self) -> None:
        positive_int(self.patience, "patience")
        if finite_float(self.improvement, "improvement") < 0:
            raise ValueError(f"improvement must be >= 0, got {self.improvement}")
        if not isinstance(self.monitor, AbstractMonitor):
            raise TypeError(f"monitor must be an AbstractMonitor, got {type(self.monitor).__name__}")


class Patience:
    """The best value so far and how long ago it was; rebuilt from the history when a run is resumed."""

    def __init__(self, rule: EarlyStop, history: list[float]) -> None:
        self._rule = rule
        self._best, self._waited = math.inf, 0
        for value in history:
            self.take(value)

    def take(self, value: float) -> None:
        """Count one more step; NaN stands for a step that was not watched."""
        if value < self._best - self._rule.improvement:
            self._best, self._waited = value, 0
        elif not math.isnan(value):
            self._waited += 1

    @property
    def exhausted(self) -> bool:
        """It is time to stop."""
        return self._waited >= self._rule.patience
