"""Steady diffusion with transport and reaction, in divergence form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pdesolve.pde.abstract import Fields, Values, check_positive
from pdesolve.pde.divergence_form import AbstractDivergenceForm, Fluxes
from pdesolve.pde.laplacian import check_space_axes


@dataclass(frozen=True)
class Diffusion(AbstractDivergenceForm):
    """-∇·(a ∇u) + b·∇u + c u = f.

    Arguments:
        a: conductivity a > 0 (default 1).
        f: source (default 0).
        c: reaction rate, 1/time (default 0).
        velocity: b, one number for each axis (default none, b = 0); its components are the parameters "bx", "by", "bz".
        axes: space axes (default "xy"); the domain must have them.

    Raises:
        ValueError: wrong axes, a not positive, or a velocity of another length than the axes.
        TypeError: something that is no number.

    Notes:
        All are parameters, so that a mesh solver takes fields of them: ``{"a": CellValues(values)}``.
    """

    a: float = 1.0
    f: float = 0.0
    c: float = 0.0
    velocity: tuple[float, ...] = ()
    axes: str = "xy"

    def __post_init__(self) -> None:
        check_space_axes(self.axes)
        check_positive(a=self.a)
        if self.velocity and len(self.velocity) != len(self.axes):
            raise ValueError(f"velocity needs one number for each of {self.axes!r}, got {self.velocity}")

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        speeds = {f"b{axis}": v for axis, v in zip(self.axes, self.velocity, strict=False)}
        return {"a": self.a, "f": self.f, "c": self.c, **speeds}

    def flux(self, fields: Fields, coordinates: Values, parameters: Values) -> Fluxes:
        return (tuple(parameters.a * getattr(fields.u, axis) for axis in self.axes),)

    def source(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Any, ...]:
        total = parameters.c * fields.u - parameters.f
        if self.velocity:
            total = total + sum(parameters[f"b{axis}"] * getattr(fields.u, axis) for axis in self.axes)
        return (total,)
