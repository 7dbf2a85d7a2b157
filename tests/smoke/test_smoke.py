"""The installed package at its public surface; also run outside the checkout against the built wheel."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

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
