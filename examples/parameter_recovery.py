"""The diffusion coefficient from 20 noisy values of u: through the constraint layer, and around the classical solver.

Both are SciPy's least_squares on the same data. The layer gives the Jacobian by its adjoint, on a basis trained for
less than a minute without any solution data; the classical solver is differenced.

    python examples/parameter_recovery.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.frames.diffusivity import largest_diffusivity
from pdesolve.plotting.style import CYCLE, INK, MUTED, label_axes, new_figure, set_title, style_curves, write_png

NOISE = 0.01
TIMES, SENSORS = (100.0, 200.0, 300.0, 400.0, 500.0), (0.1, 0.2, 0.35, 0.5)
PROBLEM = ps.diffusion_sorption_problem(u0=0.1)
Model = Callable[[Tensor, Tensor], Tensor]
"""u at times (t,) and the sensors, (batch, t, sensor), for values of the unknown parameter, (batch,)."""


@dataclass(frozen=True)
class Fit:
    """An estimate of a parameter p, its standard error s / |∂u/∂p| with s² = Σr² / 19, and seconds."""

    estimate: float
    error: float
    seconds: float


def main(steps: int = 300, seeds: int = 3, figure: Path | None = Path("runs/parameter_recovery.png")) -> float:
    """Recover D for some seeds of the noise; returns the largest distance of both estimates, in standard errors."""
    models = {"layer": layer_model("D", steps), "classical": classical_model("D")}
    distance, data, fits = 0.0, torch.empty(0), {}
    for seed in range(seeds):
        data = noisy_values(seed)
        fits = {name: recover(model, "D", data, name == "layer") for name, model in models.items()}
        layer, classical = fits.values()
        distance = max(distance, abs(layer.estimate - classical.estimate) / classical.error)
        found = (f"{name} {f.estimate:.4e} ± {f.error:.1e} in {f.seconds:.2f} s" for name, f in fits.items())
        print(f"noise {seed}: {', '.join(found)}")
    print(f"true D = {PROBLEM.parameters['D']:g}; the estimates differ by at most {distance:.4f} standard errors")
    if figure is not None:
        print(f"figure of the last data: {draw(figure, data, models, fits)}")
    return distance


def layer_model(name: str, steps: int, device: str | torch.device = "cpu") -> Model:
    """Four patches on one basis for all values of a parameter, trained on the residual of other values."""
    kappa = float(largest_diffusivity(PROBLEM, "x", PROBLEM.batch_parameters()))
    frame = ps.Frame(
        ps.SimilarityCoordinates(PROBLEM, diffusivity=kappa),
        ps.SimilarityLifting(PROBLEM, interior=0.0, diffusivity=kappa),
    )
    truth = PROBLEM.parameters[name]
    family = ps.ProblemFamily(PROBLEM, {name: ps.LogUniform(truth / 2, 2 * truth)})
    expert = ps.parametric_expert(family, n_basis=24, frame=frame, rows=ps.RowCounts(250, 32, 32))
    mixture = ps.MixtureOfExperts(ps.cartesian_decomposition(PROBLEM.domain, {"x": 4}), expert)
    settings = ps.TrainingSettings(steps, learning_rate=3e-3, schedule=ps.CosineDecay(0.03, 0.01), gradient_clip=1.0)
    report = ps.train(mixture, family, settings, seed=0, progress=False)
    print(f"basis for {name}: trained {report.steps} steps in {report.seconds:.0f} s")
    mixture.to(device, torch.float64).requires_grad_(False)  # gradients are asked for the parameter alone

    def values(p: Tensor, t: Tensor) -> Tensor:
        grid = ps.StructuredGrid(("t", "x"), (t, torch.tensor(SENSORS, dtype=torch.float64)), PROBLEM.domain)
        return mixture({name: p.to(device)}, grid).field.values[:, 0].cpu()

    return values


def classical_model(name: str) -> Model:
    """Finite differences and Radau IIA, to about 1e-5."""
    method = ps.MethodOfLines(nodes=97, order=4, rtol=1e-6, atol=1e-9)
    x = torch.tensor(SENSORS, dtype=torch.float64)
    return lambda p, t: method.solve(PROBLEM, {name: p}, {"t": t, "x": x})[:, 0]


def noisy_values(seed: int) -> Tensor:
    """Converged values with noise of 1 % of the boundary value, (t, sensor)."""
    points = {"t": torch.tensor(TIMES, dtype=torch.float64), "x": torch.tensor(SENSORS, dtype=torch.float64)}
    exact = ps.reference_solution(PROBLEM, {}, points)[0, 0]
    return exact + NOISE * torch.randn(exact.shape, generator=torch.Generator().manual_seed(seed), dtype=exact.dtype)


def recover(model: Model, name: str, data: Tensor, by_adjoint: bool) -> Fit:
    """Least squares for p over its true value, begun at 0.7; one pass of the adjoint for each value, or differences."""
    from scipy.optimize import least_squares

    truth, t = PROBLEM.parameters[name], torch.tensor(TIMES, dtype=torch.float64)

    def residual(scaled: Any) -> Any:
        return (model(torch.as_tensor(scaled * truth), t)[0] - data).flatten().numpy()

    def jacobian(scaled: Any) -> Any:
        p = torch.as_tensor(scaled * truth).requires_grad_()
        u = model(p, t).flatten()
        return torch.stack([torch.autograd.grad(value, p, retain_graph=True)[0] for value in u]).numpy() * truth

    began = time.perf_counter()
    found = least_squares(residual, [0.7], jac=jacobian if by_adjoint else "2-point", diff_step=1e-3)
    seconds = time.perf_counter() - began
    spread = (2.0 * found.cost / (data.numel() - 1)) ** 0.5
    return Fit(truth * float(found.x[0]), truth * float(spread / (found.jac**2).sum() ** 0.5), seconds)


def draw(path: Path, data: Tensor, models: Mapping[str, Model], fits: Mapping[str, Fit]) -> str:
    """Data and fits over time; the profile of Σr² over D with both intervals."""
    from scipy.stats import t as student

    figure, quantile = new_figure(10.0, 4.2), float(student.ppf(0.975, data.numel() - 1))
    left, right = figure.subplots(1, 2)
    fine = torch.linspace(20.0, 500.0, 97, dtype=torch.float64)
    best = torch.tensor([[fit.estimate] for fit in fits.values()], dtype=torch.float64)
    layer, classical = (model(D, fine)[0] for model, D in zip(models.values(), best, strict=True))
    for j, x in enumerate(SENSORS):
        left.plot(fine, layer[:, j], color=CYCLE[j], lw=1.6)
        left.plot(fine, classical[:, j], color=INK, lw=0.9, ls=(0, (2, 4)))
        left.errorbar(TIMES, data[:, j], 2 * NOISE, fmt="o", ms=4, lw=1, color=CYCLE[j])
        left.text(512, float(layer[-1, j]), f"x = {x}", fontsize=8, color=CYCLE[j], va="center")
    left.set_xlim(0.0, 585.0)
    set_title(left, "data ± 2σ, fit by the layer (colour) and classically (dotted)")
    label_axes(left, "t", "u")
    widest = max(fit.error for fit in fits.values())
    D = best.mean() + torch.linspace(-3.5, 3.5, 57, dtype=torch.float64) * widest
    for i, (name, fit) in enumerate(fits.items()):
        cost = (models[name](D, torch.tensor(TIMES, dtype=torch.float64)) - data).square().sum((1, 2))
        profile, style = (cost / cost.min() - 1.0) * (data.numel() - 1), ("-", (0, (4, 3)))[i]
        right.plot(1e4 * D, profile, color=CYCLE[i], lw=2.4 - i, ls=style, label=name)
        bar = {"xerr": 1e4 * quantile * fit.error, "fmt": "o", "ms": 5, "capsize": 3, "color": CYCLE[i]}
        right.errorbar(1e4 * fit.estimate, -0.8 - 0.8 * i, **bar)
    right.axhline(quantile**2, color=MUTED, lw=0.8)
    right.text(1e4 * float(D[0]), quantile**2 + 0.15, "95 %", fontsize=8, color=MUTED)
    right.axvline(1e4 * PROBLEM.parameters["D"], color=MUTED, lw=0.9, ls=":", label="true D")
    right.legend(fontsize=8, frameon=False, loc="upper center")
    set_title(right, "profile of Σr², and 95 % intervals from JᵀJ below")
    label_axes(right, "D · 10⁴", "(Σr² - min Σr²) / s²")
    for axes in (left, right):
        style_curves(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_png(figure, path)


if __name__ == "__main__":
    main()
