"""Mesh files: names are kept, and whatever is wrong with one is said in one line."""

from __future__ import annotations

import contextlib
import logging
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import meshio
import numpy as np
import pytest
import torch

from pdesolve.domains import MeshFileError, SimplexMesh, from_gmsh, from_meshio, read_mesh, read_surface

MESHES = Path(__file__).parent / "meshes"
GMSH = {
    "plate_41.msh": (2, 1, 28, 21),
    "plate_22.msh": (2, 1, 28, 21),
    "plate_quadratic_41_binary.msh": (2, 2, 28, 69),
    "block_41_binary.msh": (3, 1, 200, 78),
    "block_quadratic_41.msh": (3, 2, 48, 113),
    "block.inp": (3, 1, 48, 23),
}
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 0]], dtype=float)
CELLS = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
SPACE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=float)
TETRAHEDRA = np.array([[0, 1, 2, 3], [1, 2, 3, 4]])


def plate(**changes: Any) -> Any:
    parts: dict[str, Any] = {"points": POINTS, "cells": [("triangle", CELLS)]} | changes
    return meshio.Mesh(**parts)


def block() -> Any:
    left = np.array([[0, 1, 2]])
    return meshio.Mesh(
        SPACE,
        [("triangle", left), ("tetra", TETRAHEDRA)],
        cell_data={"part": [np.array([7]), np.array([1, 2])]},
    )


WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "text.vtu": lambda p, m: meshio.vtu.write(p, m, binary=False),
    "binary.vtu": lambda p, m: meshio.vtu.write(p, m, binary=True),
    "plain.vtu": lambda p, m: meshio.vtu.write(p, m, binary=True, compression=None),
    "text.vtk": lambda p, m: meshio.vtk.write(p, m, binary=False),
    "binary.vtk": lambda p, m: meshio.vtk.write(p, m, binary=True),
    "old.vtk": lambda p, m: meshio.vtk.write(p, m, fmt_version="4.2"),
    "hdf.xdmf": lambda p, m: meshio.xdmf.write(p, m),
    "text.xdmf": lambda p, m: meshio.xdmf.write(p, m, data_format="XML"),
    "mesh.inp": lambda p, m: meshio.abaqus.write(p, m),
}


@pytest.fixture(autouse=True)
def _within_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # meshio puts the data of an XDMF file into the current folder


def put(name: str, mesh: Any) -> Path:
    path = Path.cwd() / name
    WRITERS[name](path, mesh)
    return path


@pytest.mark.parametrize("name", GMSH)
def test_gmsh_s_own_files_keep_their_groups(name: str) -> None:
    mesh = read_mesh(MESHES / name)
    assert (mesh.dimension, mesh.order, mesh.n_cells, mesh.n_nodes) == GMSH[name]
    assert float(mesh.measures.sum()) == pytest.approx(2.0)
    assert {"inlet", "interface", "outlet"} <= set(mesh.boundaries)
    assert {"steel", "air", "all"} <= set(mesh.subdomains)
    assert not any(key.startswith("gmsh:") for key in (*mesh.boundaries, *mesh.subdomains))
    assert len(mesh.subdomain("all")) == mesh.n_cells
    for key, x in (("inlet", 0.0), ("interface", 1.0), ("outlet", 2.0)):
        at = mesh.points[mesh.boundary_nodes(key)]
        torch.testing.assert_close(at[:, 0], torch.full_like(at[:, 0], x))
        assert float(at[:, 1].amax() - at[:, 1].amin()) == 1.0
    assert bool((mesh.points[mesh.cells[mesh.subdomain("steel")]][..., 0] <= 1 + 1e-12).all())


def test_groups_without_a_name_have_their_number() -> None:
    mesh = read_mesh(MESHES / "plate_unnamed_41.msh")
    assert set(mesh.boundaries) == {"3", "4", "5"}
    assert {"1", "2"} <= set(mesh.subdomains)


@pytest.mark.parametrize("name", WRITERS)
def test_other_formats_give_the_same_cells(name: str) -> None:
    mesh = read_mesh(put(name, block()))
    assert (mesh.dimension, mesh.n_cells, mesh.n_nodes) == (3, 2, 5)
    torch.testing.assert_close(mesh.points, torch.from_numpy(SPACE))
    assert float(mesh.measures.sum()) == pytest.approx(0.5)
    if name != "mesh.inp":
        assert set(mesh.boundaries) == {"part=7"}
        assert {key: index.tolist() for key, index in mesh.subdomains.items()} == {"part=1": [0], "part=2": [1]}


def test_sets_of_nodes_name_the_facets_between_them() -> None:
    mesh = from_meshio(plate(point_sets={"bottom": np.array([0, 1]), "corner": np.array([2])}))
    assert set(mesh.boundaries) == {"bottom"}
    assert mesh.boundary_nodes("bottom").tolist() == [0, 1]


def test_stl_is_a_surface() -> None:
    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    for binary in (False, True):
        path = Path("part.stl")
        meshio.stl.write(path, meshio.Mesh(corner, [("triangle", faces)]), binary=binary)
        mesh = read_surface(path)
        assert (mesh.dimension, mesh.space_dimension, mesh.n_cells, mesh.n_nodes) == (2, 3, 4, 4)
        assert len(mesh.outer_facets()) == 0
        assert float(mesh.measures.sum()) == pytest.approx(1.5 + 3**0.5 / 2)
        with pytest.raises(MeshFileError, match="read_surface"):
            read_mesh(path)


def test_a_plane_off_zero_loses_its_z() -> None:
    mesh = from_meshio(plate(points=POINTS + np.array([0, 0, 3.5])))
    assert mesh.space_dimension == 2


def test_points_of_no_cell_go_and_inverted_cells_are_turned() -> None:
    points = np.concatenate([[[9.0, 9.0, 9.0]], POINTS])
    mesh = from_meshio(plate(points=points, cells=[("vertex", [[0]]), ("triangle", CELLS[:, [1, 0, 2]] + 1)]))
    assert mesh.n_nodes == 5
    assert bool((mesh.measures > 0).all())


def test_points_of_no_cell_may_be_anywhere() -> None:
    """Even at NaN; facets keep their nodes in the new numbers."""
    points = np.concatenate([[[np.nan] * 3], POINTS, [[0.0, 0.0, 5.0]]])
    cells = [("line", [[1, 2]]), ("triangle", CELLS + 1)]
    mesh = from_meshio(plate(points=points, cells=cells, cell_sets={"bottom": [[0], []]}))
    assert mesh.n_nodes == 5
    assert mesh.boundary_nodes("bottom").tolist() == [0, 1]
    lost = plate(points=points, cells=[("line", [[1, 6]]), cells[1]], cell_sets={"bottom": [[0], []]})
    with pytest.raises(ValueError, match="nodes that no cell uses"):
        from_meshio(lost)


def test_a_name_without_cells_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        from_meshio(plate(field_data={"outlet": np.array([4, 1])}))
    assert "outlet" in caplog.text


def hanging() -> Any:
    """Two small triangles beside a large one."""
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 0.5, 0], [1, 1, 0], [2, 0.5, 0]])
    return plate(points=points, cells=[("triangle", [[0, 1, 3], [1, 4, 2], [2, 4, 3]])])


def doubled() -> Any:
    points = np.concatenate([POINTS[:4], POINTS[[0, 2]]])
    return plate(points=points, cells=[("triangle", [[0, 1, 2], [4, 5, 3]])])


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "22 quadrilaterals": (lambda: plate(cells=[("quad", [[0, 1, 2, 3]])]), r"1 quad"),
    "23 out of range": (lambda: plate(cells=[("triangle", CELLS + 5)]), "0 to 4"),
    "23 from one": (lambda: plate(cells=[("triangle", CELLS + 1)]), "from 1 to 5.*subtract 1"),
    "23 facets of a set": (
        lambda: plate(cells=[("line", [[0, 1]]), ("triangle", CELLS)], cell_sets={"edge": [[7], []]}),
        "a set of facets must lie in 0 to 0",
    ),
    "23 boundary": (
        lambda: plate(cells=[("line", [[0, 9]]), ("triangle", CELLS)], cell_sets={"edge": [[0], []]}),
        "facets of 'edge' must lie in 0 to 4",
    ),
    "23 negative": (lambda: plate(cells=[("triangle", CELLS - 1)]), "got -1"),
    "24 NaN": (lambda: plate(points=np.where(POINTS == 0.5, np.nan, POINTS)), r"finite.*first 4|plane"),
    "24 infinite": (lambda: plate(points=np.where(POINTS == 0.5, np.inf, POINTS)), "finite"),
    "25 doubled nodes": (doubled, r"\[0, 4\].*merge_nodes"),
    "26 flat": (lambda: plate(points=POINTS * np.array([1, 0, 1])), "degenerate"),
    "26 a node twice": (lambda: plate(cells=[("triangle", [[0, 1, 1], [0, 1, 4]])]), "node twice"),
    "26 folded": (lambda: plate(cells=[("triangle", [[0, 1, 4], [0, 1, 2]])]), "same side"),
    "27 hanging node": (hanging, "node 2 hangs"),
    "28 no manifold": (lambda: plate(cells=[("triangle", [[0, 1, 4], [0, 1, 2], [0, 1, 3]])]), "no manifold"),
    "28 a cell twice": (lambda: plate(cells=[("triangle", CELLS[[0, 0]])]), "same side"),
    "28 facet of no cell": (
        lambda: plate(cells=[("line", [[0, 2]]), ("triangle", CELLS)], cell_sets={"cut": [[0], []]}),
        "facet 0 of boundary 'cut'.*no facet",
    ),
    "29 mixed": (lambda: plate(cells=[("triangle", CELLS[:2]), ("quad", [[0, 1, 2, 3]])]), "2 triangle, 1 quad"),
    "29 cubic": (lambda: plate(points=np.zeros((10, 3)), cells=[("triangle10", [list(range(10))])]), "triangle10"),
    "29 lines only": (lambda: plate(cells=[("line", [[0, 1]])]), "1 line"),
    "29 nothing": (lambda: plate(cells=[]), "no cells"),
    "31 overflow": (lambda: plate(cells=[("triangle", CELLS.astype(np.uint64) + np.uint64(2**63))]), "must lie in"),
    "32 z in the plane": (lambda: plate(points=POINTS + [0, 0, 1] * POINTS[:, :1]), "z = const.*read_surface"),
    "35 complex points": (lambda: plate(points=POINTS * 1j), "real numbers"),
    "35 fractions for nodes": (lambda: plate(cells=[("triangle", CELLS + 0.5)]), "whole numbers"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_meshes_are_refused(name: str) -> None:
    made, match = FAULTS[name]
    mesh = made()
    with pytest.raises(ValueError, match=match) as caught:
        from_meshio(mesh)
    assert "\n" not in str(caught.value)


def test_repairs_named_by_the_messages_work() -> None:
    from pdesolve.domains import merge_nodes

    mesh = doubled()
    points, cells, new = merge_nodes(
        torch.from_numpy(mesh.points[:, :2].copy()), torch.from_numpy(mesh.cells[0].data), 1e-6
    )
    assert len(points) == 4
    assert new.tolist() == [0, 1, 2, 3, 0, 2]
    assert float(SimplexMesh(points, cells).measures.sum()) == 1.0
    with pytest.raises(ValueError, match="positive"):
        merge_nodes(points, cells, 0.0)


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


VTU = """<VTKFile type="UnstructuredGrid" version="0.1" byte_order="LittleEndian"><UnstructuredGrid>
<Piece NumberOfPoints="{n}" NumberOfCells="1"><Points><DataArray type="Float64" NumberOfComponents="3" format="ascii">
0 0 0 1 0 0 0 1 0</DataArray></Points><Cells>
<DataArray type="Int64" Name="connectivity" format="ascii">0 1 2</DataArray>
<DataArray type="Int64" Name="offsets" format="ascii">3</DataArray><DataArray type="Int64" Name="types" format="ascii">5
</DataArray></Cells>{more}</Piece></UnstructuredGrid></VTKFile>"""
FIELD = '<PointData><DataArray type="Float64" Name="u" format="ascii">1 2</DataArray></PointData>'
BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
XDMF = """<Xdmf Version="3.0"><Domain><Grid><Geometry GeometryType="XY"><DataItem DataType="Float" Dimensions="3 2"
Format="{kind}" Precision="8">{where}</DataItem></Geometry></Grid></Domain></Xdmf>"""
FILES: dict[str, tuple[str, str | bytes, str]] = {
    "21 empty": ("a.msh", b"", "is empty"),
    "21 wrong magic": ("a.msh", b"\x89PNG\r\n\x1a\n" + bytes(99), "is not a Gmsh mesh"),
    "21 blank": ("a.vtu", b"\n\n\n", "is not a VTK XML file"),
    "22 another format": ("a.msh", VTU.format(n=3, more=""), "looks like a VTK XML file"),
    "22 unknown ending": ("a.mesh", b"x", "unknown ending '.mesh'"),
    "22 no ending": ("mesh", b"x", "unknown ending ''"),
    "30 a count of 1e12": ("a.vtu", VTU.format(n=10**12, more=""), "cannot be read"),
    "30 nodes of 1e12": (
        "a.msh",
        "$MeshFormat\n4.1 0 8\n$EndMeshFormat\n$Nodes\n1 1000000000000 1 1000000000000\n2 1 0 1000000000000\n1\n",
        "cannot be read",
    ),
    "33 length of a field": ("a.vtu", VTU.format(n=3, more=FIELD), "cannot be read"),
    "43 entities": ("a.vtu", BOMB + VTU.format(n=3, more=""), "entities"),
    "36 outside": ("a.xdmf", XDMF.format(kind="HDF", where="../../secret.h5:/data"), "outside of its folder"),
    "36 absolute": ("a.xdmf", XDMF.format(kind="Binary", where="/etc/passwd"), "outside of its folder"),
    "21 half an XML": ("a.xdmf", "<Xdmf Version='3.0'><Domain>", "no well-formed XML"),
    "21 facets missing": ("a.stl", b"solid a\nfacet normal 0 0 1\n", "cannot be read|triangles"),
}


@pytest.mark.parametrize("name", FILES)
def test_faulty_files_are_refused(name: str, tmp_path: Path) -> None:
    file, content, match = FILES[name]
    path = text(tmp_path / file, content)
    with pytest.raises(MeshFileError, match=match) as caught:
        (read_surface if file.endswith("stl") else read_mesh)(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sound_file_of_the_same_make_is_read(tmp_path: Path) -> None:
    assert read_mesh(text(tmp_path / "a.vtu", VTU.format(n=3, more=""))).n_cells == 1


def test_what_meshio_does_not_read_is_said() -> None:
    for name in ("plate_40.msh", "plate_save_all_41.msh"):
        with pytest.raises(MeshFileError, match=r"version 4\.1 without 'save all elements'"):
            read_mesh(MESHES / name)


def test_places_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_mesh(tmp_path / "none.msh")
    (tmp_path / "folder.msh").mkdir()
    with pytest.raises(IsADirectoryError):
        read_mesh(tmp_path / "folder.msh")


def test_wrong_byte_order_is_noticed() -> None:
    path = put("plain.vtu", plate())
    path.write_bytes(path.read_bytes().replace(b"LittleEndian", b"BigEndian"))
    with pytest.raises(MeshFileError):
        read_mesh(path)


@contextlib.contextmanager
def at_most(seconds: int, more_bytes: int = 1 << 30) -> Iterator[None]:
    """A limit on time and on memory beyond what the process has: meshio believes numbers of nodes."""

    def late(*_: Any) -> None:
        raise AssertionError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    limit = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + more_bytes, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


FUZZED = ["plate_41.msh", "plate_22.msh", "plate_quadratic_41_binary.msh", "block.inp", *WRITERS]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")
@pytest.mark.parametrize("name", FUZZED)
def test_garbage_is_refused_or_read_but_never_worse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Truncated files and files with changed bytes: a mesh, or one line; nothing printed, no exit, no hang."""
    path = Path.cwd() / name
    if name in WRITERS:
        put(name, block())
    else:
        shutil.copy(MESHES / name, path)
    sound, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    variants = [sound[: len(sound) * i // 12] for i in range(1, 12)]
    for _ in range(40):
        spoiled = np.frombuffer(sound, dtype=np.uint8).copy()
        spoiled[random.integers(len(spoiled), size=random.integers(1, 6))] = random.integers(256)
        variants.append(spoiled.tobytes())
    for content in variants:
        path.write_bytes(content)
        with at_most(10):
            said = ""
            try:
                mesh = read_mesh(path)
                assert bool(torch.isfinite(mesh.points).all())
            except MeshFileError as error:
                refused, said = refused + 1, str(error)
            assert "\n" not in said
    assert refused >= 8  # most of the truncated ones
    assert capsys.readouterr().out == ""


def fake_gmsh(order: int) -> Any:
    """The part of Gmsh's API that is read: a tetrahedron, its base in a group, tags with gaps."""
    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    ends = [(0, 1), (1, 2), (0, 2), (0, 3), (2, 3), (1, 3)]  # Gmsh's order: the last two differ from VTK's
    places = np.concatenate([corner, [(corner[a] + corner[b]) / 2 for a, b in ends]]) if order == 2 else corner
    tags = 10 * np.arange(1, len(places) + 1)
    base = {1: (2, [10, 20, 30]), 2: (9, [10, 20, 30, 50, 60, 70])}[order]
    whole = {1: (4, tags), 2: (11, tags)}[order]
    elements = {(2, 5): base, (3, 1): whole}
    properties = {2: ("", 2, 1, 3), 4: ("", 3, 1, 4), 9: ("", 2, 2, 6), 11: ("", 3, 2, 10)}
    mesh = SimpleNamespace(
        getNodes=lambda: (tags[::-1], places[::-1].reshape(-1), []),
        getElements=lambda dim, tag: ([elements[dim, tag][0]], [[1]], [np.asarray(elements[dim, tag][1])]),
        getElementProperties=lambda kind: properties[kind],
    )
    return SimpleNamespace(
        mesh=mesh,
        getEntities=lambda: [(2, 5), (3, 1)],
        getPhysicalGroups=lambda: [(2, 3), (3, 8)],
        getEntitiesForPhysicalGroup=lambda dim, tag: [5 if dim == 2 else 1],
        getPhysicalName=lambda dim, tag: "base" if dim == 2 else "",
    )


@pytest.mark.parametrize("order", [1, 2])
def test_gmsh_s_api_is_read_without_importing_it(order: int) -> None:
    mesh = from_gmsh(fake_gmsh(order))
    assert (mesh.dimension, mesh.order, mesh.n_cells) == (3, order, 1)
    assert set(mesh.boundaries) == {"base"}
    assert float(mesh.points[mesh.boundary_nodes("base")][:, 2].abs().max()) == 0.0
    assert mesh.subdomain("8").tolist() == [0]
    if order == 2:
        middles = mesh.points[mesh.cells[0, 4:]]
        ends = mesh.points[mesh.cells[0, torch.tensor([[0, 1], [1, 2], [2, 0], [0, 3], [1, 3], [2, 3]])]]
        torch.testing.assert_close(middles, ends.mean(1))


def test_a_gmsh_model_without_a_mesh_is_refused() -> None:
    model = fake_gmsh(1)
    model.mesh.getNodes = lambda: ([], [], [])
    with pytest.raises(ValueError, match="generate"):
        from_gmsh(model)


def test_gmsh_itself() -> None:
    gmsh = pytest.importorskip("gmsh")
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.open(str(MESHES / "block_quadratic_41.msh"))
        mesh, file = from_gmsh(gmsh.model), read_mesh(MESHES / "block_quadratic_41.msh")
    finally:
        gmsh.finalize()
    assert (mesh.n_cells, mesh.n_nodes) == (file.n_cells, file.n_nodes)
    assert {k: len(v) for k, v in mesh.boundaries.items()} == {k: len(v) for k, v in file.boundaries.items()}
    assert float(mesh.measures.sum()) == pytest.approx(2.0)
