"""The lifting for problems on boxes whose conditions may disagree where they meet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

from pdesolve.condition import FaceCondition, value_at
from pdesolve.frames.abstract import AbstractCoordinateMap, AbstractLifting, Points, full_like
from pdesolve.problem import AbstractDistribution, Problem

_CORNER = 1e-12
"""Added to distances in the weights: where all of them vanish, in a corner, the conditions' mean is taken, not 0/0."""


@final
class ScaledCoordinates(AbstractCoordinateMap):
    """Every axis mapped linearly to [-1, 1], then the varying parameters.

    Arguments:
        problem: gives the domain.
        varied: parameters to append, by name, with the distribution whose range is mapped to [-1, 1] (default none).

    Good values: for solutions without layers; ``SimilarityCoordinates`` where initial and boundary values contradict
    each other.
    """

    def __init__(self, problem: Problem, varied: Mapping[str, AbstractDistribution] | None = None) -> None:
        self.domain, self.varied = problem.domain, dict(varied or {})

    @property
    def n_features(self) -> int:
        return len(self.domain.axes) + len(self.varied)

    def __call__(self, at: Points) -> list[Any]:
        features = []
        for axis in self.domain.axes:
            lower, upper = self.domain.bounds(axis)
            features.append((at[axis] - (lower + upper) / 2) * (2.0 / (upper - lower)))
        return features + [distribution.scaled(at[name]) for name, distribution in self.varied.items()]


@final
class TransfiniteLifting(AbstractLifting):
    """g = Σ_i c_i W_i, W_i = Π_{j≠i} φ_j / Σ_k Π_{j≠k} φ_j, and m = Π φ_i, over initial and Dirichlet conditions.

    φ_i is the scaled distance to the set where condition i holds: (t - t0)/T to the power of the order in time for
    initial conditions, the distance to a face over the domain's extent for Dirichlet ones. Robin, Neumann and
    periodic conditions enter as rows.

    Arguments:
        problem: on a box of one to three space dimensions, with or without time, any number of fields.

    Notes:
        Where two conditions meet and disagree g is discontinuous, as the solution is; for parabolic problems
        ``SimilarityLifting`` resolves that corner, this one does not.

    Source: Rvachev et al. 2001; Sukumar & Srivastava 2022 (CMAME 389) for exact imposition in neural solvers.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def lift(self, at: Points) -> dict[str, Any]:
        return {name: self._lift(name, at) for name in self.problem.field_names}

    def multiplier(self, at: Points) -> dict[str, Any]:
        out = {}
        for name in self.problem.field_names:
            product: Any = full_like(1.0, self._like(at))
            for distance, _ in self._conditions(name, at):
                product = product * distance
            out[name] = product
        return out

    def imposes(self, field: str, boundary: str) -> bool:
        return self.problem.resolved.prescribes_value(field, boundary)

    def _like(self, at: Points) -> Any:
        return at[self.problem.domain.axes[0]]

    def _lift(self, name: str, at: Points) -> Any:
        conditions = self._conditions(name, at)
        total: Any = full_like(0.0, self._like(at))
        for weight, (_, target) in zip(inverse_distance_weights([d for d, _ in conditions]), conditions, strict=True):
            total = total + weight * target
        return total

    def _conditions(self, name: str, at: Points) -> list[tuple[Any, Any]]:
        """(φ_i, c_i) of each condition that is imposed."""
        found: list[tuple[Any, Any]] = []
        orders = [order for field, order in self.problem.resolved.initial if field == name]
        if orders:
            start, end = self.problem.domain.bounds("t")
            passed = (at["t"] - start) * (1.0 / (end - start))
            found.append((passed ** len(orders), initial_polynomial(self.problem, name, at)))
        for distance, face in face_distances(self.problem, name, at):
            found.append((distance, value_at(face.value, at) / value_at(face.alpha, at)))
        return found


def initial_polynomial(problem: Problem, name: str, at: Points, lowest: int = 0) -> Any:
    """Σ_k (t - t0)^k v_k / k! over a field's initial conditions ∂^k u/∂t^k = v_k, k >= lowest."""
    total: Any = 0.0
    for (field, order), value in problem.resolved.initial.items():
        if field == name and order >= lowest:
            rate = value_at(value, at)
            if order:
                rate = (at["t"] - problem.domain.bounds("t")[0]) ** order * (rate * (1.0 / math.factorial(order)))
            total = rate + total
    return total


def face_distances(problem: Problem, name: str, at: Points) -> list[tuple[Any, FaceCondition]]:
    """Distance to each Dirichlet face of a field over the domain's extent, with the face's condition."""
    found = []
    for face in problem.resolved.faces:
        if face.field == name and face.is_dirichlet:
            lower, upper = problem.domain.bounds(face.axis)
            x = at[face.axis]
            found.append(((x - lower if face.side < 0 else upper - x) * (1.0 / (upper - lower)), face))
    return found


def inverse_distance_weights(distances: list[Any]) -> list[Any]:
    """W_i = Π_{j≠i} φ_j / Σ_k Π_{j≠k} φ_j: one where φ_i vanishes, zero where another does."""
    products: list[Any] = []
    for i in range(len(distances)):
        product: Any = 1.0
        for j, distance in enumerate(distances):
            if j != i:
                product = (distance + _CORNER) * product
        products.append(product)
    if len(products) < 2:
        return products
    norm = sum(products[1:], products[0])
    return [product / norm for product in products]
