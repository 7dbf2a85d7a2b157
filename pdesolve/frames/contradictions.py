"""Where two conditions ask one field for two values, in words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch

from pdesolve.condition import Value, value_at
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.frames.diffusivity import prescribed_values
from pdesolve.problem import Problem

_POINTS = 11
_TOLERANCE = 1e-6  # of the largest value that the conditions give the field


@dataclass(frozen=True, eq=False)
class _Prescribed:
    """u = value / alpha on a face."""

    field: str
    boundary: str
    axis: str
    position: float
    value: Value
    alpha: Value = 1.0

    def at(self, known: dict[str, Any]) -> Any:
        return value_at(self.value, known) / value_at(self.alpha, known)


def contradictions(problem: Problem) -> list[str]:
    """A sentence for each edge or corner of the box where initial and Dirichlet values of a field differ.

    No error: the solution jumps there and exists, and similarity frames resolve some. But a smooth ansatz cannot meet
    both, so its residual stays large there whatever its size, and an error of the order of the jump lies beside it.

    Arguments:
        problem: on a box; looked at with its own parameters.

    Returns:
        Such as "u is 1 by 'initial' and 0 by 'left' where they meet, at t = 0, x = 0"; nothing where all agree.
    """
    found = []
    for a, b in combinations(_prescribed(problem), 2):
        if a.field == b.field and a.axis != b.axis:
            found += _differences(problem, a, b)
    return found


def _prescribed(problem: Problem) -> list[_Prescribed]:
    faces = [
        _Prescribed(field, BOUNDARIES["t"][0], "t", problem.box.bounds("t")[0], value)
        for (field, order), value in problem.resolved.initial.items()
        if order == 0
    ]
    return faces + [
        _Prescribed(face.field, face.boundary, face.axis, face.position, face.value, face.alpha)
        for face in problem.resolved.faces
        if face.is_dirichlet
    ]


def _differences(problem: Problem, a: _Prescribed, b: _Prescribed) -> list[str]:
    box, fixed = problem.box, {a.axis: a.position, b.axis: b.position}
    unit = torch.linspace(0.0, 1.0, _POINTS, dtype=torch.float64)
    at: dict[str, Any] = problem.batch_parameters()
    for i, axis in enumerate(box.axes):
        low, high = box.bounds(axis)
        # Rolled, so that points run through the edge and not along its diagonal alone.
        spread = low + (high - low) * unit.roll(3 * i)
        at[axis] = torch.full_like(unit, fixed[axis]) if axis in fixed else spread
    first, second = (torch.as_tensor(p.at(at), dtype=torch.float64).expand(_POINTS) for p in (a, b))
    size = float(prescribed_values(problem, a.field, problem.batch_parameters()).abs().max())
    gap = (first - second).abs()
    worst = int(gap.argmax())
    if not float(gap[worst]) > _TOLERANCE * size:
        return []
    place = ", ".join(f"{axis} = {float(at[axis][worst]):.4g}" for axis in box.axes)
    one, other = float(first[worst]), float(second[worst])
    return [f"{a.field} is {one:.4g} by {a.boundary!r} and {other:.4g} by {b.boundary!r} where they meet, at {place}"]
