"""Save a solution as VTKHDF, which ParaView opens, and load it back bit for bit.

/VTKHDF holds grid, times and values, which are stored once: PointData is ``u`` for one case and ``u_0000``,
``u_0001``, ... for several. /pdesolve, which ParaView ignores, holds exact nodes, status, stats, parameters
and a JSON header with checksums.
"""

from __future__ import annotations

import importlib
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
from pdesolve.field import Field
from pdesolve.results.codec import DTYPES, dataset_names, digest, to_array, to_tensor
from pdesolve.results.header import MAX_BYTES, SCHEMA, ArrayRecord, Header, check_provenance
from pdesolve.results.layout import from_vtk_order, stored_shape, to_vtk_order, write_geometry
from pdesolve.results.safe_open import ResultsFile, open_results
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus

EXTENSION = ".vtkhdf"


def save(solution: Solution, path: FilePath, *, overwrite: bool = False) -> None:
    """Write a solution to a ``.vtkhdf`` file, which appears whole or not at all.

    16-bit floats are stored as float32, which holds them exactly. Tuples in the provenance become lists.

    Arguments:
        solution: values (batch, component, t, x, y, z) and all that belongs to them.
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
        File size, schema, program, shape and range of each axis, fields, dtype, number of cases and patches,
        count of each status, names of parameters and stats, interfaces and provenance; JSON-compatible.

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
            "schema": SCHEMA,
            "written_by": header.written_by,
            "fields": list(header.fields),
            "dtype": header.values[0].dtype,
            "batch": header.batch,
            "patches": status.shape[1] if status.ndim == 2 else 0,
            "shape": dict(zip(grid.axes, grid.shape, strict=True)),
            "range": {a: [float(n[0]), float(n[-1])] for a, n in zip(grid.axes, grid.nodes, strict=True)},
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
    group.attrs.create("schema", np.array(SCHEMA, dtype="<i8"))
    header = Header(
        written_by=f"pdesolve {importlib.import_module('pdesolve').__version__}",
        fields=field.names,
        batch=field.batch,
        axes=grid.axes,
        bounds=None if grid.bounds is None else tuple(zip(grid.bounds.lower, grid.bounds.upper, strict=True)),
        nodes=_write_named(file, "/pdesolve/nodes", dict(zip(grid.axes, grid.nodes, strict=True))),
        values=_write_values(file, field),
        status=_write_array(file, "/pdesolve/status", "status", solution.status),
        stats=_write_named(file, "/pdesolve/stats", solution.stats),
        parameters=_write_named(file, "/pdesolve/parameters", solution.parameters),
        interfaces={axis: tuple(map(float, at)) for axis, at in solution.interfaces.items()},
        provenance=provenance,
    )
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
    write_geometry(group, field.grid, names)
    group.create_group("PointData")
    flat = field.values.detach().flatten(0, 1)
    return tuple(
        _write_array(file, f"/VTKHDF/PointData/{name}", name, to_vtk_order(values, field.grid))
        for name, values in zip(names, flat, strict=True)
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
    if len(header.nodes) != len(header.axes):
        raise file.error("nodes", f"one array for each of the axes {header.axes}", str(len(header.nodes)))


def _load_grid(file: ResultsFile, header: Header) -> StructuredGrid:
    bounds = None
    if header.bounds is not None:
        bounds = Box(header.axes, tuple(low for low, _ in header.bounds), tuple(high for _, high in header.bounds))
    return StructuredGrid(header.axes, tuple(_load(file, header.nodes)), bounds)


def _load_values(file: ResultsFile, header: Header, grid: StructuredGrid) -> Tensor:
    for record in header.values:
        if record.shape != stored_shape(grid):
            raise file.error(f"shape of {record.path}", f"{stored_shape(grid)} as the grid has", str(record.shape))
        file.check(record)  # all of them before the memory for all of them is taken
    dtype = DTYPES[header.values[0].dtype]
    values = torch.empty((len(header.values), *grid.shape), dtype=dtype)
    for target, record in zip(values, header.values, strict=True):
        target.copy_(from_vtk_order(to_tensor(file.read(record), dtype), grid))
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
