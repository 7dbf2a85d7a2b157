"""Numbers by which a problem is known again: text cannot tell one lambda from another."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.frames.abstract import NoLifting
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.problem_rows import Known, condition_rows, equation_rows

_POINTS = 64


def fingerprint(problem: Problem) -> dict[str, str]:
    """Sizes of the equation's and of every condition's rows, by label, at fixed points for terms of fixed values.

    Arguments:
        problem: on a box.

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
        found[piece.label] = written(piece.residual(values, known))
    return found


def written(values: Tensor) -> str:
    """The size of a tensor as text."""
    return f"{float(torch.linalg.vector_norm(values)):.9e}"
