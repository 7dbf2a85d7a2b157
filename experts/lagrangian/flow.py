"""Which velocity the labels follow: that of the equation, none, or one that stays inside held ends."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, finite_float

Walls = tuple[tuple[str, float], ...]
"""Ends of the domain: the axis that ends there, and where."""


class AbstractFlow(abc.ABC):
    """The velocity w = χ(x) a of the labels: any is exact, since u_t = U_t - w·∇u; a alone takes the steepness out."""

    moves: bool = True
    """Whether labels move at all, so that there is a position branch."""

    @abc.abstractmethod
    def shares(self, box: Box, rests: Mapping[str, Walls], position: Tensor) -> Tensor:
        """χ for each axis, (axis, point).

        Arguments:
            box: the domain.
            rests: by space axis, the walls where labels do not move along it.
            position: X, (axis, point).
        """


@final
@dataclass(frozen=True)
class Follow(AbstractFlow):
    """w = a, but w = χ a across held ends, χ falling to 0 there over ``layer`` of the extent.

    Along a wall in two dimensions labels slide where one value is prescribed, and rest where it varies along the wall.

    χ = 1 - exp(-(d/ℓ)²) at the distance d from a held end, ℓ = ``layer`` times the extent.

    Arguments:
        layer: share of the extent over which labels come to rest at a held end (default 0.4).

    Raises:
        TypeError, ValueError: a layer that is no number in (0, 0.5].

    Good values: 0.3 to 0.5. Thin layers squeeze and stretch labels: a front between held ends, and a wave that enters,
        both in four slabs, had twenty to fifty times the error at 0.2 that they have at 0.4.
    """

    layer: float = 0.4

    def __post_init__(self) -> None:
        if not 0.0 < finite_float(self.layer, "layer") <= 0.5:
            raise ValueError(f"layer must lie in (0, 0.5], got {self.layer}")

    def shares(self, box: Box, rests: Mapping[str, Walls], position: Tensor) -> Tensor:
        shares, places = [], dict(zip(box.space_axes, position, strict=True))
        for axis, x in places.items():
            share = torch.ones_like(x)
            for across, end in rests[axis]:
                share = share * -torch.expm1(-(((places[across] - end) / (self.layer * box.extent(across))) ** 2))
            shares.append(share)
        return torch.stack(shares)


@final
@dataclass(frozen=True)
class Still(AbstractFlow):
    """w = 0: labels are positions, which makes the expert a physics-informed network in Eulerian coordinates."""

    moves: bool = False

    def shares(self, box: Box, rests: Mapping[str, Walls], position: Tensor) -> Tensor:
        return torch.zeros_like(position)
