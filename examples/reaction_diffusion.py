"""FitzHugh-Nagumo in two dimensions: the layer solves new initial values in the span of solutions of others.

The basis is the proper orthogonal decomposition of 64 solutions that a classical solver computes here. The layer never
sees a solution of the members that it is asked for: equation, initial values and walls choose the combination.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.plotting import plot_comparison

N_BASIS, N_HELD_OUT = 64, 4


def start(x: Tensor, y: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """u at t = 0: three waves whose slope vanishes at the walls."""
    x, y = math.pi * (x + 1) / 2, math.pi * (y + 1) / 2
    return a * torch.cos(x) * torch.cos(2 * y) + b * torch.cos(2 * x) + c * torch.cos(y)


def main(out: Path | None = None) -> float:
    """The largest relative L2 error of the held-out members; pictures of the first go to ``out``."""
    equation = ps.FitzHughNagumo()
    problem = ps.Problem(
        equation,
        ps.Rectangle((-1, 1), (-1, 1)) * ps.TimeInterval(0, 5),
        [
            ps.InitialCondition(start, field="u"),
            ps.InitialCondition(0.0, field="v"),
            ps.Neumann(0.0, field="u"),
            ps.Neumann(0.0, field="v"),
        ],
        parameters={"a": 0.5, "b": 0.0, "c": 0.4},
    )
    family = ps.ProblemFamily(
        problem, {"a": ps.Uniform(0.3, 0.7), "b": ps.Uniform(-0.2, 0.2), "c": ps.Uniform(0.2, 0.6)}
    )
    grid = ps.StructuredGrid.uniform(problem.domain, (26, 65, 65))
    training = classical(equation, grid, family.sample(N_BASIS, torch.Generator().manual_seed(0)))
    members = family.sample(N_HELD_OUT, torch.Generator().manual_seed(1))
    exact = classical(equation, grid, members)

    modes = torch.linalg.svd(training.flatten(1), full_matrices=False).Vh  # (n_basis, values)
    basis = math.sqrt(modes.shape[1]) * modes.reshape(1, N_BASIS, *exact.shape[1:])
    layer = ps.HardConstraintLayer(problem, ps.FiniteDifferences(grid, order=4), ps.RowCounts(4000, 400))
    u, report = layer(basis, parameters=members)  # (member, component, t, x, y)

    error = relative_error(u, exact)
    best = relative_error((exact.flatten(1) @ modes.T @ modes).reshape(exact.shape), exact)
    nearest = torch.stack([relative_error(training, member.expand_as(training)).min() for member in exact])
    for name, values in (("layer", error), ("best in this basis", best), ("nearest training member", nearest)):
        print(f"{name:24s} relative L2 error " + "  ".join(f"{value:.1e}" for value in values.tolist()))
    print(f"status {report.status.flatten().tolist()}")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for i, name in enumerate(problem.field_names):
            titles = ("constraint layer", "method of lines", "difference")
            plot_comparison(u[0, i], exact[0, i], grid, titles, out / f"{name}.png", name=name)
    return float(error.max())


def relative_error(values: Tensor, exact: Tensor) -> Tensor:
    """(member,), over both fields and all nodes."""
    return (values - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)


def classical(equation: ps.FitzHughNagumo, grid: ps.StructuredGrid, members: Mapping[str, Tensor]) -> Tensor:
    """Method of lines, (member, component, t, x, y): central differences of order 4, mirrored at walls, and RK4."""
    times, h = grid.axis_nodes("t"), float(grid.axis_nodes("x").diff()[0])
    at = {axis: grid.axis_nodes(axis) for axis in ("x", "y")}
    amplitudes = {name: members[name].reshape(-1, 1, 1) for name in ("a", "b", "c")}
    u = start(at["x"][:, None], at["y"], **amplitudes)
    diffusivity = torch.tensor([equation.D_u, equation.D_v], dtype=u.dtype).reshape(2, 1, 1)
    n, weights = grid.shape[-1], (-1 / 12, 16 / 12, -30 / 12, 16 / 12, -1 / 12)

    def rate(state: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(state, (2, 2, 2, 2), mode="reflect")
        rows, columns = padded[..., 2:-2], padded[..., 2:-2, :]
        terms = [w * (rows[..., k : k + n, :] + columns[..., k : k + n]) for k, w in enumerate(weights)]
        u, v = state.unbind(1)
        return diffusivity / h**2 * sum(terms) + torch.stack([u - u**3 - equation.k - v, u - v], dim=1)

    span = float(times[1] - times[0])
    steps = math.ceil(span * (32 / 3 * float(diffusivity.max()) / h**2 + 2) / 2.5)  # RK4 is stable up to 2.78
    dt = span / steps

    def march(state: Tensor) -> Tensor:
        states = [state]
        for _ in times[1:]:
            for _ in range(steps):
                k1 = rate(state)
                k2 = rate(state + dt / 2 * k1)
                k3 = rate(state + dt / 2 * k2)
                k4 = rate(state + dt * k3)
                state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            states.append(state)
        return torch.stack(states, dim=2)

    return torch.cat([march(few) for few in torch.stack([u, torch.zeros_like(u)], dim=1).split(8)])


if __name__ == "__main__":
    main(Path("runs/reaction_diffusion"))
