"""Steady problems: one linear solve, or Newton's method."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.discretization.finite_elements.discrete_problem import DiscreteProblem
from pdesolve.discretization.finite_elements.weak_form import Case, split_case
from pdesolve.linalg import AbstractLinearSolver, linear_solve
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.root_finding import GivenJacobian, Newton, find_root


def solve_steady(
    discrete: DiscreteProblem,
    case: Case,
    solver: AbstractLinearSolver | None = None,
    newton: Newton | None = None,
    throw: bool = True,
) -> tuple[Tensor, Tensor]:
    """u of all fields, (field * n,), and the status, a scalar; differentiable in the case's tensors.

    Arguments:
        discrete: the discrete problem.
        case: parameters of one case.
        solver: of the linear systems (default ``default_solver``).
        newton: for nonlinear equations (default ``Newton(solver)``).
        throw: raise ``SolveError`` on failure.
    """
    discrete.check(case)
    zero = torch.zeros(discrete.n_fields * discrete.space.size, dtype=torch.float64)
    start = discrete.lifted(zero, case, None)
    if not len(discrete.free):
        return start, torch.zeros((), dtype=torch.int64)
    if discrete.problem.trace.linear:
        matrix = discrete.jacobian(start, None, case, None)
        b = -discrete.residual(start, None, case, None)[discrete.free]
        correction, report = linear_solve(matrix, b, solver, throw=throw)
        return start.index_add(0, discrete.free, correction), report.status
    tensors, rebuilt = split_case(case)

    def placed(w: Tensor, own: Case) -> Tensor:
        return discrete.lifted(zero, own, None).index_put((discrete.free,), w)

    def residual(w: Tensor, *given: Tensor) -> Tensor:
        own = rebuilt(given)
        return discrete.residual(placed(w, own), None, own, None)[discrete.free]

    def operator(w: Tensor, *given: Tensor) -> AbstractLinearOperator:
        own = rebuilt(given)
        return discrete.jacobian(placed(w, own), None, own, None)

    found, told = find_root(
        residual, start[discrete.free].detach(), tensors, method=newton or Newton(solver),
        jacobian=GivenJacobian(operator), throw=throw,
    )  # fmt: skip
    return placed(found, case), told.status
