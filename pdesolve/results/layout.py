"""A structured grid in VTKHDF 2.2: ImageData where every space axis is uniform, else UnstructuredGrid.

Source: VTKHDF file format, version 2.2, https://docs.vtk.org/en/latest/design_documents/VTKFileFormats.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.grid import StructuredGrid
from pdesolve.results.codec import Array

VERSION = (2, 2)
SPACE = "xyz"
CELL_TYPES = {1: 3, 2: 9, 3: 12}  # VTK_LINE, VTK_QUAD, VTK_HEXAHEDRON


def space_axes(grid: StructuredGrid) -> tuple[str, ...]:
    """The grid's axes without time."""
    return tuple(axis for axis in grid.axes if axis != "t")


def is_image(grid: StructuredGrid) -> bool:
    """Whether ParaView gets the grid as an image (equal spacing along every space axis)."""
    return all(grid.is_uniform(axis) for axis in space_axes(grid))


def stored_shape(grid: StructuredGrid) -> tuple[int, ...]:
    """Shape of one component of one case in the file: (t, z, y, x) for an image, else (t · z · y · x)."""
    if not is_image(grid):
        return (grid.n_nodes,)
    counts = dict(zip(grid.axes, grid.shape, strict=True))
    return tuple(counts[axis] for axis in ("t", "z", "y", "x") if axis in counts)


def to_vtk_order(values: Tensor, grid: StructuredGrid) -> Tensor:
    """(t, x, y, z) -> ``stored_shape``, with x the fastest."""
    first_space = int("t" in grid.axes)
    order = (*range(first_space), *reversed(range(first_space, values.ndim)))
    return values.permute(order).reshape(stored_shape(grid))


def from_vtk_order(values: Tensor, grid: StructuredGrid) -> Tensor:
    """The inverse of ``to_vtk_order``."""
    first_space = int("t" in grid.axes)
    reversed_shape = (*grid.shape[:first_space], *reversed(grid.shape[first_space:]))
    order = (*range(first_space), *reversed(range(first_space, len(reversed_shape))))
    return values.reshape(reversed_shape).permute(order)


def write_geometry(group: Any, grid: StructuredGrid, names: Iterable[str]) -> None:
    """Write everything of the /VTKHDF group but the values.

    Arguments:
        group: the open h5py group.
        grid: the nodes.
        names: data sets in PointData, whose place in each time step an unstructured grid has to state.
    """
    import h5py

    kind = b"ImageData" if is_image(grid) else b"UnstructuredGrid"
    group.attrs.create("Version", np.array(VERSION, dtype="<i8"))
    group.attrs.create("Type", kind, dtype=h5py.string_dtype("ascii", len(kind)))
    if is_image(grid):
        _write_image(group, grid)
    else:
        _write_cells(group, grid)
    if "t" not in grid.axes:
        return
    times = grid.axis_nodes("t").numpy()
    if is_image(grid):  # time is the first axis of every data set
        _step_values(group, times)
    else:
        write_steps(group, times, grid.n_nodes // len(times), names)


def _write_image(group: Any, grid: StructuredGrid) -> None:
    extent, origin, spacing = [0] * 6, [0.0] * 3, [1.0] * 3
    for axis in space_axes(grid):
        nodes, i = grid.axis_nodes(axis), SPACE.index(axis)
        extent[2 * i + 1] = len(nodes) - 1
        origin[i] = float(nodes[0])
        spacing[i] = float(nodes[-1] - nodes[0]) / (len(nodes) - 1)
    group.attrs.create("WholeExtent", np.array(extent, dtype="<i8"))
    group.attrs.create("Origin", np.array(origin, dtype="<f8"))
    group.attrs.create("Spacing", np.array(spacing, dtype="<f8"))
    group.attrs.create("Direction", np.eye(3, dtype="<f8").ravel())


def _write_cells(group: Any, grid: StructuredGrid) -> None:
    counts = [len(grid.axis_nodes(axis)) for axis in space_axes(grid)]
    connectivity = cells(counts)
    per_cell, number = connectivity.shape[1], len(connectivity)
    for name, count in (
        ("NumberOfPoints", math.prod(counts)),
        ("NumberOfCells", number),
        ("NumberOfConnectivityIds", number * per_cell),
    ):
        group.create_dataset(name, data=np.array([count], dtype="<i8"))
    group.create_dataset("Points", data=points(grid))
    group.create_dataset("Connectivity", data=connectivity.reshape(-1))
    group.create_dataset("Offsets", data=np.arange(number + 1, dtype="<i8") * per_cell)
    group.create_dataset("Types", data=np.full(number, CELL_TYPES[len(counts)], dtype="|u1"))


def _step_values(group: Any, times: Array) -> Any:
    steps = group.create_group("Steps")
    steps.attrs["NSteps"] = np.int64(len(times))
    steps.create_dataset("Values", data=times.astype("<f8"))
    return steps


def write_steps(group: Any, times: Array, n_points: int, names: Iterable[str]) -> None:
    """Write the time steps of an unstructured grid that does not move.

    Arguments:
        group: the open h5py group.
        times: (T,).
        n_points: values of a data set at one time.
        names: data sets in PointData.
    """
    # Every step reads the one part that there is, and its own stretch of values.
    steps, zeros = _step_values(group, times), np.zeros(len(times), dtype="<i8")
    steps.create_dataset("NumberOfParts", data=zeros + 1)
    for name in ("PartOffsets", "PointOffsets"):
        steps.create_dataset(name, data=zeros)
    for name in ("CellOffsets", "ConnectivityIdOffsets"):
        steps.create_dataset(name, data=zeros[:, None])
    offsets = steps.create_group("PointDataOffsets")
    for name in names:
        offsets.create_dataset(name, data=np.arange(len(times), dtype="<i8") * n_points)


def points(grid: StructuredGrid) -> Array:
    """Positions of the nodes in space, (n_points, 3) float64, x the fastest; missing axes are zero."""
    axes = space_axes(grid)
    reverse = torch.meshgrid(*(grid.axis_nodes(axis) for axis in reversed(axes)), indexing="ij")
    result = np.zeros((reverse[0].numel(), 3), dtype="<f8")
    for axis, values in zip(reversed(axes), reverse, strict=True):
        result[:, SPACE.index(axis)] = values.reshape(-1).numpy()
    return result


def cells(counts: list[int]) -> Array:
    """Node indices of the lines, quadrilaterals or hexahedra between the nodes, (n_cells, 2^d).

    Arguments:
        counts: number of nodes along each space axis, the fastest first.
    """
    strides = np.cumprod([1, *counts[:-1]])
    lowest = np.zeros(1, dtype="<i8")
    for count, stride in zip(reversed(counts), reversed(strides), strict=True):
        lowest = (lowest[:, None] + np.arange(count - 1, dtype="<i8") * stride).reshape(-1)
    corners = [np.array([0, strides[0]])]  # VTK goes around each face: 0, x, x + y, y
    if len(counts) > 1:
        corners = [np.array([0, strides[0], strides[0] + strides[1], strides[1]])]
    if len(counts) > 2:
        corners = [corners[0], corners[0] + strides[2]]
    return np.asarray(lowest[:, None] + np.concatenate(corners), dtype="<i8")
