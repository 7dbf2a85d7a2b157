"""Transport by a given velocity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values
from pdesolve.pde.laplacian import check_space_axes
from pdesolve.pde.source import Source, check_source


@dataclass(frozen=True)
class Transport(AbstractPDE):
    """u_t + a(t, x)·∇u = 0.

    Arguments:
        velocity: a by axis, such as ``{"x": lambda c, p: -c.y, "y": lambda c, p: c.x}``, in length/time; the axes named
            are those along which u is carried. Called as ``a(coordinates, parameters)``.
        coefficients: default values of parameters that the velocity reads (default none).

    Raises:
        ValueError: an axis outside "xyz", or none.
        TypeError: a velocity that is no mapping or whose entries cannot be called.

    Notes:
        Conditions belong to the boundaries where the flow enters; elsewhere they are redundant, and must then agree
        with the solution. A shear winds up u without bound: gradients grow like t.
    """

    velocity: Mapping[str, Source]
    coefficients: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.velocity, Mapping):
            raise TypeError(
                f"velocity must map axes to functions, as in {{'x': lambda c, p: c.y}}, got "
                f"{type(self.velocity).__name__}"
            )
        check_space_axes("".join(self.velocity))
        for axis, component in self.velocity.items():
            check_source(component, f"the velocity along {axis}")

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return dict(self.coefficients or {})

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        total = fields.u.t
        for axis, component in self.velocity.items():
            total = total + component(coordinates, parameters) * getattr(fields.u, axis)
        return total
