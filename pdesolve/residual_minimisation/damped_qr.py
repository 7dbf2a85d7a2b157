"""QR factors of a Jacobian with scaled columns and a little damping."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from pdesolve.residual_minimisation.memory import require_jacobian

_SAME = 1e-12  # what times of later slabs lose by rounding; a refinement makes up for it
_PROBES = 8
_WEAKEST = 1e-8  # of the largest column: norms below are those of tails, whose rounding says nothing


@final
class DampedQR:
    """[J D⁻¹; μ I] = Q R, Q kept as Householder reflections.

    Arguments:
        jacobian: J, (m, n).
        damping: μ >= 0, in units of the scaled columns, whose norm is one.

    Attributes:
        served: whether a problem has been solved by them, which those that are kept may do for several.
    """

    def __init__(self, jacobian: Tensor, damping: float) -> None:
        self.served = False
        m, n = jacobian.shape
        norms = torch.linalg.vector_norm(jacobian, dim=0)
        self.scale = torch.where(norms > 0, norms, torch.ones_like(norms))
        self._rows = m
        # With m < n and no damping at all the triangle would be singular.
        least = damping if damping > 0 or m >= n else torch.finfo(jacobian.dtype).eps
        self._factors, self._tau = torch.geqrf(_stacked(jacobian, self.scale, least))
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

    def solve_normal(self, g: Tensor) -> Tensor:
        """(JᵀJ + μ² D²)⁻¹ g, (n,), of g (n,)."""
        right = (g / self.scale).unsqueeze(1)
        half: Tensor = torch.linalg.solve_triangular(self._triangle.mT, right, upper=False)
        scaled: Tensor = torch.linalg.solve_triangular(self._triangle, half, upper=True)
        return scaled.squeeze(1) / self.scale

    def variances(self) -> Tensor:
        """The diagonal of (JᵀJ + μ² D²)⁻¹, (n,)."""
        identity = torch.eye(len(self._triangle), dtype=self._triangle.dtype, device=self._triangle.device)
        inverse: Tensor = torch.linalg.solve_triangular(self._triangle, identity, upper=True)
        return inverse.square().sum(1) / self.scale.square()

    def beyond(self, matrix: Tensor) -> Tensor:
        """Qᵀ [matrix; 0] without its first n rows: what the columns of J cannot reach, norms kept."""
        return self.rotate(matrix)[self._triangle.shape[0] :]


def _stacked(jacobian: Tensor, scale: Tensor, damping: float) -> Tensor:
    """[J D⁻¹; μ I], without the lower part where μ = 0."""
    m, n = jacobian.shape
    stacked = jacobian.new_zeros(m + n if damping > 0 else m, n)
    torch.div(jacobian, scale, out=stacked[:m])
    stacked[m:].diagonal().fill_(damping)
    return stacked


def require_damped_qr(rows: int, theta: Tensor) -> None:
    """Raise unless J of all parameters θ, (n,), fits with what a solve by its factors holds at its peak.

    Those are J, the factors and their copy in LAPACK's hands, (m + n, n) each, and the triangle.

    Raises:
        MemoryError: with the sizes and what to do.
    """
    copies = 3.0 + 3.0 * len(theta) / rows
    require_jacobian(rows, len(theta), theta.device, theta.dtype, copies)


Factorise = Callable[[Tensor, float], DampedQR]
"""Called with a Jacobian and a damping."""


@final
class KeptQR:
    """``DampedQR`` that is made anew only where the Jacobian has changed: equal slabs of a linear equation share it.

    Of J no copy is kept but J D⁻¹ P, P a few random vectors: another J gives the same only with probability zero.

    Source: Freivalds, Probabilistic machines can use less running time (1977), for the comparison.
    """

    def __init__(self) -> None:
        self._kept: tuple[torch.Size, float, Tensor, Tensor, DampedQR] | None = None

    def __call__(self, jacobian: Tensor, damping: float) -> DampedQR:
        """The factors; those kept where J differs by no more than round-off, each column in units of its norm."""
        if self._kept is not None:
            shape, other, probes, image, factors = self._kept
            same = shape == jacobian.shape and image.device == jacobian.device and other == damping
            if same and bool((image - jacobian @ probes).abs().max() <= _SAME * image.abs().max()):
                return factors
            self._kept = None
            del factors  # before others are made
        made = DampedQR(jacobian, damping)
        probes = _probes(made.scale)
        self._kept = (jacobian.shape, damping, probes, jacobian @ probes, made)
        return made


def _probes(scale: Tensor) -> Tensor:
    """D⁻¹ P, (n, k)."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(len(scale), _PROBES, generator=generator, dtype=torch.float64).to(scale)
    return drawn / scale.clamp_min(_WEAKEST * scale.max()).unsqueeze(1)
