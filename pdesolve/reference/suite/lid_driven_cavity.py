"""The lid-driven cavity, with three lids."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from pdesolve.condition import Dirichlet
from pdesolve.domains.geometry import Rectangle
from pdesolve.pde.steady_navier_stokes import SteadyNavierStokes
from pdesolve.problem import Problem
from pdesolve.reference.cavity_flow import CavityFlow


def sine_lid(x: Any) -> Any:
    """sin πx."""
    return torch.sin(math.pi * x)


def parabolic_lid(x: Any) -> Any:
    """4 x (1 - x)."""
    return 4.0 * x * (1.0 - x)


def unit_lid(x: Any) -> Any:
    """1: u jumps in the upper corners."""
    return 1.0 + 0.0 * x


def cavity_problem(lid: Callable[[Any], Any] = parabolic_lid, reynolds: float = 100.0) -> Problem:
    """Steady Navier-Stokes on [0, 1]²: u = lid(x), v = 0 at y = 1, u = v = 0 on the other walls. Fields u, v, p.

    Arguments:
        lid: function of x (default 4 x (1 - x)); ``sine_lid``, ``parabolic_lid``, ``unit_lid`` or one of your own.
        reynolds: Re (default 100).

    Raises:
        TypeError, ValueError: as ``SteadyNavierStokes``; a lid that is no function of x.

    Notes:
        p is known up to a constant; compare differences. Where the lid's slope does not vanish at its ends, p has a
        logarithm in the upper corners, where it does not vanish itself, 1/r. Reference: Chebyshev collocation.

    Source: Ghia, Ghia & Shin, J. Comput. Phys. 48 (1982); Botella & Peyret, Comput. Fluids 27 (1998).
    """
    walls = ("left", "right", "bottom")
    return Problem(
        SteadyNavierStokes(reynolds),
        Rectangle((0.0, 1.0), (0.0, 1.0)),
        [
            Dirichlet(lambda x: lid(x), on="top", field="u"),
            Dirichlet(0.0, on=walls, field="u"),
            Dirichlet(0.0, field="v"),
        ],
        reference=CavityFlow(lid),
    )
