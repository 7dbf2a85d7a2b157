"""The constant null space of pure Neumann and periodic problems: found, shifted away, projected out.

Where A 1 = 0 or A^T 1 = 0, both null spaces have dimension at least one. With e_k a unit vector, A' = A + σ e_k e_k^T
has the pattern, the symmetry and the definiteness of A, and

    A' v = σ v_k e_k for A v = 0 ,   so  v ~ A'⁻¹ e_k ,  and likewise  ℓ ~ A'⁻ᵀ e_k for A^T ℓ = 0 .

For b in the range of A, ℓ·b = 0, every row of A' x = b but x_k = 0 says A x = b: one factorisation of A' serves it all.

Source: Bochev & Lehoucq, *On the finite element solution of the pure Neumann problem*, SIAM Review 47 (2005).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.direct.equilibration import Matrix, sums
from pdesolve.linalg.direct.factor import AbstractFactor
from pdesolve.linalg.linear_solver import NullSpace
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator

_ROUND_OFF = 16.0  # times machine epsilon and a row's sum of magnitudes: a sum that counts as zero
_CERTAIN = 1e-9


@dataclass(frozen=True, eq=False)
class Constants:
    """Where constants are null vectors.

    Arguments:
        right: A 1 = 0, (*batch,).
        left: A^T 1 = 0, (*batch,).
    """

    right: Tensor
    left: Tensor

    @property
    def either(self) -> Tensor:
        return self.right | self.left


def constant_null_space(matrix: Matrix) -> Constants:
    """Whether rows, and whether columns, add up to zero within the round-off of the matrix's own type."""
    double = matrix.with_tensors([t.double() for t in matrix.tensors()])
    rows, columns = sums(double)
    one = rows.new_ones(matrix.shape[1])
    tolerance = _ROUND_OFF * torch.finfo(matrix.dtype).eps
    right = (double.mv(one).abs() <= tolerance * rows).all(-1)
    left = (double.rmv(one).abs() <= tolerance * columns).all(-1)
    return Constants(right, left)


def shifted(matrix: Matrix, free: Tensor) -> tuple[Matrix, Tensor]:
    """A + σ e_k e_k^T for members with ``free``, and e_k (*batch, n); k is where |a_kk| is largest, σ = ±1 its sign.

    Arguments:
        matrix: equilibrated.
        free: (*batch,).
    """
    diagonal = matrix.diagonal()
    place = diagonal.abs().argmax(-1, keepdim=True)
    unit = torch.zeros_like(diagonal).scatter(-1, place, 1.0)
    if not bool(free.any()):
        return matrix, unit
    shift = torch.where(diagonal < 0, -1.0, 1.0) * unit * free.unsqueeze(-1)
    if isinstance(matrix, DenseOperator):
        return replace(matrix, matrix=matrix.matrix + torch.diag_embed(shift)), unit
    rows, columns = matrix.pattern.rows.long(), matrix.pattern.columns.long()
    operator = SparseOperator.from_triplets(
        torch.cat([rows, place]),
        torch.cat([columns, place]),
        torch.cat([matrix.values, shift[place]]),
        matrix.shape,
        symmetric=matrix.symmetric,
        positive_definite=matrix.positive_definite,
    )
    return operator, unit


def null_vectors(
    matrix: AbstractLinearOperator,
    factor: AbstractFactor,
    unit: Tensor,
    constants: Constants,
    scales: tuple[Tensor, Tensor],
) -> tuple[NullSpace, Tensor]:
    """Unit null vectors of A, from those of R A C, and where they are certain.

    Arguments:
        matrix: R A C.
        factor: of R A C + σ e_k e_k^T.
        unit: e_k, (*batch, n).
        constants: which null vectors are known to be constant.
        scales: diagonals of R and C, (*batch, n).
    """
    rows, columns = scales
    right = torch.where(constants.right.unsqueeze(-1), 1.0 / columns, factor.solve(unit))
    left = torch.where(constants.left.unsqueeze(-1), 1.0 / rows, factor.solve_transposed(unit))
    right, left = _unit(right), _unit(left)
    free = constants.either
    certain = (matrix.mv(right).abs().amax(-1) <= _CERTAIN) & (matrix.rmv(left).abs().amax(-1) <= _CERTAIN)
    mask = (free & certain).unsqueeze(-1)
    null_space = NullSpace(
        left=torch.where(mask, _unit(left * rows), 0.0), right=torch.where(mask, _unit(right * columns), 0.0)
    )
    return null_space, certain | ~free


def into_range(b: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """b without its part along ``left``, and the size of that part relative to b, (...).

    Arguments:
        b: (..., *batch, n).
        left: a null vector of A^T in the scaling of b, (*batch, n); zero where there is none.
    """
    left = _unit(left)
    part = (left * b).sum(-1)
    size = torch.linalg.vector_norm(b, dim=-1)
    return b - left * part.unsqueeze(-1), part.abs() / torch.where(size > 0, size, 1.0)


def shortest(x: Tensor, null_space: NullSpace) -> Tensor:
    """x without its part in the null space of A."""
    return x - null_space.right * (null_space.right * x).sum(-1, keepdim=True)


def _unit(vector: Tensor) -> Tensor:
    size = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    return vector / torch.where(size > 0, size, 1.0)
