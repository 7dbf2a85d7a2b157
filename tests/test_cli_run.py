"""``pdesolve run``: what it writes, how it goes on, and one line with the right code for every mistake."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pdesolve.cli import config, main, registry, run_results
from pdesolve.cli.config import MAX_BYTES, load_config, parse
from pdesolve.cli.readers import ConfigError
from pdesolve.cli.run_folder import RESULTS
from pdesolve.results import load
from pdesolve.training import load_expert
from pdesolve.training.errors import StepFailure
from pdesolve.training.folder_lock import locked

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
TINY = """
schema = 1
[problem]
name = "heat"
[method]
patches = { x = 2 }
basis = 4
widths = [8]
[training]
steps = 3
batch = 2
[evaluation]
cases = 2
grid = { t = 5, x = 12 }
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str | bytes, name: str = "run.toml") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def edited(**sections: str) -> str:
    """The tiny configuration with further lines in its sections."""
    text = TINY
    for name, lines in sections.items():
        mark = f"[{name}]\n"
        text = text.replace(mark, f"{mark}{lines}\n") if mark in text else f"{text}{mark}{lines}\n"
    return text


def fails(capture: Capture, code: int, *arguments: str) -> str:
    """The one line of a run that ends with ``code``."""
    capture.readouterr()
    assert main.main(["run", *arguments]) == code
    err = capture.readouterr().err
    assert err.startswith("pdesolve: error: ")
    assert err.count("\n") == 1, err
    return err


def started(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own, which heeds SIGINT also where the shell of the tests ignores it."""
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pdesolve.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ---------------------------------------------------------------------------------------------- what it does


def test_end_to_end(capsys: Capture) -> None:
    source = write(TINY)
    assert main.main(["run", source, "--out", "out"]) == 0
    out = capsys.readouterr().out
    folder = Path("out")
    for name in RESULTS:
        assert str(folder / name) in out
        assert (folder / name).stat().st_size > 0
    solution = load(folder / "solution.vtkhdf")
    assert solution.field.values.shape == (2, 1, 5, 12)
    assert solution.field.values.dtype == torch.float64
    assert solution.interfaces == {"x": (0.5,)}
    record = json.loads((folder / "summary.json").read_text())
    assert record["cases"]["converged"] == 2
    assert record["cases"]["parameters"]["kappa"] == solution.parameters["kappa"].tolist()
    assert all(0 < error < 0.5 for error in record["relative_l2_error"]["by_case"])
    assert record["provenance"] == solution.provenance
    assert solution.provenance["config"] == parse(TINY).record()
    assert solution.provenance["seeds"] == {"weights": 0, "training": 0, "evaluation": 1}

    expert = load_expert(folder / "expert.safetensors", registry.rebuild_expert)
    again = expert(dict(solution.parameters), solution.field.grid)
    assert torch.equal(again.field.values, solution.field.values)


def test_as_a_process() -> None:
    source = write(edited(output='folder = "deep/run"', evaluation="reference = false"))
    process = started("run", source)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert os.path.join("deep", "run", "solution.vtkhdf") in out
    record = json.loads(Path("deep/run/summary.json").read_text())
    assert record["relative_l2_error"]["by_case"] is None
    assert not Path("deep/run/comparison.png").exists()


@pytest.mark.parametrize(
    ("problem", "method", "cases"),
    [
        ("diffusion-sorption", 'name = "single"\nbasis = 6', "{ u0 = [0.1, 0.15] }"),
        ("burgers", 'name = "mixture"\npatches = { t = 2, x = 2 }\nbasis = 6\ncoupling = "independent"', "1"),
        ("heat", 'name = "soft"', "{ kappa = [0.5] }"),
    ],
)
def test_every_problem_and_method(problem: str, method: str, cases: str, capsys: Capture) -> None:
    text = f"""schema = 1
problem.name = "{problem}"
[method]
{method}
widths = [8]
[training]
steps = 2
batch = 2
[evaluation]
cases = {cases}
grid = {{ t = 3, x = 20 }}
reference = false
"""
    assert main.main(["run", write(text)]) == 0
    assert ("goes beyond" in capsys.readouterr().err) == (problem == "heat")
    assert bool(torch.isfinite(load("runs/run/solution.vtkhdf").field.values).all())


def test_not_converged_is_saved_and_ends_with_4(capsys: Capture) -> None:
    text = edited(method="max_steps = 1").replace('"heat"', '"burgers"')
    line = fails(capsys, 4, write(text), "--out", "out")
    assert "2 of 2 cases not converged" in line
    assert "raise max_steps" in line
    solution = load("out/solution.vtkhdf")
    assert not bool(solution.converged.any())
    record = json.loads(Path("out/summary.json").read_text())
    assert record["cases"]["solves_by_status"] == {"STEP_CAP": 4}
    assert record["relative_l2_error"]["converged_cases"] is None
    assert all(Path("out", name).exists() for name in RESULTS)


def test_examples_are_valid() -> None:
    paths = list(EXAMPLES.glob("*.toml"))
    assert len(paths) >= 2
    for path in paths:
        given, _ = load_config(str(path))
        family = registry.make_family(given.problem, given.family)
        registry.make_expert(given, family)
        registry.make_cases(given.evaluation, family, given.problem.name)
        registry.make_grid(given.evaluation, family.problem.domain)


# ---------------------------------------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"schema": 1, "width": 3}, "unknown section 'width'"),
        ({"n_basis": 16}, "the version is missing"),
        ({"schema": 1, "problem": {"name": "heat"}, "training": {"steps": 1}, "method": {"widths": [0]}}, "widths"),
        ({"schema": 1, "problem": {"name": "heta"}, "training": {"steps": 1}}, "heta.*heat"),
        ({"schema": 2, "problem": {"name": "heat"}, "training": {"steps": 1}}, "newer"),
    ],
    ids=["foreign", "no run", "size", "name", "newer"],
)
def test_an_expert_of_another_program_is_not_rebuilt(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.rebuild_expert(config)


def parameters(folder: str) -> dict[str, torch.Tensor]:
    return load_expert(Path(folder, "expert.safetensors"), registry.rebuild_expert).state_dict()


def test_resume_after_sigint_gives_the_same_numbers() -> None:
    source = write(edited(training="checkpoint_every = 5").replace("steps = 3", "steps = 150"))
    process = started("run", source, "--out", "stopped run")
    deadline = time.monotonic() + 60
    while not Path("stopped run/checkpoints/step_00000005").is_dir():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    assert "of 150" in err
    assert "go on with: pdesolve run run.toml --out 'stopped run' --resume" in err
    assert not Path("stopped run/expert.safetensors").exists()

    assert main.main(["run", source, "--out", "stopped run", "--resume"]) == 0
    assert main.main(["run", source, "--out", "straight"]) == 0
    stopped, straight = parameters("stopped run"), parameters("straight")
    assert stopped.keys() == straight.keys()
    assert all(torch.equal(stopped[name], straight[name]) for name in straight)
    assert torch.equal(*(load(f"{name}/solution.vtkhdf").field.values for name in ("stopped run", "straight")))


def test_interrupt_while_solving(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    source = write(TINY)
    with monkeypatch.context() as patch:
        patch.setattr(run_results, "solve", interrupted)
        assert "--resume" in fails(capsys, 6, source)
    assert main.main(["run", source, "--resume"]) == 0


def test_two_runs_in_one_folder(capsys: Capture) -> None:
    Path("out").mkdir()
    with locked(Path("out")):
        assert "another run" in fails(capsys, 5, write(TINY), "--out", "out")
    assert os.listdir("out") == ["run.lock"]


def test_disk_full(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "solution.vtkhdf")

    monkeypatch.setattr(run_results, "save", full)
    assert "No space left" in fails(capsys, 5, write(TINY))
    assert Path("runs/run/checkpoints/latest").exists()


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (StepFailure("no case could be used"), "no case could be used", 4),
        (MemoryError("8 GiB"), "out of memory (8 GiB)", 5),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "use a smaller batch", 5),
    ],
    ids=["no case", "memory", "torch's memory"],
)
def test_training_fails(
    error: Exception, message: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("pdesolve.training.run.evaluate", failing)
    assert message in fails(capsys, code, write(TINY))


def test_folders(capsys: Capture) -> None:
    source = write(TINY)
    assert "without --resume" in fails(capsys, 2, source, "--out", "out", "--resume")
    assert not Path("out").exists()
    assert main.main(["run", source, "--out", "out"]) == 0
    Path("out/mine.txt").write_text("kept")
    line = fails(capsys, 2, source, "--out", "out")
    assert all(word in line for word in ("holds a run", "--resume", "--overwrite", "--out"))
    assert "not allowed with" in fails(capsys, 2, source, "--resume", "--overwrite")

    other = write(TINY.replace("basis = 4", "basis = 5"), "other.toml")
    assert "[method] basis was 4" in fails(capsys, 2, other, "--out", "out", "--resume")
    single = TINY.replace("patches = { x = 2 }", 'name = "single"').replace("grid", "reference = false\ngrid")
    assert main.main(["run", write(single, "single.toml"), "--out", "out", "--overwrite"]) == 0
    assert Path("out/mine.txt").read_text() == "kept"
    assert not Path("out/interfaces.png").exists()  # of the run before
    assert not Path("out/comparison.png").exists()

    Path("full").mkdir()
    Path("full/thesis.tex").write_text("\\title")
    for option in ("--overwrite", None):
        line = fails(capsys, 2, source, "--out", "full", *([option] if option else []))
        assert "'thesis.tex'" in line
    assert os.listdir("full") == ["thesis.tex"]
    assert "run.toml" in fails(capsys, 2, source, "--out", source)


def test_longer_run_is_resumed(capsys: Capture) -> None:
    assert main.main(["run", write(TINY)]) == 0
    assert main.main(["run", write(TINY.replace("steps = 3", "steps = 5")), "--resume"]) == 0
    assert "trained 5 steps" in capsys.readouterr().out
    for path in Path("runs/run/checkpoints").glob("step_*/model.safetensors"):
        path.write_bytes(b"")
    assert "--overwrite" in fails(capsys, 3, "run.toml", "--resume").splitlines()[-1]


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xef\xbb\xbfschema = 1", "without BOM"),
        ("schema = 1".encode("utf-16"), "without BOM"),
        (b"schema = 1\n# viscosit\xe4t\n", "line 2 is not UTF-8 (byte 0xe4)"),
        (b"schema = 1\0", "NUL byte stands at byte 10"),
        (b"#" * (MAX_BYTES + 1), "more than 1048576 bytes"),
    ],
)
def test_no_text(content: bytes, words: str, capsys: Capture) -> None:
    assert words in fails(capsys, 3, write(content))
    assert os.listdir() == ["run.toml"]


def test_no_file(capsys: Capture) -> None:
    os.mkdir("folder.toml")
    os.mkfifo("pipe.toml")
    assert "'none.toml': No such file" in fails(capsys, 3, "none.toml")
    assert "is a folder" in fails(capsys, 3, "folder.toml")
    assert "no regular file" in fails(capsys, 3, "pipe.toml")
    fails(capsys, 3, "a\0b")
    fails(capsys, 3, os.fsdecode(b"\xff.toml"))
    fails(capsys, 3, "x" * 300)
    assert "FILE.toml" in fails(capsys, 2)


def test_no_permission(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "run.toml")

    source = write(TINY)
    monkeypatch.setattr(config, "open", refused, raising=False)  # the superuser may read everything
    assert "Permission denied; check the permissions" in fails(capsys, 3, source)


BAD = {
    "no version": (TINY.replace("schema = 1", ""), "write schema = 1"),
    "newer version": (TINY.replace("schema = 1", "schema = 2"), "schema 2 is newer"),
    "version is text": (TINY.replace("schema = 1", 'schema = "1"'), "schema must be an integer"),
    "no TOML": (TINY + "a b", "no valid TOML"),
    "no value": ("schema = 1\nname =", "no valid TOML"),
    "duplicate key": (edited(training="steps = 3"), "no valid TOML"),
    "octal": (edited(method="seed = 007"), "no valid TOML"),
    "5000 digits": (edited(method=f"seed = {'9' * 5000}"), "no valid TOML"),
    "depth bomb": ("schema = 1\na = " + "[" * 100_000, "nested too deeply"),
    "code tag": (edited(output="folder = !!python/object:os.system"), "no valid TOML"),
    "control character": (edited(output='folder = "x\\u0007"'), "printable"),
    "unknown section": (TINY + "[trainnig]", "did you mean 'training'?"),
    "section is a value": ("schema = 1\nproblem = 3", "[problem] must be a section"),
    "unknown key": (edited(training="learning_rat = 1"), "[training]: unknown key 'learning_rat'"),
    "nearest key": (edited(training="learning_rat = 1"), "did you mean 'learning_rate'?"),
    "missing key": ("schema = 1\n[training]\nsteps = 1", "[problem] lacks the key 'name'"),
    "unknown problem": (TINY.replace('"heat"', '"haet"'), "did you mean 'heat'?"),
    "unknown method": (edited(method='name = "mixtur"'), "did you mean 'mixture'?"),
    "unknown coupling": (edited(method='coupling = "interface"'), "did you mean 'interface-rows'?"),
    "unknown parameter": (edited(problem="parameters = { kapa = 1.0 }"), "did you mean 'kappa'?"),
    "unknown varied": (edited(family="kapp = [0.1, 1.0]"), "did you mean 'kappa'?"),
    "fixed and varied": (edited(problem="parameters = { kappa = 1.0 }"), "give it in one"),
    "key of another method": (edited(method='name = "soft"'), "[method] patches says nothing to 'soft'"),
    "number as text": (TINY.replace("steps = 3", 'steps = "3"'), "got the text '3'; write it without quotes"),
    "number is text": (edited(training='learning_rate = "1e-3"'), "must be a number"),
    "boolean for integer": (TINY.replace("steps = 3", "steps = true"), "got true"),
    "boolean for number": (edited(training="learning_rate = true"), "got true"),
    "number for boolean": (edited(evaluation="reference = 1"), "must be true or false, got 1"),
    "float for integer": (TINY.replace("steps = 3", "steps = 3.0"), "an integer from 1 to 10000000, got 3.0"),
    "date": (edited(training="learning_rate = 2020-01-01"), "got 2020-01-01 (date)"),
    "NaN": (edited(training="learning_rate = nan"), "must be a finite number, got nan"),
    "Inf": (edited(training="time_limit = inf"), "must be a finite number, got inf"),
    "1e400": (edited(training="learning_rate = 1e400"), "must be a finite number"),
    "10^400": (edited(training=f"learning_rate = 1{'0' * 400}"), "must be a finite number"),
    "zero steps": (TINY.replace("steps = 3", "steps = 0"), "got 0"),
    "1e12 steps": (TINY.replace("steps = 3", "steps = 1_000_000_000_000"), "[training] steps must be an integer"),
    "negative rate": (edited(training="learning_rate = -1e-3"), "got -0.001"),
    "negative viscosity": (edited(family="kappa = [-0.1, 0.1]"), "[family] kappa must be > 0, got -0.1"),
    "zero viscosity": (edited(family="kappa = [0.0, 0.1]"), "[family] kappa must be > 0, got 0.0"),
    "reversed range": (edited(family="kappa = [0.2, 0.1]"), "lower < upper, got [0.2, 0.1]; swap"),
    "range of three": (edited(family="kappa = [0.1, 0.2, 0.3]"), "a list of 2 values, got 3"),
    "range of one": (edited(family="kappa = 0.1"), "a list of 2 values, got 0.1"),
    "range with text": (edited(family='kappa = [0.1, "0.2"]'), "[family] kappa[1] must be a number"),
    "empty widths": (TINY.replace("[8]", "[]"), "a list of 1 to 16 values, got 0"),
    "wrong axis": (TINY.replace("x = 2", "y = 2"), "[method] patches: unknown axis 'y'; allowed: t, x"),
    "no patches": (TINY.replace("x = 2", "x = 0"), "[method] patches.x must be an integer from 1 to 64, got 0"),
    "grid lacks an axis": (TINY.replace("t = 5, ", ""), "lacks the axis 't'"),
    "grid of one node": (TINY.replace("t = 5", "t = 1"), "got 1"),
    "huge grid": (TINY.replace("t = 5, x = 12", "t = 100_000, x = 100_000"), "asks for 2.0e+10 values"),
    "no cases": (TINY.replace("cases = 2", "cases = 0"), "[evaluation] cases must be an integer"),
    "cases is text": (TINY.replace("cases = 2", 'cases = "2"'), "a number of cases or a table"),
    "cases of two lengths": (
        TINY.replace("cases = 2", "cases = { kappa = [0.1], D = [0.1, 0.2] }"),
        "1 for kappa, 2 for D",
    ),
    "cases of another": (TINY.replace("cases = 2", "cases = { nu = [0.1] }"), "unknown varied parameter 'nu'"),
    "cases lack one": (
        edited(family="D = [1e-4, 1e-3]\nu0 = [0.0, 0.2]")
        .replace("heat", "diffusion-sorption")
        .replace("cases = 2", "cases = { u0 = [0.1] }"),
        "[evaluation] cases lacks the varied parameter 'D'",
    ),
    "cases without list": (TINY.replace("cases = 2", "cases = {}"), "got no list"),
    "negative case": (TINY.replace("cases = 2", "cases = { kappa = [-0.1] }"), "must be > 0"),
    "same seeds": (edited(evaluation="seed = 0"), "choose another seed"),
    "negative seed": (edited(training="seed = -1"), "got -1"),
    "absolute folder": (edited(output='folder = "/tmp/x"'), "--out DIR"),
    "folder above": (edited(output='folder = "a/../../x"'), "--out DIR"),
    "empty folder": (edited(output='folder = ""'), "printable"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configuration(name: str, capsys: Capture) -> None:
    content, words = BAD[name]
    line = fails(capsys, 2, write(content))
    assert words in line
    assert "'run.toml': " in line
    assert os.listdir() == ["run.toml"]


def test_link_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, capsys: Capture) -> None:
    os.symlink(tmp_path_factory.mktemp("elsewhere"), "link")
    assert "--out DIR" in fails(capsys, 2, write(edited(output='folder = "link/run"')))
