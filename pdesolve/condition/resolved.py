"""What a problem's conditions come to: one entry for each field and boundary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pdesolve.condition.value import Value
from pdesolve.domains.geometry import BOUNDARIES


@dataclass(frozen=True)
class FaceCondition:
    """One α u + β ∂u/∂n = γ on one named boundary, resolved from the user's condition.

    Arguments:
        boundary: the boundary's name.
        axis: axis that it is normal to.
        side: -1 at the lower end, +1 at the upper.
        position: where it is on that axis.
        field: the unknown.
        alpha, beta, value: α, β, γ.
    """

    boundary: str
    axis: str
    side: int
    position: float
    field: str
    alpha: Value
    beta: Value
    value: Value

    @property
    def is_dirichlet(self) -> bool:
        """β is the constant zero."""
        return isinstance(self.beta, (int, float)) and self.beta == 0

    @property
    def is_neumann(self) -> bool:
        """α is the constant zero."""
        return isinstance(self.alpha, (int, float)) and self.alpha == 0


@dataclass(frozen=True)
class FluxCondition:
    """n·F + α u = γ on one named boundary of a mesh, F the flux of the equation.

    Arguments:
        boundary: the boundary's name.
        field: the unknown.
        alpha, value: α, γ.
    """

    boundary: str
    field: str
    alpha: Value
    value: Value


@dataclass(frozen=True)
class ResolvedConditions:
    """All conditions of a problem, one entry for each field and boundary.

    Arguments:
        initial: (field, time order) -> value.
        faces: one entry for each field and boundary that is not periodic.
        periodic: axes that are periodic, by field.
        fluxes: prescribed fluxes, on meshes.
    """

    initial: Mapping[tuple[str, int], Value] = field(default_factory=dict)
    faces: tuple[FaceCondition, ...] = ()
    periodic: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fluxes: tuple[FluxCondition, ...] = ()

    def face(self, field_name: str, boundary: str) -> FaceCondition:
        """The condition of a field on a boundary."""
        for face in self.faces:
            if (face.field, face.boundary) == (field_name, boundary):
                return face
        raise ValueError(f"field {field_name!r} has no condition on boundary {boundary!r}")

    def prescribes_value(self, field_name: str, boundary: str) -> bool:
        """Whether the condition there is one on u itself: at the start of time ("initial"), or Dirichlet."""
        return boundary == BOUNDARIES["t"][0] or self.face(field_name, boundary).is_dirichlet
