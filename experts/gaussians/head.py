"""A small network over features that are sums of Gaussians: values with derivatives, and gradients row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from torch import Tensor

from pdesolve.jet import Jet


@final
@dataclass(frozen=True)
class Head:
    """v = W_L tanh(... tanh(W_1 f + b_1) ...) + b_L; its parameters are one vector, the last layer's first.

    Arguments:
        sizes: features, hidden widths, fields.
    """

    sizes: tuple[int, ...]

    @property
    def count(self) -> int:
        """Parameters."""
        return sum((a + 1) * b for a, b in pairwise(self.sizes))

    @property
    def n_last(self) -> int:
        """Leading parameters in which v is linear."""
        return (self.sizes[-2] + 1) * self.sizes[-1]

    def drawn(self, generator: torch.Generator, device: torch.device) -> Tensor:
        """Normal weights of variance 1/inputs, shifts of variance 1/4."""
        parts, like = [], {"generator": generator, "dtype": torch.float64, "device": generator.device}
        for a, b in reversed(list(pairwise(self.sizes))):
            weight, shift = (torch.randn(b, n, **like) for n in (a, 1))  # type: ignore[call-overload]
            parts.append(torch.cat([weight / a**0.5, 0.5 * shift], dim=1).flatten())
        return torch.cat(parts).to(device)

    def layers(self, parameters: Tensor) -> list[Tensor]:
        """(W, b) of each layer as (outputs, inputs + 1), the first layer first."""
        shapes = [(b, a + 1) for a, b in reversed(list(pairwise(self.sizes)))]
        parts = parameters.split([rows * columns for rows, columns in shapes])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)][::-1]

    def __call__(self, features: Jet, parameters: Tensor) -> Jet:
        """v, (points, fields), from features (points, K)."""
        return self._forward(features, parameters)[-1]

    def _forward(self, features: Jet, parameters: Tensor) -> list[Jet]:
        """The input of each layer, and the output of the last."""
        layers = self.layers(parameters)
        found = [features]
        for k, layer in enumerate(layers):
            z: Jet = torch.nn.functional.linear(found[-1], layer[:, :-1], layer[:, -1])  # type: ignore[arg-type,assignment]
            found.append(torch.tanh(z) if k + 1 < len(layers) else z)  # type: ignore[arg-type]
        return found

    def pulled(self, features: Jet, parameters: Tensor, slopes: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """∂r/∂(∂^β f), (terms, m, K), and ∂r/∂parameters, (m, P), from slopes ∂r/∂(∂^β v), (terms, m, fields).

        One pair for each of the slopes. Row by row in closed form: rows act point by point, so one reverse pass through
        each tanh serves all points.
        """
        with torch.no_grad():
            states = self._forward(features, parameters)
        layers, out = self.layers(parameters), []
        for slope in slopes:
            gradient, parts = slope, []
            for k in reversed(range(len(layers))):
                weight = torch.einsum("tmh,tmk->mhk", gradient, states[k].data)
                parts.append(torch.cat([weight, gradient[0].unsqueeze(-1)], dim=-1).flatten(1))
                gradient = gradient @ layers[k][:, :-1]
                if k:
                    gradient = _through_tanh(states[k - 1], layers[k - 1], gradient)
            out.append((gradient, torch.cat(parts, dim=1)))
        return out


def _through_tanh(before: Jet, layer: Tensor, gradient: Tensor) -> Tensor:
    """∂r/∂z from ∂r/∂tanh(z), z = W f + b."""
    with torch.enable_grad():
        z: Jet = torch.nn.functional.linear(before, layer[:, :-1], layer[:, -1])  # type: ignore[arg-type,assignment]
        leaf = z.data.detach().requires_grad_()
        value: Jet = torch.tanh(Jet(leaf, z.terms))  # type: ignore[arg-type,assignment]
        (found,) = torch.autograd.grad(value.data, leaf, gradient)
    return found
