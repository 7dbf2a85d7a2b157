"""Random systems, most of them bad: a status, never a wrong number.

Every answer that counts as converged is compared with the exact solution in rational numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdesolve.linalg.direct.dense_lu import DenseLU
from pdesolve.linalg.direct.equilibration import equilibrated
from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.solve import linear_solve
from pdesolve.status import SolveStatus

EPS = float(np.finfo(np.float64).eps)
_DIGITS = 1e-2  # what a condition estimate of at most 1e13 leaves, with room for its underestimation


@dataclass(frozen=True)
class Garbage:
    """A system and what is declared about it.

    Arguments:
        matrix: (n, n).
        b: (2, n).
        symmetric, definite: the declarations.
    """

    matrix: np.ndarray
    b: np.ndarray
    symmetric: bool
    definite: bool

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.matrix).all())


def entries(kind: str) -> st.SearchStrategy[float]:
    return {
        "small integers": st.integers(-2, 2).map(float),
        "ordinary": st.floats(-4, 4, allow_subnormal=False),
        "all scales": st.builds(lambda m, e: m * 10.0**e, st.floats(-1, 1), st.integers(-14, 14)),
    }[kind]


@st.composite
def garbage(draw: st.DrawFn) -> Garbage:
    """A matrix of some kind, one or two faults, and two right-hand sides."""
    n = draw(st.integers(1, 7))
    numbers = entries(draw(st.sampled_from(["small integers", "ordinary", "all scales"])))
    grid = st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=n, max_size=n)
    matrix = np.array(draw(grid), dtype=np.float64)
    shape = draw(st.sampled_from(["any", "any", "dominant", "symmetric", "graph", "symmetric dominant"]))
    if "symmetric" in shape:
        matrix = np.triu(matrix) + np.triu(matrix, 1).T
    if "dominant" in shape:
        matrix += np.diag(np.abs(matrix).sum(1) + 1e-3)
    if shape == "graph":  # a Neumann problem: rows add up to zero
        matrix = -np.abs(np.triu(matrix, 1))
        matrix = matrix + matrix.T
        matrix -= np.diag(matrix.sum(1))
    b = np.array(draw(st.lists(st.lists(entries("ordinary"), min_size=n, max_size=n), min_size=2, max_size=2)))
    for _ in range(draw(st.integers(0, 2))):
        matrix, b = spoil(draw, matrix, b)
    symmetric = draw(st.booleans())
    return Garbage(matrix, b, symmetric, symmetric and draw(st.booleans()))


def spoil(draw: st.DrawFn, matrix: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    matrix, b, n = matrix.copy(), b.copy(), len(matrix)
    i, j = draw(st.integers(0, n - 1)), draw(st.integers(0, n - 1))
    match draw(st.sampled_from(["row", "column", "twin", "scale", "infinite", "in range", "rhs", "nearly", "rows"])):
        case "row":
            matrix[i] = 0
        case "column":
            matrix[:, i] = 0
        case "twin":
            matrix[i] = matrix[j]
        case "scale":
            matrix[i] *= 10.0 ** draw(st.integers(-12, 12))
        case "infinite":
            matrix[i, j] = draw(st.sampled_from([np.inf, -np.inf, np.nan]))
        case "in range":
            with np.errstate(all="ignore"):
                b[0] = np.nan_to_num(matrix @ b[0], posinf=0, neginf=0)
        case "rhs":
            b[0, i] = draw(st.sampled_from([np.inf, np.nan, 1e300, 1e-300]))
        case "nearly":
            matrix[i] = matrix[j] + 1e-15 * matrix[i]
        case "rows":
            scales = 10.0 ** np.array(draw(st.lists(st.integers(-12, 12), min_size=n, max_size=n)))
            matrix *= scales[:, None]
    return matrix, b


def exact(matrix: np.ndarray, b: np.ndarray) -> list[Fraction] | None:
    """The solution in rational numbers by Gaussian elimination; None where the matrix is singular."""
    rows = [[Fraction(float(v)) for v in (*row, rhs)] for row, rhs in zip(matrix, b, strict=True)]
    n = len(rows)
    for k in range(n):
        pivot = next((i for i in range(k, n) if rows[i][k]), None)
        if pivot is None:
            return None
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [v - factor * w for v, w in zip(rows[i], rows[k], strict=True)]
    return [row[n] for row in rows]


def check(system: Garbage) -> None:
    """Both direct solvers: finite values, true statuses, right numbers."""
    b = torch.from_numpy(system.b)
    claims = {"symmetric": system.symmetric, "positive_definite": system.definite}
    matrix = torch.from_numpy(system.matrix)
    rows, columns = (matrix != 0).nonzero().unbind(-1)
    operators = [DenseOperator(matrix, **claims)]
    operators.append(SparseOperator.from_triplets(rows, columns, matrix[rows, columns], tuple(matrix.shape), **claims))
    for operator, solver in zip(operators, (DenseLU(), SuperLU()), strict=True):
        x, report = linear_solve(operator, b, solver, throw=False)
        assert x.isfinite().all()
        for member in range(2):
            status = SolveStatus(int(report.status[member]))
            if not np.isfinite(system.b[member]).all():
                assert not status.succeeded
            elif not status.succeeded:
                assert not well_posed(system)
            else:
                judge(system, system.b[member], x[member].numpy(), str(report.stats["detail"]))


def well_posed(system: Garbage) -> bool:
    """A system that nothing can be said against: it must be solved."""
    if not system.finite or system.symmetric:
        return False
    matrix = system.matrix
    dominant = np.abs(np.diag(matrix)) > 1.01 * (np.abs(matrix).sum(1) - np.abs(np.diag(matrix)))
    return bool(dominant.all()) and np.abs(np.diag(matrix)).max() < 1e6 * np.abs(np.diag(matrix)).min()


def judge(system: Garbage, b: np.ndarray, x: np.ndarray, detail: str) -> None:
    """A converged answer: what was declared is true, and x is right to two digits in balanced unknowns."""
    assert system.finite
    matrix, n = system.matrix, len(system.matrix)
    assert np.abs(matrix).max(0).all()
    assert np.abs(matrix).max(1).all()
    if system.symmetric:
        assert (np.abs(matrix - matrix.T) <= 1e4 * EPS * np.abs(matrix).max()).all()
    if system.definite:
        scale = 1 / np.sqrt(np.diag(matrix))
        assert np.linalg.eigvalsh(matrix * scale * scale[:, None])[0] > -1e3 * EPS * n
    if not b.any():
        assert not x.any()
        return
    if "null space" in detail:
        judge_projected(matrix, b, x)
        return
    truth = exact(matrix, b)
    assert truth is not None, "a singular matrix was solved"
    _, _, right = equilibrated(DenseOperator(torch.from_numpy(matrix)))
    balanced = [Fraction(float(r)) for r in right]
    largest = max(abs(t / r) for t, r in zip(truth, balanced, strict=True))
    worst = max(abs(Fraction(float(v)) - t) / r for v, t, r in zip(x, truth, balanced, strict=True))
    assert worst <= Fraction(_DIGITS) * largest


def judge_projected(matrix: np.ndarray, b: np.ndarray, x: np.ndarray) -> None:
    """Constants are in a null space: the residual vanishes in every row."""
    one = np.ones(len(x))
    small = [np.abs(a @ one) <= 32 * EPS * (np.abs(a) @ one) for a in (matrix, matrix.T)]
    assert small[0].all() or small[1].all()
    balanced, left, right = equilibrated(DenseOperator(torch.from_numpy(matrix)))
    a, y, rhs = balanced.matrix.numpy(), x / right.numpy(), b * left.numpy()
    gap, size = np.abs(rhs - a @ y).max(), np.abs(a).sum(1).max() * np.abs(y).max() + np.abs(rhs).max()
    assert gap <= 1e-9 * size


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(garbage())
def test_garbage_gets_a_status(system: Garbage) -> None:
    check(system)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(garbage())
def test_two_thousand_systems(system: Garbage) -> None:
    check(system)
