"""Flexible generalised minimal residuals."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from pdesolve.linalg.krylov.iteration import RUNNING, Sweep, look, norm, require_limits, settle
from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner, Identity
from pdesolve.linalg.krylov.solve import KrylovState, prepare, solve
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.status import SolveStatus

_STALLED = 1.0 - 1e-6  # a restart that reduces the residual by less makes no progress


@dataclass(frozen=True)
class FGMRES(AbstractLinearSolver):
    """A x = b for any square A, preconditioned from the right by an M that may differ in every step.

    Minimises |b - A x| over x in span(z₁, …, z_k), z_j = M⁻¹ v_j, v an orthonormal basis; after ``restart`` steps it
    starts again from the x found.

    Arguments:
        preconditioner: M (default ``Identity()``).
        rtol: tolerance of |b - A x|/|b|, of the true residual (default 1e-10).
        max_steps: step cap, restarts included (default 1000).
        restart: steps between restarts, m (default 50); 2 m + 1 vectors are kept.

    Raises:
        ValueError: a limit that cannot be met.

    Notes:
        Statuses: ``STEP_CAP``; ``BREAKDOWN`` where a whole cycle of ``restart`` steps makes no progress (raise
        ``restart``) or A is singular; ``INACCURATE`` where round-off keeps the true residual above rtol.

    Good values:
        restart 30 to 100; with a multigrid preconditioner 20 is plenty.

    Source:
        Saad, *A flexible inner-outer preconditioned GMRES algorithm*, SIAM J. Sci. Comput. 14 (1993).
    """

    preconditioner: AbstractPreconditioner = field(default_factory=Identity)
    rtol: float = 1e-10
    max_steps: int = 1000
    restart: int = 50

    def __post_init__(self) -> None:
        require_limits(self.rtol, self.max_steps)
        if self.restart < 1:
            raise ValueError(f"restart must be at least 1, not {self.restart}")

    def init(self, operator: AbstractLinearOperator) -> KrylovState:
        return prepare(operator, self.preconditioner)

    def compute(self, state: KrylovState, b: Tensor) -> LinearResult:
        return solve(state, b, partial(_iterate, self.restart), self.rtol, self.max_steps)

    def transpose(self, state: KrylovState) -> KrylovState:
        return state.T


def _iterate(restart: int, system: KrylovState, b: Tensor, active: Tensor, tolerance: float, cap: int) -> Sweep:
    status = torch.where(active, RUNNING, int(SolveStatus.CONVERGED))
    iterations = torch.zeros_like(status)
    x, r = torch.zeros_like(b), b
    before = norm(r).squeeze(-1)
    done = 0
    while done < cap:
        steps = min(restart, cap - done)
        move, taken = _cycle(system, r, status == RUNNING, tolerance, steps)
        x = torch.where((status == RUNNING).unsqueeze(-1), x + move, x)
        iterations += taken
        done += steps
        r = b - system.mv(x)  # the true residual: restarts do not drift
        after = norm(r).squeeze(-1)
        status = settle(status, ~after.isfinite(), SolveStatus.NON_FINITE)
        status = settle(status, after <= tolerance, SolveStatus.CONVERGED)
        status = settle(status, after > _STALLED * before, SolveStatus.BREAKDOWN)
        if not bool((status == RUNNING).any()):
            break
        before = after
    return Sweep(x, settle(status, status == RUNNING, SolveStatus.STEP_CAP), iterations)


# A member that is done gets a unit column in H and nothing on the right-hand side, so the triangular solve at the end
# gives it a zero coefficient there and one code serves all members.
def _cycle(system: KrylovState, r: Tensor, running: Tensor, tolerance: float, steps: int) -> tuple[Tensor, Tensor]:
    """One cycle from residuals r (..., n): the correction (..., n) and the steps taken (...)."""
    batch = r.shape[:-1]
    size = norm(r)
    basis = r.new_empty(*batch, steps + 1, r.shape[-1])
    images = r.new_empty(*batch, steps, r.shape[-1])
    basis[..., 0, :] = torch.where(running.unsqueeze(-1) & (size > 0), r / size, 0.0)
    upper = torch.eye(steps, dtype=r.dtype, device=r.device).expand(*batch, steps, steps).clone()
    right = torch.zeros(*batch, steps, dtype=r.dtype, device=r.device)
    cosines: list[Tensor] = []
    sines: list[Tensor] = []
    rest = torch.where(running, size.squeeze(-1), 0.0)
    taken = torch.zeros(batch, dtype=torch.int64, device=r.device)
    for j in range(steps):
        images[..., j, :] = system.precondition(basis[..., j, :])
        w, column = _orthogonalised(system.mv(images[..., j, :]), basis[..., : j + 1, :])
        length = norm(w)
        for i, (c, s) in enumerate(zip(cosines, sines, strict=True)):
            above, below = column[..., i], column[..., i + 1]
            column[..., i], column[..., i + 1] = c * above + s * below, c * below - s * above
        radius = torch.hypot(column[..., j], length.squeeze(-1))
        usable = running & (radius > 0)
        c = torch.where(usable, column[..., j] / radius, 1.0)
        s = torch.where(usable, length.squeeze(-1) / radius, 0.0)
        cosines.append(c)
        sines.append(s)
        column[..., j] = radius
        upper[..., : j + 1, j] = torch.where(usable.unsqueeze(-1), column, upper[..., : j + 1, j])
        right[..., j] = torch.where(usable, c * rest, 0.0)
        rest = torch.where(usable, -s * rest, rest)
        taken += running
        # length = 0 ends the space: the solution lies in it.
        running = usable & (rest.abs() > tolerance) & (length.squeeze(-1) > 0)
        if look(j, r.device) and not bool(running.any()):
            break
        basis[..., j + 1, :] = torch.where(running.unsqueeze(-1), w / length, 0.0)
    used = j + 1
    weights = torch.linalg.solve_triangular(upper[..., :used, :used], right[..., :used, None], upper=True)
    return torch.einsum("...k,...kn->...n", weights.squeeze(-1), images[..., :used, :]), taken


def _orthogonalised(w: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """w made orthogonal to the rows of basis (..., k, n), and its coefficients (..., k): Gram-Schmidt, twice."""
    total = torch.zeros(basis.shape[:-1], dtype=w.dtype, device=w.device)
    for _ in range(2):
        along = torch.einsum("...kn,...n->...k", basis, w)
        w = w - torch.einsum("...k,...kn->...n", along, basis)
        total = total + along
    return w, total
