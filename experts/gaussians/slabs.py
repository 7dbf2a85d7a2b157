"""How time is cut into slabs."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

from pdesolve.domains.geometry import finite_float, positive_int

_ORDER = 3.0  # the residual is taken to fall at least so fast with the slab's length
_SHRINKS = 0.5  # of the residual is the most that half a slab may leave, or it is not the time that is not resolved
_NEAR = 1e-9


class AbstractSlabs(abc.ABC):
    """Where slabs end, in shares of the whole time."""

    @property
    @abc.abstractmethod
    def single(self) -> bool:
        """Whether there is one slab, whatever its residual."""

    @abc.abstractmethod
    def first(self) -> float:
        """The end of the first slab to try."""

    @abc.abstractmethod
    def following(self, start: float, end: float, residual: float, before: float) -> float:
        """The end of the next slab, or one before ``end`` if the slab from start to end is to be tried again, shorter.

        Arguments:
            start, end: of the slab that was solved.
            residual: its residual on fresh points, over the size of the equation's terms; infinite where the solve
                failed.
            before: that of the longer one that was tried from the same start, infinite if there was none.
        """


@final
@dataclass(frozen=True)
class GivenSlabs(AbstractSlabs):
    """Slabs that end where they are told to.

    Arguments:
        ends: rising, the last one 1.

    Raises:
        TypeError, ValueError: ends that do not.
    """

    ends: Sequence[float]

    def __post_init__(self) -> None:
        ends = tuple(finite_float(end, "an end of slabs") for end in self.ends)
        if not ends or ends[-1] != 1.0 or any(b <= a for a, b in pairwise((0.0, *ends))):
            raise ValueError(f"slabs must be rising shares of the time that end at 1, or a number of them, got {ends}")
        object.__setattr__(self, "ends", ends)

    @staticmethod
    def equal(count: int) -> GivenSlabs:
        """``count`` slabs of one length.

        Raises:
            ValueError: count below one.
        """
        count = positive_int(count, "slabs")
        return GivenSlabs(tuple((k + 1) / count for k in range(count)))

    @property
    def single(self) -> bool:
        return len(self.ends) == 1

    def first(self) -> float:
        return self.ends[0]

    def following(self, start: float, end: float, residual: float, before: float) -> float:
        return next((e for e in self.ends if e > end + _NEAR), 1.0)


@final
@dataclass(frozen=True)
class AdaptiveSlabs(AbstractSlabs):
    """Slabs as long as the residual allows: halved and solved again above the tolerance, longer far below it.

    Arguments:
        tolerance: of the residual on fresh points, over the size of the equation's terms (default 1e-6).
        length: of the first, a share of the whole time (default 0.02).
        shortest: taken even where it misses the tolerance (default 1e-4).

    Notes:
        Where half a slab leaves more than half of the residual, not shorter slabs are needed but more Gaussians in
        space: it is taken as it is, for the expert's own tolerance to judge.

    Raises:
        ValueError: numbers that are not positive, shares above 1.
    """

    tolerance: float = 1e-6
    length: float = 0.02
    shortest: float = 1e-4

    def __post_init__(self) -> None:
        if not self.tolerance > 0 or not 0 < self.shortest <= self.length <= 1:
            raise ValueError(
                "slabs need a tolerance above 0 and 0 < shortest <= length <= 1, got "
                f"{self.tolerance}, {self.shortest} and {self.length}"
            )

    @property
    def single(self) -> bool:
        return False

    def first(self) -> float:
        return self.length

    def following(self, start: float, end: float, residual: float, before: float) -> float:
        length = end - start
        helps = residual <= _SHRINKS * before or math.isinf(before) or math.isinf(residual)
        if residual > self.tolerance and helps and length > 1.5 * self.shortest:
            return start + max(0.5 * length, self.shortest)
        wanted = (self.tolerance / max(residual, 1e-300)) ** (1.0 / _ORDER)
        following = end + length * min(2.0, max(1.0, wanted))
        return 1.0 if following > 1.0 - _NEAR else following


def slabs_of(slabs: int | Sequence[float] | AbstractSlabs) -> AbstractSlabs:
    """A number of equal slabs, or their ends, or what cuts time itself.

    Raises:
        TypeError, ValueError: as for ``GivenSlabs``.
    """
    if isinstance(slabs, AbstractSlabs):
        return slabs
    return GivenSlabs(tuple(slabs)) if isinstance(slabs, Sequence) else GivenSlabs.equal(slabs)
