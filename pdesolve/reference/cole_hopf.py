"""Burgers' equation by the Cole-Hopf transformation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.reference.abstract import AbstractRefinable, Parameters, number

_POINTS = 4096  # at once, times the nodes


@final
@dataclass(frozen=True)
class ColeHopf(AbstractRefinable):
    """u_t + u u_x = ν u_xx with u(x, 0) = -sin πx: u = -∫ sin(πy) f(y) e^(-z²) dz / ∫ f(y) e^(-z²) dz.

    y = x - 2 sqrt(νt) z and f(y) = exp(-cos(πy)/(2πν)), by Gauss-Hermite quadrature in z, with the largest exponent
    taken out of both integrals. The solution has period 2 and vanishes at all integers, so it serves the Dirichlet
    problem on [-1, 1].

    Arguments:
        nodes: of the quadrature (default 200).

    Raises:
        TypeError, ValueError: nodes that are no integer >= 1.

    Notes:
        f spans e^(1/(πν)): below ν of about 1e-3 more nodes are needed. The stated error shows it.

    Source: Cole 1951; Hopf 1950; Basdevant et al., Comput. Fluids 14 (1986), for the quadrature.
    """

    nodes: int = 200

    def __post_init__(self) -> None:
        positive_int(self.nodes, "nodes")

    def refined(self) -> ColeHopf:
        return replace(self, nodes=2 * self.nodes)

    def __call__(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> Tensor:
        nu = number(parameters, "nu")
        t, x = torch.broadcast_tensors(*(coordinates[axis].to(torch.float64) for axis in ("t", "x")))
        nodes, weights = _hermite(self.nodes, x.device)
        parts = [
            _quotient(times, places, nu, nodes, weights)
            for times, places in zip(t.flatten().split(_POINTS), x.flatten().split(_POINTS), strict=True)
        ]
        return torch.cat(parts).reshape(x.shape)


def _hermite(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    from scipy.special import roots_hermite

    nodes, weights = roots_hermite(n)
    return (torch.as_tensor(a, dtype=torch.float64, device=device) for a in (nodes, weights))  # type: ignore[return-value]


def _quotient(t: Tensor, x: Tensor, nu: float, nodes: Tensor, weights: Tensor) -> Tensor:
    y = x[:, None] - 2.0 * torch.sqrt(nu * t)[:, None] * nodes
    exponent = torch.log(weights) - torch.cos(math.pi * y) / (2.0 * math.pi * nu)
    measure = torch.softmax(exponent, dim=1)
    return -(measure * torch.sin(math.pi * y)).sum(1)
