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
