"""Which velocity the labels follow: that of the equation, none, or one that stays inside held ends."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, finite_float


class AbstractFlow(abc.ABC):
    """The velocity w = χ(x) a of the labels: any is exact, since u_t = U_t - w·∇u; a alone takes the steepness out."""

    moves: bool = True
    """Whether labels move at all, so that there is a position branch."""

    @abc.abstractmethod
    def shares(self, box: Box, held: Mapping[str, tuple[bool, bool]], position: Tensor) -> Tensor:
        """χ for each axis, (axis, point).

        Arguments:
            box: the domain.
            held: by space axis, which ends no label may leave.
            position: X, (axis, point).
        """


@final
@dataclass(frozen=True)
class Follow(AbstractFlow):
    """w = a, but w = χ a along an axis with held ends, χ falling to 0 there over ``layer`` of the extent.

    χ = 1 - exp(-(d/ℓ)²) at the distance d from a held end, ℓ = ``layer`` times the extent.

    Arguments:
        layer: share of the extent over which labels come to rest at a held end (default 0.1).

    Raises:
        TypeError, ValueError: a layer that is no number in (0, 0.5].
    """

    layer: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < finite_float(self.layer, "layer") <= 0.5:
            raise ValueError(f"layer must lie in (0, 0.5], got {self.layer}")

    def shares(self, box: Box, held: Mapping[str, tuple[bool, bool]], position: Tensor) -> Tensor:
        shares = []
        for x, axis in zip(position, box.space_axes, strict=True):
            share = torch.ones_like(x)
            for end, is_held in zip(box.bounds(axis), held[axis], strict=True):
                if is_held:
                    share = share * -torch.expm1(-(((x - end) / (self.layer * box.extent(axis))) ** 2))
            shares.append(share)
        return torch.stack(shares)


@final
@dataclass(frozen=True)
class Still(AbstractFlow):
    """w = 0: labels are positions, which makes the expert a physics-informed network in Eulerian coordinates."""

    moves: bool = False

    def shares(self, box: Box, held: Mapping[str, tuple[bool, bool]], position: Tensor) -> Tensor:
        return torch.zeros_like(position)
