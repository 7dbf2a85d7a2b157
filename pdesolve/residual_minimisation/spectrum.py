"""Damped least-squares steps of all dampings from one factorisation."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractResidual

_BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class Spectrum:
    """J D⁻¹ = U diag(s) Vᵀ at one θ, and what of r it can reach.

    Arguments:
        residual: r, (m,).
        values: s > 0, (k,).
        coefficients: Uᵀ r, (k,).
        lift: from (j, k) combinations q of the columns of V to (j, n) steps D⁻¹ V q.
        floor: round-off of |r|: no step can be trusted to lower it by less.
    """

    residual: Tensor
    values: Tensor
    coefficients: Tensor
    lift: Callable[[Tensor], Tensor]
    floor: Tensor

    @property
    def newton(self) -> Tensor:
        """The undamped step in the coordinates of V, (k,)."""
        return -self.coefficients / self.values

    @property
    def stationarity(self) -> Tensor:
        """|(J D⁻¹)ᵀ r| / (|J D⁻¹| |r|)."""
        tiny = torch.finfo(self.values.dtype).tiny
        size = self.values.max() * torch.linalg.vector_norm(self.residual)
        cosine: Tensor = torch.linalg.vector_norm(self.values * self.coefficients) / size.clamp_min(tiny)
        return cosine

    def predicted(self, q: Tensor) -> Tensor:
        """1/2 |r|² - 1/2 |r + J p|² of steps q, (j, k) -> (j,)."""
        moved = self.coefficients + self.values * q
        return 0.5 * (self.coefficients.square() - moved.square()).sum(-1)

    def within(self, radii: Tensor) -> Tensor:
        """The steps that minimise |r + J p| over |D p| <= radius, (j, k), for each radius, (j,).

        q = -s c / (s² + λ), λ from |q| = radius by bisection of log λ, all radii together; λ = 0 where the undamped
        step is inside.
        """
        s, c = self.values, self.coefficients
        gradient = s * c
        tiny = torch.finfo(s.dtype).tiny
        high = (torch.linalg.vector_norm(gradient) / radii.clamp_min(tiny)).clamp_min(tiny)
        low = torch.full_like(high, max(float(s.min().square()) * 1e-20, tiny))
        high = torch.maximum(high, low)
        for _ in range(_BISECTIONS):
            middle = (low * high).sqrt() if float(low.max()) > 0 else high
            outside = torch.linalg.vector_norm(gradient / (s.square() + middle.unsqueeze(-1)), dim=-1) > radii
            low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
        steps = -gradient / (s.square() + high.unsqueeze(-1))
        newton = self.newton
        inside = torch.linalg.vector_norm(newton) <= radii
        return torch.where(inside.unsqueeze(-1), newton, steps)


class AbstractFactorisation(abc.ABC):
    """How the linearised least-squares problem is decomposed."""

    @abc.abstractmethod
    def require(self, rows: int, theta: Tensor) -> None:
        """Raise MemoryError, with the sizes, unless what ``spectrum`` allocates fits."""

    @abc.abstractmethod
    def spectrum(self, problem: AbstractResidual, theta: Tensor, residual: Tensor, scale: Scale) -> Spectrum:
        """The decomposition at θ, columns scaled by ``scale``, which learns from the ones seen.

        Arguments:
            problem: the rows.
            theta: θ, (n,).
            residual: r there, (m,).
            scale: D.
        """


class Scale:
    """D = the largest norm that each column of J has had so far.

    Source: Moré, The Levenberg-Marquardt algorithm, Lecture Notes in Mathematics 630 (1978), section 5.
    """

    _FLOOR = (
        1e-8  # of the largest norm: a column that vanishes, such as that of the centre of a Gaussian of weight zero
    )

    def __init__(self) -> None:
        self._seen: Tensor | None = None

    def of(self, norms: Tensor) -> Tensor:
        """D, given the norms of the columns now, (n,)."""
        known = self._seen is not None and self._seen.shape == norms.shape
        self._seen = torch.maximum(self._seen, norms) if known and self._seen is not None else norms
        largest = self._seen.max()
        return torch.where(largest > 0, self._seen.clamp_min(self._FLOOR * largest), torch.ones_like(norms))


def round_off(jacobian: Tensor, theta: Tensor) -> Tensor:
    """ε | |J| |θ| |: what the residual's terms lose when they cancel."""
    eps = torch.finfo(jacobian.dtype).eps
    lost: Tensor = eps * torch.linalg.vector_norm(jacobian * theta)
    return lost
