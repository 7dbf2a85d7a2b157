"""The namespace pdesolve.linalg: its table of names, and what importing it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pdesolve.linalg as linalg


def declared() -> dict[str, str]:
    """Name -> module, from the imports that only type checkers see."""
    tree = ast.parse(Path(linalg.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.module is not None
        for alias in node.names:
            assert alias.asname == alias.name
            found[alias.name] = node.module.removeprefix("pdesolve.linalg.")
    return found


def test_type_checkers_and_the_interpreter_find_the_same_names() -> None:
    assert declared() == linalg._HOMES


@pytest.mark.parametrize("name", sorted(linalg._HOMES))
def test_every_name_loads_from_its_home(name: str) -> None:
    value = getattr(linalg, name)
    assert value.__module__ == f"pdesolve.linalg.{linalg._HOMES[name]}"
    assert (value.__doc__ or "").strip()
    assert name in dir(linalg)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SuperLoo'"):
        linalg.SuperLoo  # noqa: B018


def test_importing_the_package_loads_no_solver() -> None:
    code = (
        "import sys, pdesolve; "
        "print([m for m in sys.modules if m.startswith('pdesolve.linalg.krylov') or m in ('scipy.sparse', 'pyamg')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
