"""A prescribed normal derivative on a boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pdesolve.condition.abstract import AbstractCondition
from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.value import Value


@final
@dataclass(frozen=True)
class Neumann(AbstractCondition):
    """∂u/∂n = value on the boundaries named ``on``, n outward: on "left" ∂u/∂n is -u_x.

    Arguments:
        value: the derivative along the outward normal, in units of u per length; a number or a function as for
            ``Dirichlet``.
        on, field: as for ``Dirichlet``.

    Raises:
        TypeError, ValueError: as for ``Dirichlet``.
    """

    value: Value
    on: str | tuple[str, ...] | None = None
    field: str | None = None

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.value,)

    def resolve(self, register: ConditionRegister) -> None:
        register.add_faces("Neumann", self.on, self.field, alpha=0.0, beta=1.0, value=self.value)
