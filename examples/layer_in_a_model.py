"""The constraint layer in a custom torch model: a convolutional network whose output obeys the heat equation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import pdesolve as ps

GRID_SHAPE, N_BASIS = (26, 41), 24


class Model(nn.Module):
    """Initial values (batch, x) in, u (batch, 1, t, x) out; between them any torch modules, then the layer."""

    def __init__(self, layer: ps.HardConstraintLayer) -> None:
        super().__init__()
        self.shapes = nn.Sequential(nn.Conv1d(1, 24, 9, padding=4), nn.Tanh(), nn.Conv1d(24, N_BASIS, 9, padding=4))
        self.rates = nn.Parameter(torch.linspace(0.0, 6.0, N_BASIS))
        self.layer = layer

    def forward(self, initial: Tensor) -> tuple[Tensor, ps.LayerReport]:
        """u that meets equation and conditions as well as the basis allows, and the report of the solves."""
        time = torch.linspace(0, 1, GRID_SHAPE[0])
        decay = torch.exp(-self.rates[:, None] * time)  # (n_basis, t)
        basis = self.shapes(initial.unsqueeze(1)).unsqueeze(2) * decay.unsqueeze(-1)
        return self.layer(basis, initial)


def main(steps: int = 100) -> float:
    """Train on the layer's own residual and return the relative L2 error on new initial values."""
    generator = torch.Generator().manual_seed(0)
    problem = ps.Problem(
        ps.Heat(kappa=0.1),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.Dirichlet(0.0)],
    )
    grid = ps.StructuredGrid.uniform(problem.domain, GRID_SHAPE)
    layer = ps.HardConstraintLayer(
        problem, ps.FiniteDifferences(grid, order=4), ps.RowCounts(400, 40, 40), row_weight=ps.Unweighted()
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Model(layer)
    before = held_out_error(model, grid)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        initial, _ = cases(8, grid, generator)
        u, _ = model(initial)
        loss = residual(u, initial, grid).square().mean().log()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = held_out_error(model, grid)
    print(f"relative L2 error on 32 new initial values: untrained {before:.2g}, trained {error:.2g}")
    return error


def held_out_error(model: Model, grid: ps.StructuredGrid) -> float:
    """Relative L2 error on initial values that are never trained on."""
    initial, exact = cases(32, grid, torch.Generator().manual_seed(1))
    with torch.no_grad():
        u, _ = model(initial)
    return float((u - exact).norm() / exact.norm())


def cases(n: int, grid: ps.StructuredGrid, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random sums of two sines and the exact solution of the heat equation from them."""
    a = torch.rand(n, 2, 1, 1, generator=generator) * 2 - 1
    t, x = (grid.coordinates()[axis].float() for axis in ("t", "x"))
    modes = [torch.exp(-0.1 * (k * math.pi) ** 2 * t) * torch.sin(k * math.pi * x) for k in (1, 2)]
    exact = a[:, 0] * modes[0] + a[:, 1] * modes[1]
    return exact[:, 0].clone(), exact.unsqueeze(1)


def residual(u: Tensor, initial: Tensor, grid: ps.StructuredGrid) -> Tensor:
    """u_t - 0.1 u_xx on the grid, and what is left of initial and boundary conditions."""
    terms = ps.FiniteDifferences(grid, order=4).derivatives(u, ("t", "xx"))
    inside = (terms["t"] - 0.1 * terms["xx"])[..., 1:, 1:-1]
    ends, start = 10 * u[..., [0, -1]], 10 * (u[:, 0, 0] - initial)
    return torch.cat([inside.flatten(1), ends.flatten(1), start], dim=1)


if __name__ == "__main__":
    main()
