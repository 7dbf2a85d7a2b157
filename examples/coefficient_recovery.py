"""An inverse problem: a conductivity of 50 parameters from noisy temperatures on the boundary.

Currents of eight patterns enter through the rim of a disc; the answer on the rim is measured with 1 % noise. The
logarithm of the conductivity is a sum of 50 bumps. Least squares by L-BFGS, every gradient through the sparse solves,
until the misfit is at the level of the noise (Morozov's principle).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from skfem import MeshTri
from torch import Tensor

import pdesolve as ps

PATTERNS = 8
NOISE = 0.01


def disc(refinements: int) -> ps.SimplexMesh:
    """The unit disc; its boundary is "rim"."""
    mesh = MeshTri.init_circle(refinements)
    return ps.SimplexMesh.from_skfem(mesh.with_boundaries({"rim": lambda x: x[0] ** 2 + x[1] ** 2 > 0.9}))


def bumps(mesh: ps.SimplexMesh, count: int) -> Tensor:
    """Gaussians around points of a sunflower, (n_nodes, count)."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    radius, angle = 0.95 * torch.sqrt(index / count), math.pi * (1 + math.sqrt(5)) * index
    centres = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], 1)
    width = 1.3 / math.sqrt(count)
    return torch.exp(-(torch.cdist(mesh.points, centres) / (1.5 * width)).square())


def forward_map(mesh: ps.SimplexMesh, count: int) -> Callable[[Tensor], Tensor]:
    """m -> temperatures at the nodes of the rim, (patterns, n)."""
    problem = ps.Problem(
        ps.Diffusion(),
        ps.MeshDomain(mesh),
        # the rim leaks a little, which fixes the level
        [ps.Flux(lambda x, y, k: torch.cos(k * torch.atan2(y, x)), alpha=0.1, on="rim")],
        parameters={"k": 1.0},
    )
    expert = ps.Classical(ps.FiniteElements(order=1)).on(problem)
    shapes, rim = bumps(mesh, count), mesh.boundary_nodes("rim")
    k = torch.arange(1, PATTERNS + 1, dtype=torch.float64) / 2

    def measured(m: Tensor) -> Tensor:
        a = ps.NodeValues(torch.exp(shapes @ m))
        return expert({"a": a, "k": k}).field.values[:, 0, rim]

    return measured


def gradient_error(function: Callable[[Tensor], Tensor], m: Tensor, seed: int = 0) -> float:
    """Relative difference of the gradient along a random direction to central differences."""
    direction = torch.randn(len(m), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    direction /= direction.norm()
    point = m.clone().requires_grad_()
    (grad,) = torch.autograd.grad(function(point), point)
    step = 1e-4
    with torch.no_grad():
        difference = (function(m + step * direction) - function(m - step * direction)) / (2 * step)
    return float((grad @ direction - difference).abs() / difference.abs())


def recover(refinements: int = 4, count: int = 50, seed: int = 0, steps: int = 40) -> dict[str, float]:
    """Misfit over noise, error of log a, and error of the gradient.

    Arguments:
        refinements: of the mesh; the data come from one that is finer by one.
        count: parameters.
        seed: of the truth and of the noise.
        steps: largest number of rounds, four steps each.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = 0.6 * torch.randn(count, generator=generator, dtype=torch.float64)
    coarse, fine = disc(refinements), disc(refinements + 1)
    with torch.no_grad():
        data = forward_map(fine, count)(truth)[:, _matching(coarse, fine)]
    sigma = NOISE * data.abs().amax(1, keepdim=True)
    data = data + sigma * torch.randn(data.shape, generator=generator, dtype=torch.float64)
    measured = forward_map(coarse, count)

    def misfit(m: Tensor) -> Tensor:
        return ((measured(m) - data) / sigma).square().mean()

    wrong = gradient_error(misfit, truth * 0.5)
    m = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([m], max_iter=4, history_size=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = misfit(m)
        value.backward()
        return value

    value = math.inf
    for _ in range(steps):
        optimiser.step(closure)
        with torch.no_grad():
            value = float(misfit(m))
        if value <= 1.0:
            break
    m = m.detach()
    shapes = bumps(coarse, count)
    error = float((shapes @ (m - truth)).norm() / (shapes @ truth).norm())
    return {"misfit": math.sqrt(value), "error": error, "gradient": wrong}


def _matching(coarse: ps.SimplexMesh, fine: ps.SimplexMesh) -> Tensor:
    """Where the rim's nodes of the coarse mesh stand among those of the fine one."""
    places = (mesh.points[mesh.boundary_nodes("rim")] for mesh in (coarse, fine))
    return torch.cdist(*places).argmin(1)


def main(refinements: int = 4, count: int = 50) -> float:
    """Misfit in units of the noise."""
    found = recover(refinements, count)
    print(
        f"misfit {found['misfit']:.2f} of the noise, log a within {found['error']:.0%}, "
        f"gradient against differences {found['gradient']:.1e}"
    )
    return found["misfit"]


if __name__ == "__main__":
    main()
