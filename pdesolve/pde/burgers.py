"""Viscous Burgers equation in one to three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian

COMPONENTS = {"x": "u", "y": "v", "z": "w"}
"""The velocity along each axis."""


@dataclass(frozen=True)
class Burgers(AbstractPDE):
    """u_t + (u·∇) u = ν Δu for the velocity u, one equation for each of its components.

    On the axis x: u_t + u u_x = ν u_xx. On x and y: u_t + u u_x + v u_y = ν Δu and v_t + u v_x + v v_y = ν Δv.

    Arguments:
        nu: viscosity ν > 0, in length²/time of the domain's own units; u is then in length/time (default 0.01/π,
            the PINN benchmark's).
        axes: space axes, a choice of "xyz" (default "x"); the domain must have them. The fields are u along x, v
            along y, w along z.

    Raises:
        ValueError: ν not positive and finite; an axis outside "xyz", twice, or none.
        TypeError: ν that is no number.

    Notes:
        For small ν fronts of width O(ν) form; the basis and the points must resolve them.

    Source: Burgers 1948; benchmark setting of Raissi, Perdikaris & Karniadakis 2019; in two dimensions Fletcher,
        Int. J. Numer. Meth. Fluids 3 (1983).
    """

    nu: float = 0.0031830988618379067
    axes: str = "x"

    def __post_init__(self) -> None:
        check_positive(nu=self.nu)
        check_space_axes(self.axes)

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(COMPONENTS[axis] for axis in self.axes)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"nu": self.nu}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Tensor, ...]:
        velocity = [(axis, getattr(fields, COMPONENTS[axis])) for axis in self.axes]
        equations = []
        for _, u in velocity:
            carried = u.t
            for axis, speed in velocity:
                carried = carried + speed * getattr(u, axis)
            equations.append(carried - parameters.nu * laplacian(u, self.axes))
        return tuple(equations)
