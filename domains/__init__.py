"""Geometry, grids, meshes, sampling and domain decomposition; imported as ``pdesolve.domains``.

The tools around meshes are loaded when they are first used, so that ``import pdesolve`` does not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# The folder lies at the top of the checkout and is reached through a symlink. Imported as plain ``domains``
# every class would exist twice, and isinstance checks between the two copies would fail far from the cause.
if __name__ != "pdesolve.domains":
    raise ImportError(f"this package is pdesolve.domains, not {__name__!r}: import it by its full name")

from pdesolve.domains.decomposition import Decomposition, cartesian_decomposition
from pdesolve.domains.geometry import Boundary, Box, Cuboid, Interval, Rectangle, TimeInterval
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.mesh_domain import MeshDomain
from pdesolve.domains.mesh_in_time import MeshInTime
from pdesolve.domains.mesh_values import AbstractMeshValues, CellValues, NodeValues
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.domains.patch import AbstractDecomposition, Blend, Interface, Patch, Regions
from pdesolve.domains.random_inclusions import RandomInclusions
from pdesolve.domains.sampling import (
    AbstractSampler,
    GradedSampler,
    SobolSampler,
    UniformSampler,
    face_points,
    sample_nodes,
)
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.lazy import loader

if TYPE_CHECKING:
    from pdesolve.domains.conforming import check_conforming as check_conforming
    from pdesolve.domains.gmsh_model import from_gmsh as from_gmsh
    from pdesolve.domains.implicit_geometry import AbstractGeometry as AbstractGeometry
    from pdesolve.domains.implicit_geometry import Ball as Ball
    from pdesolve.domains.implicit_geometry import BoxGeometry as BoxGeometry
    from pdesolve.domains.implicit_geometry import Disk as Disk
    from pdesolve.domains.implicit_geometry import ForeignGeometry as ForeignGeometry
    from pdesolve.domains.implicit_geometry import Polygon as Polygon
    from pdesolve.domains.implicit_geometry import SignedDistance as SignedDistance
    from pdesolve.domains.mesh_decomposition import MeshDecomposition as MeshDecomposition
    from pdesolve.domains.mesh_decomposition import MeshInterface as MeshInterface
    from pdesolve.domains.mesh_decomposition import MeshPatch as MeshPatch
    from pdesolve.domains.mesh_decomposition import graph_decomposition as graph_decomposition
    from pdesolve.domains.mesh_file import MeshFileError as MeshFileError
    from pdesolve.domains.mesh_file import read_mesh as read_mesh
    from pdesolve.domains.mesh_file import read_surface as read_surface
    from pdesolve.domains.mesh_parts import components as components
    from pdesolve.domains.mesh_parts import extract as extract
    from pdesolve.domains.mesh_parts import interface_between as interface_between
    from pdesolve.domains.mesh_parts import surface as surface
    from pdesolve.domains.mesh_parts import with_boundaries as with_boundaries
    from pdesolve.domains.meshio_mesh import from_meshio as from_meshio
    from pdesolve.domains.meshio_mesh import surface_from_meshio as surface_from_meshio
    from pdesolve.domains.metis import metis_partition as metis_partition
    from pdesolve.domains.quality import MeshQuality as MeshQuality
    from pdesolve.domains.quality import cell_quality as cell_quality
    from pdesolve.domains.quality import mesh_quality as mesh_quality
    from pdesolve.domains.refinement import refine as refine
    from pdesolve.domains.refinement import to_linear as to_linear
    from pdesolve.domains.refinement import to_quadratic as to_quadratic
    from pdesolve.domains.simplex_repair import drop_unused as drop_unused
    from pdesolve.domains.simplex_repair import merge_nodes as merge_nodes
    from pdesolve.domains.simplex_repair import turn_cells as turn_cells
    from pdesolve.domains.skfem_mesh import skfem_order as skfem_order

_HOMES = {
    "AbstractGeometry": "implicit_geometry",
    "Ball": "implicit_geometry",
    "BoxGeometry": "implicit_geometry",
    "Disk": "implicit_geometry",
    "ForeignGeometry": "implicit_geometry",
    "MeshDecomposition": "mesh_decomposition",
    "MeshFileError": "mesh_file",
    "MeshInterface": "mesh_decomposition",
    "MeshPatch": "mesh_decomposition",
    "MeshQuality": "quality",
    "Polygon": "implicit_geometry",
    "SignedDistance": "implicit_geometry",
    "cell_quality": "quality",
    "check_conforming": "conforming",
    "components": "mesh_parts",
    "drop_unused": "simplex_repair",
    "extract": "mesh_parts",
    "from_gmsh": "gmsh_model",
    "from_meshio": "meshio_mesh",
    "graph_decomposition": "mesh_decomposition",
    "interface_between": "mesh_parts",
    "merge_nodes": "simplex_repair",
    "mesh_quality": "quality",
    "metis_partition": "metis",
    "read_mesh": "mesh_file",
    "read_surface": "mesh_file",
    "refine": "refinement",
    "skfem_order": "skfem_mesh",
    "surface": "mesh_parts",
    "surface_from_meshio": "meshio_mesh",
    "to_linear": "refinement",
    "to_quadratic": "refinement",
    "turn_cells": "simplex_repair",
    "with_boundaries": "mesh_parts",
}

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


__getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
