"""Allen-Cahn equation: phase separation with thin fronts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian


@dataclass(frozen=True)
class AllenCahn(AbstractPDE):
    """u_t = D Δu - λ (u³ - u).

    Arguments:
        diffusivity: D > 0, in length²/time of the domain's own units (default 1e-4, the PINN benchmark's).
        rate: λ > 0, in 1/time (default 5, the benchmark's).
        axes: space axes, a choice of "xyz" (default "x"); the domain must have them.

    Raises:
        ValueError: a parameter not positive and finite; an axis outside "xyz", twice, or none.
        TypeError: a parameter that is no number.

    Notes:
        u tends to ±1, and fronts between them have the width sqrt(8 D/λ), 0.013 for the defaults: the basis and the
        points must resolve them. u = 0 is unstable: what a solver does wrong early grows like exp(λ t).

    Source: Allen & Cahn 1979; benchmark setting of Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019).
    """

    diffusivity: float = 1e-4
    rate: float = 5.0
    axes: str = "x"

    def __post_init__(self) -> None:
        check_positive(**self.parameters)
        check_space_axes(self.axes)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"diffusivity": self.diffusivity, "rate": self.rate}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u, p = fields.u, parameters
        residual: Tensor = u.t - p.diffusivity * laplacian(u, self.axes) + p.rate * (u * u * u - u)
        return residual
