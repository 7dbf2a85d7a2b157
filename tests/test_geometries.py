"""Geometries by signed distance: area, boundary, uniform points, and what is refused."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
import torch
from torch import Tensor

from pdesolve.domains import (
    AbstractGeometry,
    Ball,
    BoxGeometry,
    Cuboid,
    Disk,
    ForeignGeometry,
    Interval,
    Polygon,
    Rectangle,
    SignedDistance,
    TimeInterval,
)

SQUARE = BoxGeometry(Rectangle((-1, 1), (-1, 1)))
HOLE = Disk((0.0, 0.0), 0.5)
ELL = Polygon(((0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)))
LENS = Disk((0.0, 0.0), 1.0) & Disk((1.0, 0.0), 1.0)
# geometry, area or volume, length or area of the boundary
CASES: dict[str, tuple[AbstractGeometry, float, float]] = {
    "disk": (HOLE, math.pi / 4, math.pi),
    "ball": (Ball((1.0, 2.0, 3.0), 2.0), 32 * math.pi / 3, 16 * math.pi),
    "rectangle": (BoxGeometry(Rectangle((0, 3), (1, 2))), 3.0, 8.0),
    "cuboid": (BoxGeometry(Cuboid((0, 1), (0, 2), (0, 3))), 6.0, 22.0),
    "polygon": (ELL, 3.0, 8.0),
    "other way round": (Polygon(ELL.vertices[::-1]), 3.0, 8.0),
    "plate with a hole": (SQUARE - HOLE, 4 - math.pi / 4, 8 + math.pi),
    "two disks": (Disk((0.0, 0.0), 1.0) | Disk((3.0, 0.0), 0.5), 1.25 * math.pi, 3 * math.pi),
    "lens": (LENS, 2 * math.pi / 3 - 3**0.5 / 2, 4 * math.pi / 3),
    "function": (SignedDistance(lambda p: p.norm(dim=1) - 1, (-1.5, -1.5), (1.5, 1.5)), math.pi, 2 * math.pi),
    "drilled ball": (
        Ball((0.0, 0.0, 0.0), 1.0)
        - SignedDistance(lambda p: p[:, :2].norm(dim=1) - 0.5, (-0.6, -0.6, -1), (0.6, 0.6, 1)),
        4 * math.pi / 3 * 0.75**1.5,
        4 * math.pi * 0.75**0.5 + 2 * math.pi * 0.5 * 2 * 0.75**0.5,
    ),
}


@pytest.fixture(params=list(CASES), name="case")
def case_(request: pytest.FixtureRequest) -> tuple[AbstractGeometry, float, float]:
    return CASES[request.param]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_points_inside_fill_the_region(case: tuple[AbstractGeometry, float, float]) -> None:
    geometry, measure, _ = case
    points = geometry.sample_interior(500, generator())
    assert points.shape == (500, geometry.dimension)
    assert bool(geometry.contains(points).all())
    low, high = (torch.tensor(end, dtype=torch.float64) for end in geometry.bounds)
    tried = low + (high - low) * torch.rand(40_000, len(low), dtype=torch.float64, generator=generator(1))
    share = measure / float((high - low).prod())
    spread = math.sqrt(max(share * (1 - share), 1e-3) / len(tried))
    assert float(geometry.contains(tried).double().mean()) == pytest.approx(share, abs=5 * spread)


def test_points_on_the_boundary_lie_on_it_and_spread_over_it(case: tuple[AbstractGeometry, float, float]) -> None:
    geometry, _, length = case
    points = geometry.sample_boundary(4000, generator())
    assert points.shape == (4000, geometry.dimension)
    assert float(geometry.distance(points).abs().max()) < 1e-7
    # how many of the candidates belong to the boundary tells its measure, if the candidates are uniform
    candidates = geometry.boundary_candidates(20_000, generator(2))
    kept = float((geometry.distance(candidates).abs() < 1e-7).double().mean())
    assert kept * geometry.boundary_measure == pytest.approx(length, rel=0.04)


def test_half_the_points_on_a_plate_with_a_hole() -> None:
    points = (SQUARE - HOLE).sample_boundary(20_000, generator())
    inner = (points.norm(dim=1) < 0.6).double().mean()
    assert float(inner) == pytest.approx(math.pi / (8 + math.pi), abs=0.015)
    quarter = (points[points.norm(dim=1) < 0.6] > 0).all(1).double().mean()
    assert float(quarter) == pytest.approx(0.25, abs=0.03)


def test_signed_distance_of_simple_shapes_is_exact() -> None:
    def at(*place: float) -> Tensor:
        return torch.tensor([place], dtype=torch.float64)

    assert float(SQUARE.distance(at(2, 2))) == pytest.approx(2**0.5)
    assert float(SQUARE.distance(at(0.9, 0))) == pytest.approx(-0.1)
    assert float(ELL.distance(at(1.5, 1.5))) == pytest.approx(0.5)
    assert float(ELL.distance(at(0.5, 0.5))) == pytest.approx(-0.5)
    assert float(ELL.distance(at(0.9, 0.9))) == pytest.approx(-0.1 * 2**0.5)
    assert not bool(SQUARE.contains(at(math.nan, 0)))


def test_the_generator_alone_decides(case: tuple[AbstractGeometry, float, float]) -> None:
    geometry = case[0]
    for sample in (geometry.sample_interior, geometry.sample_boundary):
        torch.manual_seed(1)
        first = sample(7, generator(3))
        torch.manual_seed(2)
        assert torch.equal(first, sample(7, generator(3)))
        assert not torch.equal(first, sample(7, generator(4)))


def test_deepxde_s_geometries_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "DDE_BACKEND", "pytorch")
    dde: Any = pytest.importorskip("deepxde")
    plate = ForeignGeometry(dde.geometry.Rectangle([0, 0], [1, 2]) - dde.geometry.Disk([0.5, 1], 0.25))
    points = plate.sample_interior(2000, generator())
    assert bool(((points - torch.tensor([0.5, 1.0])).norm(dim=1) > 0.25).all())
    edge = plate.sample_boundary(200, generator())
    assert torch.equal(edge, plate.sample_boundary(200, generator()))
    sides = torch.minimum(torch.minimum(edge[:, 0], 1 - edge[:, 0]), torch.minimum(edge[:, 1], 2 - edge[:, 1])).abs()
    round_ = ((edge - torch.tensor([0.5, 1.0])).norm(dim=1) - 0.25).abs()
    assert float(torch.minimum(sides, round_).max()) < 1e-5
    with pytest.raises(TypeError, match="lacks inside"):
        ForeignGeometry(object())


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Disk((0, 0, 0), 1.0), ValueError, "2 coordinates"),
        (lambda: Ball((0.0,), 1.0), ValueError, "2 or 3"),
        (lambda: Disk((0, 0), 0.0), ValueError, "positive"),
        (lambda: Disk((0, math.nan), 1.0), ValueError, "finite"),
        (lambda: Disk((0, 0), "1"), TypeError, "real number"),
        (lambda: Polygon(((0, 0), (1, 0))), ValueError, "at least 3"),
        (lambda: Polygon(((0, 0), (0, 0), (1, 1))), ValueError, "one place"),
        (lambda: Polygon(((0, 0), (1, 1), (1, 0), (0, 1))), ValueError, "cross"),
        (lambda: BoxGeometry(Interval(0, 1)), ValueError, "2 or 3 space axes"),
        (lambda: BoxGeometry(Rectangle((0, 1), (0, 1)) * TimeInterval(0, 1)), ValueError, "space axes"),
        (lambda: HOLE | Ball((0.0, 0.0, 0.0), 1.0), ValueError, "same dimension"),
        (lambda: SignedDistance(lambda p: p[:, 0], (0.0,), (1.0,)), ValueError, "2 or 3"),
        (lambda: SignedDistance(lambda p: p[:, 0], (0.0, 1.0), (1.0, 0.0)), ValueError, "below the upper"),
        (lambda: (HOLE - SQUARE).sample_interior(3, generator()), ValueError, "0 of 3 points"),
        (lambda: HOLE.sample_interior(0, generator()), ValueError, "at least 1"),
    ],
)
def test_what_is_no_geometry_is_refused(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()
