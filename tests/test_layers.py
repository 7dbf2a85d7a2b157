"""The source obeys the layering: data runs one way and nobody imports upward."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the bottom up. A module may import its own name and every lower line, but not its neighbours in a line.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("status", "lazy", "namespace", "atomic", "memory", "transforms", "execution"),
    ("domains", "linalg"),
    ("root_finding",),
    ("field",),
    ("solution",),
    ("jet_kernels",),
    ("jet",),
    ("pde",),
    ("condition",),
    ("problem",),
    ("frames",),
    ("discretization",),
    ("nonlinear",),
    ("residual_minimisation",),
    ("implicit_function",),
    ("implicit",),
    ("unrolled",),
    ("convex",),
    ("reference",),
    ("distributed", "results", "plotting", "metrics"),
    ("experts",),
    ("training",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# A solution saves itself; the writer stands above it and is imported when it is called.
DEFERRED = {("pdesolve.solution", "pdesolve.results.vtkhdf")}
MAY_PRINT = {"cli", "__main__"}


def layer_of(module: str) -> str:
    """`pdesolve.linalg.krylov.solve` -> `linalg`; the package itself -> the empty string."""
    return module.partition(".")[2].partition(".")[0]


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and module of every import, the ones inside functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def import_fault(target: str, module: str) -> str | None:
    """What is wrong with `module` importing `target`, if anything is."""
    if target.startswith("."):
        return f"relative import of {target}: write the full name"
    package = target.partition(".")[0]
    if package in {"domains", "experts"}:
        return f"imports {target}: write pdesolve.{target}"
    if package != "pdesolve" or module == "pdesolve":
        return None
    lower, here = layer_of(target), layer_of(module)
    if (module, target) in DEFERRED:
        return None
    if not lower:
        return "imports from pdesolve itself: name the submodule, as in 'from pdesolve.field import Field'"
    if lower not in RANK:
        return f"imports {target}, which is in no layer: add {lower!r} to LAYERS in {Path(__file__).name}"
    if lower != here and RANK[lower] >= RANK[here]:
        return f"imports {target}: {lower!r} is not below {here!r}"
    return None


def faults(source: str, module: str) -> list[str]:
    """All faults of one module, each with its line."""
    here = layer_of(module)
    if module != "pdesolve" and here not in RANK:
        return [f"{module} is in no layer: add {here!r} to LAYERS in {Path(__file__).name}"]
    tree = ast.parse(source)
    found = [(line, fault) for line, target in imports(tree) if (fault := import_fault(target, module))]
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append((node.lineno, "bare except: name the exception"))
        if isinstance(node, ast.Name) and node.id == "print" and here not in MAY_PRINT:
            found.append((node.lineno, "print: use logging"))
    return [f"{module}:{line}: {fault}" for line, fault in sorted(found)]


def module_name(path: Path) -> str:
    """`ROOT/domains/mesh.py` -> `pdesolve.domains.mesh`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "pdesolve" else ("pdesolve", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, Path]:
    """Every module of the package; the two linked folders are read where they really lie."""
    links = {ROOT / "pdesolve" / "domains", ROOT / "pdesolve" / "experts"}
    paths = [path for folder in ("pdesolve", "domains", "experts") for path in (ROOT / folder).rglob("*.py")]
    return {module_name(path): path for path in sorted(paths) if links.isdisjoint(path.parents)}


@pytest.mark.parametrize("module", sources())
def test_module_keeps_to_its_layer(module: str) -> None:
    found = faults(sources()[module].read_text(encoding="utf-8"), module)
    assert not found, "\n".join(found)


def test_all_three_folders_are_read() -> None:
    assert {"pdesolve", "pdesolve.domains", "pdesolve.experts"} <= set(sources())


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("pdesolve.field", "from pdesolve.problem import Problem", "'problem' is not below 'field'"),
        ("pdesolve.domains.mesh", "import pdesolve.linalg.krylov.solve", "'linalg' is not below 'domains'"),
        ("pdesolve.results.vtkhdf", "def f():\n    import pdesolve.plotting", "'plotting' is not below"),
        ("pdesolve.jet", "if TYPE_CHECKING:\n    import pdesolve.pde.heat", "'pde' is not below 'jet'"),
        ("pdesolve.experts.gate", "from pdesolve.training import train", "'training' is not below 'experts'"),
        ("pdesolve.training", "from pdesolve import Field", "imports from pdesolve itself"),
        ("pdesolve.training", "import pdesolve", "imports from pdesolve itself"),
        ("pdesolve.pde.burgers", "from .heat import Heat", "relative import"),
        ("pdesolve", "from . import field", "relative import"),
        ("pdesolve.training", "from domains import Mesh", "write pdesolve.domains"),
        ("pdesolve.training", "from pdesolve.helpers import f", "add 'helpers' to LAYERS"),
        ("pdesolve.helpers", "", "add 'helpers' to LAYERS"),
        ("pdesolve.field", "print('x')", "print"),
        ("pdesolve.field", "try:\n    f()\nexcept:\n    pass", "bare except"),
    ],
)
def test_fault_is_found(module: str, source: str, fault: str) -> None:
    found = faults(source, module)
    assert len(found) == 1, found
    assert fault in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pdesolve", "from pdesolve.cli.main import main\nfrom pdesolve.field import Field"),
        ("pdesolve.linalg.direct.system", "from pdesolve.linalg.operators import DenseOperator"),
        ("pdesolve.linalg", "from pdesolve.status import SolveStatus"),
        ("pdesolve.experts.mixture", "from pdesolve.domains.decomposition import Decomposition"),
        ("pdesolve.cli.main", "print('x')"),
        ("pdesolve.field", "try:\n    f()\nexcept ValueError:\n    raise"),
    ],
)
def test_sound_module_passes(module: str, source: str) -> None:
    assert faults(source, module) == []
