"""QR factors of a Jacobian with scaled columns and a little damping."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

_SAME = 1e-12  # what times of later slabs lose by rounding; a refinement makes up for it


@final
class DampedQR:
    """[J D⁻¹; μ I] = Q R, Q kept as Householder reflections.

    Arguments:
        jacobian: J, (m, n).
        damping: μ >= 0, in units of the scaled columns, whose norm is one.
    """

    def __init__(self, jacobian: Tensor, damping: float) -> None:
        m, n = jacobian.shape
        norms = torch.linalg.vector_norm(jacobian, dim=0)
        self.scale = torch.where(norms > 0, norms, torch.ones_like(norms))
        self._rows, self._damping = m, damping
        extra = n if damping > 0 or m < n else 0
        stacked = jacobian.new_zeros(m + extra, n)
        torch.div(jacobian, self.scale, out=stacked[:m])
        if extra:
            # With m < n and no damping at all the triangle would be singular.
            stacked[m:].diagonal().fill_(max(damping, torch.finfo(jacobian.dtype).eps))
        self._factors, self._tau = torch.geqrf(stacked)
        self._triangle = self._factors[:n].triu()

    def rotate(self, b: Tensor) -> Tensor:
        """Qᵀ [b; 0], (m + extra, k), of b (m, k)."""
        padded = b.new_zeros(len(self._factors), b.shape[1])
        padded[: self._rows] = b
        return torch.ormqr(self._factors, self._tau, padded, left=True, transpose=True)

    def solve(self, b: Tensor) -> Tensor:
        """argmin_p |J p - b|² + μ² |D p|², (n,), of b (m,)."""
        n = self._triangle.shape[0]
        top = self.rotate(b.unsqueeze(1))[:n]
        scaled: Tensor = torch.linalg.solve_triangular(self._triangle, top, upper=True)
        return scaled.squeeze(1) / self.scale

    def variances(self) -> Tensor:
        """The diagonal of (JᵀJ + μ² D²)⁻¹, (n,)."""
        identity = torch.eye(len(self._triangle), dtype=self._triangle.dtype, device=self._triangle.device)
        inverse: Tensor = torch.linalg.solve_triangular(self._triangle, identity, upper=True)
        return inverse.square().sum(1) / self.scale.square()

    def beyond(self, matrix: Tensor) -> Tensor:
        """Qᵀ [matrix; 0] without its first n rows: what the columns of J cannot reach, norms kept."""
        return self.rotate(matrix)[self._triangle.shape[0] :]


Factorise = Callable[[Tensor, float], DampedQR]
"""Called with a Jacobian and a damping."""


@final
class KeptQR:
    """``DampedQR`` that is made anew only where the Jacobian has changed: equal slabs of a linear equation share it."""

    def __init__(self) -> None:
        self._kept: tuple[Tensor, float, DampedQR] | None = None

    def __call__(self, jacobian: Tensor, damping: float) -> DampedQR:
        """The factors; those kept where no entry differs by more than round-off of the largest."""
        if self._kept is not None:
            matrix, other, factors = self._kept
            same = matrix.shape == jacobian.shape and matrix.device == jacobian.device and other == damping
            if same and bool((matrix - jacobian).abs().max() <= _SAME * jacobian.abs().max()):
                return factors
            self._kept = None
        factors = DampedQR(jacobian, damping)
        self._kept = (jacobian, damping, factors)
        return factors
