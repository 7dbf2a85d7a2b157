"""The derivative of a constrained minimum, by the conditions of its active set.

With A the rows that hold as equations, b their bounds and y their multipliers,

    ∇ cost(w, θ) + C_Aᵀy = 0,    C_A w = b

determine (w, y) near the minimum as long as A stays what it is. A cotangent v of w pulls back to

    [H C_Aᵀ; C_A 0] [x; μ] = [v; 0],    θ̄ = -∂/∂θ(∇ cost · x),    C̄ = -(y xᵀ + μ wᵀ),    b̄ = μ

with the full Hessian H; constraints are linear and have none. Where H is not positive definite on the null space of
C_A, the Gauss-Newton matrix takes its place. Where an active row has no multiplier the derivative differs from side to
side (a kink): this is then the one that keeps the row active.

Source: Amos & Kolter, *OptNet*, ICML 2017, equation 6; Fiacco, *Introduction to Sensitivity and Stability*, ch. 3.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pdesolve.nonlinear.active_set import ActiveSet
from pdesolve.nonlinear.constrained import Shape
from pdesolve.nonlinear.constraints import joined, parted
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.minimise import Minimum
from pdesolve.nonlinear.rows import times
from pdesolve.status import SolveStatus

_log = logging.getLogger(__name__)


def with_gradient(problem: LeastSquares, minimum: Minimum) -> Tensor:
    """``minimum.w`` with the gradient to ``problem.tensors()``, of a ``memberwise`` problem; failed members carry none.

    First order, in reverse mode; forward mode raises.
    """
    w: Tensor = _Constrained.apply(problem.detached(), minimum, *problem.tensors())  # type: ignore[no-untyped-call]
    return w


class _Constrained(torch.autograd.Function):
    """The formulas of the module's head."""

    @staticmethod
    def forward(ctx: Any, problem: LeastSquares, minimum: Minimum, *tensors: Tensor) -> Tensor:
        ctx.problem, ctx.minimum = problem, minimum
        return minimum.w.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        problem, minimum = ctx.problem, ctx.minimum
        tensors, needed = problem.tensors(), ctx.needs_input_grad[2:]
        good = minimum.status == SolveStatus.CONVERGED
        if not bool(good.any()):
            return (None, None, *(torch.zeros_like(t) for t in tensors))
        adjoint = _adjoint(minimum, torch.where(good.unsqueeze(-1), cotangent, 0.0), good)
        bare = replace(problem, constraints=())
        w = torch.where(good.unsqueeze(-1), minimum.w.detach(), 0.0)
        grads = bare.pullback(w, -adjoint.x, good=good) + _of_constraints(problem, minimum, adjoint, w)
        reduced = [
            g.sum_to_size(t.shape) if want and g is not None else None
            for g, t, want in zip(grads, tensors, needed, strict=True)
        ]
        return (None, None, *reduced)


@dataclass(frozen=True, eq=False)
class _Adjoint:
    """x, (batch, patch, N), and μ, (batch, member, row)."""

    x: Tensor
    mu: Tensor


def _adjoint(minimum: Minimum, cotangent: Tensor, good: Tensor) -> _Adjoint:
    """Solve the system of the head, in the solver's unknowns c, w = T c, scaled by the Gauss-Newton factor L."""
    problem, transform, held = minimum.problem, minimum.transform, minimum.held
    assert held is not None
    shape = Shape.of(problem)
    member = good.all(1, keepdim=True) if shape.joint else good
    gram = shape.matrix(minimum.normal.gram)
    hessian = shape.matrix(problem.hessian(minimum.c, minimum.normal.gram))
    n = gram.shape[-1]
    identity = torch.eye(n, dtype=gram.dtype, device=gram.device)
    gram, hessian = (torch.where(member[..., None, None], t, identity) for t in (gram, hessian))
    factor, _ = torch.linalg.cholesky_ex(gram)
    matrix, *_ = joined(problem.constraints, shape.patches, shape.joint)
    matrix = torch.where(member[..., None, None], matrix, 0.0)
    unit = torch.linalg.solve_triangular(factor, matrix.mT, upper=False).mT
    length = torch.linalg.vector_norm(unit, dim=-1)
    length = torch.where(length > 0.0, length, 1.0)
    active = ActiveSet.of(unit / length.unsqueeze(-1), (held.side != 0) & member.unsqueeze(-1))
    v = cotangent if transform is None else times(transform.mT, cotangent)
    v = torch.linalg.solve_triangular(factor, shape.flat(v).unsqueeze(-1), upper=False).squeeze(-1)
    scaled = _two_sided(factor, hessian)
    projector = active.without(identity.expand(gram.shape))
    reduced, info = torch.linalg.cholesky_ex(projector @ scaled @ projector + identity - projector)
    indefinite = info != 0
    if bool(indefinite.any()):
        _log.info("Gauss-Newton adjoint for %d members: their reduced Hessian is not positive", int(indefinite.sum()))
        scaled = torch.where(indefinite[..., None, None], identity, scaled)
        reduced = torch.where(indefinite[..., None, None], identity, reduced)
    free = active.without(v.unsqueeze(-2)).squeeze(-2)
    z = torch.cholesky_solve(free.unsqueeze(-1), reduced).squeeze(-1)
    mu = active.multipliers(times(scaled, z) - v) / length
    x = shape.unflat(torch.linalg.solve_triangular(factor.mT, z.unsqueeze(-1), upper=True).squeeze(-1))
    return _Adjoint(x if transform is None else times(transform, x), mu)


def _two_sided(factor: Tensor, matrix: Tensor) -> Tensor:
    """L⁻¹ M L⁻ᵀ."""
    half = torch.linalg.solve_triangular(factor, matrix, upper=False)
    whole: Tensor = torch.linalg.solve_triangular(factor, half.mT, upper=False).mT
    return whole


def _of_constraints(problem: LeastSquares, minimum: Minimum, adjoint: _Adjoint, w: Tensor) -> list[Tensor]:
    """Gradients of (C, lower, upper) of each block."""
    held = minimum.held
    assert held is not None
    y = parted(problem.constraints, torch.nan_to_num(held.multipliers))
    mu, side = parted(problem.constraints, adjoint.mu), parted(problem.constraints, held.side)
    found = []
    for block, force, change, where in zip(problem.constraints, y, mu, side, strict=True):
        batch, members, _ = block.lower.shape
        x, at = (t.reshape(batch, members, 1, -1) for t in (adjoint.x, w))
        found.append(-(force.unsqueeze(-1) * x + change.unsqueeze(-1) * at))
        found += [torch.where(where < 0, change, 0.0), torch.where(where > 0, change, 0.0)]
    return found
