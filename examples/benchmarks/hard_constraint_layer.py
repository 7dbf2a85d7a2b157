"""The constraint layer by itself: time of solve and backward, of a training step, scaling, gradients.

python examples/benchmarks/hard_constraint_layer.py [--quick] [--json FILE] [--only SECTION ...] [--device cuda]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pdesolve.discretization.abstract import Points
from pdesolve.discretization.collocation import Collocation, ForwardMode, TaylorMode
from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.sampling import GradedSampler
from pdesolve.experts.coupling import AbstractCoupling, Independent, InterfaceRows
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.parametric import parametric_expert
from pdesolve.experts.rows import RowCounts
from pdesolve.implicit import ImplicitAdjoint
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import Minimum, minimise
from pdesolve.nonlinear.ridge import FixedRidge
from pdesolve.reference.benchmarks import diffusion_sorption_family

from report import Report, Section, median_seconds, start  # isort: skip

N_BASIS = 16
SOLVER = LevenbergMarquardt(max_steps=50)
STEPS = 1e-3 * 0.25 ** torch.arange(8, dtype=torch.float64)
"""Steps of the difference quotients: the solution of the deficient problem bends within 1e-5, parameters bear 1e-3."""


def rows_of(
    points: int, coupling: AbstractCoupling, device: torch.device, n_basis: int = N_BASIS, faces: int = 64
) -> LeastSquares:
    """The least-squares problem of diffusion-sorption on 4 patches, with leaves that take gradients."""
    family = diffusion_sorption_family()
    mixture = mixture_of(points, n_basis, torch.float64, faces)
    mixture.to(device)
    parameters = family.problem.batch_parameters({"u0": torch.tensor([0.1], dtype=torch.float64)}, device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        problem = mixture.expert.layer.assemble(
            mixture.expert.backbone, parameters, generator, mixture.decomposition, coupling
        )
    return problem.with_tensors([t.detach().clone().requires_grad_() for t in problem.tensors()])


def mixture_of(points: int, n_basis: int, dtype: torch.dtype, faces: int = 64) -> MixtureOfExperts:
    """Four patches along x with ``points`` rows on each, ``faces`` on boundaries and interfaces."""
    family = diffusion_sorption_family()
    counts = RowCounts(points, faces, faces)
    expert = parametric_expert(family, n_basis=n_basis, rows=counts, training_rows=counts, dtype=dtype)
    return MixtureOfExperts(cartesian_decomposition(family.problem.domain, {"x": 4}), expert)


def forward_backward(problem: LeastSquares) -> Minimum:
    """Solve, and pull a gradient back to every basis term."""
    found = ImplicitAdjoint().solve(problem, lambda rows: minimise(rows, SOLVER))
    torch.autograd.grad(found.w.sum(), problem.tensors(), allow_unused=True)
    return found


def layer_alone(report: Report) -> None:
    """Forward and backward of the layer on given basis terms."""
    bounds = {5_000: 0.03, 20_000: 0.1}
    for points, bound in bounds.items():
        for coupling in (Independent(), InterfaceRows()):
            problem = rows_of(points, coupling, report.device)
            seconds = median_seconds(partial(forward_backward, problem), device=report.device)
            found = forward_backward(problem)
            name = type(coupling).__name__
            report.add(
                f"layer, forward + backward, 4 x {points} points, N = {N_BASIS}, {name}",
                seconds,
                bound,
                "s",
                f"{int(found.stats['iterations'].max())} iterations",
            )
            report.add(
                f"unconverged patches in it, {name}, 4 x {points}", float((found.status != 0).sum()), 0.0, "patches"
            )


def training_step(report: Report) -> None:
    """One step of training: basis derivatives by Taylor mode, solve, residual, backward."""
    for dtype, bound in ((torch.float32, 0.2), (torch.float64, None)):
        mixture = mixture_of(5_000, N_BASIS, dtype).to(report.device)
        parameters = {"u0": torch.tensor([0.1], dtype=torch.float64, device=report.device)}
        generator = torch.Generator(report.device).manual_seed(0)

        def step(
            mixture: MixtureOfExperts = mixture,
            parameters: dict[str, Tensor] = parameters,
            generator: torch.Generator = generator,
        ) -> None:
            rows, _ = mixture.residual(parameters, generator)
            total = torch.stack([r.square().sum(1) for r in rows.values()]).sum(0)
            mixture.zero_grad()
            total.log().mean().backward()

        seconds = median_seconds(step, device=report.device)
        name = str(dtype).removeprefix("torch.")
        note = "residual and its gradient, one case; without the optimizer"
        report.add(f"one training step, network of {name}, 4 x 5000 points", seconds, bound, "s", note)


def scaling(report: Report) -> None:
    """Fitted exponent of the layer's time over 1e3 to 1e5 points, and independence of the grid's size."""
    counts = (250, 1000, 4000) if report.quick else (250, 1000, 4000, 25_000)
    times = []
    for count in counts:
        problem = rows_of(count, InterfaceRows(), report.device)
        times.append(median_seconds(partial(forward_backward, problem), 5, device=report.device))
    x, y = (torch.tensor([math.log(v) for v in values]) for values in (counts, times))
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    report.add(f"exponent of time against points, 1e3 to {4 * counts[-1]:.0e}", slope, 1.1, "")
    seconds = {shape: grid_layer_seconds(report, shape) for shape in ((51, 256), (101, 1024))}
    ratio = seconds[101, 1024] / seconds[51, 256]
    report.add(
        "finite differences at 4 x 1000 sampled nodes: time on 101 x 1024 over that on 51 x 256",
        ratio,
        1.5,
        "x",
        "rows, solve and backward to the fields; not counted: u on the whole grid, and zeroing the fields' gradient",
    )


def grid_layer_seconds(report: Report, shape: tuple[int, int]) -> float:
    """Rows at sampled nodes of fields on a grid, the solve, and the gradient back to the fields."""
    family = diffusion_sorption_family()
    grid = StructuredGrid.uniform(family.problem.domain, shape)
    layer = HardConstraintLayer(
        family.problem,
        FiniteDifferences(grid),
        RowCounts(1000, 64, 64),
        decomposition=cartesian_decomposition(grid, {"x": 4}),
        coupling=InterfaceRows(),
        throw=False,
    )
    generator = torch.Generator().manual_seed(0)
    coefficients = torch.rand(N_BASIS, 2, generator=generator, dtype=torch.float64)
    t, x = grid.coordinates()["t"] / 500.0, grid.coordinates()["x"]
    fields = torch.stack([torch.exp(-4 * a * x) * torch.cos(3 * b * t + 2 * x) for a, b in coefficients])
    values = family.problem.batch_parameters({"u0": 0.1}, device=report.device)
    basis = fields.unsqueeze(0).to(report.device).requires_grad_()
    source = GridBasis.lifted(family.problem, grid, basis, layer.lifting, values)

    def solve_and_pull_back() -> None:
        layer.solve(source, values).weights.sum().backward()

    return median_seconds(solve_and_pull_back, 5, device=report.device)


def differentiation(report: Report) -> None:
    """Basis derivatives of one expert by Taylor mode beside nested torch.func.jvp, forward and backward."""
    family = diffusion_sorption_family()
    backbone = parametric_expert(family, dtype=torch.float32).backbone.to(report.device)
    parameters = family.problem.batch_parameters({"u0": 0.1}, device=report.device)
    domain, terms = cartesian_decomposition(family.problem.domain, {"x": 4}), family.problem.trace.derivatives()
    seconds = {}
    for mode in (TaylorMode(), ForwardMode()):
        collocation = Collocation(GradedSampler({"t": 2.0}), mode)
        points = collocation.interior(domain, 5_000, torch.Generator(report.device).manual_seed(0))

        def both(collocation: Collocation = collocation, points: Points = points) -> None:
            found = collocation.expand(backbone, points, parameters, terms)
            torch.stack([value.square().sum() for value in found.basis.values()]).sum().backward()

        seconds[type(mode).__name__] = median_seconds(both, 5, device=report.device)
        report.add(
            f"basis derivatives by {type(mode).__name__}, 4 x 5000 points", seconds[type(mode).__name__], None, "s"
        )
    report.add("torch.func.jvp over Taylor mode", seconds["ForwardMode"] / seconds["TaylorMode"], None, "x")


def gradients(report: Report) -> None:
    """Directional derivatives of the weights against extrapolated difference quotients of converged solves.

    Relative to each derivative, or to a thousandth of the largest where it is smaller than that.
    """
    generator = torch.Generator(report.device).manual_seed(0)
    tight = LevenbergMarquardt(gtol=1e-12, max_steps=200)
    deficient = replace(tight, ridge=FixedRidge(1e-6))
    cases: dict[str, tuple[LevenbergMarquardt, Callable[[LeastSquares], LeastSquares]]] = {
        "full rank": (tight, lambda problem: problem),
        "rank deficient, fixed ridge": (deficient, _with_equal_columns),
    }
    for name, (solver, changed) in cases.items():
        worst, own = 0.0, 0.0
        for coupling in (Independent(), InterfaceRows()):
            problem = changed(rows_of(200, coupling, report.device, 6))
            error, estimate = _gradient_error(problem, solver, generator)
            worst, own = max(worst, error), max(own, estimate)
        note = f"worst over basis terms, offsets and parameters; extrapolation error of the quotients about {own:.0e}"
        report.add(f"implicit gradient against finite differences, {name}", worst, 1e-6, "relative", note)
    report.add("gradcheck of the weights in float64 fails", float(not _gradcheck(report)), 0.0, "")


def _gradcheck(report: Report) -> bool:
    """Every entry of every tensor; few points, since each entry takes two solves."""
    problem = rows_of(6, InterfaceRows(), report.device, 3, faces=2)

    def weights(*tensors: Tensor) -> Tensor:
        solver = LevenbergMarquardt(gtol=1e-12, max_steps=200)
        return ImplicitAdjoint().solve(problem.with_tensors(tensors), lambda rows: minimise(rows, solver)).w

    return bool(torch.autograd.gradcheck(weights, tuple(problem.tensors()), eps=1e-6, atol=1e-5, raise_exception=False))


def _with_equal_columns(problem: LeastSquares) -> LeastSquares:
    """The last basis field replaced by the one before."""
    tensors = []
    for t in problem.tensors():
        t = t.detach().clone()
        if t.ndim == 4 and t.shape[-1] == 6:
            t[..., -1] = t[..., -2]
        tensors.append(t.requires_grad_())
    return problem.with_tensors(tensors)


def _gradient_error(
    problem: LeastSquares, solver: LevenbergMarquardt, generator: torch.Generator
) -> tuple[float, float]:
    """(largest difference of gradient and quotient, largest extrapolation error of the quotients), both relative."""

    def weights(tensors: Sequence[Tensor]) -> Tensor:
        return ImplicitAdjoint().solve(problem.with_tensors(tensors), lambda rows: minimise(rows, solver)).w

    tensors = problem.tensors()
    cotangent = torch.randn(problem.shape, generator=generator, dtype=torch.float64, device=generator.device)
    grads = torch.autograd.grad((weights(tensors) * cotangent).sum(), tensors, allow_unused=True)
    base = [t.detach() for t in tensors]
    slopes, errors, estimates = [], [], []
    for k, grad in enumerate(grads):
        if grad is None:
            continue
        direction = torch.randn(base[k].shape, generator=generator, dtype=torch.float64, device=base[k].device)
        direction = direction * base[k].abs().mean()

        def moved(steps: Tensor, k: int = k, direction: Tensor = direction) -> Tensor:
            """The functional at every step, solved as one batch."""
            batch = [t.expand(len(steps), *t.shape[1:]) for t in base]
            batch[k] = base[k] + steps.reshape(-1, *(1,) * (direction.ndim - 1)) * direction
            return (weights(batch) * cotangent).sum((1, 2))

        slopes.append(float((grad * direction).sum()))
        quotient, estimate = extrapolated_slope(moved, STEPS.to(base[k]))
        errors.append(abs(slopes[-1] - quotient))
        estimates.append(estimate)
    largest = max(abs(s) for s in slopes)
    scales = [max(abs(s), 1e-3 * largest) for s in slopes]
    worst, own = (max(e / s for e, s in zip(found, scales, strict=True)) for found in (errors, estimates))
    return worst, own


def extrapolated_slope(function: Callable[[Tensor], Tensor], steps: Tensor) -> tuple[float, float]:
    """f'(0) from central differences, extrapolated to step zero, and an estimate of its error.

    A central difference is f'(0) + c₁h² + c₂h⁴ + ...; Neville's scheme removes one term in each column. The entry is
    taken whose distance to the two that it was made of is smallest: too long a step truncates, too short one rounds.

    Arguments:
        function: values at steps, all at once.
        steps: from long to short, each the same fraction of the one before.

    Source: Ridders, *Advances in Engineering Software* 4 (1982).
    """
    quotients = ((function(steps) - function(-steps)) / (2 * steps)).tolist()
    growth = float(steps[0] / steps[1]) ** 2
    best, error, before = quotients[0], math.inf, quotients[:1]
    for quotient in quotients[1:]:
        row = [quotient]
        for column, older in enumerate(before, start=1):
            row.append(row[-1] + (row[-1] - older) / (growth**column - 1.0))
            estimate = max(abs(row[-1] - row[-2]), abs(row[-1] - older))
            if estimate < error:
                best, error = row[-1], estimate
        before = row
    return best, error


SECTIONS: Mapping[str, Section] = {
    "layer": layer_alone,
    "training_step": training_step,
    "differentiation": differentiation,
    "scaling": scaling,
    "gradients": gradients,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all sections, or those after ``--only``; ``--quick`` leaves out the largest size of the scaling."""
    return start("hard_constraint_layer", arguments, SECTIONS, cuda=True).run()


if __name__ == "__main__":
    sys.exit(main())
