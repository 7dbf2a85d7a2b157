"""Plane cuts through gridded values and their colour maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.grid import StructuredGrid
from pdesolve.plotting.style import INK, MUTED, label_axes, plain, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

Array = np.ndarray[Any, np.dtype[np.float64]]
Interfaces = Mapping[str, Sequence[float]]
HUGE = 1e140


@dataclass(frozen=True)
class Cut:
    """A line or plane through the grid.

    Arguments:
        title: where it lies, such as ``"t = 0.5"``; empty when it is the whole grid.
        axes: its one or two axes, the horizontal one first.
        index: what to take along each axis of the grid.
    """

    title: str
    axes: tuple[str, ...]
    index: tuple[int | slice, ...]


def checked(values: Tensor, grid: StructuredGrid, what: str) -> Array:
    """Values as a float64 array, (*grid.shape); infinite beyond ±1e140, where scales and norms overflow.

    Raises:
        ValueError: another shape than the grid's.
    """
    if tuple(values.shape) != grid.shape:
        raise ValueError(f"{what} has shape {tuple(values.shape)}: {grid.shape}, that of the grid, is needed")
    array = values.detach().to("cpu", torch.float64)
    array = torch.where(array.abs() > HUGE, array.sign() * torch.inf, array)
    return np.asarray(torch.where(array.abs() < 1 / HUGE, 0.0, array))


def cuts(grid: StructuredGrid, n_times: int = 4) -> list[Cut]:
    """The cuts that show a field: (t, x) as one plane, planes at several times, middle planes in 3-D."""
    space = [axis for axis in grid.axes if axis != "t"]
    if len(grid.axes) <= 2 and not ("t" in grid.axes and len(space) == 2):
        return [_cut(grid, grid.axes, {})]
    planes = [(space[0], space[1])]
    if len(space) == 3 and "t" not in grid.axes:
        planes = [(space[0], space[1]), (space[0], space[2]), (space[1], space[2])]
    result = []
    for plane in planes:
        middle = {axis: len(grid.axis_nodes(axis)) // 2 for axis in space if axis not in plane}
        if "t" not in grid.axes:
            result.append(_cut(grid, plane, middle))
            continue
        for step in time_steps(grid, n_times):
            result.append(_cut(grid, plane, {"t": step} | middle))
    return result


def time_steps(grid: StructuredGrid, count: int) -> list[int]:
    """Indices of about ``count`` times, evenly spread from the first to the last."""
    times = grid.axis_nodes("t").numpy()
    wanted = np.linspace(times[0], times[-1], max(2, count))
    return sorted({int(np.abs(times - time).argmin()) for time in wanted})


def _cut(grid: StructuredGrid, axes: tuple[str, ...], fixed: Mapping[str, int]) -> Cut:
    title = ", ".join(f"{axis} = {float(grid.axis_nodes(axis)[i]):.3g}" for axis, i in fixed.items())
    return Cut(title, axes, tuple(fixed.get(axis, slice(None)) for axis in grid.axes))


def edges(grid: StructuredGrid, axis: str) -> Array:
    """Ends of the coloured cells around each node: midway between nodes, and the ends of the domain."""
    nodes = grid.axis_nodes(axis).numpy()
    low, high = grid.box.bounds(axis)
    return np.concatenate([[low], (nodes[1:] + nodes[:-1]) / 2, [high]])


def draw_map(axes: Axes, grid: StructuredGrid, cut: Cut, values: Array, norm: Normalize, cmap: str) -> QuadMesh:
    """Colour a plane cut; what is not finite becomes grey.

    Arguments:
        values: of the whole grid; the cut is taken here.
    """
    import matplotlib

    colours = matplotlib.colormaps[cmap].with_extremes(bad="#bdbdbd")
    plane = np.ma.masked_invalid(values[cut.index]).T
    x, y = edges(grid, cut.axes[0]), edges(grid, cut.axes[1])
    mesh = axes.pcolormesh(x, y, plane, norm=norm, cmap=colours, rasterized=True)
    label_axes(axes, *cut.axes)
    set_title(axes, cut.title)
    axes.locator_params(axis="x", nbins=6)
    if is_to_scale(grid, cut):
        axes.set_aspect("equal")
    return mesh


def is_to_scale(grid: StructuredGrid, cut: Cut) -> bool:
    """Whether both axes of a plane get the same scale: both in space, and not too long a strip."""
    return "t" not in cut.axes and 0.3 < height_ratio(grid, cut) < 2.1


def height_ratio(grid: StructuredGrid, cut: Cut) -> float:
    """Height of a plane over its width in the grid's own units."""
    return grid.box.extent(cut.axes[1]) / grid.box.extent(cut.axes[0])


def row_height(grid: StructuredGrid, rows: Sequence[Cut], width: float) -> float:
    """Height in inches that a row of maps of this width needs, with its title and labels."""
    ratios = [height_ratio(grid, cut) for cut in rows if is_to_scale(grid, cut)]
    return 0.75 + width * (max(ratios) if ratios else 0.8)


def draw_interfaces(axes: Axes, cut: Cut, interfaces: Interfaces | None) -> None:
    """Dash the patch interfaces that cross the cut; readable on light and on dark colours."""
    for axis, positions in (interfaces or {}).items():
        if axis not in cut.axes:
            continue
        draw = axes.axvline if cut.axes.index(axis) == 0 else axes.axhline
        for position in positions:
            draw(position, color="black", linewidth=1.1, alpha=0.55)
            draw(position, color="white", linewidth=0.9, linestyle=(0, (4, 3)))


def add_colour_bar(figure: Figure, mesh: QuadMesh, axes: Any, label: str, extend: str = "neither") -> None:
    """A slim colour bar beside one or several axes."""
    bar = figure.colorbar(mesh, ax=axes, extend=extend, fraction=0.046, pad=0.02, aspect=24)
    bar.set_label(plain(label), fontsize=9)
    bar.ax.tick_params(which="both", labelsize=8, color=MUTED, labelcolor=INK)
    bar.outline.set_linewidth(0.6)


def linear_norm(*arrays: Array) -> Normalize:
    """One linear scale for all finite values."""
    from matplotlib.colors import Normalize

    finite = np.concatenate([array[np.isfinite(array)] for array in arrays])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high)):  # a constant: put it in the middle of the map
        margin = 0.5 * max(abs(low), 1e-300)
        low, high = low - margin, high + margin
    return Normalize(low, high)


def signed_norm(values: Array, quantile: float = 0.995) -> Normalize:
    """A linear scale symmetric about zero that lets few outliers saturate."""
    from matplotlib.colors import Normalize

    finite = np.abs(values[np.isfinite(values)])
    bound = float(np.quantile(finite, quantile)) if finite.size else 1.0
    bound = bound or (float(finite.max()) if finite.size else 1.0) or 1.0
    return Normalize(-bound, bound)


def magnitude_norm(values: Array, decades: float = 5.0) -> Normalize:
    """A logarithmic scale from the largest down, at most ``decades`` of it; draw with ``floored`` values."""
    from matplotlib.colors import LogNorm

    positive = values[np.isfinite(values) & (values > 0)]
    if not positive.size:
        return LogNorm(1e-16, 1.0)
    high = float(positive.max())
    low = max(float(np.quantile(positive, 0.01)), high * 10**-decades, 5e-324)
    return LogNorm(low, high if high > 1.01 * low else 10 * low)


def floored(values: Array, norm: Normalize) -> Array:
    """Values with everything below the scale, zero too, lifted to its lower end; NaN stays NaN."""
    return np.maximum(values, norm.vmin if norm.vmin is not None else 0.0)
