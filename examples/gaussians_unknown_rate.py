"""An inverse problem: a decay rate that varies in space, found from 60 noisy measurements together with the field."""

from __future__ import annotations

from pathlib import Path

import torch

import pdesolve as ps
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.recovery import ParameterRecovery
from pdesolve.problem import Observations
from pdesolve.reference.abstract import ExactSolution

K0, K1 = 0.5, 0.8


def problem() -> ps.Problem:
    """u_t = -(k₀ + k₁ x) u, u(x, 0) = 1 + x, both k unknown."""
    return ps.Problem(
        ps.FunctionPDE(lambda f, c, p: f.u.t + (p.k0 + p.k1 * c.x) * f.u, parameters={"k0": K0, "k1": K1}),
        ps.Interval(0, 1) * ps.TimeInterval(0, 1),
        [ps.InitialCondition(lambda x: 1.0 + x)],
        reference=ExactSolution(lambda t, x: (1.0 + x) * torch.exp(-(K0 + K1 * x) * t)),
    )


def main(figure: str | Path | None = None, seed: int = 0) -> float:
    """Largest error of the rate on [0, 1], relative to its mean."""
    decay, generator = problem(), torch.Generator().manual_seed(seed)
    observed = Observations.sampled(decay, 60, 0.01, generator)  # 1 % noise
    s = torch.linspace(-0.2, 1.2, 8, dtype=torch.float64)
    centres = torch.cartesian_prod(s, s)
    cloud = GaussianCloud(decay.domain, centres, Diagonal.of(torch.full_like(centres, 0.5)))
    found = ParameterRecovery(cloud, points=400, face_points=50).recover(
        decay, observed, {"k0": 2.0, "k1": 0.0}, generator
    )
    for name, true in (("k0", K0), ("k1", K1)):
        print(f"{name} = {found.parameters[name]:.4f} +- {found.standard_errors[name]:.4f}, true {true}")
    x = torch.linspace(0.0, 1.0, 51, dtype=torch.float64)
    rows = torch.stack([torch.ones_like(x), x], dim=1)
    rate = rows @ torch.tensor([found.parameters["k0"], found.parameters["k1"]], dtype=torch.float64)
    band = (rows @ found.covariance * rows).sum(1).sqrt()
    true_rate = K0 + K1 * x
    if figure is not None:
        _draw(Path(figure), x, rate, band, true_rate)
    return float((rate - true_rate).abs().max() / true_rate.mean())


def _draw(path: Path, x: torch.Tensor, rate: torch.Tensor, band: torch.Tensor, true_rate: torch.Tensor) -> None:
    from matplotlib.figure import Figure

    picture = Figure(figsize=(5.0, 3.2), layout="constrained")
    axes = picture.subplots()
    axes.fill_between(x, rate - 2 * band, rate + 2 * band, alpha=0.3, label="two standard errors")
    axes.plot(x, rate, label="found")
    axes.plot(x, true_rate, "k--", label="true")
    axes.set_xlabel("x")
    axes.set_ylabel("rate")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=150)


if __name__ == "__main__":
    main("runs/gaussians/unknown_rate.png")
