"""The factorisation of a step within a random subspace, the Jacobian never formed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractResidual
from pdesolve.residual_minimisation.function_residual import forward_products
from pdesolve.residual_minimisation.memory import require_jacobian
from pdesolve.residual_minimisation.spectrum import AbstractFactorisation, Scale, Spectrum


@final
@dataclass(frozen=True)
class Sketched(AbstractFactorisation):
    """J Ω = U diag(s) Wᵀ, Ω the gradient Jᵀr and ``size`` - 1 random directions, made orthonormal.

    Arguments:
        size: directions (default 256).
        generator: draws them anew at every step (default: one of seed 0 of its own).

    Raises:
        ValueError: fewer than two directions.

    Notes:
        ``size`` forward products and one backward; memory m · size. The rows must be operations that torch.func
        differentiates forwards. A step sees ``size`` of n directions, so expect n/size times the steps.

    Good values: size n/10 to n/4, above some 3 000 parameters.

    Source: random subspace Gauss-Newton, Cartis, Fowkes & Shao, arXiv 2211.09873.
    """

    size: int = 256
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(
                f"a sketch needs at least 2 directions, got {self.size}: a tenth of the parameters is usual"
            )

    def require(self, rows: int, theta: Tensor) -> None:
        directions = min(self.size, len(theta), rows)
        require_jacobian(rows + len(theta), directions, theta.device, theta.dtype, copies=4.0)

    def spectrum(self, problem: AbstractResidual, theta: Tensor, residual: Tensor, scale: Scale) -> Spectrum:
        k = min(self.size, len(theta), len(residual))
        r, pull = torch.func.vjp(problem.residual, theta)  # type: ignore[misc]
        gradient = pull(r.detach())[0].detach()
        drawn = torch.randn(
            len(theta), k - 1, generator=self.generator, dtype=theta.dtype, device=self.generator.device
        )
        directions, _ = torch.linalg.qr(torch.cat([gradient.unsqueeze(1), drawn.to(theta.device)], dim=1))
        products = forward_products(problem.residual, theta, directions.mT)
        q, triangle = torch.linalg.qr(products)
        w, s, vt = torch.linalg.svd(triangle)
        kept = s > torch.finfo(s.dtype).eps * s.max()
        s, coefficients, vt = s[kept], (w.mT @ (q.mT @ r.detach()))[kept], vt[kept]
        floor = torch.finfo(s.dtype).eps * torch.linalg.vector_norm(products @ (directions.mT @ theta))
        return Spectrum(r.detach(), s, coefficients, lambda steps: steps @ vt @ directions.mT, floor)
