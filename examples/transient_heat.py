"""Transient heat in a plate that is heated on one side and cools by Newton's law on the others."""

from __future__ import annotations

from pathlib import Path

import torch
from skfem import MeshTri

import pdesolve as ps
from pdesolve.plotting import plot_field


def plate(n: int) -> ps.SimplexMesh:
    """A unit square, (n + 1)² nodes, with the boundaries "heater" and "air"."""
    line = torch.linspace(0, 1, n + 1, dtype=torch.float64).numpy()
    mesh = MeshTri.init_tensor(line, line)
    return ps.SimplexMesh.from_skfem(mesh.with_boundaries({"heater": lambda x: x[0] == 0, "air": lambda x: x[0] > 0}))


def main(n: int = 40, steps: int = 80, picture: Path | None = Path("runs/transient_heat.png")) -> float:
    """Relative difference of the temperature at the end between these steps and half of them."""
    mesh = plate(n)
    problem = ps.Problem(
        ps.HeatConduction(a=1.0, capacity=2.0),
        ps.MeshDomain(mesh, ps.TimeInterval(0.0, 0.5)),
        [ps.InitialCondition(0.0), ps.Flux(lambda t: torch.sin(4 * t), on="heater"), ps.Flux(0.0, 3.0, on="air")],
    )
    middles = mesh.points[mesh.cells].mean(1)
    poor = ps.CellValues(torch.where((middles - 0.5).norm(dim=1) < 0.2, 0.02, 1.0).double())  # an insulating disc
    ends = []
    for count in (steps // 2, steps):
        expert = ps.Classical(ps.FiniteElements(order=2, time=ps.BDF2(count))).on(problem)
        solution = expert({"a": poor})
        ends.append(solution.field.values[0, 0, -1])
    change = float((ends[1] - ends[0]).norm() / ends[1].norm())
    hottest = float(solution.field.values.amax())
    print(f"{mesh.n_nodes} nodes, {steps} steps: hottest {hottest:.3f}, change on halving the step {change:.1e}")
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        plot_field(solution, picture)
    return change


if __name__ == "__main__":
    main()
