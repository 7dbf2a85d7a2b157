"""Gaussians that stay where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit


@final
@dataclass(frozen=True)
class Fixed(AbstractPlacement):
    """The weights of the given cloud."""

    def place(self, fit: GaussianFit, cloud: GaussianCloud, generator: torch.Generator) -> Fitted:
        return fit.fit(cloud, generator)
