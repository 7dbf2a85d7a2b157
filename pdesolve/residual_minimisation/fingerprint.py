"""Numbers by which a problem is known again: text cannot tell one lambda from another."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.domains.sampling import SobolSampler
from pdesolve.frames.abstract import AbstractLifting, NoLifting, full_like, points_at
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.problem_rows import condition_rows, equation_rows, sampled_faces

_POINTS = 1024


def fingerprint(problem: Problem, lifting: AbstractLifting | None = None) -> dict[str, str]:
    """Sizes of the equation's and of every condition's rows, by label, at fixed points.

    Once for u = 0, which leaves sources and prescribed values, and once for terms of the order of one.

    Arguments:
        problem: on a box.
        lifting: whose g and m are told too (default none).

    Returns:
        Nine digits of each, so that other machines round to the same text.
    """
    box, sampler, generator = problem.box, SobolSampler(), torch.Generator().manual_seed(0)
    drawn = sampler.sample(box, _POINTS, generator, torch.float64)
    inside = {axis: value.squeeze(0) for axis, value in drawn.items()}
    faces = sampled_faces(box, _POINTS, sampler, generator)
    omega = torch.full((_POINTS,), _POINTS**-0.5, dtype=torch.float64)
    rows = [
        equation_rows(problem, inside, omega),
        *condition_rows(problem, NoLifting(problem.field_names), faces, 1.0),
    ]
    steps, known, found = torch.arange(_POINTS, dtype=torch.float64), problem.batch_parameters(), {}
    for piece in rows:
        waves = {term: torch.cos(steps + 0.7 * j) for j, term in enumerate(piece.terms)}
        zeros = dict.fromkeys(piece.terms, torch.zeros_like(steps))
        found[piece.label] = ", ".join(written(piece.residual(values, known)) for values in (zeros, waves))
    if lifting is not None:
        at, like = points_at(inside, known), next(iter(inside.values()))
        for name, parts in (("g", lifting.lift(at)), ("m", lifting.multiplier(at))):
            for field, value in parts.items():
                found[f"{name} of {field}"] = written(full_like(value, like))
    return found


def written(values: Tensor) -> str:
    """What a tensor is, as text: its size, its part along a fixed vector, and how much of it is not finite."""
    flat = values.flatten()
    finite = torch.isfinite(flat)
    kept, lost = flat[finite], int((~finite).sum())
    along = torch.randn(len(flat), generator=torch.Generator().manual_seed(1), dtype=torch.float64)[finite]
    size = float(torch.linalg.vector_norm(kept))
    share = float(kept @ along.to(kept)) / size if size > 0 else 0.0
    return f"{size:.9e} at {share:.9f}" + (f", {lost} not finite" if lost else "")
