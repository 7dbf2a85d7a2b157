"""Periodic conditions as rows: exact solutions are met, the ends agree, independent patches are refused."""

from __future__ import annotations

import math

import pytest
import torch

import pdesolve as ps


def problem() -> ps.Problem:
    return ps.Problem(
        ps.Heat(kappa=0.02),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: torch.sin(2 * math.pi * x)), ps.Periodic("x")],
    )


def exact(grid: ps.StructuredGrid) -> torch.Tensor:
    t, x = grid.coordinates()["t"], grid.coordinates()["x"]
    return (torch.exp(-0.02 * (2 * math.pi) ** 2 * t) * torch.sin(2 * math.pi * x))[None, None]


@pytest.mark.parametrize("patches", [1, 2, 3])
def test_an_expert_meets_the_periodic_heat_equation(patches: int) -> None:
    case = problem()
    expert = ps.parametric_expert(case, n_basis=128, widths=(128,), dtype=torch.float64)
    mixture = ps.MixtureOfExperts(ps.cartesian_decomposition(case.domain, {"x": patches}), expert)
    grid = ps.StructuredGrid.uniform(case.domain, (21, 41))
    solution = mixture({}, grid)
    assert float(solution.relative_error(exact(grid))) < 2e-2
    ends = solution.field.values[..., [0, -1]]
    assert float((ends[..., 0] - ends[..., 1]).abs().max()) < 5e-3


def test_fields_on_a_grid_meet_the_periodic_heat_equation() -> None:
    case, grid = problem(), ps.StructuredGrid.uniform(problem().domain, (41, 81))
    t, x = grid.coordinates()["t"], grid.coordinates()["x"]
    rate = 0.02 * (2 * math.pi) ** 2
    basis = torch.stack([torch.exp(-rate * t) * torch.sin(2 * math.pi * x), x * t, x, torch.ones_like(x)])[None]
    layer = ps.HardConstraintLayer(case, ps.FiniteDifferences(grid, order=4), ps.RowCounts(300, 30, 30))
    u, report = layer(basis)
    assert report.status.tolist() == [[0]]
    assert float((u - exact(grid)).abs().max()) < 1e-4


def test_independent_patches_cannot_be_periodic() -> None:
    case = problem()
    expert = ps.parametric_expert(case, n_basis=8, dtype=torch.float64)
    mixture = ps.MixtureOfExperts(ps.cartesian_decomposition(case.domain, {"x": 2}), expert, ps.Independent())
    with pytest.raises(ValueError, match="InterfaceRows"):
        mixture({}, ps.StructuredGrid.uniform(case.domain, (3, 5)))


def test_differences_on_a_grid_without_the_end_point_are_refused() -> None:
    """The last node is not the other end: tying it to the first would be wrong by one spacing."""
    case = problem()
    grid = ps.StructuredGrid.periodic(case.domain, (9, 16))
    layer = ps.HardConstraintLayer(case, ps.FiniteDifferences(grid), ps.RowCounts(60, 9))
    with pytest.raises(ValueError, match=r"leaves out the end of the periodic axis 'x'.*FourierSpectral"):
        layer(torch.ones(1, 2, 9, 16, dtype=torch.float64))
