"""The weak form of a problem: what is integrated against basis functions, and its exact derivative.

With the state s = (u, ∂u, u_t, ...) of all fields at a quadrature point, an equation in divergence form is a function
s -> (S, F) paired with (v, ∇v). Residual and Jacobian of a cell are

    R = Σ_q w_q Tᵀ (S, F)(s_q) ,    J = Σ_q w_q Tᵀ ∂(S, F)/∂s B ,

T and B the basis functions and their derivatives. Both are linear in what a coefficient gives at the quadrature points,
so gradients to coefficients cost as much as the assembly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.discretization.finite_elements.element_table import ElementTable
from pdesolve.domains.mesh_values import AbstractMeshValues, CellValues
from pdesolve.namespace import Namespace
from pdesolve.pde.divergence_form import AbstractDivergenceForm
from pdesolve.pde.variable import FieldVariable

Case = Mapping[str, Tensor | AbstractMeshValues]
"""Parameters of one case: numbers as tensors without dimension, or fields of one case."""

State = list[list[Tensor]]
"""For each field, its terms at the quadrature points, each (piece, point)."""

Density = list[list[Tensor]]
"""For each field, what is paired with each test term, each (piece, point)."""


@dataclass(frozen=True, eq=False)
class Integrand:
    """A function of the state at quadrature points, integrated against test functions.

    Arguments:
        table: where.
        axes: space axes.
        terms: what the state holds of each field, such as ("", "x", "y", "t").
        tests: what each density is paired with, such as ("", "x", "y").
        function: state to densities.
        fields: number of fields.
    """

    table: ElementTable
    axes: tuple[str, ...]
    terms: tuple[str, ...]
    tests: tuple[str, ...]
    function: Callable[[State], Density]
    fields: int

    def state(self, u: Tensor, rate: Tensor | None) -> State:
        """The state of u (field, n); ``rate`` is u_t."""
        space = [term for term in self.terms if term != "t"]
        found = dict(zip(space, self.table.at(u, tuple(space)), strict=True))
        if "t" in self.terms:
            found["t"] = self.table.at(torch.zeros_like(u) if rate is None else rate, ("",))[0]
        return [[found[term][i] for term in self.terms] for i in range(self.fields)]

    def residual(self, state: State) -> Tensor:
        """(field, piece, L)."""
        return torch.stack([self._tested(density) for density in self.function(state)])

    def matrices(self, state: State, factors: Mapping[str, float]) -> Tensor:
        """∂R/∂u, (field, field, piece, L, L): row and column.

        Arguments:
            state: where.
            factors: derivative of each term of the state by what u stands for: 1 by default, for "t" that of u_t by u.
        """
        flat = tuple(value for own in state for value in own)
        n = len(self.terms)

        def densities(*values: Tensor) -> tuple[Tensor, ...]:
            found = self.function([list(values[i * n : (i + 1) * n]) for i in range(self.fields)])
            shape = values[0].shape
            return tuple(torch.as_tensor(d, dtype=flat[0].dtype).expand(shape) for own in found for d in own)

        blocks: list[list[Tensor | None]] = [[None] * self.fields for _ in range(self.fields)]
        for k in range(self.fields):
            for t, term in enumerate(self.terms):
                factor = factors.get(term, 1.0)
                if factor == 0.0:
                    continue
                direction = tuple(
                    torch.full_like(v, factor) if j == k * n + t else torch.zeros_like(v) for j, v in enumerate(flat)
                )
                result: Any = torch.func.jvp(densities, flat, direction)
                columns = self.table.functions("" if term == "t" else term, self.axes)
                for r, slope in enumerate(result[1]):
                    if not (slope.requires_grad or bool(slope.any())):
                        continue
                    i, test = divmod(r, len(self.tests))
                    rows = self.table.functions(self.tests[test], self.axes)
                    part = (rows * (slope * self.table.weights).unsqueeze(-1)).mT @ columns
                    old = blocks[i][k]
                    blocks[i][k] = part if old is None else old + part
        pieces, width = self.table.shape[0], self.table.dofs.shape[1]
        zero = self.table.weights.new_zeros(pieces, width, width)
        return torch.stack([torch.stack([zero if b is None else b for b in row]) for row in blocks])

    def _tested(self, densities: Sequence[Tensor]) -> Tensor:
        parts = [
            torch.einsum(
                "cq,cql->cl",
                torch.as_tensor(d, dtype=self.table.weights.dtype) * self.table.weights,
                self.table.functions(test, self.axes),
            )
            for d, test in zip(densities, self.tests, strict=True)
        ]
        return sum(parts[1:], parts[0])


def split_case(case: Case) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Case]]:
    """The tensors of a case, and how others in their order become a case again."""
    names = list(case)
    tensors = [v if isinstance(v, Tensor) else v.values for v in case.values()]

    def rebuilt(given: Sequence[Tensor]) -> Case:
        found: dict[str, Tensor | AbstractMeshValues] = {}
        for name, value in zip(names, given, strict=True):
            old = case[name]
            found[name] = value if isinstance(old, Tensor) else replace(old, values=value)
        return found

    return tensors, rebuilt


def parameters_at(case: Case, table: ElementTable) -> dict[str, Tensor]:
    """Parameters at the quadrature points, each broadcastable to (piece, point)."""
    found = {}
    for name, value in case.items():
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, CellValues):
            found[name] = value.case(0)[table.cells].unsqueeze(-1)
        else:
            found[name] = (value.case(0)[table.corners].unsqueeze(1) * table.corner_shares).sum(-1)
    return found


def variables(form: AbstractDivergenceForm, terms: Sequence[str], state: State) -> Namespace[FieldVariable]:
    """The state as the equation reads it."""
    named = {
        name: FieldVariable(name, dict(zip(terms, own, strict=True)))
        for name, own in zip(form.field_names, state, strict=True)
    }
    return Namespace(named, "field")


def plain(value: Any, like: Tensor) -> Tensor:
    """A number, tensor or field as a tensor shaped like the points."""
    raw = value.value if isinstance(value, FieldVariable) else value
    return torch.as_tensor(raw, dtype=like.dtype, device=like.device).expand(like.shape)


def equation(
    form: AbstractDivergenceForm, table: ElementTable, case: Case, time: float | None, transient: bool
) -> Integrand:
    """(S, F) on cells, paired with (v, ∇v)."""
    axes = tuple(form.axes)
    terms = ("", *axes, *(("t",) if transient else ()))
    parameters = Namespace(parameters_at(case, table), "parameter")
    coordinates = Namespace(points_at(table, time), "coordinate")

    def function(state: State) -> Density:
        fields = variables(form, terms, state)
        sources, fluxes = form.source(fields, coordinates, parameters), form.flux(fields, coordinates, parameters)
        like = state[0][0]
        return [
            [plain(source, like), *(plain(part, like) for part in parts)]
            for source, parts in zip(sources, fluxes, strict=True)
        ]

    return Integrand(table, axes, terms, ("", *axes), function, len(form.field_names))


def points_at(table: ElementTable, time: float | None) -> dict[str, Tensor]:
    """Coordinates of the quadrature points, time among them."""
    first = next(iter(table.coordinates.values()))
    moment = {} if time is None else {"t": torch.full((1, 1), time, dtype=first.dtype, device=first.device)}
    return {**moment, **table.coordinates}
