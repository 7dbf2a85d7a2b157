"""Patches of a mesh: balance, neighbours, interfaces, overlap, and the way there and back."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import skfem
import torch

from pdesolve.domains import MeshDecomposition, SimplexMesh, components, extract, graph_decomposition, metis_partition


def box(kind: str) -> SimplexMesh:
    g, h = np.linspace(0, 1, 13), np.linspace(0, 1, 9)
    made: Any = {
        "triangles": lambda: skfem.MeshTri.init_tensor(g, g),
        "quadratic triangles": lambda: skfem.MeshTri2.from_mesh(skfem.MeshTri.init_tensor(g, g)),
        "tetrahedra": lambda: skfem.MeshTet.init_tensor(h, h, h),
        "quadratic tetrahedra": lambda: skfem.MeshTet2.from_mesh(skfem.MeshTet.init_tensor(h[::2], h[::2], h[::2])),
    }[kind]()
    return SimplexMesh.from_skfem(made.with_defaults())


KINDS = ["triangles", "quadratic triangles", "tetrahedra", "quadratic tetrahedra"]


def two_squares() -> SimplexMesh:
    one = skfem.MeshTri().refined(3)
    points = np.concatenate([one.p.T, one.p.T + np.array([2.0, 0.0])])
    cells = np.concatenate([one.t.T, one.t.T + one.p.shape[1]])
    return SimplexMesh.from_skfem(skfem.MeshTri(points.T, cells.T))


@pytest.mark.parametrize("kind", KINDS)
def test_patches_are_balanced_and_the_cut_is_metis_own(kind: str) -> None:
    mesh = box(kind)
    for count in (1, 4, 16):
        decomposition = graph_decomposition(mesh, count)
        _, cut = metis_partition(mesh, count)
        assert decomposition.imbalance <= 1.05
        assert decomposition.edge_cut == cut
        owned = torch.cat([patch.own_cells for patch in decomposition.patches])
        assert torch.equal(owned.sort().values, torch.arange(mesh.n_cells))


def test_cost_decides_how_many_cells_a_patch_has() -> None:
    mesh = box("triangles")
    left = mesh.points[mesh.cells].mean(1)[:, 0] < 0.5
    cost = torch.where(left, 9.0, 1.0)
    decomposition = graph_decomposition(mesh, 4, cost=cost)
    assert decomposition.imbalance <= 1.05
    work = torch.tensor([float(cost[patch.own_cells].sum()) for patch in decomposition.patches])
    assert float(work.max() / work.mean()) == pytest.approx(decomposition.imbalance)
    assert graph_decomposition(mesh, 4).owner.bincount().max() < max(len(p.own_cells) for p in decomposition.patches)


def test_costs_of_any_size_balance_alike() -> None:
    mesh = box("triangles")
    cost = torch.linspace(1, 5, mesh.n_cells, dtype=torch.float64)
    owners = [graph_decomposition(mesh, 5, cost=cost * scale).owner for scale in (1e-200, 1.0, 1e200)]
    assert torch.equal(owners[0], owners[1])
    assert torch.equal(owners[1], owners[2])


@pytest.mark.parametrize("overlap", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_taken_apart_comes_together(kind: str, overlap: int) -> None:
    mesh = box(kind)
    decomposition = graph_decomposition(mesh, 6, overlap=overlap)
    values = torch.randn(3, mesh.n_nodes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = decomposition.restrict(values)
    assert [part.shape[1] for part in parts] == [len(patch.nodes) for patch in decomposition.patches]
    torch.testing.assert_close(decomposition.assemble(parts), values)
    total = torch.zeros(mesh.n_nodes, dtype=torch.float64)
    for patch in decomposition.patches:
        assert bool((patch.weight >= 0).all())
        total[patch.nodes] += patch.weight
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_vanish_on_the_border_of_a_patch(kind: str) -> None:
    """So the blended field is continuous, and on quadratic meshes the weight is linear in each cell."""
    mesh = box(kind)
    decomposition = graph_decomposition(mesh, 5, overlap=2)
    for patch in decomposition.patches:
        weight = torch.zeros(mesh.n_nodes, dtype=torch.float64)
        weight[patch.nodes] = patch.weight
        outside = torch.ones(mesh.n_cells, dtype=torch.bool)
        outside[patch.cells] = False
        assert float(weight[mesh.cells[outside]].abs().sum()) == 0.0
        inner = torch.cat([p.cells for p in decomposition.patches if p.index != patch.index])
        alone = torch.ones(mesh.n_cells, dtype=torch.bool)
        alone[inner] = False
        torch.testing.assert_close(weight[mesh.cells[alone]], torch.ones_like(weight[mesh.cells[alone]]))


def test_a_layer_is_the_cells_around_every_node() -> None:
    mesh = box("triangles")
    before, after = (graph_decomposition(mesh, 4, overlap=n).patches for n in (0, 1))
    for small, large in zip(before, after, strict=True):
        touched = torch.isin(mesh.cells, small.nodes).any(1).nonzero().squeeze(1)
        assert torch.equal(large.cells, touched)


@pytest.mark.parametrize("kind", KINDS)
def test_interfaces_close_around_a_patch(kind: str) -> None:
    """The facets of a patch's interfaces, turned outwards, and the mesh's own boundary: Σ area normal = 0."""
    mesh = box(kind)
    decomposition = graph_decomposition(mesh, 4)

    def normals(facets: torch.Tensor) -> torch.Tensor:
        corner = mesh.points[facets]
        side = corner[:, 1] - corner[:, 0]
        if mesh.dimension == 2:
            return torch.stack([side[:, 1], -side[:, 0]], 1).sum(0)
        return torch.linalg.cross(side, corner[:, 2] - corner[:, 0]).sum(0) / 2

    outer = mesh.outer_facets()
    for patch in decomposition.patches:
        own = outer[decomposition.owner[mesh.facets.cells[outer, 0]] == patch.index]
        total = normals(mesh.facet_nodes(own))
        for interface in decomposition.interfaces:
            a, b = interface.patches
            assert a < b
            if patch.index in (a, b):
                total = total + normals(interface.facet_nodes) * (1 if patch.index == a else -1)
        torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-12, rtol=0)
        others = {p for pair in decomposition.edges for p in pair if patch.index in pair} - {patch.index}
        assert decomposition.neighbours(patch.index) == tuple(sorted(others))


def test_interface_nodes_are_those_both_patches_have() -> None:
    decomposition = graph_decomposition(box("quadratic tetrahedra"), 3)
    for interface in decomposition.interfaces:
        for index in interface.patches:
            assert bool(torch.isin(interface.nodes, decomposition.patches[index].nodes).all())


def test_boundaries_of_patches_are_those_of_their_cells() -> None:
    mesh = box("triangles")
    left = (mesh.points[mesh.cells].mean(1)[:, 0] >= 0.5).long()
    decomposition = MeshDecomposition(mesh, left)
    assert set(decomposition.boundaries_of(0)) == {"left", "bottom", "top"}
    assert set(decomposition.boundaries_of(1)) == {"right", "bottom", "top"}


def test_nothing_leaks_from_where_a_patch_has_no_weight() -> None:
    mesh = box("triangles")
    decomposition = graph_decomposition(mesh, 4, overlap=1)
    parts = decomposition.restrict(torch.ones(mesh.n_nodes, dtype=torch.float64))
    spoiled = [
        torch.where(patch.weight > 0, part, torch.nan) for patch, part in zip(decomposition.patches, parts, strict=True)
    ]
    assert any(bool(part.isnan().any()) for part in spoiled)
    torch.testing.assert_close(decomposition.assemble(spoiled), torch.ones(mesh.n_nodes, dtype=torch.float64))


def test_gradients_go_both_ways() -> None:
    decomposition = graph_decomposition(box("triangles"), 3, overlap=1)
    values = torch.randn(2, decomposition.mesh.n_nodes, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: decomposition.assemble(decomposition.restrict(u)).sum(1), values)
    mapped = torch.vmap(lambda u: decomposition.assemble(decomposition.restrict(u)))(values)
    torch.testing.assert_close(mapped, values)


def test_every_cell_may_be_a_patch_and_no_more() -> None:
    mesh = box("triangles")
    decomposition = graph_decomposition(mesh, mesh.n_cells)
    assert torch.equal(decomposition.owner.sort().values, torch.arange(mesh.n_cells))
    assert decomposition.imbalance == 1.0
    with pytest.raises(ValueError, match=r"288 cells, too few for 289 patches"):
        graph_decomposition(mesh, mesh.n_cells + 1)


def test_a_mesh_in_two_parts_is_cut_and_said(caplog: pytest.LogCaptureFixture) -> None:
    mesh = two_squares()
    assert int(components(mesh).max()) == 1
    with caplog.at_level(logging.WARNING):
        decomposition = graph_decomposition(mesh, 4)
    assert "2 parts" in caplog.text
    assert decomposition.imbalance <= 1.05
    values = torch.rand(mesh.n_nodes, dtype=torch.float64)
    torch.testing.assert_close(decomposition.assemble(decomposition.restrict(values)), values)


def test_a_patch_is_a_mesh_of_its_own() -> None:
    mesh = box("quadratic tetrahedra")
    decomposition = graph_decomposition(mesh, 3)
    whole = 0.0
    for patch in decomposition.patches:
        part, nodes = extract(mesh, patch.own_cells)
        torch.testing.assert_close(part.points, mesh.points[nodes])
        assert set(part.boundaries) == set(decomposition.boundaries_of(patch.index))
        whole += float(part.measures.sum())
    assert whole == pytest.approx(1.0)
    with pytest.raises(ValueError, match="twice"):
        extract(mesh, torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="no cells"):
        extract(mesh, torch.tensor([], dtype=torch.int64))


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"n_patches": 0}, ValueError, "at least 1"),
        ({"n_patches": 2.0}, TypeError, "integer"),
        ({"n_patches": 2, "overlap": -1}, ValueError, "overlap"),
        ({"n_patches": 2, "overlap": True}, ValueError, "overlap"),
        ({"n_patches": 2, "cost": [1.0]}, TypeError, "tensor"),
        ({"n_patches": 2, "cost": torch.ones(3)}, ValueError, r"\(288,\)"),
        ({"n_patches": 2, "cost": torch.zeros(288)}, ValueError, "positive"),
        ({"n_patches": 2, "cost": torch.full((288,), torch.nan)}, ValueError, "positive"),
    ],
)
def test_what_cannot_be_cut_is_refused(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        graph_decomposition(box("triangles"), **arguments)


def test_owners_of_ones_own_are_checked() -> None:
    mesh = box("triangles")
    owner = torch.zeros(mesh.n_cells, dtype=torch.int64)
    with pytest.raises(ValueError, match="patch 1 has no cells"):
        MeshDecomposition(mesh, owner.index_fill(0, torch.tensor([3]), 2))
    with pytest.raises(ValueError, match="from 0"):
        MeshDecomposition(mesh, owner - 1)
    with pytest.raises(ValueError, match="one patch for each cell"):
        MeshDecomposition(mesh, owner[1:])
    with pytest.raises(TypeError, match="int64"):
        MeshDecomposition(mesh, owner.int())
    decomposition = MeshDecomposition(mesh, owner)
    with pytest.raises(ValueError, match="no patch 1"):
        decomposition.neighbours(1)
    with pytest.raises(ValueError, match="1 patches"):
        decomposition.assemble([])
    with pytest.raises(ValueError, match="needs values of shape"):
        decomposition.assemble([torch.zeros(3)])
    with pytest.raises(ValueError, match="must have the shape"):
        decomposition.restrict(torch.zeros(3))
