"""Mesh files, read through meshio and checked."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from typing import Any

from pdesolve.atomic import FilePath
from pdesolve.domains.meshio_mesh import from_meshio, surface_from_meshio
from pdesolve.domains.simplex_mesh import SimplexMesh

FORMATS = {
    ".msh": ("gmsh", b"$", "a Gmsh mesh"),
    ".vtu": ("vtu", b"<VTKFile", "a VTK XML file"),
    ".vtk": ("vtk", b"# vtk DataFile", "a legacy VTK file"),
    ".xdmf": ("xdmf", b"<Xdmf", "an XDMF file"),
    ".xmf": ("xdmf", b"<Xdmf", "an XDMF file"),
    ".inp": ("abaqus", b"*", "an Abaqus input file"),
    ".stl": ("stl", b"", "an STL file"),
}
"""Ending -> meshio's name of the format, what such a file has near its start, and what to call it."""

DAMAGE = {
    "": "damaged or truncated: export it again",
    FORMATS[".msh"][
        2
    ]: "damaged, of version 4.0, or has elements outside of all groups: export it as version 4.1 without "
    "'save all elements'",
}
"""Name of a format -> why meshio may fail on it, and what to do."""

HEAD = 4096
STL_HEAD, STL_TRIANGLE = 84, 50


class MeshFileError(ValueError):
    """A file that cannot be read as a mesh; the message says what was found and what to do."""


def read_mesh(path: FilePath) -> SimplexMesh:
    """A mesh of triangles in the plane or of tetrahedra from a file, named boundaries and subdomains kept.

    Gmsh (``.msh``, versions 2.2 and 4.1), VTK (``.vtu``, ``.vtk``), XDMF (``.xdmf``) and Abaqus (``.inp``); which sets
    become names: see ``from_meshio``.

    Arguments:
        path: the file.

    Raises:
        MeshFileError: another ending or content, a damaged file, cells that are no simplices, and every fault that
            ``SimplexMesh`` and ``check_conforming`` find.
        FileNotFoundError, IsADirectoryError, PermissionError: as ``open`` does.

    Notes:
        meshio makes a table as long as the largest number of a node in a Gmsh file: one damaged number can ask for all
        memory there is. XDMF files may name others in their own folder only; Abaqus files include what they name.
    """
    with _blaming(path):
        return from_meshio(_read(os.fspath(path)))


def read_surface(path: FilePath) -> SimplexMesh:
    """The triangles in space of a file, such as ``.stl``; other endings as ``read_mesh``.

    Arguments:
        path: the file.

    Raises:
        MeshFileError, OSError: as ``read_mesh``.
    """
    with _blaming(path):
        return surface_from_meshio(_read(os.fspath(path)))


@contextlib.contextmanager
def _blaming(path: FilePath) -> Any:
    """Faults of the mesh are faults of the file."""
    try:
        yield
    except MeshFileError:
        raise
    except ValueError as error:
        raise MeshFileError(f"{os.fspath(path)!r}: {error}") from error


def _read(path: str) -> Any:
    """What meshio makes of a file that has passed the first look."""
    kind, name = _checked_format(path)
    import meshio

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*(could not be read|unmatched data|invalid value).*")
            return meshio.read(path, kind)
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError) and error.filename == path:
            raise
        raise _damaged(path, name, error, said) from error
    except (Exception, SystemExit) as error:  # whatever a parser does on garbage; meshio ends the process
        raise _damaged(path, name, error, said) from error


def _damaged(path: str, name: str, error: BaseException, said: io.StringIO) -> MeshFileError:
    words = " ".join(said.getvalue().split()) if isinstance(error, SystemExit) else ""
    reason = words or str(error) or type(error).__name__
    reason = " ".join(reason.split()).strip(" .")
    return MeshFileError(f"{path!r}: cannot be read as {name}: {reason[:200]}; it is {DAMAGE.get(name, DAMAGE[''])}")


def _checked_format(path: str) -> tuple[str, str]:
    """meshio's name of the format, and what to call it."""
    ending = os.path.splitext(path)[1].lower()
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, "is a folder; give a mesh file", path)
    if not stat.S_ISREG(status.st_mode):
        raise MeshFileError(f"{path!r}: is a pipe, socket or device; give a regular file")
    if ending not in FORMATS:
        raise MeshFileError(f"{path!r}: unknown ending {ending!r}; allowed: {', '.join(FORMATS)}; rename or convert it")
    kind, mark, name = FORMATS[ending]
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        raise MeshFileError(f"{path!r}: is empty; {name} is needed")
    looks = _is_stl(head, status.st_size) if kind == "stl" else _has(head, mark)
    if not looks:
        other = [words for end, (_, there, words) in FORMATS.items() if len(there) > 1 and _has(head, there)]
        got = f"looks like {other[0]}" if other else f"starts with {head[:16]!r}"
        raise MeshFileError(f"{path!r}: is not {name} as its ending says, it {got}; rename it or take another")
    if b"<!ENTITY" in head:
        raise MeshFileError(f"{path!r}: declares XML entities, which no mesh needs; export it without them")
    if kind == "xdmf":
        _check_neighbours(path)
    return kind, name


def _has(head: bytes, mark: bytes) -> bool:
    """Whether a mark begins a line near the start of the file (XML: stands anywhere there)."""
    if mark.startswith(b"<"):
        return mark in head
    return any(line.lstrip().startswith(mark) for line in head.splitlines())


def _is_stl(head: bytes, size: int) -> bool:
    if len(head) >= STL_HEAD and size == STL_HEAD + STL_TRIANGLE * int.from_bytes(head[80:84], "little"):
        return True
    return head.lstrip().startswith(b"solid")


def _check_neighbours(path: str) -> None:
    """Every file that an XDMF file names lies in its own folder."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise MeshFileError(f"{path!r}: is no well-formed XML: {error}; it is damaged or truncated") from error
    for item in root.iter("DataItem"):
        if item.get("Format") not in ("HDF", "Binary"):
            continue
        text = (item.text or "").strip()
        name = text.split(":")[0] if item.get("Format") == "HDF" else text
        if not name or os.path.basename(name) != name:
            raise MeshFileError(f"{path!r}: names the file {name!r} outside of its folder; keep its data beside it")
