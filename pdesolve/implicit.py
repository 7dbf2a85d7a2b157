"""How a solve is differentiated: by the implicit function theorem, or not at all.

At a minimiser the gradient of the cost vanishes, G(w, θ) = Jᵀr + Γw = 0, where θ are the basis terms, offsets and
parameters. Hence dw = -H⁻¹ ∂G/∂θ dθ with H = JᵀJ + Σ r ∂²r + Γ, and a cotangent v of w pulls back to

    λ = H⁻¹ v,      θ̄ = -∂/∂θ (G(w, θ) · λ) .

H is the full second derivative: with JᵀJ in its place the gradient is wrong by O(|r|) (Chalapathi, Du &
Krishnapriyan 2024 differentiate r = 0 instead, which also drops dJᵀ r). Nothing here knows which solver found w.
``implicit_function.py`` holds the formulas as functions that can be differentiated again.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pdesolve.execution import AbstractExecution, Eager
from pdesolve.implicit_function import ImplicitFunction, hessian_factor
from pdesolve.linalg.block_cholesky import BlockCholesky
from pdesolve.nonlinear.constrained_adjoint import with_gradient
from pdesolve.nonlinear.least_squares import LeastSquares, Normal, select
from pdesolve.nonlinear.minimise import Minimum, stationarity
from pdesolve.nonlinear.rows import times
from pdesolve.nonlinear.solved import Solve, Solved, constrained, solved
from pdesolve.status import SolveStatus

_SETTLED = 1e-7


class AbstractAdjoint(abc.ABC):
    """Runs a solve and decides what derivatives its result carries."""

    @abc.abstractmethod
    def solve(self, problem: LeastSquares, run: Solve, start: Tensor | None = None) -> Solved:
        """``run(problem)``, or ``run(problem, start)``, with ``w`` carrying derivatives to ``problem.tensors()``."""


@dataclass(frozen=True)
class DetachedAdjoint(AbstractAdjoint):
    """w is a constant to autograd.

    Exact for an outer loss that equals the inner cost: at the minimiser the cost does not change with w to
    first order (envelope theorem; variable projection, Golub & Pereyra 1973). The cheapest choice for training on
    the residual; wrong for any other loss.
    """

    def solve(self, problem: LeastSquares, run: Solve, start: Tensor | None = None) -> Solved:
        return solved(problem.memberwise(), run, start)


@dataclass(frozen=True)
class ImplicitAdjoint(AbstractAdjoint):
    """The gradient of the converged minimiser, exact at any residual size.

    Arguments:
        polish: members whose stationarity measure is above this get one Newton step with the full Hessian after the
            solve, kept where it lowers the measure (default 1e-9; zero polishes always, infinity never). The error
            of the gradient falls with that of w.
        execution: ``Eager()`` (default), or the solver's ``Compiled()``.

    Notes:
        Reverse and forward mode, second derivatives and ``torch.func`` transforms, ``torch.vmap`` included. Where the
        full Hessian is not positive definite the Gauss-Newton matrix takes its place, which is logged. Members that
        failed contribute no gradient: their w is a constant, which their status says. The ridge is a constant, and so
        is the change of unknowns by whitening: where that cuts off singular values, second derivatives hold in the
        directions kept only. Under constraints the gradient is that of the active set (``constrained_adjoint``), first
        order in reverse mode, and there is no polish.
    """

    polish: float = 1e-9
    execution: AbstractExecution = field(default_factory=Eager)

    def solve(self, problem: LeastSquares, run: Solve, start: Tensor | None = None) -> Solved:
        problem = problem.memberwise()
        if problem.constraints:
            minimum = constrained(problem, run, start)
            return replace(Solved.of(minimum), w=with_gradient(problem, minimum))
        function = ImplicitFunction.of(problem, self.execution)

        def polished(problem: LeastSquares, *begin: Tensor) -> Minimum:
            minimum, factor = _polished(run(problem, *begin), self.polish, self.execution)
            if factor is not None:
                function.keep(minimum.c, factor)
            return minimum

        found = solved(problem, polished, start)
        return replace(found, w=found.weights(function(found, problem)))


def _linearised(problem: LeastSquares, c: Tensor) -> Normal:
    return problem.linearise(c)


def _polished(minimum: Minimum, tolerance: float, execution: AbstractExecution) -> tuple[Minimum, BlockCholesky | None]:
    """A Newton step with the full Hessian where it is needed and helps, and the factor of that Hessian.

    The factor serves the backward pass too where the step is so short that H cannot have changed.
    """
    normal, problem, transform = minimum.normal, minimum.problem, minimum.transform
    before = stationarity(normal)
    wanted = (before > tolerance) & (minimum.status == SolveStatus.CONVERGED)
    if not bool(wanted.any()):
        return minimum, None
    factor = hessian_factor(minimum.problem, minimum.c, normal.gram, execution)
    h = factor.solve(-normal.gradient)
    h = torch.where(wanted.unsqueeze(-1) & torch.isfinite(h), h, torch.zeros_like(h))
    after = execution.run(_linearised, problem, minimum.c + h)
    better = (stationarity(after) <= before) & torch.isfinite(after.cost)
    c = torch.where(better.unsqueeze(-1), minimum.c + h, minimum.c)
    w = c if transform is None else times(transform, c)
    settled = bool(((before <= _SETTLED) | (minimum.status != SolveStatus.CONVERGED)).all())
    return replace(minimum, w=w, c=c, normal=select(better, after, normal)), factor if settled else None
