"""Where the conditions of a problem are entered, checked one against the other and against the equation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from pdesolve.condition.resolved import FaceCondition, ResolvedConditions
from pdesolve.condition.value import Value, check_value
from pdesolve.domains.geometry import Box
from pdesolve.namespace import nearest
from pdesolve.pde.trace import Trace

CHECKED_POINTS = 17


@final
class ConditionRegister:
    """Takes the conditions of one problem and gives one entry for each field and boundary.

    Arguments:
        domain: the problem's box.
        field_names: its unknowns.
        trace: what its residual reads; decides which conditions are needed.
        parameters: its parameters; functions are tried at these values.
    """

    def __init__(
        self, domain: Box, field_names: tuple[str, ...], trace: Trace, parameters: Mapping[str, float]
    ) -> None:
        self.domain, self.field_names, self.trace = domain, field_names, trace
        self._parameters = {k: torch.tensor(float(v), dtype=torch.float64) for k, v in parameters.items()}
        self._initial: dict[tuple[str, int], Value] = {}
        self._faces: dict[tuple[str, str], FaceCondition] = {}
        self._periodic: dict[str, tuple[str, ...]] = {}

    def add_initial(self, field: str | None, order: int, value: Value) -> None:
        """∂ⁿu/∂tⁿ = value at the start of time, n the order.

        Raises:
            TypeError, ValueError: no time axis, no order of the equation, a wrong value, a second entry.
        """
        if not self.domain.has_time:
            raise ValueError("an initial condition needs a time axis: multiply the domain by a TimeInterval")
        if isinstance(order, bool) or not isinstance(order, int):
            raise TypeError(f"the order of an initial condition must be an integer, got {order!r}")
        for name in self._fields(field):
            highest = self.trace.order("t", name)
            if not 0 <= order < max(1, highest):
                raise ValueError(
                    f"an initial condition of order {order} for field {name!r}, whose equation is of order {highest} "
                    "in time: allowed are orders below it"
                )
            check_value(value, self._known(t=self.domain.bounds("t")[0]), "initial condition")
            if (name, order) in self._initial:
                raise ValueError(f"field {name!r} has two initial conditions of order {order}: keep one")
            self._initial[name, order] = value

    def add_periodic(self, field: str | None, axis: str) -> None:
        """Both ends of a space axis are one place.

        Raises:
            ValueError: no such space axis, or named before.
        """
        if axis not in self.domain.space_axes:
            raise ValueError(f"Periodic({axis!r}): the space axes are {', '.join(self.domain.space_axes)}")
        for name in self._fields(field):
            if axis in self._periodic.get(name, ()):
                raise ValueError(f"field {name!r} is declared periodic along {axis!r} twice: keep one")
            self._periodic[name] = (*self._periodic.get(name, ()), axis)

    def add_faces(
        self,
        kind: str,
        on: str | tuple[str, ...] | None,
        field: str | None,
        *,
        alpha: Value,
        beta: Value,
        value: Value,
    ) -> None:
        """α u + β ∂u/∂n = value on boundaries in space, n outward.

        Arguments:
            kind: what messages call the condition.
            on: names of boundaries; None: all of them.
            field: the unknown; None: the only one.

        Raises:
            TypeError, ValueError: no such boundary, one in time, wrong values, α and β both zero, a second entry.
        """
        names = on if on is not None else self.domain.boundary_names
        if not isinstance(names, (str, tuple, list)):
            raise TypeError(f"{kind}: on must be a boundary name or a tuple of them, got {names!r}")
        if not names:
            raise ValueError(f"{kind}: on names no boundary; leave it out for all of them")
        for name in (names,) if isinstance(names, str) else names:
            self._add_face(kind, name, field, alpha, beta, value)

    def resolved(self) -> ResolvedConditions:
        """All entries.

        Raises:
            ValueError: a condition that the equation needs is missing, or contradicts a periodic axis.
        """
        for name in self.field_names:
            for order in range(self.trace.order("t", name) if self.domain.has_time else 0):
                if (name, order) not in self._initial:
                    raise ValueError(f"field {name!r} lacks an initial condition of order {order}: add one")
            for boundary_name in self.domain.boundary_names:
                self._check_face(name, boundary_name)
        return ResolvedConditions(self._initial, tuple(self._faces.values()), self._periodic)

    def _add_face(
        self, kind: str, boundary_name: str, field: str | None, alpha: Value, beta: Value, value: Value
    ) -> None:
        boundary = self.domain.boundary(boundary_name)
        what = f"{kind} on {boundary_name!r}"
        if boundary.axis == "t":
            raise ValueError(f"{what}: conditions at the start of time are InitialCondition, at its end there are none")
        for entry in (alpha, beta, value):
            check_value(entry, self._known(**{boundary.axis: boundary.position}), what)
        if alpha == 0 and beta == 0:
            raise ValueError(f"{what}: alpha and beta are both zero, so it says nothing about u")
        for name in self._fields(field):
            if (name, boundary_name) in self._faces:
                raise ValueError(
                    f"field {name!r} has two conditions on boundary {boundary_name!r}: keep one "
                    "(name the boundaries with on=...)"
                )
            self._faces[name, boundary_name] = FaceCondition(
                boundary_name, boundary.axis, boundary.side, boundary.position, name, alpha, beta, value
            )

    def _check_face(self, name: str, boundary_name: str) -> None:
        axis = self.domain.boundary(boundary_name).axis
        periodic = axis in self._periodic.get(name, ())
        given = (name, boundary_name) in self._faces
        if periodic and given:
            raise ValueError(f"field {name!r} is periodic along {axis} and has a condition on {boundary_name!r}")
        if not periodic and not given and self.trace.order(axis, name) >= 2:
            raise ValueError(
                f"field {name!r} has no condition on boundary {boundary_name!r}, but the equation is of second "
                f"or higher order along {axis}: add Dirichlet, Neumann, Robin or Periodic"
            )

    def _fields(self, name: str | None) -> tuple[str, ...]:
        names = self.field_names
        if name is None:
            if len(names) > 1:
                raise ValueError(f"a condition must name its field: the fields are {', '.join(names)}")
            return names
        if name not in names:
            raise ValueError(f"unknown field {name!r}: the fields are {', '.join(names)}{nearest(name, names)}")
        return (name,)

    def _known(self, **fixed: float) -> dict[str, Any]:
        """Points spread over the domain, with some axes fixed, and the parameters."""
        unit = torch.linspace(0.0, 1.0, CHECKED_POINTS, dtype=torch.float64)
        points = {}
        for i, axis in enumerate(self.domain.axes):
            lower, upper = self.domain.bounds(axis)
            spread = lower + (upper - lower) * unit.roll(5 * i)
            points[axis] = torch.full_like(unit, fixed[axis]) if axis in fixed else spread
        return {**points, **self._parameters}
