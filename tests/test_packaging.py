"""The package keeps its shape and its import leaves the process as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("domains", "experts")
IMPORTED_WHERE_USED = (
    "h5py",
    "matplotlib",
    "scipy",
    "meshio",
    "skfem",
    "pymetis",
    "gmsh",
    "deepxde",
    "cvxpylayers",
)

# Runs in a fresh interpreter; the answer goes to a file, so that stdout belongs to the import alone.
PROBE = """
import json, os, sys, time
import torch

def state():
    return {
        "default dtype": str(torch.get_default_dtype()),
        "default device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "interop threads": torch.get_num_interop_threads(),
        "gradients": torch.is_grad_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": [torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark],
        "random state": torch.get_rng_state().sum().item(),
        "seed": torch.initial_seed(),
        "environment": dict(os.environ),
    }

before, loaded = state(), set(sys.modules)
start = time.process_time()
import pdesolve
seconds = time.process_time() - start
modules = sorted({name.partition(".")[0] for name in set(sys.modules) - loaded})
with open(sys.argv[1], "w") as file:
    json.dump({"before": before, "after": state(), "modules": modules, "seconds": seconds}, file)
"""


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the package of this checkout."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def probe(folder: Path) -> dict[str, Any]:
    """Import the package once in an empty folder and say what that did."""
    work, answer = folder / "work", folder / "answer.json"
    work.mkdir(parents=True)
    run = python("-W", "error", "-c", PROBE, str(answer), cwd=work)
    assert run.returncode == 0, run.stderr
    written = sorted(path.name for path in work.iterdir())
    return {**json.loads(answer.read_text()), "output": run.stdout + run.stderr, "written": written}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return [probe(tmp_path_factory.mktemp("import")) for _ in range(3)]


def test_import_is_silent(imported: list[dict[str, Any]]) -> None:
    assert imported[0]["output"] == ""


def test_import_writes_no_file(imported: list[dict[str, Any]]) -> None:
    assert imported[0]["written"] == []


def test_import_leaves_global_state_alone(imported: list[dict[str, Any]]) -> None:
    assert imported[0]["after"] == imported[0]["before"]


def test_import_loads_no_heavy_package(imported: list[dict[str, Any]]) -> None:
    heavy = set(imported[0]["modules"]) & set(IMPORTED_WHERE_USED)
    assert not heavy, f"import these inside the functions that use them: {sorted(heavy)}"


def test_import_is_fast(imported: list[dict[str, Any]]) -> None:
    # Over the time of `import torch`; of the processor, best of three, as other processes share the machine.
    assert min(run["seconds"] for run in imported) <= 0.3


def test_every_name_and_package_is_there_once_it_is_asked_for(tmp_path: Path) -> None:
    """In a fresh process, where nothing else has loaded them."""
    script = (
        "import pdesolve as ps\n"
        "assert set(ps.__all__) <= set(dir(ps))\n"
        "print(ps.reference.bracket.__name__, ps.training.train is ps.train, ps.results.__doc__ is not None)\n"
        "assert all(getattr(ps, name) is not None for name in ps.__all__)\n"
    )
    ran = python("-c", script, cwd=tmp_path)
    assert ran.stdout.split() == ["bracket", "True", "True"], ran.stderr


@pytest.mark.parametrize("name", LINKED)
def test_linked_folder_is_a_relative_symlink(name: str) -> None:
    link = ROOT / "pdesolve" / name
    assert link.is_symlink(), f"{link} is no symlink: clone with core.symlinks=true"
    assert os.readlink(link) == f"../{name}"
    assert link.resolve() == ROOT / name


@pytest.mark.parametrize("name", LINKED)
def test_linked_folder_refuses_its_short_name(name: str) -> None:
    run = python("-c", f"import {name}", cwd=ROOT)
    assert run.returncode != 0
    assert f"ImportError: this package is pdesolve.{name}" in run.stderr


def test_typing_marker_is_there() -> None:
    assert (ROOT / "pdesolve" / "py.typed").is_file()
