"""Values at the start of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pdesolve.condition.abstract import AbstractCondition
from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.value import Value


@final
@dataclass(frozen=True)
class InitialCondition(AbstractCondition):
    """∂ⁿu/∂tⁿ = value at the start of the time interval.

    Arguments:
        value: a number, or a function of axes and parameters by name, written with torch functions:
            ``lambda x: -torch.sin(torch.pi * x)``, ``lambda u0: u0``.
        field: the unknown it is for (default: the only one).
        order: n, 0 for u itself (default), 1 for u_t; below the equation's order in time.

    Raises:
        TypeError, ValueError: by ``Problem``, which knows axes, parameters and fields: a domain without time, an order
            that the equation does not need, a function that reads unknown names or gives values that are not finite.
    """

    value: Value
    field: str | None = None
    order: int = 0

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.value,)

    def resolve(self, register: ConditionRegister) -> None:
        register.add_initial(self.field, self.order, self.value)
