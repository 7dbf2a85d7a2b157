"""Transient problems, step by step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import value_at
from pdesolve.discretization.finite_elements.discrete_problem import DiscreteProblem
from pdesolve.discretization.finite_elements.time_scheme import AbstractTimeScheme, Step
from pdesolve.discretization.finite_elements.weak_form import Case, plain, split_case
from pdesolve.linalg import AbstractLinearSolver, default_solver, linear_solve
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.root_finding import GivenJacobian, Newton, find_root


def solve_transient(
    discrete: DiscreteProblem,
    case: Case,
    scheme: AbstractTimeScheme,
    solver: AbstractLinearSolver | None = None,
    newton: Newton | None = None,
    throw: bool = True,
) -> tuple[Tensor, Tensor]:
    """u at the start and after each step, (steps + 1, field * n), and the worst status; differentiable.

    Arguments: as ``solve_steady``.
        scheme: steps and formula.

    Notes:
        Where equation and coefficients do not read the time, the matrix is factorised once for each formula.
    """
    discrete.check(case)
    start, end = discrete.problem.domain.bounds("t")
    length = (end - start) / scheme.steps
    values = [initial_values(discrete, case, start)]
    status = torch.zeros((), dtype=torch.int64)
    kept: dict[Step, tuple[AbstractLinearOperator, AbstractLinearSolver, Any]] = {}
    for index in range(scheme.steps):
        step, now = scheme.step(index, length), start + (index + 1) * length
        then = now - (1 - step.theta) * length
        history = sum((h * values[-1 - j] for j, h in enumerate(step.history)), torch.zeros_like(values[-1]))
        lifted = discrete.lifted(values[-1], case, now)
        if discrete.problem.trace.linear:
            new, found = _linear_step(discrete, case, step, (values[-1], lifted, history), then, solver, throw, kept)
        else:
            new, found = _newton_step(discrete, case, step, (values[-1], lifted, history), then, newton, solver, throw)
        values.append(new)
        status = torch.maximum(status, found)
    return torch.stack(values), status


def initial_values(discrete: DiscreteProblem, case: Case, start: float) -> Tensor:
    """Initial conditions at the degrees of freedom, prescribed boundary values as they are there."""
    where = discrete.space.locations
    space = dict(zip(discrete.space.mesh.axes, where.unbind(1), strict=True))
    points = {"t": torch.full_like(where[:, 0], start), **space}
    known = {**points, **{name: v for name, v in case.items() if isinstance(v, Tensor)}}
    initial = discrete.problem.resolved.initial
    return torch.cat([plain(value_at(initial[name, 0], known), where[:, 0]) for name in discrete.problem.field_names])


def _linear_step(
    discrete: DiscreteProblem,
    case: Case,
    step: Step,
    vectors: tuple[Tensor, Tensor, Tensor],
    time: float,
    solver: AbstractLinearSolver | None,
    throw: bool,
    kept: dict[Step, tuple[AbstractLinearOperator, AbstractLinearSolver, Any]],
) -> tuple[Tensor, Tensor]:
    old, new, history = vectors
    stage, rate = step.theta * new + (1 - step.theta) * old, step.rate * new + history
    b = -discrete.residual(stage, rate, case, time)[discrete.free]
    if step not in kept or discrete.reads_time:
        new_matrix = discrete.jacobian(stage, rate, case, time, {"t": step.rate / step.theta})
        chosen = solver or default_solver(new_matrix)
        with torch.no_grad():
            kept[step] = new_matrix, chosen, chosen.init(new_matrix.detached())
    matrix, method, state = kept[step]
    correction, report = linear_solve(matrix, b / step.theta, method, throw=throw, state=state)
    return new.index_add(0, discrete.free, correction), report.status


def _newton_step(
    discrete: DiscreteProblem,
    case: Case,
    step: Step,
    vectors: tuple[Tensor, Tensor, Tensor],
    time: float,
    newton: Newton | None,
    solver: AbstractLinearSolver | None,
    throw: bool,
) -> tuple[Tensor, Tensor]:
    tensors, rebuilt = split_case(case)
    free = discrete.free

    def parts(w: Tensor, given: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Case]:
        old, new, history, *rest = given
        u = new.index_put((free,), w)
        return step.theta * u + (1 - step.theta) * old, step.rate * u + history, rebuilt(rest)

    def residual(w: Tensor, *given: Tensor) -> Tensor:
        stage, rate, own = parts(w, given)
        return discrete.residual(stage, rate, own, time)[free]

    def operator(w: Tensor, *given: Tensor) -> AbstractLinearOperator:
        stage, rate, own = parts(w, given)
        return step.theta * discrete.jacobian(stage, rate, own, time, {"t": step.rate / step.theta})

    found, report = find_root(
        residual, vectors[1][free].detach(), (*vectors, *tensors), method=newton or Newton(solver),
        jacobian=GivenJacobian(operator), throw=throw,
    )  # fmt: skip
    return vectors[1].index_put((free,), found), report.status
