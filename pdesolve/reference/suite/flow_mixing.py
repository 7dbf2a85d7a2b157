"""A vortex that winds up a step."""

from __future__ import annotations

from typing import Any

import torch

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains.geometry import Rectangle, TimeInterval
from pdesolve.pde.linear_advection import LinearAdvection
from pdesolve.problem import Problem
from pdesolve.reference.abstract import ExactSolution

_TINY = 1e-24  # keeps the root's slope finite in the centre, where tanh(r)/r is 1


def flow_mixing_problem(fastest: float = 0.385, end: float = 4.0) -> Problem:
    """u_t - ω y u_x + ω x u_y = 0 on [-4, 4]² x [0, T], ω = sech²r tanh r / (r v_max).

    The solution u = -tanh((y cos ωt - x sin ωt)/2) gives the values at the start and around the square.

    Arguments:
        fastest: v_max (default 0.385).
        end: T (default 4).

    Raises:
        TypeError, ValueError: numbers that are not finite, or T <= 0.

    Notes:
        ω falls with r, so u winds up and its radial slope grows like t. Values are given on the whole boundary; where
        the flow leaves they are redundant.

    Source: Tamamidis & Assanis, J. Comput. Phys. 1993; Cho et al., NeurIPS 2023, for the benchmark.
    """

    def angular(x: Any, y: Any, fastest: Any) -> Any:
        r = torch.sqrt(x * x + y * y + _TINY)
        swirl = torch.tanh(r)
        return (1.0 - swirl * swirl) * swirl / (r * fastest)

    def exact(t: Any, x: Any, y: Any, fastest: Any) -> Any:
        angle = angular(x, y, fastest) * t
        return -torch.tanh(0.5 * (y * torch.cos(angle) - x * torch.sin(angle)))

    def velocity(c: Any, p: Any) -> tuple[Any, Any]:
        rate = angular(c.x, c.y, p.fastest)
        return -rate * c.y, rate * c.x

    return Problem(
        LinearAdvection(velocity, axes="xy", constants={"fastest": fastest}),
        Rectangle((-4.0, 4.0), (-4.0, 4.0)) * TimeInterval(0.0, end),
        [InitialCondition(lambda y: -torch.tanh(0.5 * y)), Dirichlet(exact)],
        reference=ExactSolution(exact),
    )
