"""What all Krylov solvers share: examination, null space, scaling, the check of the true residual, statuses.

An iteration only ever sees unit right-hand sides in the range of A, and a mask of the members it may work on. What it
claims is checked: the residual that it carries along drifts away from b - A x, so b - A x is computed at the end, and
where the two disagree the iteration starts once more from there. Where entries are at hand every row is looked at too:
a row of size 1e12 makes |b| so large that |b - A x|/|b| is small before any other row is solved.

The residual is all that is promised. The condition number, which says what it is worth, is not estimated, and where A
is singular and b in its range one of the solutions is returned: direct solvers tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pdesolve.linalg.checks import Examination, examine, guarded
from pdesolve.linalg.direct.equilibration import sums
from pdesolve.linalg.krylov.iteration import Sweep, norm, without
from pdesolve.linalg.krylov.null_space import constants_of
from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner
from pdesolve.linalg.linear_solver import LinearResult, NullSpace
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.status import SolveStatus

_COMPATIBLE = 1e-10  # |ℓ·b|/|b| that counts as round-off, at least 1000 eps
_LEAST = 8.0  # machine epsilons: no smaller rtol is tried
_POWER_STEPS = 8  # for a lower bound of |A|
_SECOND_CHANCE = (SolveStatus.CONVERGED, SolveStatus.BREAKDOWN)


@dataclass(frozen=True, eq=False)
class KrylovState:
    """A system ready for iterations.

    Arguments:
        operator: A.
        preconditioner: M.
        memory: the state of M.
        found: what is wrong with A.
        null_space: of A, where the constants are in it.
        sizes: sums of magnitudes in rows and in columns, (*batch, n), where A has entries at hand; None elsewhere.
    """

    operator: AbstractLinearOperator
    preconditioner: AbstractPreconditioner
    memory: Any
    found: Examination
    null_space: NullSpace | None
    sizes: tuple[Tensor, Tensor] | None = None

    @property
    def T(self) -> KrylovState:
        """The system with A^T."""
        return replace(
            self,
            operator=self.operator.T,
            memory=None if self.memory is None else self.preconditioner.transpose(self.memory),
            null_space=None if self.null_space is None else self.null_space.T,
            sizes=None if self.sizes is None else self.sizes[::-1],
        )

    def precondition(self, r: Tensor) -> Tensor:
        """M⁻¹ r, orthogonal to the null space."""
        z = self.preconditioner.apply(self.memory, r)
        return z if self.null_space is None else without(self.null_space.right, z)

    def mv(self, x: Tensor) -> Tensor:
        """A x."""
        return self.operator.mv(x)


@runtime_checkable
class Freezable(Protocol):
    """An operator with a form that is faster where many products with the same tensors follow.

    It is symmetric by construction, so that needs no probing.
    """

    def frozen(self) -> AbstractLinearOperator: ...


# Called with the system, residuals (..., n), active members (...), tolerance and step cap.
Iteration = Callable[[KrylovState, Tensor, Tensor, float, int], Sweep]


def prepare(operator: AbstractLinearOperator, preconditioner: AbstractPreconditioner) -> KrylovState:
    """Everything that is done once for a matrix."""
    if isinstance(operator, Freezable):
        found = finite(operator)
        operator = operator.frozen()
    else:
        found = examine(operator)
    if not bool(found.sound.any()):
        return KrylovState(operator, preconditioner, None, found, None)
    sizes = sums(operator) if isinstance(operator, SparseOperator | DenseOperator) else None
    return KrylovState(operator, preconditioner, preconditioner.init(operator), found, constants_of(operator), sizes)


def finite(operator: AbstractLinearOperator) -> Examination:
    """Only that all numbers are finite."""
    bad = [i for i, tensor in enumerate(operator.tensors()) if not bool(tensor.isfinite().all())]
    sound = Examination(torch.full((), int(SolveStatus.CONVERGED), device=operator.device))
    if not bad:
        return sound
    return sound.also(sound.sound, SolveStatus.NON_FINITE, f"tensors()[{bad[0]}] holds NaN or Inf")


def solve(state: KrylovState, b: Tensor, iteration: Iteration, rtol: float, max_steps: int) -> LinearResult:
    """Run an iteration on b (..., n), check it, and give each member its status."""
    reachable = max(rtol, _LEAST * torch.finfo(b.dtype).eps)
    return guarded(b, lambda rhs: _solve(state, rhs, iteration, reachable, max_steps))


def _solve(state: KrylovState, b: Tensor, iteration: Iteration, rtol: float, max_steps: int) -> LinearResult:
    status = state.found.status.expand(b.shape[:-1]).clone()
    iterations = torch.zeros_like(status)
    stats: dict[str, Any] = {"detail": state.found.detail} if state.found.detail else {}
    if not bool(state.found.sound.any()):
        return LinearResult(torch.zeros_like(b), status, {**stats, "iterations": iterations})
    # A power of two scales without rounding; single precision preconditioners see numbers near one.
    size = b.abs().amax(-1, keepdim=True)
    scale = torch.where(size > 0, size, 1.0).log2().floor().exp2()
    unit = b / scale
    length = norm(unit)
    scale, unit = scale * torch.where(length > 0, length, 1.0), unit / torch.where(length > 0, length, 1.0)
    if state.null_space is not None:
        left = state.null_space.left
        tolerance = max(_COMPATIBLE, 1e3 * torch.finfo(b.dtype).eps)
        outside = ((left * unit).sum(-1).abs() > tolerance) & (status == SolveStatus.CONVERGED)
        status = torch.where(outside, int(SolveStatus.INCOMPATIBLE), status)
        unit = without(left, unit)
    active = (status == SolveStatus.CONVERGED) & (length.squeeze(-1) > 0)
    x, found, iterations, residual = _checked(state, unit, active, iteration, rtol, max_steps)
    status = torch.where(active, found, status)
    if state.null_space is not None:
        x = without(state.null_space.right, x)
    good = (status == SolveStatus.CONVERGED) | (status == SolveStatus.STEP_CAP)
    stats |= {"iterations": iterations, "relative_residual": residual}
    return LinearResult(torch.where(good.unsqueeze(-1), x * scale, 0.0), status, stats, state.null_space)


def _checked(
    state: KrylovState, b: Tensor, active: Tensor, iteration: Iteration, rtol: float, max_steps: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Solution, status, iterations and true relative residual of the active members."""
    first = iteration(state, b, active, rtol, max_steps)
    x, status, iterations = first.step, first.status, first.iterations
    r = b - state.mv(x)
    residual = norm(r).squeeze(-1)
    again = active & ~(residual <= rtol) & residual.isfinite() & (iterations < max_steps)
    again &= torch.isin(status, torch.tensor([int(s) for s in _SECOND_CHANCE], device=status.device))
    if bool(again.any()):
        second = iteration(state, r, again, rtol, max_steps - int(iterations[again].min()))
        x = torch.where(again.unsqueeze(-1), x + second.step, x)
        status = torch.where(again, second.status, status)
        iterations = torch.where(again, iterations + second.iterations, iterations)
        r = b - state.mv(x)
        residual = norm(r).squeeze(-1)
    met = residual <= rtol
    if not bool((met | ~active).all()):
        met = met | _at_round_off(state, x, residual, rtol)
    status = torch.where(active & met & _overruled(status), int(SolveStatus.CONVERGED), status)
    spoilt = ~met | _uneven(state, x, b, r, rtol)
    status = torch.where(active & spoilt & (status == SolveStatus.CONVERGED), int(SolveStatus.INACCURATE), status)
    return x, torch.where(active & ~residual.isfinite(), int(SolveStatus.NON_FINITE), status), iterations, residual


def _at_round_off(state: KrylovState, x: Tensor, residual: Tensor, rtol: float) -> Tensor:
    """Where |b - A x| is what rounding x alone makes of it, for b of length one.

    No x in this precision does better; the solution is backward stable. It still has to be good to sqrt(rtol).
    """
    v = torch.randn(x.shape[-1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x)
    v = v.expand(x.shape)
    for _ in range(_POWER_STEPS):
        v = state.mv(v / norm(v))
    floor = torch.finfo(x.dtype).eps * (norm(v) * norm(x)).squeeze(-1)
    return (residual <= floor) & (residual <= math.sqrt(rtol))


def _uneven(state: KrylovState, x: Tensor, b: Tensor, r: Tensor, rtol: float) -> Tensor:
    """Where a row is far from solved though |b - A x| is small: a few rows outweigh all others in b."""
    if state.sizes is None:
        return torch.zeros(x.shape[:-1], dtype=torch.bool, device=x.device)
    allowed = state.sizes[0] * x.abs().amax(-1, keepdim=True) + b.abs()
    return (r.abs() > math.sqrt(rtol) * allowed).any(-1)


def _overruled(status: Tensor) -> Tensor:
    """Statuses that a small true residual overrules: not those that say the matrix is not what CG needs."""
    return (status == SolveStatus.STEP_CAP) | (status == SolveStatus.BREAKDOWN)
