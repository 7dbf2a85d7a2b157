"""A known factor of the solution: conditions u = 0 that hold exactly, and how u behaves beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.condition import check_value, value_at
from pdesolve.domains.sampling import face_points
from pdesolve.frames.abstract import AbstractLifting, Points, full_like
from pdesolve.jet import Jet, closure
from pdesolve.problem import Problem

_ZERO = 1e-12
_TRIED = 64
_PROBES = 9
_AGREE = 1e-9


@final
@dataclass(frozen=True)
class Factor:
    """Makes the lifting u = f v of all fields of a problem, f a function that is zero where u is known to be.

    Arguments:
        function: f, called with axes by name, tensors or jets, and parameters: ``lambda x: 1.0 - x * x``.

    Raises:
        TypeError: no function.
        ValueError: when called with a problem: a factor that vanishes where another value is prescribed, is not finite
            on a boundary, or not periodic where u is.
    """

    function: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"a factor must be a function of axes by name, got {type(self.function).__name__}")

    def __call__(self, problem: Problem) -> FactorLifting:
        known = {**problem.box.probe(_PROBES), **problem.batch_parameters()}
        check_value(self.function, known, "the factor")
        return FactorLifting(problem.field_names, self.function, imposed_by(self.function, problem))


@final
class FactorLifting(AbstractLifting):
    """u = f v, f a function of the axes.

    Arguments:
        fields: names of the unknowns.
        function: f.
        imposed: (field, boundary) on which f and the prescribed values are zero.
    """

    def __init__(self, fields: Sequence[str], function: Callable[..., Any], imposed: Iterable[tuple[str, str]]) -> None:
        self.fields, self.function, self.imposed = tuple(fields), function, frozenset(imposed)

    def lift(self, at: Points) -> dict[str, Any]:
        return dict.fromkeys(self.fields, 0.0)

    def multiplier(self, at: Points) -> dict[str, Any]:
        return dict.fromkeys(self.fields, value_at(self.function, at))

    def imposes(self, field: str, boundary: str) -> bool:
        return (field, boundary) in self.imposed


def imposed_by(factor: Callable[..., Any], problem: Problem) -> list[tuple[str, str]]:
    """(field, boundary) of the conditions u = 0 that a factor meets.

    Raises:
        ValueError: a factor that vanishes where another value is prescribed, is not finite on a boundary, or not
            periodic where u is.
    """
    for axis in sorted({axis for axes in problem.resolved.periodic.values() for axis in axes}):
        _check_periodic(factor, problem, axis)
    found, generator = [], torch.Generator().manual_seed(0)
    for face in problem.resolved.faces:
        at = {a: v.squeeze(0) for a, v in face_points(problem.box, face.boundary, _TRIED, generator).items()}
        known = {**at, **problem.batch_parameters()}
        f = torch.as_tensor(value_at(factor, known), dtype=torch.float64).expand(_TRIED)
        if not bool(torch.isfinite(f).all()):
            raise ValueError(f"the factor is not finite on {face.boundary!r}: it must be, as must its product with u")
        if not bool((f.abs() <= _ZERO).all()):
            continue
        wanted = torch.as_tensor(value_at(face.value, known), dtype=torch.float64).expand(_TRIED)
        if not face.is_dirichlet or bool((wanted.abs() > _ZERO).any()):
            raise ValueError(
                f"the factor vanishes on {face.boundary!r}, where the condition on {face.field!r} is not u = 0: "
                "take one that does not"
            )
        found.append((face.field, face.boundary))
    return found


def _check_periodic(factor: Callable[..., Any], problem: Problem, axis: str) -> None:
    """f and its derivatives along an axis, as many as the equation's order asks for, agree at both ends."""
    terms = closure((axis * max(0, problem.trace.order(axis) - 1),))
    inside = problem.box.probe(_TRIED)

    def at(along: Tensor) -> Tensor:
        points = {**inside, axis: along}
        jets = {a: Jet.variable(x, a, terms) for a, x in points.items()}
        value: Tensor = full_like(value_at(factor, {**jets, **problem.batch_parameters()}), jets[axis]).data
        return value

    low, high = (at(torch.full_like(inside[axis], end)) for end in problem.box.bounds(axis))
    room = _AGREE * at(inside[axis]).abs().amax(1, keepdim=True)
    if not bool(((low - high).abs() <= room).all()):
        raise ValueError(
            f"the factor or a derivative of it differs at the two ends of {axis!r}, along which u is periodic: take "
            "one that is periodic too"
        )
