"""How fast an equation diffuses, read off its residual."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, value_at
from pdesolve.pde.trace import Term, evaluate
from pdesolve.problem import Problem

_SAMPLES = 9


def is_parabolic(problem: Problem, axis: str) -> bool:
    """First order in time and second along ``axis``, for its first field."""
    return problem.domain.has_time and problem.trace.order("t") == 1 and problem.trace.order(axis) == 2


def largest_diffusivity(problem: Problem, axis: str, parameters: Mapping[str, Tensor]) -> Tensor:
    """κ = max |∂F/∂u_xx / ∂F/∂u_t| over the values that the conditions prescribe, derivatives taken as zero.

    The largest value sets the width of the solution's layers: it is what similarity coordinates are scaled by.

    Arguments:
        problem: parabolic along ``axis`` (``is_parabolic``).
        parameters: name -> (batch,) or (1,).

    Returns:
        (batch,) or (1,), in length²/time.
    """
    name = problem.field_names[0]
    columns = {key: value.reshape(-1, 1) for key, value in parameters.items()}
    values = prescribed_values(problem, name, parameters)
    batch = max([values.shape[0], *(column.shape[0] for column in columns.values())])
    values = values.expand(batch, -1)
    like = values[:, :1]
    middle = {a: torch.full_like(like, sum(problem.domain.bounds(a)) / 2) for a in problem.domain.axes}
    terms: dict[Term, Tensor] = {t: torch.zeros_like(values) for t in problem.trace.terms}
    terms[name, ""] = values

    def slope(term: Term) -> Tensor:
        """∂F/∂term; by torch.func, so that it may stand inside other transforms."""

        def total(value: Tensor) -> Tensor:
            return evaluate(problem.pde, {**terms, term: value}, middle, columns)[0].sum()

        found: Tensor = torch.func.grad(total)(terms[term])
        return found

    rate, flux = (name, "t"), (name, 2 * axis)
    if rate not in terms or flux not in terms:
        raise ValueError(f"the residual's first equation holds no {name}.t or no {name}.{2 * axis}")
    kappa: Tensor = (slope(flux) / slope(rate)).abs().amax(-1)
    return kappa


def prescribed_values(problem: Problem, name: str, parameters: Mapping[str, Tensor]) -> Tensor:
    """Values that the conditions give the field on initial, Dirichlet and Robin boundaries, (batch, n).

    Where a Robin condition's α vanishes it gives none; the mean of its other values stands in for it.

    Arguments:
        problem: gives the conditions.
        name: the field.
        parameters: name -> (batch,) or (1,).
    """
    columns = {key: value.reshape(-1, 1) for key, value in parameters.items()}
    like = next(iter(columns.values())) if columns else torch.zeros(1, 1, dtype=torch.float64)
    unit = torch.linspace(0, 1, _SAMPLES, dtype=like.dtype, device=like.device)
    at = {}
    for axis in problem.domain.axes:
        lower, upper = problem.domain.bounds(axis)
        at[axis] = (lower + (upper - lower) * unit).unsqueeze(0)
    found = []
    for (field, order), value in problem.resolved.initial.items():
        if field == name and order == 0:
            start = {"t": torch.full_like(at["t"], problem.domain.bounds("t")[0])}
            found.append(value_at(value, {**at, **start, **columns}))
    for face in problem.resolved.faces:
        if face.field == name and not face.is_neumann:
            there = {face.axis: torch.full_like(at[face.axis], face.position)}
            known = {**at, **there, **columns}
            varies = callable(face.alpha)  # a constant one does not vanish
            found.append(_held(face, known, like) if varies else value_at(face.value, known) / face.alpha)
    tensors = [torch.as_tensor(f, dtype=like.dtype, device=like.device) for f in found] or [like * 0 + 1]
    batch = max(t.shape[0] if t.ndim > 1 else 1 for t in tensors)
    rows = [(t if t.ndim > 1 else t.reshape(1, -1)).expand(batch, -1) for t in tensors]
    return torch.cat(rows, dim=-1)


def _held(face: FaceCondition, known: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """γ/α of a boundary condition where α does not vanish, and their mean where it does."""
    gamma, alpha = torch.broadcast_tensors(
        *(torch.as_tensor(value_at(v, known), dtype=like.dtype, device=like.device) for v in (face.value, face.alpha))
    )
    holds = alpha != 0
    u = torch.where(holds, gamma, torch.zeros_like(gamma)) / torch.where(holds, alpha, torch.ones_like(alpha))
    mean = u.sum(-1, keepdim=True) / holds.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(holds, u, mean)
