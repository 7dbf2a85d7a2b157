"""Meshes of simplices: what they say about themselves, and the way to scikit-fem and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skfem
import torch

from pdesolve.domains import SimplexMesh, skfem_order

TAGGED = {
    "triangles": skfem.MeshTri1,
    "quadratic triangles": skfem.MeshTri2,
    "tetrahedra": skfem.MeshTet1,
    "quadratic tetrahedra": skfem.MeshTet2,
}


def skfem_mesh(kind: Any) -> Any:
    n = 3 if issubclass(kind, skfem.MeshTri1) else 2
    linear = (skfem.MeshTri1 if n == 3 else skfem.MeshTet1)().refined(2)
    mesh = kind.from_mesh(linear).with_defaults()
    return mesh.with_subdomains({"lower": lambda x: x[0] < 0.5})


@pytest.fixture(params=list(TAGGED), name="pair")
def pair_(request: pytest.FixtureRequest) -> tuple[Any, SimplexMesh]:
    given = skfem_mesh(TAGGED[request.param])
    return given, SimplexMesh.from_skfem(given)


def test_kind_and_size_follow_from_the_shapes(pair: tuple[Any, SimplexMesh]) -> None:
    given, mesh = pair
    assert (mesh.dimension, mesh.space_dimension) == (given.dim(), given.dim())
    assert mesh.order == (2 if isinstance(given, skfem.MeshTri2 | skfem.MeshTet2) else 1)
    assert (mesh.n_cells, mesh.n_nodes) == (given.nelements, given.doflocs.shape[1])
    assert float(mesh.measures.sum()) == pytest.approx(1.0, abs=1e-12)
    assert bool((mesh.measures > 0).all())
    assert mesh.box.lower == (0.0,) * mesh.dimension


def test_facets_agree_with_scikit_fem(pair: tuple[Any, SimplexMesh]) -> None:
    given, mesh = pair
    assert len(mesh.facets.corners) == given.nfacets
    assert len(mesh.outer_facets()) == len(given.boundary_facets())
    for name, facets in given.boundaries.items():
        assert len(mesh.boundary(name)) == len(facets)
        nodes = np.unique(given.dofs.get_facet_dofs(facets).flatten())
        assert torch.equal(mesh.boundary_nodes(name), torch.from_numpy(nodes.astype(np.int64)))


def test_middle_nodes_lie_on_the_middle_of_their_edges(pair: tuple[Any, SimplexMesh]) -> None:
    _, mesh = pair
    facets = mesh.points[mesh.facet_nodes(mesh.outer_facets())]
    n = mesh.dimension
    if mesh.order == 2:
        ends = [(0, 1), (1, 2), (2, 0)][: 1 if n == 2 else 3]
        for i, (a, b) in enumerate(ends):
            torch.testing.assert_close(facets[:, n + i], (facets[:, a] + facets[:, b]) / 2)
    else:
        assert facets.shape[1] == n


def test_facets_turn_outwards(pair: tuple[Any, SimplexMesh]) -> None:
    """∮ x·n = d |Ω|."""
    _, mesh = pair
    corner = mesh.points[mesh.facet_nodes(mesh.outer_facets())]
    if mesh.dimension == 2:
        side = corner[:, 1] - corner[:, 0]
        normal = torch.stack([side[:, 1], -side[:, 0]], 1)
    else:
        normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]) / 2
    middle = corner[:, : mesh.dimension].mean(1)
    assert float((normal * middle).sum()) == pytest.approx(mesh.dimension, abs=1e-12)


def test_to_scikit_fem_and_back_keeps_everything(pair: tuple[Any, SimplexMesh]) -> None:
    _, mesh = pair
    made, order = mesh.to_skfem(), skfem_order(mesh)
    np.testing.assert_array_equal(made.doflocs.T, mesh.points[order].numpy())
    again = SimplexMesh.from_skfem(made)
    torch.testing.assert_close(order[again.cells], mesh.cells)
    assert again.boundaries.keys() == mesh.boundaries.keys()
    assert again.subdomains.keys() == mesh.subdomains.keys()
    for name in mesh.boundaries:
        nodes = order[again.boundary_nodes(name)].sort().values
        assert torch.equal(nodes, mesh.boundary_nodes(name))
    for name in mesh.subdomains:
        assert torch.equal(again.subdomain(name), mesh.subdomain(name))


def test_points_in_any_order_reach_scikit_fem(pair: tuple[Any, SimplexMesh]) -> None:
    """The middles of edges may come before the corners in a file."""
    _, mesh = pair
    shuffle = torch.randperm(mesh.n_nodes, generator=torch.Generator().manual_seed(0))
    points = torch.empty_like(mesh.points)
    points[shuffle] = mesh.points
    boundaries = {name: shuffle[facets] for name, facets in mesh.boundaries.items()}
    shuffled = SimplexMesh(points, shuffle[mesh.cells], boundaries, mesh.subdomains)
    made, order = shuffled.to_skfem(), skfem_order(shuffled)
    np.testing.assert_array_equal(made.doflocs.T, shuffled.points[order].numpy())
    basis = skfem.Basis(made, made.elem())
    mass = skfem.BilinearForm(lambda u, v, w: u * v).assemble(basis)
    x = made.doflocs[0]
    assert float(x @ (mass @ x)) == pytest.approx(1 / 3, abs=1e-12)
    for name in mesh.boundaries:
        assert len(made.boundaries[name]) == len(mesh.boundary(name))


def square() -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    return points, torch.tensor([[0, 1, 2], [0, 2, 3]])


def curved() -> tuple[torch.Tensor, torch.Tensor]:
    """One quadratic triangle."""
    points = torch.tensor([[0, 0], [1, 0], [0, 1], [0.5, 0], [0.5, 0.5], [0, 0.5]], dtype=torch.float64)
    return points, torch.tensor([[0, 1, 2, 3, 4, 5]])


FAULTS: dict[str, tuple[Any, type[Exception], str]] = {
    "points of float32": (lambda p, c: SimplexMesh(p.float(), c), TypeError, "float64"),
    "points of whole numbers": (lambda p, c: SimplexMesh(p.long(), c), TypeError, "float64"),
    "points in one dimension": (lambda p, c: SimplexMesh(p[:, :1], c), ValueError, r"\(P, 2\) or \(P, 3\)"),
    "points that require a gradient": (lambda p, c: SimplexMesh(p.requires_grad_(), c), ValueError, "detach"),
    "no points": (lambda p, c: SimplexMesh(p[:0], c), ValueError, "P > 0"),
    "cells of int32": (lambda p, c: SimplexMesh(p, c.int()), TypeError, "int64"),
    "no cells": (lambda p, c: SimplexMesh(p, c[:0]), ValueError, "C > 0"),
    "cells of five nodes": (lambda p, c: SimplexMesh(p, c[:, [0, 1, 2, 0, 1]]), ValueError, "one of 3, 6"),
    "unused points": (lambda p, c: SimplexMesh(p, c[:1]), ValueError, "1 points belong to no cell.*drop_unused"),
    "inverted": (lambda p, c: SimplexMesh(p, c[:, [1, 0, 2]]), ValueError, "inverted.*turn_cells"),
    "huge coordinates": (lambda p, c: SimplexMesh(p * 1e300, c), ValueError, "degenerate"),
    "unknown facet": (lambda p, c: SimplexMesh(p, c, {"a": torch.tensor([[1, 3]])}), ValueError, "facet 0 of .*'a'"),
    "facet out of range": (lambda p, c: SimplexMesh(p, c, {"a": torch.tensor([[1, 9]])}), ValueError, "0 to 3"),
    "facet twice": (lambda p, c: SimplexMesh(p, c, {"a": torch.tensor([[0, 1], [1, 0]])}), ValueError, "twice"),
    "facets of three": (lambda p, c: SimplexMesh(p, c, {"a": torch.tensor([[0, 1, 2]])}), ValueError, r"\(F, 2\)"),
    "a name that is none": (lambda p, c: SimplexMesh(p, c, {"": torch.tensor([[0, 1]])}), TypeError, "text"),
    "a number for a name": (lambda p, c: SimplexMesh(p, c, {}, {3: torch.tensor([0])}), TypeError, "text"),
    "a cell twice": (lambda p, c: SimplexMesh(p, c, {}, {"a": torch.tensor([0, 0])}), ValueError, "twice"),
    "a cell too many": (lambda p, c: SimplexMesh(p, c, {}, {"a": torch.tensor([2])}), ValueError, "0 to 1.*cells"),
    "a table of cells": (lambda p, c: SimplexMesh(p, c, {}, {"a": torch.tensor([[0]])}), ValueError, r"\(n,\)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_mesh_is_refused(name: str) -> None:
    make, error, match = FAULTS[name]
    with pytest.raises(error, match=match) as caught:
        make(*square())
    assert "\n" not in str(caught.value)


def test_an_unknown_name_gives_the_nearest() -> None:
    mesh = SimplexMesh(*square(), {"inlet": torch.tensor([[0, 3]])}, {"steel": torch.tensor([1])})
    for find in (mesh.boundary, mesh.boundary_nodes, mesh.facet_index):
        with pytest.raises(ValueError, match="did you mean 'inlet'"):
            find("inlte")
    with pytest.raises(ValueError, match="did you mean 'steel'"):
        mesh.subdomain("steal")


def test_a_facet_between_cells_and_an_empty_boundary_are_allowed() -> None:
    mesh = SimplexMesh(*square(), {"cut": torch.tensor([[2, 0]]), "none": torch.empty(0, 2, dtype=torch.int64)})
    assert mesh.facets.cells[mesh.facet_index("cut")].sort(1).values.tolist() == [[0, 1]]
    assert mesh.boundary("none").shape == (0, 2)
    assert mesh.to_skfem().boundaries["none"].shape == (0,)


def test_faults_of_quadratic_cells_are_found() -> None:
    points, cells = curved()
    SimplexMesh(points, cells)
    bent = points.clone()
    bent[4] = torch.tensor([0.1, 0.1])
    with pytest.raises(ValueError, match="curved edges"):
        SimplexMesh(bent, cells)
    more = torch.tensor([[1, 1], [0.5, 0.51], [1, 0.5], [0.5, 1]], dtype=torch.float64)
    joined = torch.cat([points, more])
    beside = torch.tensor([[1, 6, 2, 8, 9, 4]])
    SimplexMesh(joined[[0, 1, 2, 3, 4, 5, 6, 8, 9]], torch.cat([cells, torch.tensor([[1, 6, 2, 7, 8, 4]])]))
    with pytest.raises(ValueError, match="different nodes in its middle"):
        SimplexMesh(joined, torch.cat([cells, beside.index_fill(1, torch.tensor([5]), 7)]))
    with pytest.raises(ValueError, match="corner of another in the middle"):
        SimplexMesh(joined[:9], torch.tensor([[0, 1, 2, 3, 4, 5], [1, 6, 2, 8, 7, 0]]))
    with pytest.raises(ValueError, match="middle of two edges"):
        SimplexMesh(joined[[0, 1, 2, 3, 4, 5, 6, 8]], torch.cat([cells, torch.tensor([[1, 6, 2, 7, 3, 4]])]))


def test_large_numbers_of_points_take_the_long_way() -> None:
    """Where three nodes do not fit one integer, facets are numbered first; the result is the same."""
    from pdesolve.domains.simplex_topology import cell_facets, facet_nodes_of, facet_owners, turned_keys

    mesh = SimplexMesh.from_skfem(skfem.MeshTet().refined(1))
    corners = mesh.corners * 10**9
    short, long = mesh.facets, cell_facets(corners, 10**12)
    assert torch.equal(short.corners * 10**9, long.corners)
    assert torch.equal(short.of_cell, long.of_cell)
    assert torch.equal(short.cells.sort(1).values, long.cells.sort(1).values)
    cell, side = facet_owners(mesh.corners, short.corners, mesh.n_nodes)
    assert bool((short.of_cell[cell, side] == torch.arange(len(cell))).all())
    keys = turned_keys(corners, 10**12)
    facets = facet_nodes_of(np.unique(keys >> 1)[:5], corners, 10**12)
    assert torch.equal(facets, long.corners[:5])
    assert bool(((keys & 1).sum() - len(long.corners[long.cells[:, 1] >= 0])) >= 0)


def test_a_mesh_is_its_own() -> None:
    points, cells = square()
    mesh = SimplexMesh(points, cells)
    points += 1
    assert mesh.box.lower == (0.0, 0.0)
    with torch.inference_mode():
        kept = SimplexMesh(*square())
    weight = torch.ones(4, requires_grad=True, dtype=torch.float64)
    (kept.points[:, 0] * weight).sum().backward()
    assert kept.coordinates()["x"].tolist() == [0, 1, 1, 0]
