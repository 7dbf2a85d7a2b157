"""One look for all pictures, and the only place that writes them."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from pdesolve.atomic import FilePath, replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
SEQUENTIAL, DIVERGING, MAGNITUDE, TIMES = "viridis", "RdBu_r", "magma", "plasma"
INK, MUTED, FAINT = "#222222", "#6b6b6b", "#e4e4e4"
# Okabe and Ito's colours, told apart with any colour vision; the pale yellow is left out.
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c4b8b")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of its own, unknown to pyplot.

    Arguments:
        width, height: inches; multiply by ``DPI`` for pixels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write_png(figure: Figure, path: FilePath) -> str:
    """Write a figure; the file appears whole or not at all, and replaces one of its name.

    Returns:
        The path.

    Raises:
        ValueError: a path that does not end in ``.png``.
        OSError: a place that cannot be written.
    """
    name = os.fspath(path)
    if not name.lower().endswith(".png"):
        raise ValueError(f"{name!r}: pictures are PNG; give a name that ends in .png")
    buffer = io.BytesIO()
    # Without the program's version the same picture is the same bytes.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    with replacing(name, overwrite=True) as file:
        file.write(buffer.getvalue())
    return name


def plain(text: str) -> str:
    """Text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def set_title(axes: Axes, text: str) -> None:
    """A title above the left edge."""
    axes.set_title(plain(text), loc="left", fontsize=10, color=INK)


def set_heading(figure: Figure, text: str) -> None:
    """The heading of the whole figure."""
    figure.suptitle(plain(text), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)


def label_axes(axes: Axes, horizontal: str, vertical: str) -> None:
    """Name both axes and set the ticks of every picture alike."""
    axes.set_xlabel(plain(horizontal), fontsize=9, color=INK)
    axes.set_ylabel(plain(vertical), fontsize=9, color=INK)
    axes.tick_params(which="both", labelsize=8, color=MUTED, labelcolor=INK)
    axes.tick_params(length=3)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
        spine.set_linewidth(0.6)


def style_curves(axes: Axes) -> None:
    """A faint grid behind curves, no frame above and to the right."""
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def add_legend(axes: Axes) -> None:
    """A legend where it covers least."""
    axes.legend(fontsize=8, facecolor="white", edgecolor="none", framealpha=0.75, loc="best")


def add_legend_beside(axes: Axes, title: str = "") -> None:
    """A legend to the right of the axes."""
    axes.legend(
        title=title,
        fontsize=8,
        title_fontsize=8,
        frameon=False,
        alignment="left",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
    )
