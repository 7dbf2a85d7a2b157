"""Numbers by which a problem is known again: text cannot tell one lambda from another."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.frames.abstract import AbstractLifting, NoLifting, full_like, points_at
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.problem_rows import Known, condition_rows, equation_rows

_POINTS = 64


def fingerprint(problem: Problem, lifting: AbstractLifting | None = None) -> dict[str, str]:
    """Sizes of the equation's and of every condition's rows, by label, at fixed points for terms of fixed values.

    Arguments:
        problem: on a box.
        lifting: whose g and m are told too (default none).

    Returns:
        Ten digits each, so that other machines round to the same text; values that are not finite are among them.
    """
    box = problem.box

    def face(boundary: str) -> Known:
        return box.probe(_POINTS, box.boundary(boundary))

    omega = torch.full((_POINTS,), _POINTS**-0.5, dtype=torch.float64)
    rows = [
        equation_rows(problem, box.probe(_POINTS), omega),
        *condition_rows(problem, NoLifting(problem.field_names), face, 1.0),
    ]
    steps, known = torch.arange(_POINTS, dtype=torch.float64), problem.batch_parameters()
    found = {}
    for piece in rows:
        values = {term: torch.cos(steps + 0.7 * j) for j, term in enumerate(piece.terms)}
        found[piece.label] = _written(piece.residual(values, known))
    if lifting is not None:
        at, like = points_at(box.probe(_POINTS), known), next(iter(box.probe(_POINTS).values()))
        for name, parts in (("g", lifting.lift(at)), ("m", lifting.multiplier(at))):
            for field, value in parts.items():
                found[f"{name} of {field}"] = _written(full_like(value, like))
    return found


def _written(values: Tensor) -> str:
    """The size of a tensor as text."""
    return f"{float(torch.linalg.vector_norm(values)):.9e}"
