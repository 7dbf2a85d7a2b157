"""Three hills that diffuse through one another, held at zero around them."""

from __future__ import annotations

from typing import Any

import torch

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains.geometry import Rectangle, TimeInterval
from pdesolve.pde.nonlinear_diffusion import NonlinearDiffusion
from pdesolve.problem import Problem
from pdesolve.reference.degenerate_diffusion import DegenerateDiffusion


def nonlinear_diffusion_problem(kappa: float = 0.05) -> Problem:
    """u_t = κ ∇·(u ∇u) on [-1, 1]² x [0, 1], u = 0 around it; the start is a sum of three Gaussians.

    u(x, y, 0) = 0.25 exp(-10 [(x - 0.3)² + (y - 0.2)²]) + 0.4 exp(-15 [(x + 0.5)² + (y + 0.1)²])
    + 0.3 exp(-20 [x² + (y + 0.5)²]).

    Arguments:
        kappa: κ (default 0.05).

    Raises:
        TypeError, ValueError: as ``NonlinearDiffusion``.

    Notes:
        The start is not zero on the boundary (9e-3 at x = -1) and the diffusivity vanishes with u: a layer like the
        square root of the distance grows from the walls. Reference: graded finite volumes in u².

    Source: Cho et al., *Separable physics-informed neural networks*, NeurIPS 2023.
    """
    box = Rectangle((-1.0, 1.0), (-1.0, 1.0)) * TimeInterval(0.0, 1.0)
    return Problem(
        NonlinearDiffusion(kappa),
        box,
        [InitialCondition(_hills), Dirichlet(0.0)],
        reference=DegenerateDiffusion(_hills, box),
    )


def _hills(x: Any, y: Any) -> Any:
    def hill(height: float, steepness: float, east: float, north: float) -> Any:
        return height * torch.exp(-steepness * ((x - east) ** 2 + (y - north) ** 2))

    return hill(0.25, 10.0, 0.3, 0.2) + hill(0.4, 15.0, -0.5, -0.1) + hill(0.3, 20.0, 0.0, -0.5)
