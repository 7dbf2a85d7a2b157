"""Transport on characteristics: errors of the Lagrangian expert, and of Eulerian networks on the same budget.

    python examples/benchmarks/lagrangian.py [--quick] [--json FILE] [--only SECTION ...]

Errors are relative L2 of u without its mean, on points between those of the fit, medians of three seeds. Speeds 30
to 70 alone are trivial in the moving frame; the honest cases are the others.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.lagrangian.branch import LabelFrame
from pdesolve.reference.pseudo_spectral import PseudoSpectral
from pdesolve.residual_minimisation.adam import AdamDescent
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt

from report import Report, start  # isort: skip

TURN = 2 * math.pi
SEEDS = (0, 1, 2)
RING = ps.Interval(0, TURN) * ps.TimeInterval(0, 1)
EQUATION = (ps.Stage(),)
VISCOUS = [*(ps.Stage(diffusivity=f) for f in (16.0, 8.0, 4.0, 2.0, 1.4)), ps.Stage()]
CURRICULUM = [*(ps.Stage(velocity=f) for f in (0.1, 0.25, 0.5, 0.75)), ps.Stage()]
Fit = Callable[[int], ps.LagrangianPINN]


def minimiser(steps: int = 30) -> ProbedLevenbergMarquardt:
    """The same for all."""
    return ProbedLevenbergMarquardt(factorisation=Gram(), max_steps=steps, ftol=1e-3)


def ring(pde: Any, mean: float = 0.0) -> ps.Problem:
    return ps.Problem(pde, RING, [ps.InitialCondition(lambda x: mean + torch.sin(x)), ps.Periodic("x")])


def grid_of(problem: ps.Problem) -> ps.StructuredGrid:
    return ps.StructuredGrid.periodic(problem.domain, (21, 257))


def reference(report: Report, problem: ps.Problem, name: str) -> Tensor:
    """Converged values, their own error said beside."""
    grid, method = grid_of(problem), PseudoSpectral(1024)
    at = {axis: grid.axis_nodes(axis) for axis in grid.axes}
    report.add(f"{name}: error of the reference by refinement", method.error(problem, at))
    return method.solve(problem, at)


def median(report: Report, fit: Fit, exact: Tensor, mean: float = 0.0) -> tuple[float, float]:
    """Error and seconds of a fit, medians over the seeds."""
    errors, seconds = [], []
    for seed in SEEDS[:1] if report.quick else SEEDS:
        begin = time.perf_counter()
        expert = fit(seed)
        seconds.append(time.perf_counter() - begin)
        solution = expert({}, grid_of(expert.problem), throw=False)
        gap = torch.nan_to_num(solution.field.values - exact, nan=math.inf)
        errors.append(float(gap.norm() / (exact - mean).norm()))
    return statistics.median(errors), statistics.median(seconds)


def spectral(problem: ps.Problem, modes: int, degree: int, *, carried: bool = False, path: Any = EQUATION) -> Fit:
    """Lagrangian, Fourier x Chebyshev branches."""

    def fit(seed: int) -> ps.LagrangianPINN:
        branch = ps.SpectralBranch(modes, degree)
        expert = ps.LagrangianPINN(
            problem, branch, ps.ZeroBranch() if carried else branch, generator=torch.Generator().manual_seed(seed),
            counts={"x": 3 * modes, "t": degree + 6},
        )  # fmt: skip
        expert.fit(minimiser(), path)
        return expert

    return fit


def beside(
    problem: ps.Problem,
    branch: Any,
    flow: Any,
    steps: int,
    path: Sequence[ps.Stage] = EQUATION,
    slabs: int = 1,
) -> Fit:
    """Lagrangian or Eulerian by ``flow``; ``steps`` for each stage and slab."""

    def fit(seed: int) -> ps.LagrangianPINN:
        generator = torch.Generator().manual_seed(seed)
        expert = ps.LagrangianPINN(problem, branch, branch, generator=generator, flow=flow, slabs=slabs)
        expert.fit(minimiser(steps), path, throw=False)
        return expert

    return fit


def rivals(report: Report, name: str, problem: ps.Problem, exact: Tensor, mean: float = 0.0) -> None:
    """The other frame, and networks in both: the same branch, nodes, minimiser and number of steps.

    The curriculum and sequence to sequence have that number for each of their five stages or slabs.
    """
    steps, tanh, spectral = 20 if report.quick else 100, ps.TanhBranch((16, 16)), ps.SpectralBranch(16, 12)
    cases = {
        "Lagrangian tanh network": beside(problem, tanh, ps.Follow(), steps),
        "Eulerian PINN": beside(problem, tanh, ps.Still(), steps),
        "Eulerian PINN, curriculum": beside(problem, tanh, ps.Still(), steps, CURRICULUM),
        "Eulerian PINN, sequence to sequence": beside(problem, tanh, ps.Still(), steps, slabs=5),
        "Eulerian, spectral branch": beside(problem, spectral, ps.Still(), steps),
    }
    for rival, fit in cases.items():
        error, seconds = median(report, fit, exact, mean)
        report.add(f"{name}: {rival}, error", error, note=f"fit {seconds:.1f} s")


def claim(report: Report, name: str, fit: Fit, exact: Tensor, bound: float, limit: float, mean: float = 0.0) -> float:
    error, seconds = median(report, fit, exact, mean)
    report.add(f"{name}: error", error, 3 * bound if report.quick else bound)
    report.add(f"{name}: time of the fit", seconds, limit, "s")
    return error


def convection(report: Report) -> None:
    for speed in (30.0, 50.0, 70.0):
        problem = ring(ps.LinearAdvection(speed))
        at = grid_of(problem).coordinates()
        exact = torch.sin(at["x"] - speed * at["t"]).expand(grid_of(problem).shape)[None, None]
        claim(report, f"convection, speed {speed:g}", spectral(problem, 8, 8), exact, 1e-8, 30.0)
        if speed == 50.0:
            rivals(report, "convection, speed 50", problem, exact)


def convection_diffusion(report: Report) -> None:
    problem = ring(ps.LinearAdvection(50.0, 0.01))
    at = grid_of(problem).coordinates()
    exact = (torch.exp(-0.01 * at["t"]) * torch.sin(at["x"] - 50.0 * at["t"])).expand(grid_of(problem).shape)[
        None, None
    ]
    claim(report, "convection-diffusion, speed 50", spectral(problem, 8, 8), exact, 1e-6, 60.0)


def burgers(report: Report) -> None:
    modes, degree = (16, 12) if report.quick else (20, 14)
    errors = []
    for speed in (0.0, 10.0, 50.0):
        name, problem = f"Burgers, front at speed {speed:g}", ring(ps.Burgers(0.01), speed)
        exact = reference(report, problem, name)
        errors.append(claim(report, name, spectral(problem, modes, degree, path=VISCOUS), exact, 1e-4, 300.0, speed))
        if speed == 10.0:
            rivals(report, name, problem, exact, speed)
    report.add("Burgers: largest over smallest error of the speeds", max(errors) / min(errors), 3.0, "x")


def variable(report: Report) -> None:
    for speed, modes, degree in ((2.0, 16, 14), (10.0, 10, 26)):
        for nu in (0.0, 0.01):
            pde = ps.LinearAdvection(lambda c, p: p.c + torch.sin(c.x), nu, constants={"c": speed})
            name, problem = f"speed {speed:g} + sin x, ν = {nu:g}", ring(pde)
            exact = reference(report, problem, name)
            claim(report, name, spectral(problem, modes, degree, carried=not nu), exact, 1e-5, 300.0)
            if speed == 10.0 and nu:
                rivals(report, name, problem, exact)


def plane(report: Report, name: str, expert: Any, u0: Any, origin: Any, end: float, bound: float) -> None:
    """Fit and compare with u₀ at the exact origin of random points."""
    errors, seconds = [], []
    for seed in SEEDS[:1] if report.quick else SEEDS:
        generator = torch.Generator().manual_seed(seed)
        begin = time.perf_counter()
        made = expert(generator)
        made.fit(minimiser())
        seconds.append(time.perf_counter() - begin)
        box = made.problem.domain
        unit = torch.rand(2, 2000, generator=generator, dtype=torch.float64)
        x, y = (box.bounds(a)[0] + box.extent(a) * u for a, u in zip("xy", unit, strict=True))
        with torch.no_grad():
            u = made.at({"x": x, "y": y, "t": torch.full_like(x, end)})[:, 0]
        exact = u0(*origin(x, y))
        errors.append(float((u - exact).norm() / exact.norm()))
    report.add(f"{name}: error", statistics.median(errors), 3 * bound if report.quick else bound)
    report.add(f"{name}: time of the fit", statistics.median(seconds), 300.0, "s")


def rotation(report: Report) -> None:
    domain = ps.Rectangle((-1, 1), (-1, 1)) * ps.TimeInterval(0, 1)
    pde = ps.LinearAdvection(lambda c, p: (-TURN * c.y, TURN * c.x), axes="xy")

    def bump(x: Any, y: Any) -> Any:
        return torch.exp(-((x - 0.35) ** 2 + y**2) * 50.0)

    problem = ps.Problem(pde, domain, [ps.InitialCondition(bump), ps.Dirichlet(0.0)])

    def expert(generator: torch.Generator) -> ps.LagrangianPINN:
        return ps.LagrangianPINN(
            problem, ps.SpectralBranch(2, 20), ps.ZeroBranch(), generator=generator,
            counts={"x": 6, "y": 6, "t": 26}, labels=ps.Rectangle((-1.5, 1.5), (-1.5, 1.5)),
        )  # fmt: skip

    plane(report, "solid rotation, one turn", expert, bump, lambda x, y: (x, y), 1.0, 1e-6)


def swirl(report: Report) -> None:
    end = 1.5
    domain = ps.Rectangle((0, 1), (0, 1)) * ps.TimeInterval(0, end)

    def velocity(c: Any, p: Any) -> tuple[Tensor, Tensor]:
        beat, x, y = torch.cos(math.pi * c.t / end), math.pi * c.x, math.pi * c.y
        return torch.sin(x) ** 2 * torch.sin(2 * y) * beat, -(torch.sin(y) ** 2) * torch.sin(2 * x) * beat

    def bump(x: Any, y: Any) -> Any:
        return torch.exp(-((x - 0.5) ** 2 + (y - 0.75) ** 2) * 312.5)

    conditions = [ps.InitialCondition(bump), ps.Periodic("x"), ps.Periodic("y")]
    problem = ps.Problem(ps.LinearAdvection(velocity, axes="xy"), domain, conditions)

    def expert(generator: torch.Generator) -> ps.LagrangianPINN:
        return ps.LagrangianPINN(
            problem, ps.SpectralBranch(4, 4), ps.ZeroBranch(), generator=generator, slabs=16,
            counts={"x": 14, "y": 14, "t": 6},
        )  # fmt: skip

    plane(report, "reversing swirl, back at its start", expert, bump, lambda x, y: (x, y), end, 1e-4)


def crossing(report: Report) -> None:
    domain = ps.Interval(0, TURN) * ps.TimeInterval(0, 1.5)
    inviscid = ps.FunctionPDE(lambda f, c, p: f.u.t + f.u * f.u.x)
    problem = ps.Problem(inviscid, domain, [ps.InitialCondition(lambda x: torch.sin(x)), ps.Periodic("x")])
    generator = torch.Generator().manual_seed(0)
    expert = ps.LagrangianPINN(problem, ps.SpectralBranch(8, 8), ps.ZeroBranch(), generator=generator)
    event = expert.fit(minimiser()).crossing
    report.add("inviscid Burgers: time of the crossing, relative to 1", abs(event.time - 1.0), 0.01, note=str(event))
    status = expert({}, ps.StructuredGrid.periodic(domain, (7, 64)), throw=False).status
    report.add("inviscid Burgers: status is not CROSSING", float(int(status) != ps.SolveStatus.CROSSING), 0.0)


def evaluation(report: Report) -> None:
    n = 100_000 if report.quick else 1_000_000
    expert = spectral(ring(ps.LinearAdvection(lambda c, p: 2.0 + torch.sin(c.x))), 16, 14, carried=True)(0)
    unit = torch.rand(2, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    begin = time.perf_counter()
    with torch.no_grad():
        expert.at({"x": TURN * unit[0], "t": unit[1]})  # raises unless every label is found to 1e-12
    seconds = time.perf_counter() - begin
    report.add(f"Eulerian evaluation of {n} points, labels to 1e-12", seconds, 1.5 if report.quick else 5.0, "s")


def first_order(report: Report) -> None:
    """Levenberg-Marquardt against Adam in the same time: the same network, nodes and rows."""
    steps, tanh = 20 if report.quick else 70, ps.TanhBranch((16, 16))
    variable = ps.LinearAdvection(lambda c, p: p.c + torch.sin(c.x), 0.01, constants={"c": 10.0})
    cases = {
        "convection, speed 50": (ring(ps.LinearAdvection(50.0)), 0.0),
        "Burgers, front at speed 10": (ring(ps.Burgers(0.01), 10.0), 10.0),
        "speed 10 + sin x, ν = 0.01": (ring(variable), 0.0),
    }
    for name, (problem, mean) in cases.items():
        exact = reference(report, problem, name)
        error, seconds = median(report, beside(problem, tanh, ps.Follow(), steps), exact, mean)
        report.add(f"{name}: Levenberg-Marquardt, error", error, note=f"at most {steps} steps, {seconds:.1f} s")
        same = max(10, round(seconds / seconds_of_a_step(problem, tanh)))
        error, seconds = median(report, descended(problem, tanh, same), exact, mean)
        note = f"{same} steps at each of two rates, {seconds:.1f} s for both"
        report.add(f"{name}: Adam, in the same time, error", error, note=note)


def descended(problem: ps.Problem, branch: Any, steps: int) -> Fit:
    """By Adam, at the better of two rates, judged by the residual that the fit reports."""

    def fit(seed: int) -> ps.LagrangianPINN:
        tried = []
        for rate in (1e-2, 1e-3):
            generator = torch.Generator().manual_seed(seed)
            expert = ps.LagrangianPINN(problem, branch, branch, generator=generator)
            report = expert.fit(AdamDescent(rate=rate, max_steps=steps), throw=False)
            tried.append((report.residual[0], expert))
        return min(tried, key=lambda t: t[0] if math.isfinite(t[0]) else math.inf)[1]

    return fit


def seconds_of_a_step(problem: ps.Problem, branch: Any) -> float:
    """Of Adam, with the start left out."""
    expert = ps.LagrangianPINN(problem, branch, branch, generator=torch.Generator().manual_seed(0))
    history = expert.fit(AdamDescent(max_steps=40), throw=False).minimised[0].history["seconds"]
    return (history[-1] - history[10]) / (len(history) - 11)


def patches(report: Report) -> None:
    """One branch against a mixture of branches of as many parameters in all, one in each of four patches of labels.

    For labels that are smooth everywhere, and for a pulse that fills a tenth of the period.
    """
    few, many = (12, 20) if report.quick else (35, 100)
    network, mixed = ps.TanhBranch((16, 16)), ps.TanhBranch((7, 7))
    modes, local = ps.SpectralBranch(16, 12), ps.SpectralBranch(7, 12)
    near = {"x": (2.5, 3.0, 3.5)}
    waves = {"one spectral branch": modes, "spectral branches in four equal patches": ps.PatchedBranch(local, {"x": 4})}
    smooth = waves | {
        "one tanh network": network,
        "tanh networks in four equal patches": ps.PatchedBranch(mixed, {"x": 4}),
    }
    narrow = {
        "tanh networks in patches cut around it": ps.PatchedBranch(mixed, near),
        "spectral branches in patches cut around it": ps.PatchedBranch(local, near),
    }
    variable = ps.LinearAdvection(lambda c, p: p.c + torch.sin(c.x), 0.01, constants={"c": 10.0})
    pulse = [ps.InitialCondition(lambda x: torch.exp(100.0 * (torch.cos(x - 3.0) - 1.0))), ps.Periodic("x")]
    cases: list[tuple[str, ps.Problem, float, dict[str, Any], Any, int]] = [
        ("Burgers, front at speed 10", ring(ps.Burgers(0.01), 10.0), 10.0, waves, None, many),
        ("speed 10 + sin x, ν = 0.01", ring(variable), 0.0, smooth, None, few),
        ("narrow pulse at speed 10 + sin x", ps.Problem(variable, RING, pulse), 0.0, smooth | narrow, modes, few),
    ]
    for name, problem, mean, branches, curves, steps in cases:
        exact = reference(report, problem, name)
        for what, branch in branches.items():
            error, seconds = median(report, mixture(problem, curves or branch, branch, steps), exact, mean)
            count = branch.n_parameters(LabelFrame(problem.box, ("x",)), 1)
            note = f"{count} parameters of the state, at most {steps} steps, {seconds:.1f} s"
            report.add(f"{name}: {what}, error", error, note=note)


def mixture(problem: ps.Problem, position: Any, state: Any, steps: int) -> Fit:
    """Twice the default nodes, which a mixture needs and one branch gets too."""

    def fit(seed: int) -> ps.LagrangianPINN:
        generator = torch.Generator().manual_seed(seed)
        expert = ps.LagrangianPINN(problem, position, state, generator=generator, counts={"x": 192, "t": 18})
        expert.fit(minimiser(steps), throw=False)
        return expert

    return fit


SECTIONS = {
    "convection": convection,
    "convection-diffusion": convection_diffusion,
    "burgers": burgers,
    "variable": variable,
    "rotation": rotation,
    "swirl": swirl,
    "crossing": crossing,
    "evaluation": evaluation,
    "adam": first_order,
    "patches": patches,
}

if __name__ == "__main__":
    sys.exit(start("lagrangian", sections=SECTIONS).run())
