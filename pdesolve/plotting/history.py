"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pdesolve.atomic import FilePath
from pdesolve.plotting.style import (
    CYCLE,
    add_legend_beside,
    label_axes,
    new_figure,
    plain,
    set_heading,
    style_curves,
    write_png,
)

LINES = ("-", "--", ":", "-.")


def plot_history(
    history: Mapping[str, Sequence[float]],
    path: FilePath,
    *,
    steps: Sequence[float] | None = None,
    title: str = "training",
) -> str:
    """Draw labelled losses on a logarithmic axis; values that are zero, negative or not finite leave gaps.

    Arguments:
        history: label -> one value for each record.
        path: a ``.png`` file, replaced if it exists.
        steps: at which step each record was taken (default 1, 2, 3, ...).
        title: heading (default ``"training"``).

    Returns:
        The path.

    Raises:
        ValueError: no curves, lengths that differ from ``steps``, or a path that is no ``.png``.
    """
    if not history:
        raise ValueError("the history holds no curves: give at least one label with its values")
    figure = new_figure(8.0, 4.2)
    axes = figure.subplots()
    for i, (label, values) in enumerate(history.items()):
        curve = np.asarray(values, dtype=np.float64)
        where = np.arange(1, len(curve) + 1) if steps is None else np.asarray(steps, dtype=np.float64)
        if where.shape != curve.shape:
            raise ValueError(f"history {label!r} has {len(curve)} values for {len(where)} steps")
        shown = np.where(np.isfinite(curve) & (curve > 0), curve, np.nan)
        colour, line = CYCLE[i % len(CYCLE)], LINES[i // len(CYCLE) % len(LINES)]
        last = f"{curve[-1]:.1e}" if len(curve) else "empty"
        mark = "o" if np.isfinite(shown).sum() == 1 else ""
        text = plain(f"{label}  {last}")
        axes.plot(where, shown, line, marker=mark, color=colour, linewidth=1.4, label=text)
    axes.set_yscale("log")
    label_axes(axes, "step", "loss")
    style_curves(axes)
    add_legend_beside(axes, title="last value")
    set_heading(figure, title)
    return write_png(figure, path)
