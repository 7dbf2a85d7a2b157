"""Overlapping patches: one smooth field, exact where the basis is, whatever the cuts, the source and the axes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers import (
    EXACT_CASES,
    TIGHT_SOLVER,
    ExactCase,
    grid_layer,
    monomial_expert,
    monomial_mixture,
    seeded,
    uniform,
)
from test_couplings import ALL_CUTS, HEAT, POISSON, TRANSPORT, layer_case, renumbered

import pdesolve as ps
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.implicit import ImplicitAdjoint
from pdesolve.unrolled import UnrolledAdjoint

BURGERS = EXACT_CASES[3]
CUBE = ps.Cuboid((0, 1), (0, 1), (0, 1))


def _cube_case() -> ExactCase:
    def exact(x, y, z):
        return x * x - y * y + x * z

    problem = ps.Problem(lambda f, c, p: f.u.xx + f.u.yy + f.u.zz, CUBE, [ps.Dirichlet(exact)])
    return replace(POISSON, name="Laplace 3-D", problem=problem, exact={"u": exact}, shape=(9, 9, 7))


LAPLACE = _cube_case()
CUTS = [*ALL_CUTS, pytest.param(LAPLACE, {"x": 2, "y": 2}, id="Laplace 3-D")]


@pytest.mark.parametrize(("case", "cuts"), CUTS)
def test_a_rich_basis_makes_the_blend_the_solution(case, cuts):
    """And neighbours agree in what they have in common."""
    degree = 2 if case is LAPLACE else 4
    mixture = monomial_mixture(case, cuts, ps.PartitionOfUnity(), degree=degree)
    grid = ps.StructuredGrid.uniform(case.problem.domain, (6,) * len(case.grid.axes))
    solution = mixture({}, grid)
    scale = float(case.on(grid).abs().max())
    torch.testing.assert_close(solution.field.values[0], case.on(grid), rtol=0, atol=3e-6 * scale)
    for name, jump in mixture.jumps({}).items():
        assert float(jump.difference) < 1e-4 * (1.0 + float(jump.size)), name


@pytest.mark.parametrize(("case", "cuts"), CUTS)
def test_on_a_grid_the_blend_is_the_solution_too(case, cuts):
    layer = grid_layer(case, cuts, coupling=ps.PartitionOfUnity(), rows=ps.RowCounts(200, 60, 40))
    u, _ = layer(case.basis(case.grid, 5))
    torch.testing.assert_close(u[0], case.on(case.grid), rtol=0, atol=1e-5 * float(u.abs().max()))


def test_the_field_does_not_jump_where_the_basis_cannot_follow():
    """A cold bar between hot ends: interface rows leave a jump, the blend none, nor does its slope jump."""
    case, steps = layer_case(), {}
    for coupling in (ps.InterfaceRows(3.0), ps.PartitionOfUnity()):
        mixture, sizes = monomial_mixture(case, {"x": 3}, coupling), []
        for h in (1e-3, 1e-4):
            nodes = 1 / 3 + h * torch.arange(-2, 3, dtype=torch.float64)
            grid = ps.StructuredGrid(("t", "x"), (case.grid.axis_nodes("t"), nodes), case.problem.domain)
            u = mixture({}, grid).field.values[0, 0]
            sizes.append([float(u.diff().abs().max()), float((u.diff().diff() / h).abs().max())])
        steps[type(coupling).__name__] = sizes
    (_, _), (left, _) = steps["InterfaceRows"]
    assert left > 1e-3
    (value, slope), (finer, flatter) = steps["PartitionOfUnity"]
    assert finer == pytest.approx(value / 10, rel=0.1)
    assert flatter == pytest.approx(slope / 10, rel=0.2)


@pytest.mark.parametrize("patches", [2, 3, 5])
def test_the_blend_converges_with_the_basis(patches):
    """u'' = -sin: the error falls by more than a hundred from degree 3 to 6 in every number of patches."""
    problem = ps.Problem(lambda f, c, p: f.u.xx + torch.sin(4 * c.x), ps.Interval(0, 1), [ps.Dirichlet(0.0)])
    case, grid = replace(POISSON, problem=problem), ps.StructuredGrid.uniform(ps.Interval(0, 1), (101,))
    x = grid.axis_nodes("x")
    exact = (torch.sin(4 * x) - x * math.sin(4.0)) / 16
    errors = []
    for degree in (3, 6):
        u = monomial_mixture(case, {"x": patches}, ps.PartitionOfUnity(0.5), degree)({}, grid).field.values[0, 0]
        errors.append(float((u - exact).abs().max()))
    assert errors[1] < 1e-2 * errors[0] < 1e-2


def test_independent_of_the_numbering_of_patches():
    layer = grid_layer(BURGERS, {"x": 2, "t": 2}, coupling=ps.PartitionOfUnity(), rows=ps.RowCounts(2000, 400, 400))
    basis = BURGERS.basis(BURGERS.grid, 5)
    expected, _ = layer(basis)
    layer.decomposition = renumbered(layer.decomposition, [2, 0, 3, 1])
    found, _ = layer(basis)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("cuts", [{"t": 3}, {"x": 3}])
def test_what_happens_downwind_does_not_reach_upwind(cuts):
    """Transport: noise in the last corner changes no weight of the patches before it."""
    layer = grid_layer(TRANSPORT, cuts, coupling=ps.PartitionOfUnity(0.4), throw=False)
    basis = TRANSPORT.basis(TRANSPORT.grid, 5)
    spoilt = basis.clone()
    spoilt[:, :, -1, -1] += uniform(*spoilt[:, :, -1, -1].shape, seed=4)
    clean, changed = (layer(b)[1].weights for b in (basis, spoilt))
    assert torch.equal(clean[:, :-1], changed[:, :-1])
    assert not torch.allclose(clean[:, -1], changed[:, -1])


@pytest.mark.parametrize("cuts", [{"x": 2}, {"x": 3}, {"x": 2, "y": 2}, {"y": 2}])
def test_periodic_axes(cuts):
    """-Δu = f on a torus in x, walls in y: the ends agree, in any cut."""
    domain, k = ps.Rectangle((0, 1), (0, 1)), 2 * math.pi

    def exact(x, y):
        return torch.sin(k * x) * y * (1 - y)

    problem = ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy + torch.sin(k * c.x) * (k * k * c.y * (1 - c.y) + 2),
        domain,
        [ps.Periodic("x"), ps.Dirichlet(0.0, on="bottom"), ps.Dirichlet(0.0, on="top")],
    )
    grid = ps.StructuredGrid.uniform(domain, (25, 17))
    at = grid.coordinates()
    fields = [exact(**at), at["x"], at["y"], at["x"] * at["y"] ** 2, torch.ones(grid.shape, dtype=torch.float64)]
    layer = ps.HardConstraintLayer(
        problem,
        ps.FiniteDifferences(grid, order=4),
        ps.RowCounts(150, 20, 20),
        decomposition=ps.cartesian_decomposition(grid, cuts),
        coupling=ps.PartitionOfUnity(0.4),
    )
    u, report = layer(torch.stack(fields)[None])
    assert not bool(report.status.any())
    assert float((u - exact(**at)).abs().max()) < 2e-3
    assert float((u[..., 0, :] - u[..., -1, :]).abs().max()) < 2e-3


@pytest.mark.parametrize("cuts", [{"x": 3}, {"x": 2, "t": 2}])
@pytest.mark.parametrize("coupling", [ps.Independent(), ps.InterfaceRows(), ps.PartitionOfUnity(0.4)], ids=repr)
def test_implicit_is_unrolled_is_finite_differences(coupling, cuts):
    """Of the assembled field of Burgers' equation, with a basis that misses the solution."""
    fields = BURGERS.basis(BURGERS.grid, 3) + 0.1 * uniform(1, 3, 11, 13, seed=3)
    direction, grads = uniform(*fields.shape, seed=2), []

    def total(basis: torch.Tensor, adjoint: object) -> torch.Tensor:
        layer = grid_layer(BURGERS, cuts, coupling=coupling, adjoint=adjoint, solver=TIGHT_SOLVER)
        return (layer(basis)[0] * torch.linspace(0, 1, 13, dtype=torch.float64)).square().sum()

    for adjoint in (ImplicitAdjoint(polish=0.0), UnrolledAdjoint(60)):
        basis = fields.clone().requires_grad_()
        grads.append(torch.autograd.grad(total(basis, adjoint), basis)[0])
    assert float((grads[0] - grads[1]).norm()) <= 1e-6 * float(grads[0].norm())
    h = 1e-5
    ends = [float(total(fields + k * h * direction, ImplicitAdjoint(polish=0.0))) for k in (-2, -1, 1, 2)]
    expected = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    size = float(grads[0].norm() * direction.norm())
    assert abs(float((grads[0] * direction).sum()) - expected) <= 1e-6 * size


def test_the_residual_of_an_overlapping_mixture_is_its_cost():
    mixture = monomial_mixture(HEAT, {"x": 2, "t": 2}, ps.PartitionOfUnity(), degree=2)
    rows, status = mixture.residual({}, seeded())
    assert status.shape == (1, 4)
    assert set(rows) == {"equation", "conditions", "interfaces"}
    layer = mixture.expert.layer
    found = layer.solve(
        mixture.expert.backbone, HEAT.problem.batch_parameters(), generator=seeded(),
        decomposition=mixture.decomposition, coupling=mixture.coupling, throw=False,
    )  # fmt: skip
    total = 0.5 * sum(r.square().sum() for r in rows.values())
    torch.testing.assert_close(total, found.rows.cost(found.weights).sum(), rtol=1e-6, atol=1e-20)


def test_one_patch_is_one_expert():
    single = monomial_expert(HEAT, 2)({}, HEAT.grid, throw=False)
    blended = monomial_mixture(HEAT, {}, ps.PartitionOfUnity(), degree=2)({}, HEAT.grid, throw=False)
    assert torch.equal(single.field.values, blended.field.values)


def test_a_field_on_a_grid_is_assembled_from_weights_that_add_up_to_one():
    layer = grid_layer(HEAT, {"x": 2}, coupling=ps.PartitionOfUnity(0.3))
    basis = HEAT.basis(HEAT.grid, 4)
    u, report = layer(basis)
    source = GridBasis.lifted(HEAT.problem, HEAT.grid, basis, layer.lifting, {})
    cover = layer.coupling.layout(layer.decomposition, HEAT.problem).field
    each = torch.einsum("bpn,bnc...->pbc...", report.weights, source.values)
    expected = (cover.weights(HEAT.grid.coordinates())[:, None, None] * each).sum(0)
    torch.testing.assert_close(u, expected)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        *((lambda v=v: ps.PartitionOfUnity(v), ValueError, r"\(0, 0.5\]") for v in (0.0, -0.25, 0.6, 1.5)),
        *((lambda v=v: ps.PartitionOfUnity(v), ValueError, "finite") for v in (math.nan, math.inf)),
        (lambda: ps.PartitionOfUnity(None), TypeError, "real number"),
        *((lambda v=v: ps.PartitionOfUnity(weight=v), ValueError, "weight must be") for v in (0.0, -1.0, math.nan)),
    ],
)
def test_bad_overlaps_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_grid_that_is_too_coarse_for_its_overlap_is_refused():
    layer = grid_layer(HEAT, {"x": 4}, coupling=ps.PartitionOfUnity(0.1))
    with pytest.raises(ValueError, match="fewer than 2 nodes"):
        layer(HEAT.basis(HEAT.grid, 3))
