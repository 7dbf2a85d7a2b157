"""Checks that a lifting keeps what it promises, for the parameters of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, value_at
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.frames.abstract import AbstractLifting, full_like, points_at
from pdesolve.frames.diffusivity import prescribed_values
from pdesolve.jet import Jet, closure
from pdesolve.problem import Problem

_TOLERANCE = 1e-5
_POINTS = 9


def check_imposed(problem: Problem, lifting: AbstractLifting, parameters: Mapping[str, Tensor]) -> None:
    """Raise unless g meets, and m vanishes on, every condition that the lifting says it imposes.

    Looked at on a few points of each face away from its edges, relative to the field's size; members that are not
    finite are left to the solve.

    Arguments:
        problem: gives the conditions.
        lifting: what promises.
        parameters: name -> (batch,) or (1,).

    Raises:
        ValueError: a condition that is not met, with the face, the largest deviation and what to do.
    """
    with torch.no_grad():
        for face in problem.resolved.faces:
            if lifting.imposes(face.field, face.boundary):
                _check(problem, lifting, parameters, face.field, face.boundary, _FaceRule(face))
        for field, order in problem.resolved.initial:
            if lifting.imposes(field, BOUNDARIES["t"][0]):
                _check(problem, lifting, parameters, field, BOUNDARIES["t"][0], _InitialRule(problem, field, order))


class _FaceRule:
    """α u + β ∂u/∂n against γ."""

    def __init__(self, face: FaceCondition) -> None:
        self.face, self.term, self.unit, self.note = face, face.axis, 1.0, ""

    def sides(self, u: Jet, known: Any) -> tuple[Tensor, Tensor]:
        face = self.face
        alpha, beta, gamma = (full_like(value_at(v, known), u).term("") for v in (face.alpha, face.beta, face.value))
        return alpha * u.term("") + face.side * beta * u.term(face.axis), gamma


class _InitialRule:
    """∂ⁿu/∂tⁿ against its initial value; deviations count in units of u by the length of time."""

    def __init__(self, problem: Problem, field: str, order: int) -> None:
        self.value, self.term = problem.resolved.initial[field, order], "t" * order
        self.unit, self.note = problem.domain.extent("t") ** order, f" of order {order}" if order else ""

    def sides(self, u: Jet, known: Any) -> tuple[Tensor, Tensor]:
        return u.term(self.term), full_like(value_at(self.value, known), u).term("")


def _check(
    problem: Problem,
    lifting: AbstractLifting,
    parameters: Mapping[str, Tensor],
    field: str,
    boundary: str,
    rule: _FaceRule | _InitialRule,
) -> None:
    known = points_at(*_face_points(problem, boundary, parameters, rule.term))
    like = known[problem.domain.axes[0]]
    g, m = (full_like(values[field], like) for values in (lifting.lift(known), lifting.multiplier(known)))
    value, wanted = rule.sides(g, known)
    homogeneous, zero = rule.sides(m, known)[0], torch.zeros_like(value)
    values = prescribed_values(problem, field, parameters).abs()
    size = torch.where(torch.isfinite(values), values, torch.zeros_like(values)).amax().clamp_min(1e-300)
    for what, deviation in (("g misses it", (value - wanted).abs() / size), ("m does not vanish", homogeneous.abs())):
        worst = rule.unit * torch.where(torch.isfinite(deviation), deviation, zero).amax()
        if float(worst) > _TOLERANCE:
            raise ValueError(
                f"{type(lifting).__name__} says that it imposes the condition of {field!r} on {boundary!r}"
                f"{rule.note}, but there "
                f"{what} by {float(worst):.2g}: correct the lifting or what it says it imposes; make a generic frame "
                "from the ProblemFamily whose members you solve; or leave the condition to rows (NoLifting)"
            )


def _face_points(
    problem: Problem, boundary: str, parameters: Mapping[str, Tensor], term: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Jets of coordinates on a face up to a derivative, (1, 1, point), and parameters (batch, 1, 1)."""
    face = problem.domain.boundary(boundary)
    like = next(iter(parameters.values()), torch.zeros(1, dtype=torch.float64))
    unit = torch.linspace(0.06, 0.94, _POINTS, dtype=like.dtype, device=like.device)
    coordinates = {}
    for i, axis in enumerate(problem.domain.axes):
        lower, upper = problem.domain.bounds(axis)
        spread = lower + (upper - lower) * unit.roll(2 * i)
        value = torch.full_like(unit, face.position) if axis == face.axis else spread
        coordinates[axis] = Jet.variable(value.reshape(1, 1, -1), axis, closure((term,)))
    return coordinates, {name: value.reshape(-1, 1, 1) for name, value in parameters.items()}
