"""What a branch of a Lagrangian network is: a function of label and time that is linearised point by point."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.jet import Jet

Rows = Callable[[Tensor], Tensor]
"""From cotangents of a branch's output terms, (term, *points, output), to those of its parameters, (*points, n)."""


@dataclass(frozen=True)
class LabelFrame:
    """The box of labels and times of one slab.

    Arguments:
        box: its axes are time and those of space.
        periodic: space axes along which functions of the label repeat.
    """

    box: Box
    periodic: tuple[str, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """Space axes."""
        return self.box.space_axes

    @property
    def start(self) -> float:
        """First time."""
        return self.box.bounds("t")[0]

    @property
    def duration(self) -> float:
        """Length in time."""
        return self.box.extent("t")

    def angle(self, axis: str, coordinate: Any) -> Any:
        """2π (ξ - l) / P along a periodic axis."""
        return (coordinate - self.box.bounds(axis)[0]) * (2.0 * math.pi / self.box.extent(axis))

    def scaled(self, axis: str, coordinate: Any) -> Any:
        """The coordinate mapped to [-1, 1]."""
        low, high = self.box.bounds(axis)
        return (coordinate - 0.5 * (low + high)) * (2.0 / (high - low))


class AbstractPreparedBranch(abc.ABC):
    """A branch at given points, its features made once.

    Points are (point,) with parameters (n,), or (group, point) with parameters (group, n), each group's its own: so
    ``PatchedBranch`` runs all its experts in one pass.
    """

    @abc.abstractmethod
    def values(self, theta: Tensor) -> Any:
        """Outputs (*points, output), a tensor, or a jet where the points are jets.

        Arguments:
            theta: the branch's parameters, (n,) or (group, n).
        """

    @abc.abstractmethod
    def linearised(self, theta: Tensor) -> tuple[Tensor, Rows]:
        """Output terms (term, *points, output) without a graph, and the map from cotangents to rows of parameters.

        Arguments:
            theta: the branch's parameters, (n,) or (group, n).
        """


class AbstractBranch(abc.ABC):
    """A function N(ξ, t; θ), periodic where its frame is; the description, without the parameters."""

    @abc.abstractmethod
    def n_parameters(self, frame: LabelFrame, n_out: int) -> int:
        """The number of parameters."""

    @abc.abstractmethod
    def start(self, frame: LabelFrame, n_out: int, generator: torch.Generator) -> Tensor:
        """Parameters to begin from, (n,), float64 on the generator's device."""

    @abc.abstractmethod
    def prepare(self, frame: LabelFrame, coordinates: Mapping[str, Any], n_out: int) -> AbstractPreparedBranch:
        """The branch at points.

        Arguments:
            frame: of the slab.
            coordinates: labels by space axis, and "t", tensors or jets (point,) or (group, point).
            n_out: number of outputs.
        """


def joined(items: list[Any]) -> Any:
    """Columns (point,) beside each other, (point, column), whether tensors or jets."""
    like = next((item for item in items if isinstance(item, Jet)), items[0])
    shape = like.shape
    return torch.stack([item if item.shape == shape else item.expand(*shape) for item in items], dim=-1)
