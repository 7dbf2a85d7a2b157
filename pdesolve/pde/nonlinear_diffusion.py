"""Diffusion whose diffusivity is the solution itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian


@dataclass(frozen=True)
class NonlinearDiffusion(AbstractPDE):
    """u_t = κ ∇·(u ∇u) = κ (∇u·∇u + u Δu).

    Arguments:
        kappa: κ > 0, in length²/time over the unit of u (default 0.05, the benchmark's).
        axes: space axes, a choice of "xyz" (default "xy"); the domain must have them.

    Raises:
        ValueError: κ not positive and finite; an axis outside "xyz", twice, or none.
        TypeError: κ that is no number.

    Notes:
        The diffusivity vanishes with u: at a boundary with u = 0 the solution rises like the square root of the
        distance, with an unbounded gradient, and u² is the smooth quantity. Below zero the equation is ill-posed.

    Source: Boussinesq's equation of groundwater flow, the porous-medium equation with exponent 2 (Vázquez, *The Porous
        Medium Equation*, 2007); benchmark setting of Cho et al., NeurIPS 2023.
    """

    kappa: float = 0.05
    axes: str = "xy"

    def __post_init__(self) -> None:
        check_positive(kappa=self.kappa)
        check_space_axes(self.axes)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"kappa": self.kappa}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u = fields.u
        flux = u.value * laplacian(u, self.axes)
        for axis in self.axes:
            slope = getattr(u, axis)
            flux = flux + slope * slope
        return u.t - parameters.kappa * flux
