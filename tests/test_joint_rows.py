"""Rows that several patches share: linearised, solved and differentiated as the dense problem they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import LEVELS, least_squares, solve_with, uniform
from torch import Tensor

from pdesolve.implicit import DetachedAdjoint, ImplicitAdjoint
from pdesolve.nonlinear.cascade import solve_in_order, stages_of
from pdesolve.nonlinear.joint_rows import JointBlock
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import minimise
from pdesolve.nonlinear.whitening import Whitening
from pdesolve.status import SolveStatus
from pdesolve.unrolled import UnrolledAdjoint

TIGHT = LevenbergMarquardt(gtol=1e-12, max_steps=200)
PIECES = ((0, 1), (2, 1), (0, 2), (2, 2))
"""In and out of order; the last piece has one patch twice, as the ends of a periodic axis may."""


def joint(noise: float = 0.0, batch: int = 2, points: int = 8, unknowns: int = 3, seed: int = 0) -> LeastSquares:
    """Three patches with rows of their own, and curved rows that two of them share."""
    own = least_squares(batch=batch, patches=3, points=points, unknowns=unknowns, noise=noise, seed=seed)
    wide = least_squares(
        batch=batch, patches=len(PIECES), points=points, unknowns=2 * unknowns, noise=noise, seed=seed + 31
    )
    block = wide.rows[0]
    if not noise:  # data that the true weights of the own rows meet
        w = uniform(batch, 3, unknowns, seed=seed + 5)
        shared = JointBlock(block, PIECES).gather(w)
        clean = block.with_tensors([*block.tensors()[:-1], torch.zeros_like(block.inputs[2])])
        block = block.with_tensors([*block.tensors()[:-1], clean.residual(shared)[0]])
    return replace(own, joint=(JointBlock(block, PIECES),))


def scalar_of(w: Tensor) -> Tensor:
    return ((1.0 + uniform(*w.shape, seed=11)) * torch.sin(w + 0.3)).sum()


def leaves(problem: LeastSquares) -> list[Tensor]:
    return [t.clone().requires_grad_() for t in problem.tensors()]


def solved(problem: LeastSquares, adjoint: Any = None) -> Any:
    return solve_with(adjoint or ImplicitAdjoint(polish=0.0), TIGHT)(problem)


def flat_rows(problem: LeastSquares, flat: Tensor) -> Tensor:
    w = flat.reshape(1, *problem.shape[1:])
    parts = [block.residual(w).flatten() for block in problem.rows]
    return torch.cat(parts + [j.block.residual(j.gather(w)).flatten() for j in problem.joint])


def test_the_linearisation_is_that_of_the_dense_problem():
    problem, w = joint(noise=0.5, batch=1), uniform(1, 3, 3, seed=8)
    flat = w.flatten()
    jacobian = torch.autograd.functional.jacobian(lambda v: flat_rows(problem, v), flat)
    r = flat_rows(problem, flat)
    normal = problem.linearise(w)
    torch.testing.assert_close(normal.cost.flatten(), 0.5 * r.square().sum().reshape(1))
    torch.testing.assert_close(normal.gradient.flatten(), jacobian.T @ r)
    torch.testing.assert_close(normal.gram.dense()[0], jacobian.T @ jacobian)
    exact = torch.autograd.functional.hessian(lambda v: 0.5 * flat_rows(problem, v).square().sum(), flat)
    torch.testing.assert_close(problem.hessian(w, normal.gram).dense()[0], exact)
    assert set(normal.gram.edges) == set(problem.edges) == {(0, 1), (1, 2), (0, 2)}


def test_costs_of_patches_add_up_to_the_cost():
    problem = joint(noise=0.5)
    w = uniform(*problem.shape, seed=8)
    torch.testing.assert_close(0.5 * problem.patch_costs(w).sum(1, keepdim=True), problem.cost(w))


def test_a_change_of_unknowns_changes_nothing():
    problem = joint(noise=0.5)
    transform = uniform(2, 3, 3, 3, seed=9)
    c = uniform(*problem.shape, seed=8)
    w = (transform @ c.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(problem.transformed(transform).cost(c), problem.cost(w))
    whitened = solve_with(ImplicitAdjoint(), LevenbergMarquardt(gtol=1e-12, whitening=Whitening(threshold=1.0)))(
        problem
    )
    assert whitened.transform is not None
    torch.testing.assert_close(whitened.w, solved(problem).w, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("level", LEVELS)
def test_implicit_gradient_is_that_of_converged_solves_and_of_unrolled_ones(level):
    problem = joint(noise=LEVELS[level], batch=1)
    tensors = leaves(problem)
    found = solved(problem.with_tensors(tensors))
    assert bool((found.status == SolveStatus.CONVERGED).all())
    grads = torch.autograd.grad(scalar_of(found.w), tensors)
    other = leaves(problem)
    unrolled = solved(problem.with_tensors(other), UnrolledAdjoint({"zero": 3, "small": 40, "large": 150}[level]))
    for implicit, recorded in zip(grads, torch.autograd.grad(scalar_of(unrolled.w), other), strict=True):
        size = float(torch.linalg.vector_norm(implicit))
        assert float(torch.linalg.vector_norm(implicit - recorded)) <= 1e-6 * size
    step = 1e-5
    for i, grad in enumerate(grads):
        direction = uniform(*grad.shape, seed=20 + i)
        values = []
        for sign in (-2, -1, 1, 2):
            shifted = [t.detach() + (sign * step * direction if j == i else 0.0) for j, t in enumerate(tensors)]
            values.append(float(scalar_of(solved(problem.with_tensors(shifted)).w)))
        expected = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
        size = float(torch.linalg.vector_norm(grad) * torch.linalg.vector_norm(direction))
        assert abs(float((grad * direction).sum()) - expected) <= 1e-6 * size, i


def test_gradcheck():
    problem = joint(noise=0.3, batch=1, points=2, unknowns=1)
    tensors = leaves(problem)

    def weights(*tensors: Tensor) -> Tensor:
        return solved(problem.with_tensors(tensors)).w

    assert torch.autograd.gradcheck(weights, tensors, eps=1e-5, atol=1e-6, rtol=1e-5)


def test_detached_weights_give_the_gradient_of_the_cost():
    problem, grads = joint(noise=0.5), []
    for adjoint in (DetachedAdjoint(), ImplicitAdjoint(polish=0.0)):
        tensors = leaves(problem)
        live = problem.with_tensors(tensors)
        grads.append(torch.autograd.grad(live.cost(solved(live, adjoint).w).sum(), tensors))
    for detached, implicit in zip(*grads, strict=True):
        torch.testing.assert_close(detached, implicit, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("where", [0, 7])
def test_a_sample_that_is_not_finite_spoils_no_other(where):
    """In a row of one patch, and in one that patches share."""
    problem = joint(noise=0.2, batch=3)
    spoilt = [t.clone() for t in problem.tensors()]
    spoilt[where].reshape(3, -1)[1, 0] = torch.nan
    results = []
    for tensors in (problem.tensors(), spoilt):
        leafs = [t.clone().requires_grad_() for t in tensors]
        found = solved(problem.with_tensors(leafs), ImplicitAdjoint())
        results.append((found, torch.autograd.grad(scalar_of(found.w[[0, 2]]), leafs)))
    (clean, grads), (found, others) = results
    assert found.status.tolist() == [[0] * 3, [int(SolveStatus.NON_FINITE)] * 3, [0] * 3]
    assert torch.equal(found.w[[0, 2]], clean.w[[0, 2]])
    for a, b in zip(grads, others, strict=True):
        if a.shape[0] == 3:
            torch.testing.assert_close(b[[0, 2]], a[[0, 2]], rtol=0, atol=0)
            assert not bool(b[1].any())


def test_samples_that_need_longer_go_on_by_themselves():
    problem = joint(noise=0.2, batch=4)
    tensors = [t.clone() for t in problem.tensors()]
    tensors[-1][3] += 40.0
    hard = problem.with_tensors(tensors)
    whole, alone = minimise(hard, TIGHT), minimise(problem, TIGHT)
    assert int(whole.stats["iterations"][3, 0]) > int(whole.stats["iterations"][:3].max())
    torch.testing.assert_close(whole.w[:3], alone.w[:3], rtol=0, atol=0)


def test_stages_keep_patches_together_that_share_rows():
    """Four patches, the last two behind the first two."""
    own = least_squares(patches=4, points=8, unknowns=3)
    flowing = replace(least_squares(patches=4, points=8, unknowns=3, coupled=True).interfaces[0], flow=(1, 1, 1))
    kept = [t[:, [0, 1]] for t in flowing.tensors()]
    flow = replace(flowing.with_tensors(kept), edges=((0, 2), (1, 3)), flow=(1, 1))
    wide = least_squares(patches=2, points=8, unknowns=6, seed=3).rows[0]
    problem = LeastSquares(own.rows, (flow,), joint=(JointBlock(wide, ((0, 1), (2, 3))),))
    assert stages_of(problem) == [[0, 1], [2, 3]]
    found = solve_in_order(problem, lambda rows, patches: minimise(rows, TIGHT))
    first = LeastSquares(
        (own.rows[0].on(torch.tensor([0, 1])),), joint=(JointBlock(wide.on(torch.tensor([0])), ((0, 1),)),)
    )
    torch.testing.assert_close(found.w[:, :2], minimise(first, TIGHT).w, rtol=1e-9, atol=1e-10)


def test_shared_rows_count_for_all_their_patches():
    problem = joint()
    assert problem.row_counts().tolist() == [8 + 16, 8 + 16, 8 + 8 + 8 + 16]
    padded = replace(problem.joint[0].block, weight=torch.cat([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], -1).double())
    fewer = replace(problem, joint=(JointBlock(padded, PIECES),))
    assert fewer.row_counts().tolist() == [8 + 8, 8 + 8, 8 + 4 + 4 + 8]
