"""Constraints on the solution: solution and gradient against two oracles, and what happens where none exists."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import EXACT_CASES, grid_layer, least_squares, leaves_of, monomial_expert, uniform
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition, Periodic
from pdesolve.convex import ConvexAdjoint
from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.domains import Interval, StructuredGrid, TimeInterval, cartesian_decomposition
from pdesolve.experts.bounds import Bounds
from pdesolve.experts.coupling import InterfaceRows
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.mass_balance import MassBalance
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.partition_of_unity import PartitionOfUnity
from pdesolve.experts.rows import RowCounts
from pdesolve.frames.transfinite import TransfiniteLifting
from pdesolve.implicit import DetachedAdjoint, ImplicitAdjoint
from pdesolve.nonlinear.constrained import minimise_constrained
from pdesolve.nonlinear.constraints import LinearConstraints
from pdesolve.nonlinear.gauss_newton import GaussNewton
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import Minimum, minimise
from pdesolve.nonlinear.quadratic_program import quadratic_program
from pdesolve.nonlinear.ridge import FixedRidge
from pdesolve.nonlinear.rows import RowBlock
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.heat import Heat
from pdesolve.problem import Problem, ProblemFamily, Uniform
from pdesolve.status import SolveError, SolveStatus
from pdesolve.unrolled import UnrolledAdjoint

CVXPY = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
TIGHT = LevenbergMarquardt(gtol=1e-11, max_steps=200)
BY_NAME = {case.name: case for case in EXACT_CASES}
HEAT, BURGERS = BY_NAME["heat 1-D"], BY_NAME["Burgers"]


def constrained(problem: LeastSquares, tight: float = 0.6, equalities: int = 0, seed: int = 50) -> LeastSquares:
    """Two-sided rows that hold at a random point and cut off the unconstrained minimum, and equalities."""
    batch, patches, n = problem.shape
    rows = uniform(batch, patches, 9, n, seed=seed)
    inside = uniform(batch, patches, n, seed=seed + 1)
    values = (rows @ inside.unsqueeze(-1)).squeeze(-1)
    room = tight * (0.05 + uniform(batch, patches, 9, seed=seed + 2).abs())
    lower, upper = values - room, values + room
    lower[..., ::3] = -torch.inf
    upper[..., 1::3] = torch.inf
    blocks = [LinearConstraints(rows, lower, upper)]
    if equalities:
        fixed = uniform(batch, patches, equalities, n, seed=seed + 3)
        known = (fixed @ inside.unsqueeze(-1)).squeeze(-1)
        blocks.append(LinearConstraints(fixed, known, known, equality=True))
    return replace(problem, constraints=tuple(blocks))


def solve(problem: LeastSquares, adjoint: Any = None, solver: Any = TIGHT) -> Minimum:
    found: Minimum = (adjoint or ImplicitAdjoint()).solve(problem, lambda p: minimise_constrained(p, solver))
    return found


def converged(found: Minimum) -> None:
    assert (found.status == SolveStatus.CONVERGED).all(), found.status


def cost_of(problem: LeastSquares, w: np.ndarray[Any, Any], shape: Any) -> tuple[float, np.ndarray[Any, Any]]:
    at = torch.from_numpy(w.reshape(shape).copy()).requires_grad_()
    cost = problem.cost(at).sum()
    (slope,) = torch.autograd.grad(cost, at)
    return float(cost.detach()), slope.numpy().ravel()


def scipy_minimum(problem: LeastSquares, start: Tensor) -> np.ndarray[Any, Any]:
    """One sample and member at a time, by SLSQP."""
    from scipy.optimize import LinearConstraint, minimize

    shape = start.shape
    limits = [
        LinearConstraint(block.matrix.reshape(-1, start.numel()).numpy(), block.lower.ravel(), block.upper.ravel())
        for block in problem.constraints
    ]
    options = {"ftol": 1e-15, "maxiter": 1000}
    found = minimize(
        lambda w: cost_of(problem, w, shape), start.numpy().ravel() * 0, jac=True, constraints=limits,
        method="SLSQP", options=options,
    )  # fmt: skip
    return np.asarray(found.x)


def sample_of(problem: LeastSquares, index: int) -> LeastSquares:
    pick = [t[index : index + 1] if t.shape[0] > 1 else t for t in problem.tensors()]
    return problem.with_tensors(pick)


# ---------------------------------------------------------------------------------------- against the oracles


@pytest.mark.parametrize("equalities", [0, 2])
@pytest.mark.parametrize(("curved", "noise"), [(0.0, 1.0), (1.0, 0.08), (1.0, 1.0)])
def test_the_solution_is_scipys(curved: float, noise: float, equalities: int) -> None:
    problem = constrained(least_squares(batch=4, curved=curved, noise=noise), equalities=equalities)
    found = solve(problem)
    converged(found)
    assert int(found.stats["active"].min()) >= 1, "the constraints do nothing here"
    assert max(float(block.violation(found.w).max()) for block in problem.constraints) < 1e-12
    for i in range(4):
        alone = sample_of(problem, i)
        theirs = scipy_minimum(alone, found.w[i : i + 1])
        ours = found.w[i].numpy().ravel()
        if curved:  # another local minimum would be no fault: start from ours then
            assert cost_of(alone, ours, (1, 1, 4))[0] <= cost_of(alone, theirs, (1, 1, 4))[0] * (1 + 1e-9) + 1e-12
        else:
            np.testing.assert_allclose(ours, theirs, atol=2e-6)


def linear_problem(batch: int, m: int, n: int, bounds: int, seed: int = 0) -> LeastSquares:
    """min |A w - b|² with |C w| <= room, half of the rows in the way."""
    basis, offset = uniform(batch, 1, m, n, seed=seed), uniform(batch, 1, m, seed=seed + 1)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    rows = RowBlock(lambda t, i: (t[0],), (basis,), (offset,), (), one)
    limit = uniform(batch, 1, bounds, n, seed=seed + 2)
    free = minimise(LeastSquares((rows,)), LevenbergMarquardt()).w
    reach = (limit @ free.unsqueeze(-1)).squeeze(-1).abs().amax(-1, keepdim=True).expand(-1, -1, bounds)
    return LeastSquares((rows,), constraints=(LinearConstraints(limit, -0.4 * reach, 0.3 * reach),))


@CVXPY
def test_solution_and_gradient_are_those_of_cvxpylayers() -> None:
    cvxpy = pytest.importorskip("cvxpy")
    layers = pytest.importorskip("cvxpylayers.torch")
    batch, m, n, bounds = 3, 12, 4, 7
    problem = linear_problem(batch, m, n, bounds)
    w = cvxpy.Variable(n)
    parameters = [cvxpy.Parameter(shape) for shape in ((m, n), m, (bounds, n), bounds, bounds)]
    a, b, c, low, high = parameters
    program = cvxpy.Problem(cvxpy.Minimize(0.5 * cvxpy.sum_squares(a @ w + b)), [c @ w >= low, c @ w <= high])
    oracle = layers.CvxpyLayer(program, parameters, [w])
    ours, theirs = leaves_of(problem), leaves_of(problem)
    (expected,) = oracle(*(t[:, 0] for t in theirs), solver_args={"eps": 1e-12, "max_iters": 100_000})
    found = solve(problem.with_tensors(ours))
    converged(found)
    assert int(found.stats["active"].min()) >= 1
    torch.testing.assert_close(found.w[:, 0], expected, rtol=0, atol=1e-6)
    weights = uniform(batch, n, seed=9)
    grads = torch.autograd.grad((found.w[:, 0] * weights).sum(), ours)
    for own, other in zip(grads, torch.autograd.grad((expected * weights).sum(), theirs), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6 * float(other.abs().max()))


@pytest.mark.parametrize("equalities", [0, 2])
@pytest.mark.parametrize(("curved", "noise"), [(0.0, 1.0), (1.0, 0.08), (1.0, 1.0)])
def test_gradcheck(curved: float, noise: float, equalities: int) -> None:
    """With the full Hessian: at large residuals Gauss-Newton's would be wrong in the first digit."""
    problem = constrained(least_squares(batch=2, points=12, curved=curved, noise=noise), equalities=equalities)
    finite = [torch.where(torch.isfinite(t), t, 0.0).requires_grad_() for t in problem.tensors()]

    def weights(*tensors: Tensor) -> Tensor:
        put = [torch.where(torch.isfinite(t), f, t) for t, f in zip(problem.tensors(), tensors, strict=True)]
        n = len(problem.constraints)
        for k in range(len(put) - 3 * n + 1, len(put), 3):  # an equality's two bounds are one number
            if problem.constraints[(k - (len(put) - 3 * n)) // 3].equality:
                put[k + 1] = put[k]
        found = solve(problem.with_tensors(put))
        converged(found)
        assert int(found.stats["degenerate"].max()) == 0
        return found.w

    assert torch.autograd.gradcheck(weights, finite, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


def test_an_ill_conditioned_basis_is_whitened_and_keeps_its_gradient() -> None:
    """The constraints are rows of the basis itself, as bounds on u are."""
    problem = least_squares(noise=0.3, curved=0.0, batch=2)
    basis = problem.rows[0].basis[0]
    mixing = torch.eye(4, dtype=torch.float64)
    mixing[0, 3], mixing[3, 3] = 1.0, 1e-7
    found = []
    for matrix in (torch.eye(4, dtype=torch.float64), mixing):
        wide = problem.with_tensors([*(t @ matrix for t in problem.tensors()[:2]), *problem.tensors()[2:]])
        free = minimise(wide, TIGHT)
        u = (wide.rows[0].basis[0] @ free.w.unsqueeze(-1)).squeeze(-1)
        top = (0.5 * u.amax(-1, keepdim=True)).expand_as(u).clone().requires_grad_()
        limits = LinearConstraints(wide.rows[0].basis[0], torch.full_like(u, -torch.inf), top)
        solver = LevenbergMarquardt(gtol=1e-9, ridge=FixedRidge(1e-30))
        bound = replace(wide, constraints=(limits,))
        minimum = solve(bound, solver=solver)
        converged(minimum)
        assert (minimum.transform is not None) == (matrix is mixing)
        own = (basis @ matrix @ minimum.w.unsqueeze(-1)).squeeze(-1)
        found.append((own, torch.autograd.grad((own * uniform(*own.shape, seed=3)).sum(), top)[0]))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("coupled", [False, True])
def test_patches(coupled: bool) -> None:
    """Bounds of patches that interface rows tie, against SLSQP on the whole sample."""
    problem = constrained(least_squares(batch=2, patches=3, curved=0.0, noise=1.0, coupled=coupled))
    found = solve(problem)
    converged(found)
    assert max(float(block.violation(found.w).max()) for block in problem.constraints) < 1e-12
    for i in range(2):
        alone = sample_of(problem, i)
        (block,) = alone.constraints
        wide = torch.block_diag(*block.matrix[0]).reshape(1, 1, 27, 12)
        joint = replace(
            alone,
            constraints=(LinearConstraints(wide, block.lower.reshape(1, 1, -1), block.upper.reshape(1, 1, -1)),),
        )
        np.testing.assert_allclose(found.w[i].ravel().numpy(), scipy_minimum(joint, found.w[i : i + 1]), atol=5e-6)
        again = solve(joint)  # the same rows, stated over all patches
        torch.testing.assert_close(again.w[0], found.w[i], rtol=0, atol=1e-9)


@pytest.mark.parametrize("coupled", [False, True])
def test_gradcheck_over_patches(coupled: bool) -> None:
    problem = constrained(least_squares(batch=1, patches=3, points=10, noise=0.5, coupled=coupled), equalities=0)
    reach = LinearConstraints(uniform(1, 1, 1, 12, seed=3), *(torch.zeros(1, 1, 1, dtype=torch.float64),) * 2, True)
    problem = replace(problem, constraints=(*problem.constraints, reach))
    start = [torch.where(torch.isfinite(t), t, 0.0).requires_grad_() for t in problem.tensors()]

    def weights(*tensors: Tensor) -> Tensor:
        put = [torch.where(torch.isfinite(t), f, t) for t, f in zip(problem.tensors(), tensors, strict=True)]
        put[-1] = put[-2]
        found = solve(problem.with_tensors(put))
        converged(found)
        return found.w

    assert torch.autograd.gradcheck(weights, start, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


@CVXPY
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("equalities", [0, 1])
def test_the_convex_adjoint_agrees(equalities: int, coupled: bool) -> None:
    pytest.importorskip("cvxpylayers.torch")
    problem = constrained(
        least_squares(batch=2, patches=2, curved=0.0, noise=1.0, coupled=coupled), equalities=equalities
    )
    problem = problem.with_tensors([t[:1] if t.shape == (1, 1, 1) else t for t in problem.tensors()])
    ours, theirs = leaves_of(problem), leaves_of(problem)
    adjoint = ConvexAdjoint()
    found, other = solve(problem.with_tensors(ours)), solve(problem.with_tensors(theirs), adjoint)
    converged(other)
    torch.testing.assert_close(other.w, found.w, rtol=0, atol=1e-6)
    weights = uniform(*found.w.shape, seed=9)
    mine = torch.autograd.grad((found.w * weights).sum(), ours)
    others = torch.autograd.grad((other.w * weights).sum(), theirs)
    for own, reference in zip(mine, others, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-4, atol=1e-5 * max(1.0, float(reference.abs().max())))
    solve(problem, adjoint)
    assert len(adjoint._layers) == 1  # canonicalised once


@CVXPY
def test_the_convex_adjoint_leaves_failed_members_out() -> None:
    pytest.importorskip("cvxpylayers.torch")
    problem = constrained(least_squares(batch=3, curved=0.0, noise=1.0))
    tensors = leaves_of(problem)
    with torch.no_grad():
        tensors[0][1] = torch.nan
    found = solve(problem.with_tensors(tensors), ConvexAdjoint())
    assert found.status.flatten().tolist() == [0, int(SolveStatus.NON_FINITE), 0]
    torch.testing.assert_close(found.w[[0, 2]], solve(problem).w[[0, 2]], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="affine"):
        solve(constrained(least_squares()), ConvexAdjoint())
    with pytest.raises(ValueError, match="without"):
        ConvexAdjoint().solve(least_squares(), lambda p: minimise(p, TIGHT))
    for options in ({"eps": 0.0}, {"max_iterations": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ConvexAdjoint(**options)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------- one by one


def test_constraints_that_hold_anyway_change_nothing() -> None:
    problem = least_squares(batch=3, noise=0.5)
    far = torch.full((3, 1, 9), 1e6, dtype=torch.float64)
    bound = replace(problem, constraints=(LinearConstraints(uniform(3, 1, 9, 4, seed=1), -far, far),))
    found, free = solve(bound), minimise(problem, TIGHT)
    converged(found)
    torch.testing.assert_close(found.w, free.w, rtol=1e-8, atol=1e-10)
    assert int(found.stats["active"].sum()) == 0


def test_a_linear_problem_takes_one_step() -> None:
    found = solve(constrained(least_squares(curved=0.0, noise=1.0), equalities=1))
    assert found.stats["iterations"].unique().tolist() == [1]


def test_a_batch_of_members_does_not_depend_on_its_neighbours() -> None:
    problem = constrained(least_squares(batch=5, noise=0.5))
    found = solve(problem)
    for i in range(5):
        torch.testing.assert_close(solve(sample_of(problem, i)).w[0], found.w[i], rtol=0, atol=1e-10)


def test_repeated_rows_and_equalities_are_allowed() -> None:
    problem = constrained(least_squares(batch=2, curved=0.0, noise=1.0), equalities=2)
    twice = tuple(block.with_tensors([torch.cat([t, t], 2) for t in block.tensors()]) for block in problem.constraints)
    found, once = solve(replace(problem, constraints=twice)), solve(problem)
    converged(found)
    torch.testing.assert_close(found.w, once.w, rtol=0, atol=1e-9)


def test_a_start_that_is_not_feasible_serves_too() -> None:
    problem = constrained(least_squares(batch=2, noise=0.3))
    found = minimise_constrained(problem, TIGHT, 3.0 * uniform(*problem.shape, seed=7))
    torch.testing.assert_close(found.w, solve(problem).w, rtol=0, atol=1e-6)


def test_a_nan_member_leaves_the_others_alone() -> None:
    problem = constrained(least_squares(batch=4, noise=0.3), equalities=1)
    clean = leaves_of(problem)
    expected = torch.autograd.grad(solve(problem.with_tensors(clean)).w[[0, 2]].sum(), clean)
    for place in (0, len(clean) - 6, len(clean) - 4):  # basis, matrix, upper
        tensors = leaves_of(problem)
        with torch.no_grad():
            tensors[place][1] = torch.nan
        found = solve(problem.with_tensors(tensors))
        assert found.status.flatten().tolist() == [0, int(SolveStatus.NON_FINITE), 0, 0]
        grads = torch.autograd.grad(found.w[[0, 2]].sum(), tensors)
        for own, other in zip(grads, expected, strict=True):
            kept = [0, 2] if own.shape[0] > 1 else [0]
            torch.testing.assert_close(own[kept], other[kept], rtol=1e-6, atol=1e-9)
            assert bool(torch.isfinite(own).all())


def test_rows_that_contradict_each_other_are_named() -> None:
    problem = constrained(least_squares(batch=3, noise=0.3))
    (block,) = problem.constraints
    with torch.no_grad():
        matrix, lower, upper = (t.clone() for t in block.tensors())
        matrix[1, 0, 4] = matrix[1, 0, 2]
        upper[1, 0, 2], lower[1, 0, 4], upper[1, 0, 4] = 0.0, 2.0, 5.0
    problem = replace(problem, constraints=(block.with_tensors([matrix, lower, upper]),))
    found = solve(problem)
    assert found.status.flatten().tolist() == [0, int(SolveStatus.INFEASIBLE), 0]
    outside = problem.constraints[0].violation(found.w)
    assert float(outside[[0, 2]].max()) < 1e-12
    assert {2, 4} <= set((outside[1, 0] > 1e-3).nonzero().flatten().tolist())
    assert float(outside[1, 0, 2] + outside[1, 0, 4]) == pytest.approx(2.0, abs=1e-4)  # the two share the gap
    assert 0.1 < float(outside[1, 0, 2]) < 1.9
    tensors = leaves_of(problem)
    grads = torch.autograd.grad(solve(problem.with_tensors(tensors)).w.sum(), tensors)
    assert all(float(g[1].abs().max()) == 0.0 for g in grads if g.shape[0] == 3)


@pytest.mark.parametrize("kind", ["inequalities", "equalities", "both", "empty row"])
def test_what_cannot_hold_is_infeasible_at_once(kind: str) -> None:
    one = torch.ones(1, 1, 1, 2, dtype=torch.float64)
    end = torch.ones(1, 1, 1, dtype=torch.float64)
    blocks = {
        "inequalities": (LinearConstraints(one, 2 * end, 3 * end), LinearConstraints(one, 0 * end, end)),
        "equalities": (LinearConstraints(one, end, end, True), LinearConstraints(one, 2 * end, 2 * end, True)),
        "both": (LinearConstraints(one, end, end, True), LinearConstraints(one, 2 * end, 3 * end)),
        "empty row": (LinearConstraints(0 * one, end, 2 * end),),
    }[kind]
    problem = replace(linear_problem(1, 5, 2, 1), constraints=blocks)
    found = solve(problem)
    assert found.status.tolist() == [[int(SolveStatus.INFEASIBLE)]]
    assert bool(torch.isfinite(found.w).all())
    split = sum(float(block.violation(found.w).max()) for block in blocks)
    assert split == pytest.approx(1.0, abs=1e-3)
    if kind in ("inequalities", "equalities"):  # the same row twice: each gives way by half
        assert float(blocks[0].violation(found.w).max()) == pytest.approx(0.5, abs=1e-3)


def test_a_kink_is_counted() -> None:
    """The bound just touches the minimum: an active row without a multiplier."""
    free = linear_problem(1, 5, 2, 1)
    w = minimise(replace(free, constraints=()), TIGHT).w
    row = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    none = torch.full((1, 1, 1), -torch.inf, dtype=torch.float64)
    touching = replace(free, constraints=(LinearConstraints(row, none, w[..., :1].clone()),))
    assert int(solve(touching).stats["degenerate"]) == 1
    assert int(solve(free).stats["degenerate"]) == 0


def test_too_few_steps_are_a_step_cap() -> None:
    problem = constrained(least_squares(noise=1.0))
    found = solve(problem, solver=LevenbergMarquardt(gtol=1e-12, max_steps=1))
    assert int(found.status.max()) == SolveStatus.STEP_CAP


def test_wrong_companions() -> None:
    problem = constrained(least_squares())
    with pytest.raises(ValueError, match="minimise_constrained"):
        minimise(problem, TIGHT)
    with pytest.raises(ValueError, match="UnrolledAdjoint"):
        solve(problem, UnrolledAdjoint())
    assert not solve(problem, DetachedAdjoint()).w.requires_grad
    converged(solve(problem, solver=GaussNewton(gtol=1e-8)))


def test_random_programs_meet_their_conditions() -> None:
    """Stationarity, feasibility, signs and complementarity, over sizes and scales."""
    for seed in range(12):
        n, m, fixed = 2 + seed, 5 + 9 * seed, seed % 3
        a, c = uniform(3, 40, n, seed=seed), 10.0 ** (seed % 5 - 2) * uniform(3, m, n, seed=seed + 100)
        matrix, linear = a.mT @ a, 5.0 * uniform(3, n, seed=seed + 200)
        values = (c @ uniform(3, n, 1, seed=seed + 300)).squeeze(-1) * 0.3
        room = c.abs().amax() * 0.1 * uniform(3, m, seed=seed + 400).abs()
        equality = torch.arange(m) < fixed
        lower, upper = (torch.where(equality, values, values + s * room) for s in (-1.0, 1.0))
        found = quadratic_program(matrix, linear, c, lower, upper, equality)
        assert not bool((found.infeasible | found.stalled | found.broken).any())
        at = (c @ found.x.unsqueeze(-1)).squeeze(-1)
        y, size = found.multipliers, float(c.abs().max())
        assert float(torch.maximum(lower - at, at - upper).max()) < 1e-10 * size
        force = (matrix @ found.x.unsqueeze(-1) + linear.unsqueeze(-1) + c.mT @ y.unsqueeze(-1)).abs()
        assert float(force.max()) < 1e-9 * float(linear.abs().max())
        free = y[:, ~equality]
        gap = torch.where(free > 0, (upper - at)[:, ~equality], (at - lower)[:, ~equality])
        assert float((free.abs() * gap.abs()).max()) < 1e-8 * float(linear.abs().max())


def hard_program(kind: str, seed: int) -> tuple[Tensor, ...]:
    """A quadratic program with a feasible point, of a kind that breaks solvers: (H, c, C, lower, upper, equality)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def part(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    n, batch = 1 + seed % 8, 4
    m = 2 + seed % (4 * n)
    basis, rows, inside = normal(batch, 2 * n + 2, n), normal(batch, m, n), normal(batch, n, 1)
    linear = normal(batch, n) * 10.0 ** (3 * float(normal(1)))  # the minimum without rows is far away
    if kind == "ill-conditioned":
        basis = basis * 10.0 ** (-4 * part(n))
    if kind in ("parallel", "repeated"):
        apart = 0.0 if kind == "repeated" else 10.0 ** (-12 * float(part(1)))
        rows[:, m // 2 : 2 * (m // 2)] = rows[:, : m // 2] + apart * normal(batch, m // 2, n)
    if kind == "scales":
        rows = rows * 10.0 ** (16 * part(batch, m, 1) - 8)
    if kind == "empty":
        rows[:, ::3] = 0.0
    if kind == "box":
        rows = torch.eye(n, dtype=torch.float64).expand(batch, n, n)
    values, size = (rows @ inside).squeeze(-1), rows.abs().amax(-1)
    room = size * part(*values.shape)
    if kind in ("vertex", "box"):  # many bounds meet in one point; lower = upper in some rows
        room = room * (part(*values.shape) < 0.5)
    if kind == "thin":
        room = room * 10.0 ** (-14 * part(*values.shape))
    equality = torch.zeros(values.shape[-1], dtype=torch.bool)
    if kind == "equalities":
        equality[: seed % (n + 2)] = True
    lower, upper = values - room, values + room
    if kind == "cone":
        lower, upper = torch.full_like(values, -torch.inf), values + 1e-6 * room
    lower, upper = (torch.where(equality, values, t) for t in (lower, upper))
    return basis.mT @ basis, linear, rows, lower, upper, equality


KINDS = ["ill-conditioned", "parallel", "repeated", "scales", "empty", "box", "vertex", "thin", "equalities", "cone"]


@pytest.mark.parametrize("kind", KINDS)
def test_hard_programs_are_solved(kind: str) -> None:
    """None is given up and none is called infeasible; the conditions of a minimum hold, in the metric of H."""
    for seed in range(40):
        matrix, linear, rows, lower, upper, equality = hard_program(kind, seed)
        found = quadratic_program(matrix, linear, rows, lower, upper, equality)
        assert not bool((found.infeasible | found.stalled | found.broken).any()), seed
        factor = torch.linalg.cholesky(matrix)
        unit = torch.linalg.solve_triangular(factor, rows.mT, upper=False).mT
        length = torch.linalg.vector_norm(unit, dim=-1)
        length = torch.where(length > 0.0, length, 1.0)
        at, y = (rows @ found.x.unsqueeze(-1)).squeeze(-1) / length, found.multipliers * length
        low, high = lower / length, upper / length
        pull = torch.linalg.solve_triangular(factor, linear.unsqueeze(-1), upper=False)
        force = factor.mT @ found.x.unsqueeze(-1) + pull + (unit / length.unsqueeze(-1)).mT @ y.unsqueeze(-1)
        scale = torch.linalg.vector_norm(pull, dim=(-2, -1)) + torch.linalg.vector_norm(at, dim=-1)
        assert bool((torch.maximum(low - at, at - high).amax(-1) < 1e-10 * scale).all()), seed
        size = scale + y.abs().amax(-1)
        assert bool((torch.linalg.vector_norm(force, dim=(-2, -1)) < 1e-9 * size).all()), seed
        gap = torch.where(y > 0.0, high - at, at - low).abs()
        slack = torch.where(equality | (y == 0.0), 0.0, torch.minimum(gap, y.abs()))
        assert bool((slack.amax(-1) < 1e-9 * size).all()), seed


@pytest.mark.parametrize("kind", KINDS)
def test_hard_rows_around_a_curved_problem(kind: str) -> None:
    """r = A w + (A w)³ + b: rounding leaves rows violated, and the way back costs something."""
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    for seed in range(8):
        _, _, matrix, lower, upper, equality = hard_program(kind, 5 * seed + 1)
        n = matrix.shape[-1]
        basis, offset = uniform(4, 1, 2 * n + 4, n, seed=seed), 10.0 ** (seed % 3) * uniform(4, 1, 2 * n + 4, seed=seed)
        rows = RowBlock(lambda t, i: (t[0] + t[0] ** 3,), (basis,), (offset,), (), one)
        kinds = [(flag, equality == flag) for flag in (False, True) if bool((equality == flag).any())]
        blocks = [
            LinearConstraints(matrix[:, None, own], lower[:, None, own], upper[:, None, own], equality=flag)
            for flag, own in kinds
        ]
        found = minimise_constrained(LeastSquares((rows,), constraints=tuple(blocks)), LevenbergMarquardt())
        converged(found)
        for block in blocks:
            terms = (block.matrix.abs() @ found.w.abs().unsqueeze(-1)).squeeze(-1)
            bound = torch.maximum(*(torch.where(t.isfinite(), t, 0.0).abs() for t in (block.lower, block.upper)))
            assert bool((block.violation(found.w) <= 1e-8 * torch.maximum(terms, bound)).all()), seed


@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-8])
def test_rows_that_miss_each_other_by_a_hair_are_infeasible(gap: float) -> None:
    """The same row is to be at least ``gap`` and at most zero."""
    for seed in range(10):
        matrix, linear, rows, lower, upper, equality = hard_program("repeated", seed)
        rows[:, 1] = rows[:, 0]
        upper[:, 0] = lower[:, 1] + torch.inf
        lower[:, 0], upper[:, 1], lower[:, 1] = gap, 0.0, -torch.inf
        found = quadratic_program(matrix, linear / linear.abs().amax(), rows, lower, upper, equality)
        assert bool(found.infeasible.all()), seed


def test_bounds_that_agree_push_from_one_side() -> None:
    """lower = upper in a row that is not declared an equality: the derivative goes to the bound that pushes."""
    problem = linear_problem(1, 6, 2, 1)
    row = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    free = float(minimise(replace(problem, constraints=()), TIGHT).w[0, 0, 0])
    for shift in (-1.0, 1.0):
        lower, upper = (torch.full((1, 1, 1), free + shift, dtype=torch.float64).requires_grad_() for _ in range(2))
        found = solve(replace(problem, constraints=(LinearConstraints(row, lower, upper),)))
        converged(found)
        grads = [float(g) for g in torch.autograd.grad(found.w[0, 0, 0], (lower, upper))]
        assert grads == pytest.approx([1.0, 0.0] if shift > 0 else [0.0, 1.0])


def test_rows_that_do_not_hold_are_never_called_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the quadratic program says of itself, the last w is looked at."""
    problem = constrained(least_squares(batch=2, curved=0.0, noise=1.0))

    def careless(*arguments: Tensor) -> Any:
        found = quadratic_program(*arguments)
        beyond = found.side.to(found.x.dtype).unsqueeze(-1) * arguments[2]
        return replace(found, x=found.x + 1e-6 * beyond.sum(-2))

    converged(solve(problem))
    monkeypatch.setattr("pdesolve.nonlinear.constrained.quadratic_program", careless)
    found = solve(problem)
    outside = torch.stack([block.violation(found.w).amax((-1, -2)) for block in problem.constraints]).amax(0)
    assert float(outside.min()) > 1e-8
    assert bool((found.status != SolveStatus.CONVERGED).all())


# ------------------------------------------------------------------------------------------- in the layer


HEATED = FunctionPDE(lambda f, c, p: f.u.t - 0.5 * f.u.xx, parameters={"top": 2.0})
"""The heat equation with a parameter that it does not read."""


def wavy() -> HardConstraintLayer:
    """Heat with a step as initial value: fields that overshoot without bounds."""
    problem = Problem(
        Heat(0.01),
        Interval(0, 1) * TimeInterval(0, 1),
        [
            InitialCondition(lambda x: 0.5 - 0.5 * torch.tanh(40 * (x - 0.5))),
            Dirichlet(1.0, on="left"),
            Dirichlet(0.0, on="right"),
        ],
    )
    return HardConstraintLayer(
        problem, FiniteDifferences(StructuredGrid.uniform(problem.domain, (9, 33))), RowCounts(150, 33)
    )


def waves(grid: StructuredGrid, n: int = 8, batch: int = 2) -> Tensor:
    at = grid.coordinates()
    fields = [torch.cos(k * math.pi * at["x"]) * torch.exp(-0.1 * k * at["t"]) for k in range(n - 1)] + [at["x"]]
    shift = 1.0 + 0.1 * torch.arange(batch, dtype=torch.float64).reshape(-1, 1, 1, 1) * at["t"]
    return torch.stack(fields).expand(batch, n, *grid.shape) * shift


def with_constraints(layer: HardConstraintLayer, *constraints: Any, **options: Any) -> HardConstraintLayer:
    settings = {"decomposition": layer.decomposition, "lifting": layer.lifting} | options
    return HardConstraintLayer(layer.problem, layer.discretization, layer.rows, constraints=constraints, **settings)


def test_bounds_hold_at_every_node_of_a_grid() -> None:
    plain = wavy()
    basis = waves(plain.discretization.grid)
    free, before = plain(basis)
    assert float(free.max()) > 1.02
    assert float(free.min()) < -0.02
    assert before.violations == ()
    layer = with_constraints(plain, Bounds(0.0, 1.0, points=9 * 33))
    u, report = layer(basis)
    assert float(u.max()) <= 1.0 + 1e-10
    assert float(u.min()) >= -1e-10
    assert int(report.stats["active"].min()) >= 1
    assert float(report.violations[0].amount.max()) < 1e-10


def test_without_constraints_everything_is_as_before() -> None:
    plain = wavy()
    basis = waves(plain.discretization.grid)
    assert torch.equal(with_constraints(plain)(basis)[0], plain(basis)[0])


def test_bounds_may_depend_on_place_and_parameters() -> None:
    problem = Problem(HEATED, HEAT.problem.domain, HEAT.problem.conditions)
    layer = HardConstraintLayer(
        problem, FiniteDifferences(HEAT.grid, 4), RowCounts(200, 40),
        constraints=[Bounds(upper=lambda x, t, top: top + x + t, points=11 * 13)],
    )  # fmt: skip
    top = torch.tensor([0.0, 0.5, 50.0], dtype=torch.float64)
    u, report = layer(HEAT.basis(HEAT.grid, 4, batch=3), parameters={"top": top})
    at = HEAT.grid.coordinates()
    assert float((u[:, 0] - top.reshape(-1, 1, 1) - at["x"] - at["t"]).max()) < 1e-9
    assert report.stats["active"][:, 0].tolist()[2] == 0
    torch.testing.assert_close(u[2, 0], HEAT.on(HEAT.grid)[0], rtol=0, atol=1e-6)


def test_gradients_through_a_bounded_layer() -> None:
    layer = with_constraints(wavy(), Bounds(0.0, 1.0, points=60), solver=LevenbergMarquardt(gtol=1e-10))
    basis = waves(layer.discretization.grid, 5, 1).requires_grad_()

    def loss(b: Tensor) -> Tensor:
        u, report = layer(b)
        assert int(report.stats["degenerate"].max()) == 0
        return (u * uniform(*u.shape, seed=2)).sum()

    assert torch.autograd.gradcheck(loss, basis, eps=1e-6, atol=1e-4, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("coupling", [None, InterfaceRows()])
@pytest.mark.parametrize("cut", [1, 3])
def test_the_mass_is_kept(coupling: Any, cut: int) -> None:
    """Periodic heat keeps its mean; a coarse basis alone does not."""
    if cut == 3 and coupling is None:
        coupling = InterfaceRows(3.0)
    problem = Problem(
        Heat(0.02),
        Interval(0, 1) * TimeInterval(0, 1),
        [InitialCondition(lambda x: 1.0 + torch.sin(2 * math.pi * x) ** 3), Periodic("x")],
    )
    grid = StructuredGrid.uniform(problem.domain, (9, 31))
    at = grid.coordinates()
    basis = torch.stack([(at["x"] - 0.5) ** j * (1 + 0.3 * k * at["t"]) for j in range(4) for k in range(2)])
    options: dict[str, Any] = {
        "decomposition": cartesian_decomposition(grid, {"x": cut}),
        "coupling": coupling,
        "rows": RowCounts(150, 31, 20),
    }
    fine = FiniteDifferences(grid)
    free, _ = HardConstraintLayer(problem, fine, **options)(basis.unsqueeze(0))
    held, report = HardConstraintLayer(problem, fine, constraints=[MassBalance(1.0, times=2)], **options)(
        basis.unsqueeze(0)
    )
    weight = torch.full((31,), 1 / 30, dtype=torch.float64)
    weight[[0, -1]] *= 0.5
    before, after = ((u[0, 0] @ weight - 1.0)[[1, 8]] for u in (free, held))
    assert float(before.abs().max()) > 1e-4
    assert float(after.abs().max()) < 1e-10
    assert report.violations[0].coordinates["t"].tolist() == [[0.125, 1.0]]


def test_the_mass_of_an_ansatz_and_of_a_mixture() -> None:
    """u = x⁴ + 6 x² t + 3 t²: ∫ u dx = 1/5 + 2 t + 3 t², which Gauss-Legendre points integrate exactly."""
    grid = StructuredGrid.uniform(HEAT.problem.domain, (5, 5))
    balance = MassBalance(lambda t: 0.2 + 2 * t + 3 * t * t, times=3)
    expert = monomial_expert(HEAT, constraints=[balance, Bounds(lower=-0.1, points=40)])
    mixture = MixtureOfExperts(cartesian_decomposition(HEAT.problem.domain, {"x": 2}), expert, InterfaceRows())
    for model in (expert, mixture):
        solution = model({}, grid)
        torch.testing.assert_close(solution.field.values[0], HEAT.on(grid), rtol=0, atol=1e-6)
    wrong = monomial_expert(HEAT, constraints=[MassBalance(lambda t: 1.0 + 2 * t + 3 * t * t, times=3)])
    off = wrong({}, grid).field.values[0] - HEAT.on(grid)
    assert float(off.abs().max()) > 0.1  # and it is the constraint that is met
    assert "MassBalance" in str(wrong({}, grid).provenance)


def test_a_nonlinear_equation_under_bounds() -> None:
    layer = grid_layer(BURGERS, constraints=[Bounds(upper=0.8, points=200)], throw=False)
    basis = BURGERS.basis(BURGERS.grid, 5)
    u, report = layer(basis)
    free, _ = grid_layer(BURGERS)(basis)
    assert names_of(report.status) == ["CONVERGED"]
    assert float(free.max()) > 0.9
    assert float(u.max()) < 0.8 + 1e-9


def names_of(status: Tensor) -> list[str]:
    return [SolveStatus(code).name for code in status.flatten().tolist()]


def test_several_fields() -> None:
    pde = FunctionPDE(lambda f, c, p: (f.q.t - f.p.xx, f.p.t - f.q.xx), ("q", "p"))
    problem = Problem(
        pde,
        Interval(0, 1) * TimeInterval(0, 1),
        [
            *(InitialCondition(lambda x: x, field=name) for name in ("q", "p")),
            *(Dirichlet(lambda x: x, field=name) for name in ("q", "p")),
        ],
    )
    grid = StructuredGrid.uniform(problem.domain, (7, 9))
    x, t = grid.coordinates()["x"], grid.coordinates()["t"]
    smooth = [x, t, x * x, x * t, 1.0 + 0 * x]
    basis = torch.stack([torch.stack(pair) for f in smooth for pair in ((f, 0 * f), (0 * f, f))]).unsqueeze(0)
    with pytest.raises(ValueError, match="must name its field"):
        HardConstraintLayer(problem, FiniteDifferences(grid), RowCounts(60), constraints=[Bounds(0.0)])(basis)
    limits = [Bounds(upper=0.1, points=63, field="p")]
    u, _ = HardConstraintLayer(problem, FiniteDifferences(grid), RowCounts(60), constraints=limits)(basis)
    assert float(u[:, 1].max()) < 0.1 + 1e-10
    assert float(u[:, 0].max()) > 0.1


def test_an_infeasible_sample_says_which_rows() -> None:
    """The lifting imposes u = 1 on the left; the bound is 0.9 there for one sample."""
    problem = Problem(
        HEATED,
        Interval(0, 1) * TimeInterval(0, 1),
        [InitialCondition(lambda x: 1 - x), Dirichlet(1.0, on="left"), Dirichlet(0.0, on="right")],
    )
    grid = StructuredGrid.uniform(problem.domain, (7, 9))
    layer = HardConstraintLayer(
        problem, FiniteDifferences(grid), RowCounts(60), lifting=TransfiniteLifting(problem),
        constraints=[Bounds(upper=lambda top: top, points=63)],
    )  # fmt: skip
    top = torch.tensor([2.0, 0.9], dtype=torch.float64)
    basis = uniform(2, 4, 7, 9, seed=1)
    with pytest.raises(SolveError, match=r"INFEASIBLE.*sample 1: u <= a function: 7 of 63 rows.*by 0.1 at t = .*x = 0"):
        layer(basis, parameters={"top": top})
    layer.throw = False
    u, report = layer(basis, parameters={"top": top})
    assert names_of(report.status) == ["CONVERGED", "INFEASIBLE"]
    wrong = report.violations[0].amount[1, 0] > 1e-6
    assert bool((report.violations[0].coordinates["x"][0, wrong] == 0.0).all())
    assert bool(torch.isfinite(u).all())
    assert "all 63 rows hold" in report.violations[0].worst(0)


def test_flow_orders_patches_under_bounds_but_not_under_an_integral() -> None:
    pde = FunctionPDE(lambda f, c, p: f.u.t + f.u.x)
    problem = Problem(
        pde,
        Interval(0, 1) * TimeInterval(0, 1),
        [InitialCondition(lambda x: torch.sin(x)), Dirichlet(lambda t: -torch.sin(t), on="left")],
    )
    grid = StructuredGrid.uniform(problem.domain, (9, 17))
    at = grid.coordinates()
    basis = torch.stack([torch.sin(k * (at["x"] - at["t"])) + 0.1 * at["x"] ** k for k in range(1, 6)]).unsqueeze(0)
    options: dict[str, Any] = {
        "rows": RowCounts(60, 17, 9),
        "decomposition": cartesian_decomposition(grid, {"x": 2}),
        "coupling": InterfaceRows(),
    }
    u, _ = HardConstraintLayer(problem, FiniteDifferences(grid), constraints=[Bounds(upper=0.3)], **options)(basis)
    assert float(u.max()) < 0.3 + 1e-9
    with pytest.raises(ValueError, match="one after another"):
        HardConstraintLayer(problem, FiniteDifferences(grid), constraints=[MassBalance(0.5)], **options)(basis)
    options["decomposition"] = cartesian_decomposition(grid, {"t": 2})
    with pytest.raises(ValueError, match="all of time"):
        HardConstraintLayer(problem, FiniteDifferences(grid), constraints=[MassBalance(0.5)], **options)(basis)


def test_a_family_trains_under_constraints() -> None:
    family = ProblemFamily(Problem(HEATED, HEAT.problem.domain, HEAT.problem.conditions), {"top": Uniform(0.5, 3.0)})
    case = replace(HEAT, problem=family.problem)
    expert = monomial_expert(case, constraints=[Bounds(upper=lambda top: top, points=50)], throw=False)
    residual, status = expert.residual({"top": torch.tensor([0.5, 20.0], dtype=torch.float64)}, torch.Generator())
    assert names_of(status) == ["CONVERGED", "CONVERGED"]
    sizes = residual["equation"].square().sum(1)
    assert float(sizes[0]) > 1e3 * float(sizes[1])


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Bounds(), ValueError, "lower, upper or both"),
        (lambda: Bounds(1.0, 0.0), ValueError, "swap"),
        (lambda: Bounds(math.nan), ValueError, "NaN"),
        (lambda: Bounds("0"), TypeError, "number or a function"),
        (lambda: Bounds(True), TypeError, "number or a function"),
        (lambda: Bounds(0.0, points=0), ValueError, "points"),
        (lambda: MassBalance(math.nan), ValueError, "NaN"),
        (lambda: MassBalance(None), TypeError, "total"),
        (lambda: MassBalance(1.0, times=0), ValueError, "times"),
        (lambda: MassBalance(1.0, quadrature=0), ValueError, "quadrature"),
        (lambda: grid_layer(HEAT, constraints=[0.0]), TypeError, "Bounds"),
        (lambda: grid_layer(HEAT, constraints=[Bounds(0.0, field="v")])(HEAT.basis(HEAT.grid, 4)), ValueError, "'v'"),
        (
            lambda: grid_layer(HEAT, constraints=[Bounds(lambda y: y)])(HEAT.basis(HEAT.grid, 4)),
            ValueError,
            "reads 'y'",
        ),
    ],
)
def test_bad_constraints(make: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_constraints_do_not_run_under_transforms() -> None:
    problem = constrained(least_squares(patches=1))

    def first(basis: Tensor) -> Tensor:
        leaves = [basis, *problem.tensors()[1:]]
        return solve(problem.with_tensors(leaves)).w.sum()

    with pytest.raises(NotImplementedError, match=r"plain autograd"):
        torch.func.grad(first)(problem.tensors()[0].detach())


def test_blended_patches_take_no_constraints() -> None:
    case = EXACT_CASES[0]
    layer = grid_layer(case, {"x": 2}, coupling=PartitionOfUnity(), constraints=[Bounds(0.0, None)])
    with pytest.raises(ValueError, match="patches without overlap"):
        layer(torch.ones(1, 2, *case.grid.shape, dtype=torch.float64))
