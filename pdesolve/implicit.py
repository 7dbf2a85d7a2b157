"""How a solve is differentiated: by the implicit function theorem, or not at all.

At a minimiser the gradient of the cost vanishes, G(w, θ) = Jᵀr + Γw = 0, where θ are the basis terms, offsets and
parameters. Hence dw = -H⁻¹ ∂G/∂θ dθ with H = JᵀJ + Σ r ∂²r + Γ, and a cotangent v of w pulls back to

    λ = H⁻¹ v,      θ̄ = -∂/∂θ (G(w, θ) · λ) .

H is the full second derivative: with JᵀJ in its place the gradient is wrong by O(|r|) (Chalapathi, Du &
Krishnapriyan 2024 differentiate r = 0 instead, which also drops dJᵀ r). Nothing here knows which solver found w.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pdesolve.linalg.block_cholesky import BlockCholesky
from pdesolve.nonlinear.least_squares import LeastSquares, select
from pdesolve.nonlinear.minimise import Minimum, stationarity
from pdesolve.nonlinear.rows import times
from pdesolve.status import SolveStatus

_SETTLED = 1e-7
_log = logging.getLogger(__name__)

Solve = Callable[[LeastSquares], Minimum]


class AbstractAdjoint(abc.ABC):
    """Runs a solve and decides what gradient its result carries."""

    @abc.abstractmethod
    def solve(self, problem: LeastSquares, run: Solve) -> Minimum:
        """``run(problem)``, with ``w`` carrying the gradient to ``problem.tensors()``."""


@dataclass(frozen=True)
class DetachedAdjoint(AbstractAdjoint):
    """w is a constant to autograd.

    Exact for an outer loss that equals the inner cost: at the minimiser the cost does not change with w to
    first order (envelope theorem; variable projection, Golub & Pereyra 1973). The cheapest choice for training on
    the residual; wrong for any other loss.
    """

    def solve(self, problem: LeastSquares, run: Solve) -> Minimum:
        return run(problem)


@dataclass(frozen=True)
class ImplicitAdjoint(AbstractAdjoint):
    """The gradient of the converged minimiser, exact at any residual size.

    Arguments:
        polish: members whose stationarity measure is above this get one Newton step with the full Hessian after the
            solve, kept where it lowers the measure (default 1e-9; zero polishes always, infinity never). The error
            of the gradient falls with that of w.

    Notes:
        Where the full Hessian is not positive definite the Gauss-Newton matrix takes its place, which is logged.
        Members that failed contribute no gradient: their w is a constant, which their status says. The ridge is a
        constant. Second derivatives are not available.
    """

    polish: float = 1e-9

    def solve(self, problem: LeastSquares, run: Solve) -> Minimum:
        minimum = run(problem)
        with torch.no_grad():
            minimum, factor = _polished(minimum, self.polish)
        tensors = problem.tensors()
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            w = _Implicit.apply(problem.detached(), minimum, factor, *tensors)  # type: ignore[no-untyped-call]
            minimum = replace(minimum, w=w)
        return minimum


class _Implicit(torch.autograd.Function):
    """The formulas of the module's head, in the solver's unknowns c, w = T c; ``factor`` is H's if it is there."""

    @staticmethod
    def forward(
        ctx: Any, problem: LeastSquares, minimum: Minimum, factor: BlockCholesky | None, *tensors: Tensor
    ) -> Tensor:
        ctx.problem, ctx.minimum, ctx.factor = problem, minimum, factor
        return minimum.w.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        problem, minimum = ctx.problem, ctx.minimum
        transform = minimum.transform
        v = cotangent if transform is None else times(transform.mT, cotangent)
        ctx.factor = ctx.factor or _factor(minimum)  # kept: a Jacobian takes one backward pass for each of its rows
        direction = ctx.factor.solve(v)
        direction = direction if transform is None else times(transform, direction)
        good = minimum.status == SolveStatus.CONVERGED
        if not bool(good.any()):
            return (None, None, None, *(torch.zeros_like(t) for t in problem.tensors()))
        if not bool(good.all()):  # 0 * NaN is NaN: what failed must not enter the reverse pass at all
            problem = problem.healthy(good)
            direction = torch.where(good.unsqueeze(-1), direction, torch.zeros_like(direction))
        needed = ctx.needs_input_grad[3:]
        grads = problem.pullback(minimum.w.detach(), -direction, needed)
        reduced = [
            _summed_to(g, t) if want and g is not None else None
            for g, t, want in zip(grads, problem.tensors(), needed, strict=True)
        ]
        return (None, None, None, *reduced)


def _polished(minimum: Minimum, tolerance: float) -> tuple[Minimum, BlockCholesky | None]:
    """A Newton step with the full Hessian where it is needed and helps, and the factor of that Hessian.

    The factor serves the backward pass too where the step is so short that H cannot have changed.
    """
    normal, problem, transform = minimum.normal, minimum.problem, minimum.transform
    before = stationarity(normal)
    wanted = (before > tolerance) & (minimum.status == SolveStatus.CONVERGED)
    if not bool(wanted.any()):
        return minimum, None
    factor = _factor(minimum)
    h = factor.solve(-normal.gradient)
    h = torch.where(wanted.unsqueeze(-1) & torch.isfinite(h), h, torch.zeros_like(h))
    after = problem.linearise(minimum.c + h)
    better = (stationarity(after) <= before) & torch.isfinite(after.cost)
    c = torch.where(better.unsqueeze(-1), minimum.c + h, minimum.c)
    w = c if transform is None else times(transform, c)
    settled = bool((before <= _SETTLED).all())
    return replace(minimum, w=w, c=c, normal=select(better, after, normal)), factor if settled else None


def _factor(minimum: Minimum) -> BlockCholesky:
    """Factor of the full Hessian, with the Gauss-Newton matrix for members where that is not positive definite."""
    problem, gram = minimum.problem, minimum.normal.gram
    hessian = problem.hessian(minimum.c, gram)
    factor = BlockCholesky.factorise(hessian)
    indefinite = problem.any_member(factor.failed)
    if bool(indefinite.any()):
        members = indefinite.expand(factor.failed.shape)
        _log.info("Gauss-Newton adjoint for %d patches: their Hessian is not positive definite", int(members.sum()))
        mixed = torch.where(members[..., None, None], gram.diagonal, hessian.diagonal)
        factor = BlockCholesky.factorise(replace(hessian, diagonal=mixed))
    return factor


def _summed_to(grad: Tensor, like: Tensor) -> Tensor:
    """Sum over the dimensions along which ``like`` was broadcast."""
    return grad.sum_to_size(like.shape) if grad.shape != like.shape else grad
