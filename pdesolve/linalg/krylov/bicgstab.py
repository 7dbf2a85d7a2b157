"""Stabilised bi-conjugate gradients."""

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
class BiCGStab(AbstractLinearSolver):
    """A x = b for any square A, preconditioned from the right, with short recurrences.

    Two products with A and M⁻¹ in each step and eight vectors in all, however many steps. Where it breaks down
    ``FGMRES`` does not.

    Arguments:
        preconditioner: M (default ``Identity()``).
        rtol: tolerance of |b - A x|/|b|, of the true residual (default 1e-10).
        max_steps: step cap (default 1000).

    Raises:
        ValueError: a limit that cannot be met.

    Notes:
        Statuses: ``STEP_CAP``; ``BREAKDOWN`` where a denominator vanishes, after one new start; ``INACCURATE`` where
        the recursive residual drifts away from the true one, after one new start.

    Good values:
        Convection with ``Jacobi()`` at moderate cell Péclet numbers. Prefer ``FGMRES`` where memory allows.

    Source:
        van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992).
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


def _iterate(system: KrylovState, b: Tensor, active: Tensor, tolerance: float, cap: int) -> Sweep:
    status = torch.where(active, RUNNING, int(SolveStatus.CONVERGED))
    iterations = torch.zeros_like(status)
    x, r, shadow = torch.zeros_like(b), b.clone(), b.clone()
    p, rho = r.clone(), dot(shadow, r)
    for step in range(cap):
        towards = system.precondition(p)
        v = system.mv(towards)
        alpha, status = _quotient(rho, dot(shadow, v), norm(shadow) * norm(v), status)
        x.addcmul_(alpha, towards)
        r.addcmul_(alpha, v, value=-1.0)
        iterations += status == RUNNING
        status = settle(status, (norm(r) <= tolerance).squeeze(-1), SolveStatus.CONVERGED)
        across = system.precondition(r)
        t = system.mv(across)
        omega, status = _quotient(dot(t, r), dot(t, t), norm(t) * norm(r), status)
        x.addcmul_(omega, across)
        r.addcmul_(omega, t, value=-1.0)
        status = settle(status, (norm(r) <= tolerance).squeeze(-1), SolveStatus.CONVERGED)
        if look(step, b.device) and not bool((status == RUNNING).any()):
            break
        rho_new = dot(shadow, r)
        ratio, status = _quotient(rho_new * alpha, rho * omega, torch.zeros_like(rho), status)
        p = (p - omega * v) * ratio + r
        rho = rho_new
    return Sweep(x, settle(status, status == RUNNING, SolveStatus.STEP_CAP), iterations)


def _quotient(above: Tensor, below: Tensor, size: Tensor, status: Tensor) -> tuple[Tensor, Tensor]:
    """above/below where a member runs, zero elsewhere; a breakdown where ``below`` is round-off of ``size``."""
    status = settle(status, ~(above.isfinite() & below.isfinite()).squeeze(-1), SolveStatus.NON_FINITE)
    floor = torch.finfo(below.dtype).eps * size
    status = settle(status, (below.abs() <= floor).squeeze(-1), SolveStatus.BREAKDOWN)
    return torch.where((status == RUNNING).unsqueeze(-1), above / below, 0.0), status
