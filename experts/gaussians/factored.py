"""A known factor of the solution: conditions u = 0 that hold exactly, and how u behaves beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.condition import value_at
from pdesolve.domains.sampling import face_points
from pdesolve.frames.abstract import AbstractLifting, Points, full_like
from pdesolve.jet import Jet, closure
from pdesolve.problem import Problem

_ZERO = 1e-12
_TRIED = 64
_AGREE = 1e-9

Factor = Callable[..., Any]
"""Called with axes by name, tensors or jets: ``lambda x: 1.0 - x * x``."""


@final
class Factored(AbstractLifting):
    """u = f (g + m v), f a function of the axes.

    Arguments:
        inner: g and m.
        factor: f.
        imposed: boundaries on which f and the prescribed values are zero.
    """

    def __init__(self, inner: AbstractLifting, factor: Factor, imposed: Iterable[tuple[str, str]]) -> None:
        self.inner, self.factor, self.imposed = inner, factor, frozenset(imposed)

    def lift(self, at: Points) -> dict[str, Any]:
        f = value_at(self.factor, at)
        return {name: f * value for name, value in self.inner.lift(at).items()}

    def multiplier(self, at: Points) -> dict[str, Any]:
        f = value_at(self.factor, at)
        return {name: f * value for name, value in self.inner.multiplier(at).items()}

    def imposes(self, field: str, boundary: str) -> bool:
        return (field, boundary) in self.imposed or self.inner.imposes(field, boundary)


def imposed_by(factor: Factor, problem: Problem) -> list[tuple[str, str]]:
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


def _check_periodic(factor: Factor, problem: Problem, axis: str) -> None:
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
