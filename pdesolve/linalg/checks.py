"""What is checked before and after every linear solve, whatever the solver.

``require_system`` raises for mistakes in the call. ``examine`` and ``guarded`` never raise: what is wrong with numbers
becomes a status, so that one bad member does not take the others along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.linear_solver import LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import DenseOperator, require_floating
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.status import SolveStatus

_ROUND_OFF = 1e3  # times machine epsilon: how far from symmetric an assembled matrix may be


@dataclass(frozen=True, eq=False)
class Examination:
    """What ``examine`` found.

    Arguments:
        status: ``SolveStatus`` codes, () or (*batch,) for a batch of matrices; ``CONVERGED`` is no fault.
        detail: the faults in words, the first of each kind; empty without one.
    """

    status: Tensor
    detail: str = ""

    @property
    def sound(self) -> Tensor:
        """Where nothing is wrong, the shape of ``status``."""
        return self.status == SolveStatus.CONVERGED

    def also(self, bad: Tensor, status: SolveStatus, detail: str) -> Examination:
        """With ``status`` where ``bad`` holds and nothing was found before."""
        return self.then(torch.where(bad, int(status), int(SolveStatus.CONVERGED)), detail)

    def then(self, status: Tensor, detail: str) -> Examination:
        """With the codes ``status`` where nothing was found before."""
        if not bool((self.sound & (status != SolveStatus.CONVERGED)).any()):
            return self
        told = "; ".join(part for part in (self.detail, detail) if part)
        return Examination(torch.where(self.sound, status, self.status), told)


def require_system(operator: AbstractLinearOperator, b: Tensor) -> None:
    """Raise unless A x = b is a system that can be posed.

    Raises:
        TypeError: integer, complex or half precision numbers, or b of another type than A.
        ValueError: A is not square or empty, b has another length, or lies on another device.
    """
    rows, columns = operator.shape
    if rows != columns:
        raise ValueError(f"the operator must be square, not {operator.shape}: solve the normal equations instead")
    if rows == 0:
        raise ValueError("the operator has no rows")
    require_floating("the operator", operator.tensors()[0])
    require_floating("b", b)
    if b.ndim == 0 or b.shape[-1] != rows:
        hint = "vectors lie along the last dimension, batches before it"
        raise ValueError(f"b must have shape (..., {rows}), not {tuple(b.shape)}: {hint}")
    if b.dtype != operator.dtype:
        raise TypeError(f"b is {b.dtype}, the operator {operator.dtype}: convert one of them")
    if b.device != operator.device:
        raise ValueError(f"b lies on {b.device}, the operator on {operator.device}: move one of them")


def examine(operator: AbstractLinearOperator) -> Examination:
    """Finite numbers, no empty rows or columns, symmetry and positive diagonal where declared.

    Rows, columns and the diagonal are looked at where entries are at hand (``DenseOperator``, ``SparseOperator``);
    other operators are probed with random vectors. Definiteness is only refuted here, never proved: factorisations
    and Krylov solvers prove or refute it later.
    """
    batch = operator.matrix.shape[:-2] if isinstance(operator, DenseOperator) else ()
    found = Examination(torch.full(batch, int(SolveStatus.CONVERGED), device=operator.device))
    found = _finite(operator, found)
    if not bool(found.sound.any()):
        return found
    if isinstance(operator, DenseOperator):
        return _entries(operator, found, operator.matrix.abs().amax(-1), operator.matrix.abs().amax(-2))
    if isinstance(operator, SparseOperator):
        return _entries(operator, found, *largest(operator))
    return _probed(operator, found)


def largest(operator: SparseOperator) -> tuple[Tensor, Tensor]:
    """Largest magnitude in each row (m,) and in each column (n,); the same twice where symmetry is declared."""
    rows = _row_maxima(operator)
    return rows, rows if operator.symmetric else _row_maxima(operator.transposed())


def _row_maxima(operator: SparseOperator) -> Tensor:
    # By segments: a scatter needs 64-bit indices, as large as the values.
    out: Tensor = torch.segment_reduce(operator.values.abs(), "max", offsets=operator.pattern.starts, initial=0.0)
    return out


def guarded(b: Tensor, solve: Callable[[Tensor], LinearResult]) -> LinearResult:
    """``solve(b)`` such that NaN neither enters nor leaves, and b = 0 gives exactly 0.

    Arguments:
        b: (..., n); members with NaN or Inf are solved as zero and get the status ``NON_FINITE``.
        solve: any function that gives one status for each right-hand side.
    """
    every = all_finite(b)
    sound = b.new_ones(b.shape[:-1], dtype=torch.bool) if every else b.isfinite().all(-1)
    result = solve(b if every else torch.where(sound.unsqueeze(-1), b, 0.0))
    value, status, stats = result.value, result.status, result.stats
    if not every:
        sound = sound.expand(status.shape)
        status = torch.where(sound, status, int(SolveStatus.NON_FINITE))
        stats = {**stats, "detail": _told(stats, f"{_first(b, ~b.isfinite(), 'b')}")}
    kept = sound & (largest_entry(b) != 0)
    if not all_finite(value):
        finite = value.isfinite().all(-1)
        status = torch.where(finite | (status != SolveStatus.CONVERGED), status, int(SolveStatus.NON_FINITE))
        stats = {**stats, "detail": _told(stats, "the solution overflows")}
        kept = kept & finite
    if not bool(kept.all()):
        value = torch.where(kept.unsqueeze(-1), value, 0.0)
    return replace(result, value=value, status=status, stats=stats)


def all_finite(x: Tensor) -> bool:
    """Whether NaN and Inf are absent: a sum shows either; one that overflows by itself is looked at entry by entry."""
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


def largest_entry(x: Tensor) -> Tensor:
    """max |x| along the last dimension, (...), without a copy of |x|."""
    return torch.maximum(x.amax(-1), -x.amin(-1))


def _told(stats: dict[str, object], sentence: str) -> str:
    return "; ".join(str(part) for part in (stats.get("detail"), sentence) if part)


def _first(tensor: Tensor, bad: Tensor, name: str) -> str:
    index = tuple(int(i) for i in bad.nonzero()[0])
    place = ", ".join(map(str, index))
    return f"{name}[{place}] is {float(tensor[index])}"


def _finite(operator: AbstractLinearOperator, found: Examination) -> Examination:
    for i, tensor in enumerate(operator.tensors()):
        bad = ~tensor.isfinite()
        if not bool(bad.any()):
            continue
        if isinstance(operator, DenseOperator):
            return found.also(bad.any(-1).any(-1), SolveStatus.NON_FINITE, _first(tensor, bad, "matrix"))
        detail = _first(tensor, bad, "values" if isinstance(operator, SparseOperator) else f"tensors()[{i}]")
        if isinstance(operator, SparseOperator):
            place = int(bad.nonzero()[0])
            row, column = int(operator.pattern.rows[place]), int(operator.pattern.columns[place])
            detail = f"{detail}, at row {row}, column {column}"
        return found.also(bad.any(), SolveStatus.NON_FINITE, detail)
    return found


def _entries(
    operator: DenseOperator | SparseOperator, found: Examination, rows: Tensor, columns: Tensor
) -> Examination:
    for name, size in (("row", rows), ("column", columns)):
        sentence = f"{name} {_last(size == 0)} is empty"
        found = found.also((size == 0).any(-1), SolveStatus.SINGULAR, sentence)
    if operator.symmetric:
        gap = _asymmetry(operator)
        tolerance = _ROUND_OFF * torch.finfo(operator.dtype).eps
        bound = tolerance * torch.maximum(rows, columns)
        uneven = gap > bound
        found = found.also(
            uneven.any(-1), SolveStatus.UNSYMMETRIC, f"row {_last(uneven)} differs from column {_last(uneven)}"
        )
    if operator.positive_definite:
        negative = operator.diagonal() <= 0
        found = found.also(
            negative.any(-1), SolveStatus.INDEFINITE, f"diagonal entry {_last(negative)} is not positive"
        )
    return found


def _last(bad: Tensor) -> int:
    """Index along the last dimension of the first true entry; -1 without one."""
    places = bad.nonzero()
    return int(places[0, -1]) if places.numel() else -1


def _asymmetry(operator: DenseOperator | SparseOperator) -> Tensor:
    """Largest |a_ij - a_ji| of each row, (*batch, n)."""
    if isinstance(operator, DenseOperator):
        return (operator.matrix - operator.matrix.mT).abs().amax(-1)
    other = operator.transposed()
    if operator.pattern.symmetric:
        difference = replace(other, values=other.values.sub_(operator.values))  # its own copy: nothing else reads it
    else:
        rows = torch.cat([operator.pattern.rows, other.pattern.rows])
        columns = torch.cat([operator.pattern.columns, other.pattern.columns])
        values = torch.cat([operator.values, -other.values])
        difference = SparseOperator.from_triplets(rows, columns, values, operator.shape)
    return _row_maxima(difference)


def _probed(operator: AbstractLinearOperator, found: Examination) -> Examination:
    """u·Av against v·Au, and u·Au > 0, for random u, v: what is declared falsely fails almost surely."""
    if not operator.symmetric:
        return found
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(2, operator.shape[1], generator=generator, dtype=torch.float64)).to(operator.device).unbind()
    u, v = u.to(operator.dtype), v.to(operator.dtype)
    au, av = operator.mv(u), operator.mv(v)  # (*batch, n)
    tolerance = _ROUND_OFF * torch.finfo(operator.dtype).eps
    gap = ((u * av).sum(-1) - (v * au).sum(-1)).abs()
    size = u.norm() * torch.linalg.vector_norm(av, dim=-1) + v.norm() * torch.linalg.vector_norm(au, dim=-1)
    found = Examination(found.status.expand(gap.shape), found.detail)
    found = found.also(~(gap <= tolerance * size), SolveStatus.UNSYMMETRIC, "u·Av and v·Au differ")
    if operator.positive_definite:
        lost = ((u * au).sum(-1) <= 0) | ((v * av).sum(-1) <= 0)
        found = found.also(lost, SolveStatus.INDEFINITE, "a vector with u·Au <= 0 was found")
    return found
