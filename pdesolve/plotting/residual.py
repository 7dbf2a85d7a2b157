"""The residual of the equation over the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pdesolve.atomic import FilePath
from pdesolve.domains.grid import StructuredGrid
from pdesolve.plotting.curves import finish_curves, mark_interfaces
from pdesolve.plotting.maps import (
    Array,
    Interfaces,
    add_colour_bar,
    checked,
    cuts,
    draw_interfaces,
    draw_map,
    floored,
    magnitude_norm,
    row_height,
    signed_norm,
)
from pdesolve.plotting.style import (
    CYCLE,
    DIVERGING,
    MAGNITUDE,
    new_figure,
    set_heading,
    set_title,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_residual(
    values: Tensor,
    grid: StructuredGrid,
    path: FilePath,
    *,
    name: str = "residual",
    interfaces: Interfaces | None = None,
    n_times: int = 3,
) -> str:
    """Draw r with its sign on a linear scale (0.5 % of outliers saturate) and |r| on a logarithmic one.

    Arguments:
        values: r, (*grid.shape).
        grid: where it stands.
        path: a ``.png`` file, replaced if it exists.
        name: of the quantity (default ``"residual"``).
        interfaces: positions of patch interfaces by axis, dashed.
        n_times: rows for a residual over time and two or three space axes (default 3).

    Returns:
        The path.

    Raises:
        ValueError: a shape that does not fit the grid, or a path that is no ``.png``.
    """
    residual = checked(values, grid, "the residual")
    if len(grid.axes) == 1:
        figure = _curves(residual, grid, name, interfaces or {})
    else:
        figure = _maps(residual, grid, name, interfaces or {}, n_times)
    finite = residual[np.isfinite(residual)]
    size = float(np.linalg.norm(finite)) / max(finite.size, 1) ** 0.5
    bad = f"  ·  {residual.size - finite.size} values are not finite" if finite.size < residual.size else ""
    set_heading(figure, f"{name}  ·  root mean square {size:.2e}{bad}")
    return write_png(figure, path)


def _maps(residual: Array, grid: StructuredGrid, name: str, interfaces: Interfaces, n_times: int) -> Figure:
    rows = cuts(grid, n_times)
    heights = [row_height(grid, [cut], 3.2) for cut in rows]
    figure = new_figure(9.0, 0.35 + sum(heights))
    signed, scale = signed_norm(residual), magnitude_norm(np.abs(residual))
    magnitude = floored(np.abs(residual), scale)
    table = figure.subplots(len(rows), 2, squeeze=False, height_ratios=heights)
    for row, cut in zip(table, rows, strict=True):
        left = draw_map(row[0], grid, cut, residual, signed, DIVERGING)
        right = draw_map(row[1], grid, cut, magnitude, scale, MAGNITUDE)
        for axes, title in zip(row, ("with sign", "magnitude"), strict=True):
            draw_interfaces(axes, cut, interfaces)
            set_title(axes, title + (f", {cut.title}" if cut.title else ""))
        add_colour_bar(figure, left, row[0], name, extend="both")
        add_colour_bar(figure, right, row[1], f"|{name}|", extend="min")
    return figure


def _curves(residual: Array, grid: StructuredGrid, name: str, interfaces: Interfaces) -> Figure:
    figure, axis = new_figure(9.5, 3.6), grid.axes[0]
    left, right = figure.subplots(1, 2)
    nodes, scale = grid.axis_nodes(axis).numpy(), magnitude_norm(np.abs(residual))
    left.plot(nodes, residual, color=CYCLE[0], linewidth=1.4)
    right.semilogy(nodes, floored(np.abs(residual), scale), color=CYCLE[1], linewidth=1.4)
    finish_curves(left, grid, axis, name)
    finish_curves(right, grid, axis, f"|{name}|")
    for axes in (left, right):
        mark_interfaces(axes, interfaces.get(axis, ()))
    return figure
