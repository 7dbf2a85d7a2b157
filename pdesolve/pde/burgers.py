"""Viscous Burgers equation in one dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive


@dataclass(frozen=True)
class Burgers(AbstractPDE):
    """u_t + u u_x = ν u_xx.

    Arguments:
        nu: viscosity ν > 0, in length²/time of the domain's own units; u is then in length/time (default 0.01/π,
            the PINN benchmark's).

    Raises:
        ValueError: ν not positive and finite.
        TypeError: ν that is no number.

    Notes:
        For small ν fronts of width O(ν) form; the basis and the points must resolve them.

    Source: Burgers 1948; benchmark setting of Raissi, Perdikaris & Karniadakis 2019.
    """

    nu: float = 0.0031830988618379067

    def __post_init__(self) -> None:
        check_positive(nu=self.nu)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return asdict(self)

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u = fields.u
        residual: Tensor = u.t + u * u.x - parameters.nu * u.xx
        return residual
