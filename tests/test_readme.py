"""The README's code runs as it stands, with fewer training steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pdesolve as ps

README = Path(__file__).resolve().parents[1] / "README.md"


def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block.replace("steps=600", "steps=3"), str(README), "exec"), names)
    assert (tmp_path / "sorption.vtkhdf").exists()
    assert int(names["report"].status.sum()) == 0
    assert names["network"].weight.grad is not None


def test_the_frame_of_ones_own_runs() -> None:
    (block,) = re.findall(
        r"```python\n(.*?)```", (README.parent / "docs" / "frames.md").read_text(encoding="utf-8"), re.S
    )
    domain = ps.Interval(0, 1) * ps.TimeInterval(0, 1)
    start, left = ps.InitialCondition(lambda x, u0: u0 * (1 - x)), ps.Dirichlet(lambda u0: u0, on="left")
    problem = ps.Problem(ps.Heat(0.1), domain, [start, left, ps.Neumann(0.0, on="right")], {"u0": 0.5})
    names: dict[str, Any] = {"family": ps.ProblemFamily(problem, {"u0": ps.Uniform(0.0, 1.0)})}
    exec(compile(block, "frames.md", "exec"), names)
    grid = ps.StructuredGrid.uniform(domain, (6, 11))
    assert bool(names["expert"].double()({"u0": 0.3}, grid).converged.all())


def test_every_link_leads_somewhere() -> None:
    for page in (README, *README.parent.glob("docs/*.md"), README.parent / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
