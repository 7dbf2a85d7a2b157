"""Adam on 1/2 |r|², the baseline of most published results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.journal import begin, first_bad
from pdesolve.status import SolveStatus


@final
@dataclass(frozen=True)
class AdamDescent(AbstractMinimiser):
    """Adam on the gradient Jᵀr by one reverse pass.

    Arguments:
        rate: step size (default 1e-3), falling along a cosine to zero.
        max_steps: default 10 000.
        target: converged where the cost is at most this (default 0).

    Raises:
        ValueError: a rate or step number that is not positive.

    Notes:
        Ends at its step cap: a first-order method knows no other end. Here to be compared with.

    Source: Kingma & Ba, ICLR 2015.
    """

    rate: float = 1e-3
    max_steps: int = 10_000
    target: float = 0.0

    def __post_init__(self) -> None:
        if not self.rate > 0 or self.max_steps < 1:
            raise ValueError(f"rate and max_steps must be positive, got {self.rate} and {self.max_steps}")

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        theta, journal, failed = begin(problem, start, watch)
        if failed is not None:
            return failed
        theta = theta.clone().requires_grad_()
        optimiser = torch.optim.Adam([theta], lr=self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.max_steps)
        while journal.steps < self.max_steps:
            with torch.enable_grad():
                optimiser.zero_grad()
                residual = problem.residual(theta)
                loss = 0.5 * residual.square().sum()
                torch.autograd.backward(loss)
            cost = float(loss.detach())
            if not math.isfinite(cost):
                found = first_bad(residual.detach())
                return journal.finish(SolveStatus.NON_FINITE, f"step {journal.steps}: {found}")
            stop = journal.note(theta.detach().clone(), cost)
            if cost <= self.target:
                return journal.finish(SolveStatus.CONVERGED)
            if stop:
                break
            optimiser.step()
            schedule.step()
        return journal.finish(SolveStatus.STEP_CAP)
