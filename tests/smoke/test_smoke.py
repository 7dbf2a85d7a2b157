"""The installed package at its public surface; also run outside the checkout against the built wheel."""

from __future__ import annotations

import importlib.metadata
import math
import subprocess
import sys
from pathlib import Path

import torch

import pdesolve


def test_version_is_that_of_the_distribution() -> None:
    assert pdesolve.__version__ == importlib.metadata.version("pdesolve")


def test_command_explains_itself() -> None:
    command = Path(sys.executable).parent / "pdesolve"
    assert command.exists(), "the console script is missing: pip install -e ."
    run = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "usage: pdesolve" in run.stdout
    assert run.stderr == ""


def test_everything_public_is_there() -> None:
    missing = [name for name in pdesolve.__all__ if not hasattr(pdesolve, name)]
    assert not missing


def test_a_problem_is_solved_saved_and_read_back(tmp_path: Path) -> None:
    from pdesolve.results import load

    problem = pdesolve.Problem(
        pdesolve.Heat(kappa=0.1),
        pdesolve.Interval(0, 1) * pdesolve.TimeInterval(0, 1),
        [pdesolve.InitialCondition(lambda x: torch.sin(math.pi * x)), pdesolve.Dirichlet(0.0)],
    )
    expert = pdesolve.parametric_expert(problem, n_basis=32, widths=(32,), dtype=torch.float64)
    mixture = pdesolve.MixtureOfExperts(pdesolve.cartesian_decomposition(problem.domain, {"x": 2}), expert)
    grid = pdesolve.StructuredGrid.uniform(problem.domain, (11, 21))
    solution = mixture({}, grid)
    coordinates = grid.coordinates()
    exact = torch.exp(-0.1 * math.pi**2 * coordinates["t"]) * torch.sin(math.pi * coordinates["x"])
    assert float(solution.relative_error(exact[None, None])) < 1e-2
    solution.save(str(tmp_path / "heat.vtkhdf"))
    assert torch.equal(load(tmp_path / "heat.vtkhdf").field.values, solution.field.values)
