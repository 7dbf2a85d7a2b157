"""What recoveries of coefficients are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pdesolve.domains.geometry import finite_float
from pdesolve.namespace import nearest
from pdesolve.problem import Observations, Problem


def checked_guesses(
    problem: Problem, observations: Sequence[Observations], unknown: Mapping[str, float]
) -> dict[str, float]:
    """First guesses by parameter name.

    Raises:
        TypeError: a guess that is no number.
        ValueError: no unknown, one that the problem lacks, guesses that are not finite, fewer observations than
            unknowns.
    """
    known = f"the problem has {', '.join(problem.parameters)}"
    if not unknown:
        raise ValueError(f"no unknown parameter is named: {known}")
    for name in unknown:
        if name not in problem.parameters:
            raise ValueError(f"unknown parameter {name!r}: {known}{nearest(name, problem.parameters)}")
    guesses = {name: finite_float(value, f"the guess of {name!r}") for name, value in unknown.items()}
    count = sum(len(observed) for observed in observations)
    if count < len(guesses):
        raise ValueError(f"{count} observations cannot fix {len(guesses)} unknown parameters: give more")
    return guesses
