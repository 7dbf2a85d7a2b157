"""Tikhonov terms that keep a rank-deficient basis solvable."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor


class AbstractRidge(abc.ABC):
    """Chooses Γ of the penalty 1/2 wᵀΓw; a constant in every derivative."""

    on_weights: bool
    """Whether Γ penalises the weights w themselves, or the unknowns c that whitening leaves."""

    @abc.abstractmethod
    def matrix(self, gram: Tensor) -> Tensor:
        """Γ, (batch, patch, N, N), from the Gauss-Newton matrix's diagonal blocks at the starting point."""


@dataclass(frozen=True)
class RelativeRidge(AbstractRidge):
    """Γ = ε diag(JᵀJ): each unknown is penalised on its own scale, so units and equal columns do not matter.

    Arguments:
        epsilon: ε (default 1e-14: below the round-off of the normal equations, yet it makes equal or zero basis
            fields solvable). It acts on the unknowns after whitening, so it costs no accuracy there. A column that is
        zero gets ε times the mean of the others.

    Good values: 1e-14 for a basis of full rank; 1e-10 where equal fields are expected.
    """

    epsilon: float = 1e-14
    on_weights = False

    def __post_init__(self) -> None:
        _check(self.epsilon)

    def matrix(self, gram: Tensor) -> Tensor:
        scale = gram.diagonal(dim1=-2, dim2=-1)
        mean = scale.mean(-1, keepdim=True)
        mean = torch.where(mean > 0, mean, torch.ones_like(mean))
        return torch.diag_embed(self.epsilon * torch.where(scale > 0, scale, mean))


@dataclass(frozen=True)
class FixedRidge(AbstractRidge):
    """Γ = ε I with ε as given: the problem does not change with the basis, so gradients are exact.

    Arguments:
        epsilon: ε > 0, in the units of JᵀJ.
    """

    epsilon: float
    on_weights = True

    def __post_init__(self) -> None:
        _check(self.epsilon)

    def matrix(self, gram: Tensor) -> Tensor:
        n = gram.shape[-1]
        return self.epsilon * torch.eye(n, dtype=gram.dtype, device=gram.device).expand_as(gram)


def _check(epsilon: float) -> None:
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"a ridge must be finite and >= 0, got {epsilon}")
