"""What every benchmark script shares: its options, rows of claims that are computed, and the JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One claim with its measured value; ``holds`` is computed from them, None where nothing is required.

    Arguments:
        seconds: since the start of its section.
        section: the part of the script that measured it.
        quick: measured by ``--quick``, on smaller cases and against looser bounds.
    """

    claim: str
    value: float | None
    required: float | None
    unit: str
    holds: bool | None
    seconds: float
    hardware: str
    date: str
    note: str = ""
    section: str = ""
    quick: bool = False


@dataclass
class Report:
    """Collects rows, prints them as they come, writes them as JSON.

    Arguments:
        name: of the script.
        quick: smaller cases.
        device: where it runs.
        path: the JSON file, None writes none.
        sections: what ``run`` runs, in order; other rows of the file stay as they are.
        order: all sections of the script, in the order of the file.
        kept: rows of the file; those of a section go when it starts.
    """

    name: str
    quick: bool
    device: torch.device
    path: Path | None = None
    sections: Mapping[str, Section] = field(default_factory=dict)
    order: Sequence[str] = ("",)
    kept: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    section: str = ""
    started: float = field(default_factory=time.perf_counter)

    def run(self) -> int:
        """Run the sections; returns as ``finish``."""
        for name, measure in self.sections.items():
            self.kept = [row for row in self.kept if row.section != name]
            self.section, self.started = name, time.perf_counter()
            measure(self)
        return self.finish()

    def add(
        self, claim: str, value: float | None, required: float | None = None, unit: str = "", note: str = ""
    ) -> None:
        """A claim ``value <= required``, or a figure that is only shown; a value of None was not run."""
        holds = None if required is None or value is None else value <= required
        seconds = round(time.perf_counter() - self.started, 1)
        today, machine = datetime.now(tz=UTC).date().isoformat(), hardware(self.device)
        self.rows.append(
            Row(claim, value, required, unit, holds, seconds, machine, today, note, self.section, self.quick)
        )
        verdict = {True: "holds", False: "FAILS", None: ""}[holds]
        shown = "not run" if value is None else f"{value:.4g} {unit}"
        bound = "" if required is None else f"(required <= {required:g})"
        print(f"  {claim:<88} {shown:>16} {bound:<22} {verdict} {note}", flush=True)
        self.save()

    def value(self, section: str, claim: str) -> float:
        """What another section measured, in this run or in the file that it is merged into.

        Raises:
            SystemExit: it was not measured.
        """
        for row in [*self.rows, *self.kept]:
            if (row.section, row.claim) == (section, claim) and row.value is not None:
                return row.value
        raise SystemExit(
            f"{self.name}: {self.section} needs {claim!r} of section {section}: add {section} to --only, "
            "or give --json a file that holds it"
        )

    def save(self) -> None:
        """Write what there is so far; a run that is killed leaves its finished rows."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(".partial")
            rows = sorted([*self.kept, *self.rows], key=lambda row: self.order.index(row.section))
            partial.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
            os.replace(partial, self.path)

    def finish(self) -> int:
        """Exit code: 0 if every claim of this run holds, 1 otherwise."""
        failed = [row.claim for row in self.rows if row.holds is False]
        seconds = sum(seconds_of(self.rows).values())
        print(f"{self.name}: {len(self.rows)} rows, {len(failed)} claims fail, {seconds:.0f} s")
        for claim in failed:
            print(f"  fails: {claim}")
        return 1 if failed else 0


Section = Callable[[Report], None]
"""Measures some claims and adds them."""


def start(
    name: str,
    arguments: Sequence[str] | None = None,
    sections: Mapping[str, Section] | None = None,
    *,
    cuda: bool = False,
) -> Report:
    """Parse the options and begin a report.

    Arguments:
        name: of the script.
        arguments: ``--quick --json FILE``; ``--only SECTION ...`` where there are sections; ``--device DEVICE`` where
            the script runs on CUDA too.
        sections: the parts of the script by name, in the order of the file.
    """
    sections = sections or {}
    parser = _parser(name, sections, cuda)
    options = parser.parse_args(arguments, argparse.Namespace(device=torch.device("cpu"), only=None))
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device is available here; leave the option out to run on the CPU")
    kept = [] if options.only is None or options.json is None else rows_of(options.json)
    for row in kept:
        if row.section not in sections or row.quick != options.quick:
            kind = "--quick" if row.quick else "full"
            parser.error(
                f"{options.json} holds section {row.section!r} of a {kind} run: leave out --only to replace all"
            )
    print(f"{name}{' --quick' if options.quick else ''} on {hardware(options.device)}", flush=True)
    chosen = {part: run for part, run in sections.items() if options.only is None or part in options.only}
    return Report(name, options.quick, options.device, options.json, chosen, tuple(sections) or ("",), kept)


def _parser(name: str, sections: Mapping[str, Section], cuda: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--quick", action="store_true", help="smaller cases, under 3 minutes on 2 cores")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the rows here")
    if sections:
        parser.add_argument(
            "--only", nargs="+", choices=list(sections), metavar="SECTION",
            help=f"run these, and replace their rows in FILE: {', '.join(sections)}",
        )  # fmt: skip
    if cuda:
        parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    return parser


def rows_of(path: Path) -> list[Row]:
    """The rows of a JSON file, none if there is no such file."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def seconds_of(rows: Sequence[Row]) -> dict[str, float]:
    """Seconds by section, in the order of the rows: until its last row."""
    sections = dict.fromkeys(row.section for row in rows)
    return {name: max(row.seconds for row in rows if row.section == name) for name in sections}


def hardware(device: torch.device) -> str:
    """The device's name, cores and torch version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def median_seconds(
    run: Callable[[], Any], repeats: int = 7, warm: int = 2, device: torch.device | None = None
) -> float:
    """Median wall-clock seconds of a call, after warm-up."""
    times = []
    for i in range(warm + repeats):
        begin = time.perf_counter()
        run()
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        if i >= warm:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)
