"""Whether initial and boundary conditions agree where they meet, over all members of a family."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, value_at
from pdesolve.frames.abstract import full_like
from pdesolve.frames.diffusivity import prescribed_values
from pdesolve.jet import Jet
from pdesolve.problem import Problem, ProblemFamily

_TOLERANCE = 1e-6
_MEMBERS = 32


def values_disagree(problem: Problem | ProblemFamily) -> bool:
    """Whether an initial value contradicts a boundary value: a Dirichlet condition, or a Robin one close to it.

    The solution then jumps at the corner and its time derivative grows like 1/t.
    """
    return _any_mismatch(problem, of_values=True)


def fluxes_disagree(problem: Problem | ProblemFamily) -> bool:
    """Whether an initial slope contradicts a flux condition: the solution then starts like the square root of time."""
    return _any_mismatch(problem, of_values=False)


def _any_mismatch(problem: Problem | ProblemFamily, of_values: bool) -> bool:
    base = problem.problem if isinstance(problem, ProblemFamily) else problem
    if not base.domain.has_time:
        return False
    parameters = _members(problem)
    faces = [f for f in base.resolved.faces if (f.field, 0) in base.resolved.initial]
    return any(bool((_mismatch(base, f, parameters)[0 if of_values else 1] > _TOLERANCE).any()) for f in faces)


def _members(problem: Problem | ProblemFamily) -> dict[str, Tensor]:
    """Parameters of members to look at: the ends of every range and a sample, or a problem's own values."""
    if isinstance(problem, Problem):
        return problem.batch_parameters()
    sample = problem.sample(_MEMBERS, torch.Generator().manual_seed(0))
    for name, distribution in problem.distributions.items():
        sample[name][:2] = torch.tensor([distribution.lower, distribution.upper])
    return problem.problem.batch_parameters(sample)


def _mismatch(problem: Problem, face: FaceCondition, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """|α u0 + β ∂u0/∂n - γ| on the edge at the initial time, relative to the field's size, as a value and as a flux.

    A condition counts as one of value where α times the extent is at least ten times β.
    """
    domain = problem.domain
    unit = torch.linspace(0.03, 0.97, 11, dtype=torch.float64)
    ends = {"t": domain.bounds("t")[0], face.axis: face.position}
    at = {}
    for i, axis in enumerate(domain.axes):
        lower, upper = domain.bounds(axis)
        spread = lower + (upper - lower) * unit.roll(3 * i)
        value = torch.full_like(unit, ends[axis]) if axis in ends else spread
        at[axis] = Jet.variable(value.unsqueeze(0), axis, ("", face.axis))
    known = {**at, **{name: value.reshape(-1, 1) for name, value in parameters.items()}}
    start = full_like(value_at(problem.resolved.initial[face.field, 0], known), at["t"])
    alpha, beta, gamma = (full_like(value_at(v, known), at["t"]).term("") for v in (face.alpha, face.beta, face.value))
    mismatch = (alpha * start.term("") + face.side * beta * start.term(face.axis) - gamma).abs()
    size = prescribed_values(problem, face.field, parameters).abs().amax().clamp_min(1e-300)
    relative = mismatch / (alpha.abs() + beta.abs() / domain.extent(face.axis)) / size
    of_value = alpha.abs() * domain.extent(face.axis) >= 10.0 * beta.abs()
    zero = torch.zeros_like(relative)
    return torch.where(of_value, relative, zero), torch.where(of_value, zero, relative)
