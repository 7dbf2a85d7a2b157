"""A prescribed flux through a boundary of a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pdesolve.condition.abstract import AbstractCondition
from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.value import Value


@final
@dataclass(frozen=True)
class Flux(AbstractCondition):
    """n·F + α u = value on the boundaries named ``on``, F the flux of an equation in divergence form, n outward.

    For F = a ∇u the heat that enters; for elasticity the traction on the field's component. With α the coefficient of
    heat transfer and value α u_∞ it is Newton's law of cooling.

    Arguments:
        value: a number, or a function as for ``Dirichlet``.
        alpha: α (default 0), in units of flux per unit of u; a number or a function.
        on, field: as for ``Dirichlet``.

    Raises:
        TypeError, ValueError: as for ``Dirichlet``; a domain that is a box.

    Notes:
        ``Neumann`` and ``Robin`` prescribe the derivative ∂u/∂n instead, which needs a flux of the form a ∇u.
    """

    value: Value
    alpha: Value = 0.0
    on: str | tuple[str, ...] | None = None
    field: str | None = None

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.value, self.alpha)

    def resolve(self, register: ConditionRegister) -> None:
        register.add_fluxes(self.on, self.field, alpha=self.alpha, value=self.value)
