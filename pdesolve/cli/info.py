"""``pdesolve info FILE``: what a results file holds."""

from __future__ import annotations

import argparse
import json
from typing import Any

from pdesolve.cli.exits import ExitCode, reading
from pdesolve.cli.output import emit, emit_table


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command's arguments."""
    text = "say what a results file holds, without reading its values"
    parser = subparsers.add_parser("info", help=text, description=text, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE", help="a .vtkhdf file written by pdesolve, or a PDEBench file")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the description of one file."""
    from pdesolve.results import info
    from pdesolve.results.pdebench import is_pdebench, pdebench_info

    with reading(arguments.file):
        foreign = is_pdebench(arguments.file)
        found = pdebench_info(arguments.file) if foreign else info(arguments.file)
    if arguments.json:
        print(json.dumps(found, indent=2))  # ASCII: any terminal shows it, and nothing in it is a control character
        return ExitCode.OK
    emit(found["path"])
    emit_table(_pdebench_rows(found) if foreign else _rows(found))
    return ExitCode.OK


def _pdebench_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("layout", found["layout"]),
        ("size", _size(found["bytes"])),
        ("fields", f"{', '.join(found['fields'])} ({found['dtype']})"),
        ("grid", _grid(found)),
        ("samples", str(found["batch"])),
        ("config", found["config"] or "none"),
    ]


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    status = [f"{count} {name}" for name, count in found["status"].items()]
    interfaces = [f"{axis}: {', '.join(f'{p:.6g}' for p in at)}" for axis, at in found["interfaces"].items()]
    return [
        ("written by", f"{found['written_by']}, schema {found['schema']}"),
        ("size", _size(found["bytes"])),
        ("fields", f"{', '.join(found['fields'])} ({found['dtype']})"),
        ("grid", _grid(found)),
        *(_mesh(found["mesh"]) if "mesh" in found else []),
        ("cases", f"{found['batch']}, {found['patches']} patches each"),
        ("status", ", ".join(status) or "none"),
        ("parameters", ", ".join(found["parameters"]) or "none"),
        ("stats", ", ".join(found["stats"]) or "none"),
        ("interfaces", "; ".join(interfaces) or "none"),
        *((f"provenance.{key}", json.dumps(value, ensure_ascii=False)) for key, value in found["provenance"].items()),
    ]


def _mesh(mesh: dict[str, Any]) -> list[tuple[str, str]]:
    counts = {
        kind: [f"{name} ({count})" for name, count in mesh[kind].items()] for kind in ("boundaries", "subdomains")
    }
    return [
        ("cells", f"{mesh['cells']} {mesh['kind']}"),
        *((kind, ", ".join(n) or "none") for kind, n in counts.items()),
    ]


def _grid(found: dict[str, Any]) -> str:
    if "mesh" in found:
        spans = [f"{axis} in [{_ends(ends)}]" for axis, ends in found["range"].items()]
        times = f"{found['shape']['t']} times, " if "t" in found["shape"] else ""
        return f"{times}{found['shape']['node']} nodes; {'; '.join(spans)}"
    return "; ".join(f"{axis}: {n} nodes in [{_ends(found['range'][axis])}]" for axis, n in found["shape"].items())


def _ends(ends: list[float]) -> str:
    return ", ".join(f"{end:.6g}" for end in ends)


def _size(n_bytes: int) -> str:
    size, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.4g} {units[0]}"
