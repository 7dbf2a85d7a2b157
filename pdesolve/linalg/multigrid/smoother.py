"""Chebyshev smoothing: Jacobi sweeps whose weights are the roots of a Chebyshev polynomial."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Chebyshev:
    """``sweeps`` steps x += ω_k D⁻¹ (b - A x), D the diagonal of A, with the weights

        1/ω_k = (λ + μ)/2 + (λ - μ)/2 cos(π (2 k - 1)/(2 sweeps)) ,

    which make the error polynomial Π_k (1 - ω_k s) smallest over eigenvalues s in [μ, λ] of D⁻¹A. Here λ = 2, which no
    eigenvalue exceeds (Gershgorin: rows of A are diagonally dominant), and μ the smallest of those that coarse grids
    cannot represent. Every step is a stencil, the same backwards and forwards.

    Arguments:
        sweeps: steps before and after each coarse correction (default 2).

    Raises:
        ValueError: no sweeps.

    Good values:
        2; 3 where the coefficient jumps and coarse grids cannot follow.

    Source:
        Adams, Brezina, Hu & Tuminaro, *Parallel multigrid smoothing: polynomial versus Gauss-Seidel*, J. Comput. Phys.
        188 (2003).
    """

    sweeps: int = 2

    def __post_init__(self) -> None:
        if self.sweeps < 1:
            raise ValueError(f"sweeps must be at least 1, not {self.sweeps}")

    def weights(self, smallest: float, largest: float = 2.0) -> list[float]:
        """ω_k for eigenvalues in [smallest, largest]."""
        centre, radius = 0.5 * (largest + smallest), 0.5 * (largest - smallest)
        angles = [math.pi * (2 * k - 1) / (2 * self.sweeps) for k in range(1, self.sweeps + 1)]
        return [1.0 / (centre + radius * math.cos(angle)) for angle in angles]
