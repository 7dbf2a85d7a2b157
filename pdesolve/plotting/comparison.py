"""A field beside its reference and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pdesolve.atomic import FilePath
from pdesolve.domains.grid import StructuredGrid
from pdesolve.field import Nodes
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
    linear_norm,
    magnitude_norm,
    row_height,
)
from pdesolve.plotting.meshes import checked_values, compare_on_mesh
from pdesolve.plotting.style import (
    CYCLE,
    INK,
    MAGNITUDE,
    SEQUENTIAL,
    add_legend,
    new_figure,
    set_heading,
    set_title,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_comparison(
    values: Tensor,
    reference: Tensor,
    grid: Nodes,
    titles: Sequence[str],
    path: FilePath,
    *,
    name: str = "u",
    interfaces: Interfaces | None = None,
    n_times: int = 3,
) -> str:
    """Draw u, its reference and |u - u_ref| (logarithmic) side by side; one row for each time or plane.

    Arguments:
        values, reference: (*grid.shape), one unknown of one case; on a mesh (node) or (t, node).
        grid: where they stand.
        titles: of the three columns, such as ``("Gaussians", "reference", "error")``.
        path: a ``.png`` file, replaced if it exists.
        name: of the unknown (default ``"u"``).
        interfaces: positions of patch interfaces by axis, dashed.
        n_times: rows for a field over time and two or three space axes (default 3).

    Returns:
        The path.

    Raises:
        ValueError: shapes that do not fit the grid, not three titles, or a path that is no ``.png``.
    """
    if len(titles) != 3:
        raise ValueError(f"three titles are needed (field, reference, error), got {len(titles)}")
    if isinstance(grid, StructuredGrid):
        ours, exact = checked(values, grid, "values"), checked(reference, grid, "reference")
    else:
        ours, exact = checked_values(values, grid, "values"), checked_values(reference, grid, "reference")
    with np.errstate(all="ignore"):  # Inf - Inf is a grey place in the picture
        error = np.abs(ours - exact)
        relative = np.linalg.norm(error) / max(float(np.linalg.norm(exact)), 1e-300)
    arrays = (ours, exact, error)
    if not isinstance(grid, StructuredGrid):
        figure = compare_on_mesh(arrays, grid, titles, name, n_times)
    elif len(grid.axes) == 1:
        figure = _curves(arrays, grid, titles, name, interfaces or {})
    else:
        figure = _maps(arrays, grid, titles, name, interfaces or {}, n_times)
    set_heading(figure, f"{name}  ·  relative L² error {relative:.2e}  ·  largest {error.max():.2e}")
    return write_png(figure, path)


def _maps(
    arrays: tuple[Array, Array, Array],
    grid: StructuredGrid,
    titles: Sequence[str],
    name: str,
    interfaces: Interfaces,
    n_times: int,
) -> Figure:
    ours, exact, error = arrays
    rows = cuts(grid, n_times)
    heights = [row_height(grid, [cut], 2.6) for cut in rows]
    figure = new_figure(11.0, 0.35 + sum(heights))
    table = figure.subplots(len(rows), 3, squeeze=False, height_ratios=heights)
    shared, scale = linear_norm(exact), magnitude_norm(error)
    for row, cut in zip(table, rows, strict=True):
        left = draw_map(row[0], grid, cut, ours, shared, SEQUENTIAL)
        draw_map(row[1], grid, cut, exact, shared, SEQUENTIAL)
        right = draw_map(row[2], grid, cut, floored(error, scale), scale, MAGNITUDE)
        for axes, title in zip(row, titles, strict=True):
            draw_interfaces(axes, cut, interfaces)
            set_title(axes, title + (f", {cut.title}" if cut.title else ""))
        add_colour_bar(figure, left, list(row[:2]), name)
        add_colour_bar(figure, right, row[2], f"|{name} - {name} ref|", extend="min")
    return figure


def _curves(
    arrays: tuple[Array, Array, Array],
    grid: StructuredGrid,
    titles: Sequence[str],
    name: str,
    interfaces: Interfaces,
) -> Figure:
    ours, exact, error = arrays
    figure, axis = new_figure(9.5, 3.6), grid.axes[0]
    left, right = figure.subplots(1, 2)
    nodes = grid.axis_nodes(axis).numpy()
    left.plot(nodes, ours, color=CYCLE[0], linewidth=1.8, label=titles[0])
    left.plot(nodes, exact, color=INK, linewidth=1.0, linestyle="--", label=titles[1])
    scale = magnitude_norm(error)
    right.semilogy(nodes, floored(error, scale), color=CYCLE[1], linewidth=1.4)
    finish_curves(left, grid, axis, name)
    finish_curves(right, grid, axis, f"|{name} - {name} ref|")
    set_title(right, titles[2])
    for axes in (left, right):
        mark_interfaces(axes, interfaces.get(axis, ()))
    add_legend(left)
    return figure
