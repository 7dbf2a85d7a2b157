"""Direct solver for batches of symmetric positive definite block-sparse matrices: coupled experts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.block_cholesky import BlockCholesky
from pdesolve.linalg.checks import Examination
from pdesolve.linalg.direct.condition import inverse_norm
from pdesolve.linalg.direct.factor import AbstractFactor
from pdesolve.linalg.direct.memory import require_memory
from pdesolve.linalg.direct.system import DEFAULT_LIMITS, DirectState, Limits, compute, judged
from pdesolve.linalg.elimination import plan
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult
from pdesolve.linalg.operators.abstract import AbstractLinearOperator, TransposedOperator
from pdesolve.linalg.operators.block_sparse import BlockSparseOperator
from pdesolve.status import SolveStatus

_ROUND_OFF = 1e3  # times machine epsilon: how far from symmetric a diagonal block may be


@dataclass(frozen=True)
class BlockSchur(AbstractLinearSolver):
    """A = L Lᵀ block by block: independent sets of blocks are eliminated together, leaving Schur complements.

    The same elimination as in the solves of coupled experts (``BlockCholesky``), with a status for every member of a
    batch, gradients through ``linear_solve``, and the checks of every direct solver. It runs on the device of the
    blocks. A chain of P blocks takes log₂ P rounds of batched dense operations.

    Arguments:
        limits: when a result counts (default ``Limits()``).

    Raises:
        TypeError: the operator is not a ``BlockSparseOperator``.
        ValueError: the operator is not declared positive definite.
        MemoryError: the blocks with fill-in would not fit; names the remedy.

    Notes:
        Works in float64. Only definite matrices: pivots are never exchanged between blocks. Fill-in of a plane grid of
        patches grows like P log P blocks, of a solid one like P^(4/3).

    Good values: 2 to 1000 blocks of 8 to 256 unknowns; one block alone is ``DenseLU``'s business.

    Source: George & Liu, *Computer Solution of Large Sparse Positive Definite Systems* (1981), chapter 5.
    """

    limits: Limits = DEFAULT_LIMITS

    def init(self, operator: AbstractLinearOperator) -> DirectState:
        if isinstance(operator, TransposedOperator):
            operator = operator.operator  # definite, so symmetric
        if not isinstance(operator, BlockSparseOperator):
            name = type(operator).__name__
            raise TypeError(f"BlockSchur solves with a BlockSparseOperator, not a {name}: use default_solver(operator)")
        if not operator.positive_definite:
            raise ValueError("BlockSchur needs positive_definite=True: use SuperLU or DenseLU for other block matrices")
        p, n = operator.diagonal.shape[-3], operator.diagonal.shape[-1]
        stored = operator.diagonal[..., 0, 0, 0].numel() * (p + plan(p, operator.edges).n_slots) * n**2
        require_memory(3 * 8.0 * stored, "the blocks with their fill-in", operator.device)
        return _prepared(operator.with_tensors([t.double() for t in operator.tensors()]), operator, self.limits)

    def compute(self, state: DirectState, b: Tensor) -> LinearResult:
        return compute(state, b)

    def transpose(self, state: DirectState) -> DirectState:
        return state.T


class _BlockFactor(AbstractFactor):
    def __init__(self, operator: BlockSparseOperator) -> None:
        self.operator, self.factor = operator, BlockCholesky.factorise(operator.blocks)
        failed = self.factor.failed.any(-1)
        self.status = torch.where(failed, int(SolveStatus.INDEFINITE), int(SolveStatus.CONVERGED))
        self.fill = sum(step.factor.numel() + step.panels.numel() for step in self.factor.rounds)

    def solve(self, b: Tensor) -> Tensor:
        return self.factor.solve(self.operator.parted(b)).flatten(-2)

    def solve_transposed(self, b: Tensor) -> Tensor:
        return self.solve(b)


def _prepared(matrix: BlockSparseOperator, given: BlockSparseOperator, limits: Limits) -> DirectState:
    """The matrix with a diagonal of magnitude one, its factor, and what was found."""
    found = _examined(matrix, torch.finfo(given.dtype).eps)
    matrix = _sound(matrix, found)
    scale = matrix.diagonal.diagonal(dim1=-2, dim2=-1).log2().mul(-0.5).round().exp2()  # (*batch, P, N)
    balanced = _scaled(matrix, scale)
    factor = _BlockFactor(balanced)
    found = found.then(factor.status, "a pivot is not positive")
    sums = balanced.with_tensors([t.abs() for t in balanced.tensors()]).mv(torch.ones_like(scale).flatten(-2))
    norm = sums.amax(-1)
    condition = norm * inverse_norm(factor.solve, factor.solve_transposed, sums)
    condition = torch.where(found.sound, condition, 1.0)
    found = judged(found, condition, limits)
    flat = scale.flatten(-2)
    return DirectState(balanced, (flat, flat), factor, (norm, norm), condition, found, None, limits)


def _examined(matrix: BlockSparseOperator, eps: float) -> Examination:
    """Finite, symmetric and of positive diagonal, each member by itself."""
    d, c = matrix.diagonal, matrix.coupling
    found = Examination(torch.full(d.shape[:-3], int(SolveStatus.CONVERGED), device=d.device))
    finite = d.isfinite().flatten(-3).all(-1) & c.isfinite().flatten(-3).all(-1)
    found = found.also(~finite, SolveStatus.NON_FINITE, "a block holds NaN or Inf")
    size = d.diagonal(dim1=-2, dim2=-1).abs().sqrt()  # of a definite matrix |a_ij| < size_i size_j, whatever the units
    uneven = (d - d.mT).abs() > _ROUND_OFF * eps * size.unsqueeze(-1) * size.unsqueeze(-2)
    found = found.also(uneven.flatten(-3).any(-1), SolveStatus.UNSYMMETRIC, "a diagonal block is not symmetric")
    negative = (d.diagonal(dim1=-2, dim2=-1) <= 0).flatten(-2).any(-1)
    return found.also(negative, SolveStatus.INDEFINITE, "an entry of the diagonal is not positive")


def _sound(matrix: BlockSparseOperator, found: Examination) -> BlockSparseOperator:
    """The identity in place of faulty members."""
    bad = ~found.sound[..., None, None, None]
    unit = torch.eye(matrix.diagonal.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return replace(
        matrix,
        diagonal=torch.where(bad, unit, matrix.diagonal),
        coupling=torch.where(bad, 0.0, matrix.coupling),
    )


def _scaled(matrix: BlockSparseOperator, scale: Tensor) -> BlockSparseOperator:
    """diag(scale) A diag(scale), scale (*batch, P, N)."""
    rows, columns = scale.unsqueeze(-1), scale.unsqueeze(-2)
    a, b = ([edge[side] for edge in matrix.edges] for side in (0, 1))
    return replace(
        matrix,
        diagonal=rows * matrix.diagonal * columns,
        coupling=rows[..., a, :, :] * matrix.coupling * columns[..., b, :, :],
    )
