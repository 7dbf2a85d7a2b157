"""The factorisation of a step by the eigenvectors of the smaller Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractResidual
from pdesolve.residual_minimisation.memory import require_jacobian
from pdesolve.residual_minimisation.spectrum import AbstractFactorisation, Scale, Spectrum, round_off


@final
@dataclass(frozen=True)
class Gram(AbstractFactorisation):
    """Parameter space, JᵀJ = V diag(s²) Vᵀ, or sample space, JJᵀ = U diag(s²) Uᵀ, whichever is smaller.

    In sample space the step is p = -Jᵀ (JJᵀ + λ)⁻¹ r: Gauss-Newton for more parameters than rows.

    Arguments:
        rank_tolerance: singular values below this times the largest are left out (default 1e-8, the square root of
            the machine epsilon: below it s² is round-off).

    Notes:
        m n min(m, n) operations and about 9 min(m, n)³ for the eigenvectors, a fifth of ``Orthogonal``'s time.
        Directions of small singular values are lost: the last digits of a fit need ``Orthogonal``.

    Source: for the sample space Goldshlager, Abrahamsen & Lin, A Kaczmarz-inspired approach to accelerate the
        optimization of neural network wavefunctions, J. Comput. Phys. 516 (2024).
    """

    rank_tolerance: float = 1e-8

    def require(self, rows: int, theta: Tensor) -> None:
        require_jacobian(rows, len(theta), theta.device, theta.dtype, copies=2.0)

    def spectrum(self, problem: AbstractResidual, theta: Tensor, residual: Tensor, scale: Scale) -> Spectrum:
        r, jacobian = problem.linearise(theta)
        d = scale.of(torch.linalg.vector_norm(jacobian, dim=0))
        floor = round_off(jacobian, theta)
        scaled = jacobian / d
        tall = scaled.shape[0] >= scaled.shape[1]
        squares, vectors = torch.linalg.eigh(scaled.mT @ scaled if tall else scaled @ scaled.mT)
        s = squares.clamp_min(0.0).sqrt()
        kept = s > self.rank_tolerance * s.max()
        s, vectors = s[kept], vectors[:, kept]
        if tall:
            coefficients = (vectors.mT @ (scaled.mT @ r)) / s
            return Spectrum(r, s, coefficients, lambda q: (q @ vectors.mT) / d, floor)
        return Spectrum(r, s, vectors.mT @ r, lambda q: ((q / s) @ vectors.mT @ scaled) / d, floor)
