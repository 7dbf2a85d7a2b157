"""Meshes to and from scikit-fem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.simplex_topology import FACETS, find_rows

if TYPE_CHECKING:
    from pdesolve.domains.simplex_mesh import SimplexMesh


def to_skfem(mesh: SimplexMesh) -> Any:
    """See ``SimplexMesh.to_skfem``."""
    import skfem

    if mesh.dimension != mesh.space_dimension:
        raise ValueError("scikit-fem has no meshes of triangles in space: give it triangles in the plane or tetrahedra")
    kinds = {(2, 1): skfem.MeshTri1, (3, 1): skfem.MeshTet1, (2, 2): skfem.MeshTri2, (3, 2): skfem.MeshTet2}
    corners = mesh.corners
    if mesh.order == 2:
        _, number = torch.unique(corners, return_inverse=True)  # its vertices come first
        corners = number.reshape(corners.shape)
    vertices = _vertices(mesh)
    kind = kinds[mesh.dimension, mesh.order]
    # sorted corners would break the order of the other nodes, and the orientation
    made = kind(_array(mesh.points[vertices].T), _array(corners.T), sort_t=False)
    if mesh.order == 2:
        places = np.empty((mesh.space_dimension, mesh.n_nodes))
        places[:, np.asarray(made.dofs.element_dofs)] = mesh.points.numpy()[mesh.cells.numpy().T].transpose(2, 0, 1)
        made = kind(places, _array(corners.T), sort_t=False)
    boundaries = {name: _skfem_facets(mesh, made, name) for name in mesh.boundaries}
    subdomains = {name: _array(index).astype(np.int32) for name, index in mesh.subdomains.items()}
    return made.with_boundaries(boundaries).with_subdomains(subdomains)


def from_skfem(mesh: Any) -> SimplexMesh:
    """See ``SimplexMesh.from_skfem``."""
    import skfem

    from pdesolve.domains.simplex_mesh import SimplexMesh
    from pdesolve.domains.simplex_repair import turn_cells

    if not isinstance(mesh, skfem.MeshTri1 | skfem.MeshTet1):
        raise TypeError(f"a mesh of triangles or tetrahedra is needed, got {type(mesh).__name__}")
    points = torch.from_numpy(np.ascontiguousarray(mesh.doflocs.T, dtype=np.float64))
    cells = torch.from_numpy(np.ascontiguousarray(mesh.dofs.element_dofs.T, dtype=np.int64))
    facets = {name: np.asarray(index, dtype=np.int64) for name, index in (mesh.boundaries or {}).items()}
    return SimplexMesh(
        points,
        turn_cells(points, cells),
        {name: torch.from_numpy(mesh.facets[:, index].T.astype(np.int64)) for name, index in facets.items()},
        {name: torch.as_tensor(np.asarray(i), dtype=torch.int64) for name, i in (mesh.subdomains or {}).items()},
    )


def skfem_order(mesh: SimplexMesh) -> Tensor:
    """The point of ``mesh`` at each degree of freedom of ``mesh.to_skfem()``, (P,) int64.

    Values move by ``u_skfem = u[skfem_order(mesh)]``. The identity for linear meshes.

    Arguments:
        mesh: the mesh.
    """
    order = np.empty(mesh.n_nodes, dtype=np.int64)
    order[np.asarray(mesh.to_skfem().dofs.element_dofs)] = mesh.cells.numpy().T
    return torch.from_numpy(order)


def _vertices(mesh: SimplexMesh) -> Tensor:
    vertices: Tensor = torch.unique(mesh.corners)
    return vertices


def _skfem_facets(mesh: SimplexMesh, made: Any, name: str) -> np.ndarray[Any, np.dtype[Any]]:
    """The indices of a boundary's facets among those of a scikit-fem mesh."""
    vertices = _vertices(mesh)
    number = torch.full((mesh.n_nodes,), -1)
    number[vertices] = torch.arange(len(vertices))
    rows = number[mesh.boundary(name)[:, : len(FACETS[mesh.dimension][0])]].sort(1).values
    table = torch.from_numpy(made.facets.T.astype(np.int64))
    index: np.ndarray[Any, np.dtype[Any]] = find_rows(rows, table, len(vertices)).numpy().astype(np.int32)
    return index


def _array(tensor: Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    return np.ascontiguousarray(tensor.numpy())
