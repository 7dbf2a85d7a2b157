"""A simulation script: viscous Burgers, solved on four patches by an untrained basis, beside the classical solver."""

from __future__ import annotations

import math

import torch

import pdesolve as ps


def main() -> float:
    """Relative L2 error against the method of lines."""
    problem = ps.Problem(
        ps.Burgers(nu=0.05),
        ps.Interval(-1, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: -torch.sin(math.pi * x)), ps.Dirichlet(0.0)],
    )
    expert = ps.parametric_expert(problem, n_basis=128, widths=(128,), dtype=torch.float64)
    mixture = ps.MixtureOfExperts(ps.cartesian_decomposition(problem.domain, {"x": 4}), expert)
    grid = ps.StructuredGrid.uniform(problem.domain, (51, 201))
    solution = mixture({}, grid)
    exact = ps.MethodOfLines().solve(problem, {}, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    error = float(solution.relative_error(exact))
    print(f"relative L2 error {error:.1e}, {solution.field.values.numel()} values, status {solution.status.tolist()}")
    return error


if __name__ == "__main__":
    main()
