"""The benchmarks' Chebyshev collocation in the square converges to the suite's exact solutions."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from pdesolve.domains.grid import StructuredGrid
from pdesolve.problem import Problem
from pdesolve.reference.abstract import relative_error
from pdesolve.reference.suite import flow_mixing_problem, klein_gordon_problem

BENCHMARKS = Path(__file__).parents[1] / "examples" / "benchmarks"


@pytest.mark.parametrize(
    ("problem", "name", "nodes", "least"),
    [
        (klein_gordon_problem(2.0), "KleinGordonSquare", (8, 16), 16.0),
        (flow_mixing_problem(end=1.0), "AdvectionSquare", (24, 48), 16.0),
    ],
)
def test_twice_the_nodes_lower_the_error_at_order_four(
    problem: Problem, name: str, nodes: tuple[int, int], least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On points that are no nodes, at times that no step was made for."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    solver: Any = getattr(importlib.import_module("classical_square"), name)
    points = StructuredGrid.uniform(problem.domain, (4, 13, 11)).coordinates()
    assert problem.reference is not None
    exact = problem.reference(points, problem.parameters)
    coarse, fine = (relative_error(solver(problem, n)(points), exact) for n in nodes)
    assert fine < 1e-3
    assert coarse / fine > least


def test_values_are_given_where_the_flow_enters_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    square = importlib.import_module("classical_square").AdvectionSquare(flow_mixing_problem(), 10)
    inside = torch.zeros(10, 10, dtype=torch.bool)
    inside[1:-1, 1:-1] = True
    assert not bool((square.enters & inside).any())
    y = square.y[-1, 1:-1]  # a = ω (-y, x): through x = 4 it enters where y > 0
    assert square.enters[-1, 1:-1].tolist() == (y > 0).tolist()
