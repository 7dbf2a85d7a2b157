"""Curves over one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pdesolve.domains.grid import StructuredGrid
from pdesolve.plotting.maps import Array
from pdesolve.plotting.style import MUTED, TIMES, add_legend, label_axes, style_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def time_colours(count: int) -> list[tuple[float, float, float, float]]:
    """Colours from early to late, all dark enough for thin lines on white."""
    import matplotlib

    return [matplotlib.colormaps[TIMES](shade) for shade in np.linspace(0.0, 0.85, count)]


def draw_profiles(axes: Axes, grid: StructuredGrid, axis: str, values: Array, steps: Sequence[int], name: str) -> None:
    """One curve over a space axis for each time step, coloured by time.

    Arguments:
        axis: the space axis.
        values: (t, n), n nodes of the axis.
        steps: which times.
    """
    times, nodes = grid.axis_nodes("t").numpy(), grid.axis_nodes(axis).numpy()
    for step, colour in zip(steps, time_colours(len(steps)), strict=True):
        axes.plot(nodes, values[step], color=colour, linewidth=1.5, label=f"t = {times[step]:.3g}")
    finish_curves(axes, grid, axis, name)
    add_legend(axes)


def finish_curves(axes: Axes, grid: StructuredGrid, axis: str, name: str) -> None:
    """Label curves over an axis and show its whole range."""
    label_axes(axes, axis, name)
    style_curves(axes)
    axes.set_xlim(*grid.box.bounds(axis))
    axes.locator_params(axis="x", nbins=7)


def mark_interfaces(axes: Axes, positions: Sequence[float]) -> None:
    """Dash the patch interfaces behind the curves."""
    for position in positions:
        axes.axvline(position, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.5)
