"""The layer's solver beside Optimistix's Levenberg-Marquardt (JAX): speed, and what both say where members fail.

    python examples/benchmarks/layer_race.py [--quick] [--json FILE] [--only SECTION ...]

Needs ``pip install optimistix`` for the rival's rows; without it they say so. Compilation is not counted.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.geometry import Interval, TimeInterval
from pdesolve.execution import AbstractExecution, Compiled, Eager
from pdesolve.experts.coupling import Independent, InterfaceRows
from pdesolve.experts.parametric import parametric_expert
from pdesolve.experts.rows import RowCounts
from pdesolve.implicit import ImplicitAdjoint
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import Minimum, minimise, stationarity
from pdesolve.nonlinear.rows import RowBlock
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.burgers import Burgers
from pdesolve.problem import Problem
from pdesolve.reference.benchmarks import diffusion_sorption_frame, diffusion_sorption_problem

from hard_constraint_layer import extrapolated_slope, rows_of  # isort: skip
from report import Report, Section, start  # isort: skip

HAVE_RIVAL = importlib.util.find_spec("optimistix") is not None
N_BASIS, POINTS, TURNS = 16, 500, 5
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12)
SAME_COST = 1e-6  # relative: what counts as the same cost
PATCHES = {1: {}, 16: {"x": 16}, 256: {"x": 16, "t": 16}}


# The problems.


def diffusion_sorption() -> Problem:
    """PDEBench's, u0 = 0.1."""
    return diffusion_sorption_problem()


def burgers() -> Problem:
    """The PINN benchmark's domain and initial value with ν = 0.1/π."""
    conditions = [InitialCondition(lambda x: -torch.sin(torch.pi * x)), Dirichlet(0.0)]
    return Problem(Burgers(0.1 / torch.pi), Interval(-1.0, 1.0) * TimeInterval(0.0, 1.0), conditions)


def reaction_diffusion() -> Problem:
    """u_t = 0.01 u_xx + u (1 - u)."""
    pde = FunctionPDE(
        lambda f, c, p: f.u.t - p.nu * f.u.xx - p.rho * f.u * (1.0 - f.u), parameters={"nu": 0.01, "rho": 1.0}
    )
    conditions = [InitialCondition(lambda x: 0.5 * torch.sin(torch.pi * x)), Dirichlet(0.0)]
    return Problem(pde, Interval(0.0, 1.0) * TimeInterval(0.0, 2.0), conditions)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "diffusion-sorption": diffusion_sorption,
    "Burgers": burgers,
    "reaction-diffusion": reaction_diffusion,
}


def rows(name: str, patches: int, device: torch.device) -> tuple[LeastSquares, Problem]:
    """Independent patches of an untrained basis; the frame meets every condition, so all rows are the equation's."""
    problem = PROBLEMS[name]()
    frame = diffusion_sorption_frame(problem) if name == "diffusion-sorption" else None
    counts = RowCounts(POINTS, 16, 16)
    expert = parametric_expert(problem, n_basis=N_BASIS, frame=frame, rows=counts, dtype=torch.float64).to(device)
    generator, values = torch.Generator(device).manual_seed(0), problem.batch_parameters(None, device=device)
    decomposition = cartesian_decomposition(problem.domain, PATCHES[patches])
    with torch.no_grad():
        found = expert.layer.assemble(expert.backbone, values, generator, decomposition, Independent())
    return LeastSquares(found.rows[:1]), problem


# Ours.


@dataclass(frozen=True)
class Ours:
    """The layer's solver on given basis terms."""

    problem: LeastSquares
    execution: AbstractExecution = field(default_factory=Eager)

    def solver(self, tolerance: float) -> LevenbergMarquardt:
        return LevenbergMarquardt(gtol=tolerance, max_steps=100, execution=self.execution)

    def forward(self, tolerance: float) -> Tensor:
        return minimise(self.problem, self.solver(tolerance)).w

    def both(self, tolerance: float) -> None:
        leaves = [t.detach().requires_grad_() for t in self.problem.rows[0].basis]
        block = replace(self.problem.rows[0], basis=tuple(leaves))
        adjoint, solver = ImplicitAdjoint(execution=self.execution), self.solver(tolerance)
        w = adjoint.solve(LeastSquares((block,)), lambda p: minimise(p, solver)).w
        torch.autograd.grad(w.sum(), leaves)

    def cost(self, w: Tensor) -> Tensor:
        return self.problem.cost(w)[0]


# Optimistix.


@dataclass(eq=False)
class Rival:
    """optimistix.LevenbergMarquardt on the same terms, compiled, mapped over the patches."""

    problem: LeastSquares
    function: Callable[..., Any]

    def arguments(self) -> tuple[Any, ...]:
        import jax.numpy as jnp

        block = self.problem.rows[0]
        weight = block.weight.expand(block.offset[0].shape)
        basis, offset = ([jnp.asarray(t[0].numpy()) for t in group] for group in (block.basis, block.offset))
        return basis, offset, jnp.asarray(weight[0].numpy())

    def solver(self, tolerance: Any) -> Any:
        import jax
        import jax.numpy as jnp
        import optimistix

        method = optimistix.LevenbergMarquardt(rtol=tolerance, atol=tolerance * 1e-3)

        def residual(w: Any, args: Any) -> Any:
            basis, offset, weight = args
            return weight * self.function(*[s @ w + g for s, g in zip(basis, offset, strict=True)])

        def one(basis: Any, offset: Any, weight: Any) -> Any:
            zero = jnp.zeros(basis[0].shape[-1])
            found = optimistix.least_squares(
                residual, method, zero, (basis, offset, weight), max_steps=100, throw=False
            )
            return found.value, found.result == optimistix.RESULTS.successful

        return jax.vmap(one)

    @cached_property
    def compiled(self) -> tuple[Any, Any]:
        """Forward, and the gradient, for any tolerance."""
        import jax

        forward = jax.jit(lambda tolerance, *given: self.solver(tolerance)(*given))
        both = jax.jit(jax.grad(lambda basis, tolerance, *given: self.solver(tolerance)(basis, *given)[0].sum()))
        return forward, both

    def forward(self, tolerance: float) -> Any:
        import jax

        return jax.block_until_ready(self.compiled[0](tolerance, *self.terms))

    def both(self, tolerance: float) -> Any:
        import jax

        basis, *given = self.terms
        return jax.block_until_ready(self.compiled[1](basis, tolerance, *given))

    @cached_property
    def terms(self) -> tuple[Any, ...]:
        return self.arguments()


def rival_function(name: str, problem: Problem) -> Callable[..., Any]:
    """The equation in jax.numpy, its terms in the order of the problem's."""
    import jax.numpy as jnp

    terms = [derivative for _, derivative in problem.trace.terms]
    p = problem.parameters

    def sorption(t: Any) -> Any:
        factor = (1.0 - p["porosity"]) / p["porosity"] * p["bulk_density"] * p["k"] * p["n_f"]
        magnitude = t[""] ** 2 + p["regularisation"] ** 2
        retardation = 1.0 + factor * jnp.exp(0.5 * (p["n_f"] - 1.0) * jnp.log(magnitude))
        return t["t"] - p["D"] * t["xx"] / retardation

    written = {
        "diffusion-sorption": sorption,
        "Burgers": lambda t: t["t"] + t[""] * t["x"] - p["nu"] * t["xx"],
        "reaction-diffusion": lambda t: t["t"] - p["nu"] * t["xx"] - p["rho"] * t[""] * (1.0 - t[""]),
    }[name]
    return lambda *values: written(dict(zip(terms, values, strict=True)))


def same_rows(ours: Ours, rival: Rival) -> float:
    """Largest relative difference of the two residuals at one random w: both solve the same problem."""
    import numpy as np

    block = ours.problem.rows[0]
    w = torch.randn(ours.problem.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.1
    basis, offset, weight = rival.arguments()
    values = [np.einsum("kmn,kn->km", s, w[0].numpy()) + g for s, g in zip(basis, offset, strict=True)]
    theirs = torch.from_numpy(np.array(weight * rival.function(*values)))
    mine = block.residual(w)[0, 0]
    return float((mine - theirs).abs().max() / mine.abs().max())


# The race.


def race(report: Report) -> None:
    """Time to the same cost with the loosest tolerance that reaches it, interleaved, medians, both on one core."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {max(cores)})
    torch.set_num_threads(1)
    try:
        if HAVE_RIVAL:
            import jax

            jax.config.update("jax_enable_x64", True)
        for name in PROBLEMS:
            for patches in (1, 16) if report.quick else PATCHES:
                _one_race(report, name, patches)
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


def _one_race(report: Report, name: str, patches: int) -> None:
    least_squares, problem = rows(name, patches, report.device)
    ours, label = Ours(least_squares), f"{name}, {patches} x {POINTS} points, N = {N_BASIS}"
    if not HAVE_RIVAL:
        report.add(f"{label}: Optimistix's time over ours", None, None, "x", "optimistix is not installed")
        return
    rival = Rival(least_squares, rival_function(name, problem))
    difference = same_rows(ours, rival)
    if difference > 1e-12:
        raise SystemExit(f"{label}: the residuals differ by {difference:.1e}")
    tight = TOLERANCES[-1]
    best = torch.minimum(ours.cost(ours.forward(tight)), ours.cost(_tensor(rival.forward(tight)[0])))
    mine = _loosest(lambda tolerance: ours.cost(ours.forward(tolerance)), best)
    theirs = _loosest(lambda tolerance: ours.cost(_tensor(rival.forward(tolerance)[0])), best)
    reached = {"ours": mine, "Optimistix": theirs}
    if None in reached.values():
        failed = ", ".join(who for who, tolerance in reached.items() if tolerance is None)
        report.add(f"{label}: forward, our time over Optimistix's", None, None, "x", f"{failed} never reaches the cost")
        return
    compiled = Ours(least_squares, Compiled())
    for what, bound in (("forward", 1 / 3), ("both", 1 / 5)):
        runs = [partial(getattr(who, what), at) for who, at in ((compiled, mine), (ours, mine), (rival, theirs))]
        fast, eager, other = interleaved(runs)
        note = (
            f"{fast * 1e3:.1f} ms against {other * 1e3:.1f} ms, {eager * 1e3:.1f} ms not compiled; gtol {mine:g}, "
            f"rtol {theirs:g}"
        )
        name = f"{label}: forward{' + backward' * (what == 'both')}, our time over Optimistix's"
        report.add(name, fast / other, bound, "x", note)


def _loosest(cost: Callable[[float], Tensor], best: Tensor) -> float | None:
    """The loosest tolerance that reaches the best cost known, summed over patches; by bisection."""
    first, last = 0, len(TOLERANCES)
    while first < last:
        middle = (first + last) // 2
        if float(cost(TOLERANCES[middle]).sum()) <= float(best.sum()) * (1.0 + SAME_COST):
            last = middle
        else:
            first = middle + 1
    return TOLERANCES[first] if first < len(TOLERANCES) else None


def interleaved(runs: Sequence[Callable[[], object]]) -> list[float]:
    """Median seconds of each, turn by turn, after one turn that is not counted."""
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(TURNS + 1):
        for run, kept in zip(runs, seconds, strict=True):
            begin = time.perf_counter()
            run()
            if turn:
                kept.append(time.perf_counter() - begin)
    return [statistics.median(kept) for kept in seconds]


def _tensor(array: Any) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.array(array)).unsqueeze(0)


# Robustness.


def robustness(report: Report) -> None:
    """Units changed by 1e±6, a member with NaN, a singular member."""
    plain, problem = rows("diffusion-sorption", 16, report.device)
    solver = LevenbergMarquardt(max_steps=100)
    first = minimise(plain, solver)
    worst = 0.0
    for power in (-6, 6):
        for changed in (_scaled_rows(plain, 10.0**power), _scaled_unknowns(plain, 10.0**power)):
            found = minimise(changed, solver)
            gap = (found.stats["iterations"] - first.stats["iterations"]).abs().max()
            worst = max(worst, float(gap), 100.0 * float((found.status != first.status).sum()))
    report.add("units of rows or unknowns changed by 1e±6: largest change of a patch's steps", worst, 2.0, "steps")
    for name, spoil in {"NaN": _with_nan, "singular": _singular}.items():
        found = minimise(spoil(plain), solver)
        others = torch.arange(1, plain.shape[1])
        changed = float((found.w[:, others] != first.w[:, others]).any(-1).sum())
        note = f"the spoilt one ends as {int(found.status[0, 0])}"
        report.add(f"one member of 16 {name}: others that change a bit", changed, 0.0, "patches", note)
    if not HAVE_RIVAL:
        report.add("Optimistix: patches called successful that are not stationary", None, None, "", "not installed")
        return
    import jax

    jax.config.update("jax_enable_x64", True)
    for power in (-6, 0, 6):
        scaled = _scaled_rows(plain, 10.0**power)
        function = rival_function("diffusion-sorption", problem)
        w, success = Rival(scaled, function).forward(1e-8)
        far = stationarity(scaled.linearise(_tensor(w)))[0] > 1e-4
        claimed = _tensor(success)[0]
        note = f"rtol 1e-8, atol 1e-11; {int(claimed.sum())} of 16 called successful; not stationary: cosine above 1e-4"
        name = f"Optimistix, rows scaled by 1e{power}: successful but not stationary"
        report.add(name, float((far & claimed).sum()), None, "patches", note)
        ours = minimise(scaled, solver)
        ours_far = stationarity(ours.normal)[0] > 1e-4
        wrong = float((ours_far & (ours.status[0] == 0)).sum())
        report.add(f"ours, rows scaled by 1e{power}: converged but not stationary", wrong, 0.0, "patches")


def _scaled_rows(problem: LeastSquares, factor: float) -> LeastSquares:
    block = problem.rows[0]
    return LeastSquares((replace(block, weight=block.weight * factor),))


def _scaled_unknowns(problem: LeastSquares, factor: float) -> LeastSquares:
    block = problem.rows[0]
    return LeastSquares((replace(block, basis=tuple(s * factor for s in block.basis)),))


def _with_nan(problem: LeastSquares) -> LeastSquares:
    return _first_patch(problem, lambda s: torch.full_like(s, torch.nan))


def _singular(problem: LeastSquares) -> LeastSquares:
    return _first_patch(problem, lambda s: s[..., :1].expand_as(s).contiguous())


def _first_patch(problem: LeastSquares, change: Callable[[Tensor], Tensor]) -> LeastSquares:
    block = problem.rows[0]
    basis = tuple(torch.cat([change(s[:, :1]), s[:, 1:]], 1) for s in block.basis)
    return LeastSquares((replace(block, basis=basis),))


# Accuracy of gradients by size of the residual.


def gradients(report: Report) -> None:
    """Implicit gradient against extrapolated difference quotients at three sizes of the residual."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(1, 1, 60, 5, generator=generator, dtype=torch.float64)
    noise = torch.randn(1, 1, 60, generator=generator, dtype=torch.float64)
    truth = 0.3 * torch.randn(1, 1, 5, generator=generator, dtype=torch.float64)
    direction = torch.randn(basis.shape, generator=generator, dtype=torch.float64)
    steps = 1e-2 * 0.25 ** torch.arange(8, dtype=torch.float64)
    for wanted in (0.0, 0.075, 0.75):
        data = _model(basis @ truth.unsqueeze(-1)).squeeze(-1)
        data = data + wanted / (1 - wanted**2) ** 0.5 * noise * data.norm() / noise.norm()

        def weights(changed: Tensor, data: Tensor = data) -> Minimum:
            block = RowBlock(
                lambda terms, inputs: (_model(terms[0]) - inputs[0],),
                (changed,),
                (torch.zeros(changed.shape[:-1], dtype=torch.float64),),
                (data.expand(changed.shape[0], -1, -1),),
                torch.ones(1, 1, 1, dtype=torch.float64),
            )
            solver = LevenbergMarquardt(gtol=1e-12, max_steps=200)
            return ImplicitAdjoint().solve(LeastSquares((block,)), lambda p: minimise(p, solver))

        leaf = basis.clone().requires_grad_()
        found = weights(leaf)
        slope = float((torch.autograd.grad(found.w.sum(), leaf)[0] * direction).sum())
        quotient, own = extrapolated_slope(
            lambda h, weights=weights: weights(basis + h.reshape(-1, 1, 1, 1) * direction).w.sum((1, 2)), steps
        )
        relative = float((2 * found.stats["cost"]).sqrt() / data.norm())
        note = f"relative residual {relative:.3f}; own error of the quotients {own / abs(quotient):.0e}"
        error = abs(slope - quotient) / abs(quotient)
        report.add(f"implicit gradient at relative residual {wanted}", error, 1e-8, "relative", note)


def _model(u: Tensor) -> Tensor:
    return u + 0.5 * u**2 + torch.sin(u)


# Memory.


def memory(report: Report) -> None:
    """Peak beyond the given basis terms, forward and backward, in a process of its own."""
    points = 2_000 if report.quick else 20_000
    for coupling in (Independent(), InterfaceRows()):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            peak, terms = pool.submit(_peak, points, coupling).result()
        note = f"{peak / 2**20:.0f} MB beyond terms of {terms / 2**20:.0f} MB, whose gradients are as large"
        name = f"peak memory, 4 x {points} points, N = 64, {type(coupling).__name__}, forward + backward"
        report.add(f"{name}: beyond the basis terms, over them", peak / terms, 2.0, "x", note)


def _peak(points: int, coupling: Any) -> tuple[float, float]:
    """Bytes of the peak beyond what stood before, and of the basis terms."""
    torch.set_num_threads(1)
    solver = LevenbergMarquardt(max_steps=50)

    def both(problem: LeastSquares) -> None:
        w = ImplicitAdjoint().solve(problem, lambda p: minimise(p, solver)).w
        torch.autograd.grad(w.sum(), problem.tensors(), allow_unused=True)

    both(rows_of(100, coupling, torch.device("cpu"), 64))
    problem = rows_of(points, coupling, torch.device("cpu"), 64)
    terms = sum(t.numel() * t.element_size() for block in problem.rows for t in block.basis)
    with open("/proc/self/clear_refs", "w", encoding="ascii") as reset:
        reset.write("5")  # the peak from here on: assembling took more
    before = _resident()
    both(problem)
    return _resident("VmHWM") - before, float(terms)


def _resident(field: str = "VmRSS") -> float:
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(field))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


SECTIONS: Mapping[str, Section] = {
    "race": race,
    "robustness": robustness,
    "gradients": gradients,
    "memory": memory,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all sections, or those after ``--only``."""
    return start("layer_race", arguments, SECTIONS).run()


if __name__ == "__main__":
    sys.exit(main())
