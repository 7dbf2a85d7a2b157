"""Write docs/benchmarks.md from docs/benchmarks/*.json (measured) and *.md (notes by hand).

python examples/benchmarks/write_docs.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
NAMES = ("diffusion_sorption", "hard_constraint_layer")
VARIANTS = (("", "CPU"), ("_cuda", "CUDA"))

HEAD = """# Benchmarks

The tables are written by `examples/benchmarks/write_docs.py` from the JSON files that the scripts in
`examples/benchmarks/` wrote; `holds` is computed there. The notes above each table are by hand and say what was
measured how. Where nothing is required a row is only shown. A table that was not run says so.
"""


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of rows, with the hardware below."""
    lines = ["| what | value | required | holds | note |", "|---|---|---|---|---|"]
    for row in rows:
        value = "not run" if row["value"] is None else f"{row['value']:.4g} {row['unit']}".strip()
        required = "" if row["required"] is None else f"≤ {row['required']:g}"
        holds = {True: "yes", False: "**no**", None: ""}[row["holds"]]
        lines.append(f"| {row['claim']} | {value} | {required} | {holds} | {row['note']} |")
    hardware = sorted({row["hardware"] for row in rows})
    lines += ["", f"Hardware: {'; '.join(hardware)}. Wall-clock of the script: {rows[-1]['seconds']:.0f} s.", ""]
    return "\n".join(lines)


def section(name: str) -> str:
    """Heading, notes and tables of one script."""
    parts = [f"## {name}\n"]
    notes = FOLDER / f"{name}.md"
    if notes.exists():
        parts.append(notes.read_text(encoding="utf-8"))
    for suffix, device in VARIANTS:
        path = FOLDER / f"{name}{suffix}.json"
        parts.append(f"### {device}\n")
        if not path.exists():
            parts.append("not run\n")
            continue
        rows = json.loads(path.read_text(encoding="utf-8"))
        parts.append(f"Measured {rows[-1]['date']}.\n")
        parts.append(table(rows))
    return "\n".join(parts)


def main() -> int:
    """Write the page."""
    page = HEAD + "\n" + "\n".join(section(name) for name in NAMES)
    (FOLDER.parent / "benchmarks.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
