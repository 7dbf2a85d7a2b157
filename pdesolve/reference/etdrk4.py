"""Exponential time differencing in Fourier space: semilinear equations on a periodic interval."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.reference.abstract import AbstractRefinable, Parameters

_CONTOUR = 32  # points on each circle
_MODES = 2**22  # complex numbers at once where the series is summed


class AbstractSemilinear(abc.ABC):
    """u_t = L u + N(u) with period 2 in x, L diagonal in Fourier space; u = Σ_k û_k exp(iπkx)."""

    @abc.abstractmethod
    def initial(self, x: Tensor) -> Tensor:
        """u at the start."""

    @abc.abstractmethod
    def initial_modes(self, k: Tensor) -> Tensor:
        """û_k at the start for whole k >= 0, exact, real or complex."""

    @abc.abstractmethod
    def symbol(self, k: Tensor, parameters: Parameters) -> Tensor:
        """L's eigenvalue for exp(iπkx)."""

    @abc.abstractmethod
    def nonlinear(self, u: Tensor, parameters: Parameters) -> Tensor:
        """g(u), where N = ∂ⁿg/∂xⁿ with n the ``derivative``."""

    @property
    @abc.abstractmethod
    def derivative(self) -> int:
        """n, 0 or 1."""


@final
@dataclass(frozen=True)
class PeriodicSpectral(AbstractRefinable):
    """Fourier in space and ETDRK4 in time, for real u of period 2.

    The start is given by its exact Fourier coefficients, so that a kink costs no aliasing. Nonlinear terms are formed
    on ``points`` nodes and cut to the lowest third of frequencies. Steps end at every time that is asked for; the
    series is summed at the very points, so nothing is interpolated. At the start u is the function itself.

    Arguments:
        equation: L, N and the start.
        points: nodes of the transform; |k| < points/3 is kept (default 4096).
        step: longest time step (default 1e-3).
        start: initial time (default 0).

    Raises:
        TypeError, ValueError: points or step that are not positive.

    Notes:
        Needs a solution of period 2 that the kept modes resolve; the stated error, from one and a half times the modes
        and half the step, shows where they do not. Work grows with the number of different times.

    Source: Cox & Matthews, J. Comput. Phys. 176 (2002); Kassam & Trefethen, SIAM J. Sci. Comput. 26 (2005), for the
        coefficients by contour integrals.
    """

    equation: AbstractSemilinear
    points: int = 4096
    step: float = 1e-3
    start: float = 0.0

    def __post_init__(self) -> None:
        positive_int(self.points, "points")
        finite_float(self.start, "start")
        if finite_float(self.step, "step") <= 0.0:
            raise ValueError(f"step must be positive, got {self.step}")

    def refined(self) -> PeriodicSpectral:
        return replace(self, points=3 * self.points // 2, step=0.5 * self.step)

    def __call__(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> Tensor:
        t, x = torch.broadcast_tensors(*(coordinates[a].detach().to("cpu", torch.float64) for a in ("t", "x")))
        times, member = torch.unique(t.flatten(), return_inverse=True)
        if len(times) and float(times[0]) < self.start:
            raise ValueError(f"times must be at least {self.start}, got {float(times[0])}")
        k = torch.arange(self.points // 2 + 1, dtype=torch.float64)
        kept = k < self.points / 3
        stepper = _Stepper(self.equation, parameters, k, kept, self.points)
        state = torch.where(kept, self.equation.initial_modes(k).to(torch.complex128), 0.0)
        out, places, now = torch.empty(t.numel(), dtype=torch.float64), x.flatten(), self.start
        for i, time in enumerate(times.tolist()):
            count = max(0, math.ceil((time - now) / self.step * (1.0 - 1e-12)))
            for _ in range(count):
                state = stepper.advanced(state, (time - now) / count)
            now = time
            chosen = member == i
            here = places[chosen]
            out[chosen] = self.equation.initial(here) if time == self.start else _summed(state[kept], k[kept], here)
        return out.reshape(t.shape).to(coordinates["x"].device)


class _Stepper:
    """One ETDRK4 step; its coefficients are kept while the step stays the same."""

    def __init__(
        self, equation: AbstractSemilinear, parameters: Parameters, k: Tensor, kept: Tensor, points: int
    ) -> None:
        self.equation, self.parameters, self.points, self.kept = equation, parameters, points, kept
        self.symbol = equation.symbol(k, parameters).to(torch.complex128)
        self.factor = torch.where(kept, (1j * math.pi * k) ** equation.derivative, 0.0)
        self.h = 0.0
        self.table: tuple[Tensor, ...] = ()

    def rate(self, state: Tensor) -> Tensor:
        u = torch.fft.irfft(state, n=self.points, norm="forward")
        modes: Tensor = self.factor * torch.fft.rfft(self.equation.nonlinear(u, self.parameters), norm="forward")
        return modes

    def advanced(self, v: Tensor, h: float) -> Tensor:
        if not math.isclose(h, self.h, rel_tol=1e-10):
            self.h, self.table = h, _coefficients(h * self.symbol, h)
        whole, half, q, f1, f2, f3 = self.table
        at_v = self.rate(v)
        a = half * v + q * at_v
        at_a = self.rate(a)
        b = half * v + q * at_a
        at_b = self.rate(b)
        c = half * a + q * (2.0 * at_b - at_v)
        return whole * v + f1 * at_v + 2.0 * f2 * (at_a + at_b) + f3 * self.rate(c)


def _coefficients(z: Tensor, h: float) -> tuple[Tensor, ...]:
    """Kassam & Trefethen (2005), eq. 2.5: means over unit circles around z, on which nothing cancels."""
    angle = 2.0 * math.pi * (torch.arange(_CONTOUR, dtype=torch.float64) + 0.5) / _CONTOUR
    r = z[:, None] + torch.polar(torch.ones_like(angle), angle)
    e = torch.exp(r)
    q = h * ((torch.exp(0.5 * r) - 1.0) / r).mean(1)
    f1 = h * ((-4.0 - r + e * (4.0 - 3.0 * r + r * r)) / r**3).mean(1)
    f2 = h * ((2.0 + r + e * (r - 2.0)) / r**3).mean(1)
    f3 = h * ((-4.0 - 3.0 * r - r * r + e * (4.0 - r)) / r**3).mean(1)
    return torch.exp(z), torch.exp(0.5 * z), q, f1, f2, f3


def _summed(modes: Tensor, k: Tensor, x: Tensor) -> Tensor:
    """Σ over k of both signs of û_k exp(iπkx), û_-k the conjugate."""
    weight = torch.where(k == 0.0, 1.0, 2.0) * modes
    parts = []
    for places in x.split(max(1, _MODES // len(k))):
        phase = math.pi * places[:, None] * k
        parts.append(torch.cos(phase) @ weight.real - torch.sin(phase) @ weight.imag)
    return torch.cat(parts) if parts else x
