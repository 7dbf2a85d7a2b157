"""Whether initial and boundary conditions agree where they meet, over all members of a family."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, value_at
from pdesolve.frames.abstract import full_like
from pdesolve.frames.diffusivity import prescribed_values
from pdesolve.jet import Jet
from pdesolve.problem import Family, Problem

_TOLERANCE = 1e-6
_MEMBERS = 32


def values_disagree(family: Family) -> bool:
    """Whether an initial value contradicts a boundary value: a Dirichlet condition, or a Robin one close to it.

    The solution then jumps at the corner and its time derivative grows like 1/t.
    """
    return _any_mismatch(family, of_values=True)


def fluxes_disagree(family: Family) -> bool:
    """Whether an initial slope contradicts a flux condition: the solution then starts like the square root of time."""
    return _any_mismatch(family, of_values=False)


def rates_disagree(family: Family) -> bool:
    """Whether an initial rate ∂u/∂t contradicts how a Dirichlet value changes at first, in second order in time."""
    problem, parameters = family.problem, _members(family)
    faces = [f for f in problem.resolved.faces if f.is_dirichlet and (f.field, 1) in problem.resolved.initial]
    return any(bool((_rate_mismatch(problem, f, parameters) > _TOLERANCE).any()) for f in faces)


def _any_mismatch(family: Family, of_values: bool) -> bool:
    problem = family.problem
    if not problem.domain.has_time:
        return False
    parameters = _members(family)
    faces = [f for f in problem.resolved.faces if (f.field, 0) in problem.resolved.initial]
    return any(bool((_mismatch(problem, f, parameters)[0 if of_values else 1] > _TOLERANCE).any()) for f in faces)


def _members(family: Family) -> dict[str, Tensor]:
    """Parameters of members to look at: the ends of every range and a sample, or a problem's own values."""
    sample = family.sample(_MEMBERS, torch.Generator().manual_seed(0))
    for name, distribution in family.distributions.items():
        sample[name][:2] = torch.tensor(distribution.ends, dtype=torch.float64)
    return family.problem.batch_parameters(sample)


def _mismatch(problem: Problem, face: FaceCondition, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """|α u0 + β ∂u0/∂n - γ| on the edge at the initial time, relative to the field's size, as a value and as a flux.

    A condition counts as one of value where α times the extent is at least ten times β.
    """
    domain, known = problem.domain, _edge(problem, face, parameters, face.axis)
    start, alpha, beta, gamma = (
        full_like(value_at(v, known), known["t"])
        for v in (problem.resolved.initial[face.field, 0], face.alpha, face.beta, face.value)
    )
    alpha, beta, gamma = alpha.term(""), beta.term(""), gamma.term("")
    mismatch = (alpha * start.term("") + face.side * beta * start.term(face.axis) - gamma).abs()
    size = prescribed_values(problem, face.field, parameters).abs().amax().clamp_min(1e-300)
    relative = mismatch / (alpha.abs() + beta.abs() / domain.extent(face.axis)) / size
    of_value = alpha.abs() * domain.extent(face.axis) >= 10.0 * beta.abs()
    zero = torch.zeros_like(relative)
    return torch.where(of_value, relative, zero), torch.where(of_value, zero, relative)


def _rate_mismatch(problem: Problem, face: FaceCondition, parameters: dict[str, Tensor]) -> Tensor:
    """|v0 - d(γ/α)/dt| on the edge at the initial time, relative to the field's size over the length of time."""
    known = _edge(problem, face, parameters, "t")
    rate = full_like(value_at(problem.resolved.initial[face.field, 1], known), known["t"]).term("")
    value = full_like(value_at(face.value, known) / value_at(face.alpha, known), known["t"])
    size = prescribed_values(problem, face.field, parameters).abs().amax() / problem.domain.extent("t")
    largest = torch.maximum(size, rate.abs().amax()).clamp_min(1e-300)
    mismatch: Tensor = (rate - value.term("t")).abs() / largest
    return mismatch


def _edge(problem: Problem, face: FaceCondition, parameters: dict[str, Tensor], along: str) -> dict[str, Any]:
    """Points where a face meets the initial time, as jets with their derivative along one axis, and parameters."""
    domain, unit = problem.domain, torch.linspace(0.03, 0.97, 11, dtype=torch.float64)
    ends = {"t": domain.bounds("t")[0], face.axis: face.position}
    at: dict[str, Any] = {name: value.reshape(-1, 1) for name, value in parameters.items()}
    for i, axis in enumerate(domain.axes):
        lower, upper = domain.bounds(axis)
        spread = lower + (upper - lower) * unit.roll(3 * i)
        value = torch.full_like(unit, ends[axis]) if axis in ends else spread
        at[axis] = Jet.variable(value.unsqueeze(0), axis, ("", along))
    return at
