"""A change of unknowns that makes an ill-conditioned patch well-conditioned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.nonlinear.least_squares import LeastSquares


@dataclass(frozen=True)
class Whitening:
    """w = V Σ⁻¹ c with J = U Σ Vᵀ at the starting point, directions with σ < rcond σ_max left out.

    J is factorised itself (QR, then the singular values of R), never JᵀJ, so conditions up to 1e15 are
    resolved. It costs about four times a Gauss-Newton step; so it is done only where an estimate of the
    condition asks for it, patch by patch: what one member needs does not change another.

    Arguments:
        threshold: whiten when the estimated condition of J, columns scaled to one, exceeds this
            (default 1e6: beyond it normal equations lose half the digits of float64).
        rcond: relative cut-off of singular values (default 1e-13).

    Notes:
        Where a singular value crosses rcond the solution is a discontinuous function of the basis.

    Source: Golub & Van Loan, *Matrix Computations*, section 5.5.
    """

    threshold: float = 1e6
    rcond: float = 1e-13

    def __post_init__(self) -> None:
        if not (self.threshold >= 1 and 0 < self.rcond < 1):
            raise ValueError(f"threshold >= 1 and 0 < rcond < 1 are needed, got {self.threshold}, {self.rcond}")

    def flagged(self, gram: Tensor) -> Tensor:
        """Which patches need it, (batch, patch), by the diagonal blocks of JᵀJ."""
        return (estimated_condition(gram) > self.threshold) & torch.isfinite(gram).flatten(-2).all(-1)

    def transform(self, problem: LeastSquares, w: Tensor, flagged: Tensor) -> tuple[Tensor, Tensor]:
        """(transform, rank), of shapes (batch, patch, N, N) and (batch, patch); the identity where not flagged.

        Arguments:
            problem: the rows.
            w: where they are linearised.
            flagged: which patches to whiten.
        """
        rows = [block.jacobian(slopes) for block in problem.rows for slopes in block.linearise(w).slopes]
        jacobian = torch.cat(
            [*rows, *_interface_rows(problem), *_joint_rows(problem, w), *_ridge_rows(problem)], dim=-2
        )
        jacobian = torch.where(flagged[..., None, None], jacobian, torch.zeros_like(jacobian))
        scale = torch.linalg.vector_norm(jacobian, dim=-2)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        jacobian = jacobian / scale.unsqueeze(-2)
        tall = jacobian.shape[-2] >= jacobian.shape[-1]
        r = torch.linalg.qr(jacobian, mode="r").R if tall else jacobian
        _, sigma, vh = torch.linalg.svd(r, full_matrices=False)
        keep = sigma > self.rcond * sigma[..., :1]
        inverse = torch.where(keep, 1.0 / torch.where(keep, sigma, torch.ones_like(sigma)), torch.zeros_like(sigma))
        square = vh.mT * inverse.unsqueeze(-2) / scale.unsqueeze(-1)
        n = jacobian.shape[-1]
        square = torch.nn.functional.pad(square, (0, n - square.shape[-1]))
        identity = torch.eye(n, dtype=square.dtype, device=square.device)
        transform = torch.where(flagged[..., None, None], square, identity)
        return transform, torch.where(flagged, keep.sum(-1), n)


def _interface_rows(problem: LeastSquares) -> list[Tensor]:
    """Rows of interfaces as each patch sees them, (batch, patch, row, N), zero where a patch has fewer neighbours."""
    batch, patches, n = problem.shape
    found = []
    for interface in problem.interfaces:
        count: dict[int, int] = {}
        places: list[tuple[int, int, int, int]] = []
        for a, b in interface.edges:
            places.append((a, b, count.get(a, 0), count.get(b, 0)))
            count[a], count[b] = count.get(a, 0) + 1, count.get(b, 0) + 1
        m = interface.left.shape[2]
        rows = problem.like.new_zeros((batch, patches, max(count.values()), m, n))
        weight = interface.weight.unsqueeze(-1)
        left, right = interface.left * weight, interface.right * weight
        for e, (a, b, i, j) in enumerate(places):
            rows[:, a, i], rows[:, b, j] = left[:, e], right[:, e]
        found.append(rows.flatten(2, 3))
    return found


def _joint_rows(problem: LeastSquares, w: Tensor) -> list[Tensor]:
    """Rows of joint blocks as each patch sees them, shaped as those of interfaces."""
    batch, patches, n = problem.shape
    found = []
    for joint in problem.joint:
        slots: dict[tuple[int, int], int] = {}  # (patch, piece) -> place
        count: dict[int, int] = {}
        for piece, members in enumerate(joint.patches):
            for p in dict.fromkeys(members):
                slots[p, piece] = count.get(p, 0)
                count[p] = slots[p, piece] + 1
        for slopes in joint.block.linearise(joint.gather(w)).slopes:
            jacobian = joint.block.jacobian(slopes).unflatten(-1, (-1, n))  # (batch, piece, row, J, n)
            rows = jacobian.new_zeros((batch, patches, max(count.values()), jacobian.shape[2], n))
            for piece, members in enumerate(joint.patches):
                for j, p in enumerate(members):
                    rows[:, p, slots[p, piece]] += jacobian[:, piece, :, j]
            found.append(rows.flatten(2, 3))
    return found


def _ridge_rows(problem: LeastSquares) -> list[Tensor]:
    """Γ^(1/2), if there is a ridge on the weights."""
    if problem.ridge is None:
        return []
    values, vectors = torch.linalg.eigh(problem.ridge)
    return [values.clamp_min(0).sqrt().unsqueeze(-1) * vectors.mT]


def estimated_condition(gram: Tensor) -> Tensor:
    """A cheap lower bound on the condition of J with unit columns, from the pivots of JᵀJ's Cholesky factor.

    Arguments:
        gram: JᵀJ, (batch, patch, N, N).

    Returns:
        (batch, patch); infinity where JᵀJ is not positive definite to working precision.
    """
    scale = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    factor, info = torch.linalg.cholesky_ex(gram / scale.unsqueeze(-1) / scale.unsqueeze(-2))
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    ratio = pivots.amax(-1) / pivots.amin(-1)
    return torch.where((info == 0) & torch.isfinite(ratio), ratio, torch.full_like(ratio, torch.inf))
