"""A travelling front of viscous Burgers, solved on its characteristics; they are drawn over the solution."""

from __future__ import annotations

import math
from pathlib import Path

import torch

import pdesolve as ps
from pdesolve.reference.pseudo_spectral import PseudoSpectral
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt


def main(speed: float = 10.0, modes: int = 16, folder: str | Path | None = None) -> float:
    """Relative L2 error of u - speed against a converged pseudo-spectral solution.

    Arguments:
        speed: mean of the initial values, with which the front travels.
        modes: of the label.
        folder: where the figure goes; None draws none.
    """
    domain = ps.Interval(0, 2 * math.pi) * ps.TimeInterval(0, 1)
    conditions = [ps.InitialCondition(lambda x: speed + torch.sin(x)), ps.Periodic("x")]
    problem = ps.Problem(ps.Burgers(nu=0.01), domain, conditions)
    branch = ps.SpectralBranch(modes, 12)
    expert = ps.LagrangianPINN(
        problem, branch, branch, generator=torch.Generator().manual_seed(0), counts={"x": 3 * modes, "t": 18}
    )
    path = [*(ps.Stage(diffusivity=f) for f in (16.0, 8.0, 4.0, 2.0, 1.4)), ps.Stage()]
    report = ps.fit_slabs(expert, ProbedLevenbergMarquardt(factorisation=Gram(), max_steps=30, ftol=1e-3), path)
    grid = ps.StructuredGrid.periodic(domain, (41, 256))
    solution = expert({}, grid)
    exact = PseudoSpectral().solve(problem, {axis: grid.axis_nodes(axis) for axis in grid.axes})
    error = float((solution.field.values - exact).norm() / (exact - speed).norm())
    print(f"relative L2 error {error:.1e}, {report.crossing}")
    if folder is not None:
        _draw(expert, solution, Path(folder) / "lagrangian_burgers.png")
    return error


def _draw(expert: ps.LagrangianPINN, solution: ps.Solution, path: Path) -> None:
    """Curves X(ξ, t) of every eighth of the period over u."""
    from matplotlib.figure import Figure

    grid, period = solution.field.grid, expert.problem.domain.extent("x")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    x, t = grid.axis_nodes("x"), grid.axis_nodes("t")
    mesh = axes.pcolormesh(x.numpy(), t.numpy(), solution.field.values[0, 0].numpy(), shading="nearest")
    figure.colorbar(mesh, label="u")
    for label in torch.linspace(0, period, 25, dtype=torch.float64)[:-1]:
        curve = expert.curve(label.reshape(1), t)[:, 0]
        wrapped = torch.remainder(curve, period)
        wrapped[1:][(wrapped.diff().abs() > period / 2)] = math.nan  # no line across the seam
        axes.plot(wrapped.numpy(), t.numpy(), color="white", linewidth=0.6)
    axes.set(xlabel="x", ylabel="t", xlim=(0.0, float(x[-1])))
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(folder=".")
