"""A prescribed combination of value and normal derivative on a boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from pdesolve.condition.abstract import AbstractCondition
from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.value import Value


@final
@dataclass(frozen=True)
class Robin(AbstractCondition):
    """α u + β ∂u/∂n = value on the boundaries named ``on``, n outward.

    Arguments:
        value: right-hand side; a number or a function as for ``Dirichlet``.
        alpha: α, number or function (default 1).
        beta: β, number or function, in units of length times those of α (default 1); for decay through the boundary
            α and β have the same sign.
        on, field: as for ``Dirichlet``.

    Raises:
        TypeError, ValueError: as for ``Dirichlet``; α and β both zero.

    Notes:
        With α β < 0 the boundary feeds the solution and a diffusion problem is ill-posed on short scales
        (modes grow like exp(-α x / β)); nothing stops you from writing it.
    """

    value: Value
    alpha: Value = 1.0
    beta: Value = 1.0
    on: str | tuple[str, ...] | None = None
    field: str | None = None

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.value, self.alpha, self.beta)

    def resolve(self, register: ConditionRegister) -> None:
        register.add_faces("Robin", self.on, self.field, alpha=self.alpha, beta=self.beta, value=self.value)
