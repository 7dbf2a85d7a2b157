"""The backbone: a small network of coordinates, conditioned on the problem's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, final

import torch
from torch import nn

WIDTHS = (64, 64)
"""Hidden layers where none are given."""


@final
class CoordinateNetwork(nn.Module):
    """N_1..N_n (ξ): a tanh network from features of coordinates and parameters to basis fields.

    Arguments:
        n_features: inputs, ``coordinates.n_features``.
        n_basis: basis fields for each unknown field.
        widths: hidden layers (default (64, 64)).
        n_fields: unknown fields (default 1).
        scale: standard deviation of the first layer's weights (default 1.5: features run over [-1, 1], and basis
            fields of several bends each span far better than near-linear ones before any training).
        generator: draws the initial weights (required: nothing here depends on global state).
        dtype: of the parameters (default float64; float32 halves the cost of a training step and floors the
            error at about 1e-5).

    Raises:
        ValueError: sizes below one.
    """

    def __init__(
        self,
        n_features: int,
        n_basis: int,
        *,
        generator: torch.Generator,
        widths: Sequence[int] = WIDTHS,
        n_fields: int = 1,
        scale: float = 1.5,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        sizes = (n_features, *widths, n_basis * n_fields)
        if any(isinstance(size, bool) or size < 1 for size in sizes):
            raise ValueError(f"sizes must be at least 1, got features {n_features}, widths {widths}, basis {n_basis}")
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(sizes)):
            layer = nn.utils.skip_init(nn.Linear, a, b, dtype=dtype)
            _initialise(layer, scale if i == 0 else a**-0.5, 2.0 if i == 0 else 0.1, generator)
            layers += [layer, nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1])
        self.n_basis = n_basis

    def forward(self, features: Any) -> Any:
        """Basis values (..., n_fields * n_basis) at features (..., n_features), tensors or jets."""
        return self.layers(features)


def _initialise(layer: nn.Module, spread: float, shift: float, generator: torch.Generator) -> None:
    with torch.no_grad():
        layer.weight.normal_(0.0, spread, generator=generator)  # type: ignore[operator]
        layer.bias.uniform_(-shift, shift, generator=generator)  # type: ignore[operator]
