"""Distances between centres, and who is nearest."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.experts.gaussians.cloud import GaussianCloud

_PAIRS = 1 << 22  # distances that are held at a time


def wrapped(cloud: GaussianCloud, difference: Tensor) -> Tensor:
    """Differences of points (..., d), by the shortest way along periodic axes."""
    columns = [
        column if period is None else column - period * torch.round(column / period)
        for column, period in zip(difference.unbind(-1), cloud.periods, strict=True)
    ]
    return torch.stack(columns, dim=-1)


def _pieces(a: Tensor, b: Tensor) -> int:
    return max(1, _PAIRS // (len(b) * b.shape[1]))


def spacings(cloud: GaussianCloud, centres: Tensor, units: Tensor) -> Tensor:
    """Mean distance to the 2d nearest other centres, (n,), along each axis in a centre's own ``units``, (n, d)."""
    count = min(2 * centres.shape[1], len(centres) - 1)
    found, size = [], _pieces(centres, centres)
    for here, unit in zip(centres.split(size), units.split(size), strict=True):
        scaled = wrapped(cloud, here.unsqueeze(1) - centres) / unit.unsqueeze(1)
        distance = torch.linalg.vector_norm(scaled, dim=-1)
        # The smallest is the centre itself.
        found.append(distance.topk(count + 1, dim=1, largest=False).values[:, 1:].mean(dim=1))
    return torch.cat(found)


def nearest(cloud: GaussianCloud, points: Tensor, centres: Tensor, units: Tensor) -> Tensor:
    """Index of the nearest centre in its ``units``, (n, d) or (d,), for each point, (m,)."""
    found = []
    for piece in points.split(_pieces(points, centres)):
        scaled = wrapped(cloud, piece.unsqueeze(1) - centres) / units
        found.append(torch.linalg.vector_norm(scaled, dim=-1).argmin(dim=1))
    return torch.cat(found)
