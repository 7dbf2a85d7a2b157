"""Geometry, grids, meshes, sampling and domain decomposition; imported as ``pdesolve.domains``."""

# The folder lies at the top of the checkout and is reached through a symlink. Imported as plain ``domains``
# every class would exist twice, and isinstance checks between the two copies would fail far from the cause.
if __name__ != "pdesolve.domains":
    raise ImportError(f"this package is pdesolve.domains, not {__name__!r}: import it by its full name")

from pdesolve.domains.conforming import check_conforming
from pdesolve.domains.decomposition import Decomposition, cartesian_decomposition
from pdesolve.domains.geometry import Boundary, Box, Cuboid, Interval, Rectangle, TimeInterval
from pdesolve.domains.gmsh_model import from_gmsh
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.implicit_geometry import (
    AbstractGeometry,
    Ball,
    BoxGeometry,
    Disk,
    ForeignGeometry,
    Polygon,
    SignedDistance,
)
from pdesolve.domains.mesh_decomposition import MeshDecomposition, MeshInterface, MeshPatch, graph_decomposition
from pdesolve.domains.mesh_domain import MeshDomain
from pdesolve.domains.mesh_file import MeshFileError, read_mesh, read_surface
from pdesolve.domains.mesh_in_time import MeshInTime
from pdesolve.domains.mesh_parts import components, extract, interface_between, surface, with_boundaries
from pdesolve.domains.mesh_quality import MeshQuality, cell_quality, mesh_quality
from pdesolve.domains.mesh_values import AbstractMeshValues, CellValues, NodeValues
from pdesolve.domains.meshio_mesh import from_meshio, surface_from_meshio
from pdesolve.domains.metis import metis_partition
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.domains.patch import AbstractDecomposition, Blend, Interface, Patch, Regions
from pdesolve.domains.random_inclusions import RandomInclusions
from pdesolve.domains.refine import refine, to_linear, to_quadratic
from pdesolve.domains.sampling import (
    AbstractSampler,
    GradedSampler,
    SobolSampler,
    UniformSampler,
    face_points,
    sample_nodes,
)
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_repair import drop_unused, merge_nodes, turn_cells
from pdesolve.domains.skfem_mesh import skfem_order

__all__ = [
    "AbstractDecomposition",
    "AbstractGeometry",
    "AbstractMeshValues",
    "AbstractSampler",
    "Ball",
    "Blend",
    "Boundary",
    "Box",
    "BoxGeometry",
    "CellValues",
    "Cuboid",
    "Decomposition",
    "Disk",
    "ForeignGeometry",
    "GradedSampler",
    "Interface",
    "Interval",
    "MeshDecomposition",
    "MeshDomain",
    "MeshFileError",
    "MeshInTime",
    "MeshInterface",
    "MeshPatch",
    "MeshQuality",
    "NodeValues",
    "OverlappingDecomposition",
    "Patch",
    "Polygon",
    "RandomInclusions",
    "Rectangle",
    "Regions",
    "SignedDistance",
    "SimplexMesh",
    "SobolSampler",
    "StructuredGrid",
    "TimeInterval",
    "UniformSampler",
    "cartesian_decomposition",
    "cell_quality",
    "check_conforming",
    "components",
    "drop_unused",
    "extract",
    "face_points",
    "from_gmsh",
    "from_meshio",
    "graph_decomposition",
    "interface_between",
    "merge_nodes",
    "mesh_quality",
    "metis_partition",
    "read_mesh",
    "read_surface",
    "refine",
    "sample_nodes",
    "skfem_order",
    "surface",
    "surface_from_meshio",
    "to_linear",
    "to_quadratic",
    "turn_cells",
    "with_boundaries",
]
