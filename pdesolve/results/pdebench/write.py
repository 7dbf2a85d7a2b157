"""Writing PDEBench's layouts: the file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pdesolve.atomic import FilePath, replacing
from pdesolve.domains.grid import StructuredGrid
from pdesolve.results.codec import to_array
from pdesolve.results.pdebench.layout import STORED, AbstractPDEBenchLayout, PerSeedLayout


def write_pdebench(
    path: FilePath,
    values: Tensor,
    grid: StructuredGrid,
    layout: AbstractPDEBenchLayout | None = None,
    *,
    config: str | Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write solutions as PDEBench does, in float32, for code that reads its files.

    Arguments:
        path: the file; its folder exists.
        values: (batch, component, t, x, y, z), axes that the grid lacks left out; any floating dtype and device.
        grid: the nodes, with a time axis.
        layout: ``PerSeedLayout()`` (default) or ``FlatLayout(names)``.
        config: YAML text of the configuration, or one for each sample (default none); kept as it is.
        overwrite: replace a file of this name (default False).

    Raises:
        ValueError: values that do not fit the grid or the layout, that are not finite, or larger than float32 holds;
            a grid without time, or whose nodes fall together in float32; a text with NUL characters.
        TypeError: values or texts of another type.
        FileExistsError, OSError: as ``pdesolve.atomic.replacing``.

    Notes:
        Values and nodes are rounded to float32: at t = 500 by up to 1.5e-5.
    """
    import h5py

    chosen = PerSeedLayout() if layout is None else layout
    if not isinstance(chosen, AbstractPDEBenchLayout):
        raise TypeError(f"layout must be PerSeedLayout() or FlatLayout(...), got {type(chosen).__name__}")
    configs = (config,) if isinstance(config, str) else tuple(config)
    _check(os.fspath(path), values, grid, configs)
    chosen.check(values.shape[0], values.shape[1], len(configs))
    nodes = {}
    for axis in grid.axes:
        nodes[axis] = to_array(grid.axis_nodes(axis), axis).astype(STORED)
        if not (np.diff(nodes[axis]) > 0).all():
            raise ValueError(f"nodes of axis {axis!r} fall together in float32: shift or rescale the axis")
    with replacing(path, overwrite=overwrite) as target, h5py.File(target, "w") as file:
        chosen.write(file, to_array(values.detach().to(torch.float32), "values"), nodes, configs)


def _check(name: str | bytes, values: Tensor, grid: StructuredGrid, configs: tuple[str, ...]) -> None:
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(f"{name!r}: a file name is text without NUL characters")
    if not isinstance(values, Tensor) or not torch.is_floating_point(values):
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"values must be a floating tensor, got {got}")
    if "t" not in grid.axes:
        raise ValueError(f"the grid has the axes {', '.join(grid.axes)}: PDEBench's layouts need a time axis 't'")
    if values.ndim != 2 + len(grid.axes) or tuple(values.shape[2:]) != grid.shape or 0 in values.shape[:2]:
        raise ValueError(
            f"values have shape {tuple(values.shape)}: (batch, component, {', '.join(map(str, grid.shape))}) is needed "
            f"on a grid of axes {', '.join(grid.axes)}"
        )
    finite = torch.isfinite(values.detach().to(torch.float32)).flatten(1).all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise ValueError(f"values of case {first} are not finite in float32: leave out what failed or diverged")
    for text in configs:
        if not isinstance(text, str):
            raise TypeError(f"config must be text, or one text for each sample; got {type(text).__name__}")
        if "\0" in text:
            raise ValueError("config holds a NUL character: give plain YAML text")
