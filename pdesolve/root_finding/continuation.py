"""From a problem that is easy to the one that is asked for, in steps as large as Newton allows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.root_finding.newton import Newton
from pdesolve.root_finding.problem import RootProblem
from pdesolve.root_finding.root_finder import AbstractRootFinder, RootResult
from pdesolve.status import SolveStatus

_log = logging.getLogger(__name__)
_EASY = 4  # Newton steps after which the next step along the path may be larger

Path = Callable[..., tuple[Tensor, ...]]
"""Called as path(s, *parameters), 0 <= s <= 1; gives the parameters at s, at s = 1 those that were given."""


@dataclass(frozen=True)
class Continuation(AbstractRootFinder):
    """F(u, θ(s)) = 0 for s from 0 to 1, each root predicted from the two before it.

    Steps grow while Newton takes few iterations and are halved where it fails. Members of a batch go together.

    Arguments:
        path: θ(s); raise a Reynolds number, switch a nonlinearity on, deform a boundary value.
        method: solves at each s (default ``Newton(max_steps=12)``).
        first: first step in s (default 0.25).
        smallest: step in s at which to give up (default 1e-4).

    Raises:
        ValueError: steps out of order; when it is run, a path that does not end at the parameters given, or returns
            fewer.
        TypeError: when it is run, a path that returns no tuple.

    Notes:
        Follows s upward only: at a fold, where the branch turns back, steps shrink to ``smallest`` and the status is
        Newton's last; stats["detail"] tells the s that was reached.

    Source: Allgower & Georg, *Numerical Continuation Methods* (1990), chapter 2; Deuflhard (2004), section 5.1.
    """

    path: Path
    method: Newton = field(default_factory=lambda: Newton(max_steps=12))
    first: float = 0.25
    smallest: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.first <= 1:
            raise ValueError(f"0 < smallest <= first <= 1 is needed, got {self.smallest}, {self.first}")

    def linear_solver(self, operator: AbstractLinearOperator) -> AbstractLinearSolver:
        return self.method.linear_solver(operator)

    def run(self, problem: RootProblem, start: Tensor) -> RootResult:
        end = self._parameters(problem, 1.0)
        same = [_same(a, b) for a, b in zip(end, problem.parameters, strict=True)]
        if not all(same):
            raise ValueError(f"path(1, ...) changes parameter {same.index(False)}: it has to end at those given")
        found = self.method.run(problem.at(self._parameters(problem, 0.0)), start)
        before: tuple[float, Tensor] | None = None
        s, step, total = 0.0, self.first, found.stats["iterations"]
        while bool((found.status == SolveStatus.CONVERGED).all()) and s < 1.0:
            there = 1.0 if s + step > 1.0 - 1e-12 else s + step
            trial = self.method.run(
                problem.at(self._parameters(problem, there)), _predicted(before, (s, found.value), there)
            )
            total = total + trial.stats["iterations"]
            if bool((trial.status == SolveStatus.CONVERGED).all()):
                easy = int(trial.stats["iterations"].max()) <= _EASY
                before, s, found, step = (s, found.value), there, trial, 2.0 * step if easy else step
                _log.debug("continuation at s = %.6g", s)
            elif step > self.smallest:
                step = max(0.5 * step, self.smallest)
            else:
                return _given_up(trial, found, s, total)
        if s < 1.0:
            return _given_up(found, found, s, total)
        return replace(found, stats={**found.stats, "iterations": total})

    def _parameters(self, problem: RootProblem, s: float) -> tuple[Tensor, ...]:
        found = self.path(s, *problem.parameters)
        if not isinstance(found, (tuple, list)):
            raise TypeError(f"path must return a tuple of parameters, not {type(found).__name__}: (value,) for one")
        if len(found) != len(problem.parameters):
            raise ValueError(f"path returns {len(found)} parameters, {len(problem.parameters)} were given: return all")
        return tuple(found)


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal, NaN included: that F is NaN at the end is for the root finder to tell."""
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def _predicted(before: tuple[float, Tensor] | None, now: tuple[float, Tensor], there: float) -> Tensor:
    """On the line through the last two roots."""
    s, u = now
    return u if before is None else u + (there - s) / (s - before[0]) * (u - before[1])


def _given_up(trial: RootResult, reached: RootResult, s: float, total: Tensor) -> RootResult:
    told = f"the path ends at s = {s:.6g}: a fold or a jump lies behind it, or its start has no root nearby"
    detail = "; ".join(part for part in (str(trial.stats["detail"]), told) if part)
    status = torch.where(trial.status == SolveStatus.CONVERGED, int(SolveStatus.DIVERGED), trial.status)
    return RootResult(reached.value, status, {**trial.stats, "iterations": total, "detail": detail})
