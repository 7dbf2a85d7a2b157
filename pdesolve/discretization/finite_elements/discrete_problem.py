"""A problem on a mesh as a system of equations R(u) = 0 with a sparse Jacobian."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, FluxCondition, arguments
from pdesolve.discretization.finite_elements.boundary_terms import boundary_integrand, check_normal, prescribed
from pdesolve.discretization.finite_elements.ellipticity import check_elliptic
from pdesolve.discretization.finite_elements.space import FiniteElementSpace
from pdesolve.discretization.finite_elements.stabilisation import AbstractStabilisation, Unstabilised
from pdesolve.discretization.finite_elements.strong_form import StrongForm
from pdesolve.discretization.finite_elements.weak_form import Case, Integrand, equation
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.operators.sparsity_pattern import Triplets
from pdesolve.pde.divergence_form import AbstractDivergenceForm
from pdesolve.problem import Problem

logger = logging.getLogger(__name__)

_SYMMETRIC = 1e-12


@final
class DiscreteProblem:
    """R(u) for the degrees of freedom of all fields, (field * n,), one field after the other.

    Arguments:
        problem: on a mesh; in divergence form, or of second order with constant factors (see ``StrongForm``).
        space: of each field.
        stabilisation: default ``Unstabilised()``.

    Raises:
        TypeError: a problem on a box.
        ValueError: a space on another mesh, an equation that ``StrongForm`` refuses, other axes than the mesh's.
    """

    def __init__(
        self, problem: Problem, space: FiniteElementSpace, stabilisation: AbstractStabilisation | None = None
    ) -> None:
        domain = problem.mesh_domain
        if space.mesh is not domain.mesh:
            raise ValueError("the space lives on another mesh than the problem: make it from problem.domain.mesh")
        self.problem, self.space = problem, space
        self.form = problem.pde if isinstance(problem.pde, AbstractDivergenceForm) else StrongForm(problem)
        if tuple(self.form.axes) != domain.space_axes:
            raise ValueError(
                f"the equation has the axes {self.form.axes!r}, the mesh {''.join(domain.space_axes)!r}: "
                "give the equation axes=..."
            )
        self.stabilisation = stabilisation or Unstabilised()
        resolved = problem.resolved
        self._values = [f for f in resolved.faces if f.is_dirichlet]
        self._natural: list[FaceCondition | FluxCondition] = [
            *(f for f in resolved.faces if not f.is_dirichlet),
            *resolved.fluxes,
        ]
        default: Case = {k: torch.tensor(float(v), dtype=torch.float64) for k, v in problem.parameters.items()}
        start = domain.bounds("t")[0] if domain.has_time else None
        for face in resolved.faces:
            if not face.is_dirichlet:
                check_normal(self.form, face, space.facets(face.boundary), default, start)
        self._places = [space.boundary_dofs(f.boundary) for f in self._values]

    @property
    def n_fields(self) -> int:
        return len(self.problem.field_names)

    @property
    def transient(self) -> bool:
        """Whether there is time."""
        return self.problem.domain.has_time

    @cached_property
    def reads_time(self) -> bool:
        """Whether a coefficient of the matrix reads the time."""
        if any("t" in arguments(v) for c in self._natural for v in (c.alpha, getattr(c, "beta", 1.0))):
            return True
        table = self.space.cells
        case = {name: torch.tensor(float(v), dtype=torch.float64) for name, v in self.problem.parameters.items()}
        timeless = equation(self.form, table, case, None, self.transient)
        state = timeless.state(torch.zeros(self.n_fields, self.space.size, dtype=torch.float64), None)
        try:
            timeless.function(state)
        except (AttributeError, KeyError):  # a Namespace says so of a coordinate that it lacks
            return True
        return False

    @cached_property
    def fixed(self) -> Tensor:
        """Degrees of freedom with prescribed values, rising, among those of all fields."""
        parts = [d + self._offset(f.field) for f, d in zip(self._values, self._places, strict=True)]
        return torch.unique(torch.cat(parts)) if parts else torch.zeros(0, dtype=torch.int64)

    @cached_property
    def free(self) -> Tensor:
        """The others, rising: what is solved for."""
        kept = torch.ones(self.n_fields * self.space.size, dtype=torch.bool)
        kept[self.fixed] = False
        return kept.nonzero().squeeze(1)

    def lifted(self, u: Tensor, case: Case, time: float | None) -> Tensor:
        """u with the prescribed values put in, (field * n,); differentiable."""
        values = prescribed(self._values, self._places, self.space, case, time)
        for condition, dofs, value in zip(self._values, self._places, values, strict=True):
            u = u.index_put((dofs + self._offset(condition.field),), value.to(u.dtype))
        return u

    def integrands(self, case: Case, time: float | None) -> list[Integrand]:
        """What is integrated, cells first, then boundaries with natural conditions."""
        cells = equation(self.form, self.space.cells, case, time, self.transient)
        found = [self.stabilisation.stabilised(cells, self.form, case, time)]
        for condition in self._natural:
            table = self.space.facets(condition.boundary)
            found.append(boundary_integrand(self.form, condition, table, case, time))
        return found

    def check(self, case: Case) -> None:
        """Raise where diffusion is not positive.

        Raises:
            ValueError: names field, axis and cell.
        """
        start = self.problem.domain.bounds("t")[0] if self.transient else None
        check_elliptic(
            equation(self.form, self.space.cells, case, start, self.transient), tuple(self.problem.field_names)
        )

    def residual(self, u: Tensor, rate: Tensor | None, case: Case, time: float | None) -> Tensor:
        """R(u, u_t), (field * n,)."""
        fields, rates = self._by_field(u), None if rate is None else self._by_field(rate)
        total = torch.zeros_like(fields)
        for integrand in self.integrands(case, time):
            local = integrand.residual(integrand.state(fields, rates))
            dofs = integrand.table.dofs.reshape(-1)
            total = total.index_add(1, dofs, local.reshape(self.n_fields, -1))
        return total.reshape(-1)

    def jacobian(
        self, u: Tensor, rate: Tensor | None, case: Case, time: float | None, factors: Mapping[str, float] | None = None
    ) -> SparseOperator:
        """∂R/∂u on the free degrees of freedom.

        Arguments:
            factors: derivatives of terms by u, {"t": 1/Δt} in a time step, {"t": 0} without (default 0 for "t").
        """
        given = {"t": 0.0, **(factors or {})}
        fields, rates = self._by_field(u), None if rate is None else self._by_field(rate)
        parts = []
        for integrand in self.integrands(case, time):
            parts.append(integrand.matrices(integrand.state(fields, rates), given).reshape(-1))
        slots, kept = self._slots
        values = slots.sum(torch.cat(parts)[kept])
        flipped = values.detach()[slots.pattern.transposition]
        symmetric = bool((flipped - values.detach()).abs().max() <= _SYMMETRIC * values.detach().abs().max())
        return SparseOperator(slots.pattern, values, symmetric=symmetric)

    def _by_field(self, u: Tensor) -> Tensor:
        return u.reshape(self.n_fields, self.space.size)

    def _offset(self, field: str) -> int:
        return self.problem.field_names.index(field) * self.space.size

    @cached_property
    def _slots(self) -> tuple[Triplets, Tensor]:
        """Where each entry of the element matrices goes, and which stay, both ends being free."""
        number = torch.full((self.n_fields * self.space.size,), -1)
        number[self.free] = torch.arange(len(self.free))
        tables = [self.space.cells, *(self.space.facets(c.boundary) for c in self._natural)]
        rows, columns = [], []
        for table in tables:
            for i in range(self.n_fields):
                for k in range(self.n_fields):
                    shape = (*table.dofs.shape, table.dofs.shape[1])
                    rows.append((table.dofs + i * self.space.size).unsqueeze(-1).expand(shape).reshape(-1))
                    columns.append((table.dofs + k * self.space.size).unsqueeze(1).expand(shape).reshape(-1))
        row, column = number[torch.cat(rows)], number[torch.cat(columns)]
        kept = ((row >= 0) & (column >= 0)).nonzero().squeeze(1)
        size = len(self.free)
        return Triplets.of(row[kept], column[kept], (size, size)), kept
