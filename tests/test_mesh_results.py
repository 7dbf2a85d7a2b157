"""Values on meshes: fields, results files that VTK opens and that come back bit for bit, pictures, the command line."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import skfem
import torch

from pdesolve.cli.main import main
from pdesolve.domains import MeshInTime, SimplexMesh, graph_decomposition, surface
from pdesolve.field import Field
from pdesolve.plotting import plot_comparison, plot_field, plot_patches
from pdesolve.results import ResultsFileError, info, load, save
from pdesolve.solution import Solution

MADE: dict[str, Callable[[], SimplexMesh]] = {
    "triangles": lambda: SimplexMesh.from_skfem(skfem.MeshTri().refined(2).with_defaults()),
    "quadratic triangles": lambda: SimplexMesh.from_skfem(skfem.MeshTri2.init_circle(2).with_defaults()),
    "tetrahedra": lambda: SimplexMesh.from_skfem(
        skfem.MeshTet().refined(1).with_defaults().with_subdomains({"lower": lambda x: x[2] < 0.5})
    ),
    "quadratic tetrahedra": lambda: SimplexMesh.from_skfem(skfem.MeshTet2.from_mesh(skfem.MeshTet()).with_defaults()),
    "triangles in space": lambda: surface(SimplexMesh.from_skfem(skfem.MeshTet().refined(1)))[0],
}
VTK_CELLS = {"triangles": 5, "quadratic triangles": 22, "tetrahedra": 10, "quadratic tetrahedra": 24}


@pytest.fixture(params=list(MADE), name="mesh")
def mesh_(request: pytest.FixtureRequest) -> SimplexMesh:
    return MADE[request.param]()


def solution_on(grid: SimplexMesh | MeshInTime, batch: int = 1, names: tuple[str, ...] = ("u",)) -> Solution:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(batch, len(names), *grid.shape, generator=generator, dtype=torch.float64)
    return Solution(Field(values, grid, names), torch.ones(batch, 4, dtype=torch.int64), provenance={"by": "test"})


@pytest.mark.parametrize("times", [None, torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)])
def test_a_solution_comes_back_bit_for_bit(mesh: SimplexMesh, times: torch.Tensor | None, tmp_path: Path) -> None:
    grid = mesh if times is None else MeshInTime(mesh, times)
    given = solution_on(grid, batch=2, names=("u", "v"))
    given.field.values[0, 0].view(-1)[0] = math.nan
    given.save(tmp_path / "a.vtkhdf")
    found = load(tmp_path / "a.vtkhdf")
    assert torch.equal(found.field.values.view(torch.int64), given.field.values.view(torch.int64))
    if times is not None:
        assert isinstance(found.field.grid, MeshInTime)
        assert torch.equal(found.field.grid.times, times)
    back = found.field.grid.mesh if isinstance(found.field.grid, MeshInTime) else found.field.grid
    assert isinstance(back, SimplexMesh)
    assert torch.equal(back.points, mesh.points)
    assert torch.equal(back.cells, mesh.cells)
    assert set(back.boundaries) == set(mesh.boundaries)
    assert set(back.subdomains) == set(mesh.subdomains)
    for name in mesh.boundaries:
        assert torch.equal(back.boundary_nodes(name), mesh.boundary_nodes(name))
    for name in mesh.subdomains:
        assert torch.equal(back.subdomain(name), mesh.subdomain(name))


@pytest.mark.parametrize("name", VTK_CELLS)
def test_vtk_opens_the_file(name: str, tmp_path: Path) -> None:
    vtk = pytest.importorskip("vtkmodules.vtkIOHDF")
    numpy_support = pytest.importorskip("vtkmodules.util.numpy_support")
    mesh = MADE[name]()
    given = solution_on(MeshInTime(mesh, torch.tensor([1.0, 3.0], dtype=torch.float64)))
    save(given, tmp_path / "a.vtkhdf")
    reader = vtk.vtkHDFReader()
    reader.SetFileName(str(tmp_path / "a.vtkhdf"))
    for step in (0, 1):
        reader.SetStep(step)
        reader.Update()
        data = reader.GetOutputDataObject(0)
        assert (data.GetNumberOfPoints(), data.GetNumberOfCells()) == (mesh.n_nodes, mesh.n_cells)
        assert {data.GetCellType(i) for i in range(mesh.n_cells)} == {VTK_CELLS[name]}
        values = numpy_support.vtk_to_numpy(data.GetPointData().GetArray("u"))
        np.testing.assert_array_equal(values, given.field.values[0, 0, step].numpy())
    ids = data.GetCell(3).GetPointIds()
    assert [ids.GetId(i) for i in range(ids.GetNumberOfIds())] == mesh.cells[3].tolist()


def test_a_field_that_does_not_fit_is_refused(mesh: SimplexMesh) -> None:
    with pytest.raises(ValueError, match=f"a mesh of {mesh.n_nodes} nodes"):
        Field(torch.zeros(1, 1, mesh.n_nodes + 1), mesh, ("u",))
    timed = MeshInTime(mesh, torch.tensor([0.0, 1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match="in time"):
        Field(torch.zeros(1, 1, mesh.n_nodes), timed, ("u",))
    assert Field(torch.zeros(2, 1, 2, mesh.n_nodes), timed, ("u",)).case(1).grid is timed


@pytest.mark.parametrize("times", [[], [0.0, 0.0], [1.0, 0.0], [0.0, math.nan], [[0.0]]])
def test_times_have_to_rise(times: list[float]) -> None:
    with pytest.raises(ValueError, match="times must"):
        MeshInTime(MADE["triangles"](), torch.tensor(times, dtype=torch.float64))
    with pytest.raises(TypeError, match="float64"):
        MeshInTime(MADE["triangles"](), torch.zeros(1))


def test_a_damaged_mesh_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vtkhdf"
    for member, message in (("Connectivity", "checksum"), ("Points", "checksum")):
        save(solution_on(MADE["tetrahedra"]()), path, overwrite=True)
        with h5py.File(path, "r+") as file:
            file[f"VTKHDF/{member}"][3] = 7
        with pytest.raises(ResultsFileError, match=message):
            load(path)
        with pytest.raises(ResultsFileError, match=message):
            info(path)


def test_the_command_line_tells_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh = MADE["tetrahedra"]()
    timed = MeshInTime(mesh, torch.tensor([0.0, 1.0], dtype=torch.float64))
    save(solution_on(timed), tmp_path / "a.vtkhdf")
    assert main(["info", str(tmp_path / "a.vtkhdf")]) == 0
    said = capsys.readouterr().out
    for words in (f"2 times, {mesh.n_nodes} nodes", f"{mesh.n_cells} tetrahedra", "left (8)", "lower ("):
        assert words in said
    assert main(["info", "--json", str(tmp_path / "a.vtkhdf")]) == 0
    assert json.loads(capsys.readouterr().out)["mesh"]["kind"] == "tetrahedra"
    assert main(["plot", str(tmp_path / "a.vtkhdf"), "--out", str(tmp_path)]) == 0
    assert Path(capsys.readouterr().out.strip()).stat().st_size > 10_000


def test_pictures_are_drawn(mesh: SimplexMesh, tmp_path: Path) -> None:
    given = solution_on(mesh)
    exact = given.field.values.clone()
    given.field.values[0, 0, 0] = math.nan  # a grey place, no warning
    values = given.field.values[0, 0]
    if mesh.dimension == mesh.space_dimension:
        plot_patches(graph_decomposition(mesh, 3), tmp_path / "patches.png")
    plot_field(given, tmp_path / "field.png")
    titles = ("ours", "reference", "error")
    plot_comparison(values, exact[0, 0] + 0.1, mesh, titles, tmp_path / "comparison.png")
    for path in tmp_path.glob("*.png"):
        assert path.stat().st_size > 10_000
    with pytest.raises(ValueError, match="that of the mesh"):
        plot_comparison(values[1:], values[1:], mesh, titles, tmp_path / "b.png")


def test_a_field_of_nothing_finite_is_drawn(tmp_path: Path) -> None:
    for kind in ("triangles", "tetrahedra"):
        mesh = MADE[kind]()
        field = Field(torch.full((1, 1, mesh.n_nodes), math.inf), mesh, ("u",))
        picture = tmp_path / f"{kind}.png"
        plot_field(Solution(field, torch.ones(1, 1, dtype=torch.int64)), picture)
        assert picture.stat().st_size > 5_000


def test_the_page_on_meshes_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = Path(__file__).resolve().parent
    shutil.copy(tests / "meshes" / "block_quadratic_41.msh", tmp_path / "part.msh")
    monkeypatch.chdir(tmp_path)
    page = (tests.parent / "docs" / "meshes.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(compile(code, "docs/meshes.md", "exec"), {})
    assert (tmp_path / "patches.png").exists()
