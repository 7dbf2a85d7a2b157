"""Steady incompressible flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.burgers import COMPONENTS
from pdesolve.pde.laplacian import check_space_axes, laplacian


@dataclass(frozen=True)
class SteadyNavierStokes(AbstractPDE):
    """(u·∇) u + ∇p - Δu/Re = 0 and ∇·u = 0, dimensionless: one equation for each velocity, then continuity.

    Arguments:
        reynolds: Re > 0 (default 100).
        axes: space axes, a choice of "xyz" of at least two (default "xy"); the fields are the velocities u along x, v
            along y, w along z, and the pressure p.

    Raises:
        ValueError: Re not positive and finite; an axis outside "xyz", twice, or fewer than two.
        TypeError: Re that is no number.

    Notes:
        p is known up to a constant where no condition names it. For large Re the steady flow need not be stable or
        the only one.

    Source: Ghia, Ghia & Shin, J. Comput. Phys. 48 (1982), for the cavity.
    """

    reynolds: float = 100.0
    axes: str = "xy"

    def __post_init__(self) -> None:
        check_positive(reynolds=self.reynolds)
        check_space_axes(self.axes)
        if len(self.axes) < 2:
            raise ValueError(f"axes must be at least two, or continuity leaves no flow; got {self.axes!r}")

    @property
    def field_names(self) -> tuple[str, ...]:
        return (*(COMPONENTS[axis] for axis in self.axes), "p")

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"reynolds": self.reynolds}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Tensor, ...]:
        velocity = [(axis, getattr(fields, COMPONENTS[axis])) for axis in self.axes]
        equations = []
        for along, u in velocity:
            momentum = getattr(fields.p, along) - laplacian(u, self.axes) / parameters.reynolds
            for axis, speed in velocity:
                momentum = momentum + speed * getattr(u, axis)
            equations.append(momentum)
        divergence = getattr(velocity[0][1], velocity[0][0])
        for axis, u in velocity[1:]:
            divergence = divergence + getattr(u, axis)
        return (*equations, divergence)
