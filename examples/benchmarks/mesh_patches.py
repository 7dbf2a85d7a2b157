"""Meshes, finite elements and mixtures over METIS patches.

    python examples/benchmarks/mesh_patches.py [--quick] [--json FILE] [--only SECTION ...]

The coefficient of the mixture's problems: eight discs at random places, of random radius, in turn 10 to 100 times worse
and better than the matrix, 32 degrees of freedom. Training sees other coefficients than those that are measured, and no
solution. Errors are relative in L² against quadratic elements on the same mesh.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.domains import graph_decomposition

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples"), str(Path(__file__).parent)]

from report import Report, start  # noqa: E402 isort: skip

SEEDS = (0, 1, 2)
UNKNOWNS = 512


def orders(report: Report) -> None:
    """The registry of tests/test_finite_elements.py: every operator, element and boundary type."""
    import test_finite_elements as cases
    from manufactured import cube, square

    makes = {"triangles": ("xy", square, (12, 18, 27), (12, 18, 27))}
    if not report.quick:
        makes["tetrahedra"] = ("xyz", cube, (8, 12, 16), (5, 7, 10))
    for shape, (axes, make, *sizes) in makes.items():
        for order in (1, 2):
            for kind in ("dirichlet", "neumann", "robin", "flux"):
                worst, where = 0.0, ""
                for name in (n for n, k in cases.CASES if k == kind):
                    small = name == "nonlinear" and shape == "triangles"
                    found = cases.orders(
                        cases.FORMS[name](axes), order, kind, (8, 12, 16) if small else sizes[order - 1], make
                    )
                    off = max(abs(found[0] - order - 1), abs(found[1] - order))
                    worst, where = max((worst, where), (off, name))
                claim = f"{shape}, order {order}, {kind}: fitted order against theory, worst operator"
                report.add(claim, worst, 0.1, "", where)


def patch_test(report: Report) -> None:
    """Polynomials of the element's degree."""
    import test_finite_elements as cases
    from manufactured import cube, square

    for shape, make, axes in (("triangles", square, "xy"), ("tetrahedra", cube, "xyz")):
        for order in (1, 2):
            report.add(f"patch test, {shape}, order {order}", cases.patch_error(make, axes, order), 1e-12)


@lru_cache(maxsize=4)
def problem_on(n: int) -> ps.Problem:
    """-∇·(a ∇u) = 1 between walls at 0 and 1, the others insulated; (n + 1)² nodes and a little more."""
    from manufactured import square

    mesh = square(n)
    conditions = [ps.Dirichlet(0.0, on="left"), ps.Dirichlet(1.0, on="right"), ps.Neumann(0.0, on=("bottom", "top"))]
    return ps.Problem(ps.Diffusion(f=1.0), ps.MeshDomain(mesh), conditions)


def mixture(problem: ps.Problem, patches: int, n_basis: int, seed: int, **choices: Any) -> ps.MeshMixture:
    """An untrained mixture; its network reads the coefficient."""
    features = ps.PatchFeatures(("a",))
    network = ps.CoordinateNetwork(features.count(2), n_basis, generator=torch.Generator().manual_seed(seed))
    mesh = problem.domain.mesh  # type: ignore[union-attr]
    return ps.MeshMixture(problem, network, graph_decomposition(mesh, patches), features=features, **choices)


class Quadratic:
    """Solutions by quadratic elements, and errors of nodal fields against them."""

    def __init__(self, problem: ps.Problem, a: ps.CellValues) -> None:
        self.expert = ps.Classical(ps.FiniteElements(order=2)).on(problem)
        self.table = self.expert.discrete.space.cells
        began = time.perf_counter()
        self.values, self.seconds = [], []
        for i in range(a.batch):
            began = time.perf_counter()
            self.values.append(self._points(a[i : i + 1]))
            self.seconds.append(time.perf_counter() - began)

    def _points(self, a: ps.CellValues) -> Tensor:
        from pdesolve.discretization.finite_elements.method import cases_of
        from pdesolve.discretization.finite_elements.steady import solve_steady

        with torch.no_grad():
            (case,) = cases_of(self.expert.problem, {"a": a})
            u, _ = solve_steady(self.expert.discrete, case)
            return self.table.at(u, ("",))[0]

    def error(self, nodal: Tensor, case: int) -> float:
        """Of values at the corners of the mesh, linear in each cell."""
        ours = (nodal[self.table.corners].unsqueeze(1) * self.table.corner_shares).sum(-1)
        square = ((ours - self.values[case]).square() * self.table.weights).sum()
        return float((square / (self.values[case].square() * self.table.weights).sum()).sqrt())


def measured(expert: Any, held_out: ps.CellValues, exact: Quadratic) -> tuple[list[float], list[float], list[float]]:
    """Errors, jumps and seconds of each case, solved alone."""
    errors, jumps, seconds = [], [], []
    for i in range(held_out.batch):
        began = time.perf_counter()
        with torch.no_grad():
            solution = expert({"a": held_out[i : i + 1]})
        seconds.append(time.perf_counter() - began)
        errors.append(exact.error(solution.field.values[0, 0], i))
        jumps.append(float(solution.stats["jump"]) if "jump" in solution.stats else 0.0)
    return errors, jumps, seconds


def trained(expert: ps.MeshMixture, steps: int, seed: int) -> float:
    """Train on coefficients drawn with the seed; seconds."""
    problem = expert.problem
    family = ps.MeshFamily(problem, {"a": ps.RandomInclusions(problem.domain.mesh, 8)})  # type: ignore[union-attr]
    began = time.perf_counter()
    ps.train(expert, family, ps.TrainingSettings(steps=steps, batch=1, learning_rate=5e-3), seed=seed)
    return time.perf_counter() - began


def headline(report: Report) -> None:
    """16 METIS patches, at most 32 fields each, held-out coefficients."""
    n, cases, few = (56, 4, 4) if report.quick else (145, 50, 10)
    problem = problem_on(n)
    mesh = problem.domain.mesh  # type: ignore[union-attr]
    held_out = ps.RandomInclusions(mesh, 8)(cases, torch.Generator().manual_seed(10_000))
    contrast = float((held_out.values.amax(1) / held_out.values.amin(1)).min())
    size = f"{mesh.n_nodes} nodes, 16 patches, {cases} held-out coefficients of contrast {contrast:.0f} and more"
    exact = Quadratic(problem, held_out)
    linear = ps.Classical(ps.FiniteElements(order=1)).on(problem)
    floor, _, linear_seconds = measured(linear, held_out, exact)
    bound = 3e-2 if report.quick else 1e-2
    for what, coupling, n_basis, steps in (
        ("blended", ps.BlendedPatches(), 8, 60),
        ("blended", ps.BlendedPatches(), 32, 20),
        ("tied", ps.TiedPatches(), 32, 20),
    ):
        steps = 10 if report.quick else steps
        untrained, worst, jumped, took = [], [], [], []
        for seed in SEEDS[: 1 if report.quick else 3]:
            expert = mixture(problem, 16, n_basis, seed, coupling=coupling)
            untrained.append(max(measured(expert, held_out[:few], exact)[0]))
            training = trained(expert, steps, seed)
            errors, jumps, seconds = measured(expert, held_out, exact)
            worst.append(max(errors))
            jumped.append(max(jumps))
            took.append(statistics.median(seconds))
        name = f"{what}, N = {n_basis}"
        report.add(f"{name}, untrained: worst error", statistics.median(untrained), None, "", f"of the first {few}")
        note = f"{size}; {steps} steps, {training:.0f} s"
        report.add(f"{name}, trained: worst error", statistics.median(worst), bound, "", note)
        # Blended fields are one continuous function: what is measured is how far neighbours are apart before.
        note = "of neighbours' own fields; joined they are one function" if what == "blended" else ""
        jump_bound = (3e-3 if report.quick else 1e-3) if n_basis == 32 else None
        report.add(f"{name}: jump over max |u|", statistics.median(jumped), jump_bound, "", note)
        report.add(f"{name}: seconds for each case", statistics.median(took), None, "s")
    bare, steps = mixture(problem, 16, 32, 0, fields=ps.NetworkFields()), 10 if report.quick else 60
    name, note = "network's fields as they are, N = 32", f"of the first {few}"
    report.add(f"{name}, untrained: worst error", max(measured(bare, held_out[:few], exact)[0]), None, "", note)
    trained(bare, steps, 0)
    note = f"{note}; {steps} steps"
    report.add(f"{name}, trained: worst error", max(measured(bare, held_out[:few], exact)[0]), None, "", note)
    apart = mixture(problem, 16, 32, 0, coupling=ps.SeparatePatches())
    errors, jumps, _ = measured(apart, held_out[:2], exact)
    report.add("separate patches, N = 32: worst error", max(errors), None, "", f"jump {max(jumps):.1g}")
    report.add("linear elements on the same mesh: worst error", max(floor), None, "", "what the mixtures converge to")
    report.add("linear elements: seconds for each case", statistics.median(linear_seconds), None, "s")
    report.add("quadratic elements: seconds for each case", statistics.median(exact.seconds), None, "s")


def patches(report: Report) -> None:
    """The same nodes and unknowns in all, cut differently; the equation's fields trained alike."""
    n, cases, steps = (72, 2, 5) if report.quick else (145, 3, 20)
    problem = problem_on(n)
    held_out = ps.RandomInclusions(problem.domain.mesh, 8)(cases, torch.Generator().manual_seed(20_000))  # type: ignore[union-attr]
    exact = Quadratic(problem, held_out)
    loose = 3.0 if report.quick else 1.0
    for what, fields in (("equation's fields", ps.EquationFields()), ("network's fields", ps.NetworkFields())):
        own = isinstance(fields, ps.EquationFields)
        error, seconds = {}, {}
        for count in (1, 4, 16, 64):
            whole = own and count == 1
            runs = []
            for seed in SEEDS[: 1 if report.quick or whole else 3]:
                expert = mixture(problem, count, UNKNOWNS // count, seed, fields=fields)
                if own and not whole:
                    trained(expert, steps, seed)
                measured(expert, held_out[:1], exact)  # what is made once
                runs.append(measured(expert, held_out, exact))
            error[count] = statistics.median([statistics.fmean(run[0]) for run in runs])
            seconds[count] = statistics.median([statistics.median(run[2]) for run in runs])
            shown = f"{what}, {count} patches of {UNKNOWNS // count} fields"
            note = f"{steps} steps" if own else "untrained"
            if whole:
                shown, note = f"{what}, one patch", "it has no border and no fields: the elements' own solution"
            report.add(f"{shown}: mean error", error[count], None, "", note)
            report.add(f"{shown}: seconds for each case", seconds[count], None, "s")
        claim = f"{what}: largest error over the best, 1 to 64 patches"
        report.add(claim, max(error.values()) / min(error.values()), 2.0 * loose if own else None)
        slowest = max(seconds[count] for count in (4, 16, 64))
        note = "which is plain elements: nothing is coupled" if own else ""
        report.add(f"{what}: largest time over that of one patch", slowest / seconds[1], 1.2 * loose, "x", note)
        if own:
            report.add(f"{what}: largest time over that of four patches", slowest / seconds[4], None, "x")
    linear = ps.Classical(ps.FiniteElements(order=1)).on(problem)
    report.add(
        "linear elements: seconds for each case", statistics.median(measured(linear, held_out, exact)[2]), None, "s"
    )


def metis(report: Report) -> None:
    """Balance and cut, beside pymetis itself."""
    import pymetis

    mesh = problem_on(145).domain.mesh  # type: ignore[union-attr]
    cells = mesh.facets.cells
    pairs = cells[cells[:, 1] >= 0].tolist()
    around: list[list[int]] = [[] for _ in range(mesh.n_cells)]
    for a, b in pairs:
        around[a].append(b)
        around[b].append(a)
    for count in (4, 16, 64):
        ours = graph_decomposition(mesh, count)
        theirs, part = pymetis.part_graph(count, adjacency=around)
        sizes = np.bincount(np.array(part), minlength=count)
        note = f"pymetis alone: cut {theirs}, imbalance {sizes.max() / sizes.mean():.3f}"
        report.add(f"imbalance, {count} patches", ours.imbalance, 1.05, "", note)
        report.add(f"facets cut, {count} patches, over those of pymetis", ours.edge_cut / theirs, None, "", note)


def inverse(report: Report) -> None:
    """examples/coefficient_recovery.py, 50 parameters, 1 % noise."""
    from coefficient_recovery import recover

    found = [recover(3 if report.quick else 4, 50, seed) for seed in SEEDS[: 1 if report.quick else 3]]
    report.add("gradient against central differences", max(f["gradient"] for f in found), 1e-5)
    report.add("misfit over the noise", statistics.median([f["misfit"] for f in found]), 1.05)
    report.add("relative error of the logarithm of the coefficient", statistics.median([f["error"] for f in found]))


SECTIONS = {
    "orders": orders,
    "patch_test": patch_test,
    "mixture": headline,
    "patches": patches,
    "metis": metis,
    "inverse": inverse,
}


def main(arguments: Sequence[str] | None = None) -> int:
    return start("mesh_patches", arguments, SECTIONS).run()


if __name__ == "__main__":
    raise SystemExit(main())
