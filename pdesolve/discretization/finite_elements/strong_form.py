"""Equations written in second derivatives, brought into divergence form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.namespace import Namespace
from pdesolve.pde.abstract import Fields, Residual, Values
from pdesolve.pde.divergence_form import AbstractDivergenceForm, Fluxes, second_terms
from pdesolve.pde.trace import Term, evaluate
from pdesolve.pde.variable import FieldVariable
from pdesolve.problem import Problem

_PROBES = 5


@final
class StrongForm(AbstractDivergenceForm):
    """F(u, ∂u) = 0 with F_i = -Σ_jl A_jl ∂_jl u_i + G_i, read as -∇·(A ∇u_i) + G_i = 0.

    Arguments:
        problem: whose equation it is; equation i is that of field i.

    Raises:
        ValueError: derivatives above the second, fewer or more equations than fields, or A that depends on the fields
            or the place, for which the two forms differ.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.axes = problem, "".join(problem.domain.space_axes)
        terms = problem.trace.terms
        for field, term in terms:
            if len(term.replace("t", "")) > 2 or ("t" in term and term != "t"):
                raise ValueError(
                    f"the residual reads {field}.{term}: finite elements cover u_t, and two derivatives in space"
                )
        if problem.trace.n_equations != len(problem.field_names):
            raise ValueError(
                f"{problem.trace.n_equations} equations for {len(problem.field_names)} fields: as many are needed"
            )
        self._second = [(name, term) for name, term in terms if len(term) == 2]
        self._check()

    @property
    def field_names(self) -> tuple[str, ...]:
        return self.problem.field_names

    @property
    def parameters(self) -> Mapping[str, float]:
        return self.problem.pde.parameters

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Residual:
        return self.problem.pde.residual(fields, coordinates, parameters)

    def flux(self, fields: Fields, coordinates: Values, parameters: Values) -> Fluxes:
        slopes = self._slopes(fields, coordinates, parameters)
        found = []
        for i in range(len(self.field_names)):
            parts: list[Any] = [0.0] * len(self.axes)
            for (name, term), slope in zip(self._second, slopes, strict=True):
                j, k = (self.axes.index(axis) for axis in term)
                share = slope[i] if j == k else 0.5 * slope[i]
                parts[j] = parts[j] - share * getattr(fields[name], term[1])
                if j != k:
                    parts[k] = parts[k] - share * getattr(fields[name], term[0])
            found.append(tuple(parts))
        return tuple(found)

    def source(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Any, ...]:
        flat = {term: torch.zeros_like(fields[self.field_names[0]].value) for term in second_terms(self.axes)}
        out = self.problem.pde.residual(self._with(fields, flat), coordinates, parameters)
        return out if isinstance(out, tuple) else (out,)

    def _with(self, fields: Fields, second: Mapping[str, Tensor]) -> Fields:
        known: dict[str, dict[str, Tensor]] = {name: {"": fields[name].value} for name in self.field_names}
        for name, term in self.problem.trace.terms:
            if len(term) == 1:
                known[name][term] = getattr(fields[name], term)
        return Namespace({n: FieldVariable(n, {**t, **second}) for n, t in known.items()}, "field")

    def _slopes(self, fields: Fields, coordinates: Values, parameters: Values) -> list[tuple[Tensor, ...]]:
        """∂F_i/∂(second derivative), for each of those that the residual reads; F is affine in them."""
        like = fields[self.field_names[0]].value
        zero, one = torch.zeros_like(like), torch.ones_like(like)

        def at(which: Term | None) -> tuple[Tensor, ...]:
            known = {(name, term): (one if (name, term) == which else zero) for name, term in self.problem.trace.terms}
            return evaluate(self.problem.pde, known, coordinates, parameters)

        base = at(None)
        return [tuple(a - b for a, b in zip(at(term), base, strict=True)) for term in self._second]

    def _check(self) -> None:
        """A is the same at random fields and places."""
        generator = torch.Generator().manual_seed(0)

        def draw() -> Tensor:
            return torch.rand(_PROBES, generator=generator, dtype=torch.float64) + 0.5

        numbers = {k: torch.full((1,), float(v), dtype=torch.float64) for k, v in self.problem.parameters.items()}
        terms = self.problem.trace.terms
        for which in self._second:
            seen = []
            for height in (0.0, 1.0, -2.0):
                known = {term: draw() for term in terms}
                before = {**known, which: torch.full((_PROBES,), height, dtype=torch.float64)}
                after = {**before, which: before[which] + 1.0}
                space = {axis: draw() for axis in self.problem.domain.axes}
                low, high = (torch.stack(evaluate(self.problem.pde, t, space, numbers)) for t in (before, after))
                seen.append(high - low)
            spread = torch.stack(seen)
            if not float((spread - spread[:1, :, :1]).abs().max()) <= 1e-9 * (1.0 + float(spread.abs().max())):
                raise ValueError(
                    f"the factor of {which[0]}.{which[1]} depends on the fields or the place, so the equation has "
                    "another weak form than it seems: write it as a DivergenceForm(flux, source)"
                )
