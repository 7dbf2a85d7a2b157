"""Errors of several methods over many cases."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdesolve.atomic import FilePath
from pdesolve.plotting.maps import Array
from pdesolve.plotting.style import (
    CYCLE,
    INK,
    MUTED,
    label_axes,
    new_figure,
    plain,
    set_heading,
    style_curves,
    write_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_methods(
    rows: Sequence[Mapping[str, Any]],
    path: FilePath,
    *,
    value: str = "error",
    label: str = "relative L² error",
    title: str = "error by method",
) -> str:
    """Draw every case as a point, with quartiles and median of each method, on a logarithmic axis.

    Arguments:
        rows: one mapping for each method and case, with the keys ``"method"`` and ``value``; a method's rows
            whose value is not a positive finite number count as failed.
        path: a ``.png`` file, replaced if it exists.
        value: key of the number to draw (default ``"error"``).
        label: of the axis.
        title: heading.

    Returns:
        The path.

    Raises:
        ValueError: no rows, a row without one of the keys, or a path that is no ``.png``.
    """
    groups: dict[str, list[float]] = {}
    for i, row in enumerate(rows):
        if "method" not in row or value not in row:
            raise ValueError(f"row {i} has the keys {', '.join(row)}: 'method' and {value!r} are needed")
        groups.setdefault(str(row["method"]), []).append(_number(row[value]))
    if not groups:
        raise ValueError("there are no rows to draw")
    figure = new_figure(8.0, 1.3 + 0.62 * len(groups))
    axes = figure.subplots()
    axes.set_xscale("log")
    for i, errors in enumerate(groups.values()):
        _draw_group(axes, i, np.asarray(errors, dtype=np.float64), CYCLE[i % len(CYCLE)])
    axes.set_yticks(range(len(groups)), [plain(name) for name in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    label_axes(axes, label, "")
    style_curves(axes)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", labelsize=9, length=0)
    axes.margins(x=0.08)
    set_heading(figure, title)
    return write_png(figure, path)


def _number(value: Any) -> float:
    """NaN for what is none, such as the None that JSON has for an error that is not finite."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _draw_group(axes: Axes, place: int, errors: Array, colour: str) -> None:
    good = np.sort(errors[np.isfinite(errors) & (errors > 0)])
    note = f"n = {errors.size}" + (f", {errors.size - good.size} failed" if good.size < errors.size else "")
    if good.size:
        # Points side by side in a fixed pattern (golden ratio), so that the same data is the same picture.
        offsets = (np.arange(good.size) * 0.618034 % 1.0 - 0.5) * 0.42
        axes.plot(good, place + offsets, "o", color=colour, markersize=3.5, alpha=0.45, markeredgewidth=0)
        low, median, high = np.quantile(good, (0.25, 0.5, 0.75))
        axes.plot([low, high], [place, place], color=colour, linewidth=7, alpha=0.35, solid_capstyle="butt")
        axes.plot([median, median], [place - 0.27, place + 0.27], color=INK, linewidth=1.8)
        note = f"median {median:.1e}   {note}"
    place_note = axes.get_yaxis_transform()
    axes.text(1.01, place, note, transform=place_note, va="center", fontsize=8, color=MUTED)
