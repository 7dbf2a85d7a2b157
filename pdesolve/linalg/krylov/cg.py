"""Conjugate gradients."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.linalg.krylov.iteration import RUNNING, Sweep, dot, look, norm, require_limits, settle
from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner, Identity
from pdesolve.linalg.krylov.solve import KrylovState, prepare, solve
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.status import SolveStatus


@dataclass(frozen=True)
class CG(AbstractLinearSolver):
    """A x = b for symmetric positive definite A, preconditioned, in its flexible form.

    In exact arithmetic the error after k steps, in the norm sqrt(x^T A x), is the smallest that any polynomial of
    degree k in M⁻¹A reaches: at most 2 ((√κ - 1)/(√κ + 1))^k of the first, κ the condition number of M⁻¹A.

    Arguments:
        preconditioner: M, symmetric positive definite (default ``Identity()``).
        rtol: tolerance of |b - A x|/|b|, of the true residual (default 1e-10).
        max_steps: step cap (default 1000).

    Raises:
        ValueError: a limit that cannot be met.

    Notes:
        Statuses: ``STEP_CAP``; ``INDEFINITE`` where a direction with p^T A p <= 0 was met; ``BREAKDOWN`` where
        r^T M⁻¹ r <= 0, which no positive definite M gives; ``INACCURATE`` where round-off keeps the true residual above
        rtol, as it does below about machine epsilon times |A||x|/|b|. A constant null space is projected out.
        A and M are applied to all right-hand sides (..., n) together.

    Good values:
        ``CG(GeometricMultigrid())`` on structured grids, ``CG(AlgebraicMultigrid())`` on others, ``CG(Jacobi())`` for
        mass matrices and where rows differ in scale.

    Source:
        Hestenes & Stiefel, J. Res. NBS 49 (1952); Notay, *Flexible conjugate gradients*, SIAM J.
        Sci. Comput. 22 (2000).
    """

    preconditioner: AbstractPreconditioner = field(default_factory=Identity)
    rtol: float = 1e-10
    max_steps: int = 1000

    def __post_init__(self) -> None:
        require_limits(self.rtol, self.max_steps)

    def init(self, operator: AbstractLinearOperator) -> KrylovState:
        return prepare(operator, self.preconditioner)

    def compute(self, state: KrylovState, b: Tensor) -> LinearResult:
        return solve(state, b, _iterate, self.rtol, self.max_steps)

    def transpose(self, state: KrylovState) -> KrylovState:
        return state.T


# Differences from the textbook:
# 1. β = z₊·(r₊ - r)/(z·r), which allows an M that is not quite the same in every step (a cycle in float32); since
#    r₊ - r = -α A p no second residual is kept.
# 2. Members that are done have α = β = 0: their x stands still while the others go on.
def _iterate(system: KrylovState, b: Tensor, active: Tensor, tolerance: float, cap: int) -> Sweep:
    status = torch.where(active, RUNNING, int(SolveStatus.CONVERGED))
    iterations = torch.zeros_like(status)
    x, r = torch.zeros_like(b), b.clone()
    p = system.precondition(r)
    rz = dot(r, p)
    for step in range(cap):
        status = _unfit(status, rz)
        q = system.mv(p)
        pq = dot(p, q)
        status = settle(status, ~pq.isfinite().squeeze(-1), SolveStatus.NON_FINITE)
        status = settle(status, (pq <= 0).squeeze(-1), SolveStatus.INDEFINITE)
        running = (status == RUNNING).unsqueeze(-1)
        alpha = torch.where(running, rz / pq, 0.0)
        x.addcmul_(alpha, p)
        r.addcmul_(alpha, q, value=-1.0)
        iterations += status == RUNNING
        status = settle(status, (norm(r) <= tolerance).squeeze(-1), SolveStatus.CONVERGED)
        if look(step, b.device) and not bool((status == RUNNING).any()):
            break
        z = system.precondition(r)
        beta = torch.where(running, -alpha * dot(z, q) / rz, 0.0)
        rz = torch.where(running, dot(r, z), rz)
        p = p.mul_(beta).add_(z)
    return Sweep(x, settle(status, status == RUNNING, SolveStatus.STEP_CAP), iterations)


def _unfit(status: Tensor, rz: Tensor) -> Tensor:
    """M must be positive definite: r·M⁻¹r > 0."""
    status = settle(status, ~rz.isfinite().squeeze(-1), SolveStatus.NON_FINITE)
    return settle(status, (rz <= 0).squeeze(-1), SolveStatus.BREAKDOWN)
