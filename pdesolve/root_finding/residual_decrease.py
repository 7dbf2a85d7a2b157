"""Line search on the size of the residual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.root_finding.line_search import AbstractLineSearch


@dataclass(frozen=True)
class ResidualDecrease(AbstractLineSearch):
    """|F(u + λd)| <= (1 - α λ) |F(u)| in the Euclidean norm.

    One evaluation of F for each trial. Depends on how equations are scaled against each other: one in other units can
    make it take needlessly short steps. What Newton-Krylov needs, where a solve for each trial is too dear.

    Arguments:
        alpha: α in (0, 1/2) (default 1e-4).

    Source: Dennis & Schnabel, *Numerical Methods for Unconstrained Optimization and Nonlinear Equations* (1983),
    section 6.3.
    """

    alpha: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha must lie in (0, 1/2), got {self.alpha}")

    def measure(self, residual: Tensor, correct: Callable[[Tensor], Tensor]) -> Tensor:
        return _norm(residual)

    def enough(self, before: Tensor, after: Tensor, length: Tensor) -> Tensor:
        return after <= (1.0 - self.alpha * length) * before


def _norm(residual: Tensor) -> Tensor:
    """Euclidean; squares neither overflow nor underflow."""
    largest = residual.abs().amax(-1, keepdim=True)
    size = torch.where(largest > 0, largest, 1.0)
    return (residual / size).square().sum(-1).sqrt() * size.squeeze(-1)
