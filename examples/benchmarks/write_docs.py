"""Write docs/benchmarks.md from docs/benchmarks/*.json (measured) and *.md (notes by hand).

python examples/benchmarks/write_docs.py
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from report import Row, rows_of, seconds_of  # isort: skip

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
NAMES = (
    "diffusion_sorption",
    "hard_constraint_layer",
    "layer_race",
    "layer_uses",
    "sparse_solves",
    "gaussians",
    "gaussian_walls",
    "placements",
    "lagrangian",
    "mesh_patches",
    "mesh_files",
)
VARIANTS = (("", "CPU"), ("_cuda", "CUDA"))

HEAD = """# Benchmarks

The tables are written by `examples/benchmarks/write_docs.py` from the JSON files that the scripts in
`examples/benchmarks/` wrote; `holds` is computed there. The notes above the tables are by hand and say what was
measured how. Where nothing is required a row is only shown. A table that was not run says so.
"""


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of rows."""
    lines = ["| what | value | required | holds | note |", "|---|---|---|---|---|"]
    for row in rows:
        value = "not run" if row.value is None else f"{row.value:.4g} {row.unit}".strip()
        required = "" if row.required is None else f"≤ {row.required:g}"
        holds = {True: "yes", False: "**no**", None: ""}[row.holds]
        lines.append(f"| {row.claim} | {value} | {required} | {holds} | {row.note} |")
    return "\n".join(lines) + "\n"


def measured(rows: Sequence[Row]) -> str:
    """When, on what, and how long: every date and machine that the rows name."""
    dates, machines = sorted({row.date for row in rows}), sorted({row.hardware for row in rows})
    seconds = seconds_of(rows)
    parts = ", ".join(f"{_title(name)} {value:.0f} s" for name, value in seconds.items())
    quick = {row.quick for row in rows}
    kind = " in part by `--quick`, as marked," if len(quick) > 1 else " by `--quick`" if quick == {True} else ""
    return (
        f"Measured{kind} {', '.join(dates)} on {'; '.join(machines)}. "
        f"Wall-clock: {sum(seconds.values()):.0f} s ({parts}).\n"
    )


def variant(path: Path) -> list[str]:
    """One script on one device: a table for each of its sections."""
    rows = rows_of(path)
    if not rows:
        return ["not run\n"]
    parts = [measured(rows)]
    for name in dict.fromkeys(row.section for row in rows):
        own = [row for row in rows if row.section == name]
        mark = " (`--quick`)" if not all(row.quick for row in rows) and any(row.quick for row in own) else ""
        parts += [f"#### {_title(name)}{mark}\n", table(own)]
    return parts


def script(name: str) -> str:
    """Heading, notes and tables of one script."""
    parts = [f"## {name}\n"]
    notes = FOLDER / f"{name}.md"
    if notes.exists():
        parts.append(notes.read_text(encoding="utf-8"))
    for suffix, device in VARIANTS:
        parts += [f"### {device}\n", *variant(FOLDER / f"{name}{suffix}.json")]
    return "\n".join(parts)


def _title(section: str) -> str:
    return section.replace("_", " ") or "all"


def main() -> int:
    """Write the page."""
    page = HEAD + "\n" + "\n".join(script(name) for name in NAMES)
    (FOLDER.parent / "benchmarks.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
