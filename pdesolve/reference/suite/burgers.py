"""Burgers' equation with a front in the middle."""

from __future__ import annotations

import math

import torch

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains.geometry import Interval, TimeInterval
from pdesolve.pde.burgers import Burgers
from pdesolve.problem import Problem
from pdesolve.reference.cole_hopf import ColeHopf


def burgers_problem(nu: float = 0.01 / math.pi) -> Problem:
    """u_t + u u_x = ν u_xx on x in [-1, 1], t in [0, 1], u = 0 at both ends; u(x, 0) = -sin πx.

    Arguments:
        nu: ν (default 0.01/π).

    Raises:
        TypeError, ValueError: as ``Burgers``.

    Notes:
        A front of the width O(ν) stands at x = 0 from t = 1/π on. Reference: Cole-Hopf.

    Source: Basdevant et al., Comput. Fluids 14 (1986); Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019).
    """
    return Problem(
        Burgers(nu),
        Interval(-1.0, 1.0) * TimeInterval(0.0, 1.0),
        [InitialCondition(lambda x: -torch.sin(math.pi * x)), Dirichlet(0.0)],
        reference=ColeHopf(),
    )
