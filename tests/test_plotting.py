"""Pictures are PNG files of the right size with something on them, and matplotlib's global state stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.field import Field
from pdesolve.plotting import (
    plot_comparison,
    plot_field,
    plot_history,
    plot_interfaces,
    plot_methods,
    plot_residual,
)
from pdesolve.plotting.interfaces import jumps
from pdesolve.plotting.maps import checked, cuts, edges, magnitude_norm, signed_norm
from pdesolve.plotting.style import DPI, new_figure, write_png
from pdesolve.solution import Solution

ROOT = Path(__file__).resolve().parents[1]
TITLES = ("ours", "reference", "error")


def make_grid(axes: str, counts: tuple[int, ...] = (6, 12, 10, 8), *, uniform: bool = True) -> StructuredGrid:
    box = Box(tuple(axes), (0.0,) * len(axes), tuple(1.0 + i for i in range(len(axes))))
    shape = counts[: len(axes)]
    return StructuredGrid.uniform(box, shape) if uniform else StructuredGrid.graded(box, shape, {"left": 2.0})


def wave(grid: StructuredGrid) -> torch.Tensor:
    return torch.sin(sum(3 * values for values in grid.coordinates().values()))


def make_solution(grid: StructuredGrid, values: torch.Tensor | None = None) -> Solution:
    data = wave(grid) if values is None else values
    return Solution(
        Field(torch.stack([data, 2 * data])[:, None], grid, ("u",)),
        torch.tensor([[0, 0], [0, 2]]),
        parameters={"ν": torch.tensor([0.1, 0.2])},
        interfaces={grid.axes[-1]: (0.5,)},
    )


def check_picture(path: Path | str, inches: tuple[float, float] | None = None) -> np.ndarray:
    """The pixels of a sound picture."""
    with open(path, "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"
    pixels = imread(path)
    if inches is not None:
        assert pixels.shape[:2] == (round(inches[1] * DPI), round(inches[0] * DPI))
    assert 300 < pixels.shape[0] < 3000
    assert 300 < pixels.shape[1] < 3000
    assert pixels[..., :3].std() > 0.02
    assert len(np.unique(pixels[::3, ::3, 0])) > 30
    return pixels


@pytest.fixture(autouse=True)
def untouched_matplotlib() -> Any:
    """No test here may change the user's settings or load pyplot's registry of figures."""
    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    yield
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


@pytest.mark.parametrize("axes", ["x", "tx", "xy", "txy", "xyz", "txyz", "xz"])
def test_field(tmp_path: Path, axes: str) -> None:
    solution = make_solution(make_grid(axes, uniform="z" in axes))
    path = plot_field(solution, tmp_path / "a.png", case=1)
    check_picture(path, {"x": (6.0, 3.6), "tx": (10.0, 3.8)}.get(axes))
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("axes", ["x", "tx", "txy"])
def test_comparison_and_residual(tmp_path: Path, axes: str) -> None:
    grid = make_grid(axes)
    exact = wave(grid)
    noise = 1e-3 * torch.randn(exact.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = {grid.axes[-1]: (0.5,)}
    more: dict[str, Any] = {"interfaces": places, "n_times": 2}
    check_picture(plot_comparison(exact + noise, exact, grid, TITLES, tmp_path / "c.png", **more))
    check_picture(plot_residual(noise, grid, tmp_path / "r.png", **more))


@pytest.mark.parametrize(("axes", "axis"), [("x", "x"), ("txy", "y")])
def test_interfaces(tmp_path: Path, axes: str, axis: str) -> None:
    grid = make_grid(axes)
    at = tuple(fraction * grid.box.extent(axis) for fraction in (0.5, 0.55))
    path = plot_interfaces(wave(grid), grid, {axis: at}, tmp_path / "i.png")
    check_picture(path, (10.0, 6.2))


def test_a_case_without_an_error_counts_as_failed(tmp_path: Path) -> None:
    """JSON has None where an error is not finite, as in the summary of a run."""
    rows = [{"method": m, "error": error} for m in "ab" for error in (1e-3, None, float("inf"))]
    check_picture(plot_methods(rows, tmp_path / "m.png"), (8.0, 1.3 + 0.62 * 2))


def test_history_and_methods(tmp_path: Path) -> None:
    history = {"total": [1.0, 0.1, 0.01], "residual": [0.5, float("nan"), 0.0], "one": [float("inf"), 1.0, -1.0]}
    check_picture(plot_history(history, tmp_path / "h.png"), (8.0, 4.2))
    rows = [{"method": m, "error": e, "case": 1} for m in ("a", "b") for e in (1e-3, 2e-3, float("nan"))]
    check_picture(plot_methods(rows, tmp_path / "m.png"), (8.0, 1.3 + 0.62 * 2))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda u: u * 0 + 7,
        lambda u: u * float("nan"),
        lambda u: torch.where(u > 0, u, float("inf")),
        lambda u: u * 1e300,
        lambda u: u * 1e-300,
    ],
    ids=["constant", "nan", "inf", "huge", "tiny"],
)
def test_hard_values(tmp_path: Path, spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
    grid, line = make_grid("tx"), make_grid("x")
    values = spoil(wave(grid))
    plot_comparison(values, values, grid, TITLES, tmp_path / "c.png")
    plot_interfaces(spoil(wave(line)), line, {"x": (0.5,)}, tmp_path / "i.png")
    norm = signed_norm(checked(values, grid, "r"))
    assert norm.vmax is not None
    assert 0 < norm.vmax < np.inf
    assert all(imread(path).std() > 0 for path in tmp_path.iterdir())


def test_any_float_tensor_is_taken() -> None:
    grid = make_grid("x")
    for values in (wave(grid).to(torch.float16), wave(grid).requires_grad_(), wave(grid).flip(0)):
        np.testing.assert_array_equal(checked(values, grid, "u"), values.detach().double().numpy())


def test_residual_with_holes(tmp_path: Path) -> None:
    grid = make_grid("tx")
    values = wave(grid)
    values[1, 2], values[3, 4], values[0] = torch.nan, torch.inf, 0.0
    check_picture(plot_residual(values, grid, tmp_path / "r.png"))


@pytest.mark.parametrize("name", ["$u$", "ν²_{\n", ""])
def test_names_are_not_mathematics(tmp_path: Path, name: str) -> None:
    grid = make_grid("tx")
    solution = Solution(Field(wave(grid)[None, None], grid, (name,)), torch.zeros(1, 1, dtype=torch.int64))
    plot_field(solution, tmp_path / "f.png", component=name)
    plot_methods([{"method": name, "error": 1.0}], tmp_path / "m.png", label=name, title=name)
    assert all((tmp_path / picture).stat().st_size > 2_000 for picture in ("f.png", "m.png"))


def test_same_data_is_the_same_file(tmp_path: Path) -> None:
    solution = make_solution(make_grid("x"))
    plot_field(solution, tmp_path / "a.png")
    plot_field(solution, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_map_shows_time_to_the_right_and_x_upwards(tmp_path: Path) -> None:
    grid = make_grid("tx", (20, 20))
    u = grid.coordinates()["t"] * 2 + grid.coordinates()["x"]  # lowest at the lower left
    pixels = check_picture(plot_field(make_solution(grid, u), tmp_path / "a.png"))
    brightness = pixels[..., :3].mean(axis=-1)
    height = pixels.shape[0]
    coloured = np.flatnonzero(pixels[height // 2, :, :3].std(axis=-1) > 0.05)
    left, right = coloured[0] + 20, coloured[np.flatnonzero(np.diff(coloured) > 10)[0]] - 20
    corner = {(y, x): brightness[y, x] for y in (height * 3 // 4, height // 4) for x in (left, right)}
    assert corner[height // 4, right] == max(corner.values())
    assert corner[height * 3 // 4, left] == min(corner.values())


def test_cells_reach_the_ends_of_the_domain() -> None:
    box = Box(("x", "y"), (0.0, 0.0), (1.0, 1.0))
    grid = StructuredGrid.cell_centred(box, (4, 5))
    assert edges(grid, "x") == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert [cut.axes for cut in cuts(make_grid("xyz"))] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [cut.title for cut in cuts(make_grid("txy"), 3)] == ["t = 0", "t = 0.4", "t = 1"]


def test_scales() -> None:
    errors = np.array([0.0, 1e-20, 1e-3, 1.0])
    assert (magnitude_norm(errors, 3).vmin, magnitude_norm(errors, 3).vmax) == (pytest.approx(1e-3), 1.0)
    signed = signed_norm(np.array([-1.0] * 999 + [1e6]))
    assert (signed.vmin, signed.vmax) == (pytest.approx(-1), pytest.approx(1))


def test_jumps_of_a_quadratic_are_exact() -> None:
    nodes = np.array([0.0, 0.1, 0.25, 0.4, 0.5, 0.62, 0.7, 0.9, 1.0])
    smooth = 1 + 2 * nodes + 3 * nodes**2
    broken = smooth + (nodes > 0.5) * (0.25 + 4 * (nodes - 0.5))
    broken[4] = 99.0  # the node on the interface belongs to no side
    value, slope = jumps(nodes, np.stack([smooth, broken]), 0.5)
    assert value == pytest.approx([0, 0.25], abs=1e-13)
    assert slope == pytest.approx([0, 4], abs=1e-12)


def test_wrong_arguments(tmp_path: Path) -> None:
    grid = make_grid("tx")
    solution, u, path = make_solution(grid), wave(grid), tmp_path / "a.png"
    wrong: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (IndexError, "case 2", lambda: plot_field(solution, path, case=2)),
        (ValueError, "unknown field 'v'", lambda: plot_field(solution, path, component="v")),
        (ValueError, "PNG", lambda: plot_field(solution, tmp_path / "a.pdf")),
        (ValueError, "values has shape", lambda: plot_comparison(u[1:], u, grid, TITLES, path)),
        (ValueError, "three titles", lambda: plot_comparison(u, u, grid, ("a",), path)),
        (ValueError, "the residual has shape", lambda: plot_residual(u.T, grid, path)),
        (ValueError, "no interfaces along", lambda: plot_interfaces(u, grid, {}, path)),
        (ValueError, "no interfaces along 't'", lambda: plot_interfaces(u, grid, {"t": (0.5,)}, path, axis="t")),
        (ValueError, "3 nodes on each side", lambda: plot_interfaces(u, grid, {"x": (0.01,)}, path)),
        (ValueError, "no curves", lambda: plot_history({}, path)),
        (ValueError, "for 3 steps", lambda: plot_history({"a": [1.0]}, path, steps=[1, 2, 3])),
        (ValueError, "no rows", lambda: plot_methods([], path)),
        (ValueError, "row 0 has the keys", lambda: plot_methods([{"method": "a"}], path)),
        (FileNotFoundError, "missing", lambda: plot_field(solution, tmp_path / "missing" / "a.png")),
    ]
    for kind, message, call in wrong:
        with pytest.raises(kind, match=message):
            call()
    assert os.listdir(tmp_path) == []


def test_failed_write_keeps_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_png(new_figure(3, 3), path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_pyplot_is_not_loaded(tmp_path: Path) -> None:
    program = f"""
import sys
import pdesolve.plotting, pdesolve.results
assert not {{"matplotlib", "h5py"}} & set(sys.modules)
from pdesolve.plotting import plot_history
plot_history({{"loss": [1, 0.1]}}, {str(tmp_path / "h.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
