"""The branch that is zero: labels that move with the mean velocity, or states that are carried unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.experts.lagrangian.branch import AbstractBranch, AbstractPreparedBranch, LabelFrame, Rows, joined
from pdesolve.jet import Jet


@final
@dataclass(frozen=True)
class ZeroBranch(AbstractBranch):
    """N = 0, without parameters: as the state branch of pure transport, u is the initial value at the label.

    Notes:
        The rows of the equation remain, so that a source or a diffusion that it cannot meet shows in the cost.
    """

    def n_parameters(self, frame: LabelFrame, n_out: int) -> int:
        return 0

    def start(self, frame: LabelFrame, n_out: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(0, dtype=torch.float64, device=generator.device)

    def prepare(self, frame: LabelFrame, coordinates: Mapping[str, Any], n_out: int) -> AbstractPreparedBranch:
        return _PreparedZero(joined([coordinates["t"] * 0.0] * n_out))


@final
class _PreparedZero(AbstractPreparedBranch):
    def __init__(self, zero: Any) -> None:
        self.zero = zero

    def values(self, theta: Tensor) -> Any:
        return self.zero

    def linearised(self, theta: Tensor) -> tuple[Tensor, Rows]:
        data = self.zero.data if isinstance(self.zero, Jet) else self.zero

        def rows(cotangent: Tensor) -> Tensor:
            return cotangent.new_zeros(*cotangent.shape[1:-1], 0)

        return data, rows
