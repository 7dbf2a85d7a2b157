"""What an equation is: a residual written once in terms of named derivatives."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch import Tensor

from pdesolve.domains.geometry import is_finite
from pdesolve.namespace import Namespace
from pdesolve.pde.variable import FieldVariable

Fields = Namespace[FieldVariable]
Values = Namespace[Tensor]
Residual = Tensor | tuple[Tensor, ...]


class AbstractPDE(abc.ABC):
    """A partial differential equation F(u, ∂u, x; parameters) = 0, or a system of them.

    Subclasses are frozen dataclasses whose fields are the default parameters. ``residual`` reads parameters
    only from its argument, so that families of problems and gradients reach them.
    """

    @property
    def name(self) -> str:
        """What records call it: the class, or the user's function."""
        return type(self).__name__

    @property
    @abc.abstractmethod
    def field_names(self) -> tuple[str, ...]:
        """Names of the unknown fields, such as ("u",)."""

    @property
    @abc.abstractmethod
    def parameters(self) -> Mapping[str, float]:
        """Default parameters by name."""

    @abc.abstractmethod
    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Residual:
        """The left-hand side of F = 0 at given points.

        Arguments:
            fields: ``fields.u`` is the value of u at the points, ``fields.u.t``, ``fields.u.xx`` its derivatives.
            coordinates: ``coordinates.t``, ``coordinates.x``, ... at the same points.
            parameters: ``parameters.nu`` and so on, shaped to broadcast against the points.

        Returns:
            One tensor shaped like the points, or a tuple with one for each equation. The residual must act
            point by point: its value at a point may depend on the fields at that point only.
        """


@final
class FunctionPDE(AbstractPDE):
    """A user's plain function as an equation.

    Arguments:
        residual: called as ``residual(fields, coordinates, parameters)``, see ``AbstractPDE.residual``.
        fields: names of the unknowns (default ("u",)).
        parameters: defaults by name (default none; ``Problem(..., parameters=...)`` adds to them).

    Raises:
        TypeError: a residual that cannot be called, or fields given as one string.
        ValueError: no field, or one named twice. What the residual does is checked by ``Problem``, which runs it.
    """

    def __init__(
        self,
        residual: Callable[[Any, Any, Any], Residual],
        fields: Sequence[str] = ("u",),
        parameters: Mapping[str, float] | None = None,
    ) -> None:
        if not callable(residual):
            raise TypeError(f"residual must be callable, got {type(residual).__name__}")
        if isinstance(fields, str):
            raise TypeError(f"fields must be a sequence of names such as ({fields!r},), got the string {fields!r}")
        if not fields or len(set(fields)) < len(tuple(fields)):
            raise ValueError(f"fields must be at least one name and none twice, got {tuple(fields)}")
        self._residual = residual
        self._fields = tuple(fields)
        self._parameters = dict(parameters or {})

    @property
    def name(self) -> str:
        return f"{self._residual.__module__}.{getattr(self._residual, '__qualname__', type(self._residual).__name__)}"

    @property
    def field_names(self) -> tuple[str, ...]:
        return self._fields

    @property
    def parameters(self) -> Mapping[str, float]:
        return self._parameters

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Residual:
        return self._residual(fields, coordinates, parameters)


def check_positive(**values: float) -> None:
    """Raise unless every value is a finite number above zero."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r}")
        if not (is_finite(value) and value > 0):
            raise ValueError(f"{name} must be finite and > 0, got {value}")
