"""Patches solved in the order in which information runs: what is downwind does not reach upwind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import (
    EXACT_CASES,
    SPACE_TIME,
    grid_layer,
    least_squares,
    monomial_ansatz,
    monomial_mixture,
    seeded,
    uniform,
)
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition, Neumann, Periodic
from pdesolve.discretization.collocation import Collocation
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains import Interval, cartesian_decomposition
from pdesolve.experts.coupling import InterfaceRows
from pdesolve.experts.flow import flow_along
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.rows import RowCounts
from pdesolve.implicit import DetachedAdjoint, ImplicitAdjoint
from pdesolve.nonlinear.cascade import PatchWeights, solve_in_order, stages_of
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import minimise
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.problem import Problem
from pdesolve.status import SolveStatus

HEAT, PLANE, POISSON, BURGERS, TRANSPORT, WAVE, SYSTEM, *_ = EXACT_CASES
TIGHT = LevenbergMarquardt(gtol=1e-12, max_steps=200)


def chain(flow: tuple[int, ...], **options: object) -> LeastSquares:
    """Random rows on a chain of patches whose interfaces have the given flow."""
    problem = least_squares(coupled=True, patches=len(flow) + 1, noise=0.3, **options)  # type: ignore[arg-type]
    (block,) = problem.interfaces
    return replace(problem, interfaces=(replace(block, flow=flow),))


def solved(problem: LeastSquares, solver: LevenbergMarquardt = TIGHT, start: Tensor | None = None) -> PatchWeights:
    adjoint = ImplicitAdjoint(polish=0.0)
    return solve_in_order(problem, lambda rows, _: adjoint.solve(rows, lambda r: minimise(r, solver, start)))


# The direction.


def advection(conditions: list[object]) -> Problem:
    return Problem(lambda f, c, p: f.u.t + f.u.x, SPACE_TIME, conditions)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("problem", "axis", "flow"),
    [
        (HEAT.problem, "t", 1),
        (HEAT.problem, "x", 0),
        (PLANE.problem, "y", 0),
        (POISSON.problem, "x", 0),
        (WAVE.problem, "t", 1),
        (WAVE.problem, "x", 0),
        (TRANSPORT.problem, "x", 1),
        (SYSTEM.problem, "t", 1),
        (advection([InitialCondition(0.0), Dirichlet(0.0, on="right")]), "x", -1),
        (advection([InitialCondition(0.0), Periodic("x")]), "x", 0),
        (Problem(lambda f, c, p: f.u.x - c.x, Interval(0, 1), [Dirichlet(0.0, on="right")]), "x", -1),
        (Problem(lambda f, c, p: f.u.xx, Interval(0, 1), [Dirichlet(0.0, "left"), Neumann(0.0, "right")]), "x", 0),
    ],
)
def test_information_enters_where_the_conditions_are(problem, axis, flow):
    assert flow_along(problem, axis) == flow


def test_fields_that_run_against_each_other_have_no_direction():
    pde = FunctionPDE(lambda f, c, p: (f.u.t + f.u.x, f.v.t - f.v.x + f.u), fields=("u", "v"))
    conditions = [InitialCondition(0.0, field="u"), InitialCondition(0.0, field="v")]
    conditions += [Dirichlet(0.0, field="u", on="left"), Dirichlet(0.0, field="v", on="right")]
    assert flow_along(Problem(pde, SPACE_TIME, conditions), "x") == 0


@pytest.mark.parametrize(
    ("flow", "stages"),
    [
        ((1, 1, 1), [[0], [1], [2], [3]]),
        ((-1, -1, -1), [[3], [2], [1], [0]]),
        ((1, -1, 1), [[0, 2], [1, 3]]),
        ((-1, 1), [[1], [0, 2]]),
        ((), [[0]]),
    ],
)
def test_stages_follow_the_flow(flow, stages):
    problem = chain(flow) if flow else least_squares()
    assert stages_of(problem) == stages


def test_patches_that_share_rows_are_one_stage():
    problem = chain((1, 1))
    (block,) = problem.interfaces
    tie = replace(block.with_tensors([t[:, :1] for t in block.tensors()]), edges=((0, 1),), flow=())
    flow = replace(block.with_tensors([t[:, 1:] for t in block.tensors()]), edges=((1, 2),), flow=(1,))
    assert stages_of(replace(problem, interfaces=(tie, flow))) == [[0, 1], [2]]


def test_a_circle_is_refused():
    problem = chain((1, 1))
    (block,) = problem.interfaces
    circle = replace(block, edges=((0, 1), (0, 1)), flow=(1, -1))
    with pytest.raises(ValueError, match="circle"):
        stages_of(replace(problem, interfaces=(circle,)))


# The solve.


@pytest.mark.parametrize("flow", [(1, 1, 1), (-1, -1, -1), (1, -1, 1), (1, 1, -1)])
def test_every_patch_minimises_its_own_cost_with_the_others_as_data(flow):
    """Stationarity by autograd, patch by patch: the cost of all rows that enter a patch, upwind weights fixed."""
    problem = chain(flow)
    w = solved(problem).w.detach()
    (block,) = problem.interfaces
    for p in range(w.shape[1]):
        own = w[:, p].clone().requires_grad_()
        full = torch.stack([own if q == p else w[:, q] for q in range(w.shape[1])], 1)
        cost = 0.5 * problem.rows[0].residual(full)[:, :, p].square().sum()
        for e, ((a, b), direction) in enumerate(zip(block.edges, block.flow, strict=True)):
            if p == (b if direction > 0 else a):
                cost = cost + 0.5 * block.residual(full)[:, e].square().sum()
        (gradient,) = torch.autograd.grad(cost, own)
        assert float(gradient.abs().max()) < 1e-9


def test_what_is_downwind_does_not_reach_upwind():
    """Bit for bit, where symmetric rows would let it."""
    problem = chain((1, 1))
    first = solved(problem).w
    tensors = problem.tensors()
    spoilt = [t.clone() for t in tensors]
    for t in spoilt:
        if t.shape[:2] == (2, 3):
            t[:, 2] = 3.0 * uniform(*t[:, 2].shape, seed=5)
    second = solved(problem.with_tensors(spoilt)).w
    assert torch.equal(first[:, :2], second[:, :2])
    assert not torch.allclose(first[:, 2], second[:, 2])
    symmetric = replace(problem, interfaces=(replace(problem.interfaces[0], flow=()),))
    assert not torch.allclose(solved(symmetric).w[:, 1], solved(symmetric.with_tensors(spoilt)).w[:, 1])


@pytest.mark.parametrize("flow", [(1, 1), (-1, 1)])
def test_the_gradient_reaches_through_all_stages(flow):
    problem = chain(flow, batch=1, points=3, unknowns=2, seed=1)
    tensors = [t.clone().requires_grad_() for t in problem.tensors()]

    def weights(*given: Tensor) -> Tensor:
        return solved(problem.with_tensors(given)).w

    assert torch.autograd.gradcheck(weights, tensors, eps=1e-5, atol=1e-6, rtol=1e-5)


def test_statistics_keep_the_order_of_patches():
    problem = chain((-1, -1))
    found = solved(problem)
    assert found.w.shape == problem.shape
    assert {value.shape for value in found.stats.values()} == {(2, 3)}
    lone = replace(problem.rows[0], basis=tuple(b[:, 2:] for b in problem.rows[0].basis))
    lone = replace(lone, offset=tuple(o[:, 2:] for o in lone.offset), inputs=(*lone.inputs[:2], lone.inputs[2][:, 2:]))
    expected = minimise(LeastSquares((lone,)), TIGHT).stats["cost"]
    torch.testing.assert_close(found.stats["cost"][:, 2:], expected)


# When a member fails.


def test_a_patch_behind_a_failed_one_says_so():
    problem = chain((1, 1))
    capped = LevenbergMarquardt(gtol=1e-15, max_steps=1)
    seen: list[list[int]] = []

    def solve(rows: LeastSquares, patches: list[int]) -> object:
        seen.append(list(patches))
        return minimise(rows, capped if patches == [1] else TIGHT)

    status = solve_in_order(problem, solve).status  # type: ignore[arg-type]
    assert seen == [[0], [1], [2]]
    codes = (SolveStatus.CONVERGED, SolveStatus.STEP_CAP, SolveStatus.STEP_CAP)
    assert status.tolist() == [[int(code) for code in codes]] * 2


def test_nan_upwind_spoils_what_is_behind_it_in_its_own_sample_only():
    problem = chain((1, 1))
    tensors = [t.clone() for t in problem.tensors()]
    tensors[0][1, 1] = torch.nan
    clean, spoilt = solved(problem), solved(problem.with_tensors(tensors))
    assert torch.equal(clean.w[0], spoilt.w[0])
    assert torch.equal(clean.w[1, 0], spoilt.w[1, 0])
    assert spoilt.status.tolist() == [[0, 0, 0], [0, int(SolveStatus.NON_FINITE), int(SolveStatus.NON_FINITE)]]


# The layer.


@pytest.mark.parametrize("cuts", [{"t": 3}, {"x": 3}, {"t": 2, "x": 2}])
def test_a_poor_basis_downwind_leaves_the_upwind_patches_alone(cuts):
    """Transport on a grid: noise in the last corner, which no other patch's stencil reads, stays there."""
    layer = grid_layer(TRANSPORT, cuts, coupling=InterfaceRows(), throw=False)
    basis = TRANSPORT.basis(TRANSPORT.grid, 5)
    spoilt = basis.clone()
    spoilt[:, :, -1, -1] += uniform(*spoilt[:, :, -1, -1].shape, seed=4)
    clean, changed = (layer(b)[1].weights for b in (basis, spoilt))
    assert torch.equal(clean[:, :-1], changed[:, :-1])
    assert not torch.allclose(clean[:, -1], changed[:, -1])


def test_space_stays_coupled_inside_each_slab_of_time():
    mixture = monomial_mixture(HEAT, {"t": 2, "x": 2})
    layer, values = mixture.expert.layer, HEAT.problem.batch_parameters()
    rows = layer.assemble(mixture.expert.backbone, values, seeded(), mixture.decomposition, InterfaceRows())
    assert sorted(len(stage) for stage in stages_of(rows)) == [2, 2]


def test_a_warm_start_reaches_every_stage():
    layer = grid_layer(BURGERS, {"t": 3}, coupling=InterfaceRows())
    basis = BURGERS.basis(BURGERS.grid, 5)
    _, cold = layer(basis)
    _, warm = layer(basis, start=cold.weights)
    assert int(warm.stats["iterations"].sum()) < int(cold.stats["iterations"].sum())
    torch.testing.assert_close(warm.weights, cold.weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("adjoint", [ImplicitAdjoint(), DetachedAdjoint()])
def test_gradients_of_a_layer_with_slabs_of_time_against_differences(adjoint):
    """Exact with the implicit adjoint; the detached one gives none to the weights."""
    layer = grid_layer(BURGERS, {"t": 2}, coupling=InterfaceRows(), adjoint=adjoint, solver=TIGHT)
    basis = BURGERS.basis(BURGERS.grid, 3).requires_grad_()
    direction = uniform(*basis.shape, seed=2)

    def last(fields: Tensor) -> Tensor:
        return layer.solve(_source(layer, fields), BURGERS.problem.batch_parameters()).weights[:, 1].sum()

    if isinstance(adjoint, DetachedAdjoint):
        assert not last(basis).requires_grad
        return
    (gradient,) = torch.autograd.grad(last(basis), basis)
    h = 1e-4
    moved = [float(last(basis.detach() + k * h * direction)) for k in (-2, -1, 1, 2)]
    expected = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * h)
    assert abs(float((gradient * direction).sum()) - expected) < 1e-6 * abs(expected)


def _source(layer: HardConstraintLayer, fields: Tensor) -> GridBasis:
    grid = layer.discretization.grid
    assert grid is not None
    return GridBasis.lifted(layer.problem, grid, fields, layer.lifting, layer.problem.batch_parameters())


def test_interface_rows_count_for_the_patch_that_they_determine():
    """The first of two patches in time has its initial condition only; rows of the interface are the second's."""
    layer = HardConstraintLayer(TRANSPORT.problem, Collocation(), RowCounts(4, 2, 50))
    cut = cartesian_decomposition(TRANSPORT.problem.domain, {"t": 2})
    with pytest.raises(ValueError, match="8 rows on a patch for 15 basis fields"):
        layer.solve(
            monomial_ansatz(TRANSPORT), TRANSPORT.problem.batch_parameters(), decomposition=cut,
            coupling=InterfaceRows(),
        )  # fmt: skip
