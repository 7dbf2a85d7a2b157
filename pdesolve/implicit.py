"""How a solve is differentiated: by the implicit function theorem, or not at all.

At a minimiser the gradient of the cost vanishes, G(w, θ) = Jᵀr + Γw = 0, where θ are the basis terms, offsets and
parameters. Hence dw = -H⁻¹ ∂G/∂θ dθ with H = JᵀJ + Σ r ∂²r + Γ, and a cotangent v of w pulls back to

    λ = H⁻¹ v,      θ̄ = -∂/∂θ (G(w, θ) · λ) .

H is the full second derivative: with JᵀJ in its place the gradient is wrong by O(|r|) (Chalapathi, Du &
Krishnapriyan 2024 differentiate r = 0 instead, which also drops dJᵀ r). Nothing here knows which solver found w.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pdesolve.linalg.block_cholesky import BlockCholesky
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.minimise import Minimum, stationarity
from pdesolve.status import SolveStatus

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
        polish: take one Newton step with the full Hessian after the solve, kept where it lowers the
            stationarity measure (default True; the error of the gradient falls with that of w).

    Notes:
        Where the full Hessian is not positive definite the Gauss-Newton matrix takes its place, and
        ``stats["gauss_newton"]`` says for which patches. Members that failed contribute no gradient: their w is a
        constant, which their status says. The ridge is a constant. Second derivatives are not available.
    """

    polish: bool = True

    def solve(self, problem: LeastSquares, run: Solve) -> Minimum:
        minimum = run(problem)
        with torch.no_grad():
            minimum, factor = _second_order(minimum, self.polish)
        tensors = problem.tensors()
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            w = _Implicit.apply(problem.detached(), minimum, factor, *tensors)  # type: ignore[no-untyped-call]
            minimum = replace(minimum, w=w)
        return minimum


class _Implicit(torch.autograd.Function):
    """The formulas of the module's head; ``factor`` is that of H in the solver's unknowns c, w = T c."""

    @staticmethod
    def forward(ctx: Any, problem: LeastSquares, minimum: Minimum, factor: BlockCholesky, *tensors: Tensor) -> Tensor:
        ctx.problem, ctx.minimum, ctx.factor = problem, minimum, factor
        return minimum.w.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        problem, minimum = ctx.problem, ctx.minimum
        transform = minimum.transform
        v = cotangent if transform is None else _times(transform.mT, cotangent)
        direction = ctx.factor.solve(v)
        direction = direction if transform is None else _times(transform, direction)
        good = (minimum.status == SolveStatus.CONVERGED).unsqueeze(-1)
        direction = torch.where(good, direction, torch.zeros_like(direction))
        grads = problem.pullback(minimum.w.detach(), -direction)
        needed = ctx.needs_input_grad[3:]
        reduced = [
            _summed_to(g, t) if want else None for g, t, want in zip(grads, problem.tensors(), needed, strict=True)
        ]
        return (None, None, None, *reduced)


def _second_order(minimum: Minimum, polish: bool) -> tuple[Minimum, BlockCholesky]:
    """A Newton step with the full Hessian where it helps, and the factor of the Hessian used."""
    problem, transform = minimum.problem, minimum.transform
    c = minimum.w if transform is None else _unknowns(transform, minimum.w)
    normal = problem.linearise(c)
    factor, fallback = _factor(problem, c, normal.gram)
    if polish:
        h = factor.solve(-normal.gradient)
        ok = (minimum.status == SolveStatus.CONVERGED).unsqueeze(-1) & torch.isfinite(h)
        trial = c + torch.where(ok, h, torch.zeros_like(h))
        after = problem.linearise(trial)
        better = (stationarity(after) <= stationarity(normal)) & torch.isfinite(after.cost)
        c = torch.where(better.unsqueeze(-1), trial, c)
    w = c if transform is None else _times(transform, c)
    stats = minimum.stats | {"gauss_newton": fallback}
    return replace(minimum, w=w, stats=stats), factor


def _factor(problem: LeastSquares, c: Tensor, gram: Any) -> tuple[BlockCholesky, Tensor]:
    """Factor of the full Hessian, with the Gauss-Newton matrix for members where that is not positive definite."""
    hessian = problem.hessian(c, gram)
    factor = BlockCholesky.factorise(hessian)
    fallback = problem.any_member(factor.failed).expand(factor.failed.shape)
    if bool(fallback.any()):
        mixed = torch.where(fallback[..., None, None], gram.diagonal, hessian.diagonal)
        factor = BlockCholesky.factorise(replace(hessian, diagonal=mixed))
    return factor, fallback


def _unknowns(transform: Tensor, w: Tensor) -> Tensor:
    """c of least norm with transform c = w."""
    return _times(torch.linalg.pinv(transform), w)


def _times(matrix: Tensor, w: Tensor) -> Tensor:
    return (matrix @ w.unsqueeze(-1)).squeeze(-1)


def _summed_to(grad: Tensor, like: Tensor) -> Tensor:
    """Sum over the dimensions along which ``like`` was broadcast."""
    return grad.sum_to_size(like.shape) if grad.shape != like.shape else grad
