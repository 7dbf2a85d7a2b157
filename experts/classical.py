"""A classical discretisation as an expert: the reference, the rival, and a member among others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import torch
from torch import Tensor

from pdesolve.discretization.finite_elements.method import FiniteElements, cases_of, device_of_inputs
from pdesolve.domains.mesh_in_time import MeshInTime
from pdesolve.domains.mesh_values import AbstractMeshValues
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.mesh_mixture import check_mesh
from pdesolve.experts.provenance import provenance
from pdesolve.field import Field
from pdesolve.problem import Problem
from pdesolve.solution import Solution
from pdesolve.status import raise_unless_converged

if TYPE_CHECKING:
    from pdesolve.discretization.finite_elements.discrete_problem import DiscreteProblem
    from pdesolve.linalg import AbstractLinearSolver
    from pdesolve.root_finding import Newton


@final
@dataclass(frozen=True)
class Classical:
    """A discretisation with its solvers, for any problem that it covers.

    Arguments:
        discretization: such as ``FiniteElements(order=2)``.
        solver: of linear systems (default ``default_solver``).
        newton: of nonlinear ones (default ``Newton(solver)``).

    Raises:
        TypeError: something else than a discretisation that is solved as it is.
    """

    discretization: FiniteElements
    solver: AbstractLinearSolver | None = None
    newton: Newton | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.discretization, FiniteElements):
            raise TypeError(f"Classical takes FiniteElements(...), got {type(self.discretization).__name__}")

    def on(self, problem: Problem) -> ClassicalExpert:
        """The expert for a problem.

        Raises:
            TypeError, ValueError: a problem that the discretisation does not cover.
        """
        return ClassicalExpert(problem, self)


@final
class ClassicalExpert(AbstractExpert):
    """R(u) = 0 solved, with gradients to parameters and coefficient fields.

    Arguments:
        problem: what is solved.
        method: how.

    Notes:
        Cases are solved one after another, on the CPU; results go where the inputs are. Nothing is trained:
        ``residual`` gives the rows that are left after the solve, zero up to rounding.
    """

    def __init__(self, problem: Problem, method: Classical) -> None:
        super().__init__()
        self._problem, self.method = problem, method
        self.discrete: DiscreteProblem = method.discretization.discretise(problem)

    @property
    def problem(self) -> Problem:
        return self._problem

    def residual(self, parameters: Mapping[str, Any], generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        if self.problem.domain.has_time:
            raise ValueError("a transient classical solve has no residual rows to train on: use it as the reference")
        rows, status = [], []
        for case in cases_of(self.problem, parameters):
            u, code = self._steady(case)
            rows.append(self.discrete.residual(u, None, case, None)[self.discrete.free])
            status.append(code)
        device = device_of_inputs(parameters)
        return {"equation": torch.stack(rows).to(device)}, torch.stack(status).unsqueeze(1).to(device)

    def forward(
        self,
        parameters: Mapping[str, Any],
        grid: Any = None,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        """As ``AbstractExpert.forward``; ``grid`` is the problem's mesh (default), and parameters may be fields on it.

        The field of a transient problem has all steps, on a ``MeshInTime``.
        """
        check_mesh(self.problem, grid)
        solve = self._transient if self.problem.domain.has_time else self._steady
        found = [solve(case) for case in cases_of(self.problem, parameters)]
        status = torch.stack([code for _, code in found]).unsqueeze(1)
        if throw:
            raise_unless_converged(status)
        device = device_of_inputs(parameters)
        values = torch.stack([self._nodal(u) for u, _ in found]).to(device)
        field = Field(values, self._grid(), self.problem.field_names)
        numbers = {k: torch.as_tensor(v) for k, v in parameters.items() if not isinstance(v, AbstractMeshValues)}
        record = provenance(self.problem, self, discretization=self.method.discretization, solver=self.method.solver)
        return Solution(field, status.to(device), {}, numbers, provenance=record)

    def _grid(self) -> SimplexMesh | MeshInTime:
        mesh = self.problem.mesh_domain.mesh
        if not self.problem.domain.has_time:
            return mesh
        low, high = self.problem.domain.bounds("t")
        steps = self.method.discretization.time.steps
        return MeshInTime(mesh, torch.linspace(low, high, steps + 1, dtype=torch.float64))

    def _nodal(self, u: Tensor) -> Tensor:
        """(field * n,) or (step, field * n) at the nodes, fields first."""
        space = self.discrete.space
        return space.at_nodes(u.unflatten(-1, (self.discrete.n_fields, space.size)).movedim(-2, 0))

    def _steady(self, case: Any) -> tuple[Tensor, Tensor]:
        from pdesolve.discretization.finite_elements.steady import solve_steady  # solvers load when they are used

        return solve_steady(self.discrete, case, self.method.solver, self.method.newton, throw=False)

    def _transient(self, case: Any) -> tuple[Tensor, Tensor]:
        from pdesolve.discretization.finite_elements.time_stepping import solve_transient

        method = self.method
        return solve_transient(
            self.discrete, case, method.discretization.time, method.solver, method.newton, throw=False
        )
