"""Save a solution as VTKHDF, which ParaView opens, and load it back bit for bit.

/VTKHDF holds grid, times and values, which are stored once: PointData is ``u`` for one case and ``u_0000``,
``u_0001``, ... for several. /pdesolve, which ParaView ignores, holds exact nodes, status, stats, parameters
and a JSON header with checksums.
"""

from __future__ import annotations

import importlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.atomic import FilePath, check_target, replacing
from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.mesh_in_time import MeshInTime
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.field import Field, Nodes
from pdesolve.results.codec import DTYPES, dataset_names, digest, to_array, to_tensor
from pdesolve.results.header import MAX_BYTES, ArrayRecord, Header, MeshRecord, check_provenance
from pdesolve.results.layout import from_vtk_order, stored_shape, to_vtk_order, write_geometry
from pdesolve.results.mesh_layout import (
    CONNECTIVITY,
    POINTS,
    mesh_of,
    stored_cells,
    stored_points,
    times_of,
    write_mesh_geometry,
)
from pdesolve.results.safe_open import ResultsFile, open_results
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus

EXTENSION = ".vtkhdf"


def save(solution: Solution, path: FilePath, *, overwrite: bool = False) -> None:
    """Write a solution to a ``.vtkhdf`` file, which appears whole or not at all.

    16-bit floats are stored as float32, which holds them exactly. Tuples in the provenance become lists.

    Arguments:
        solution: values (batch, component, t, x, y, z), or (batch, component, t, node) on a mesh, and all that
            belongs to them.
        path: file name that ends in ``.vtkhdf``; its folder must exist.
        overwrite: replace a file of this name (default False).

    Raises:
        FileExistsError: the path exists and ``overwrite`` is false.
        ValueError: another extension, or provenance over 16 MiB.
        TypeError: provenance that JSON cannot hold, or a complex tensor.
        FileNotFoundError, IsADirectoryError, PermissionError, OSError: the place cannot be written, or the
            disk is full; a file that was there before is left as it was.
    """
    import h5py

    _check_name(path)
    check_target(path, overwrite=overwrite)
    if solution.field.batch == 0:
        raise ValueError("the solution has no cases: nothing to save")
    provenance = check_provenance(solution.provenance)
    # Version 1.10 of the format: VTK reads it, and earlier ones have no checksums on HDF5's own metadata.
    with (
        replacing(path, overwrite=overwrite) as target,
        h5py.File(target, "w", libver=("v110", "v110")) as file,
    ):
        _write(file, solution, provenance)


def load(path: FilePath) -> Solution:
    """Read back what ``save`` wrote: equal bit for bit, on the CPU.

    Safe on files from strangers: nothing outside the file is opened, nothing is unpickled, and no more memory
    is used than twice the size of the file. The checksums detect damage; they do not prove who wrote it.

    Arguments:
        path: a ``.vtkhdf`` file written by ``save``.

    Raises:
        ResultsFileError: no such file, a damaged one, or one of a newer version.
        FileNotFoundError, IsADirectoryError, PermissionError: as ``open`` does.
    """
    with open_results(path) as file:
        header = file.header()
        _check_counts(file, header)
        grid = _load_grid(file, header)
        return Solution(
            field=Field(_load_values(file, header, grid), grid, header.fields),
            status=_load(file, [header.status])[0],
            stats=_load_named(file, header.stats),
            parameters=_load_named(file, header.parameters),
            interfaces=header.interfaces,
            provenance=header.provenance,
        )


def info(path: FilePath) -> dict[str, Any]:
    """What a results file holds, without reading its values.

    Arguments:
        path: a ``.vtkhdf`` file written by ``save``.

    Returns:
        File size, schema, program, shape and range of each axis, on a mesh its kind and names, fields, dtype, number
        of cases and patches, count of each status, names of parameters and stats, interfaces and provenance;
        JSON-compatible.

    Raises:
        ResultsFileError, OSError: as ``load``.
    """
    with open_results(path) as file:
        header = file.header()
        _check_counts(file, header)
        grid = _load_grid(file, header)
        status = _load(file, [header.status])[0]
        return {
            "path": os.fspath(path),
            "bytes": os.stat(path).st_size,
            "schema": header.schema,
            "written_by": header.written_by,
            "fields": list(header.fields),
            "dtype": header.values[0].dtype,
            "batch": header.batch,
            "patches": status.shape[1] if status.ndim == 2 else 0,
            **_describe(grid),
            "status": _count_status(status),
            "parameters": [record.name for record in header.parameters],
            "stats": [record.name for record in header.stats],
            "interfaces": {axis: list(positions) for axis, positions in header.interfaces.items()},
            "provenance": header.provenance,
        }


def _check_name(path: FilePath) -> None:
    name = os.fspath(path)
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(f"{name!r}: a file name is text without NUL characters")
    if not name.endswith(EXTENSION):
        raise ValueError(f"{name!r}: a results file ends in {EXTENSION} (readers choose by it); rename it")


def _write(file: Any, solution: Solution, provenance: dict[str, Any]) -> None:
    field, grid = solution.field, solution.field.grid
    group = file.create_group("pdesolve")
    header = Header(
        written_by=f"pdesolve {importlib.import_module('pdesolve').__version__}",
        fields=field.names,
        batch=field.batch,
        axes=grid.axes,
        bounds=_bounds(grid),
        nodes=_write_named(file, "/pdesolve/nodes", _axis_nodes(grid)),
        values=_write_values(file, field),
        status=_write_array(file, "/pdesolve/status", "status", solution.status),
        stats=_write_named(file, "/pdesolve/stats", solution.stats),
        parameters=_write_named(file, "/pdesolve/parameters", solution.parameters),
        interfaces={axis: tuple(map(float, at)) for axis, at in solution.interfaces.items()},
        provenance=provenance,
        mesh=None if isinstance(grid, StructuredGrid) else _write_mesh(file, mesh_of(grid)),
    )
    group.attrs.create("schema", np.array(header.schema, dtype="<i8"))
    text = header.to_json()
    if len(text) > MAX_BYTES:
        raise ValueError(f"names and provenance take {len(text)} bytes: at most {MAX_BYTES} fit; shorten them")
    file.create_dataset("/pdesolve/header", data=np.bytes_(text))
    group.attrs.create("sha256", np.bytes_(digest(np.frombuffer(text, dtype=np.uint8))))


def _write_values(file: Any, field: Field) -> tuple[ArrayRecord, ...]:
    width = max(4, len(str(field.batch - 1)))
    bases = dataset_names(field.names)
    cases = [""] if field.batch == 1 else [f"_{case:0{width}d}" for case in range(field.batch)]
    names = dataset_names(base + case for case in cases for base in bases)
    group = file.create_group("VTKHDF")
    grid = field.grid
    if isinstance(grid, StructuredGrid):
        write_geometry(group, grid, names)
    else:
        write_mesh_geometry(group, grid, names)
    group.create_group("PointData")
    flat = field.values.detach().flatten(0, 1)
    return tuple(
        _write_array(file, f"/VTKHDF/PointData/{name}", name, _to_stored(values, grid))
        for name, values in zip(names, flat, strict=True)
    )


def _to_stored(values: Tensor, grid: Nodes) -> Tensor:
    return to_vtk_order(values, grid) if isinstance(grid, StructuredGrid) else values.reshape(-1)


def _from_stored(values: Tensor, grid: Nodes) -> Tensor:
    return from_vtk_order(values, grid) if isinstance(grid, StructuredGrid) else values.reshape(grid.shape)


def _stored_shape(grid: Nodes) -> tuple[int, ...]:
    return stored_shape(grid) if isinstance(grid, StructuredGrid) else (math.prod(grid.shape),)


def _bounds(grid: Nodes) -> tuple[tuple[float, float], ...] | None:
    if not isinstance(grid, StructuredGrid) or grid.bounds is None:
        return None
    return tuple(zip(grid.bounds.lower, grid.bounds.upper, strict=True))


def _axis_nodes(grid: Nodes) -> dict[str, Tensor]:
    """The nodes of each axis of a grid, the times of a mesh."""
    if isinstance(grid, StructuredGrid):
        return dict(zip(grid.axes, grid.nodes, strict=True))
    times = times_of(grid)
    return {} if times is None else {"t": times}


def _describe(grid: Nodes) -> dict[str, Any]:
    """Shape, range of each axis, and what a mesh is made of."""
    nodes = _axis_nodes(grid)
    span = {axis: [float(n[0]), float(n[-1])] for axis, n in nodes.items()}
    if isinstance(grid, StructuredGrid):
        return {"shape": dict(zip(grid.axes, grid.shape, strict=True)), "range": span}
    mesh = mesh_of(grid)
    ends = zip(mesh.axes, mesh.points.amin(0).tolist(), mesh.points.amax(0).tolist(), strict=True)
    return {
        "shape": {**{axis: len(n) for axis, n in nodes.items()}, "node": mesh.n_nodes},
        "range": span | {axis: [low, high] for axis, low, high in ends},
        "mesh": {
            "cells": mesh.n_cells,
            "kind": mesh.cell_shape.name,
            "boundaries": {name: len(facets) for name, facets in mesh.boundaries.items()},
            "subdomains": {name: len(index) for name, index in mesh.subdomains.items()},
        },
    }


def _write_mesh(file: Any, mesh: SimplexMesh) -> MeshRecord:
    """Names, and the checksums of what /VTKHDF holds of the mesh."""
    stored = [("points", POINTS, "float64", stored_points(mesh)), ("cells", CONNECTIVITY, "int64", stored_cells(mesh))]
    points, cells = (
        ArrayRecord(name, path, dtype, tuple(array.shape), digest(array)) for name, path, dtype, array in stored
    )
    return MeshRecord(
        points=points,
        cells=cells,
        width=int(mesh.cells.shape[1]),
        boundaries=_write_named(file, "/pdesolve/boundaries", mesh.boundaries),
        subdomains=_write_named(file, "/pdesolve/subdomains", mesh.subdomains),
    )


def _write_named(file: Any, group: str, tensors: Mapping[str, Tensor]) -> tuple[ArrayRecord, ...]:
    paths = [f"{group}/{name}" for name in dataset_names(tensors)]
    pairs = zip(paths, tensors.items(), strict=True)
    return tuple(_write_array(file, path, name, torch.as_tensor(tensor)) for path, (name, tensor) in pairs)


def _write_array(file: Any, path: str, name: str, tensor: Tensor) -> ArrayRecord:
    array = to_array(tensor, name)
    file.create_dataset(path, data=array, dtype=array.dtype)
    return ArrayRecord(name, path, str(tensor.dtype).removeprefix("torch."), tuple(array.shape), digest(array))


def _check_counts(file: ResultsFile, header: Header) -> None:
    """The header does not contradict itself; its data sets are checked when they are read."""
    if len(header.values) != header.batch * len(header.fields):
        expected = f"{header.batch} cases x {len(header.fields)} fields"
        raise file.error("number of arrays", expected, str(len(header.values)))
    if len({record.dtype for record in header.values}) != 1:
        raise file.error(
            "types of the values", "one", f"{len({r.dtype for r in header.values})} in {header.batch} cases"
        )
    wanted = len(header.axes) if header.mesh is None else int("t" in header.axes)
    if len(header.nodes) != wanted:
        raise file.error("nodes", f"{wanted} arrays for the axes {header.axes}", str(len(header.nodes)))


def _load_grid(file: ResultsFile, header: Header) -> Nodes:
    if header.mesh is not None:
        mesh = _load_mesh(file, header, header.mesh)
        return MeshInTime(mesh, *_load(file, header.nodes)) if header.nodes else mesh
    bounds = None
    if header.bounds is not None:
        bounds = Box(header.axes, tuple(low for low, _ in header.bounds), tuple(high for _, high in header.bounds))
    return StructuredGrid(header.axes, tuple(_load(file, header.nodes)), bounds)


def _load_mesh(file: ResultsFile, header: Header, record: MeshRecord) -> SimplexMesh:
    points, cells = _load(file, [record.points, record.cells])
    space = len(header.axes) - int("t" in header.axes)
    if points.ndim != 2 or points.shape[1] != 3 or space not in (2, 3) or record.width < 1 or len(cells) % record.width:
        got = f"{tuple(points.shape)} points, {tuple(cells.shape)} nodes of cells"
        raise file.error("the mesh", f"(P, 3) points and {record.width} nodes for each cell", got)
    boundaries, subdomains = _load_named(file, record.boundaries), _load_named(file, record.subdomains)
    return SimplexMesh(points[:, :space].contiguous(), cells.reshape(-1, record.width), boundaries, subdomains)


def _load_values(file: ResultsFile, header: Header, grid: Nodes) -> Tensor:
    for record in header.values:
        if record.shape != _stored_shape(grid):
            raise file.error(f"shape of {record.path}", f"{_stored_shape(grid)} as the grid has", str(record.shape))
        file.check(record)  # all of them before the memory for all of them is taken
    dtype = DTYPES[header.values[0].dtype]
    values = torch.empty((len(header.values), *grid.shape), dtype=dtype)
    for target, record in zip(values, header.values, strict=True):
        target.copy_(_from_stored(to_tensor(file.read(record), dtype), grid))
    return values.reshape(header.batch, len(header.fields), *grid.shape)


def _load(file: ResultsFile, records: Iterable[ArrayRecord]) -> list[Tensor]:
    tensors = []
    for record in records:
        file.check(record)
        tensors.append(to_tensor(file.read(record), DTYPES[record.dtype]))
    return tensors


def _load_named(file: ResultsFile, records: tuple[ArrayRecord, ...]) -> dict[str, Tensor]:
    return dict(zip((record.name for record in records), _load(file, records), strict=True))


def _count_status(status: Tensor) -> dict[str, int]:
    known = {member.value: member.name for member in SolveStatus}
    return dict(Counter(known.get(code, f"UNKNOWN_{code}") for code in status.flatten().tolist()))
