"""PDEBench's layouts: what is written comes back bit for bit, and a file that is not what it seems is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from pdesolve.cli import main
from pdesolve.condition import AbstractCondition, Dirichlet, InitialCondition
from pdesolve.domains.geometry import Box, Interval, TimeInterval
from pdesolve.domains.grid import StructuredGrid
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.heat import Heat
from pdesolve.problem import Problem
from pdesolve.reference import diffusion_sorption_family, reference_solution
from pdesolve.results.hdf5 import ResultsFileError
from pdesolve.results.pdebench import (
    AbstractPDEBenchLayout,
    FlatLayout,
    PerSeedLayout,
    is_pdebench,
    pdebench_info,
    read_pdebench,
    write_pdebench,
)

ROOT = Path(__file__).resolve().parents[1]
AXES = {"1-D": ("t", "x"), "2-D": ("t", "x", "y"), "3-D": ("t", "x", "y", "z")}
NAMES = ("density", "Vx", "pressure")


def grid_of(axes: tuple[str, ...]) -> StructuredGrid:
    """Different numbers of nodes along all axes, whose ends float32 holds."""
    box = Box(axes, (0.0,) * len(axes), (1.0,) * len(axes))
    return StructuredGrid.cell_centred(box, tuple(2 ** (i + 1) for i in range(len(axes))))


def values_on(grid: StructuredGrid, batch: int = 3, components: int = 1) -> Tensor:
    return torch.randn(batch, components, *grid.shape, generator=torch.Generator().manual_seed(0))


def starts(pde: FunctionPDE) -> list[AbstractCondition]:
    return [InitialCondition(0.0, field=name) for name in pde.field_names]


def layout_for(kind: str, components: int) -> AbstractPDEBenchLayout:
    if kind == "per seed":
        return PerSeedLayout()
    return FlatLayout(NAMES[:components]) if components > 1 else FlatLayout()


KINDS = pytest.mark.parametrize("kind", ["per seed", "flat"])


@KINDS
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_a_round_trip_is_bit_equal(tmp_path: Path, kind: str, components: int, axes: tuple[str, ...]) -> None:
    grid = grid_of(axes)
    values = values_on(grid, components=components)
    path = tmp_path / "a.h5"
    write_pdebench(path, values, grid, layout_for(kind, components), config="sim:\n  D: 0.5\n")
    fields = NAMES[:components] if kind == "flat" and components > 1 else None
    found = read_pdebench(path, fields=fields)
    assert found.values.dtype == torch.float32
    assert torch.equal(found.values, values)
    assert found.samples == (0, 1, 2)
    assert set(found.configs) == {"sim:\n  D: 0.5\n"}
    assert found.grid.axes == axes
    for own, read in zip(grid.nodes, found.grid.nodes, strict=True):
        assert torch.equal(own, read)
    assert is_pdebench(path)
    assert pdebench_info(path)["shape"] == dict(zip(axes, grid.shape, strict=True))
    assert found.field.batch == 3


def test_the_order_of_axes_is_pdebenchs(tmp_path: Path) -> None:
    grid = grid_of(("t", "x", "y"))
    values = values_on(grid, components=2)
    write_pdebench(tmp_path / "a.h5", values, grid)
    write_pdebench(tmp_path / "b.h5", values, grid, FlatLayout(("p", "q")))
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        np.testing.assert_array_equal(a["0001/data"], values[1].permute(1, 2, 3, 0))
        assert a["0001/data"].dtype == "<f4"
        assert a["0001/grid/y"].shape == (8,)
        np.testing.assert_array_equal(b["q"], values[:, 1])
        assert sorted(b) == ["p", "q", "t-coordinate", "x-coordinate", "y-coordinate"]


def test_float64_values_are_rounded_and_gradients_do_not_matter(tmp_path: Path) -> None:
    grid = grid_of(("t", "x"))
    values = values_on(grid).double().add(1e-9).requires_grad_()
    write_pdebench(tmp_path / "a.h5", values, grid)
    assert torch.equal(read_pdebench(tmp_path / "a.h5").values, values.detach().float())


def test_samples_and_their_numbers(tmp_path: Path) -> None:
    grid = grid_of(("t", "x"))
    values = values_on(grid, batch=7)
    texts = [f"seed: {i}" for i in range(7)]
    write_pdebench(tmp_path / "a.h5", values, grid, PerSeedLayout(first=9998), config=texts)
    write_pdebench(tmp_path / "b.h5", values, grid, FlatLayout())
    with h5py.File(tmp_path / "a.h5") as file:
        assert {"9998", "9999", "10000"} <= set(file)  # sorted as numbers, not as text
    for chosen in (slice(None), slice(1, 6, 2), slice(-2, None), slice(3, 4)):
        seeds, flat = (read_pdebench(tmp_path / name, chosen) for name in ("a.h5", "b.h5"))
        assert torch.equal(seeds.values, values[chosen])
        assert torch.equal(flat.values, values[chosen])
        assert seeds.samples == tuple(9998 + i for i in range(7)[chosen])
        assert seeds.configs == tuple(texts[chosen])


def as_pdebench_writes(path: Path, values: Tensor) -> None:
    """Chunked and packed by LZF as 1D_diff-sorp_NA_NA.h5 is, float32 coordinates at cell centres."""
    with h5py.File(path, "w") as file:
        for seed, sample in enumerate(values):
            group = file.create_group(f"{seed:04d}")
            group.create_dataset("data", data=sample.permute(1, 2, 0).numpy(), dtype="float32", compression="lzf")
            n_t, n_x = sample.shape[1:]
            x, t = (np.arange(n_x) + 0.5) / n_x, np.linspace(0, 500, n_t)
            group.create_dataset("grid/x", data=x, dtype="float32", compression="lzf")
            group.create_dataset("grid/t", data=t, dtype="float32", compression="lzf")
            group.attrs["config"] = "sim:\n  D: 5E-4\n  n_f: 0.874\n  tdim: 501\n"


def test_a_file_as_pdebench_itself_writes_it(tmp_path: Path) -> None:
    values = torch.full((2, 1, 101, 1024), 0.1)
    as_pdebench_writes(tmp_path / "a.h5", values)
    found = read_pdebench(tmp_path / "a.h5", slice(1), problem=diffusion_sorption_family())
    assert torch.equal(found.values, values[:1])
    assert found.names == ("u",)
    assert found.grid.box.bounds("x") == (0.0, 1.0)  # not the first centre
    assert float(found.grid.axis_nodes("x")[0]) == 1 / 2048


def test_flat_times_may_hold_the_end_of_the_last_step(tmp_path: Path) -> None:
    values = values_on(grid_of(("t", "x")), batch=2)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["tensor"] = values[:, 0].numpy()
        file["x-coordinate"] = ((np.arange(4) + 0.5) / 4).astype("f4")
        file["t-coordinate"] = np.array([0.0, 0.01, 0.02], dtype="f4")
    found = read_pdebench(tmp_path / "a.hdf5")
    assert found.names == ("tensor",)
    assert len(found.grid.axis_nodes("t")) == 2
    assert torch.equal(found.values, values)


def test_other_data_sets_beside_the_fields_are_left_out_on_request(tmp_path: Path) -> None:
    grid = grid_of(("t", "x"))
    write_pdebench(tmp_path / "a.h5", values_on(grid), grid, FlatLayout())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["nu"] = np.ones((3, 4), dtype="f4")
    with pytest.raises(ResultsFileError, match=r"/nu|/tensor.*fields="):
        read_pdebench(tmp_path / "a.h5")
    assert read_pdebench(tmp_path / "a.h5", fields=["tensor"]).values.shape == (3, 1, 2, 4)


def test_the_problem_orders_the_fields(tmp_path: Path) -> None:
    pde = FunctionPDE(lambda f, c, p: (f.q.t + f.p.x, f.p.t + f.q.x), ("q", "p"))
    problem = Problem(pde, Interval(0, 1) * TimeInterval(0, 1), starts(pde))
    grid = StructuredGrid.uniform(problem.domain, (3, 5))
    values = values_on(grid, components=2)
    write_pdebench(tmp_path / "a.h5", values, grid, FlatLayout(("p", "q")))
    found = read_pdebench(tmp_path / "a.h5", problem=problem)
    assert found.names == ("q", "p")
    assert torch.equal(found.values, values.flip(1))


def test_what_float32_rounds_out_of_the_domain_is_put_back(tmp_path: Path) -> None:
    problem = Problem(Heat(), Interval(0.1, 0.7) * TimeInterval(0, 0.3), [InitialCondition(0.0), Dirichlet(0.0)])
    assert float(np.float32(0.1)) > 0.1
    assert float(np.float32(0.3)) > 0.3
    grid = StructuredGrid.uniform(problem.domain, (3, 5))
    write_pdebench(tmp_path / "a.h5", values_on(grid), grid)
    assert read_pdebench(tmp_path / "a.h5", problem=problem).grid.box == problem.domain


# ------------------------------------------------------------------------------------------------ writing


GRID = grid_of(("t", "x"))
STEADY = grid_of(("x",))
GOOD = values_on(GRID)


@pytest.mark.parametrize(
    ("values", "grid", "layout", "config", "match"),
    [
        (GOOD[:, 0], GRID, None, (), "shape"),
        (GOOD.mT, GRID, None, (), "shape"),
        (GOOD[:0], GRID, None, (), "shape"),
        (values_on(STEADY), STEADY, None, (), "time axis"),
        (GOOD * torch.nan, GRID, None, (), "case 0 are not finite"),
        (GOOD.double() * 1e39, GRID, None, (), "finite in float32"),
        (GOOD, GRID, FlatLayout(("a", "b")), (), "1 components for the data sets a, b"),
        (GOOD, GRID, FlatLayout(), ["a", "b", "c"], "PerSeedLayout"),
        (GOOD, GRID, None, ["a", "b"], "2 configurations for 3 samples"),
        (GOOD, GRID, None, "a\0b", "NUL"),
    ],
)
def test_what_does_not_fit_is_not_written(
    tmp_path: Path, values: Tensor, grid: StructuredGrid, layout: Any, config: Any, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        write_pdebench(tmp_path / "a.h5", values, grid, layout, config=config)
    assert os.listdir(tmp_path) == []


def test_nodes_that_float32_cannot_tell_apart(tmp_path: Path) -> None:
    nodes = torch.tensor([1.0, 1.0 + 1e-9], dtype=torch.float64)
    with pytest.raises(ValueError, match="float32"):
        write_pdebench(tmp_path / "a.h5", torch.ones(1, 1, 2, 2), StructuredGrid(("t", "x"), (nodes, nodes)))


def test_wrong_types(tmp_path: Path) -> None:
    for arguments in ((GOOD.int(), GRID), (GOOD.numpy(), GRID), (GOOD, GRID, "flat")):
        with pytest.raises(TypeError):
            write_pdebench(tmp_path / "a.h5", *arguments)
    with pytest.raises(TypeError, match="one text"):
        write_pdebench(tmp_path / "a.h5", GOOD, GRID, config=[1])  # type: ignore[list-item]
    for names in ((), ("a", "a"), ("a/b",), ("x-coordinate",), ("0000",), ("",)):
        with pytest.raises(ValueError, match="got"):
            FlatLayout(names)
    with pytest.raises(ValueError, match="first"):
        PerSeedLayout(-1)


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID)
    with pytest.raises(FileExistsError):
        write_pdebench(path, 2 * GOOD, GRID)
    assert torch.equal(read_pdebench(path).values, GOOD)
    write_pdebench(path, 2 * GOOD, GRID, overwrite=True)
    assert torch.equal(read_pdebench(path).values, 2 * GOOD)


KILLED = """
import sys
import torch
from pdesolve.results.pdebench import read_pdebench, write_pdebench
found = read_pdebench(sys.argv[1])
print("ready", flush=True)
for i in range(10**6):
    write_pdebench(sys.argv[1], torch.full_like(found.values, float(i)), found.grid, overwrite=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(path)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    for _ in range(200):  # readable at any moment while it is written anew
        found = read_pdebench(path).values
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    found = read_pdebench(path).values
    assert bool((found == found.flatten()[0]).all())
    assert float(found.flatten()[0]) == int(found.flatten()[0]), "nothing was written before the kill"


# ------------------------------------------------------------------------------------------------ bad files


Change = Callable[[h5py.File, Path], None]


def replaced(path: str, array: Any) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        if path in file:
            del file[path]
        file[path] = array

    return change


def without(path: str) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        del file[path]

    return change


def external(path: str) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        del file[path]
        with h5py.File(folder / "secret.h5", "w") as other:
            other["u"] = np.ones((2, 4, 1), dtype="f4")
        file[path] = h5py.ExternalLink(str(folder / "secret.h5"), "/u")

    return change


def virtual(path: str) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        shape = file[path].shape
        del file[path]
        layout = h5py.VirtualLayout(shape, dtype="<f4")
        layout[...] = h5py.VirtualSource("/etc/passwd", "u", shape)
        file.create_virtual_dataset(path, layout)

    return change


def huge(path: str, shape: tuple[int, ...], **options: Any) -> Change:
    """A data set that claims terabytes of fill values."""

    def change(file: h5py.File, folder: Path) -> None:
        del file[path]
        file.create_dataset(path, shape, dtype="f4", fillvalue=1.0, **options)

    return change


def partly(path: str) -> Change:
    """Chunks that were never written."""

    def change(file: h5py.File, folder: Path) -> None:
        shape = file[path].shape
        del file[path]
        data = file.create_dataset(path, shape, dtype="f4", chunks=(1,) * len(shape), compression="lzf")
        data[(0,) * len(shape)] = 1.0

    return change


def unknown_filter(path: str) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        del file[path]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((2, 4, 1))
        properties.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, (1,))
        space = h5py.h5s.create_simple((2, 4, 1))
        h5py.h5d.create(file.id, path.encode(), h5py.h5t.IEEE_F32LE, space, properties)

    return change


def nan_at(path: str, index: tuple[int, ...]) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        file[path][index] = np.nan

    return change


def attribute(value: Any) -> Change:
    def change(file: h5py.File, folder: Path) -> None:
        file["0001"].attrs["config"] = value

    return change


DATA, TIMES = "0001/data", np.array([0.25, 0.75], dtype="f4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(DATA), ("no /0001/data",)),
        (without("0001/grid"), ("no /0001/grid/t",)),
        (without("0001/grid/x"), ("no /0001/grid/x",)),
        (replaced(DATA, np.ones((2, 5, 1), "f4")), ("/0001/grid/x", "(5,)", "(4,)")),
        (replaced(DATA, np.ones((4, 2, 1), "f4")), ("/0001/grid/t",)),
        (replaced(DATA, np.ones((2, 4, 2), "f4")), ("sample 0001", "share")),
        (replaced(DATA, np.ones((2, 4, 4, 1), "f4")), ("no /0001/grid/y",)),
        (replaced(DATA, np.ones((2, 4), "f4")), ("component",)),
        (replaced(DATA, np.ones((2, 4, 1), "f8")), ("sample 0001", "float64")),
        (replaced(DATA, np.ones((2, 4, 1), "i4")), ("float32 or float64", "int32")),
        (replaced(DATA, np.ones((2, 4, 1), "f2")), ("float32 or float64", "float16")),
        (replaced(DATA, np.ones((2, 4, 1), "c8")), ("float32", "complex64")),
        (replaced(DATA, np.full((2, 4, 1), b"x")), ("float32",)),
        (nan_at(DATA, (1, 2, 0)), ("NaN or Inf in 1 of 3 samples, the first 1",)),
        (replaced("0001/grid/y", TIMES), ("y besides",)),
        (replaced("0001/grid/t", TIMES[::-1]), ("rise strictly",)),
        (replaced("0001/grid/t", TIMES[[0, 0]]), ("rise strictly",)),
        (replaced("0001/grid/t", TIMES * np.nan), ("finite",)),
        (replaced("0001/grid/t", TIMES - 1.0), ("none below zero",)),
        (replaced("0001/grid/t", TIMES + 1.0), ("sample 0001", "grid")),
        (external(DATA), ("ExternalLink",)),
        (external("0001/grid/x"), ("ExternalLink",)),
        (virtual(DATA), ("virtual",)),
        (huge(DATA, (10**6, 10**6, 1)), ("storage", "0 bytes")),
        (huge(DATA, (10**6, 10**6, 1), chunks=(100, 100, 1), compression="gzip"), ("storage", "0 bytes")),
        (huge("0001/grid/x", (10**12,)), ("storage", "0 bytes")),
        (partly(DATA), ("storage",)),
        (unknown_filter(DATA), ("filter", "32999")),
        (replaced("tensor", np.ones((3, 2, 4), "f4")), ("both layouts",)),
        (attribute(np.ones(3)), ("config", "text")),
        (attribute("x" * (1 << 20) + "y"), ("config", "1 MiB")),
    ],
)
def test_a_bad_sample_is_refused(tmp_path: Path, change: Change, words: tuple[str, ...]) -> None:
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID)
    with h5py.File(path, "r+") as file:
        change(file, tmp_path)
    with pytest.raises(ResultsFileError) as caught:
        read_pdebench(path)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (without("x-coordinate"), "no /x-coordinate"),
        (without("t-coordinate"), "no /t-coordinate"),
        (without("tensor"), "not a PDEBench file"),
        (replaced("t-coordinate", np.arange(4, dtype="f4")), "(2,) or (3,)"),
        (replaced("x-coordinate", np.arange(5, dtype="f4")), "(4,)"),
        (replaced("tensor", np.ones((3, 2, 4, 2), "f4")), "y-coordinate"),
        (replaced("tensor", np.ones((3, 4), "f4")), "(batch, t, x)"),
        (replaced("tensor", np.ones((0, 2, 4), "f4")), "(batch, t, x)"),
        (replaced("tensor", np.ones((3, 2, 4), "i8")), "int64"),
        (huge("tensor", (10**4, 10**4, 10**4)), "0 bytes"),
        (external("tensor"), "ExternalLink"),
        (nan_at("tensor", (2, 0, 0)), "the first 2"),
    ],
)
def test_a_bad_flat_file_is_refused(tmp_path: Path, change: Change, word: str) -> None:
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID, FlatLayout())
    with h5py.File(path, "r+") as file:
        change(file, tmp_path)
    with pytest.raises(ResultsFileError) as caught:
        read_pdebench(path)
    assert word in str(caught.value), caught.value


def test_no_more_than_allowed_is_read(tmp_path: Path) -> None:
    """Many samples that are one data set: each is there, all together are larger than the file."""
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID)
    with h5py.File(path, "r+") as file:
        for i in range(3, 2000):
            file[f"{i:04d}"] = file["0000"]
    with pytest.raises(ResultsFileError, match=r"64000 bytes.*samples=slice"):
        read_pdebench(path, max_bytes=32 * 100)
    assert read_pdebench(path, slice(100), max_bytes=32 * 100).values.shape == (100, 1, 2, 4)
    bomb = tmp_path / "b.h5"
    with h5py.File(bomb, "w") as file:
        file.create_dataset("tensor", data=np.zeros((1, 1000, 4000), "f4"), chunks=(1, 1000, 4000), compression="gzip")
        file["t-coordinate"], file["x-coordinate"] = np.arange(1000, dtype="f4"), np.arange(4000, dtype="f4")
    with pytest.raises(ResultsFileError, match="chunk"):
        read_pdebench(bomb, max_bytes=1000)
    assert os.path.getsize(bomb) < 100_000


def test_samples_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID)
    for samples in (slice(3, 9), slice(2, 1), slice(None, None, -1)):
        with pytest.raises(ResultsFileError, match="samples"):
            read_pdebench(path, samples)
    with pytest.raises(TypeError, match="slice"):
        read_pdebench(path, 3)  # type: ignore[arg-type]
    with pytest.raises(ResultsFileError, match="leave fields out"):
        read_pdebench(path, fields=["u"])
    write_pdebench(tmp_path / "b.h5", GOOD, GRID, FlatLayout())
    for fields in (["u"], []):
        with pytest.raises(ResultsFileError, match="tensor"):
            read_pdebench(tmp_path / "b.h5", fields=fields)


def test_not_hdf5_truncated_and_foreign(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID)
    whole = path.read_bytes()
    for size in (0, 100, 2000, len(whole) - 40):
        path.write_bytes(whole[:size])
        with pytest.raises(ResultsFileError):
            read_pdebench(path)
    path.write_bytes(b"\x93NUMPY and so on")
    with pytest.raises(ResultsFileError, match="NumPy"):
        read_pdebench(path)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["weights"] = np.ones(3)
    assert not is_pdebench(tmp_path / "b.h5")
    with pytest.raises(ResultsFileError, match="not a PDEBench file"):
        read_pdebench(tmp_path / "b.h5")
    with pytest.raises(IsADirectoryError):
        read_pdebench(tmp_path)


# ------------------------------------------------------------------------------------------ other equations


def test_a_file_of_another_equation_is_refused(tmp_path: Path) -> None:
    family = diffusion_sorption_family()
    grid = StructuredGrid.cell_centred(family.problem.domain, (3, 4))
    write_pdebench(
        tmp_path / "a.h5", GOOD[:, :, [0, 1, 1]], grid, config="sim:\n  D: 5.0E-4 # m²/d\n  tdim: 501\n  u0: 0.3"
    )
    read_pdebench(tmp_path / "a.h5", problem=family)
    burgers = Problem(Burgers(), Interval(0, 1) * TimeInterval(0, 1), [InitialCondition(0.0), Dirichlet(0.0)])
    square = Problem(
        FunctionPDE(lambda f, c, p: f.u.t - f.u.xx - f.u.yy),
        Box(("t", "x", "y"), (0.0,) * 3, (500.0, 1.0, 1.0)),
        [InitialCondition(0.0), Dirichlet(0.0)],
    )
    pair = FunctionPDE(lambda f, c, p: (f.u.t - f.v.x, f.v.t - f.u.x), ("u", "v"))
    two = Problem(pair, family.problem.domain, starts(pair))
    for problem, words in (
        (burgers, "range of axis t"),
        (square, "axes t, x, y"),
        (two, "fields u, v"),
        (diffusion_sorption_family(D=1e-3), "D = 0.001.*5.0E-4"),
        (family.problem, "u0 = 0.1.*u0 = 0.3"),  # a problem is a family of one
    ):
        with pytest.raises(ResultsFileError, match=words):
            read_pdebench(tmp_path / "a.h5", problem=problem)


# -------------------------------------------------------------------------------------------- the command


def test_data_make_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is read back differs from the converged reference by the rounding to float32."""
    path = tmp_path / "d.h5"
    arguments = ["data", "make", "diffusion-sorption", "--cases", "2", "--times", "6", "--cells", "32", "--out"]
    assert main.main([*arguments, str(path)]) == 0
    assert capsys.readouterr().out.split() == [str(path)]
    family = diffusion_sorption_family()
    found = read_pdebench(path, problem=family)
    u0 = family.sample(2, torch.Generator().manual_seed(0))
    points = {axis: found.grid.axis_nodes(axis) for axis in ("t", "x")}
    exact = reference_solution(family.problem, u0, points)
    error = (found.values - exact).square().sum((1, 2, 3)).sqrt() / exact.square().sum((1, 2, 3)).sqrt()
    assert float(error.max()) < 1e-7
    assert [f"u0: {float(v)!r}" in text for v, text in zip(u0["u0"], found.configs, strict=True)] == [True, True]
    assert main.main([*arguments, str(tmp_path / "p.h5"), "--scheme", "pdebench", "--seed", "0"]) == 0
    theirs = read_pdebench(tmp_path / "p.h5").values.double()
    assert 1e-4 < float((theirs - exact).norm() / exact.norm()) < 0.1  # its first-order boundary on 32 cells
    assert main.main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "one group for each sample" in out
    assert "x: 32 nodes in [0.015625, 0.984375]" in out


def test_data_make_flat_at_the_default_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PDESOLVE_DATA", str(tmp_path / "made"))
    arguments = [
        "data",
        "make",
        "burgers",
        "--format",
        "pdebench-flat",
        "--cases",
        "3",
        "--times",
        "3",
        "--cells",
        "16",
    ]
    assert main.main(arguments) == 0
    path = tmp_path / "made" / "burgers.hdf5"
    assert capsys.readouterr().out.split() == [str(path)]
    found = read_pdebench(path)
    assert found.values.shape == (3, 1, 3, 16)
    assert "nu: [" in found.configs[0]
    assert main.main(["info", "--json", str(path)]) == 0
    assert '"PDEBench, flat"' in capsys.readouterr().out
    assert main.main(arguments) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["make", "burgerz"], 2, "did you mean 'burgers'"),
        (["make", "burgers", "--cases", "0"], 2, "--cases"),
        (["make", "burgers", "--cells", "2"], 2, "--cells"),
        (["make", "burgers", "--seed", "-1"], 2, "--seed"),
        (["make", "burgers", "--cases", "1000000"], 2, "fewer cases"),
        (["make", "burgers", "--scheme", "pdebench", "--out", "OUT/b.h5"], 2, "diffusion-sorption only"),
        (["make", "burgers", "--format", "netcdf"], 2, "invalid choice"),
        (["make", "burgers", "--out", "OUT/none/a.h5"], 2, "create the folder"),
        (["make"], 2, "NAME"),
        ([], 2, "ACTION"),
    ],
)
def test_data_make_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, word: str
) -> None:
    assert main.main(["data", *(a.replace("OUT", str(tmp_path)) for a in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert word in err
    assert err.count("\n") == 1


def test_info_of_a_broken_file_is_an_input_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.h5"
    write_pdebench(path, GOOD, GRID)
    with h5py.File(path, "r+") as file:
        del file["0000/grid/x"]
    assert main.main(["info", str(path)]) == 3
    assert "/0000/grid/x" in capsys.readouterr().err
