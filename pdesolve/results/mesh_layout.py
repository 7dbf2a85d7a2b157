"""A mesh of simplices in VTKHDF 2.2: an UnstructuredGrid of triangles or tetrahedra, linear or quadratic.

Source: as ``pdesolve.results.layout``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from pdesolve.domains.mesh_in_time import MeshInTime
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.results.layout import VERSION, write_steps

CELL_TYPES = {(2, 1): 5, (2, 2): 22, (3, 1): 10, (3, 2): 24}  # VTK_TRIANGLE, ..., VTK_QUADRATIC_TETRA
POINTS, CONNECTIVITY = "/VTKHDF/Points", "/VTKHDF/Connectivity"


def mesh_of(grid: SimplexMesh | MeshInTime) -> SimplexMesh:
    """The mesh in space."""
    return grid.mesh if isinstance(grid, MeshInTime) else grid


def times_of(grid: SimplexMesh | MeshInTime) -> Tensor | None:
    """The instants, if there are any."""
    return grid.times if isinstance(grid, MeshInTime) else None


def write_mesh_geometry(group: Any, grid: SimplexMesh | MeshInTime, names: Iterable[str]) -> None:
    """Write everything of the /VTKHDF group but the values; arguments as ``write_geometry``."""
    import h5py

    mesh, times, kind = mesh_of(grid), times_of(grid), b"UnstructuredGrid"
    group.attrs.create("Version", np.array(VERSION, dtype="<i8"))
    group.attrs.create("Type", kind, dtype=h5py.string_dtype("ascii", len(kind)))
    width = int(mesh.cells.shape[1])
    for name, count in (
        ("NumberOfPoints", mesh.n_nodes),
        ("NumberOfCells", mesh.n_cells),
        ("NumberOfConnectivityIds", mesh.n_cells * width),
    ):
        group.create_dataset(name, data=np.array([count], dtype="<i8"))
    group.create_dataset("Points", data=stored_points(mesh))
    group.create_dataset("Connectivity", data=stored_cells(mesh))
    group.create_dataset("Offsets", data=np.arange(mesh.n_cells + 1, dtype="<i8") * width)
    group.create_dataset("Types", data=np.full(mesh.n_cells, CELL_TYPES[mesh.dimension, mesh.order], dtype="|u1"))
    if times is not None:
        write_steps(group, times.numpy(), mesh.n_nodes, names)


def stored_points(mesh: SimplexMesh) -> np.ndarray[Any, np.dtype[Any]]:
    """(P, 3) float64; z is zero in the plane."""
    points = np.zeros((mesh.n_nodes, 3), dtype="<f8")
    points[:, : mesh.space_dimension] = mesh.points.numpy()
    return points


def stored_cells(mesh: SimplexMesh) -> np.ndarray[Any, np.dtype[Any]]:
    """(C · k,) int64."""
    return np.ascontiguousarray(mesh.cells.numpy().reshape(-1).astype("<i8"))
