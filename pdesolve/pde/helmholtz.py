"""Helmholtz equation with a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian
from pdesolve.pde.source import Source, check_source, no_source


@dataclass(frozen=True)
class Helmholtz(AbstractPDE):
    """Δu + k² u = q(x).

    Arguments:
        wavenumber: k > 0, in 1/length of the domain's own units (default 1, the PINN benchmark's).
        source: q, called as ``source(coordinates, parameters)`` (default 0).
        axes: space axes, a choice of "xyz" (default "xy"); the domain must have them.

    Raises:
        ValueError: k not positive and finite; an axis outside "xyz", twice, or none.
        TypeError: k that is no number, a source that cannot be called.

    Notes:
        Singular where k² is an eigenvalue of -Δ under the problem's conditions; on [-1, 1]² with u = 0 around it the
        lowest is π²/2.

    Source: benchmark setting of Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43 (2021).
    """

    wavenumber: float = 1.0
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
        return {"wavenumber": self.wavenumber}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u, k = fields.u, parameters.wavenumber
        residual: Tensor = laplacian(u, self.axes) + k * k * u.value - self.source(coordinates, parameters)
        return residual
