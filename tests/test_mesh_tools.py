"""Finer meshes, other orders, quality, surfaces, interfaces, names by condition, and the bracket."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import skfem
import torch

from pdesolve.domains import (
    SimplexMesh,
    cell_quality,
    check_conforming,
    interface_between,
    mesh_quality,
    refine,
    surface,
    to_linear,
    to_quadratic,
    turn_cells,
    with_boundaries,
)
from pdesolve.reference import bracket

MADE: dict[str, Callable[[], SimplexMesh]] = {
    "triangles": lambda: SimplexMesh.from_skfem(
        skfem.MeshTri().refined(1).with_defaults().with_subdomains({"lower": lambda x: x[1] < 0.5})
    ),
    "quadratic disk": lambda: SimplexMesh.from_skfem(skfem.MeshTri2.init_circle(2).with_defaults()),
    "tetrahedra": lambda: SimplexMesh.from_skfem(
        skfem.MeshTet().refined(1).with_defaults().with_subdomains({"lower": lambda x: x[2] < 0.5})
    ),
    "quadratic ball": lambda: SimplexMesh.from_skfem(skfem.MeshTet2.init_ball(1).with_defaults()),
}


@pytest.fixture(params=list(MADE), name="mesh")
def mesh_(request: pytest.FixtureRequest) -> SimplexMesh:
    return MADE[request.param]()


def exact_measure(mesh: SimplexMesh) -> float:
    """∫ 1 by scikit-fem, curved cells included."""
    made = mesh.to_skfem()
    return float(skfem.Functional(lambda w: 1.0 + 0.0 * w.x[0]).assemble(skfem.Basis(made, made.elem(), intorder=6)))


def test_halved_edges_keep_the_domain_and_the_names(mesh: SimplexMesh) -> None:
    fine = refine(mesh)
    assert fine.n_cells == mesh.n_cells * 2**mesh.dimension
    assert (fine.order, fine.dimension) == (mesh.order, mesh.dimension)
    check_conforming(fine)
    assert exact_measure(fine) == pytest.approx(exact_measure(mesh), rel=1e-12)
    assert len(fine.outer_facets()) == len(mesh.outer_facets()) * 2 ** (mesh.dimension - 1)
    for name in mesh.boundaries:
        assert len(fine.boundary(name)) == len(mesh.boundary(name)) * 2 ** (mesh.dimension - 1)
        assert bool(torch.isin(mesh.points[mesh.boundary_nodes(name)], fine.points[fine.boundary_nodes(name)]).all())
    for name in mesh.subdomains:
        part = float(fine.measures[fine.subdomain(name)].sum())
        assert part == pytest.approx(float(mesh.measures[mesh.subdomain(name)].sum()))


def test_curved_edges_stay_curved() -> None:
    mesh = MADE["quadratic disk"]()
    fine = refine(mesh)
    rim = torch.linalg.vector_norm(fine.points[torch.unique(fine.facet_nodes(fine.outer_facets()))], dim=1)
    straight = torch.linalg.vector_norm(refine(to_quadratic(to_linear(mesh))).points, dim=1)
    assert float((rim - 1).abs().max()) < 0.1 * (1 - math.cos(math.pi / 16))
    assert float(straight.max()) <= 1 + 1e-12


def test_refined_often_cells_stay_good() -> None:
    mesh = MADE["tetrahedra"]()
    worst = [float(cell_quality(refine(mesh, times)).min()) for times in (0, 1, 2)]
    assert worst[2] > 0.5 * worst[0]
    with pytest.raises(ValueError, match="0 or more"):
        refine(mesh, -1)


def test_to_another_order_and_back(mesh: SimplexMesh) -> None:
    quadratic, linear = to_quadratic(mesh), to_linear(mesh)
    assert (quadratic.order, linear.order) == (2, 1)
    assert to_linear(to_quadratic(linear)).n_nodes == linear.n_nodes
    torch.testing.assert_close(to_linear(to_quadratic(linear)).points, linear.points)
    assert set(quadratic.boundaries) == set(linear.boundaries) == set(mesh.boundaries)
    skfem_order = {2: skfem.MeshTri2, 3: skfem.MeshTet2}[mesh.dimension]
    assert to_quadratic(linear).n_nodes == skfem_order.from_mesh(linear.to_skfem()).doflocs.shape[1]


def test_quality_of_known_cells() -> None:
    equal = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]], dtype=torch.float64)
    report = mesh_quality(SimplexMesh(equal, torch.tensor([[0, 1, 2]])))
    assert (report.worst, report.distortion, report.n_parts) == (pytest.approx(1.0), 1.0, 1)
    corner = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    regular = SimplexMesh(corner, turn_cells(corner, torch.tensor([[0, 1, 2, 3]])))
    assert mesh_quality(regular).worst == pytest.approx(1.0)
    flat = corner * torch.tensor([1.0, 1.0, 1e-3], dtype=torch.float64)
    poor = mesh_quality(SimplexMesh(flat, regular.cells))
    assert (poor.n_poor, poor.worst_cell) == (1, 0)
    assert "1 tetrahedra, 4 nodes" in str(poor)
    assert 0 < mesh_quality(MADE["quadratic ball"]()).distortion < 1


def test_the_surface_of_a_ball_closes() -> None:
    mesh = MADE["quadratic ball"]()
    shell, nodes = surface(mesh)
    assert (shell.dimension, shell.space_dimension, shell.order) == (2, 3, 2)
    torch.testing.assert_close(shell.points, mesh.points[nodes])
    assert len(shell.outer_facets()) == 0
    corner = shell.points[shell.corners]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    assert bool(((normal * corner.mean(1)).sum(1) > 0).all())
    with pytest.raises(ValueError, match="outer_facets"):
        surface(MADE["triangles"]())
    with pytest.raises(ValueError, match="scikit-fem has no meshes of triangles in space"):
        shell.to_skfem()


def test_an_interface_lies_between_its_subdomains() -> None:
    mesh = MADE["triangles"]()
    upper = torch.ones(mesh.n_cells, dtype=torch.bool)
    upper[mesh.subdomain("lower")] = False
    parts = {**mesh.subdomains, "upper": upper.nonzero().squeeze(1)}
    mesh = SimplexMesh(mesh.points, mesh.cells, mesh.boundaries, parts)
    facets = mesh.points[interface_between(mesh, "lower", "upper")]
    assert bool((facets[..., 1] == 0.5).all())
    assert float((facets[:, 1, 0] - facets[:, 0, 0]).sum()) == pytest.approx(-1.0)  # backwards: its right is up
    with pytest.raises(ValueError, match="common cells"):
        interface_between(mesh, "lower", "lower")
    with pytest.raises(ValueError, match="did you mean 'lower'"):
        interface_between(mesh, "lowr", "upper")


def test_names_by_condition_are_checked() -> None:
    mesh = MADE["triangles"]()
    named = with_boundaries(mesh, {"corner": lambda p: (p[:, 0] < 0.5) & (p[:, 1] == 0)})
    assert len(named.boundary("corner")) == 1
    with pytest.raises(ValueError, match="already"):
        with_boundaries(mesh, {"left": lambda p: p[:, 0] < 1})
    with pytest.raises(ValueError, match="no outer facet"):
        with_boundaries(mesh, {"none": lambda p: p[:, 0] > 2})
    with pytest.raises(ValueError, match="truth values"):
        with_boundaries(mesh, {"values": lambda p: p[:, 0]})


def test_the_bracket_is_what_it_says() -> None:
    mesh = bracket(4)
    check_conforming(mesh)
    report = mesh_quality(mesh)
    assert report.worst > 0.4
    assert report.n_parts == 1
    sides, radius = 16, 0.55
    hole = sides / 2 * radius**2 * math.sin(2 * math.pi / sides)
    assert report.measure < 24 - 2 * hole + 0.1
    assert report.measure == pytest.approx(24 - 2 * math.pi * radius**2, abs=0.1)
    assert sum(report.boundaries.values()) == len(mesh.outer_facets())
    assert report.boundaries["base_hole"] == report.boundaries["flange_hole"] == 2 * sides * 4
    for name, axes, centre in (("base_hole", [0, 1], (3.5, 1.5)), ("flange_hole", [1, 2], (1.5, 2.5))):
        at = mesh.points[mesh.boundary_nodes(name)][:, axes] - torch.tensor(centre, dtype=torch.float64)
        torch.testing.assert_close(torch.linalg.vector_norm(at, dim=1), torch.full((len(at),), radius).double())
    assert sum(report.subdomains.values()) == mesh.n_cells
    with pytest.raises(ValueError, match="even"):
        bracket(3)


def test_the_default_bracket_has_twenty_thousand_nodes() -> None:
    mesh = bracket()
    assert mesh.n_nodes >= 20_000
    assert len(mesh.boundaries) >= 3


@pytest.mark.parametrize("count", [2, 6, 9])
def test_many_nodes_that_hang_on_one_facet_are_found(count: int) -> None:
    """One triangle above a line, many below it."""
    x = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    below = torch.stack([x[:-1] + 0.5 / count, torch.full_like(x[:-1], -0.1)], 1)
    top = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    points = torch.cat([torch.stack([x, torch.zeros_like(x)], 1), top, below])
    cells = [[0, count, count + 1]] + [[i, count + 2 + i, i + 1] for i in range(count)]
    with pytest.raises(ValueError, match=rf"hangs: it lies on the facet \[0, {count}\]"):
        check_conforming(SimplexMesh(points, torch.tensor(cells)))


def test_named_facets_turn_outwards_however_they_are_given(mesh: SimplexMesh) -> None:
    """Corners in any order; facets of the boundary turn away from their cell."""
    generator = torch.Generator().manual_seed(0)
    mesh = with_boundaries(mesh, {"outside": lambda p: torch.ones(len(p), dtype=torch.bool)})
    corners = mesh.boundary("outside")[:, : mesh.dimension]
    mixed = corners.gather(1, torch.rand(corners.shape, generator=generator).argsort(1))
    again = SimplexMesh(mesh.points, mesh.cells, {"outside": mixed}).boundary("outside")
    assert torch.equal(again.sort(1).values, mesh.boundary("outside").sort(1).values)
    place = mesh.points[again[:, : mesh.dimension]]
    sides = place[:, 1:] - place[:, :1]
    normal = torch.linalg.cross(sides[:, 0], sides[:, 1]) if mesh.dimension == 3 else sides[:, 0].flip(1)
    normal = normal if mesh.dimension == 3 else normal * torch.tensor([1.0, -1.0], dtype=torch.float64)
    cell = mesh.facets.cells[mesh.facet_index("outside"), 0]
    outwards = place.mean(1) - mesh.points[mesh.corners[cell]].mean(1)
    assert bool(((normal * outwards).sum(1) > 0).all())
