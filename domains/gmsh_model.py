"""Meshes from Gmsh's Python API, whose objects are used as they come: the package itself is never imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from pdesolve.domains.meshio_mesh import from_meshio
from pdesolve.domains.simplex_mesh import SimplexMesh

KINDS = {
    1: "line",
    2: "triangle",
    3: "quad",
    4: "tetra",
    5: "hexahedron",
    6: "wedge",
    7: "pyramid",
    8: "line3",
    9: "triangle6",
    11: "tetra10",
    15: "vertex",
}
"""Gmsh's number of a kind of element -> meshio's name."""

TO_VTK = {"tetra10": [0, 1, 2, 3, 4, 5, 6, 7, 9, 8]}


def from_gmsh(model: Any) -> SimplexMesh:
    """The mesh of a ``gmsh.model`` that has been generated, with its physical groups.

    A group without a name gets its number. All cells of the highest dimension are taken, those in no group too.

    Arguments:
        model: ``gmsh.model``, or any object with its methods.

    Raises:
        ValueError: no mesh in the model, other elements than linear and quadratic simplices, and as ``from_meshio``.
    """
    import meshio

    tags, coordinates, _ = model.mesh.getNodes()
    if not len(tags):
        raise ValueError("the model has no mesh: call gmsh.model.mesh.generate(dimension) first")
    order = np.argsort(tags)
    known = np.asarray(tags)[order]
    blocks: list[tuple[str, Any]] = []
    place: dict[tuple[int, int], list[int]] = {}
    for dimension, tag in model.getEntities():
        kinds, _, nodes = model.mesh.getElements(dimension, tag)
        for kind, flat in zip(kinds, nodes, strict=True):
            if int(kind) not in KINDS:
                name = model.mesh.getElementProperties(kind)[0]
                raise ValueError(f"the model has elements {name!r}: linear or quadratic ones are needed (setOrder)")
            name = KINDS[int(kind)]
            width = int(model.mesh.getElementProperties(kind)[3])
            rows = order[np.searchsorted(known, np.asarray(flat))].reshape(-1, width)
            place.setdefault((int(dimension), int(tag)), []).append(len(blocks))
            blocks.append((name, rows[:, TO_VTK[name]] if name in TO_VTK else rows))
    sets: dict[str, list[Any]] = {}
    for dimension, group in model.getPhysicalGroups():
        chosen = model.getEntitiesForPhysicalGroup(dimension, group)
        inside = {i for tag in chosen for i in place.get((int(dimension), int(tag)), [])}
        parts = sets.setdefault(
            model.getPhysicalName(dimension, group) or str(group), [np.empty(0, dtype=int)] * len(blocks)
        )
        for i in inside:
            parts[i] = np.arange(len(blocks[i][1]))
    points = np.asarray(coordinates, dtype=float).reshape(-1, 3)
    return from_meshio(meshio.Mesh(points, blocks, cell_sets=sets))
