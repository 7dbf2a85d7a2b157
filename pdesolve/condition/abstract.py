"""What a condition is."""

from __future__ import annotations

import abc

from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.value import Value


class AbstractCondition(abc.ABC):
    """What holds at the start of time or on a part of the boundary in space.

    A new kind of condition is one class that says in terms of initial values, α u + β ∂u/∂n = γ on a named boundary,
    and periodic axes what it means; ``Problem`` and the solvers need not know it.
    """

    @property
    @abc.abstractmethod
    def values(self) -> tuple[Value, ...]:
        """The numbers and functions that it is made of; a parameter that one of them reads counts as read."""

    @abc.abstractmethod
    def resolve(self, register: ConditionRegister) -> None:
        """Enter what it demands.

        Arguments:
            register: takes it by ``add_initial``, ``add_faces`` and ``add_periodic``, which check it.

        Raises:
            TypeError, ValueError: as those do.
        """
