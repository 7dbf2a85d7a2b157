"""One problem, no mesh: a front that gets steep, by Gaussians on slabs as long as the residual allows."""

from __future__ import annotations

import math
from pathlib import Path

import torch

import pdesolve as ps
from pdesolve.experts.gaussians.layout import AxisMap
from pdesolve.experts.gaussians.slabs import AdaptiveSlabs
from pdesolve.reference.suite import burgers_problem


def main(nodes: int = 140, nu: float = 0.01 / math.pi, folder: str | Path | None = None) -> float:
    """Relative error against Cole-Hopf on a grid that no fit has seen."""
    problem = burgers_problem(nu)
    dense_in_the_middle = AxisMap.of(lambda s: torch.sinh(4.0 * (2.0 * s - 1.0)) / math.sinh(4.0))
    expert = ps.PhysicsInformedGaussians(
        {"t": 7, "x": nodes}, slabs=AdaptiveSlabs(1e-5, length=0.1), maps={"x": dense_in_the_middle}, overlaps=(1.3,)
    )
    grid = ps.StructuredGrid.uniform(problem.box, (101, 401))
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    kept = None if folder is None else Path(folder) / "gaussians_front.safetensors"
    solution = ps.solve(problem, expert, grid, file=kept)  # killed and started again, it goes on after the last slab
    assert problem.reference is not None
    exact = problem.reference(grid.coordinates(), problem.parameters).reshape(solution.field.values.shape)
    error = float(solution.relative_error(exact))
    ends, residuals = (solution.stats[name][0] for name in ("time", "residual"))
    print(f"{len(ends)} slabs, largest residual {float(residuals.max()):.1e}, relative error {error:.1e}")
    if folder is not None:
        _draw(Path(folder) / "gaussians_front.png", solution, exact, ends, residuals)
    return error


def _draw(path: Path, solution: ps.Solution, exact: torch.Tensor, ends: torch.Tensor, residuals: torch.Tensor) -> None:
    from matplotlib.figure import Figure

    grid, u = solution.field.grid, solution.field.values[0, 0]
    t, x = (grid.axis_nodes(axis) for axis in "tx")
    picture = Figure(figsize=(9.0, 3.4), layout="constrained")
    left, right = picture.subplots(1, 2)
    image = left.pcolormesh(t.numpy(), x.numpy(), u.T.numpy(), cmap="RdBu_r", shading="nearest", rasterized=True)
    picture.colorbar(image, ax=left, label="u")
    left.set(xlabel="t", ylabel="x", title="solution, and where slabs end")
    for end in ends[:-1].tolist():
        left.axvline(end, color="0.3", linewidth=0.5)
    gap = (u - exact[0, 0]).abs().amax(1).numpy()
    right.semilogy(t[1:].numpy(), gap[1:], label="largest error along x")
    right.step(
        torch.cat([t[:1], ends]), torch.cat([residuals[:1], residuals]), where="pre", label="residual of the slab"
    )
    right.set(xlabel="t", title="what the fit says, and what is true")
    right.legend()
    picture.savefig(path, dpi=150)


if __name__ == "__main__":
    main(folder="runs/gaussians")
