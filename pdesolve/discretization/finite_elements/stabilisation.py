"""Stabilisation of transport that outruns diffusion on the scale of a cell."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pdesolve.namespace import Namespace
from pdesolve.pde.divergence_form import AbstractDivergenceForm, second_terms

if TYPE_CHECKING:
    from pdesolve.discretization.finite_elements.weak_form import Case, Density, Integrand, State


class AbstractStabilisation(abc.ABC):
    """Adds terms to the integrand on cells that vanish for the exact solution."""

    @abc.abstractmethod
    def stabilised(
        self, integrand: Integrand, form: AbstractDivergenceForm, case: Case, time: float | None
    ) -> Integrand:
        """The integrand with the terms added.

        Arguments:
            integrand: of the equation, on cells.
            form: the equation.
            case: its parameters.
            time: for coefficients that read it.
        """


@final
@dataclass(frozen=True)
class Unstabilised(AbstractStabilisation):
    """The Galerkin method as it is: right where the cell Péclet number |b| h / (2 a) stays below one."""

    def stabilised(
        self, integrand: Integrand, form: AbstractDivergenceForm, case: Case, time: float | None
    ) -> Integrand:
        return integrand


@final
@dataclass(frozen=True)
class StreamlineUpwind(AbstractStabilisation):
    """Streamline upwind Petrov-Galerkin: Σ_cells ∫ τ R(u) b·∇v, R the strong residual and b = ∂R/∂∇u.

    τ = ((2p|b|/h)² + (12p² A/h²)² + (∂R/∂u)²)^-½ with h the cell's diameter, p the order and A = ∂F_x/∂u_x. R includes
    second derivatives, so that the order of the element is kept; on linear elements they vanish.

    Raises:
        ValueError: by the solve, for systems of several fields.

    Notes:
        Layers across the stream still overshoot a little: the method is linear. On curved cells second derivatives are
        those of the straight-sided cell.

    Source: Brooks & Hughes, CMAME 32 (1982); τ of Shakib, Hughes & Johan, CMAME 89 (1991).
    """

    def stabilised(
        self, integrand: Integrand, form: AbstractDivergenceForm, case: Case, time: float | None
    ) -> Integrand:
        from pdesolve.discretization.finite_elements.weak_form import (  # assembly loads when it is first used
            Integrand,
            parameters_at,
            plain,
            points_at,
            variables,
        )

        if integrand.fields != 1:
            raise ValueError("StreamlineUpwind covers one field: use FiniteElements without stabilisation for a system")
        table, axes = integrand.table, integrand.axes
        second = second_terms(form.axes)
        terms = (*integrand.terms, *second)
        parameters = Namespace(parameters_at(case, table), "parameter")
        coordinates = Namespace(points_at(table, time), "coordinate")
        p = 2 if table.curvatures else 1
        n, d = len(integrand.terms), len(axes)  # u_xx stands at n

        def strong(values: Sequence[Tensor]) -> Tensor:
            found = form.residual(variables(form, terms, [list(values)]), coordinates, parameters)
            return plain(found[0] if isinstance(found, tuple) else found, values[0])

        def function(state: State) -> Density:
            own = state[0]
            density = integrand.function([own[:n]])[0]
            base = strong(own)
            moved = [
                strong([v + 1.0 if j == k else v for j, v in enumerate(own)]) - base  # R is affine in ∇u as a rule
                for k in range(1 + d)
            ]
            spread = strong([v - 1.0 if j == n else v for j, v in enumerate(own)]) - base
            velocity = moved[1:]
            speed = sum((b.square() for b in velocity), torch.zeros_like(base))
            size = table.size.unsqueeze(-1)
            carried, spreading = 4 * p**2 * speed / size**2, (12 * p**2 * spread / size**2).square()
            tau = (carried + spreading + moved[0].square()).clamp_min(1e-300).rsqrt()
            extra = [tau * base * b for b in velocity]
            return [[density[0], *(f + e for f, e in zip(density[1:], extra, strict=True))]]

        return Integrand(table, axes, terms, integrand.tests, function, 1)
