"""Klein-Gordon with a manufactured oscillation."""

from __future__ import annotations

from typing import Any

import torch

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains.geometry import Rectangle, TimeInterval
from pdesolve.pde.klein_gordon import KleinGordon
from pdesolve.problem import Problem
from pdesolve.reference.abstract import ExactSolution


def klein_gordon_problem(end: float = 10.0) -> Problem:
    """u_tt - Δu + u² = u*² - 4 u* on [-1, 1]² x [0, T] with the solution u* = (x + y) cos 2t + xy sin 2t.

    u and u_t at the start and u around the square are those of u*.

    Arguments:
        end: T (default 10).

    Raises:
        TypeError, ValueError: T that is no number above 0.

    Source: Cho et al., *Separable physics-informed neural networks*, NeurIPS 2023.
    """

    def source(c: Any, p: Any) -> Any:
        u = _exact(c.t, c.x, c.y)
        return u * u - 4.0 * u

    return Problem(
        KleinGordon(source=source),
        Rectangle((-1.0, 1.0), (-1.0, 1.0)) * TimeInterval(0.0, end),
        [InitialCondition(lambda x, y: x + y), InitialCondition(lambda x, y: 2.0 * x * y, order=1), Dirichlet(_exact)],
        reference=ExactSolution(_exact),
    )


def _exact(t: Any, x: Any, y: Any) -> Any:
    return (x + y) * torch.cos(2.0 * t) + x * y * torch.sin(2.0 * t)
