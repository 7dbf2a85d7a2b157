"""Several placements, each from the cloud of the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit


@final
@dataclass(frozen=True)
class InTurn(AbstractPlacement):
    """First one, then the next from its cloud.

    Arguments:
        placements: such as ``(Stretched(CurvatureIndicator()), Trained())``.

    Raises:
        ValueError: none.
        TypeError: something that is no placement.
    """

    placements: Sequence[AbstractPlacement]

    def __post_init__(self) -> None:
        if not self.placements:
            raise ValueError("there must be at least one placement, got none: use Fixed() for Gaussians that stay")
        for placement in self.placements:
            if not isinstance(placement, AbstractPlacement):
                raise TypeError(f"placements must be AbstractPlacement, got {type(placement).__name__}")

    def place(self, fit: GaussianFit, cloud: GaussianCloud, generator: torch.Generator) -> Fitted:
        found = self.placements[0].place(fit, cloud, generator)
        for placement in self.placements[1:]:
            if not found.minimised.status.succeeded and found.residual == math.inf:
                return found
            following = placement.place(fit, found.cloud, generator)
            names = dict.fromkeys([*found.history, *following.history])
            joined = {n: [*found.history.get(n, ()), *following.history.get(n, ())] for n in names}
            found = replace(following, history=joined)
        return found
