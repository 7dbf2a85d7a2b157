"""Geometry, grids, meshes, sampling and domain decomposition; imported as ``pdesolve.domains``."""

# The folder lies at the top of the checkout and is reached through a symlink. Imported as plain ``domains``
# every class would exist twice, and isinstance checks between the two copies would fail far from the cause.
if __name__ != "pdesolve.domains":
    raise ImportError(f"this package is pdesolve.domains, not {__name__!r}: import it by its full name")

from pdesolve.domains.decomposition import Decomposition, cartesian_decomposition
from pdesolve.domains.geometry import Boundary, Box, Cuboid, Interval, Rectangle, TimeInterval
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.mesh_domain import MeshDomain
from pdesolve.domains.mesh_values import AbstractMeshValues, CellValues, NodeValues
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.domains.patch import AbstractDecomposition, Blend, Interface, Patch, Regions
from pdesolve.domains.sampling import (
    AbstractSampler,
    GradedSampler,
    SobolSampler,
    UniformSampler,
    face_points,
    sample_nodes,
)
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_repair import drop_unused, turn_cells
from pdesolve.domains.skfem_mesh import skfem_order

__all__ = [
    "AbstractDecomposition",
    "AbstractMeshValues",
    "AbstractSampler",
    "Blend",
    "Boundary",
    "Box",
    "CellValues",
    "Cuboid",
    "Decomposition",
    "GradedSampler",
    "Interface",
    "Interval",
    "MeshDomain",
    "NodeValues",
    "OverlappingDecomposition",
    "Patch",
    "Rectangle",
    "Regions",
    "SimplexMesh",
    "SobolSampler",
    "StructuredGrid",
    "TimeInterval",
    "UniformSampler",
    "cartesian_decomposition",
    "drop_unused",
    "face_points",
    "sample_nodes",
    "skfem_order",
    "turn_cells",
]
