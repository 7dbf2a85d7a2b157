"""Results files come back bit for bit, open in VTK, survive crashes, and bad ones are refused in one line."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.field import Field
from pdesolve.results import ResultsFileError, info, load, save
from pdesolve.results.codec import digest
from pdesolve.results.layout import cells
from pdesolve.solution import Solution

ROOT = Path(__file__).resolve().parents[1]
INTEGERS = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}


def make_grid(shape: dict[str, int], *, uniform: bool, bounded: bool = True) -> StructuredGrid:
    box = Box(tuple(shape), (-1.0,) * len(shape), (math.pi,) * len(shape))
    if uniform:
        grid = StructuredGrid.uniform(box, tuple(shape.values()))
    else:
        strengths = {"t": "initial", "x": "left", "y": "top", "z": "back"}
        grid = StructuredGrid.graded(box, tuple(shape.values()), {strengths[axis]: 1.5 for axis in shape})
    return grid if bounded else StructuredGrid(grid.axes, grid.nodes)


def make_solution(
    grid: StructuredGrid,
    *,
    batch: int = 1,
    names: tuple[str, ...] = ("u",),
    dtype: torch.dtype = torch.float64,
) -> Solution:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(batch, len(names), *grid.shape, generator=generator, dtype=torch.float64).to(dtype)
    special = math.nan if dtype.itemsize > 2 else math.inf  # torch changes the bits of a 16-bit NaN by itself
    values.view(-1)[:2] = torch.tensor([special, -0.0]).to(dtype)
    return Solution(
        Field(values, grid, names),
        status=torch.randint(0, 6, (batch, 3), generator=generator),
        stats={
            "seconds": torch.rand(batch, generator=generator),
            "ok / not": torch.ones(batch, 2, dtype=torch.bool),
        },
        parameters={"ν": torch.rand(batch, generator=generator, dtype=torch.float64)},
        interfaces={"x": (0.1, 1 / 3)},
        provenance={
            "problem": {"pde": "Burgers", "ν": 0.1},
            "seed": 3,
            "versions": ["a", None, True, 1e-300],
        },
    )


@pytest.fixture
def solution() -> Solution:
    return make_solution(make_grid({"t": 3, "x": 5}, uniform=True), batch=2)


@pytest.fixture
def saved(tmp_path: Path, solution: Solution) -> Path:
    path = tmp_path / "run.vtkhdf"
    save(solution, path)
    return path


def same_bits(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.contiguous().view(INTEGERS[a.element_size()]), b.contiguous().view(INTEGERS[b.element_size()]))


def assert_same(a: Solution, b: Solution) -> None:
    assert same_bits(a.field.values, b.field.values)
    assert a.field.names == b.field.names
    assert a.field.grid.axes == b.field.grid.axes
    assert a.field.grid.bounds == b.field.grid.bounds
    assert all(same_bits(x, y) for x, y in zip(a.field.grid.nodes, b.field.grid.nodes, strict=True))
    assert same_bits(a.status, b.status)
    for mine, other in ((a.stats, b.stats), (a.parameters, b.parameters)):
        assert list(mine) == list(other)
        assert all(same_bits(mine[name], other[name]) for name in mine)
    assert dict(a.interfaces) == dict(b.interfaces)
    assert a.provenance == b.provenance


def refused(path: Path, *words: str) -> None:
    """Both readers refuse the file, in one line that has these words."""
    for read in (load, info):
        with pytest.raises(ResultsFileError) as caught:
            read(path)
        message = str(caught.value)
        assert "\n" not in message
        assert all(word in message for word in (path.name, "expected", "got", *words)), message


# ---------------------------------------------------------------------------------------------- round trip


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(2, 5), min_size=1, max_size=3),
    time=st.one_of(st.none(), st.integers(2, 4)),
    batch=st.integers(1, 3),
    names=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3, unique=True),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    uniform=st.booleans(),
    bounded=st.booleans(),
)
def test_round_trip_is_bit_equal(
    counts: list[int],
    time: int | None,
    batch: int,
    names: list[str],
    dtype: torch.dtype,
    uniform: bool,
    bounded: bool,
) -> None:
    shape = {"t": time} if time else {}
    grid = make_grid(shape | dict(zip("xyz", counts, strict=False)), uniform=uniform, bounded=bounded)
    solution = make_solution(grid, batch=batch, names=tuple(names), dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        save(solution, Path(folder) / "a.vtkhdf")
        assert_same(load(Path(folder) / "a.vtkhdf"), solution)
        assert os.listdir(folder) == ["a.vtkhdf"]


def test_gradients_strides_and_scalars_do_not_matter(tmp_path: Path) -> None:
    grid = make_grid({"y": 3, "z": 4}, uniform=False)
    values = torch.randn(4, 3, 1, 2, dtype=torch.float64, requires_grad=True).permute(3, 2, 1, 0)
    stats = {"total": torch.tensor(3.5), "none": torch.empty(2, 0), "strided": torch.arange(6.0)[::2]}
    solution = Solution(Field(values, grid, ("u",)), torch.zeros(2, 1, dtype=torch.int32), stats=stats)
    save(solution, tmp_path / "a.vtkhdf")
    assert_same(load(tmp_path / "a.vtkhdf"), solution)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path, solution: Solution) -> None:
    for name in ("a.vtkhdf", "b.vtkhdf"):
        save(solution, tmp_path / name)
    assert (tmp_path / "a.vtkhdf").read_bytes() == (tmp_path / "b.vtkhdf").read_bytes()


def test_values_are_stored_once(tmp_path: Path) -> None:
    solution = make_solution(make_grid({"t": 40, "x": 500}, uniform=True))
    save(solution, tmp_path / "a.vtkhdf")
    assert (tmp_path / "a.vtkhdf").stat().st_size < 8 * 40 * 500 + 20_000


def test_solution_saves_itself(tmp_path: Path, solution: Solution) -> None:
    solution.save(str(tmp_path / "a.vtkhdf"))
    assert_same(load(tmp_path / "a.vtkhdf"), solution)


def test_info_reads_no_values(saved: Path, solution: Solution) -> None:
    with h5py.File(saved, "r+") as file:
        file["/VTKHDF/PointData/u_0000"][...] = 0
    found = info(saved)
    assert found["fields"] == ["u"]
    assert found["shape"] == {"t": 3, "x": 5}
    assert (found["batch"], found["patches"], found["dtype"]) == (2, 3, "float64")
    assert sum(found["status"].values()) == 6
    assert found["provenance"] == solution.provenance
    json.dumps(found)


# ---------------------------------------------------------------------------------------------- VTK


def vtk_steps(path: Path) -> list[tuple[float | None, Any]]:
    """Time and data set of every step, as VTK's own reader gives them."""
    reader = pytest.importorskip("vtkmodules.vtkIOHDF").vtkHDFReader()
    execution = pytest.importorskip("vtkmodules.vtkCommonExecutionModel")
    keys = execution.vtkStreamingDemandDrivenPipeline
    reader.SetFileName(str(path))
    assert reader.CanReadFile(str(path))
    reader.UpdateInformation()
    information = reader.GetOutputInformation(0)
    steps = []
    for i in range(information.Length(keys.TIME_STEPS())):
        time = information.Get(keys.TIME_STEPS(), i)
        reader.UpdateTimeStep(time)
        copy = reader.GetOutputDataObject(0).NewInstance()
        copy.DeepCopy(reader.GetOutputDataObject(0))
        steps.append((time, copy))
    if not steps:
        reader.Update()
        steps.append((None, reader.GetOutputDataObject(0)))
    return steps


def vtk_points(data: Any) -> np.ndarray:
    return np.array([data.GetPoint(i) for i in range(data.GetNumberOfPoints())])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("uniform", [True, False], ids=["uniform", "graded"])
@pytest.mark.parametrize("axes", ["tx", "txy", "txyz", "x", "xy", "xyz", "ty", "txz", "yz"])
def test_vtk_reads_it(tmp_path: Path, axes: str, uniform: bool, dtype: torch.dtype) -> None:
    to_numpy = pytest.importorskip("vtkmodules.util.numpy_support").vtk_to_numpy
    grid = make_grid(dict(zip(axes, (3, 5, 4, 2), strict=False)), uniform=uniform)
    solution = make_solution(grid, batch=2, names=("u", "p"), dtype=dtype)
    save(solution, tmp_path / "a.vtkhdf")
    steps = vtk_steps(tmp_path / "a.vtkhdf")
    assert [time for time, _ in steps] == (grid.axis_nodes("t").tolist() if "t" in axes else [None])
    coordinates = grid.coordinates()
    for step, (_, data) in enumerate(steps):
        assert data.GetClassName() == ("vtkImageData" if uniform else "vtkUnstructuredGrid")
        pick: Callable[[Tensor], Tensor] = (lambda v, i=step: v[i]) if "t" in axes else (lambda v: v)
        expected = np.zeros((data.GetNumberOfPoints(), 3))
        for axis in axes.replace("t", ""):
            reverse = pick(coordinates[axis]).permute(*reversed(range(len(axes.replace("t", "")))))
            expected[:, "xyz".index(axis)] = reverse.reshape(-1)
        np.testing.assert_allclose(vtk_points(data), expected, rtol=1e-14, atol=1e-14)
        for case in range(2):
            for component, name in enumerate(("u", "p")):
                values = pick(solution.field.values[case, component])
                reverse = values.permute(*reversed(range(values.ndim))).reshape(-1).numpy()
                np.testing.assert_array_equal(to_numpy(data.GetPointData().GetArray(f"{name}_000{case}")), reverse)


@pytest.mark.parametrize(("counts", "measure"), [((5,), 2), ((5, 4), 6), ((5, 4, 3), 24)])
def test_vtk_cells_fill_the_box(tmp_path: Path, counts: tuple[int, ...], measure: int) -> None:
    filters = pytest.importorskip("vtkmodules.vtkFiltersVerdict").vtkCellSizeFilter()
    to_numpy = pytest.importorskip("vtkmodules.util.numpy_support").vtk_to_numpy
    axes = tuple("xyz"[: len(counts)])
    box = Box(axes, (0.0,) * len(counts), tuple(float(n) for n in (2, 3, 4)[: len(counts)]))
    grid = StructuredGrid.graded(box, counts, {"left": 2.0})
    save(make_solution(grid), tmp_path / "a.vtkhdf")
    filters.SetInputData(vtk_steps(tmp_path / "a.vtkhdf")[0][1])
    filters.Update()
    sizes = filters.GetOutput().GetCellData()
    name = ("Length", "Area", "Volume")[len(counts) - 1]
    cell_sizes = to_numpy(sizes.GetArray(name))
    assert cell_sizes.min() > 0  # inverted cells have a negative volume
    assert cell_sizes.sum() == pytest.approx(measure, rel=1e-6)


def test_cells_of_a_square() -> None:
    assert cells([3, 2]).tolist() == [[0, 1, 4, 3], [1, 2, 5, 4]]


# ---------------------------------------------------------------------------------------------- writing


def test_existing_file_is_refused_without_overwrite(saved: Path, solution: Solution) -> None:
    before = saved.read_bytes()
    with pytest.raises(FileExistsError, match="allow overwriting"):
        save(solution, saved)
    assert saved.read_bytes() == before
    save(make_solution(make_grid({"x": 4}, uniform=True)), saved, overwrite=True)
    assert load(saved).field.grid.axes == ("x",)


def test_a_file_made_meanwhile_is_not_replaced(
    tmp_path: Path, solution: Solution, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.vtkhdf"
    link = os.link

    def slow_link(source: str, target: str) -> None:
        path.write_text("the other run's")
        link(source, target)

    monkeypatch.setattr(os, "link", slow_link)
    with pytest.raises(FileExistsError, match="another process"):
        save(solution, path)
    assert path.read_text() == "the other run's"
    assert os.listdir(tmp_path) == ["a.vtkhdf"]


def test_without_hard_links_it_is_renamed(tmp_path: Path, solution: Solution, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_link)
    save(solution, tmp_path / "a.vtkhdf")
    assert_same(load(tmp_path / "a.vtkhdf"), solution)
    assert os.listdir(tmp_path) == ["a.vtkhdf"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_places_that_cannot_be_written(tmp_path: Path, solution: Solution, overwrite: bool) -> None:
    (tmp_path / "folder.vtkhdf").mkdir()
    (tmp_path / "dangling.vtkhdf").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.vtkhdf")
    cases: list[tuple[str, type[Exception], str]] = [
        ("folder.vtkhdf", IsADirectoryError, "it is a folder"),
        ("missing/a.vtkhdf", FileNotFoundError, "create the folder"),
        ("a.h5", ValueError, "ends in .vtkhdf"),
        ("a\0.vtkhdf", ValueError, "NUL"),
        ("x" * 256 + ".vtkhdf", OSError, "too long"),
        ("pipe.vtkhdf", OSError, "no regular file" if overwrite else "exists"),
        ("dangling.vtkhdf", OSError, "no regular file" if overwrite else "exists"),
    ]
    before = sorted(os.listdir(tmp_path))
    for name, kind, message in cases:
        with pytest.raises(kind, match=message):
            save(solution, tmp_path / name, overwrite=overwrite)
    assert sorted(os.listdir(tmp_path)) == before


def test_folder_without_permission(tmp_path: Path, solution: Solution, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:  # root may write anywhere
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    else:
        tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="no permission for the folder"):
        save(solution, tmp_path / "a.vtkhdf")


def test_new_file_has_the_mode_of_the_umask(tmp_path: Path, solution: Solution) -> None:
    before = os.umask(0o027)
    try:
        save(solution, tmp_path / "a.vtkhdf")
    finally:
        os.umask(before)
    assert (tmp_path / "a.vtkhdf").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name", ["b" * 248 + ".vtkhdf", "π ≈ 3;'\"\n\\.vtkhdf", os.fsdecode(b"\xff\xfe.vtkhdf"), ".vtkhdf"]
)
def test_odd_file_names(tmp_path: Path, solution: Solution, name: str) -> None:
    folder = tmp_path / os.fsdecode(b"\xe9 folder")
    folder.mkdir()
    save(solution, folder / name)
    assert_same(load(folder / name), solution)
    (folder / name).write_bytes(b"")
    with pytest.raises(ResultsFileError) as caught:
        load(folder / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("room", [0, 100, 3000, 20_000])
def test_full_disk_leaves_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, room: int) -> None:
    from pdesolve import atomic

    class Full(atomic.PatientFile):
        left = room

        def write(self, data: Any) -> int:
            self.left -= len(memoryview(data).cast("B"))
            if self.left < 0 and self.error is None:
                self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    before = saved.read_bytes()
    monkeypatch.setattr(atomic, "PatientFile", Full)
    large = make_solution(make_grid({"t": 40, "x": 200}, uniform=True))
    for path in (saved, tmp_path / "new.vtkhdf"):
        with pytest.raises(OSError, match="No space left on device; free some space") as caught:
            save(large, path, overwrite=True)
        assert caught.value.errno == errno.ENOSPC
    assert saved.read_bytes() == before
    assert os.listdir(tmp_path) == [saved.name]


# Real failures of the kernel's, where HDF5 alone crashes the process; stdout is a pipe and has no limit.
LIMITED = """
import os, resource, signal, sys
from pdesolve.results import load, save
solution = load(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (0, 500, 3000, 6000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save(solution, sys.argv[2])
    except OSError as error:
        assert "free some space" in str(error), error
        assert os.listdir(os.path.dirname(sys.argv[2])) == [], limit
    else:
        raise AssertionError(limit)
"""


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_writes_that_the_kernel_refuses(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run = python(LIMITED, str(saved), str(tmp_path / "out" / "a.vtkhdf"))
    assert run.returncode == 0, run.stderr


# A child saves over one file again and again, and is killed after a random while.
KILLED = """
import os, random, signal, sys, time
import torch
from pdesolve.field import Field
from pdesolve.results import load, save
from pdesolve.solution import Solution
base, path, chance = load(sys.argv[1]), sys.argv[2], random.Random(0)
for round in range(6):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for i in range(10**6):
            field = Field(torch.full_like(base.field.values, float(i)), base.field.grid, base.field.names)
            save(Solution(field, base.status), path, overwrite=True)
            os.write(writer, b".")
    os.read(reader, 1)
    time.sleep(chance.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    values = load(path).field.values
    assert (values == values[0, 0, 0, 0]).all()
print(int(values[0, 0, 0, 0]), "saves")
"""


def test_killed_writer_leaves_a_readable_file(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run = python(KILLED, str(saved), str(tmp_path / "out" / "a.vtkhdf"))
    assert run.returncode == 0, run.stderr
    load(tmp_path / "out" / "a.vtkhdf")


@pytest.mark.parametrize(
    ("provenance", "where"),
    [
        ({"a": [1, {"b": torch.ones(1)}]}, r"\['a'\]\[1\]\['b'\] is a Tensor"),
        ({"a": {1: 2}}, "keys must be strings"),
        ({"a": b"x"}, "is a bytes"),
    ],
)
def test_provenance_that_json_cannot_hold(
    tmp_path: Path, solution: Solution, provenance: dict[str, Any], where: str
) -> None:
    with pytest.raises(TypeError, match=where):
        save(Solution(solution.field, solution.status, provenance=provenance), tmp_path / "a.vtkhdf")
    assert os.listdir(tmp_path) == []


def test_provenance_that_holds_itself(tmp_path: Path, solution: Solution) -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(ValueError, match="nested more than"):
        save(Solution(solution.field, solution.status, provenance=loop), tmp_path / "a.vtkhdf")


def test_complex_stats_are_refused(tmp_path: Path, solution: Solution) -> None:
    stats = {"eigenvalues": torch.ones(2, dtype=torch.complex128)}
    with pytest.raises(TypeError, match="eigenvalues has dtype"):
        save(Solution(solution.field, solution.status, stats=stats), tmp_path / "a.vtkhdf")
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize(
    ("start", "found"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n" + b"0" * 99, "a PNG picture"),
        (b"PK\x03\x04" + b"0" * 99, "ZIP archive"),
        (b"\x80\x04\x95", "pickle"),
        (b"<?xml version='1.0'?>", "an XML file"),
        (b"0" * 99, "starts with"),
        (b"\x89HDF\r\n\x1a\n", "damaged or truncated"),
        (b"\x89HDF\r\n\x1a\n" + b"\xff" * 500, "damaged or truncated"),
    ],
)
def test_not_hdf5(tmp_path: Path, start: bytes, found: str) -> None:
    (tmp_path / "a.vtkhdf").write_bytes(start)
    refused(tmp_path / "a.vtkhdf", found)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.vtkhdf")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "a pipe")


def test_truncated_anywhere(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole) - 1, 701):
        saved.write_bytes(whole[:length])
        with pytest.raises(ResultsFileError):
            load(saved)


def test_flipped_bits_never_pass_unnoticed(saved: Path, solution: Solution) -> None:
    whole = saved.read_bytes()
    generator = np.random.default_rng(0)
    noticed = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        saved.write_bytes(damaged)
        try:
            loaded = load(saved)
        except ResultsFileError:
            noticed += 1
        else:  # gaps, and what only ParaView reads
            assert_same(loaded, solution)
    assert noticed > 50


def test_flipped_bit_in_the_values(saved: Path) -> None:
    with h5py.File(saved) as file:
        offset = file["/VTKHDF/PointData/u_0001"].id.get_offset()
    whole = bytearray(saved.read_bytes())
    whole[offset + 17] ^= 4
    saved.write_bytes(whole)
    with pytest.raises(ResultsFileError, match="checksum of /VTKHDF/PointData/u_0001"):
        load(saved)


def test_foreign_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.vtkhdf", "w") as file:
        file.create_group("VTKHDF")
    refused(tmp_path / "a.vtkhdf", "VTKHDF", "/pdesolve")
    with h5py.File(tmp_path / "b.vtkhdf", "w") as file:
        file.create_group("pdesolve")
    refused(tmp_path / "b.vtkhdf", "schema")
    with h5py.File(tmp_path / "c.vtkhdf", "w") as file:
        file["pdesolve"] = np.ones(3)
    refused(tmp_path / "c.vtkhdf", "/pdesolve")


def put_external_link(file: h5py.File, path: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["u"] = np.ones((3, 5))
    file[path] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/u")


def put_soft_cycle(file: h5py.File, path: str, tmp_path: Path) -> None:
    file["/a"], file["/b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")
    file[path] = h5py.SoftLink("/a")


def put_virtual(file: h5py.File, path: str, tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((3, 5), dtype="<f8")
    layout[...] = h5py.VirtualSource("/etc/passwd", "u", (3, 5))
    file.create_virtual_dataset(path, layout)


def put_external_storage(file: h5py.File, path: str, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(bytes(120))
    file.create_dataset(path, (3, 5), dtype="<f8", external=[(str(tmp_path / "raw"), 0, 120)])


def put_bomb(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, data=np.zeros((3, 5)), chunks=(3, 5), compression="gzip")


def put_unknown_filter(file: h5py.File, path: str, tmp_path: Path) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((3, 5))
    properties.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple((3, 5))
    h5py.h5d.create(file.id, path.encode(), h5py.h5t.IEEE_F64LE, space, properties)


def put_fill_value(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, (3, 5), dtype="<f8", fillvalue=1.0)


def put_huge(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, (10**6, 10**6), dtype="<f8")


def put_text(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, data=[["x"] * 5] * 3, dtype=h5py.string_dtype())


def put_records(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, data=np.zeros((3, 5), dtype=[("a", "<f8"), ("b", "<i4")]))


def put_references(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, (3, 5), dtype=h5py.ref_dtype)


def put_big_endian(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, data=np.ones((3, 5), dtype=">f8"))


def put_integers(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, data=np.ones((3, 5), dtype="<i8"))


def put_complex(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_dataset(path, data=np.ones((3, 5), dtype=complex))


def put_group(file: h5py.File, path: str, tmp_path: Path) -> None:
    file.create_group(path)
    file[path]["itself"] = file[path]


def put_nothing(file: h5py.File, path: str, tmp_path: Path) -> None:
    pass


Put = Callable[[h5py.File, str, Path], None]


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (put_external_link, ("link", "ExternalLink")),
        (put_soft_cycle, ("link", "SoftLink")),
        (put_virtual, ("virtual",)),
        (put_external_storage, ("external storage",)),
        (put_bomb, ("compressed", "h5repack")),
        (put_unknown_filter, ("chunked",)),
        (put_fill_value, ("0 bytes",)),
        (put_huge, ("1000000",)),
        (put_text, ("type",)),
        (put_records, ("type", "records")),
        (put_references, ("type",)),
        (put_big_endian, ("type", ">f8")),
        (put_integers, ("type", "int64")),
        (put_complex, ("type",)),
        (put_group, ("no data",)),
        (put_nothing, ("nothing of that name",)),
    ],
)
def test_hostile_data_is_refused(saved: Path, tmp_path: Path, put: Put, words: tuple[str, ...]) -> None:
    path = "/VTKHDF/PointData/u_0001"
    with h5py.File(saved, "r+") as file:
        del file[path]
        put(file, path, tmp_path)
    with pytest.raises(ResultsFileError) as caught:
        load(saved)
    assert all(word in str(caught.value) for word in (path, *words)), caught.value


@pytest.mark.parametrize(
    "put", [put_external_link, put_soft_cycle, put_bomb, put_huge, put_text, put_group, put_nothing]
)
@pytest.mark.parametrize("path", ["/pdesolve/header", "/pdesolve/status", "/pdesolve/nodes/x"])
def test_hostile_metadata_is_refused(saved: Path, tmp_path: Path, put: Put, path: str) -> None:
    with h5py.File(saved, "r+") as file:
        del file[path]
        put(file, path, tmp_path)
    refused(saved, path)


def test_group_that_is_a_link(saved: Path, tmp_path: Path) -> None:
    shutil.copy(saved, tmp_path / "other.h5")
    with h5py.File(saved, "r+") as file:
        del file["pdesolve"]
        file["pdesolve"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/pdesolve")
    refused(saved, "not a results file")


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the header as a liar would: with a checksum that fits."""
    with h5py.File(path, "r+") as file:
        header = json.loads(bytes(file["/pdesolve/header"][()]))
        changed = change(header)
        text = changed if isinstance(changed, bytes) else json.dumps(header).encode()
        del file["/pdesolve/header"]
        file.create_dataset("/pdesolve/header", data=np.bytes_(text))
        file["pdesolve"].attrs["sha256"] = np.bytes_(digest(np.frombuffer(text, dtype=np.uint8)))


def set_in(where: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        for record in header[where] if isinstance(header[where], list) else [header[where]]:
            record[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda header: header.update(batch=10**12), "1000000000000 cases"),
        (lambda header: header.update(batch=-1), "batch"),
        (lambda header: header.update(batch=True), "batch"),
        (lambda header: header.update(fields=["u", "v"]), "number of arrays"),
        (lambda header: header.update(fields=[1]), "fields"),
        (lambda header: header.update(values=[], batch=0), "types of the values"),
        (lambda header: header.update(axes=["x", "t"]), "order"),
        (lambda header: header.update(axes=["x"]), "nodes"),
        (lambda header: header.update(bounds=[[0, 1]]), "box"),
        (lambda header: header.update(bounds=[[5, 6], [5, 6]]), "outside"),
        (lambda header: header.update(status=None), "status"),
        (lambda header: header.update(provenance=[]), "provenance"),
        (lambda header: header.update(interfaces={"x": ["a"]}), "numbers"),
        (lambda header: header.pop("nodes"), "nodes"),
        (set_in("nodes", "path", "/pdesolve/status"), "/pdesolve/status"),
        (set_in("nodes", "shape", [10**12]), "1000000000000"),
        (set_in("nodes", "shape", [-3]), "count"),
        (set_in("nodes", "dtype", "object"), "unknown dtype"),
        (set_in("status", "sha256", "0" * 64), "checksum"),
        (lambda header: b"[" * 100_000, "nested too deeply"),
        (lambda header: b"\xff\xfe", "bad header"),
        (lambda header: b"[1, 2]", "expected an object"),
        (lambda header: b'{"batch": 1' + b"0" * 9999, "bad header"),
    ],
)
def test_lying_header_is_refused(saved: Path, change: Callable[[dict[str, Any]], Any], word: str) -> None:
    rewrite_header(saved, change)
    refused(saved, word)


def test_one_data_set_does_not_stand_for_a_thousand(saved: Path) -> None:
    def alias(header: dict[str, Any]) -> None:
        header.update(batch=1000, values=[header["values"][0]] * 1000)

    rewrite_header(saved, alias)
    with pytest.raises(ResultsFileError, match="at most"):
        load(saved)


def test_wrong_status_shape_is_refused(saved: Path) -> None:
    rewrite_header(saved, lambda header: header.update(status=header["parameters"][0]))
    with pytest.raises(ResultsFileError, match="status has shape"):
        load(saved)


@pytest.mark.parametrize(("schema", "word"), [(3, "upgrade"), (2, "schema"), (0, "unknown schema"), (2**62, "upgrade")])
def test_other_schema(saved: Path, schema: int, word: str) -> None:
    with h5py.File(saved, "r+") as file:
        file["pdesolve"].attrs.create("schema", schema, dtype="<i8")
    refused(saved, word)


@pytest.mark.parametrize("value", ["text", [1, 2], 1.5])
def test_schema_of_another_type(saved: Path, value: Any) -> None:
    with h5py.File(saved, "r+") as file:
        file["pdesolve"].attrs["schema"] = value
    refused(saved, "schema")
