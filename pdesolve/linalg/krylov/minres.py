"""Minimal residuals."""

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
class MINRES(AbstractLinearSolver):
    """A x = b for symmetric A, definite or not, preconditioned.

    Minimises the residual b - A x in the norm sqrt(r^T M⁻¹ r) over growing Krylov spaces; it never grows.

    Arguments:
        preconditioner: M, symmetric positive definite even where A is not (default ``Identity()``).
        rtol: tolerance of |b - A x|/|b|, of the true residual (default 1e-10).
        max_steps: step cap (default 1000).

    Raises:
        ValueError: a limit that cannot be met.

    Notes:
        Statuses: ``STEP_CAP``; ``BREAKDOWN`` where M is not positive definite or A is singular and b outside its range;
        ``INACCURATE`` where round-off keeps the true residual above rtol. A constant null space is projected out.

    Good values:
        ``MINRES(Jacobi())`` for shifted Laplacians; for saddle points a block diagonal M of definite blocks.

    Source:
        Paige & Saunders, SIAM J. Numer. Anal. 12 (1975); Elman, Silvester & Wathen, *Finite Elements and Fast Iterative
        Solvers*, algorithm 4.1.
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
# 1. The images A w of the search directions follow the same recurrence as w, so the residual itself is at hand and its
#    Euclidean norm is tested, not the M-norm that the rotations give.
# 2. Members that are done divide by infinity: their vectors become zero and stay finite.
def _iterate(system: KrylovState, b: Tensor, active: Tensor, tolerance: float, cap: int) -> Sweep:
    status = torch.where(active, RUNNING, int(SolveStatus.CONVERGED))
    iterations = torch.zeros_like(status)
    x, r, zero = torch.zeros_like(b), b.clone(), torch.zeros_like(b)
    v_old, v, w_old, w, image_old, image = zero, r.clone(), zero, zero, zero, zero
    z = system.precondition(v)
    squared = dot(z, v)
    status = _unfit(status, squared)
    gamma_old, gamma = torch.ones_like(squared), squared.clamp_min(0.0).sqrt()
    eta = gamma
    s_old = s = torch.zeros_like(gamma)
    c_old = c = torch.ones_like(gamma)
    for step in range(cap):
        z = z * _reciprocal(gamma, status)
        az = system.mv(z)
        delta = dot(az, z)
        v_new = az - (delta * _reciprocal(gamma, status)) * v - (gamma * _reciprocal(gamma_old, status)) * v_old
        z_new = system.precondition(v_new)
        squared = dot(z_new, v_new)
        gamma_new = squared.clamp_min(0.0).sqrt()
        rotated = c * delta - c_old * s * gamma
        length = (rotated.square() + gamma_new.square()).sqrt()
        status = settle(status, ~length.isfinite().squeeze(-1), SolveStatus.NON_FINITE)
        status = settle(status, (length == 0).squeeze(-1), SolveStatus.BREAKDOWN)
        shrink = _reciprocal(length, status)
        second, third = s * delta + c_old * c * gamma, s_old * gamma
        w_old, w = w, (z - third * w_old - second * w) * shrink
        image_old, image = image, (az - third * image_old - second * image) * shrink
        c_old, c, s_old, s = c, rotated * shrink, s, gamma_new * shrink
        running = (status == RUNNING).unsqueeze(-1)
        move = torch.where(running, c * eta, 0.0)
        x.addcmul_(move, w)
        r.addcmul_(move, image, value=-1.0)
        iterations += status == RUNNING
        eta = -s * eta
        status = settle(status, (norm(r) <= tolerance).squeeze(-1), SolveStatus.CONVERGED)
        status = _unfit(status, squared)
        if look(step, b.device) and not bool((status == RUNNING).any()):
            break
        v_old, v, z = v, v_new, z_new
        gamma_old, gamma = gamma, gamma_new
    return Sweep(x, settle(status, status == RUNNING, SolveStatus.STEP_CAP), iterations)


def _reciprocal(size: Tensor, status: Tensor) -> Tensor:
    """1/size where a member runs, zero elsewhere."""
    return torch.where((status == RUNNING).unsqueeze(-1) & (size != 0), size.reciprocal(), 0.0)


def _unfit(status: Tensor, squared: Tensor) -> Tensor:
    """v·M⁻¹v must be positive; zero before the tolerance is met means that the space is exhausted."""
    status = settle(status, ~squared.isfinite().squeeze(-1), SolveStatus.NON_FINITE)
    return settle(status, (squared <= 0).squeeze(-1), SolveStatus.BREAKDOWN)
