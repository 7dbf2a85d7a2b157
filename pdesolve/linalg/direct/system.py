"""What all direct solvers share: everything but the factorisation itself.

``prepare`` examines, equilibrates, shifts away a constant null space, factorises and estimates the condition number;
``substitute`` projects, solves, refines and judges by the backward error of the equilibrated system

    ω = |b - A x|_∞ / (|A|_∞ |x|_∞ + |b|_∞) .

A small ω says that x solves a system close to the given one; what that is worth the condition number has to say, since
ω is small for singular systems too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.checks import Examination, examine, guarded, largest_entry
from pdesolve.linalg.direct.condition import inverse_norm
from pdesolve.linalg.direct.equilibration import Matrix, equilibrated, sums
from pdesolve.linalg.direct.factor import AbstractFactor, TransposedFactor
from pdesolve.linalg.direct.null_space import constant_null_space, into_range, null_vectors, shifted, shortest
from pdesolve.linalg.linear_solver import LinearResult, NullSpace
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.status import SolveStatus

_TARGET = 1e-15  # a backward error that refinement does not improve
_REFINEMENTS = 2
Factorise = Callable[[Matrix], AbstractFactor]


@dataclass(frozen=True)
class Limits:
    """When the result of a direct solve counts as one.

    Arguments:
        backward_error: largest ω (default 1e-12).
        condition: largest estimate of the condition number of the equilibrated matrix (default 1e13: three digits are
            left); beyond 1/machine epsilon the matrix counts as singular, whatever the limit.
        compatibility: largest |ℓ·b|/|b|, ℓ the unit null vector of A^T after equilibration, that counts as round-off
            and is projected out (default 1e-10; at least a thousand times the machine epsilon of b).

    Raises:
        ValueError: a limit is not positive.
    """

    backward_error: float = 1e-12
    condition: float = 1e13
    compatibility: float = 1e-10

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class DirectState:
    """A factorised system.

    Arguments:
        matrix: R A C in float64.
        scales: diagonals of R and C, (*batch, n).
        factor: of R A C, shifted where there is a null space; None where nothing could be factorised.
        norms: |R A C|_∞ and |(R A C)^T|_∞, (*batch,).
        condition: estimate for R A C in the 1-norm, (*batch,).
        found: what is wrong with the matrix.
        null_space: of A.
        limits: when a result counts.
    """

    matrix: AbstractLinearOperator
    scales: tuple[Tensor, Tensor]
    factor: AbstractFactor | None
    norms: tuple[Tensor, Tensor]
    condition: Tensor
    found: Examination
    null_space: NullSpace | None
    limits: Limits

    @property
    def T(self) -> DirectState:
        """The system with A^T."""
        return replace(
            self,
            matrix=self.matrix.T,
            scales=self.scales[::-1],
            factor=None if self.factor is None else TransposedFactor(self.factor),
            norms=self.norms[::-1],
            null_space=None if self.null_space is None else self.null_space.T,
        )


def prepare(matrix: Matrix, factorise: Factorise, limits: Limits) -> DirectState:
    """All that is done once for a matrix.

    Arguments:
        matrix: A, square, in the user's type.
        factorise: gives the factor of an equilibrated float64 matrix.
        limits: when a result counts.
    """
    found = examine(matrix)
    constants = constant_null_space(matrix)
    free = constants.either & found.sound
    matrix = _sound_members(matrix.with_tensors([t.double() for t in matrix.tensors()]), found)
    if not bool(found.sound.any()):
        return _hopeless(matrix, found, limits)
    balanced, rows, columns = equilibrated(matrix)
    regular, unit = shifted(balanced, free)
    factor = factorise(regular)
    found = found.then(factor.status.to(matrix.device), "a pivot is zero or has the wrong sign")
    if not bool(found.sound.any()):
        return _hopeless(matrix, found, limits)
    null_space = None
    if bool(free.any()):
        null_space, certain = null_vectors(balanced, factor, unit, constants, (rows, columns))
        found = found.also(free & ~certain, SolveStatus.SINGULAR, "the null space is more than the constants")
    condition = sums(regular)[1].amax(-1) * inverse_norm(factor.solve, factor.solve_transposed, rows)
    row_sums, column_sums = sums(balanced)
    norms = row_sums.amax(-1), column_sums.amax(-1)
    found = judged(found, condition, limits)
    return DirectState(balanced, (rows, columns), factor, norms, condition, found, null_space, limits)


def compute(state: DirectState, b: Tensor) -> LinearResult:
    """Solve for right-hand sides (..., n), as ``AbstractLinearSolver.compute`` asks."""
    return guarded(b, lambda rhs: _compute(state, rhs))


def _compute(state: DirectState, b: Tensor) -> LinearResult:
    lead = torch.broadcast_shapes(b.shape[:-1], state.found.status.shape)
    b, status = b.expand(*lead, b.shape[-1]), state.found.status.expand(lead)
    stats: dict[str, object] = {"condition": state.condition, "detail": state.found.detail}
    if state.factor is None:
        return LinearResult(torch.zeros_like(b), status, stats)
    rhs, scale = _normalised(b.double() * state.scales[0])
    note, null_space, outside = "", state.null_space, torch.zeros(lead, dtype=torch.bool, device=b.device)
    if null_space is not None:
        rhs, ratio = into_range(rhs, null_space.left / state.scales[0])
        outside = ratio > max(state.limits.compatibility, 1e3 * torch.finfo(b.dtype).eps)
    y, error = substitute(state, rhs)
    x = y * state.scales[1]
    if null_space is not None:
        x = shortest(x, null_space)
        note = "constants are in the null space of the matrix or its transpose: the shortest solution is given"
    inaccurate = ~(error <= state.limits.backward_error)
    found = Examination(status, "; ".join(part for part in (state.found.detail, note) if part))
    found = found.also(outside, SolveStatus.INCOMPATIBLE, "the right-hand side is outside the range")
    found = found.also(inaccurate, SolveStatus.INACCURATE, f"backward error {_worst(error):.1e}")
    stats |= {"backward_error": error, "fill": state.factor.fill, "detail": found.detail}
    return LinearResult((x * scale).to(b.dtype), found.status, stats, null_space)


def substitute(state: DirectState, b: Tensor) -> tuple[Tensor, Tensor]:
    """y with R A C y = b, refined where that helps, and its backward error.

    Arguments:
        state: with a factor.
        b: (..., *batch, n), float64.
    """
    assert state.factor is not None
    y = state.factor.solve(b)
    residual, error = _residual(state, b, y)
    for _ in range(_REFINEMENTS):
        wanted = error > _TARGET
        if not bool(wanted.any()):
            break
        candidate = y + state.factor.solve(residual)
        new_residual, new_error = _residual(state, b, candidate)
        better = (wanted & (new_error < error)).unsqueeze(-1)
        if not bool(better.any()):
            break
        y, residual = torch.where(better, candidate, y), torch.where(better, new_residual, residual)
        error = torch.where(better.squeeze(-1), new_error, error)
    return y, error


def _residual(state: DirectState, b: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    residual = b - state.matrix.mv(y)
    size = state.norms[0] * largest_entry(y) + largest_entry(b)
    return residual, largest_entry(residual) / torch.where(size > 0, size, 1.0)


def _normalised(b: Tensor) -> tuple[Tensor, Tensor]:
    """b divided by a power of two such that its largest entry is about one."""
    largest = largest_entry(b).unsqueeze(-1)
    scale = torch.where(largest > 0, largest, 1.0).log2().floor().exp2()
    return b / scale, scale


def _sound_members(matrix: Matrix, found: Examination) -> Matrix:
    """The identity in place of faulty members, so that they cannot spoil the others."""
    if not isinstance(matrix, DenseOperator) or bool(found.sound.all()):
        return matrix
    unit = torch.eye(matrix.shape[0], dtype=matrix.dtype, device=matrix.device)
    return replace(matrix, matrix=torch.where(found.sound[..., None, None], matrix.matrix, unit))


def _hopeless(matrix: Matrix, found: Examination, limits: Limits) -> DirectState:
    batch = found.status.shape
    ones = torch.ones((*batch, matrix.shape[0]), dtype=torch.float64, device=matrix.device)
    unknown = torch.full(batch, torch.inf, dtype=torch.float64, device=matrix.device)
    return DirectState(matrix, (ones, ones), None, (unknown, unknown), unknown, found, None, limits)


def _worst(values: Tensor) -> float:
    """The largest, NaN as infinity; zero of an empty batch."""
    return float(values.nan_to_num(nan=torch.inf).max()) if values.numel() else 0.0


def judged(found: Examination, condition: Tensor, limits: Limits) -> Examination:
    """With a status where the estimate of the condition number leaves too few digits."""
    sentence = f"condition estimate {_worst(condition):.1e}"
    found = found.also(~(condition < 1.0 / torch.finfo(torch.float64).eps), SolveStatus.SINGULAR, sentence)
    return found.also(condition > limits.condition, SolveStatus.ILL_CONDITIONED, sentence)
