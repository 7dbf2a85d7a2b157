"""Hierarchies of algebraic multigrid, from pyamg, as torch tensors."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.optional import OptionalPackage

PYAMG = OptionalPackage("pyamg", ("pyamg",), (5, 0), "pip install 'pdesolve[amg]'")
_DIRECT = 300  # unknowns that are solved by a dense inverse


class AbstractCoarsening(abc.ABC):
    """How coarse unknowns are found."""

    @abc.abstractmethod
    def levels(self, matrix: Any, symmetric: bool) -> list[Any]:
        """pyamg's levels with ``A``, ``P`` and ``R``, from the finest.

        Arguments:
            matrix: SciPy CSR, float64.
            symmetric: whether A = A^T.
        """


@dataclass(frozen=True)
class RugeStuben(AbstractCoarsening):
    """Classical coarsening: coarse unknowns are some of the fine ones, interpolation follows strong couplings.

    With the second pass, which gives strongly coupled fine neighbours a coarse one in common: where coefficients jump
    from cell to cell by 1e6 that takes 16 steps of CG instead of 57.

    Arguments:
        threshold: θ, j is strongly coupled to i where -a_ij >= θ max_k -a_ik (default 0.25).

    Good values:
        0.25 in two, 0.5 in three dimensions (cheaper coarse matrices).

    Source:
        Ruge & Stüben, *Algebraic multigrid*, in *Multigrid Methods*, SIAM (1987).
    """

    threshold: float = 0.25

    def levels(self, matrix: Any, symmetric: bool) -> list[Any]:
        strength = ("classical", {"theta": self.threshold})
        splitting = ("RS", {"second_pass": True})
        solver = PYAMG.load().ruge_stuben_solver(matrix, strength=strength, CF=splitting, max_coarse=_DIRECT)
        found: list[Any] = solver.levels
        return found


@dataclass(frozen=True)
class SmoothedAggregation(AbstractCoarsening):
    """Coarse unknowns are groups of fine ones, interpolation is constant on them and then smoothed.

    Arguments:
        threshold: θ, i and j are strongly coupled where |a_ij| >= θ sqrt(a_ii a_jj) (default 0.05).

    Good values:
        0 for isotropic problems on regular meshes, 0.02 to 0.1 for all others.

    Source:
        Vaněk, Mandel & Brezina, Computing 56 (1996).
    """

    threshold: float = 0.05

    def levels(self, matrix: Any, symmetric: bool) -> list[Any]:
        found: list[Any] = (
            PYAMG.load()
            .smoothed_aggregation_solver(
                matrix,
                symmetry="symmetric" if symmetric else "nonsymmetric",
                strength=("symmetric", {"theta": self.threshold}),
                max_coarse=_DIRECT,
            )
            .levels
        )
        return found


@dataclass(frozen=True, eq=False)
class AlgebraicLevel:
    """One level but the coarsest; matrices are CSR tensors of the cycle's type.

    Arguments:
        matrix: A.
        prolongation, restriction: P and R.
        inverse_diagonal: (n, 1).
        largest: bound of the eigenvalues of D⁻¹A.
    """

    matrix: Tensor
    prolongation: Tensor
    restriction: Tensor
    inverse_diagonal: Tensor
    largest: float


@dataclass(frozen=True, eq=False)
class AlgebraicHierarchy:
    """All levels and the inverse of the coarsest matrix, (n, n)."""

    levels: Sequence[AlgebraicLevel]
    inverse: Tensor

    @property
    def T(self) -> AlgebraicHierarchy:
        """That of A^T: every matrix transposed, P and R exchanged."""
        levels = [
            replace(
                level,
                matrix=_transposed(level.matrix),
                prolongation=_transposed(level.restriction),
                restriction=_transposed(level.prolongation),
            )
            for level in self.levels
        ]
        return AlgebraicHierarchy(levels, self.inverse.mT.contiguous())


def algebraic_hierarchy(
    matrix: Any, levels: Sequence[Any], dtype: torch.dtype, device: torch.device
) -> AlgebraicHierarchy:
    """Torch tensors of pyamg's levels, which come from the SciPy matrix ``matrix``."""
    made = []
    for level in levels[:-1]:
        a = SparseOperator.from_scipy(level.A.tocsr())
        diagonal = a.diagonal().abs()
        inverse = torch.where(diagonal > 0, diagonal, 1.0).reciprocal()
        shares = (a.values.abs() * inverse[a.pattern.rows.long()]).double()
        bound = shares.new_zeros(a.shape[0]).index_add(0, a.pattern.rows.long(), shares).amax()
        fine, prolongation, restriction = (_csr(part, dtype, device) for part in (level.A, level.P, level.R))
        diagonal = inverse.to(device, dtype).unsqueeze(-1)
        made.append(AlgebraicLevel(fine, prolongation, restriction, diagonal, float(bound)))
    coarsest = torch.as_tensor((levels[-1].A if len(levels) > 1 else matrix).toarray(), dtype=torch.float64)
    return AlgebraicHierarchy(made, torch.linalg.pinv(coarsest, rtol=1e-12).to(device, dtype))


def _csr(matrix: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    operator = SparseOperator.from_scipy(matrix.tocsr())
    return operator.pattern.to(device).matrix(operator.values.to(device, dtype))


def _transposed(matrix: Tensor) -> Tensor:
    operator = SparseOperator.from_torch(matrix).transposed()
    return operator.pattern.matrix(operator.values)
