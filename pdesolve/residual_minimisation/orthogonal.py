"""The factorisation of a step by orthogonal transformations of the Jacobian."""

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
class Orthogonal(AbstractFactorisation):
    """J D⁻¹ = Q R and R = W diag(s) Vᵀ; where rows are fewer than parameters, the same of the transpose.

    Arguments:
        rank_tolerance: singular values below this times the largest are left out (default 1e-15).

    Notes:
        2 m n² operations and about 20 min(m, n)³ for the singular values. Keeps all digits of J, where ``Gram`` keeps
        half of them.

    Good values: up to 2 000 on the smaller side.
    """

    rank_tolerance: float = 1e-15

    def require(self, rows: int, theta: Tensor) -> None:
        require_jacobian(rows, len(theta), theta.device, theta.dtype, copies=3.0)

    def spectrum(self, problem: AbstractResidual, theta: Tensor, residual: Tensor, scale: Scale) -> Spectrum:
        r, jacobian = problem.linearise(theta)
        d = scale.of(torch.linalg.vector_norm(jacobian, dim=0))
        floor = round_off(jacobian, theta)
        scaled = jacobian / d
        if scaled.shape[0] >= scaled.shape[1]:
            q, triangle = torch.linalg.qr(scaled)
            w, s, vt = torch.linalg.svd(triangle)
            coefficients = w.mT @ (q.mT @ r)
        else:
            q, triangle = torch.linalg.qr(scaled.mT)
            v, s, ut = torch.linalg.svd(triangle)
            coefficients = ut @ r
            vt = (q @ v).mT
        kept = s > self.rank_tolerance * s.max()
        s, coefficients, vt = s[kept], coefficients[kept], vt[kept]
        return Spectrum(r, s, coefficients, lambda steps: (steps @ vt) / d, floor)
