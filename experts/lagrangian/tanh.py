"""A tanh network of label and time as a branch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.lagrangian.branch import AbstractBranch, AbstractPreparedBranch, LabelFrame, Rows, joined


@final
@dataclass(frozen=True)
class TanhBranch(AbstractBranch):
    """N = W_L tanh(… tanh(W_1 φ + b_1)) + b_L with φ = (cos k x, sin k x for k <= harmonics, or scaled x; scaled t).

    Arguments:
        widths: hidden layers (default (20, 20)).
        harmonics: waves along each periodic axis that the first layer sees (default 1).

    Raises:
        TypeError, ValueError: no layer, or numbers that are no integers of at least 1.

    Good values: 300 to 800 parameters for Levenberg-Marquardt; wider ones gain little and cost the square.
    """

    widths: tuple[int, ...] = (20, 20)
    harmonics: int = 1

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("widths names no hidden layer: give at least one, as in (20, 20)")
        for width in self.widths:
            positive_int(width, "each of widths")
        positive_int(self.harmonics, "harmonics")

    def n_parameters(self, frame: LabelFrame, n_out: int) -> int:
        return sum(a * b + b for a, b in pairwise(self._sizes(frame, n_out)))

    def start(self, frame: LabelFrame, n_out: int, generator: torch.Generator) -> Tensor:
        sizes = self._sizes(frame, n_out)
        parts = []
        for layer, (a, b) in enumerate(pairwise(sizes)):
            spread = 1.0 if layer == 0 else a**-0.5
            last = layer == len(sizes) - 2
            weight = torch.randn(b, a, generator=generator, dtype=torch.float64, device=generator.device)
            bias = torch.rand(b, generator=generator, dtype=torch.float64, device=generator.device) - 0.5
            scale = 1e-2 if last else 1.0  # a small map: the solve begins beside the moving frame
            parts += [(scale * spread * weight).flatten(), scale * bias]
        return torch.cat(parts)

    def prepare(self, frame: LabelFrame, coordinates: Mapping[str, Any], n_out: int) -> AbstractPreparedBranch:
        features = [frame.scaled("t", coordinates["t"])]
        for axis in frame.axes:
            if axis not in frame.periodic:
                features.append(frame.scaled(axis, coordinates[axis]))
                continue
            angle = frame.angle(axis, coordinates[axis])
            for k in range(1, self.harmonics + 1):
                features += [torch.cos(angle * float(k)), torch.sin(angle * float(k))]
        return _PreparedTanh(joined(features), self._sizes(frame, n_out))

    def _sizes(self, frame: LabelFrame, n_out: int) -> tuple[int, ...]:
        inputs = 1 + sum(2 * self.harmonics if axis in frame.periodic else 1 for axis in frame.axes)
        return (inputs, *self.widths, n_out)


@final
class _PreparedTanh(AbstractPreparedBranch):
    def __init__(self, features: Any, sizes: tuple[int, ...]) -> None:
        self.features, self.sizes = features, sizes

    def values(self, theta: Tensor) -> Any:
        return self._passed(theta)[0]

    def linearised(self, theta: Tensor) -> tuple[Tensor, Rows]:
        with torch.enable_grad():
            out, inputs, sums = self._passed(theta.detach().requires_grad_())

        def rows(cotangent: Tensor) -> Tensor:
            """A layer's block is Σ_term δ ⊗ input: points do not mix, so one reverse pass serves all of them."""
            deltas = torch.autograd.grad(out.data, [z.data for z in sums], cotangent, retain_graph=True)
            parts = []
            for delta, x in zip(deltas, inputs, strict=True):
                weight = torch.einsum("k...o,k...i->...oi", delta, x.data.detach())
                parts += [weight.flatten(-2), delta[0]]  # the bias enters the value alone
            return torch.cat(parts, dim=-1)

        return out.data.detach(), rows

    def _passed(self, theta: Tensor) -> tuple[Any, list[Any], list[Any]]:
        x, position, inputs, sums = self.features, 0, [], []
        for layer, (a, b) in enumerate(pairwise(self.sizes)):
            weight = theta[..., position : position + a * b].unflatten(-1, (b, a))
            bias = theta[..., position + a * b : position + a * b + b]
            position += a * b + b
            z = _affine(x, weight, bias)
            inputs.append(x)
            sums.append(z)
            x = torch.tanh(z) if layer < len(self.sizes) - 2 else z
        return x, inputs, sums


def _affine(x: Any, weight: Tensor, bias: Tensor) -> Any:
    """W x + b, by one matrix or by one for each group of points."""
    if weight.ndim == 2:
        return torch.nn.functional.linear(x, weight, bias)
    return x @ weight.mT + bias.unsqueeze(-2)
