"""How well patches fit together: profiles across their interfaces, and the jumps there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from pdesolve.atomic import FilePath
from pdesolve.domains.grid import StructuredGrid
from pdesolve.plotting.curves import draw_profiles, finish_curves, mark_interfaces
from pdesolve.plotting.maps import Array, Interfaces, checked, time_steps
from pdesolve.plotting.style import (
    CYCLE,
    add_legend_beside,
    label_axes,
    new_figure,
    set_heading,
    set_title,
    style_curves,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STENCIL = 3


def plot_interfaces(
    values: Tensor,
    grid: StructuredGrid,
    interfaces: Interfaces,
    path: FilePath,
    *,
    axis: str | None = None,
    name: str = "u",
    n_times: int = 5,
) -> str:
    """Draw u across the interfaces of one axis at several times, and the jumps of u and of ∂u/∂n over time.

    Arguments:
        values: (*grid.shape), one unknown of one case.
        grid: where it stands.
        interfaces: positions by axis.
        path: a ``.png`` file, replaced if it exists.
        axis: which axis (default: the first space axis that has interfaces).
        name: of the unknown (default ``"u"``).
        n_times: number of profiles (default 5).

    Returns:
        The path.

    Raises:
        ValueError: no interfaces along the axis, fewer than 3 nodes on a side of one, a shape that does not
            fit, or a path that is no ``.png``.

    Notes:
        Profiles run through the middle of the other axes; jumps are the largest over them. See ``jumps``.
    """
    field = checked(values, grid, "values")
    axis = axis or next((a for a in grid.axes if a != "t" and interfaces.get(a)), "")
    positions = tuple(interfaces.get(axis, ()))
    if axis not in grid.axes or axis == "t" or not positions:
        known = ", ".join(a for a in interfaces if interfaces[a]) or "none"
        raise ValueError(f"no interfaces along {axis or 'any space axis'!r}: there are some along {known}")
    flat = _lines(field, grid, axis)
    figure = new_figure(10.0, 6.2)
    top, bottom = figure.subplots(2, 1, height_ratios=(1.35, 1))
    _draw_profiles(top, grid, axis, flat[:, flat.shape[1] // 2], name, n_times)
    mark_interfaces(top, positions)
    _draw_jumps(bottom, grid, axis, flat, positions)
    set_heading(figure, f"{name} across the patch interfaces along {axis}")
    return write_png(figure, path)


def _lines(field: Array, grid: StructuredGrid, axis: str) -> Array:
    """The field as lines along an axis, (t or 1, lines, nodes of the axis)."""
    last = np.moveaxis(field, grid.axes.index(axis), -1)
    return last.reshape(field.shape[0] if grid.axes[0] == "t" else 1, -1, last.shape[-1])


def jumps(nodes: Array, values: Array, position: float) -> tuple[Array, Array]:
    """Jump of u and of its slope at an interface, both sides extrapolated from their nearest three nodes.

    A node on the interface itself belongs to no side. For a smooth u the extrapolation alone gives a jump
    of order h³ and a slope jump of order h².

    Arguments:
        nodes: (n,).
        values: (..., n).
        position: where the interface is.

    Returns:
        Jump and slope jump, (...).

    Raises:
        ValueError: fewer than 3 nodes on a side.
    """
    near = 1e-9 * float(nodes[-1] - nodes[0])
    left, right = np.flatnonzero(nodes < position - near), np.flatnonzero(nodes > position + near)
    if min(len(left), len(right)) < STENCIL:
        raise ValueError(f"the interface at {position} needs {STENCIL} nodes on each side; refine the grid")
    results = []
    for side in (left[-STENCIL:], right[:STENCIL]):
        h = float(np.ptp(nodes[side]))
        weights = np.linalg.inv(np.vander((nodes[side] - position) / h, STENCIL, increasing=True))
        results.append((values[..., side] @ weights[0], values[..., side] @ weights[1] / h))
    return results[1][0] - results[0][0], results[1][1] - results[0][1]


def _draw_profiles(axes: Axes, grid: StructuredGrid, axis: str, lines: Array, name: str, n_times: int) -> None:
    if grid.axes[0] == "t":
        draw_profiles(axes, grid, axis, lines, time_steps(grid, n_times), name)
    else:
        axes.plot(grid.axis_nodes(axis).numpy(), lines[0], color=CYCLE[0], linewidth=1.6)
        finish_curves(axes, grid, axis, name)
    set_title(axes, "profiles; interfaces dashed")


def _draw_jumps(axes: Axes, grid: StructuredGrid, axis: str, flat: Array, positions: tuple[float, ...]) -> None:
    nodes = grid.axis_nodes(axis).numpy()
    floor = 1e-17
    with np.errstate(all="ignore"):  # Inf - Inf is a gap in the curve
        pairs = [jumps(nodes, flat, position) for position in positions]
    sizes = [tuple(np.maximum(np.abs(jump).max(axis=1), floor) for jump in pair) for pair in pairs]
    if grid.axes[0] == "t":
        for i, (position, pair) in enumerate(zip(positions, sizes, strict=True)):
            colour = CYCLE[i % len(CYCLE)]
            for size, line, what in zip(pair, ("-", ":"), ("value", "slope"), strict=True):
                label = f"{what} at {axis} = {position:.3g}"
                axes.semilogy(grid.axis_nodes("t").numpy(), size, line, color=colour, linewidth=1.5, label=label)
        label_axes(axes, "t", "|jump|")
        axes.set_xlim(*grid.box.bounds("t"))
    else:
        for k, (mark, what) in enumerate((("o", "value"), ("s", "slope"))):
            axes.semilogy(positions, [pair[k][0] for pair in sizes], mark, color=CYCLE[k], markersize=6, label=what)
        label_axes(axes, axis, "|jump|")
        axes.set_xlim(*grid.box.bounds(axis))
    style_curves(axes)
    set_title(axes, "jumps, extrapolated from both sides")
    add_legend_beside(axes)
