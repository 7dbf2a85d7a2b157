"""Korteweg-de Vries from cos πx: the trains of solitons of Zabusky and Kruskal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition, Periodic
from pdesolve.domains.geometry import Interval, TimeInterval
from pdesolve.pde.korteweg_de_vries import KortewegDeVries
from pdesolve.problem import Problem
from pdesolve.reference.abstract import Parameters, number
from pdesolve.reference.etdrk4 import AbstractSemilinear, PeriodicSpectral


def korteweg_de_vries_problem(delta: float = 0.022) -> Problem:
    """u_t + u u_x + δ² u_xxx = 0 on x in [-1, 1], t in [0, 1], periodic; u(x, 0) = cos πx.

    Arguments:
        delta: δ (default 0.022).

    Raises:
        TypeError, ValueError: as ``KortewegDeVries``.

    Notes:
        Reference: ETDRK4 in Fourier space.

    Source: Zabusky & Kruskal, Phys. Rev. Lett. 15 (1965).
    """
    return Problem(
        KortewegDeVries(delta),
        Interval(-1.0, 1.0) * TimeInterval(0.0, 1.0),
        [InitialCondition(_start), Periodic("x")],
        reference=PeriodicSpectral(_Equation(), points=768, step=1e-4),
    )


def _start(x: Tensor) -> Tensor:
    return torch.cos(math.pi * x)


@dataclass(frozen=True)
class _Equation(AbstractSemilinear):
    derivative = 1

    def initial(self, x: Tensor) -> Tensor:
        return _start(x)

    def initial_modes(self, k: Tensor) -> Tensor:
        return 0.5 * (k == 1.0).to(k.dtype)

    def symbol(self, k: Tensor, parameters: Parameters) -> Tensor:
        return 1j * number(parameters, "delta") ** 2 * (math.pi * k) ** 3

    def nonlinear(self, u: Tensor, parameters: Parameters) -> Tensor:
        return -0.5 * u * u
