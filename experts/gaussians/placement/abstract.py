"""What places Gaussians."""

from __future__ import annotations

import abc

import torch

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.placement.fit import Fitted, GaussianFit


class AbstractPlacement(abc.ABC):
    """A way to choose centres and shapes, given a first cloud."""

    @abc.abstractmethod
    def place(self, fit: GaussianFit, cloud: GaussianCloud, generator: torch.Generator) -> Fitted:
        """The Gaussians with their weights.

        Arguments:
            fit: problem, rows and minimiser.
            cloud: where the Gaussians stand at first.
            generator: draws points; nothing else is random.

        Returns:
            The first cloud's fit unless another one is better on points that neither has seen. Where the first fit
            fails, that one, with its status.
        """
