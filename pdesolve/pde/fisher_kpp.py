"""Fisher's equation: diffusion with logistic growth, as in PDEBench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian


@dataclass(frozen=True)
class FisherKPP(AbstractPDE):
    """u_t = ν Δu + ρ u (1 - u).

    Arguments:
        nu: diffusivity ν > 0, in length²/time of the domain's own units (default 0.5, PDEBench's).
        rho: growth rate ρ > 0, in 1/time (default 1, PDEBench's).
        axes: space axes, a choice of "xyz" (default "x"); the domain must have them.

    Raises:
        ValueError: a parameter not positive and finite; an axis outside "xyz", twice, or none.
        TypeError: a parameter that is no number.

    Notes:
        Stays within [0, 1] for initial values there; below 0 the solution runs away in finite time. Fronts have the
        width sqrt(ν/ρ) and run at 2 sqrt(ν ρ).

    Source: Fisher 1937; Kolmogorov, Petrovsky & Piskunov 1937; benchmark setting of Takamoto et al., *PDEBench*
        (NeurIPS 2022): one periodic dimension.
    """

    nu: float = 0.5
    rho: float = 1.0
    axes: str = "x"

    def __post_init__(self) -> None:
        check_positive(**self.parameters)
        check_space_axes(self.axes)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"nu": self.nu, "rho": self.rho}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u, p = fields.u, parameters
        residual: Tensor = u.t - p.nu * laplacian(u, self.axes) - p.rho * u * (1.0 - u)
        return residual
