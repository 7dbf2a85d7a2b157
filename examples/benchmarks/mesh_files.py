"""Reading a Gmsh file of a million cells, beside meshio alone.

    python examples/benchmarks/mesh_files.py [--quick] [--json FILE]

``read_mesh`` does what meshio does and then checks every cell and facet, so it is compared with meshio alone on the
same file. Both read in turn, from the page cache; medians of five.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import meshio
import numpy as np
from report import Report, median_seconds, start

from pdesolve.domains import SimplexMesh, read_mesh, refine
from pdesolve.reference import bracket


def reading(report: Report) -> None:
    """Version 4.1 as Gmsh writes it by default (text), and in binary."""
    mesh = bracket(6) if report.quick else _million()
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("text", "binary"):
            path = Path(folder) / f"{kind}.msh"
            write_gmsh(path, mesh, binary=kind == "binary")
            assert read_mesh(path).n_cells == mesh.n_cells
            alone = median_seconds(lambda path=path: meshio.read(path), 5, 1)
            ours = median_seconds(lambda path=path: read_mesh(path), 5, 1)
            report.add(f"meshio alone, {mesh.n_cells} cells, {kind}", alone, None, "s")
            report.add(f"read_mesh, {mesh.n_cells} cells, {kind}", ours, None, "s", "read and checked")
            report.add(f"read_mesh over meshio alone, {kind}", ours / alone, 6.0 if report.quick else 2.0, "x")


def _million() -> SimplexMesh:
    """The bracket of 1 056 000 cells."""
    return refine(bracket(10))


def write_gmsh(path: Path, mesh: SimplexMesh, *, binary: bool) -> None:
    """Linear tetrahedra in version 4.1, one entity for each boundary and subdomain, as Gmsh itself writes them."""
    with open(path, "wb") as file:
        put = _Binary(file) if binary else _Text(file)
        file.write(b"$MeshFormat\n4.1 %d 8\n" % binary)
        if binary:
            put.ints(1)
        file.write(b"$EndMeshFormat\n$PhysicalNames\n%d\n" % (len(mesh.boundaries) + len(mesh.subdomains)))
        parts = [(2, name, mesh.boundary(name)) for name in mesh.boundaries]
        parts += [(3, name, mesh.cells[index]) for name, index in mesh.subdomains.items()]
        for tag, (dimension, name, _) in enumerate(parts, 1):
            file.write(b'%d %d "%s"\n' % (dimension, tag, name.encode()))
        file.write(b"$EndPhysicalNames\n$Entities\n")
        put.sizes(0, 0, len(mesh.boundaries), len(mesh.subdomains))
        for tag in range(1, len(parts) + 1):
            put.ints(tag)
            put.floats(np.zeros((1, 6)))
            put.sizes(1)
            put.ints(tag)
            put.sizes(0)
        file.write(b"\n$EndEntities\n$Nodes\n")
        put.sizes(1, mesh.n_nodes, 1, mesh.n_nodes)
        put.ints(3, len(parts), 0)
        put.sizes(mesh.n_nodes)
        put.table(np.arange(1, mesh.n_nodes + 1)[:, None])
        put.floats(mesh.points.numpy())
        file.write(b"\n$EndNodes\n$Elements\n")
        total = sum(len(rows) for _, _, rows in parts)
        put.sizes(len(parts), total, 1, total)
        first = 1
        for tag, (dimension, _, rows) in enumerate(parts, 1):
            put.ints(dimension, tag, 2 if dimension == 2 else 4)
            put.sizes(len(rows))
            put.table(np.column_stack([np.arange(first, first + len(rows)), rows.numpy() + 1]))
            first += len(rows)
        file.write(b"\n$EndElements\n")


class _Text:
    def __init__(self, file: Any) -> None:
        self.file = file

    def ints(self, *values: int) -> None:
        self.file.write((" ".join(map(str, values)) + " ").encode())

    def sizes(self, *values: int) -> None:
        self.file.write((" ".join(map(str, values)) + "\n").encode())

    def floats(self, rows: Any) -> None:
        np.savetxt(self.file, rows, fmt="%.16g")

    def table(self, rows: Any) -> None:
        np.savetxt(self.file, rows, fmt="%d")


class _Binary:
    def __init__(self, file: Any) -> None:
        self.file = file

    def ints(self, *values: int) -> None:
        self.file.write(np.asarray(values, dtype="<i4").tobytes())

    def sizes(self, *values: int) -> None:
        self.file.write(np.asarray(values, dtype="<u8").tobytes())

    def floats(self, rows: Any) -> None:
        self.file.write(np.ascontiguousarray(rows, dtype="<f8").tobytes())

    def table(self, rows: Any) -> None:
        self.file.write(np.ascontiguousarray(rows, dtype="<u8").tobytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the exit code is 1 if a claim fails."""
    report = start("mesh_files", arguments)
    reading(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
