"""Two ends of an axis that are one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pdesolve.condition.abstract import AbstractCondition
from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.value import Value


@final
@dataclass(frozen=True)
class Periodic(AbstractCondition):
    """u and its normal derivatives, below the equation's order, agree on the two ends of ``axis``.

    Arguments:
        axis: a space axis of the domain.
        field: the unknown it is for (default: the only one).

    Raises:
        ValueError: by ``Problem``, which knows the domain: no such space axis, an unknown field, the axis named twice,
            or another condition on one of its ends.
    """

    axis: str
    field: str | None = None

    @property
    def values(self) -> tuple[Value, ...]:
        return ()

    def resolve(self, register: ConditionRegister) -> None:
        register.add_periodic(self.field, self.axis)
