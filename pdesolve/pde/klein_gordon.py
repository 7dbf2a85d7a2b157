"""Klein-Gordon equation with a quadratic term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian
from pdesolve.pde.source import Source, check_source, no_source


@dataclass(frozen=True)
class KleinGordon(AbstractPDE):
    """u_tt = c² Δu - β u² + f(t, x), second order in time: give u and u_t at the start.

    Arguments:
        speed: c > 0, in length/time of the domain's own units (default 1).
        strength: β > 0 (default 1, the benchmark's).
        source: f, called as ``source(coordinates, parameters)`` (default 0).
        axes: space axes, a choice of "xyz" (default "xy"); the domain must have them.

    Raises:
        ValueError: a parameter not positive and finite; an axis outside "xyz", twice, or none.
        TypeError: a parameter that is no number, a source that cannot be called.

    Notes:
        For negative u the quadratic term drives u further down: such solutions run away in finite time unless the
        source holds them.

    Source: Cho et al., *Separable physics-informed neural networks*, NeurIPS 2023, for the benchmark in two dimensions.
    """

    speed: float = 1.0
    strength: float = 1.0
    source: Source = no_source
    axes: str = "xy"

    def __post_init__(self) -> None:
        check_positive(**self.parameters)
        check_source(self.source, "source")
        check_space_axes(self.axes)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"speed": self.speed, "strength": self.strength}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u, p = fields.u, parameters
        wave = u.tt - p.speed * p.speed * laplacian(u, self.axes)
        residual: Tensor = wave + p.strength * u * u - self.source(coordinates, parameters)
        return residual
