"""Whether initial and boundary conditions agree where they meet."""

from __future__ import annotations

import torch

from pdesolve.condition import FaceCondition, value_at
from pdesolve.frames.abstract import full_like
from pdesolve.frames.diffusivity import prescribed_values
from pdesolve.jet import Jet
from pdesolve.problem import Problem

_TOLERANCE = 1e-6


def conditions_disagree(problem: Problem) -> bool:
    """Whether an initial value contradicts a boundary condition at the initial time, for the problem's parameters."""
    if not problem.domain.has_time:
        return False
    faces = [face for face in problem.resolved.faces if (face.field, 0) in problem.resolved.initial]
    return any(_mismatch(problem, face) > _TOLERANCE for face in faces)


def _mismatch(problem: Problem, face: FaceCondition) -> float:
    """|α u0 + β ∂u0/∂n - γ| at the initial time, largest over points of the edge, relative to the field's size."""
    domain = problem.domain
    unit = torch.linspace(0.03, 0.97, 11, dtype=torch.float64)
    ends = {"t": domain.bounds("t")[0], face.axis: face.position}
    terms = ("", face.axis)
    at = {}
    for i, axis in enumerate(domain.axes):
        lower, upper = domain.bounds(axis)
        shuffled = unit.roll(3 * i)
        value = torch.full_like(unit, ends[axis]) if axis in ends else lower + (upper - lower) * shuffled
        at[axis] = Jet.variable(value, axis, terms)
    known = {**at, **{k: torch.tensor(float(v), dtype=torch.float64) for k, v in problem.parameters.items()}}
    start = full_like(value_at(problem.resolved.initial[face.field, 0], known), at["t"])
    alpha, beta, gamma = (full_like(value_at(v, known), at["t"]).term("") for v in (face.alpha, face.beta, face.value))
    mismatch = (alpha * start.term("") + face.side * beta * start.term(face.axis) - gamma).abs()
    scale = alpha.abs() + beta.abs() / domain.extent(face.axis)
    size = prescribed_values(problem, face.field, problem.batch_parameters()).abs().amax()
    return float((mismatch / scale).max() / size.clamp_min(1e-300))
