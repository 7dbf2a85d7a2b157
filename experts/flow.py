"""Which way information runs along an axis: it enters where the conditions are."""

from __future__ import annotations

from pdesolve.problem import Problem


def flow_along(problem: Problem, axis: str) -> int:
    """+1 or -1 where all conditions of a problem on an axis lie on its lower or upper side, 0 where on both.

    Time runs from the initial condition. First-order transport has its boundary condition where the flow enters, so
    the conditions tell the upwind side whatever the equation looks like. Fields that enter from different sides, a
    periodic axis and an equation of second order with conditions on both sides have no direction.

    Arguments:
        problem: equation and conditions.
        axis: an axis of its domain.
    """
    resolved = problem.resolved
    if any(axis in axes for axes in resolved.periodic.values()):
        return 0
    sides = {face.side for face in resolved.faces if face.axis == axis}
    if axis == "t" and resolved.initial:
        sides.add(-1)
    return -sides.pop() if len(sides) == 1 else 0
