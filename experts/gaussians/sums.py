"""Sums of many Gaussians: one axis after another, or each evaluated only where it is felt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.covariance import REACH
from pdesolve.experts.gaussians.lattice import orders_of, product_tables
from pdesolve.transforms import untransformed

_DENSE = 1 << 17  # numbers of a table that stay in a processor's cache
_CELLS = 2.0  # cells for each reach along an axis
_FURTHER = 0.25  # half widths for each derivative, whose polynomial grows with the distance
_WORTH = 256  # points from which looking for equal places costs less than it may save
_MORE = 4  # products of places for each point up to which they are no more work
_PAYS = 0.5  # share of all pairs below which looking for the near ones pays


def sums(cloud: GaussianCloud, points: Tensor, weights: Tensor, terms: Sequence[str]) -> dict[str, Tensor]:
    """Σ_i c_i ∂^α φ_i, (fields, m) by term, at points (m, d); without the pairs that round-off swallows.

    Products of Gaussians at points with few different places along each axis are summed over one axis after another on
    all products of these places. Other points go into cells; each cell asks the Gaussians whose box of ±8.6 half
    widths, and a quarter for each derivative, meets it: what is left out is below 1e-16 of the largest. Where most
    pairs are near anyway, all are taken.

    Arguments:
        cloud: the Gaussians.
        points: (m, d).
        weights: c, (fields, N).
        terms: the α.
    """
    out = {term: weights.new_zeros(len(weights), len(points)) for term in terms}
    if not bool(torch.isfinite(weights).all()):
        return {term: value + torch.nan for term, value in out.items()}  # as 0 · NaN of a far one would
    at = _few_places(cloud, points)
    if at is not None:
        return _by_axis(cloud, at, weights, terms)
    for chosen, near in near_blocks(cloud, points, max((len(term) for term in terms), default=0)):
        part = cloud if near is None else _part(cloud, near)
        own = weights if near is None else weights[:, near]
        for piece in chosen.split(max(16, _DENSE // max(part.size, 1))):
            table = part.table(points[piece], terms)
            for term in terms:
                out[term][:, piece] = own @ table[term].mT
    return out


def _few_places(cloud: GaussianCloud, points: Tensor) -> list[tuple[Tensor, Tensor]] | None:
    """Along each axis the different places and which of them each point has, where all their products are no more work.

    None for others and where no Gaussians are products.
    """
    if cloud.along is None or len(points) < _WORTH or points.requires_grad or not untransformed(points):
        return None  # which places are equal has no derivative
    at = [column.unique(return_inverse=True) for column in points.unbind(1)]
    return at if math.prod(len(places) for places, _ in at) <= _MORE * len(points) else None


def _by_axis(
    cloud: GaussianCloud, at: Sequence[tuple[Tensor, Tensor]], weights: Tensor, terms: Sequence[str]
) -> dict[str, Tensor]:
    lines = cloud.lines()
    assert lines is not None
    keys = {term: orders_of(term, cloud.axes) for term in terms}
    tables = product_tables(lines, [places for places, _ in at], list(keys.values()))
    shaped = weights.reshape(-1, *(line.size for line in lines))
    found = tables.forward(shaped, list(keys.values()))
    index = torch.zeros_like(at[0][1])
    for places, which in at:
        index = index * len(places) + which
    return {term: found[key][:, index] for term, key in keys.items()}


def _part(cloud: GaussianCloud, index: Tensor) -> GaussianCloud:
    return cloud.with_parameters(cloud.centres[index], cloud.covariance.numbers[index])


def near_blocks(cloud: GaussianCloud, points: Tensor, order: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Indices of points with those of the Gaussians that they feel, None for all; every point once."""
    everything = torch.arange(len(points), device=points.device)
    reach = (REACH + _FURTHER * order) * cloud.covariance.widths()
    low = points.amin(0)
    extent = (points.amax(0) - low).clamp_min(torch.finfo(points.dtype).tiny)
    typical = reach.median(0).values + 0.0 * (points.sum() + cloud.centres.sum() + reach.sum())  # NaN if any is
    felt = torch.prod(((2.0 + 1.0 / _CELLS) * typical / extent).clamp_max(1.0))
    if len(points) * cloud.size < _DENSE or not float(felt) <= _PAYS:
        yield everything, None
        return
    number = (_CELLS * extent / typical).clamp(1.0, 1 + len(points) ** (1 / points.shape[1])).long()
    index = ((points - low) / extent * number).long().minimum(number - 1)
    strides = torch.tensor([math.prod(number.tolist()[j + 1 :]) for j in range(len(number))], device=points.device)
    cell: Tensor = (index * strides).sum(1)
    by_cell = cell.argsort()
    cells, counts = cell[by_cell].unique_consecutive(return_counts=True)
    periods = cloud.periods
    for one, chosen in zip(cells, by_cell.split(counts.tolist()), strict=True):
        corner = low + (one // strides % number) * extent / number
        near = torch.ones(cloud.size, dtype=torch.bool, device=points.device)
        for j, period in enumerate(periods):
            half = 0.5 * extent[j] / number[j]
            off = cloud.centres[:, j] - corner[j] - half
            off = off if period is None else off - period * torch.round(off / period)
            near &= off.abs() <= reach[:, j] + half
        yield chosen, near.nonzero().flatten()
