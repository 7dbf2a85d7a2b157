"""Gauss-Newton, batched: undamped steps, each halved until the cost falls."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.execution import AbstractExecution, Eager
from pdesolve.linalg.block_cholesky import BlockCholesky
from pdesolve.nonlinear.least_squares import LeastSquares, Normal, select
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, Iterate, stationarity
from pdesolve.nonlinear.ridge import AbstractRidge, RelativeRidge
from pdesolve.nonlinear.whitening import Whitening

_SHORTEST = 2.0**-20
_ARMIJO = 1e-4


@dataclass(frozen=True)
class GaussNewton(AbstractNonlinearSolver):
    """min_w 1/2 |r(w)|² by steps JᵀJ h = -Jᵀr, w <- w + s h with s halved until the cost falls.

    Cheaper to follow than ``LevenbergMarquardt`` and as fast where residuals end small: near a zero residual it
    converges quadratically. Where they stay large it is linear at best and may stall: the step cap then says so.

    Arguments:
        gtol: stop at max_j |J_j·r| / (|J_j| |r|) <= gtol (default 1e-8).
        max_steps: step cap, halvings included (default 50).
        ridge: penalty for rank-deficient bases.
        whitening: change of unknowns for ill-conditioned bases.
        execution: ``Eager()`` (default), or ``Compiled()`` for many small solves of one size.

    Raises:
        ValueError: gtol or max_steps out of range.

    Notes:
        A member whose normal matrix is not positive definite has no step to take: it ends as ``DIVERGED``, and so
        does one whose step was halved twenty times in vain. ``LevenbergMarquardt`` damps there and goes on.

    Good values: the defaults; ``LevenbergMarquardt`` for problems far from linear.

    Source: Nocedal & Wright, *Numerical Optimization*, section 10.3 (Armijo's condition, 3.1).
    """

    gtol: float = 1e-8
    max_steps: int = 50
    ridge: AbstractRidge = field(default_factory=RelativeRidge)
    whitening: Whitening = field(default_factory=Whitening)
    execution: AbstractExecution = field(default_factory=Eager)

    def __post_init__(self) -> None:
        if not 0 < self.gtol < 1:
            raise ValueError(f"gtol must lie between 0 and 1, got {self.gtol}")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise ValueError(f"max_steps must be an integer >= 1, got {self.max_steps!r}")

    def init(self, problem: LeastSquares, w: Tensor, normal: Normal) -> Iterate:
        none = torch.zeros_like(normal.cost)
        return Iterate(w, normal, stationarity(normal), {"length": none + 1.0}, none.bool(), none.bool())

    def step(self, problem: LeastSquares, iterate: Iterate, active: Tensor, curved: bool) -> Iterate:
        normal, length = iterate.normal, iterate.memory["length"]
        factor = BlockCholesky.factorise(normal.gram)
        broken = problem.any_member(factor.failed) & active
        full = factor.solve(-normal.gradient)
        usable = (active & ~broken).unsqueeze(-1) & torch.isfinite(full)
        h = torch.where(usable, length.unsqueeze(-1) * full, torch.zeros_like(full))
        trial = problem.linearise(iterate.w + h)
        measure = stationarity(trial)
        accepted = active & ~broken & _lower(problem, normal, trial, h, measure <= iterate.stationarity)
        shorter = torch.where(active & ~accepted, 0.5 * length, length)
        return Iterate(
            w=torch.where(accepted.unsqueeze(-1), iterate.w + h, iterate.w),
            normal=select(accepted, trial, normal),
            stationarity=torch.where(accepted, measure, iterate.stationarity),
            memory={"length": torch.where(accepted, torch.ones_like(length), shorter)},
            failed=iterate.failed | broken | (shorter < _SHORTEST),
            curved=iterate.curved,
        )


def _lower(problem: LeastSquares, old: Normal, new: Normal, h: Tensor, calmer: Tensor) -> Tensor:
    """Armijo's condition, or a stationarity that falls where the cost is down to its round-off, by member.

    Arguments:
        calmer: where the stationarity falls.
    """
    slope = problem.by_member((old.gradient * h).sum(-1))
    eps = torch.finfo(h.dtype).eps
    noise = 1e2 * eps * old.cost + (1e2 * eps * old.magnitude) ** 2
    enough = new.cost <= old.cost + _ARMIJO * slope
    settled = (slope.abs() <= noise) & (new.cost <= old.cost + 10.0 * noise) & calmer
    return (enough | settled) & torch.isfinite(new.cost)
