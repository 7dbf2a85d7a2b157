"""Heat equation in one to three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian


@dataclass(frozen=True)
class Heat(AbstractPDE):
    """u_t = κ Δu.

    Arguments:
        kappa: diffusivity κ > 0, in length²/time of the domain's own units (default 1). Between
            ends held at zero, L apart, the slowest mode decays in the time L²/(π² κ).
        axes: space axes of the Laplacian, a subset of "xyz" (default "x"); the domain must have them.

    Raises:
        ValueError: an axis outside "xyz", twice, or none; κ not positive and finite.
        TypeError: κ that is no number.

    Source: Fourier, *Théorie analytique de la chaleur* (1822); solutions in Carslaw & Jaeger, *Conduction of Heat in
    Solids* (1959).
    """

    kappa: float = 1.0
    axes: str = "x"

    def __post_init__(self) -> None:
        check_space_axes(self.axes)
        check_positive(kappa=self.kappa)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"kappa": self.kappa}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u = fields.u
        return u.t - parameters.kappa * laplacian(u, self.axes)
