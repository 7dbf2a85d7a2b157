"""The number that training lowers, made of the costs of the cases."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class AbstractObjective(abc.ABC):
    """A scalar of the costs of a batch of cases."""

    @abc.abstractmethod
    def __call__(self, squares: Tensor) -> Tensor:
        """The loss.

        Arguments:
            squares: Σ rows² of each case, (cases,), float64.

        Returns:
            A scalar with gradient.
        """


@final
@dataclass(frozen=True)
class LogResidual(AbstractObjective):
    """Mean over the cases of log Σ rows².

    Each case weighs the same however small its residual is, so stiff and easy cases of a family improve together.
    """

    def __call__(self, squares: Tensor) -> Tensor:
        # The smallest normal number keeps the logarithm finite where a case is solved exactly.
        return torch.log(squares + torch.finfo(squares.dtype).tiny).mean()


@final
@dataclass(frozen=True)
class MeanSquare(AbstractObjective):
    """Mean over the cases of Σ rows²; cases with large residuals dominate."""

    def __call__(self, squares: Tensor) -> Tensor:
        return squares.mean()
