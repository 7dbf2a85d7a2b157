"""Where the conditions of a problem are entered, checked one against the other and against the equation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from pdesolve.condition.resolved import FaceCondition, FluxCondition, ResolvedConditions
from pdesolve.condition.value import Value, check_value
from pdesolve.domains.geometry import BOUNDARIES, Boundary, Box
from pdesolve.domains.mesh_domain import NORMAL, MeshDomain
from pdesolve.namespace import nearest
from pdesolve.pde.trace import Trace

CHECKED_POINTS = 17


@final
class ConditionRegister:
    """Takes the conditions of one problem and gives one entry for each field and boundary.

    Arguments:
        domain: the problem's, a box or a mesh.
        field_names: its unknowns.
        trace: what its residual reads; decides which conditions are needed.
        parameters: its parameters; functions are tried at these values.
    """

    def __init__(
        self, domain: Box | MeshDomain, field_names: tuple[str, ...], trace: Trace, parameters: Mapping[str, float]
    ) -> None:
        self.domain, self.field_names, self.trace = domain, field_names, trace
        self._parameters = {k: torch.tensor(float(v), dtype=torch.float64) for k, v in parameters.items()}
        self._initial: dict[tuple[str, int], Value] = {}
        self._faces: dict[tuple[str, str], FaceCondition] = {}
        self._fluxes: dict[tuple[str, str], FluxCondition] = {}
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
            check_value(value, self._known(self.domain.boundary(BOUNDARIES["t"][0])), "initial condition")
            if (name, order) in self._initial:
                raise ValueError(f"field {name!r} has two initial conditions of order {order}: keep one")
            self._initial[name, order] = value

    def add_periodic(self, field: str | None, axis: str) -> None:
        """Both ends of a space axis are one place.

        Raises:
            ValueError: no such space axis, or named before.
        """
        if not isinstance(self.domain, Box):
            raise ValueError(f"Periodic({axis!r}): meshes have no periodic axes; name boundaries and give conditions")
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
        for name in self._boundaries(kind, on):
            self._add_face(kind, name, field, alpha, beta, value)

    def add_fluxes(self, on: str | tuple[str, ...] | None, field: str | None, *, alpha: Value, value: Value) -> None:
        """n·F + α u = value on boundaries of a mesh, F the flux of the equation in divergence form, n outward.

        Arguments:
            on, field: as for ``add_faces``.

        Raises:
            TypeError, ValueError: as for ``add_faces``; a domain that is a box.
        """
        if isinstance(self.domain, Box):
            raise ValueError("Flux is for problems on meshes: on a box write Neumann or Robin")
        for name in self._boundaries("Flux", on):
            what, boundary = f"Flux on {name!r}", self.domain.boundary(name)
            for entry in (alpha, value):
                check_value(entry, self._known(boundary), what)
            for owner in self._fields(field):
                self._check_new(owner, name)
                self._fluxes[owner, name] = FluxCondition(name, owner, alpha, value)

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
        return ResolvedConditions(
            self._initial, tuple(self._faces.values()), self._periodic, tuple(self._fluxes.values())
        )

    def _boundaries(self, kind: str, on: str | tuple[str, ...] | None) -> tuple[str, ...]:
        names = on if on is not None else self.domain.boundary_names
        if not isinstance(names, (str, tuple, list)):
            raise TypeError(f"{kind}: on must be a boundary name or a tuple of them, got {names!r}")
        if not names:
            raise ValueError(f"{kind}: on names no boundary; leave it out for all of them")
        return (names,) if isinstance(names, str) else tuple(names)

    def _add_face(
        self, kind: str, boundary_name: str, field: str | None, alpha: Value, beta: Value, value: Value
    ) -> None:
        boundary = self.domain.boundary(boundary_name)
        what = f"{kind} on {boundary_name!r}"
        if boundary.axis == "t":
            raise ValueError(f"{what}: conditions at the start of time are InitialCondition, at its end there are none")
        for entry in (alpha, beta, value):
            check_value(entry, self._known(boundary), what)
        if alpha == 0 and beta == 0:
            raise ValueError(f"{what}: alpha and beta are both zero, so it says nothing about u")
        for name in self._fields(field):
            self._check_new(name, boundary_name)
            self._faces[name, boundary_name] = FaceCondition(
                boundary_name, boundary.axis, boundary.side, boundary.position, name, alpha, beta, value
            )

    def _check_new(self, name: str, boundary_name: str) -> None:
        if (name, boundary_name) in self._faces or (name, boundary_name) in self._fluxes:
            raise ValueError(
                f"field {name!r} has two conditions on boundary {boundary_name!r}: keep one "
                "(name the boundaries with on=...)"
            )

    def _check_face(self, name: str, boundary_name: str) -> None:
        axis = self.domain.boundary(boundary_name).axis
        across = self.domain.space_axes if axis == NORMAL else (axis,)
        periodic = axis in self._periodic.get(name, ())
        given = (name, boundary_name) in self._faces or (name, boundary_name) in self._fluxes
        if periodic and given:
            raise ValueError(f"field {name!r} is periodic along {axis} and has a condition on {boundary_name!r}")
        if not periodic and not given and max(self.trace.order(a, name) for a in across) >= 2:
            raise ValueError(
                f"field {name!r} has no condition on boundary {boundary_name!r}, but the equation is of second "
                f"or higher order along {', '.join(across)}: add Dirichlet, Neumann, Robin or Periodic"
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

    def _known(self, boundary: Boundary) -> dict[str, Any]:
        """Points spread over a part of the boundary, and the parameters."""
        return {**self.domain.probe(CHECKED_POINTS, boundary), **self._parameters}
