"""How a solve is differentiated: against finite differences, against a convex solver, and with members that fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import ADJOINTS, LEVELS, least_squares, solve_with, uniform
from torch import Tensor

from pdesolve import implicit_function as implicit_module
from pdesolve.implicit import DetachedAdjoint, ImplicitAdjoint
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.ridge import FixedRidge
from pdesolve.nonlinear.rows import RowBlock
from pdesolve.status import SolveStatus
from pdesolve.unrolled import UnrolledAdjoint

COUPLED = pytest.mark.parametrize("coupled", [False, True], ids=["independent", "coupled"])
LEVEL = pytest.mark.parametrize("level", LEVELS)
TIGHT = LevenbergMarquardt(gtol=1e-12, max_steps=200)
NAMES = ("value basis", "slope basis", "value offset", "slope offset", "parameter", "curvature", "data")
INTERFACE_NAMES = ("left", "right", "tie")


def solve(problem: LeastSquares, adjoint: Any = None, solver: LevenbergMarquardt = TIGHT) -> Any:
    return solve_with(adjoint or ImplicitAdjoint(polish=0.0), solver)(problem)


def scalar_of(w: Tensor) -> Tensor:
    """A curved function of all weights, so that every direction of w has its own cotangent."""
    factors = 1.0 + uniform(*w.shape, seed=11)
    return (factors * torch.sin(w + 0.3)).sum()


def leaves(problem: LeastSquares) -> list[Tensor]:
    return [t.clone().requires_grad_() for t in problem.tensors()]


# The implicit gradient.


@COUPLED
@LEVEL
def test_implicit_gradient_is_that_of_converged_solves(coupled, level):
    """Central differences of re-solved problems along a random direction of every tensor, to 1e-6."""
    problem = least_squares(noise=LEVELS[level], coupled=coupled, patches=3 if coupled else 2)
    tensors = leaves(problem)
    found = solve(problem.with_tensors(tensors))
    relative = float(found.stats["relative_residual"].max())
    assert {"zero": relative < 1e-6, "small": 0.02 < relative < 0.2, "large": 0.4 < relative < 1.0}[level]
    grads = torch.autograd.grad(scalar_of(found.w), tensors)
    names = NAMES + (INTERFACE_NAMES if coupled else ())
    step = 1e-5
    for i, (name, grad) in enumerate(zip(names, grads, strict=True)):
        direction = uniform(*grad.shape, seed=20 + i)
        values = []
        for sign in (-2, -1, 1, 2):
            shifted = [t.detach() + (sign * step * direction if j == i else 0.0) for j, t in enumerate(tensors)]
            values.append(float(scalar_of(solve(problem.with_tensors(shifted)).w)))
        expected = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        size = float(torch.linalg.vector_norm(grad) * torch.linalg.vector_norm(direction))
        assert abs(float((grad * direction).sum()) - expected) <= 1e-6 * size, name


@COUPLED
@LEVEL
def test_gradcheck_of_small_problems(coupled, level):
    problem = least_squares(noise=LEVELS[level], coupled=coupled, batch=1, patches=2, points=4, unknowns=2, seed=1)
    tensors = leaves(problem)

    def weights(*tensors: Tensor) -> Tensor:
        return solve(problem.with_tensors(tensors)).w

    assert torch.autograd.gradcheck(weights, tensors, eps=1e-5, atol=1e-6, rtol=1e-5)


@COUPLED
@pytest.mark.parametrize(("level", "steps"), [("zero", 1), ("small", 30), ("large", 120)])
def test_implicit_is_unrolled(coupled, level, steps):
    """One recorded step where the residual vanishes, more where Gauss-Newton converges slowly."""
    problem = least_squares(noise=LEVELS[level], coupled=coupled, patches=3 if coupled else 2)
    results = []
    for adjoint in (ImplicitAdjoint(polish=0.0), UnrolledAdjoint(steps)):
        tensors = leaves(problem)
        found = solve(problem.with_tensors(tensors), adjoint)
        results.append(torch.autograd.grad(scalar_of(found.w), tensors))
    names = NAMES + (INTERFACE_NAMES if coupled else ())
    for name, implicit, unrolled in zip(names, *results, strict=True):
        error = torch.linalg.vector_norm(implicit - unrolled)
        assert float(error) <= 1e-6 * float(torch.linalg.vector_norm(implicit)), name


@COUPLED
def test_an_unrolled_solve_has_second_derivatives(coupled):
    """Along directions of all tensors at once, against differences of implicit gradients."""
    problem = least_squares(noise=0.05, coupled=coupled, patches=2)
    directions = [uniform(*t.shape, seed=40 + i) for i, t in enumerate(problem.tensors())]

    def slope(shift: float, adjoint: Any) -> tuple[Tensor, list[Tensor]]:
        tensors = [(t + shift * d).requires_grad_() for t, d in zip(problem.tensors(), directions, strict=True)]
        scalar = scalar_of(solve(problem.with_tensors(tensors), adjoint).w)
        second = isinstance(adjoint, UnrolledAdjoint)
        grads = torch.autograd.grad(scalar, tensors, create_graph=second)
        return sum((g * d).sum() for g, d in zip(grads, directions, strict=True)), tensors

    along, tensors = slope(0.0, UnrolledAdjoint(20))
    curvature = sum((g * d).sum() for g, d in zip(torch.autograd.grad(along, tensors), directions, strict=True))
    h = 1e-4
    ends = [float(slope(k * h, ImplicitAdjoint(polish=0.0))[0]) for k in (-2, -1, 1, 2)]
    expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    assert float(curvature) == pytest.approx(expected, rel=1e-5)


@LEVEL
def test_a_loose_solve_still_has_a_tight_gradient(level):
    """The Newton polish makes up for a tolerance of 1e-4."""
    problem = least_squares(noise=LEVELS[level])
    results = []
    for solver in (TIGHT, LevenbergMarquardt(gtol=1e-4)):
        tensors = leaves(problem)
        found = solve(problem.with_tensors(tensors), ImplicitAdjoint(), solver)
        results.append(torch.autograd.grad(scalar_of(found.w), tensors))
    for exact, loose in zip(*results, strict=True):
        torch.testing.assert_close(loose, exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))


def test_scales_of_basis_fields_do_not_spoil_the_gradient():
    problem = least_squares(noise=0.3)
    units = torch.tensor([1e-6, 1.0, 1e6, 1e3], dtype=torch.float64)
    tensors = leaves(problem)
    plain = torch.autograd.grad(scalar_of(solve(problem.with_tensors(tensors)).w), tensors)
    other = leaves(problem)
    wide = problem.with_tensors([*(t * units for t in other[:2]), *other[2:]])
    found = torch.autograd.grad(scalar_of(solve(wide).w * units), other)
    for a, b in zip(plain, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-7 * float(a.abs().max()))


def test_whitening_does_not_change_the_gradient():
    """Of u, which a near-dependent basis determines, with w in between, which it hardly does."""
    problem = least_squares(noise=0.1, batch=1)
    basis = problem.rows[0].basis[0]
    mixing = torch.eye(4, dtype=torch.float64)
    mixing[0, 3], mixing[3, 3] = 1.0, 1e-7
    grads = []
    for matrix in (torch.eye(4, dtype=torch.float64), mixing):
        tensors = leaves(problem)
        wide = problem.with_tensors([*(t @ matrix for t in tensors[:2]), *tensors[2:]])
        found = solve(wide, solver=LevenbergMarquardt(gtol=1e-10, ridge=FixedRidge(1e-30)))
        assert (found.transform is not None) == (matrix is mixing)
        u = basis @ (matrix @ found.w.unsqueeze(-1))
        grads.append(torch.autograd.grad(scalar_of(u), tensors))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


@LEVEL
def test_a_fixed_ridge_makes_a_rank_deficient_basis_differentiable(level):
    problem = least_squares(noise=LEVELS[level], batch=1, unknowns=3)
    block = problem.rows[0]
    equal = [torch.cat([s, s[..., :1]], -1) for s in block.basis]
    problem = LeastSquares((replace(block, basis=tuple(equal)),))
    solver = LevenbergMarquardt(gtol=1e-12, max_steps=300, ridge=FixedRidge(1e-2))
    tensors = leaves(problem)
    found = solve(problem.with_tensors(tensors), solver=solver)
    assert int(found.status) == SolveStatus.CONVERGED
    grads = torch.autograd.grad(scalar_of(found.w), tensors)
    step = 1e-6
    for i, grad in enumerate(grads):
        direction = uniform(*grad.shape, seed=20 + i)
        ends = []
        for sign in (-1, 1):
            shifted = [t.detach() + (sign * step * direction if j == i else 0.0) for j, t in enumerate(tensors)]
            ends.append(float(scalar_of(solve(problem.with_tensors(shifted), solver=solver).w)))
        expected = (ends[1] - ends[0]) / (2 * step)
        size = float(torch.linalg.vector_norm(grad) * torch.linalg.vector_norm(direction))
        assert abs(float((grad * direction).sum()) - expected) <= 1e-4 * size


def test_a_broadcast_parameter_receives_the_sum_of_its_members():
    problem = least_squares(noise=0.2, batch=3)
    shared = torch.tensor([[[1.1]]], dtype=torch.float64, requires_grad=True)
    apart = torch.full((3, 1, 1), 1.1, dtype=torch.float64, requires_grad=True)
    grads = []
    for parameter in (shared, apart):
        tensors = problem.tensors()
        tensors[4] = parameter
        (grad,) = torch.autograd.grad(scalar_of(solve(problem.with_tensors(tensors)).w), parameter)
        grads.append(grad)
    torch.testing.assert_close(grads[0], grads[1].sum(0, keepdim=True))


def test_nothing_is_recorded_without_need():
    problem = least_squares()
    assert not solve(problem).w.requires_grad
    with torch.no_grad():
        assert not solve(problem.with_tensors(leaves(problem))).w.requires_grad


def test_an_indefinite_hessian_falls_back_and_stays_finite():
    """Stationary but no minimum of the full model: u³ - 3u + 3 far above zero at its local minimum of r²."""
    basis = torch.ones(1, 1, 2, 1, dtype=torch.float64)
    offset = torch.full((1, 1, 2), -0.9, dtype=torch.float64, requires_grad=True)
    block = RowBlock(lambda t, i: (2.0 - t[0] * t[0],), (basis,), (offset,), (), basis.new_ones(1, 1, 1))
    found = solve(LeastSquares((block,)), solver=LevenbergMarquardt(gtol=1e-9, max_steps=300))
    found.w.sum().backward()
    assert bool(torch.isfinite(offset.grad).all())


# Members that fail.


@COUPLED
@pytest.mark.parametrize("name", ADJOINTS)
@pytest.mark.parametrize("where", ["offset", "basis", "parameter", "data"])
def test_failed_members_contribute_no_gradient_and_spoil_no_other(coupled, name, where):
    problem = least_squares(noise=0.2, batch=3, coupled=coupled, patches=2)
    index = {"basis": 0, "offset": 2, "parameter": 4, "data": 6}[where]
    spoilt = [t.clone() for t in problem.tensors()]
    spoilt[index].reshape(3, -1)[1, 0] = torch.nan
    results = []
    for tensors in (problem.tensors(), spoilt):
        leafs = [t.clone().requires_grad_() for t in tensors]
        factor = torch.ones(3, 1, 1, dtype=torch.float64, requires_grad=True)  # shared by the batch, as a network is
        used = [t * factor if t.shape[0] == 3 and t.ndim == 3 else t for t in leafs]
        found = solve(problem.with_tensors(used), ADJOINTS[name])
        good = (found.status == SolveStatus.CONVERGED).unsqueeze(-1)
        loss = scalar_of(torch.where(good, found.w, torch.zeros_like(found.w))[[0, 2]])
        if name == "detached":
            assert not found.w.requires_grad
            return
        results.append(torch.autograd.grad(loss, leafs))
    for clean, other in zip(*results, strict=True):
        if clean.shape[0] == 3:
            torch.testing.assert_close(other[[0, 2]], clean[[0, 2]], rtol=0, atol=0)
            torch.testing.assert_close(other[1], torch.zeros_like(other[1]), rtol=0, atol=0)
        else:
            torch.testing.assert_close(other, clean)


@pytest.mark.parametrize("gap", ["STEP_CAP", "DIVERGED"])
def test_members_that_did_not_converge_contribute_nothing(gap):
    """Their w is no minimiser, so the implicit function theorem does not hold there."""
    basis = torch.ones(2, 1, 2, 1, dtype=torch.float64)
    offset = torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(2, 1, 1).expand(2, 1, 2).clone()
    kind = torch.tensor([0.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)

    def function(terms: Any, inputs: Any) -> tuple[Tensor, ...]:
        u, hard = terms[0], inputs[0]
        slow = u**3 if gap == "STEP_CAP" else 2.0 * u.detach() - u
        return ((1.0 - hard) * (u - 3.0) + hard * slow,)

    offset.requires_grad_()
    problem = LeastSquares((RowBlock(function, (basis,), (offset,), (kind,), basis.new_ones(1, 1, 1)),))
    solver = LevenbergMarquardt(max_steps=3 if gap == "STEP_CAP" else 200)
    found = solve(problem, solver=solver)
    assert [SolveStatus(int(s)).name for s in found.status.flatten()] == ["CONVERGED", gap]
    found.w.sum().backward()
    assert float(offset.grad[1].abs().max()) == 0.0
    torch.testing.assert_close(offset.grad[0].sum(), torch.tensor(-1.0, dtype=torch.float64))


# Detached weights.


@COUPLED
@LEVEL
def test_detached_weights_give_the_exact_gradient_of_the_inner_cost(coupled, level):
    """Envelope theorem: at the minimiser the cost does not change with w to first order."""
    problem = least_squares(noise=LEVELS[level], coupled=coupled, patches=2)
    grads = []
    for adjoint in (DetachedAdjoint(), ImplicitAdjoint(polish=0.0)):
        tensors = leaves(problem)
        live = problem.with_tensors(tensors)
        found = solve(live, adjoint)
        assert found.w.requires_grad == isinstance(adjoint, ImplicitAdjoint)
        grads.append(torch.autograd.grad(live.cost(found.w).sum(), tensors))
    for detached, implicit in zip(*grads, strict=True):
        torch.testing.assert_close(detached, implicit, rtol=1e-7, atol=1e-9)


# A convex solver as oracle.


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(3))
def test_a_linear_problem_agrees_with_cvxpylayers(seed):
    cp = pytest.importorskip("cvxpy")
    layers = pytest.importorskip("cvxpylayers.torch")
    m, n = 8, 3
    s, y = cp.Parameter((m, n)), cp.Parameter(m)
    w, r = cp.Variable(n), cp.Variable(m)
    convex = cp.Problem(cp.Minimize(cp.sum_squares(r)), [r == s @ w - y])
    layer = layers.CvxpyLayer(convex, parameters=[s, y], variables=[w, r])
    basis, data = uniform(m, n, seed=seed).requires_grad_(), uniform(m, seed=seed + 50).requires_grad_()
    exact, _ = layer(basis, data, solver_args={"eps": 1e-12})
    expected = torch.autograd.grad(scalar_of(exact), (basis, data))
    block = RowBlock(lambda t, i: (t[0],), (basis[None, None],), (-data[None, None],), (), torch.ones(1, 1, 1).double())
    found = solve(LeastSquares((block,))).w[0, 0]
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-7)
    for a, b in zip(torch.autograd.grad(scalar_of(found), (basis, data)), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_jacobian_row_by_row_factorises_once(monkeypatch):
    """Each further backward pass through one solve uses the factor of the first, and gives what it would alone."""
    problem, solver, made = least_squares(patches=2, noise=0.5), LevenbergMarquardt(), []
    real = implicit_module.hessian_factor
    monkeypatch.setattr(implicit_module, "hessian_factor", lambda *args: made.append(0) or real(*args))

    def weights():
        leaves = [t.clone().requires_grad_() for t in problem.tensors()]
        return leaves, solve_with(ImplicitAdjoint(polish=float("inf")), solver)(problem.with_tensors(leaves)).w

    leaves, w = weights()
    together = [torch.autograd.grad(w[0, 0, i], leaves, retain_graph=True) for i in range(3)]
    assert len(made) == 1
    for i, rows in enumerate(together):
        fresh, again = weights()
        alone = torch.autograd.grad(again[0, 0, i], fresh)
        assert all(torch.equal(a, b) for a, b in zip(rows, alone, strict=True))
