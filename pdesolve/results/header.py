"""What a results file says about itself: one JSON text, checked against its own hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pdesolve.results.codec import DTYPES

SCHEMA = 2
"""The newest; files of values on grids are of schema 1, which lacks meshes."""

MAX_BYTES = 16 << 20
MAX_DEPTH = 64


@dataclass(frozen=True)
class ArrayRecord:
    """One tensor of the file.

    Arguments:
        name: what the user calls it.
        path: its data set.
        dtype: of the tensor, such as ``"float64"``.
        shape: of the tensor as it is stored.
        sha256: of the stored bytes.
    """

    name: str
    path: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class MeshRecord:
    """A mesh of simplices; its points and cells are those of /VTKHDF.

    Arguments:
        points: (P, 3) as they are stored.
        cells: (C · nodes per cell,) as they are stored.
        width: nodes per cell.
        boundaries, subdomains: one record each.
    """

    points: ArrayRecord
    cells: ArrayRecord
    width: int
    boundaries: tuple[ArrayRecord, ...]
    subdomains: tuple[ArrayRecord, ...]


@dataclass(frozen=True)
class Header:
    """Everything but the arrays.

    Arguments:
        written_by: program and version.
        fields: names of the unknowns.
        batch: number of cases.
        axes: axis letters.
        bounds: ends of the box that the grid fills, (lower, upper) by axis; None: its outermost nodes.
        nodes: one record for each axis of a grid; on a mesh that of the times, if any.
        values: one record for each case and component, in that order.
        status: the codes.
        stats, parameters: one record each.
        interfaces: positions by axis.
        provenance: the solution's record.
        mesh: where the values stand, None on a grid.
    """

    written_by: str
    fields: tuple[str, ...]
    batch: int
    axes: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...] | None
    nodes: tuple[ArrayRecord, ...]
    values: tuple[ArrayRecord, ...]
    status: ArrayRecord
    stats: tuple[ArrayRecord, ...]
    parameters: tuple[ArrayRecord, ...]
    interfaces: Mapping[str, tuple[float, ...]]
    provenance: Mapping[str, Any]
    mesh: MeshRecord | None = None

    @property
    def schema(self) -> int:
        """Of the file."""
        return 1 if self.mesh is None else 2

    def to_json(self) -> bytes:
        """UTF-8 text; floats keep every bit."""
        content = asdict(self)
        if self.mesh is None:
            del content["mesh"]  # schema 1 had no such field
        return json.dumps(content, ensure_ascii=True, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Header:
        """Read back what ``to_json`` wrote.

        Raises:
            ValueError: not such a text; the message says where.
        """
        try:
            raw = json.loads(text)
        except RecursionError:
            raise ValueError("its JSON text is nested too deeply") from None
        top = _mapping(raw, "the header")
        return cls(
            written_by=_string(top, "written_by"),
            fields=tuple(_strings(top, "fields")),
            batch=_count(top.get("batch"), "batch"),
            axes=tuple(_strings(top, "axes")),
            bounds=_bounds(top.get("bounds")),
            nodes=_records(top, "nodes"),
            values=_records(top, "values"),
            status=_record(top.get("status"), "status"),
            stats=_records(top, "stats"),
            parameters=_records(top, "parameters"),
            interfaces={axis: _floats(v, axis) for axis, v in _mapping(top.get("interfaces"), "interfaces").items()},
            provenance=_mapping(top.get("provenance"), "provenance"),
            mesh=_mesh(top["mesh"]) if "mesh" in top else None,
        )


def check_provenance(value: Any, where: str = "provenance", depth: int = 0) -> Any:
    """A copy made of dict, list, str, int, float, bool and None only.

    Raises:
        TypeError: something else is in it; the message says where.
        ValueError: it is nested more than 64 deep, or holds itself.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"{where[:60]}... is nested more than {MAX_DEPTH} deep: flatten it")
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"{where} has the key {wrong[0]!r}: keys must be strings; write str(key)")
        return {key: check_provenance(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [check_provenance(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise TypeError(
        f"{where} is a {type(value).__name__}: JSON holds dict, list, str, int, float, bool and None; "
        "convert it, for example with .item(), .tolist() or str()"
    )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, got {type(value).__name__}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: expected a list, got {type(value).__name__}")
    return value


def _string(top: Mapping[str, Any], key: str) -> str:
    value = top.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected a string, got {type(value).__name__}")
    return value


def _strings(top: Mapping[str, Any], key: str) -> list[str]:
    values = _list(top.get(key), key)
    if not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key}: expected a list of strings, got {values!r:.60}")
    return values


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where}: expected a count, got {value!r:.60}")
    return value


def _floats(value: Any, where: str) -> tuple[float, ...]:
    values = _list(value, where)
    if not all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in values):
        raise ValueError(f"{where}: expected numbers, got {values!r:.60}")
    return tuple(float(item) for item in values)


def _bounds(value: Any) -> tuple[tuple[float, float], ...] | None:
    if value is None:
        return None
    pairs = [_floats(pair, "bounds") for pair in _list(value, "bounds")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("bounds: expected (lower, upper) for each axis")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _records(top: Mapping[str, Any], key: str) -> tuple[ArrayRecord, ...]:
    return tuple(_record(item, f"{key}[{i}]") for i, item in enumerate(_list(top.get(key), key)))


def _mesh(value: Any) -> MeshRecord:
    item = _mapping(value, "mesh")
    return MeshRecord(
        points=_record(item.get("points"), "mesh points"),
        cells=_record(item.get("cells"), "mesh cells"),
        width=_count(item.get("width"), "mesh width"),
        boundaries=_records(item, "boundaries"),
        subdomains=_records(item, "subdomains"),
    )


def _record(value: Any, where: str) -> ArrayRecord:
    item = _mapping(value, where)
    dtype = _string(item, "dtype")
    if dtype not in DTYPES:
        raise ValueError(f"{where}: unknown dtype {dtype!r:.60}, expected one of {', '.join(DTYPES)}")
    shape = tuple(_count(n, f"{where} shape") for n in _list(item.get("shape"), f"{where} shape"))
    return ArrayRecord(_string(item, "name"), _string(item, "path"), dtype, shape, _string(item, "sha256"))
