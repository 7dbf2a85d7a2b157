"""Linear transport by a given velocity, with diffusion if wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdesolve.domains.geometry import is_finite
from pdesolve.namespace import Namespace
from pdesolve.pde.abstract import AbstractPDE, Fields, Values
from pdesolve.pde.laplacian import check_space_axes, laplacian

_PROBES = 7
Velocity = float | tuple[float, ...] | Callable[[Any, Any], Tensor | float | tuple[Tensor | float, ...]]


@dataclass(frozen=True)
class LinearAdvection(AbstractPDE):
    """u_t + a(x, t)·∇u = ν Δu.

    Arguments:
        velocity: a in length/time: a number, a tuple of one for each axis, or a function of coordinates and parameters
            that gives such, as ``lambda c, p: p.c + torch.sin(c.x)``; tensors shaped like the points, or numbers.
        nu: diffusivity ν >= 0, in length²/time (default 0; the equation then reads no second derivative).
        axes: space axes, a choice of "xyz" (default "x"); the domain must have them.
        constants: what the velocity reads besides coordinates, by name (default none); they become parameters.

    Raises:
        TypeError: ν or a velocity of another type.
        ValueError: ν negative or not finite; a velocity that reads unknown names, is not finite, or has another shape
            than its points or another number of entries than there are axes.

    Notes:
        A function is tried at a few points of the unit box when the equation is made; what it gives elsewhere is
        judged where it is used.

    Source: Courant & Hilbert, *Methods of Mathematical Physics* II (1962), chapter I.
    """

    velocity: Velocity
    nu: float = 0.0
    axes: str = "x"
    constants: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_space_axes(self.axes)
        if isinstance(self.nu, bool) or not isinstance(self.nu, (int, float)):
            raise TypeError(f"nu must be a number, got {self.nu!r}")
        if not (is_finite(self.nu) and self.nu >= 0):
            raise ValueError(f"nu must be finite and >= 0, got {self.nu}")
        if "nu" in self.constants:
            raise ValueError("a constant cannot be called 'nu': that is the diffusivity")
        probe = torch.linspace(0.05, 0.95, _PROBES, dtype=torch.float64)
        coordinates = Namespace({a: probe.roll(2 * i) for i, a in enumerate(("t", *self.axes))}, "coordinate")
        constants = {k: torch.full((1,), float(v), dtype=torch.float64) for k, v in self.constants.items()}
        try:
            speeds = self._velocity(coordinates, Namespace(constants, "parameter"))
        except AttributeError as error:
            raise ValueError(f"the velocity cannot be evaluated: {error}") from error
        for axis, speed in zip(self.axes, speeds, strict=True):
            _check_speed(speed, axis, probe.shape)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {**({"nu": self.nu} if self.nu else {}), **self.constants}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u = fields.u
        total = u.t
        for axis, speed in zip(self.axes, self._velocity(coordinates, parameters), strict=True):
            total = total + speed * getattr(u, axis)
        return total - parameters.nu * laplacian(u, self.axes) if self.nu else total

    def _velocity(self, coordinates: Values, parameters: Values) -> tuple[Tensor | float, ...]:
        given = self.velocity(coordinates, parameters) if callable(self.velocity) else self.velocity
        speeds = given if isinstance(given, tuple) else (given,)
        if len(speeds) != len(self.axes):
            raise ValueError(f"the velocity has {len(speeds)} entries for the axes {self.axes!r}: give one for each")
        return speeds


def _check_speed(speed: object, axis: str, shape: torch.Size) -> None:
    what = f"the velocity along {axis}"
    if isinstance(speed, bool) or not isinstance(speed, (int, float, Tensor)):
        raise TypeError(f"{what} must be a number or a tensor of torch functions, got {type(speed).__name__}")
    found = torch.as_tensor(speed, dtype=torch.float64)
    if found.shape not in (torch.Size(), torch.Size([1]), shape):
        raise ValueError(f"{what} has shape {tuple(found.shape)} at points {tuple(shape)}: give one value each")
    if not bool(torch.isfinite(found).all()):
        bad = float(found.flatten()[~torch.isfinite(found).flatten()][0])
        raise ValueError(f"{what} is not finite ({bad}) in the unit box: check the function and its constants")
