"""Maps of values on meshes: triangles in the plane, and the surface of tetrahedra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.atomic import FilePath
from pdesolve.domains.mesh_decomposition import MeshDecomposition
from pdesolve.domains.mesh_in_time import MeshInTime
from pdesolve.domains.mesh_parts import surface
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.plotting.maps import HUGE, Array, add_colour_bar, linear_norm
from pdesolve.plotting.style import SEQUENTIAL, label_axes, new_figure, set_heading, set_title, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

BAD = "#bdbdbd"
QUARTERS = ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5))
"""The four linear triangles that are drawn of a quadratic one."""


def plot_patches(decomposition: MeshDecomposition, path: FilePath) -> str:
    """Draw which patch each cell belongs to; of tetrahedra those at the surface.

    Arguments:
        decomposition: of a mesh.
        path: a ``.png`` file, replaced if it exists.

    Returns:
        The path.

    Raises:
        ValueError: a path that does not end in ``.png``.
    """
    from matplotlib.colors import Normalize

    mesh, owner = decomposition.mesh, decomposition.owner
    count = int(owner.max()) + 1
    shown, _, cell = shown_triangles(mesh)
    figure = new_figure(5.6, 4.8)
    axes = make_axes(figure, shown, (1, 1))[0]
    # neighbours in number are rarely neighbours in space, but a shuffle parts the colours of those that are
    colour = (np.arange(count) * 0.61803398875) % 1.0
    draw_cells(axes, shown, colour[owner.numpy()[cell.numpy()]], Normalize(0, 1), "turbo")
    set_heading(
        figure, f"{count} patches  ·  imbalance {decomposition.imbalance:.3f}  ·  {decomposition.edge_cut} facets cut"
    )
    return write_png(figure, path)


def mesh_figure(mesh: SimplexMesh | MeshInTime, values: Array, name: str, n_times: int = 4) -> Figure:
    """Maps of one unknown of one case, one for each of about ``n_times`` times.

    Arguments:
        mesh: where the values stand.
        values: (P,), or (T, P) in time.
        name: of the unknown.
        n_times: how many maps in time (default 4).
    """
    space, panels = panels_of(mesh, values, n_times)
    figure = new_figure(1.0 + 3.6 * len(panels), 3.6)
    shown, nodes, _ = shown_triangles(space)
    row = make_axes(figure, shown, (1, len(panels)))
    norm = linear_norm(*(part for _, part in panels))
    for axes, (title, part) in zip(row, panels, strict=True):
        drawn = draw_nodes(axes, shown, part[nodes.numpy()], norm, SEQUENTIAL)
        set_title(axes, title)
    add_colour_bar(figure, drawn, list(row), name)
    return figure


def panels_of(
    mesh: SimplexMesh | MeshInTime, values: Array, n_times: int
) -> tuple[SimplexMesh, list[tuple[str, Array]]]:
    """The mesh in space, and a title and (P,) values for each map."""
    if isinstance(mesh, SimplexMesh):
        return mesh, [("", values)]
    times = mesh.times.numpy()
    wanted = np.linspace(times[0], times[-1], max(2, n_times))
    steps = sorted({int(np.abs(times - time).argmin()) for time in wanted})
    return mesh.mesh, [(f"t = {times[step]:.3g}", values[step]) for step in steps]


def checked_values(values: Tensor, mesh: SimplexMesh | MeshInTime, what: str) -> Array:
    """Values as a float64 array of the mesh's shape; infinite beyond ±1e140.

    Raises:
        ValueError: another shape.
    """
    if tuple(values.shape) != mesh.shape:
        raise ValueError(f"{what} has shape {tuple(values.shape)}: {mesh.shape}, that of the mesh, is needed")
    array = values.detach().to("cpu", torch.float64)
    return np.asarray(torch.where(array.abs() > HUGE, array.sign() * torch.inf, array))


def shown_triangles(mesh: SimplexMesh) -> tuple[SimplexMesh, Tensor, Tensor]:
    """The triangles that are drawn, the node of ``mesh`` at each of their nodes, the cell behind each of them."""
    if mesh.dimension == 2:
        return mesh, torch.arange(mesh.n_nodes), torch.arange(mesh.n_cells)
    shown, nodes = surface(mesh)
    return shown, nodes, mesh.facets.cells[mesh.outer_facets(), 0]


def make_axes(figure: Figure, shown: SimplexMesh, shape: tuple[int, int]) -> list[Any]:
    """Axes in the plane or in space, row by row, equal scales."""
    solid = {"projection": "3d"} if shown.space_dimension == 3 else {}
    table = figure.subplots(*shape, squeeze=False, subplot_kw=solid)
    for axes in table.flat:
        label_axes(axes, "x", "y")
        axes.set_facecolor(BAD if not solid else "none")
        low, high = shown.points.amin(0).tolist(), shown.points.amax(0).tolist()
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        if solid:
            axes.set_zlim(low[2], high[2])
            axes.set_zlabel("z", fontsize=9)
            axes.tick_params(labelsize=7)
            axes.set_box_aspect([b - a or 1.0 for a, b in zip(low, high, strict=True)])
        else:
            axes.set_facecolor("white")
            axes.set_aspect("equal")
    return list(table.flat)


def draw_nodes(axes: Axes, shown: SimplexMesh, values: Array, norm: Normalize, cmap: str) -> Any:
    """Colour triangles by values at their nodes; those with a value that is not finite become grey."""
    import matplotlib

    triangles = linear_triangles(shown)
    colours = matplotlib.colormaps[cmap].with_extremes(bad=BAD)
    finite = np.isfinite(values[triangles]).all(1)
    if shown.space_dimension == 3:
        means = np.where(finite, np.where(np.isfinite(values), values, 0.0)[triangles].mean(1), np.nan)
        return _solid(axes, shown, triangles, means, norm, colours)
    if not finite.all():
        grey = np.zeros(int((~finite).sum()))
        axes.tripcolor(_triangulation(shown, triangles[~finite]), facecolors=grey, cmap=_grey(), edgecolors="none")
    drawn = axes.tripcolor(
        _triangulation(shown, triangles[finite] if finite.any() else triangles[:1]),
        np.where(np.isfinite(values), values, norm.vmin or 0.0),
        shading="gouraud",
        norm=norm,
        cmap=colours,
        rasterized=True,
    )
    drawn.set_visible(bool(finite.any()))
    return drawn


def draw_cells(axes: Axes, shown: SimplexMesh, values: Array, norm: Normalize, cmap: str) -> Any:
    """Colour triangles by one value each."""
    import matplotlib

    triangles = linear_triangles(shown)
    each = np.tile(values, len(triangles) // len(values))
    if shown.space_dimension == 3:
        return _solid(axes, shown, triangles, each, norm, matplotlib.colormaps[cmap])
    return axes.tripcolor(_triangulation(shown, triangles), facecolors=each, norm=norm, cmap=cmap, rasterized=True)


def linear_triangles(shown: SimplexMesh) -> Array:
    """(n, 3) nodes; a quadratic triangle gives four, the first of each, then the second, and so on."""
    cells = shown.cells.numpy()
    if shown.order == 1:
        return cells
    return np.concatenate([cells[:, list(quarter)] for quarter in QUARTERS])


def _triangulation(shown: SimplexMesh, triangles: Array) -> Any:
    from matplotlib.tri import Triangulation

    x, y = shown.points.numpy().T
    return Triangulation(x, y, triangles)


def _grey() -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([BAD])


def _solid(axes: Any, shown: SimplexMesh, triangles: Array, values: Array, norm: Normalize, cmap: Any) -> Any:
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    corners = shown.points.numpy()[triangles]
    # of a closed surface only what faces the viewer, edges not smoothed: what is behind would show through the seams
    up, round_ = np.deg2rad(axes.elev), np.deg2rad(axes.azim)
    towards = np.array([np.cos(up) * np.cos(round_), np.cos(up) * np.sin(round_), np.sin(up)])
    seen = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) @ towards > 0
    seen |= len(shown.outer_corners) > 0
    drawn = Poly3DCollection(corners[seen], cmap=cmap, norm=norm, linewidths=0.0, antialiased=False, rasterized=True)
    drawn.set_array(np.ma.masked_invalid(values[seen]))
    axes.add_collection3d(drawn)
    return drawn


def compare_on_mesh(
    arrays: tuple[Array, Array, Array],
    mesh: SimplexMesh | MeshInTime,
    titles: Sequence[str],
    name: str,
    n_times: int,
) -> Figure:
    """Field, reference and the logarithm of the error side by side; one row for each time."""
    from pdesolve.plotting.maps import floored, magnitude_norm
    from pdesolve.plotting.style import MAGNITUDE

    space, _ = panels_of(mesh, arrays[0], n_times)
    columns = [panels_of(mesh, array, n_times)[1] for array in arrays]
    rows = len(columns[0])
    shown, nodes, _ = shown_triangles(space)
    figure = new_figure(11.0, 0.35 + 3.4 * rows)
    table = np.array(make_axes(figure, shown, (rows, 3)), dtype=object).reshape(rows, 3)
    shared, scale = linear_norm(arrays[1]), magnitude_norm(arrays[2])
    for i in range(rows):
        for j, (norm, cmap) in enumerate(((shared, SEQUENTIAL), (shared, SEQUENTIAL), (scale, MAGNITUDE))):
            title, part = columns[j][i]
            part = floored(part, norm) if j == 2 else part
            drawn = draw_nodes(table[i, j], shown, part[nodes.numpy()], norm, cmap)
            set_title(table[i, j], "  ·  ".join(text for text in (titles[j] if i == 0 else "", title) if text))
            if j > 0:
                add_colour_bar(figure, drawn, [table[i, j]], name if j == 1 else f"|{name} - reference|")
    return figure
