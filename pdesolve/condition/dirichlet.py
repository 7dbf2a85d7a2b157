"""A prescribed value on a boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pdesolve.condition.abstract import AbstractCondition
from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.value import Value


@final
@dataclass(frozen=True)
class Dirichlet(AbstractCondition):
    """u = value on the boundaries named ``on``.

    Arguments:
        value: a number, or a function of axes and parameters by name, written with torch functions.
        on: boundary names, such as "left" or ("left", "right"): left, right along x, bottom, top along y, back, front
            along z (default: every boundary in space).
        field: the unknown it is for (default: the only one).

    Raises:
        TypeError, ValueError: by ``Problem``, which knows the domain: an unknown boundary or field, two conditions on
            one boundary, a function that reads unknown names or gives values that are not finite.
    """

    value: Value
    on: str | tuple[str, ...] | None = None
    field: str | None = None

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.value,)

    def resolve(self, register: ConditionRegister) -> None:
        register.add_faces("Dirichlet", self.on, self.field, alpha=1.0, beta=0.0, value=self.value)
