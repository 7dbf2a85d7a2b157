"""How good the cells of a mesh are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.domains.mesh_parts import components
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_shape import jacobian_determinants, node_places
from pdesolve.domains.simplex_topology import EDGES

POOR = 0.1


@dataclass(frozen=True)
class MeshQuality:
    """A report on a mesh; ``print`` it.

    Arguments:
        kind: such as ``"quadratic tetrahedra"``.
        n_nodes, n_cells: counts.
        n_parts: pieces that no facet joins.
        measure: area or volume in all.
        worst, mean: mean ratio of the cells; 1 for equal edges, 0 for flat ones.
        worst_cell: where the worst is.
        n_poor: cells below 0.1.
        shortest_edge, longest_edge: of all cells.
        distortion: smallest Jacobian over the largest within one cell; 1 on straight cells.
        boundaries, subdomains: names and number of facets and cells.
    """

    kind: str
    n_nodes: int
    n_cells: int
    n_parts: int
    measure: float
    worst: float
    mean: float
    worst_cell: int
    n_poor: int
    shortest_edge: float
    longest_edge: float
    distortion: float
    boundaries: dict[str, int]
    subdomains: dict[str, int]

    def __str__(self) -> str:
        parts = "" if self.n_parts == 1 else f" in {self.n_parts} parts that no facet joins"
        named = {
            kind: ", ".join(f"{name} ({n})" for name, n in names.items()) or "none" for kind, names in self._names()
        }
        return "\n".join(
            [
                f"{self.n_cells} {self.kind}, {self.n_nodes} nodes{parts}, measure {self.measure:.6g}",
                f"quality {self.mean:.3f} in the mean, {self.worst:.3g} at worst (cell {self.worst_cell}), "
                f"{self.n_poor} cells below {POOR}",
                f"edges from {self.shortest_edge:.4g} to {self.longest_edge:.4g}, distortion {self.distortion:.3g}",
                *(f"{kind}: {text}" for kind, text in named.items()),
            ]
        )

    def _names(self) -> list[tuple[str, dict[str, int]]]:
        return [("boundaries", self.boundaries), ("subdomains", self.subdomains)]


def mesh_quality(mesh: SimplexMesh) -> MeshQuality:
    """Report on the cells of a mesh.

    Arguments:
        mesh: of any kind.
    """
    quality, lengths = cell_quality(mesh), edge_lengths(mesh)
    return MeshQuality(
        kind=mesh.cell_shape.name,
        n_nodes=mesh.n_nodes,
        n_cells=mesh.n_cells,
        n_parts=int(components(mesh).max()) + 1,
        measure=float(mesh.measures.sum()),
        worst=float(quality.min()),
        mean=float(quality.mean()),
        worst_cell=int(quality.argmin()),
        n_poor=int((quality < POOR).sum()),
        shortest_edge=float(lengths.min()),
        longest_edge=float(lengths.max()),
        distortion=_distortion(mesh),
        boundaries={name: len(facets) for name, facets in mesh.boundaries.items()},
        subdomains={name: len(index) for name, index in mesh.subdomains.items()},
    )


def cell_quality(mesh: SimplexMesh) -> Tensor:
    """Mean ratio of each cell, (C,): 4√3 A / Σ l² of triangles, 12 (3 V)^(2/3) / Σ l² of tetrahedra, l the edges.

    Arguments:
        mesh: of any kind; quadratic cells are taken with straight edges.

    Source: Liu and Joe, Relationship between tetrahedron shape measures, BIT 34 (1994).
    """
    total = edge_lengths(mesh).square().sum(1)
    result: Tensor
    if mesh.dimension == 2:
        result = 4 * 3**0.5 * mesh.measures / total
    else:
        result = 12 * (3 * mesh.measures) ** (2 / 3) / total
    return result


def edge_lengths(mesh: SimplexMesh) -> Tensor:
    """(C, number of edges) lengths from corner to corner."""
    ends = mesh.points[mesh.corners[:, torch.tensor(EDGES[mesh.dimension])]]
    lengths: Tensor = torch.linalg.vector_norm(ends[:, :, 1] - ends[:, :, 0], dim=2)
    return lengths


def _distortion(mesh: SimplexMesh) -> float:
    if mesh.order == 1 or mesh.dimension < mesh.space_dimension:
        return 1.0
    determinants = jacobian_determinants(mesh.points, mesh.cells, node_places(mesh.dimension, 2), 2)
    return float((determinants.amin(1) / determinants.amax(1)).min())
