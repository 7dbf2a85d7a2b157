"""What every benchmark script shares: its options, rows of claims that are computed, and the JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One claim with its measured value; ``holds`` is computed from them, None where nothing is required."""

    claim: str
    value: float | None
    required: float | None
    unit: str
    holds: bool | None
    seconds: float
    hardware: str
    date: str
    note: str = ""


@dataclass
class Report:
    """Collects rows, prints them as they come, writes them as JSON."""

    name: str
    quick: bool
    device: torch.device
    path: Path | None = None
    rows: list[Row] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def add(
        self, claim: str, value: float | None, required: float | None = None, unit: str = "", note: str = ""
    ) -> None:
        """A claim ``value <= required``, or a figure that is only shown; a value of None was not run."""
        holds = None if required is None or value is None else value <= required
        seconds = time.perf_counter() - self.started
        today = datetime.now(tz=UTC).date().isoformat()
        row = Row(claim, value, required, unit, holds, round(seconds, 1), hardware(self.device), today, note)
        self.rows.append(row)
        verdict = {True: "holds", False: "FAILS", None: ""}[holds]
        shown = "not run" if value is None else f"{value:.4g} {unit}"
        bound = "" if required is None else f"(required <= {required:g})"
        print(f"  {claim:<88} {shown:>16} {bound:<22} {verdict} {note}", flush=True)
        self.save()

    def save(self) -> None:
        """Write what there is so far; a run that is killed leaves its finished rows."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps([asdict(row) for row in self.rows], indent=1) + "\n")
            os.replace(partial, self.path)

    def finish(self) -> int:
        """Exit code: 0 if every claim holds, 1 otherwise."""
        failed = [row.claim for row in self.rows if row.holds is False]
        seconds = time.perf_counter() - self.started
        print(f"{self.name}: {len(self.rows)} rows, {len(failed)} claims fail, {seconds:.0f} s")
        for claim in failed:
            print(f"  fails: {claim}")
        return 1 if failed else 0


def start(name: str, arguments: Sequence[str] | None = None, *, cuda: bool = False) -> Report:
    """Parse ``--quick --json FILE`` and, where the script runs on CUDA too, ``--device DEVICE``; begin a report."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--quick", action="store_true", help="smaller cases, under 3 minutes on 2 cores")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the rows here")
    if cuda:
        parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args(arguments, argparse.Namespace(device=torch.device("cpu")))
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device is available here; leave the option out to run on the CPU")
    print(f"{name}{' --quick' if options.quick else ''} on {hardware(options.device)}", flush=True)
    return Report(name, options.quick, options.device, options.json)


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
