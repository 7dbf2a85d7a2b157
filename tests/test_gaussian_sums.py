"""Sums of narrow Gaussians over near pairs only: the same numbers from a fraction of the work."""

from __future__ import annotations

import pytest
import torch
from helpers import uniform

import pdesolve as ps
from pdesolve.experts.gaussians.cholesky import Cholesky
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.sums import near_blocks, sums

SQUARE = ps.Rectangle((-1, 1), (-1, 1))
TERMS = ("", "x", "xy", "yy", "xxxx")


def cloud_of(kind: str, periodic: tuple[str, ...] = ()) -> GaussianCloud:
    """1 600 narrow Gaussians, and among them one as wide as the domain and one ten times as wide as the rest."""
    plain = Layout(SQUARE, {"x": 40, "y": 40}, 0.5, periodic=periodic).cloud()
    widths = plain.covariance.widths().clone()
    widths[7], widths[800] = 1.0, 10.0 * widths[800]
    if kind == "diagonal":
        return GaussianCloud(SQUARE, plain.centres, Diagonal.of(widths), periodic)
    turn = torch.tensor([[1.0, 0.6], [-0.6, 1.0]], dtype=torch.float64)
    factor = turn @ torch.diag_embed(widths)
    return GaussianCloud(SQUARE, plain.centres, Cholesky.of(factor @ factor.mT), periodic)


@pytest.mark.parametrize("periodic", [(), ("x",)])
@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_sums_are_those_of_all_pairs(kind: str, periodic: tuple[str, ...]) -> None:
    cloud, points = cloud_of(kind, periodic), uniform(500, 2, seed=1)
    weights = uniform(2, cloud.size, seed=2)
    found, table = sums(cloud, points, weights, TERMS), cloud.table(points, TERMS)
    for term in TERMS:
        expected = weights @ table[term].mT
        torch.testing.assert_close(found[term], expected, rtol=0.0, atol=1e-14 * float(expected.abs().max()))


def test_few_pairs_are_asked_for_and_every_point_once() -> None:
    cloud, points = cloud_of("diagonal"), uniform(2000, 2, seed=1)
    blocks = list(near_blocks(cloud, points, 0))
    assert sorted(torch.cat([chosen for chosen, _ in blocks]).tolist()) == list(range(2000))
    pairs = sum(len(chosen) * len(near) for chosen, near in blocks if near is not None)
    assert 0 < pairs < 0.25 * 2000 * cloud.size


@pytest.mark.parametrize("count", [1, 3, 400])
def test_wide_gaussians_and_few_points_are_taken_whole(count: int) -> None:
    cloud = Layout(SQUARE, {"x": 12, "y": 12}).cloud()
    points = uniform(count, 2, seed=3)
    ((chosen, near),) = near_blocks(cloud, points, 2)
    assert near is None
    assert len(chosen) == count
    weights = uniform(1, cloud.size, seed=4)
    torch.testing.assert_close(
        sums(cloud, points, weights, ("xx",))["xx"], weights @ cloud.table(points, ("xx",))["xx"].mT
    )


def test_points_on_a_line_at_one_place_and_outside() -> None:
    cloud = cloud_of("diagonal")
    line = torch.stack([torch.linspace(-1.4, 1.4, 300, dtype=torch.float64), torch.full((300,), 0.3).double()], dim=1)
    weights = uniform(1, cloud.size, seed=5)
    for points in (line, line[:1].expand(300, 2)):
        expected = weights @ cloud.table(points, ("",))[""].mT
        found = sums(cloud, points, weights, ("",))[""]
        torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-14 * float(expected.abs().max()))


def test_gradients_pass() -> None:
    cloud, points = cloud_of("diagonal"), uniform(200, 2, seed=6)
    weights = uniform(1, cloud.size, seed=7).requires_grad_()
    sums(cloud, points, weights, ("x",))["x"].square().sum().backward()
    table = cloud.table(points, ("x",))["x"]
    expected = 2.0 * (weights.detach() @ table.mT) @ table
    assert weights.grad is not None
    torch.testing.assert_close(weights.grad, expected, rtol=0.0, atol=1e-13 * float(expected.abs().max()))


def test_what_is_not_a_number_is_not_left_out() -> None:
    cloud, points, weights = cloud_of("diagonal"), uniform(200, 2, seed=6), uniform(1, 1600, seed=7)
    spoilt = points.clone()
    spoilt[3, 1] = torch.nan
    assert bool(sums(cloud, spoilt, weights, ("",))[""][0, 3].isnan())
    moved = cloud.centres.clone()
    moved[5] = torch.nan
    lost = cloud.with_parameters(moved, cloud.covariance.numbers)
    assert bool(sums(lost, points, weights, ("",))[""].isnan().all())
    heavy = weights.clone()
    heavy[0, 5] = torch.nan
    assert bool(sums(cloud, points, heavy, ("",))[""].isnan().all())
