"""The differentiable solution of a linear system by any solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.checks import require_system
from pdesolve.linalg.choice import default_solver
from pdesolve.linalg.function import Factors, System, solve
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.status import SolveStatus


@dataclass(frozen=True, eq=False)
class LinearReport:
    """How ``linear_solve`` went.

    Arguments:
        status: ``SolveStatus`` codes, one for each right-hand side, shape (...).
        stats: of the solver; "detail", where present, is a sentence on what is special or wrong. Empty when
            ``torch.vmap`` ran over the matrix.
    """

    status: Tensor
    stats: dict[str, Any]

    @property
    def converged(self) -> Tensor:
        """(...), where the solution can be relied on."""
        return self.status == SolveStatus.CONVERGED


def linear_solve(
    operator: AbstractLinearOperator,
    b: Tensor,
    solver: AbstractLinearSolver | None = None,
    *,
    throw: bool = True,
    state: Any = None,
) -> tuple[Tensor, LinearReport]:
    """Solve A x = b; x carries gradients to b and to the operator's tensors.

    Reverse mode to every order, forward mode once at any place among them, and ``torch.func`` transforms. The backward
    pass solves with A^T from the factors of the forward pass. Gradients of a ``SparseOperator`` live on its pattern and
    cost O(nnz).

    Arguments:
        operator: A, square.
        b: right-hand sides, (..., n), of the operator's type and device.
        solver: any ``AbstractLinearSolver`` (default ``default_solver(operator)``).
        throw: raise when a solve fails (default true). Otherwise look at the report: failed members are finite, but
            constants to autograd.
        state: what ``solver.init(operator)`` gave (default: called here). Give it to solve again with the same matrix.

    Returns:
        x (..., n) and a ``LinearReport``.

    Raises:
        TypeError, ValueError: the system cannot be posed, see ``checks.require_system``.
        SolveError: a member failed and ``throw`` is set; in the backward pass too.
        MemoryError: the factors would not fit.
        RuntimeError: in the backward pass, when a tensor of the operator was changed in place since.

    Notes:
        A matrix with constant null space (pure Neumann, periodic) is solved in its range: the solution of zero mean,
        and a status where the right-hand side is incompatible. Its gradient is that of the pseudo-inverse.
    """
    require_system(operator, b)
    if state is not None and solver is None:
        raise ValueError("a state belongs to the solver that made it: give that solver too")
    solver = default_solver(operator) if solver is None else solver
    tensors = tuple(operator.tensors())
    with torch.no_grad():
        batch = operator.mv(b.new_zeros(b.shape[-1])).shape[:-1]
    b = b.expand(*torch.broadcast_shapes(b.shape[:-1], batch), b.shape[-1])
    factors = Factors(operator.detached(), solver, throw, {} if state is None else {False: state})
    value, status = solve(System(factors), b, tensors)
    return value, LinearReport(status, factors.stats)
