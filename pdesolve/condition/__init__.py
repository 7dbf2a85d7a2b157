"""Initial and boundary conditions on named parts of the boundary: one kind per file."""

from pdesolve.condition.abstract import AbstractCondition
from pdesolve.condition.dirichlet import Dirichlet
from pdesolve.condition.flux import Flux
from pdesolve.condition.initial import InitialCondition
from pdesolve.condition.neumann import Neumann
from pdesolve.condition.periodic import Periodic
from pdesolve.condition.register import ConditionRegister
from pdesolve.condition.resolved import FaceCondition, FluxCondition, ResolvedConditions
from pdesolve.condition.robin import Robin
from pdesolve.condition.value import Value, arguments, check_value, value_at

__all__ = [
    "AbstractCondition",
    "ConditionRegister",
    "Dirichlet",
    "FaceCondition",
    "Flux",
    "FluxCondition",
    "InitialCondition",
    "Neumann",
    "Periodic",
    "ResolvedConditions",
    "Robin",
    "Value",
    "arguments",
    "check_value",
    "value_at",
]
