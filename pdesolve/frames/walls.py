"""The lifting for values on the faces of a box alone, smooth where they are, for what treats initial values itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from typing import Any, final

from pdesolve.condition import FaceCondition, value_at
from pdesolve.frames.abstract import AbstractLifting, Points, full_like, moved
from pdesolve.problem import Problem

_Side = tuple[FaceCondition, Any]
"""A face's condition, and the weight with which its value enters."""


@final
class WallLifting(AbstractLifting):
    """g = u - Π_a (1 - P_a) u by the values on Dirichlet faces, m = Π_a of what vanishes on those of axis a.

    P_a u = (1 - s) u(s=0) + s u(s=1) along an axis with both faces, s from 0 to 1, and the value of the one face there
    is on others; m is 4 s (1 - s), s or 1 - s. Both are as smooth as the values, in time as well. Initial, Robin,
    Neumann and periodic conditions are left open.

    Arguments:
        problem: on a box of one to three space dimensions, any number of fields.

    Notes:
        Exact only where values agree on edges where faces meet.

    Source: Gordon & Hall, Numer. Math. 21 (1973).
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def lift(self, at: Points) -> dict[str, Any]:
        return {name: self._lift(name, at) for name in self.problem.field_names}

    def multiplier(self, at: Points) -> dict[str, Any]:
        found = {}
        for name in self.problem.field_names:
            total: Any = full_like(1.0, at[self.problem.domain.axes[0]])
            for axis, faces in self._faces(name).items():
                s = self._share(axis, at)
                sides = [face.side for face in faces]
                total = total * (4.0 * s * (1.0 - s) if len(sides) == 2 else s if sides[0] < 0 else 1.0 - s)
            found[name] = total
        return found

    def imposes(self, field: str, boundary: str) -> bool:
        return any(face.boundary == boundary for faces in self._faces(field).values() for face in faces)

    def _faces(self, name: str) -> Mapping[str, list[FaceCondition]]:
        """Dirichlet faces of a field by axis."""
        found: dict[str, list[FaceCondition]] = {}
        for face in self.problem.resolved.faces:
            if face.field == name and face.is_dirichlet:
                found.setdefault(face.axis, []).append(face)
        return found

    def _share(self, axis: str, at: Points) -> Any:
        low, high = self.problem.domain.bounds(axis)
        return (at[axis] - low) * (1.0 / (high - low))

    def _lift(self, name: str, at: Points) -> Any:
        total: Any = full_like(0.0, at[self.problem.domain.axes[0]])
        sides = [self._sides(axis, faces, at) for axis, faces in self._faces(name).items()]
        for count in range(1, len(sides) + 1):
            for axes in combinations(sides, count):
                for corner in product(*axes):
                    total = total + (-1.0) ** (count + 1) * _at_corner(corner, at)
        return total

    def _sides(self, axis: str, faces: Sequence[FaceCondition], at: Points) -> list[_Side]:
        if len(faces) == 1:
            return [(faces[0], 1.0)]
        s = self._share(axis, at)
        return [(face, 1.0 - s if face.side < 0 else s) for face in faces]


def _at_corner(corner: Sequence[_Side], at: Points) -> Any:
    """The value where faces meet, by the first one's condition, times the weights of all."""
    for face, _ in corner:
        at = moved(at, face.axis, face.position)
    face = corner[0][0]
    value = value_at(face.value, at) / value_at(face.alpha, at)
    for _, weight in corner:
        value = value * weight
    return value
