"""Allen-Cahn from x² cos πx, whose periodic continuation has a kink."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition, Periodic
from pdesolve.domains.geometry import Interval, TimeInterval
from pdesolve.pde.allen_cahn import AllenCahn
from pdesolve.problem import Problem
from pdesolve.reference.abstract import Parameters, number
from pdesolve.reference.etdrk4 import AbstractSemilinear, PeriodicSpectral


def allen_cahn_problem(rate: float = 5.0, diffusivity: float = 1e-4) -> Problem:
    """u_t = D u_xx - λ (u³ - u) on x in [-1, 1], t in [0, 1], periodic; u(x, 0) = x² cos πx.

    Arguments:
        rate: λ (default 5).
        diffusivity: D (default 1e-4).

    Raises:
        TypeError, ValueError: as ``AllenCahn``.

    Notes:
        The start's slope jumps from -2 to 2 at x = ±1. Reference: ETDRK4 on the exact Fourier coefficients.

    Source: Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019).
    """
    return Problem(
        AllenCahn(diffusivity, rate),
        Interval(-1.0, 1.0) * TimeInterval(0.0, 1.0),
        [InitialCondition(_start), Periodic("x")],
        reference=PeriodicSpectral(_Equation()),
    )


def _start(x: Tensor) -> Tensor:
    return x * x * torch.cos(math.pi * x)


@dataclass(frozen=True)
class _Equation(AbstractSemilinear):
    derivative = 0

    def initial(self, x: Tensor) -> Tensor:
        return _start(x)

    def initial_modes(self, k: Tensor) -> Tensor:
        # x² cos πx cos kπx = x² [cos (k+1)πx + cos (k-1)πx] / 2
        return 0.25 * (_moment(k + 1.0) + _moment(k - 1.0))

    def symbol(self, k: Tensor, parameters: Parameters) -> Tensor:
        return number(parameters, "rate") - number(parameters, "diffusivity") * (math.pi * k).square()

    def nonlinear(self, u: Tensor, parameters: Parameters) -> Tensor:
        return -number(parameters, "rate") * u**3


def _moment(m: Tensor) -> Tensor:
    """∫ x² cos mπx dx over [-1, 1] for whole m."""
    safe = torch.where(m == 0.0, 1.0, m)
    return torch.where(m == 0.0, 2.0 / 3.0, 4.0 * torch.cos(math.pi * m) / (math.pi * safe).square())
