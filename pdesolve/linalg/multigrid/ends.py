"""How a structured grid ends along an axis."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

from torch import Tensor

from pdesolve.linalg.multigrid.stencil import AxisLinks


class AbstractWall(abc.ABC):
    """The condition on one face of a box, homogeneous: data go into the right-hand side."""

    @abc.abstractmethod
    def conductance(self, cells: Tensor) -> Tensor | None:
        """Of the boundary faces, from a/h² of the cells behind them; None where no flux passes."""


@dataclass(frozen=True)
class FixedValue(AbstractWall):
    """u = 0 on the face, half a cell away from the nearest cell centre.

    For u = g on the face add 2 a g/h² to the right-hand side of the cells behind it.
    """

    def conductance(self, cells: Tensor) -> Tensor:
        return 2.0 * cells


@dataclass(frozen=True)
class FixedFlux(AbstractWall):
    """a ∂u/∂n = 0 on the face.

    For a ∂u/∂n = q, n pointing out of the box, add q/h to the right-hand side of the cells behind it.
    """

    def conductance(self, cells: Tensor) -> None:
        return None


class AbstractEnds(abc.ABC):
    """Both ends of an axis."""

    @abc.abstractmethod
    def links(self, cells: Tensor, between: Tensor, dim: int) -> AxisLinks:
        """Links of an axis.

        Arguments:
            cells: a/h² of the cells; size one along the axis where it does not vary.
            between: conductances of the faces between cells.
            dim: the axis, counted from the end.
        """


@dataclass(frozen=True)
class Walls(AbstractEnds):
    """A condition on the first and one on the last face.

    Arguments:
        lower, upper: (default ``FixedValue()``).
    """

    lower: AbstractWall = field(default_factory=FixedValue)
    upper: AbstractWall = field(default_factory=FixedValue)

    def links(self, cells: Tensor, between: Tensor, dim: int) -> AxisLinks:
        first, last = cells.narrow(dim, 0, 1), cells.narrow(dim, cells.shape[dim] - 1, 1)
        return AxisLinks(between, None, self.lower.conductance(first), self.upper.conductance(last))


@dataclass(frozen=True)
class Wrapped(AbstractEnds):
    """Periodic: the last cell is the first one's neighbour. A single cell has no neighbour."""

    def links(self, cells: Tensor, between: Tensor, dim: int) -> AxisLinks:
        first, last = cells.narrow(dim, 0, 1), cells.narrow(dim, cells.shape[dim] - 1, 1)
        return AxisLinks(between, harmonic(first, last))


def harmonic(a: Tensor, b: Tensor) -> Tensor:
    """2 a b/(a + b): the conductance of two half cells in series."""
    return 2.0 * a * b / (a + b)
