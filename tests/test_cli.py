"""The command line: what it prints, one line for each error, and the exit code."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pdesolve.cli import commands, main
from pdesolve.cli.exits import CommandError, ExitCode
from pdesolve.cli.output import printable
from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid
from pdesolve.field import Field
from pdesolve.results import save
from pdesolve.solution import Solution
from pdesolve.status import SolveError, SolveStatus

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    grid = StructuredGrid.uniform(Box(("t", "x"), (0.0, -1.0), (1.0, 1.0)), (4, 20))
    values = torch.sin(3 * grid.coordinates()["x"]).expand(2, 2, 4, 20)
    solution = Solution(
        Field(values, grid, ("u", "v/w")),
        torch.tensor([[0, 0], [0, int(SolveStatus.STEP_CAP)]]),
        parameters={"nu": torch.tensor([0.1, 0.2])},
        interfaces={"x": (0.0, 0.5)},
        provenance={"method": "test\n\x1b[31m", "seed": 7},
    )
    path = tmp_path_factory.mktemp("cli") / "run.vtkhdf"
    save(solution, path)
    return path


@pytest.fixture
def saved(shared: Path, tmp_path: Path) -> Path:
    shutil.copy(shared, tmp_path / "run.vtkhdf")
    return tmp_path / "run.vtkhdf"


Capture = pytest.CaptureFixture[str]


def fails(capture: Capture, code: int, *arguments: str | Path) -> str:
    """The one line of a command that ends with ``code``."""
    assert main.main([str(argument) for argument in arguments]) == code
    out, err = capture.readouterr()
    assert out == ""
    assert err.startswith("pdesolve: error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def python(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **options)


# ---------------------------------------------------------------------------------------------- what it does


def test_info(saved: Path, capsys: Capture) -> None:
    assert main.main(["info", str(saved)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "u, v/w (float64)" in out
    assert "t: 4 nodes in [0, 1]; x: 20 nodes in [-1, 1]" in out
    assert "3 CONVERGED, 1 STEP_CAP" in out
    assert "\x1b" not in out  # a stranger's file does not steer the terminal


def test_info_as_json(saved: Path, capsys: Capture) -> None:
    assert main.main(["info", "--json", str(saved)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == {"t": 4, "x": 20}
    assert found["provenance"] == {"method": "test\n\x1b[31m", "seed": 7}


def test_plot(saved: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "deep" / "pictures"
    assert main.main(["plot", str(saved), "--out", str(out), "--case", "1"]) == 0
    stems = ("run_u_case1", "run_v_w_case1")
    expected = sorted(f"{stem}{end}" for stem in stems for end in (".png", "_interfaces.png"))
    assert sorted(os.listdir(out)) == expected
    assert sorted(capsys.readouterr().out.split()) == [str(out / name) for name in expected]
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in expected)


def test_plot_one_field_beside_the_file(saved: Path, capsys: Capture) -> None:
    assert main.main(["plot", str(saved), "--field", "u"]) == 0
    assert sorted(os.listdir(saved.parent)) == ["run.vtkhdf", "run_u_case0.png", "run_u_case0_interfaces.png"]
    capsys.readouterr()
    assert "--overwrite" in fails(capsys, 2, "plot", saved, "--field", "u")
    assert main.main(["plot", str(saved), "--field", "u", "--overwrite"]) == 0


def test_help_and_version(capsys: Capture) -> None:
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("pdesolve 0.")
    for arguments in (["--help"], ["info", "--help"], ["plot", "--help"]):
        assert main.main(arguments) == 0
        assert capsys.readouterr().out.startswith("usage: pdesolve")


def test_help_loads_nothing_heavy() -> None:
    program = """
import sys
from pdesolve.cli.main import main
own = {"h5py", "matplotlib", "scipy", "pdesolve.results", "pdesolve.plotting"}
before = set(sys.modules)
main(["--help"])
assert not own & (set(sys.modules) - before), own & set(sys.modules)
assert not {"h5py", "matplotlib"} & set(sys.modules)
"""
    run = python("-c", program)
    assert run.returncode == 0, run.stderr


def test_module_is_the_command(saved: Path) -> None:
    run = python("-m", "pdesolve", "info", saved)
    assert (run.returncode, run.stderr) == (0, "")
    assert "20 nodes" in run.stdout


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "arguments",
    [[], ["inof"], ["info"], ["info", "a", "b"], ["plot", "a", "--case", "one"], ["info", "--jso", "a"], ["--verbos"]],
)
def test_usage(arguments: list[str], capsys: Capture) -> None:
    assert "--help" in fails(capsys, 2, *arguments)


def test_input_file(saved: Path, tmp_path: Path, capsys: Capture) -> None:
    truncated = tmp_path / "truncated.vtkhdf"
    truncated.write_bytes(saved.read_bytes()[:3000])
    (tmp_path / "text.vtkhdf").write_text("hello")
    for command in ("info", "plot"):
        assert "check the name" in fails(capsys, 3, command, tmp_path / "none.vtkhdf")
        assert "is a folder" in fails(capsys, 3, command, tmp_path)
        assert "take another copy" in fails(capsys, 3, command, truncated)
        line = fails(capsys, 3, command, tmp_path / "text.vtkhdf")
        assert all(word in line for word in ("text.vtkhdf", "expected HDF5", "got", "hello"))
        fails(capsys, 3, command, os.fsdecode(b"\xff\n\x1b.vtkhdf"))
        fails(capsys, 3, command, "a\0b")
        fails(capsys, 3, command, "x" * 300)


def test_wrong_choices(saved: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "expected 0 to 1; got 2" in fails(capsys, 2, "plot", saved, "--case", "2")
    assert "got -1" in fails(capsys, 2, "plot", saved, "--case", "-1")
    assert "expected one of u, v/w; got 'p'" in fails(capsys, 2, "plot", saved, "--field", "p")
    assert "run.vtkhdf" in fails(capsys, 2, "plot", saved, "--out", saved)
    assert "Not a directory" in fails(capsys, 2, "plot", saved, "--out", saved / "below")


def test_too_few_nodes_beside_an_interface_is_a_warning(tmp_path: Path, capsys: Capture) -> None:
    grid = StructuredGrid.uniform(Box(("x",), (0.0,), (1.0,)), (5,))
    field = Field(torch.ones(1, 1, 5, dtype=torch.float64), grid, ("u",))
    save(Solution(field, torch.zeros(1, 1, dtype=torch.int64), interfaces={"x": (0.1,)}), tmp_path / "a.vtkhdf")
    assert main.main(["plot", str(tmp_path / "a.vtkhdf")]) == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(tmp_path / "a_u.png")]
    assert err.startswith("pdesolve: warning: no picture of the interfaces")


class Command:
    """A command that fails in a given way."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self.error = error

    def add_parser(self, subparsers: Any) -> None:
        subparsers.add_parser("fail").set_defaults(run=self.run)

    def run(self, arguments: argparse.Namespace) -> int:
        raise self.error()


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (lambda: CommandError(ExitCode.INTERRUPTED, "go on with --resume"), 6, "--resume"),
        (lambda: CommandError(ExitCode.USAGE, "two\nlines"), 2, "two lines"),
        (lambda: SolveError("1 of 2 diverged", torch.zeros(1)), 4, "diverged"),
        (lambda: MemoryError(), 5, "out of memory"),
        (lambda: torch.OutOfMemoryError("CUDA out of memory. Tried 8 GiB"), 5, "float32"),
        (lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), 5, "coarser grid"),
        (lambda: OSError(errno.ENOSPC, "No space left on device", "a.png"), 5, "'a.png'"),
        (lambda: PermissionError(errno.EACCES, "Permission denied", "out"), 5, "'out'"),
        (lambda: FileExistsError(errno.EEXIST, "File exists", "out"), 2, "'out'"),
        (lambda: KeyboardInterrupt(), 130, "interrupted"),
        (lambda: ZeroDivisionError("division by zero"), 70, "--debug"),
    ],
)
def test_exit_codes(
    error: Callable[[], BaseException], code: int, word: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(main, "COMMANDS", (*commands.COMMANDS, Command(error)))
    assert word in fails(capsys, code, "fail")


@pytest.mark.parametrize("arguments", [["--debug", "info", "none"], ["info", "none", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], capsys: Capture) -> None:
    assert main.main(arguments) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("pdesolve: error: ")


# ---------------------------------------------------------------------------------------------- streams


def test_closed_pipe_is_silent(saved: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pdesolve", "info", str(saved)]
    run = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (run.returncode, run.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_stdout(saved: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pdesolve", "info", str(saved)]
    with open("/dev/full", "w") as full:
        run = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert run.returncode == 5
    assert run.stderr == "pdesolve: error: No space left on device\n"


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("a\tb\nc", None, "a b c"),
        ("\x1b[31mred", None, "\\x1b[31mred"),
        ("ν = \udcff", None, "ν = \\udcff"),
        ("ν", "ascii", "\\u03bd"),
        ("\u202eevil", None, "\\u202eevil"),
    ],
)
def test_printable(text: str, encoding: str | None, shown: str) -> None:
    assert printable(text, encoding) == shown
