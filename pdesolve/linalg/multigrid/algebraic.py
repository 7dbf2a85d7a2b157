"""Algebraic multigrid as a preconditioner."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner
from pdesolve.linalg.multigrid.algebraic_setup import (
    AbstractCoarsening,
    AlgebraicHierarchy,
    AlgebraicLevel,
    RugeStuben,
    algebraic_hierarchy,
)
from pdesolve.linalg.multigrid.smoother import Chebyshev
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.assemble import sparse_matrix


@dataclass(frozen=True, eq=False)
class AlgebraicState:
    """A hierarchy and that of A^T, the same object where A is symmetric."""

    grids: AlgebraicHierarchy
    symmetric: bool


@dataclass(frozen=True)
class AlgebraicMultigrid(AbstractPreconditioner):
    """One V-cycle on a hierarchy that pyamg finds from the entries of A; for elliptic problems on any mesh.

    The hierarchy is built on the CPU; its matrices then lie on the device of A and the cycle runs there in torch, for
    all right-hand sides together.

    Arguments:
        coarsening: how coarse unknowns are found (default ``RugeStuben()``).
        smoother: sweeps before and after each coarse correction (default ``Chebyshev(2)``).
        dtype: of the cycle (default float64: entries of coarse matrices may range widely).

    Raises:
        TypeError: at ``init``, the operator has no entries at hand.
        ImportError: at ``init``, pyamg is not installed: pip install 'pdesolve[amg]'.

    Notes:
        Symmetric positive definite where A is, so CG may use it. For other A use FGMRES or BiCGStab; it helps them as
        long as convection does not dominate. Systems of several unknowns at each node want a coarsening of their own.
        The setup takes several times as long as a solve: keep the state for further right-hand sides.

    Good values:
        ``RugeStuben()`` for scalar problems, jumping coefficients too; ``SmoothedAggregation()`` takes less memory in
        three dimensions.

    Source:
        Bell, Olson, Schroder & Southworth, *PyAMG: Algebraic multigrid solvers in Python*, JOSS 8 (2023).
    """

    coarsening: AbstractCoarsening = field(default_factory=RugeStuben)
    smoother: Chebyshev = field(default_factory=Chebyshev)
    dtype: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        if self.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float32 or torch.float64, not {self.dtype}")

    def init(self, operator: AbstractLinearOperator) -> AlgebraicState:
        import scipy.sparse as sp

        matrix = sparse_matrix(operator)
        parts = (matrix.values.double(), matrix.pattern.columns, matrix.pattern.starts)
        csr = sp.csr_matrix(tuple(part.cpu().numpy() for part in parts), shape=matrix.shape)
        levels = self.coarsening.levels(csr, operator.symmetric)
        return AlgebraicState(algebraic_hierarchy(csr, levels, self.dtype, operator.device), operator.symmetric)

    def apply(self, state: AlgebraicState, r: Tensor) -> Tensor:
        columns = r.to(self.dtype).reshape(-1, r.shape[-1]).mT.contiguous()
        return self._cycle(state.grids, 0, columns).mT.to(r.dtype).reshape(r.shape)

    def transpose(self, state: AlgebraicState) -> AlgebraicState:
        return state if state.symmetric else AlgebraicState(state.grids.T, False)

    def _cycle(self, grids: AlgebraicHierarchy, depth: int, b: Tensor) -> Tensor:
        """x near A⁻¹ b on a level and below: (n, k) -> (n, k)."""
        if depth == len(grids.levels):
            return grids.inverse @ b
        level = grids.levels[depth]
        weights = self.smoother.weights(_SMOOTHED * level.largest, level.largest)
        x = weights[0] * level.inverse_diagonal * b
        for weight in weights[1:]:
            _sweep(level, b, x, weight)
        coarse = level.restriction @ (b - level.matrix @ x)
        x += level.prolongation @ self._cycle(grids, depth + 1, coarse)
        for weight in reversed(weights):
            _sweep(level, b, x, weight)
        return x


_SMOOTHED = 0.3  # part of the spectrum of D⁻¹A that is left to smoothing, as hypre does


def _sweep(level: AlgebraicLevel, b: Tensor, x: Tensor, weight: float) -> None:
    x.addcmul_(level.inverse_diagonal.expand_as(x), b - level.matrix @ x, value=weight)
