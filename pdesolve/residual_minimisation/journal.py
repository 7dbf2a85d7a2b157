"""What every minimiser keeps: the best parameters, the numbers of each step, and who may stop it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractResidual, Minimised, Watch
from pdesolve.status import SolveStatus


def cost_of(residual: Tensor) -> float:
    """1/2 |r|², infinite where an entry is not finite: such a point is never better than another."""
    value = 0.5 * float(residual.square().sum())
    return value if math.isfinite(value) else math.inf


def check_start(problem: AbstractResidual, start: Tensor) -> Tensor:
    """The start, detached.

    Raises:
        TypeError: no residual, or no real floating tensor.
        ValueError: another shape than (n,), n >= 1.
    """
    if not isinstance(problem, AbstractResidual):
        raise TypeError(f"problem must be an AbstractResidual, got {type(problem).__name__}")
    if not isinstance(start, Tensor) or not start.is_floating_point():
        kind = start.dtype if isinstance(start, Tensor) else type(start).__name__
        raise TypeError(f"start must be a real floating tensor, got {kind}: convert it with .double()")
    if start.ndim != 1 or not start.numel():
        raise ValueError(f"start must be a vector of at least one parameter, got shape {tuple(start.shape)}")
    return start.detach()


def first_bad(residual: Tensor) -> str:
    """Where a residual is not finite, as a sentence."""
    bad = (~torch.isfinite(residual)).nonzero()
    if not len(bad):
        return "1/2 |r|² overflows"
    return f"row {int(bad[0, 0])} of {len(residual)} is {float(residual[bad[0, 0]])} (first of {len(bad)})"


@final
class Journal:
    """Best parameters and history of a run.

    Arguments:
        start: θ at step 0.
        cost: there.
        watch: asked after each step.
    """

    def __init__(self, start: Tensor, cost: float, watch: Watch | None) -> None:
        self.best, self.best_cost = start, cost
        self.history: dict[str, list[float]] = {"cost": [cost], "seconds": [0.0]}
        self._watch, self._began = watch, time.perf_counter()

    @property
    def steps(self) -> int:
        """Steps that were noted."""
        return len(self.history["cost"]) - 1

    def note(self, theta: Tensor, cost: float, **numbers: float) -> bool:
        """Enter one step; true if ``watch`` asks for a stop."""
        if cost < self.best_cost:
            self.best, self.best_cost = theta, cost
        self.history["cost"].append(cost)
        self.history["seconds"].append(time.perf_counter() - self._began)
        for name, value in numbers.items():
            self.history.setdefault(name, []).append(value)
        return self._watch is not None and bool(self._watch(self.steps, theta, cost))

    def finish(self, status: SolveStatus, detail: str = "") -> Minimised:
        """The best of the run."""
        return Minimised(self.best, status, self.history, detail)


@runtime_checkable
class CountedRows(Protocol):
    """A residual that knows its number of rows without evaluating them."""

    @property
    def n_rows(self) -> int:
        """m."""


Require = Callable[[int, Tensor], None]
"""Called with (rows, θ); raises MemoryError if what the method allocates does not fit."""


def begin(
    problem: AbstractResidual, start: Tensor, watch: Watch | None, require: Require | None = None
) -> tuple[Tensor, Journal, Minimised | None]:
    """(θ, journal, result): a result at once where the residual at the start is not finite.

    Arguments:
        problem, start, watch: as given to the minimiser.
        require: asked as soon as the number of rows is known, which may be before they are evaluated.
    """
    theta = check_start(problem, start)
    counted = isinstance(problem, CountedRows)
    if require is not None and isinstance(problem, CountedRows):
        require(problem.n_rows, theta)
    with torch.no_grad():
        residual = problem.residual(theta)
    if require is not None and not counted:
        require(len(residual), theta)
    cost = cost_of(residual)
    journal = Journal(theta, cost, watch)
    if math.isinf(cost):
        return theta, journal, journal.finish(SolveStatus.NON_FINITE, f"at the start {first_bad(residual)}")
    return theta, journal, None
