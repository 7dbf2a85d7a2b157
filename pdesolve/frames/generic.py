"""A frame made from nothing but the problem."""

from __future__ import annotations

from dataclasses import dataclass

from pdesolve.frames.abstract import AbstractCoordinateMap, AbstractLifting
from pdesolve.frames.additive import AdditiveLifting
from pdesolve.frames.agreement import fluxes_disagree, rates_disagree, values_disagree
from pdesolve.frames.diffusivity import is_parabolic
from pdesolve.frames.similarity import SimilarityCoordinates, SimilarityLifting
from pdesolve.frames.transfinite import ScaledCoordinates, TransfiniteLifting
from pdesolve.problem import Family


@dataclass(frozen=True)
class Frame:
    """A coordinate map and a lifting that belong together: u = g + m v(ξ).

    Arguments:
        coordinates: ξ, what a network reads.
        lifting: g and m.
    """

    coordinates: AbstractCoordinateMap
    lifting: AbstractLifting


def generic_frame(family: Family) -> Frame:
    """Coordinates and lifting read off a problem's equation and conditions.

    Where initial and boundary conditions agree for all members: scaled coordinates and ``AdditiveLifting``. Where they
    do not: similarity coordinates and ``SimilarityLifting`` for parabolic problems of one field on an interval, with
    the length scale taken from the residual's own derivatives; for all others scaled coordinates, and
    ``TransfiniteLifting`` if values contradict each other.

    Arguments:
        family: a family, whose varying parameters become features, or a problem.

    Notes:
        Looks at the ends of every range and at 32 members: conditions that agree in all of these and disagree in others
        are found when such a member is solved (``ValueError`` then).

    Raises:
        TypeError: a problem on a mesh.
    """
    base, varied = family.problem, family.distributions
    _ = base.box  # frames are for boxes
    jumps, kinks = values_disagree(family) or rates_disagree(family), fluxes_disagree(family)
    parabolic = len(base.field_names) == 1 and base.domain.space_axes == ("x",) and is_parabolic(base, "x")
    if parabolic and (jumps or kinks):
        return Frame(
            SimilarityCoordinates(base, "x", varied), SimilarityLifting(base, "x", start=0.5 if kinks else 1.0)
        )
    return Frame(ScaledCoordinates(base, varied), TransfiniteLifting(base) if jumps else AdditiveLifting(base))
