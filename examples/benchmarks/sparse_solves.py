"""Sparse solves: direct against SciPy's defaults, multigrid, hard coefficients, gradients, many small, nonlinear.

    python examples/benchmarks/sparse_solves.py [--quick] [--json FILE] [--device cuda]

Direct solves run in a fresh process each, so that the peak of memory is theirs; the estimate that a solve rests on is
part of its time.
"""

from __future__ import annotations

import importlib.util
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.direct.block_schur import BlockSchur
from pdesolve.linalg.direct.dense_lu import DenseLU
from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.multigrid.algebraic import AlgebraicMultigrid
from pdesolve.linalg.multigrid.geometric import GeometricMultigrid
from pdesolve.linalg.multigrid.grid_diffusion import GridDiffusion
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.assemble import sparse_matrix
from pdesolve.linalg.operators.block_sparse import BlockSparseOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.solve import linear_solve
from pdesolve.root_finding import (
    AbstractJacobian,
    ColoredJacobian,
    MatrixFree,
    Newton,
    RootReport,
    find_root,
    newton_krylov,
)

from report import Report, median_seconds, start  # isort: skip

RTOL = 1e-10


def poisson(*grid: int, device: torch.device | None = None) -> GridDiffusion:
    """-Δ on the unit box, u = 0 around it."""
    one = torch.ones((), dtype=torch.float64, device=device)
    return GridDiffusion(grid, tuple(1.0 / n for n in grid), one, positive_definite=True)


def stored(*grid: int) -> SparseOperator:
    """The same with entries."""
    return poisson(*grid).to_sparse()


def right(operator: AbstractLinearOperator) -> Tensor:
    """A random right-hand side: every frequency is in it."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(operator.shape[0], generator=generator, dtype=torch.float64).to(operator.device)


# Direct solves, each in a process of its own.


def by_scipy(grid: tuple[int, ...]) -> tuple[float, float]:
    """Seconds and bytes of SciPy's default: splu(A).solve(b)."""
    from scipy.sparse import csc_array
    from scipy.sparse.linalg import splu

    operator = stored(*grid)
    parts = operator.values.numpy(), operator.pattern.columns.numpy(), operator.pattern.starts.numpy()
    matrix, b = csc_array(parts, shape=operator.shape), right(operator).numpy()  # symmetric: rows are columns
    return _cost(lambda: splu(matrix).solve(b))


def by_superlu(grid: tuple[int, ...]) -> tuple[float, float]:
    """Seconds and bytes of ours, with all its checks."""
    operator = stored(*grid)
    b = right(operator)
    linear_solve(stored(8, 8), right(stored(8, 8)), SuperLU())  # imports are not counted
    return _cost(lambda: linear_solve(operator, b, SuperLU()))


def _cost(solve: Callable[[], object]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    solve()
    seconds = time.perf_counter() - begin
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024.0


def alone(measure: Callable[[tuple[int, ...]], tuple[float, float]], grid: tuple[int, ...]) -> tuple[float, float]:
    """``measure(grid)`` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, grid).result()


def direct(report: Report) -> None:
    """Factor and solve against SciPy's default, time and memory, interleaved."""
    planes = [((256, 256), 1.0, 1.0)] if report.quick else [((512, 512), 0.7, 0.6)]
    boxes = [((20,) * 3, 1.0, 1.0)] if report.quick else [((48,) * 3, 0.4, 0.6)]
    for grid, time_bound, memory_bound in planes + boxes:
        repeats = 5 if len(grid) == 2 else 1
        ours, theirs = [], []
        for _ in range(repeats):
            theirs.append(alone(by_scipy, grid))
            ours.append(alone(by_superlu, grid))
        (seconds, size), (their_seconds, their_size) = (
            [statistics.median(c) for c in zip(*r, strict=True)] for r in (ours, theirs)
        )
        name = f"Poisson {_name(grid)}, direct"
        note = f"{seconds:.2f} s against {their_seconds:.2f} s, median of {repeats}"
        report.add(f"{name}: time over that of SciPy's default", seconds / their_seconds, time_bound, "x", note)
        note = f"{size / 2**20:.0f} MB against {their_size / 2**20:.0f} MB beyond the matrix"
        report.add(f"{name}: memory over that of SciPy's default", size / their_size, memory_bound, "x", note)


# Multigrid.


def multigrid(report: Report) -> None:
    """Poisson on growing boxes to 1e-10, setup and solve, and the steps."""
    sizes = (31, 63) if report.quick else (31, 63, 127)
    bounds = {48: 0.5, 63: 0.6, 127: 0.6}
    steps = []
    for n in (*sizes, 48):
        operator = poisson(n, n, n, device=report.device)
        seconds, count = cost_of(report, operator, CG(GeometricMultigrid(), rtol=RTOL))
        steps.append(count)
        note = f"{count} steps, setup and solve"
        report.add(f"multigrid CG, Poisson {_name((n,) * 3)} to 1e-10", seconds, bounds.get(n), "s", note)
    spread = float(max(steps[:-1]) - min(steps[:-1]))
    report.add(f"multigrid CG: steps on {sizes[-1]}³ beyond those on {sizes[0]}³", spread, 2.0, "steps")
    n = 255 if report.quick else 1023
    seconds, count = cost_of(report, poisson(n, n, device=report.device), CG(GeometricMultigrid(), rtol=RTOL))
    report.add(f"multigrid CG, Poisson {_name((n, n))} to 1e-10", seconds, None, "s", f"{count} steps, setup and solve")
    if report.device.type == "cuda" and not report.quick:
        seconds, count = cost_of(
            report, poisson(255, 255, 255, device=report.device), CG(GeometricMultigrid(), rtol=RTOL)
        )
        report.add("multigrid CG, Poisson 255 x 255 x 255 to 1e-10", seconds, None, "s", f"{count} steps")
    if importlib.util.find_spec("pyamg") is None:
        report.add("AMG CG, Poisson 48 x 48 x 48 to 1e-10", None, None, "s", "pyamg is not installed")
        return
    n = 24 if report.quick else 48
    seconds, count = cost_of(report, stored(n, n, n), CG(AlgebraicMultigrid(), rtol=RTOL))
    report.add(f"AMG CG, Poisson {_name((n,) * 3)} to 1e-10", seconds, None, "s", f"{count} steps, setup and solve")


def hard_coefficients(report: Report) -> None:
    """Steps with a coefficient that jumps by 1e6, and with anisotropy of 1e3; no required time."""
    n, m = (64, 24) if report.quick else (256, 64)
    for name, coefficient in (*jumps(n, 2).items(), *jumps(m, 3).items()):
        grid = tuple(coefficient.shape)
        operator = GridDiffusion(grid, 1.0 / grid[0], coefficient.to(report.device), positive_definite=True)
        by_chance = "chance" in name
        if by_chance and importlib.util.find_spec("pyamg") is None:
            report.add(f"jump of 1e6, {name}, {_name(grid)}", None, 40.0, "steps", "pyamg is not installed")
            continue
        preconditioner = AlgebraicMultigrid() if by_chance else GeometricMultigrid()
        _, count = cost_of(report, operator, CG(preconditioner, rtol=RTOL, max_steps=400), repeats=1)
        report.add(f"jump of 1e6, {name}, {_name(grid)}", float(count), 40.0, "steps", type(preconditioner).__name__)
    for spacing in ((1.0, 1e3**0.5), (1e3**0.5, 1.0), (1.0, 30.0**0.5, 1e3**0.5)):
        grid = (n,) * 2 if len(spacing) == 2 else (m,) * 3
        operator = GridDiffusion(grid, spacing, torch.ones((), dtype=torch.float64, device=report.device))
        _, count = cost_of(report, operator, CG(GeometricMultigrid(), rtol=RTOL), repeats=1)
        ratios = " : ".join(f"{h**2:.0f}" for h in spacing)
        report.add(f"anisotropy 1e3, h² = {ratios}, {_name(grid)}", float(count), 40.0, "steps")


def jumps(n: int, count: int) -> dict[str, Tensor]:
    """Coefficients between 1 and 1e6."""
    x = torch.meshgrid(*[(torch.arange(n, dtype=torch.float64) + 0.5) / n] * count, indexing="ij")
    distance = torch.stack([(axis - 0.47).square() for axis in x]).sum(0)
    fields = torch.stack([(7 * axis).floor() for axis in x]).sum(0) % 2
    chance = torch.rand((n,) * count, generator=torch.Generator().manual_seed(1)) < 0.5
    conditions = {"a ball inside": distance < 0.1, "chequers of 7 fields": fields == 0, "each cell by chance": chance}
    return {name: torch.where(where, 1e6, 1.0).double() for name, where in conditions.items()}


def cost_of(
    report: Report, operator: AbstractLinearOperator, solver: AbstractLinearSolver, repeats: int = 5
) -> tuple[float, int]:
    """Median seconds of setup and solve, and steps; raises where it does not converge."""
    b, found = right(operator), []

    def run() -> None:
        found.append(linear_solve(operator, b, solver)[1])

    with torch.no_grad():
        seconds = median_seconds(run, repeats, 1 if repeats > 1 else 0, report.device)
    return seconds, int(found[-1].stats["iterations"].max())


# Gradients.


def gradients(report: Report) -> None:
    """The backward pass of a direct solve over its forward pass, and torch-sla beside it."""
    sizes, bound = ((96, 160), 1.0) if report.quick else ((256, 512), 0.5)
    rivals = {"ours": _ours} if importlib.util.find_spec("torch_sla") is None else {"ours": _ours, "sla": _torch_sla}
    for n in sizes:
        operator, name = stored(n, n), f"direct solve, Poisson {_name((n, n))}"
        runs: dict[str, list[tuple[float, float]]] = {rival: [] for rival in rivals}
        for turn in range(5):  # interleaved: what slows the machine slows both
            for rival, solve in rivals.items():
                runs[rival].append(_passes(solve, operator, 1.0 + 0.1 * turn))
        forward, backward = (statistics.median(part) for part in zip(*runs["ours"], strict=True))
        note = f"{forward:.3f} s and {backward:.3f} s"
        report.add(f"{name}: backward over forward", backward / forward, 0.35, "x", note)
        claim = f"{name}, forward + backward: time over torch-sla's"
        if "sla" not in runs:
            report.add(claim, None, bound, "x", "torch-sla not installed")
            continue
        total, theirs = (statistics.median(map(sum, runs[rival])) for rival in ("ours", "sla"))
        report.add(claim, total / theirs, bound, "x", f"{total:.3f} s against {theirs:.3f} s, medians of 5")


def _ours(operator: SparseOperator, values: Tensor, b: Tensor) -> Tensor:
    return linear_solve(SparseOperator(operator.pattern, values), b, SuperLU())[0]


def _torch_sla(operator: SparseOperator, values: Tensor, b: Tensor) -> Tensor:
    from torch_sla import spsolve

    rows, columns = operator.pattern.rows.long(), operator.pattern.columns.long()
    out: Tensor = spsolve(values, rows, columns, operator.shape, b, backend="scipy", method="lu")
    return out


def _passes(
    method: Callable[[SparseOperator, Tensor, Tensor], Tensor], operator: SparseOperator, factor: float
) -> tuple[float, float]:
    """Seconds of the forward and the backward pass of a multiple of A: values that were not seen before."""
    values, b = (factor * operator.values).requires_grad_(), right(operator).requires_grad_()
    begin = time.perf_counter()
    total = method(operator, values, b).square().sum()
    middle = time.perf_counter()
    total.backward()
    return middle - begin, time.perf_counter() - middle


# Many small systems, coupled blocks.


def small_systems(report: Report) -> None:
    """A batch of dense systems in one call, forward and backward, against one call for each."""
    count, n = (64, 32) if report.quick else (256, 64)
    matrix = _regular(count, n).to(report.device)
    b = torch.randn(count, n, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(report.device)

    def together() -> None:
        a = matrix.clone().requires_grad_()
        linear_solve(DenseOperator(a), b, DenseLU())[0].square().sum().backward()

    def one_by_one() -> None:
        a = matrix.clone().requires_grad_()
        for member, rhs in zip(a, b, strict=True):
            linear_solve(DenseOperator(member), rhs, DenseLU())[0].square().sum().backward()

    def plain() -> None:
        a = matrix.clone().requires_grad_()
        torch.linalg.solve(a, b).square().sum().backward()

    seconds, looped, unchecked = (median_seconds(run, 5, 1, report.device) for run in (together, one_by_one, plain))
    name = f"{count} dense systems of {n}, forward + backward"
    report.add(name, seconds * 1e3, None, "ms", f"one by one {looped * 1e3:.0f} ms")
    report.add(f"{name}: time over one by one", seconds / looped, 0.5, "x")
    note = "which checks nothing: no scaling, no condition estimate, no status"
    report.add(f"{name}: time over torch.linalg.solve", seconds / unchecked, None, "x", note)


def _regular(count: int, n: int) -> Tensor:
    noise = torch.randn(count, n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return noise + 2.0 * n**0.5 * torch.eye(n, dtype=torch.float64)


def coupled_blocks(report: Report) -> None:
    """What experts on a plane grid of patches are coupled by, a batch of samples: blocks against the same entries."""
    side, n, samples = (4, 16, 4) if report.quick else (8, 32, 16)
    blocks = _patches(side, n, samples, report.device)
    b = torch.randn(blocks.shape[0], generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    b = b.to(report.device).expand(samples, -1)

    def by_blocks() -> None:
        linear_solve(blocks, b, BlockSchur())

    seconds = median_seconds(by_blocks, 5, 1, report.device)
    name = f"{samples} samples of {side} x {side} patches of {n} unknowns"
    report.add(f"{name}, BlockSchur", seconds * 1e3, None, "ms", "factor and solve")
    entries = [sparse_matrix(replace(blocks, diagonal=d, coupling=c)) for d, c in zip(*blocks.tensors(), strict=True)]

    def by_entries() -> None:
        for member, rhs in zip(entries, b, strict=True):
            linear_solve(member, rhs, SuperLU())

    theirs = median_seconds(by_entries, 3, 1, report.device)
    report.add(f"{name}: time over SuperLU, sample by sample", seconds / theirs, 1.0, "x", f"{theirs * 1e3:.0f} ms")


def _patches(side: int, n: int, samples: int, device: torch.device) -> BlockSparseOperator:
    index = torch.arange(side * side).reshape(side, side)
    pairs = torch.cat([torch.stack([index[:, :-1], index[:, 1:]], -1).flatten(0, 1)])
    pairs = torch.cat([pairs, torch.stack([index[:-1], index[1:]], -1).flatten(0, 1)])
    edges = tuple((int(a), int(b)) for a, b in pairs)
    generator = torch.Generator().manual_seed(4)
    raw = torch.randn(samples, side * side, n, n, generator=generator, dtype=torch.float64)
    tie = torch.randn(samples, len(edges), n, n, generator=generator, dtype=torch.float64)
    diagonal = raw @ raw.mT + 8.0 * n * torch.eye(n, dtype=torch.float64)
    return BlockSparseOperator(diagonal.to(device), tie.to(device), edges, positive_definite=True)


# Nonlinear systems.


def nonlinear(report: Report) -> None:
    """Bratu's -Δu = 5 e^u on a square by Newton and Newton-Krylov, SciPy's newton_krylov beside, the gradient too."""
    n = 64 if report.quick else 256
    grid = poisson(n, n, device=report.device)
    stiffness = grid.to_sparse()
    rate = torch.tensor(5.0, dtype=torch.float64, device=report.device)
    matrix = SparseOperator(stiffness.pattern, stiffness.values)

    def residual(u: Tensor, rate: Tensor) -> Tensor:
        return matrix.mv(u) - rate * torch.exp(u)

    start_ = torch.zeros(n * n, dtype=torch.float64, device=report.device)
    jacobian = ColoredJacobian(stiffness.pattern, symmetric=True)
    colors = int(jacobian.colors.max()) + 1
    name = f"-Δu = 5 e^u, {_name((n, n))}"
    ours = {}
    for label, kind, method in (
        (f"Newton, {colors} colours, SuperLU", jacobian, Newton(rtol=1e-8)),
        (
            "Newton-Krylov, matrix-free, CG with multigrid of -Δ",
            MatrixFree(),
            newton_krylov(_by_poisson(grid), rtol=1e-8),
        ),
    ):
        found = []

        def run(kind: AbstractJacobian = kind, method: Newton = method, found: list[RootReport] = found) -> None:
            found.append(find_root(residual, start_, (rate,), jacobian=kind, method=method)[1])

        ours[label] = median_seconds(run, 3, 1, report.device)
        largest = float(found[-1].stats["residual"])
        note = f"{int(found[-1].stats['iterations'])} steps, largest residual {largest:.1e}"
        report.add(f"{name}, {label}", ours[label], None, "s", note)
    theirs, theirs_residual = _by_scipy_newton_krylov(residual, start_, rate)
    note = f"largest residual {theirs_residual:.1e}"
    report.add(f"{name}, scipy.optimize.newton_krylov", theirs, None, "s", note)
    report.add(f"{name}: the faster of ours over SciPy's", min(ours.values()) / theirs, None, "x")
    parameter = rate.clone().requires_grad_()
    begin = time.perf_counter()
    u, _ = find_root(residual, start_, (parameter,), jacobian=jacobian, method=Newton(rtol=1e-8))
    middle = time.perf_counter()
    u.square().mean().backward()
    ratio = (time.perf_counter() - middle) / (middle - begin)
    report.add(f"{name}, Newton: gradient of a root over finding it", ratio, 0.35, "x", "the last factors serve again")


def _by_poisson(grid: GridDiffusion) -> CG:
    """CG on Jacobians of this problem with the multigrid cycle of -Δ, which is close to them."""
    return CG(Fixed(GeometricMultigrid(), grid), rtol=1e-10)


@dataclass(frozen=True)
class Fixed(AbstractPreconditioner):
    """A preconditioner of another operator than the one that is solved with."""

    preconditioner: AbstractPreconditioner
    operator: AbstractLinearOperator

    def init(self, operator: AbstractLinearOperator) -> object:
        return self.preconditioner.init(self.operator)

    def apply(self, state: object, r: Tensor) -> Tensor:
        return self.preconditioner.apply(state, r)

    def transpose(self, state: object) -> object:
        return self.preconditioner.transpose(state)


def _by_scipy_newton_krylov(
    residual: Callable[[Tensor, Tensor], Tensor], start_: Tensor, rate: Tensor
) -> tuple[float, float]:
    """Seconds and largest residual of SciPy's solver, preconditioned by SuperLU of -Δ as its users do."""
    from scipy.optimize import newton_krylov as rival
    from scipy.sparse.linalg import LinearOperator, splu

    n = round(start_.numel() ** 0.5)
    operator = stored(n, n)
    parts = operator.values.numpy(), operator.pattern.columns.numpy(), operator.pattern.starts.numpy()
    from scipy.sparse import csc_array

    matrix = csc_array(parts, shape=operator.shape)
    rate = rate.cpu()

    def function(u: Any) -> Any:
        return residual(torch.from_numpy(u), rate).numpy()

    begin = time.perf_counter()
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    inner = LinearOperator(operator.shape, matvec=factors.solve)
    u = rival(function, start_.cpu().numpy(), f_tol=1e-8, inner_M=inner, method="lgmres")
    seconds = time.perf_counter() - begin
    return seconds, float(abs(function(u)).max())


def _name(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))


SECTIONS = {
    "direct": direct,
    "multigrid": multigrid,
    "hard_coefficients": hard_coefficients,
    "gradients": gradients,
    "small_systems": small_systems,
    "coupled_blocks": coupled_blocks,
    "nonlinear": nonlinear,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; ``--quick`` takes smaller grids."""
    return start("sparse_solves", arguments, SECTIONS, cuda=True).run()


if __name__ == "__main__":
    sys.exit(main())
