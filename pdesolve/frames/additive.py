"""The lifting for problems on boxes whose initial and boundary conditions agree where they meet."""

from __future__ import annotations

from typing import Any, final

from pdesolve.condition import value_at
from pdesolve.frames.abstract import AbstractLifting, Points, full_like
from pdesolve.frames.transfinite import face_distances, inverse_distance_weights
from pdesolve.namespace import Namespace
from pdesolve.problem import Problem


@final
class AdditiveLifting(AbstractLifting):
    """g = u0 + (t - t0) v0 + Σ_f (c_f(t) - c_f(t0)) W_f and m = τⁿ Π φ_f.

    W_f are inverse-distance weights of the Dirichlet faces, φ_f the scaled distances to them, τ = (t - t0)/T, n the
    order in time. Where boundary values do not change in time g is the initial value, as smooth as the data. Robin,
    Neumann and periodic conditions enter as rows. Without time g = Σ_f c_f W_f.

    Arguments:
        problem: on a box of one to three space dimensions, with or without time, any number of fields.

    Notes:
        Exact only where the conditions agree at the initial time; where they do not, take ``SimilarityLifting`` or
        ``TransfiniteLifting``.

    Source: boundary-blended (transfinite) interpolation, Gordon & Hall, Numer. Math. 21 (1973).
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def lift(self, at: Points) -> dict[str, Any]:
        return {name: self._lift(name, at) for name in self.problem.field_names}

    def multiplier(self, at: Points) -> dict[str, Any]:
        return {name: self._multiplier(name, at) for name in self.problem.field_names}

    def imposes(self, field: str, boundary: str) -> bool:
        return boundary == "initial" or self.problem.resolved.face(field, boundary).is_dirichlet

    def _lift(self, name: str, at: Points) -> Any:
        domain, faces = self.problem.domain, face_distances(self.problem, name, at)
        weights = inverse_distance_weights([distance for distance, _ in faces])
        total: Any = full_like(0.0, at[domain.axes[0]])
        for order, value in self._initial(name):
            total = total + (value_at(value, at) if order == 0 else self._elapsed(at) * value_at(value, at))
        start = (
            Namespace({**at, "t": at["t"] * 0.0 + domain.bounds("t")[0]}, "axis or parameter")
            if domain.has_time
            else None
        )
        for weight, (_, face) in zip(weights, faces, strict=True):
            change = value_at(face.value, at) / value_at(face.alpha, at)
            if start is not None:
                change = change - value_at(face.value, start) / value_at(face.alpha, start)
            total = total + weight * change
        return total

    def _multiplier(self, name: str, at: Points) -> Any:
        product: Any = full_like(1.0, at[self.problem.domain.axes[0]])
        orders = len(self._initial(name))
        if orders:
            product = product * (self._elapsed(at) * (1.0 / self.problem.domain.extent("t"))) ** orders
        for distance, _ in face_distances(self.problem, name, at):
            product = product * distance
        return product

    def _elapsed(self, at: Points) -> Any:
        return at["t"] - self.problem.domain.bounds("t")[0]

    def _initial(self, name: str) -> list[tuple[int, Any]]:
        found = [(order, value) for (field, order), value in self.problem.resolved.initial.items() if field == name]
        return sorted(found, key=lambda item: item[0])
