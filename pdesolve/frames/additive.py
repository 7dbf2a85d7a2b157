"""The lifting for problems on boxes whose initial and boundary conditions agree where they meet."""

from __future__ import annotations

from typing import Any, final

from pdesolve.condition import FaceCondition, value_at
from pdesolve.frames.abstract import AbstractLifting, Points, full_like, moved
from pdesolve.frames.transfinite import face_distances, initial_polynomial, inverse_distance_weights
from pdesolve.problem import Problem


@final
class AdditiveLifting(AbstractLifting):
    """g = P(x, t) + Σ_f (c_f(t) - c_f(t0) - P(x_f, t) + P(x_f, t0)) W_f and m = τⁿ Π φ_f.

    P = Σ_k (t - t0)^k v_k / k! over the n initial conditions, u0 for first order in time; W_f are inverse-distance
    weights of the Dirichlet faces, x_f the nearest point on them, φ_f the scaled distances to them, τ = (t - t0)/T.
    Where boundary values do not change in time g is the initial value, as smooth as the data. Robin, Neumann and
    periodic conditions enter as rows. Without time, and for fields without initial condition, g = Σ_f c_f W_f.

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
        return self.problem.resolved.prescribes_value(field, boundary)

    def _lift(self, name: str, at: Points) -> Any:
        faces = face_distances(self.problem, name, at)
        weights = inverse_distance_weights([distance for distance, _ in faces])
        total: Any = full_like(0.0, at[self.problem.domain.axes[0]]) + initial_polynomial(self.problem, name, at)
        for weight, (_, face) in zip(weights, faces, strict=True):
            total = total + weight * self._change(face, at)
        return total

    def _change(self, face: FaceCondition, at: Points) -> Any:
        """What the boundary value gains beyond the initial values there: zero at t0, with its first n - 1 rates."""
        orders = self._orders(face.field)
        if orders > 1:  # a value that reads the face's own coordinate has the rates of the initial values there only
            at = moved(at, face.axis, face.position)
        prescribed = value_at(face.value, at) / value_at(face.alpha, at)
        if not orders:
            return prescribed
        start = moved(at, "t", self.problem.domain.bounds("t")[0])
        gained = prescribed - value_at(face.value, start) / value_at(face.alpha, start)
        return gained - initial_polynomial(self.problem, face.field, at, lowest=1)

    def _multiplier(self, name: str, at: Points) -> Any:
        product: Any = full_like(1.0, at[self.problem.domain.axes[0]])
        orders = self._orders(name)
        if orders:
            start, _ = self.problem.domain.bounds("t")
            product = product * ((at["t"] - start) * (1.0 / self.problem.domain.extent("t"))) ** orders
        for distance, _ in face_distances(self.problem, name, at):
            product = product * distance
        return product

    def _orders(self, name: str) -> int:
        """How many initial conditions a field has."""
        return sum(field == name for field, _ in self.problem.resolved.initial)
