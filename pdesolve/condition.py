"""Initial and boundary conditions on named parts of the boundary."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdesolve.namespace import nearest

Value = float | Callable[..., Any]
"""A constant, or a function whose argument names say what it reads: axes ("x", "t") or parameters ("u0")."""


def arguments(value: Value) -> tuple[str, ...]:
    """The names that a condition's value reads.

    Raises:
        TypeError: a callable whose argument names cannot be read.
    """
    if not callable(value):
        return ()
    try:
        return tuple(inspect.signature(value).parameters)
    except ValueError:
        raise TypeError(
            f"the argument names of {value!r} cannot be read: wrap it, for example lambda x: {value!r}(x)"
        ) from None


def value_at(value: Value, known: Mapping[str, Any]) -> Any:
    """The condition's value where ``known`` maps axes and parameters to tensors or jets.

    Returns a number, tensor or jet; broadcast it against the points.
    """
    if not callable(value):
        return value
    return value(**{name: known[name] for name in arguments(value)})


def check_value(value: Value, known: Mapping[str, Any], what: str) -> None:
    """Raise unless ``value`` is a finite number or a function of known names that gives finite values."""
    if isinstance(value, bool) or not (callable(value) or isinstance(value, (int, float))):
        raise TypeError(f"{what}: a number or a function is expected, got {type(value).__name__}")
    for name in arguments(value):
        if name not in known:
            raise ValueError(
                f"{what}: its function reads {name!r}, which is neither an axis nor a parameter: "
                f"known are {', '.join(known)}{nearest(name, known)}"
            )
    try:
        sample = torch.as_tensor(value_at(value, known), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{what}: its function fails on tensors ({error}): write it with torch functions, torch.sin for math.sin"
        ) from error
    bad = ~torch.isfinite(sample)
    if bool(bad.any()):
        raise ValueError(
            f"{what}: its value is not finite ({sample[bad].flatten()[0].item()}) somewhere on its boundary"
        )


@dataclass(frozen=True)
class InitialCondition:
    """∂ⁿu/∂tⁿ = value at the start of the time interval.

    Arguments:
        value: a number, or a function of axes and parameters by name: ``lambda x: -sin(pi * x)``,
            ``lambda u0: u0``.
        field: the unknown it is for (default: the only one).
        order: n, 0 for u itself, 1 for u_t.
    """

    value: Value
    field: str | None = None
    order: int = 0


@dataclass(frozen=True)
class Dirichlet:
    """u = value on the boundaries named ``on``.

    Arguments:
        value: a number, or a function of axes and parameters by name.
        on: boundary names, such as "left" or ("left", "right"); default every boundary.
        field: the unknown it is for (default: the only one).
    """

    value: Value
    on: str | tuple[str, ...] | None = None
    field: str | None = None

    @property
    def alpha(self) -> Value:
        return 1.0

    @property
    def beta(self) -> Value:
        return 0.0


@dataclass(frozen=True)
class Neumann:
    """∂u/∂n = value (outward normal derivative) on the boundaries named ``on``; arguments as ``Dirichlet``."""

    value: Value
    on: str | tuple[str, ...] | None = None
    field: str | None = None

    @property
    def alpha(self) -> Value:
        return 0.0

    @property
    def beta(self) -> Value:
        return 1.0


@dataclass(frozen=True)
class Robin:
    """α u + β ∂u/∂n = value on the boundaries named ``on``, n outward.

    Arguments:
        value: right-hand side.
        alpha: α (default 1).
        beta: β; for decay through the boundary α and β have the same sign.
        on, field: as ``Dirichlet``.

    Notes:
        With α β < 0 the boundary feeds the solution and a diffusion problem is ill-posed on short scales
        (modes grow like exp(-α x / β)); nothing stops you from writing it.
    """

    value: Value
    alpha: Value = 1.0
    beta: Value = 1.0
    on: str | tuple[str, ...] | None = None
    field: str | None = None


@dataclass(frozen=True)
class Periodic:
    """u and its normal derivatives agree on the two ends of ``axis``."""

    axis: str
    field: str | None = None


BoundaryCondition = Dirichlet | Neumann | Robin
Condition = InitialCondition | Dirichlet | Neumann | Robin | Periodic


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
class ResolvedConditions:
    """All conditions of a problem, one entry for each field and boundary.

    Arguments:
        initial: (field, time order) -> value.
        faces: one entry for each field and boundary that is not periodic.
        periodic: axes that are periodic, by field.
    """

    initial: Mapping[tuple[str, int], Value] = field(default_factory=dict)
    faces: tuple[FaceCondition, ...] = ()
    periodic: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def face(self, field_name: str, boundary: str) -> FaceCondition:
        """The condition of a field on a boundary."""
        for face in self.faces:
            if (face.field, face.boundary) == (field_name, boundary):
                return face
        raise ValueError(f"field {field_name!r} has no condition on boundary {boundary!r}")


def as_tensor(value: Any, like: Tensor) -> Tensor:
    """A number or tensor as a tensor that broadcasts to ``like``, in its dtype and on its device."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device).expand(like.shape)
