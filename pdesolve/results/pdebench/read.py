"""Reading PDEBench's files, their own and ours, without trusting them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pdesolve.atomic import FilePath
from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.problem import Family
from pdesolve.results.codec import Array, to_tensor
from pdesolve.results.hdf5 import HDF5File, open_hdf5
from pdesolve.results.pdebench.data import PDEBenchData, mismatch
from pdesolve.results.pdebench.source import COORDINATE, AbstractSource, FlatSource, PerSeedSource

_KIND, _HINT = "PDEBench file", "give an .h5 or .hdf5 file in one of PDEBench's layouts"
_LIMIT = 4 << 30
_ALL = slice(None)


def read_pdebench(
    path: FilePath,
    samples: slice = _ALL,
    *,
    problem: Family | None = None,
    fields: Sequence[str] | None = None,
    max_bytes: int = _LIMIT,
) -> PDEBenchData:
    """Read samples of a PDEBench file, whichever of its layouts it has.

    Only the chosen samples are read. Safe on files from strangers: nothing outside the file is opened, nothing is
    unpickled or parsed, and sizes are checked before memory is taken.

    Arguments:
        path: such as 1D_diff-sorp_NA_NA.h5, 2D_diff-react_NA_NA.h5, 1D_Burgers_Sols_Nu0.01.hdf5.
        samples: which, by position in the file (default all): ``slice(0, 100)``.
        problem: the ``Problem`` or family that the file should belong to; names and orders the fields and gives the
            grid its box (default: no check, and a box from the first node to the last).
        fields: data sets of a flat file to read, in this order (default all that are no coordinates).
        max_bytes: the most that the values may take (default 4 GiB).

    Raises:
        ResultsFileError: no file of this kind, a damaged one, values that are NaN or Inf, wrong shapes or times; one
            that does not fit ``problem``; more than ``max_bytes``. A ``ValueError``.
        TypeError: ``samples`` that are no slice.
        FileNotFoundError, IsADirectoryError, PermissionError: as ``open`` does.

    Notes:
        PDEBench's x are cell centres of most of its equations: half a cell from the boundary. Its axes (t, x, y, z,
        component) and (t, x, y, z) are converted here and nowhere else. Of a flat file's times the entry beyond the
        last frame is dropped. Darcy flow (no time) and data sets with vectors in the last axis are refused.
    """
    if not isinstance(samples, slice):
        raise TypeError(f"samples must be a slice such as slice(0, 100), got {type(samples).__name__}")
    with open_hdf5(path, _KIND, _HINT) as file:
        source = _source(file, fields, max_bytes)
        chosen = _chosen(file, source, samples)
        source.check(chosen, max_bytes)
        configs = source.configs(chosen)
        _check_problem(file, source, problem, configs)
        shape = (len(chosen), len(source.names), *source.shape)
        _check_size(file, source, shape, max_bytes)
        values = np.empty(shape, dtype=source.dtype.newbyteorder("="))
        source.read(chosen, values)
        numbers = tuple(source.numbers[i] for i in chosen)
        _check_finite(file, values, numbers)
        grid = _grid(file, source, problem)
    tensor = to_tensor(values, torch.float32 if values.itemsize == 4 else torch.float64)
    names = source.names
    if problem is not None:
        wanted = problem.problem.field_names
        if source.named and len(wanted) > 1:
            tensor = tensor[:, [names.index(name) for name in wanted]]
        names = wanted
    return PDEBenchData(tensor, grid, names, numbers, configs)


def is_pdebench(path: FilePath) -> bool:
    """Whether an HDF5 file has one of PDEBench's layouts, judged by the names at its top.

    Raises:
        ResultsFileError, OSError: as ``read_pdebench``, where it is no HDF5 file at all.
    """
    with open_hdf5(path, _KIND, _HINT) as file:
        keys = list(file.file)
        return any(_is_sample(key) for key in keys) or f"x{COORDINATE}" in keys


def pdebench_info(path: FilePath) -> dict[str, Any]:
    """What a PDEBench file holds, without reading its values.

    Returns:
        File size, layout, fields, dtype, number of samples, shape and range of each axis, and the first configuration;
        JSON-compatible.

    Raises:
        ResultsFileError, OSError: as ``read_pdebench``.
    """
    with open_hdf5(path, _KIND, _HINT) as file:
        source = _source(file, None, _LIMIT)
        return {
            "path": os.fspath(path),
            "bytes": file.size,
            "layout": "PDEBench, one group for each sample" if isinstance(source, PerSeedSource) else "PDEBench, flat",
            "fields": list(source.names),
            "dtype": str(source.dtype),
            "batch": len(source.numbers),
            "shape": {axis: len(nodes) for axis, nodes in source.nodes.items()},
            "range": {axis: [float(nodes[0]), float(nodes[-1])] for axis, nodes in source.nodes.items()},
            "config": "".join(source.configs(range(1))),
        }


def _is_sample(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 19


def _source(file: HDF5File, fields: Sequence[str] | None, limit: int) -> AbstractSource:
    keys = list(file.file)
    samples = [key for key in keys if _is_sample(key)]
    flat = [key for key in keys if key not in samples]
    if samples and flat:
        raise file.error("both layouts", "groups 0000, 0001, ... or data sets", f"{samples[0]} beside {flat[0]}")
    if samples:
        if fields is not None:
            hint = "leave fields out: components of this layout have no names"
            raise file.error("fields", "the flat layout", "one group for each sample", hint)
        return PerSeedSource(file, samples, limit)
    there = [key for key in flat if not key.endswith(COORDINATE)]
    if len(there) == len(flat) or not there:
        got = ", ".join(keys[:5]) or "nothing"
        raise file.error(f"not a {_KIND}", f"groups 0000, 0001, ... or tensor and x{COORDINATE}", got, _HINT)
    wanted = there if fields is None else list(fields)
    missing = [name for name in wanted if name not in there]
    if missing or not wanted:
        hint = "choose among those by fields=..."
        raise file.error("fields", ", ".join(there[:10]), repr(missing[0]) if missing else "none", hint)
    return FlatSource(file, wanted, limit)


def _chosen(file: HDF5File, source: AbstractSource, samples: slice) -> range:
    count = len(source.numbers)
    chosen = range(*samples.indices(count))
    if len(chosen) == 0 or chosen.step < 0:
        got = f"slice({samples.start}, {samples.stop}, {samples.step})"
        raise file.error("samples", f"some of the {count} samples, in rising order", got, "choose others")
    return chosen


def _check_size(file: HDF5File, source: AbstractSource, shape: tuple[int, ...], limit: int) -> None:
    wanted = math.prod(shape) * source.dtype.itemsize
    if wanted > limit:
        hint = "choose fewer by samples=slice(0, n), or allow more by max_bytes"
        raise file.error(f"size of {shape[0]} samples", f"at most {limit} bytes", f"{wanted} bytes", hint)


def _check_problem(file: HDF5File, source: AbstractSource, problem: Family | None, configs: tuple[str, ...]) -> None:
    found = None if problem is None else mismatch(problem, tuple(source.nodes), source.names, source.named, configs)
    if found is not None:
        raise file.error("data of another equation", *found, "read it without problem=, or give the problem it is of")


def _check_finite(file: HDF5File, values: Array, numbers: tuple[int, ...]) -> None:
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if bad.any():
        got = f"NaN or Inf in {int(bad.sum())} of {len(values)} samples, the first {numbers[int(bad.argmax())]}"
        raise file.error("values", "finite numbers", got, "choose samples without it")


def _grid(file: HDF5File, source: AbstractSource, problem: Family | None) -> StructuredGrid:
    """The nodes in the problem's box: they must fill it up to a spacing, and what float32 rounds out is put back."""
    box: Box | None = None if problem is None else problem.problem.box
    nodes = []
    for axis, array in source.nodes.items():
        if len(array) < 2:
            raise file.error(f"axis {axis}", "at least 2 nodes", "1")
        if box is not None:
            low, high = box.bounds(axis)
            room, rounding = float(np.diff(array).max()), 4 * np.finfo(np.float32).eps * max(abs(low), abs(high))
            ends = f"[{array[0]:g}, {array[-1]:g}]"
            reaches = array[0] - low <= room + rounding and high - array[-1] <= room + rounding
            if array[0] < low - rounding or array[-1] > high + rounding or not reaches:
                hint = "read it without problem=, or give the problem it is of"
                expected = f"nodes that fill the problem's [{low:g}, {high:g}]"
                raise file.error(f"range of axis {axis}", expected, ends, hint)
            array = array.clip(low, high)
        nodes.append(torch.from_numpy(array))
    return StructuredGrid(tuple(source.nodes), tuple(nodes), box)
