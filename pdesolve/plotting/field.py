"""A picture of one unknown of one case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pdesolve.atomic import FilePath
from pdesolve.domains.grid import StructuredGrid
from pdesolve.plotting.curves import draw_profiles, finish_curves, mark_interfaces
from pdesolve.plotting.maps import (
    Array,
    Interfaces,
    add_colour_bar,
    checked,
    cuts,
    draw_interfaces,
    draw_map,
    linear_norm,
    row_height,
    time_steps,
)
from pdesolve.plotting.meshes import checked_values, mesh_figure
from pdesolve.plotting.style import CYCLE, SEQUENTIAL, new_figure, set_heading, write_png
from pdesolve.solution import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_field(solution: Solution, path: FilePath, case: int = 0, component: str | None = None) -> str:
    """Draw u of one case: a map over (t, x) with profiles, planes at several times, or a curve; on a mesh, maps.

    Arguments:
        solution: values (batch, component, t, x, y, z), or on a mesh; its interfaces are dashed.
        path: a ``.png`` file, replaced if it exists.
        case: which of the batch (default 0).
        component: name of the unknown (default: the first).

    Returns:
        The path.

    Raises:
        ValueError: unknown component, or a path that does not end in ``.png``.
        IndexError: no such case.
    """
    field = solution.field
    if not 0 <= case < field.batch:
        raise IndexError(f"case {case}: the solution has the cases 0 to {field.batch - 1}")
    name = component if component is not None else field.names[0]
    grid, chosen = field.grid, field.component(name)[case]
    if not isinstance(grid, StructuredGrid):
        values = checked_values(chosen, grid, name)
        figure = mesh_figure(grid, values, name)
    else:
        values = checked(chosen, grid, name)
        figure = _gridded(grid, values, name, solution.interfaces)
    set_heading(figure, _heading(name, case, solution, values))
    return write_png(figure, path)


def _heading(name: str, case: int, solution: Solution, values: Array) -> str:
    batch = solution.field.batch
    single = {key: value[case] for key, value in solution.parameters.items() if value.shape == (batch,)}
    parts = [name] + ([f"case {case} of {batch}"] if batch > 1 else [])
    parts += [f"{key} = {float(value):.4g}" for key, value in list(single.items())[:4]]
    if not bool(solution.converged[case]):
        parts.append("not converged")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        parts.append(f"{bad} of {values.size} values are not finite")
    return "  ·  ".join(parts)


def _gridded(grid: StructuredGrid, values: Array, name: str, interfaces: Interfaces) -> Figure:
    if len(grid.axes) == 1:
        return _curve(grid, values, name, interfaces)
    if grid.axes[0] == "t" and len(grid.axes) == 2:
        return _space_time(grid, values, name, interfaces)
    return _planes(grid, values, name, interfaces)


def _curve(grid: StructuredGrid, values: Array, name: str, interfaces: Interfaces) -> Figure:
    figure, axis = new_figure(6.0, 3.6), grid.axes[0]
    axes = figure.subplots()
    axes.plot(grid.axis_nodes(axis).numpy(), values, color=CYCLE[0], linewidth=1.6)
    mark_interfaces(axes, interfaces.get(axis, ()))
    finish_curves(axes, grid, axis, name)
    return figure


def _space_time(grid: StructuredGrid, values: Array, name: str, interfaces: Interfaces) -> Figure:
    figure, axis = new_figure(10.0, 3.8), grid.axes[1]
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    cut = cuts(grid)[0]
    mesh = draw_map(left, grid, cut, values, linear_norm(values), SEQUENTIAL)
    draw_interfaces(left, cut, interfaces)
    add_colour_bar(figure, mesh, left, name)
    draw_profiles(right, grid, axis, values, time_steps(grid, 5), name)
    mark_interfaces(right, interfaces.get(axis, ()))
    return figure


def _planes(grid: StructuredGrid, values: Array, name: str, interfaces: Interfaces) -> Figure:
    planes = cuts(grid)
    width = 2.5 if len(planes) > 1 else 4.0
    figure = new_figure(1.0 + (width + 0.45) * len(planes), 0.35 + row_height(grid, planes, width))
    row = figure.subplots(1, len(planes), squeeze=False)[0]
    norm = linear_norm(*(values[cut.index] for cut in planes))
    for axes, cut in zip(row, planes, strict=True):
        mesh = draw_map(axes, grid, cut, values, norm, SEQUENTIAL)
        draw_interfaces(axes, cut, interfaces)
    add_colour_bar(figure, mesh, list(row), name)
    return figure
