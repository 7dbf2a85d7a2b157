"""Similarity coordinates and the lifting for parabolic problems whose initial and boundary values disagree.

Where u jumps between the initial value and a boundary value, the solution near the corner is a function of
z = d / L(t), L = sqrt(4 κ t), d the distance to the boundary: erf z for a Dirichlet condition, and for a Robin
condition α u + β ∂u/∂n = 0, with h = α/β and η = h L / 2,

    E(z) = erf z + exp(-z²) erfcx(z + η)

(Carslaw & Jaeger, *Conduction of Heat in Solids*, section 2.7), which tends to erf z for h → ∞ and to 1 for h → 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, Value, check_value, value_at
from pdesolve.domains.geometry import finite_float
from pdesolve.frames.abstract import AbstractCoordinateMap, AbstractLifting, Points, full_like
from pdesolve.frames.diffusivity import is_parabolic, largest_diffusivity
from pdesolve.problem import AbstractDistribution, Problem

_START = 1e-12


@final
class SimilarityScale:
    """The diffusion length L(t) = sqrt(4 κ (t - t0)) and the distances from the ends of one axis.

    Arguments:
        problem: parabolic along ``axis``.
        axis: the space axis.
        diffusivity: κ > 0 for all members (default: member by member, the largest that the conditions' values give).

    Raises:
        ValueError: a problem that is not parabolic; κ that is not positive and finite.
    """

    def __init__(self, problem: Problem, axis: str = "x", diffusivity: float | None = None) -> None:
        if not is_parabolic(problem, axis):
            raise ValueError(
                f"similarity coordinates need an equation of first order in t and second in {axis}: this one is of "
                f"order {problem.trace.order('t')} and {problem.trace.order(axis)}; use ScaledCoordinates"
            )
        self.problem, self.axis = problem, axis
        self.lower, self.upper = problem.domain.bounds(axis)
        self.start, self.end = problem.domain.bounds("t")
        if diffusivity is not None and not finite_float(diffusivity, "diffusivity") > 0.0:
            raise ValueError(f"diffusivity must be > 0, got {diffusivity!r}")
        self.diffusivity = diffusivity

    def elapsed(self, at: Points) -> Any:
        """(t - t0) / (t1 - t0), kept above 1e-12 so that its square root has a derivative."""
        return (at["t"] - self.start) * (1.0 / (self.end - self.start)) + _START

    def length(self, at: Points) -> Any:
        """L(t), shaped like the points."""
        kappa = self._kappa(at)
        return torch.sqrt(self.elapsed(at)) * torch.sqrt(4.0 * kappa * (self.end - self.start))

    def distance(self, at: Points, side: int) -> Any:
        """Distance from the lower (-1) or upper (+1) end."""
        x = at[self.axis]
        return x - self.lower if side < 0 else self.upper - x

    def _kappa(self, at: Points) -> Tensor:
        if self.diffusivity is not None:
            return torch.full((1, 1, 1), self.diffusivity, dtype=at[self.axis].dtype, device=at[self.axis].device)
        flat = {name: at[name].reshape(-1) for name in self.problem.parameters}
        kappa = largest_diffusivity(self.problem, self.axis, flat).reshape(-1, 1, 1)
        return kappa.to(at[self.axis].device)  # without parameters it knows no device


@final
class SimilarityCoordinates(AbstractCoordinateMap):
    """(z/(1+z) for both ends, x, sqrt t, parameters): what a solution of a diffusion problem is smooth in.

    z = d / L(t) runs to infinity as t → 0, so its bounded image z/(1 + z) is the feature.

    Arguments:
        problem: parabolic along ``axis``.
        axis: the space axis (default "x").
        varied: parameters to append, by name, with the distribution whose range is mapped to [-1, 1] (default none).
        diffusivity: κ of L for all members; default the largest of each member.

    Raises:
        ValueError: a problem that is not of first order in t and second along ``axis``; κ that is not positive.

    Good values: ``largest_diffusivity`` of a typical member for ``diffusivity``, and nothing ``varied``, where many
    members whose κ hardly differs are solved at once: the basis is then computed once for all of them.

    Source: Boltzmann, Annalen der Physik 53 (1894), for the variable x/sqrt t.
    """

    def __init__(
        self,
        problem: Problem,
        axis: str = "x",
        varied: Mapping[str, AbstractDistribution] | None = None,
        diffusivity: float | None = None,
    ) -> None:
        self.scale = SimilarityScale(problem, axis, diffusivity)
        self.varied = dict(varied or {})

    @property
    def n_features(self) -> int:
        return 4 + len(self.varied)

    def __call__(self, at: Points) -> list[Any]:
        length = self.scale.length(at)
        x = at[self.scale.axis]
        middle, half = (self.scale.lower + self.scale.upper) / 2, (self.scale.upper - self.scale.lower) / 2
        features = []
        for side in (-1, 1):
            distance = self.scale.distance(at, side)
            features.append(distance / (distance + length) * 2.0 - 1.0)
        features += [(x - middle) * (1.0 / half), torch.sqrt(self.scale.elapsed(at)) * 2.0 - 1.0]
        return features + [distribution.scaled(at[name]) for name, distribution in self.varied.items()]


@dataclass(frozen=True)
class _Face:
    condition: FaceCondition
    ramp: Any
    z: Any
    target: Any


@final
class SimilarityLifting(AbstractLifting):
    """u = g + m v for a parabolic problem on an interval with conditions that may disagree at its corners.

        g = (ũ0 Π E_f + Σ_f c_f (1 - E_f) Π_{e≠f} E_e) / (sum of the weights)
        m = Π E_f (Σ_f exp(-decay z_f²) + interior τ^start),   τ = (t - t0)/(t1 - t0)

    with E_f the ramp of face f, c_f = γ/α its steady value and ũ0 = u0, or ``between``. The initial condition and every
    Dirichlet condition hold exactly; Robin and Neumann ones enter as rows, the ramp making what is left of them small.

    Arguments:
        problem: one field, parabolic along ``axis``.
        axis: the space axis (default "x").
        decay: how fast the correction dies away from a face, in units of z² (default 0.7).
        interior: weight of the correction between the layers (default 1). Zero where the initial value is itself
            a steady state, such as a constant without a source: then nothing happens there before the layers arrive.
        start: power with which that correction starts in time (default 1; 0.5 where a flux condition contradicts the
            initial slope).
        between: what u0 becomes between the layers where it is no steady state, a function of axes and parameters that
            equals it at t0 (default u0 itself): the nearer to the solution there, the less is left for v.
        diffusivity: κ of L for all members; default the largest of each member.

    Raises:
        ValueError: several fields, or not parabolic; κ that is not positive. At a solve, ``between`` that misses u0.

    Notes:
        In one space dimension. The layers' width uses the largest diffusivity that the conditions' values give; for a
        coefficient that varies more than tenfold in space, give a lifting of your own.
    """

    def __init__(
        self,
        problem: Problem,
        axis: str = "x",
        decay: float = 0.7,
        interior: float = 1.0,
        start: float = 1.0,
        between: Value | None = None,
        diffusivity: float | None = None,
    ) -> None:
        if len(problem.field_names) != 1:
            raise ValueError(f"SimilarityLifting takes one field, the problem has {problem.field_names}")
        self.scale = SimilarityScale(problem, axis, diffusivity)
        self.problem, self.decay, self.interior, self.start = problem, decay, interior, start
        self.field = problem.field_names[0]
        self.between = problem.resolved.initial[self.field, 0]
        if between is not None:
            known = {name: torch.full((2,), value, dtype=torch.float64) for name, value in problem.parameters.items()}
            known |= {a: torch.tensor(problem.domain.bounds(a), dtype=torch.float64) for a in problem.domain.axes}
            check_value(between, known, "between")
            self.between = between

    def lift(self, at: Points) -> dict[str, Any]:
        faces = self._faces(at)
        start = value_at(self.between, at)
        rest: Any = 1.0
        for face in faces:
            rest = face.ramp * rest
        total, weights = rest * start, rest
        for face in faces:
            weight = 1.0 - face.ramp
            for other in faces:
                if other is not face:
                    weight = weight * other.ramp
            total, weights = total + weight * face.target, weights + weight
        if not faces:
            return {self.field: full_like(start, at[self.scale.axis])}
        return {self.field: total / weights}

    def multiplier(self, at: Points) -> dict[str, Any]:
        out: Any = self.scale.elapsed(at) ** self.start * self.interior
        faces = self._faces(at)
        for face in faces:
            out = out + torch.exp(face.z * face.z * (-self.decay))
        for face in faces:
            out = out * face.ramp
        return {self.field: out}

    def imposes(self, field: str, boundary: str) -> bool:
        return self.problem.resolved.prescribes_value(field, boundary)

    def _faces(self, at: Points) -> list[_Face]:
        length = self.scale.length(at)
        found = []
        for condition in self.problem.resolved.faces:
            if condition.axis != self.scale.axis or condition.is_neumann:
                continue
            z = self.scale.distance(at, condition.side) / length
            target = value_at(condition.value, at) / value_at(condition.alpha, at)
            found.append(_Face(condition, _ramp(condition, z, length, at), z, target))
        return found


def _ramp(condition: FaceCondition, z: Any, length: Any, at: Points) -> Any:
    if condition.is_dirichlet:
        return torch.erf(z)
    ratio = value_at(condition.alpha, at) / value_at(condition.beta, at)
    return torch.erf(z) + torch.exp(-(z * z)) * torch.special.erfcx(z + length * ratio * 0.5)
