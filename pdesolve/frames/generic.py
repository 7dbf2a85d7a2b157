"""A frame made from nothing but the problem."""

from __future__ import annotations

from dataclasses import dataclass

from pdesolve.frames.abstract import AbstractCoordinateMap, AbstractLifting
from pdesolve.frames.additive import AdditiveLifting
from pdesolve.frames.agreement import fluxes_disagree, values_disagree
from pdesolve.frames.diffusivity import is_parabolic
from pdesolve.frames.similarity import SimilarityCoordinates, SimilarityLifting
from pdesolve.frames.transfinite import ScaledCoordinates, TransfiniteLifting
from pdesolve.problem import Problem, ProblemFamily


@dataclass(frozen=True)
class Frame:
    """A coordinate map and a lifting that belong together."""

    coordinates: AbstractCoordinateMap
    lifting: AbstractLifting


def generic_frame(problem: Problem | ProblemFamily) -> Frame:
    """Coordinates and lifting read off a problem's equation and conditions.

    Where initial and boundary conditions agree for all members: scaled coordinates and ``AdditiveLifting``. Where they
    do not: similarity coordinates and ``SimilarityLifting`` for parabolic problems of one field on an interval, with
    the length scale taken from the residual's own derivatives; for all others scaled coordinates, and
    ``TransfiniteLifting`` if values contradict each other.

    Arguments:
        problem: a problem, or a family, whose varying parameters become features.
    """
    base = problem.problem if isinstance(problem, ProblemFamily) else problem
    varied = problem.distributions if isinstance(problem, ProblemFamily) else {}
    jumps, kinks = values_disagree(problem), fluxes_disagree(problem)
    parabolic = len(base.field_names) == 1 and base.domain.space_axes == ("x",) and is_parabolic(base, "x")
    if parabolic and (jumps or kinks):
        return Frame(
            SimilarityCoordinates(base, "x", varied), SimilarityLifting(base, "x", start=0.5 if kinks else 1.0)
        )
    return Frame(ScaledCoordinates(base, varied), TransfiniteLifting(base) if jumps else AdditiveLifting(base))
