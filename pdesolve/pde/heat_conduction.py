"""Heat conduction, in divergence form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdesolve.pde.abstract import Fields, Values, check_positive
from pdesolve.pde.divergence_form import AbstractDivergenceForm, Fluxes
from pdesolve.pde.laplacian import check_space_axes


@dataclass(frozen=True)
class HeatConduction(AbstractDivergenceForm):
    """ρc u_t - ∇·(a ∇u) = f.

    Arguments:
        a: conductivity a > 0 (default 1).
        capacity: ρc > 0, heat for each volume and degree (default 1).
        f: source (default 0).
        axes: space axes (default "xy"); the domain must have them, and time.

    Raises:
        ValueError: wrong axes, a or the capacity not positive.
        TypeError: something that is no number.
    """

    a: float = 1.0
    capacity: float = 1.0
    f: float = 0.0
    axes: str = "xy"

    def __post_init__(self) -> None:
        check_space_axes(self.axes)
        check_positive(a=self.a, capacity=self.capacity)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"a": self.a, "capacity": self.capacity, "f": self.f}

    def flux(self, fields: Fields, coordinates: Values, parameters: Values) -> Fluxes:
        return (tuple(parameters.a * getattr(fields.u, axis) for axis in self.axes),)

    def source(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Any, ...]:
        return (parameters.capacity * fields.u.t - parameters.f,)
