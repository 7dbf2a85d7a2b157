"""The nonlinear least-squares solver: minimisers, scales, ranks, masks, and every way to fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import scipy.optimize
import torch
from helpers import LEVELS, SOLVERS, flat_residual, least_squares, uniform
from torch import Tensor

from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import minimise, stationarity
from pdesolve.nonlinear.ridge import FixedRidge, RelativeRidge
from pdesolve.nonlinear.rows import RowBlock
from pdesolve.nonlinear.whitening import Whitening, estimated_condition
from pdesolve.status import SolveError, SolveStatus, describe, raise_unless_converged

COUPLED = pytest.mark.parametrize("coupled", [False, True], ids=["independent", "coupled"])
LEVEL = pytest.mark.parametrize("level", LEVELS)
SOLVER = pytest.mark.parametrize("name", SOLVERS)
TIGHT = LevenbergMarquardt(gtol=1e-11, max_steps=200)


def linear(basis: Tensor, data: Tensor) -> LeastSquares:
    """|S w - y|², S (batch, patch, point, unknown)."""
    return LeastSquares((row_block(lambda terms, inputs: (terms[0],), basis, -data),))


def row_block(function: Any, basis: Tensor, offset: Tensor, *inputs: Tensor) -> RowBlock:
    return RowBlock(function, (basis,), (offset,), inputs, basis.new_ones(1, 1, 1))


def scaled(problem: LeastSquares, rows: float = 1.0, unknowns: Tensor | float = 1.0) -> LeastSquares:
    """The same problem with residuals times ``rows`` and in the unknowns w / ``unknowns``."""
    blocks = tuple(replace(b, basis=tuple(s * unknowns for s in b.basis), weight=b.weight * rows) for b in problem.rows)
    interfaces = tuple(
        replace(b, left=b.left * unknowns, right=b.right * unknowns, weight=b.weight * rows) for b in problem.interfaces
    )
    return replace(problem, rows=blocks, interfaces=interfaces)


def codes(status: Tensor) -> set[str]:
    return {SolveStatus(int(code)).name for code in status.flatten()}


# Minimisers.


@SOLVER
@COUPLED
@LEVEL
def test_minimiser_is_scipy_s(name, coupled, level):
    problem = least_squares(noise=LEVELS[level], coupled=coupled, patches=3 if coupled else 2, batch=2)
    found = minimise(problem, SOLVERS[name])
    assert codes(found.status) == {"CONVERGED"}
    for member in range(2):
        function = flat_residual(problem, member)
        size = problem.shape[1] * problem.shape[2]
        rival = scipy.optimize.least_squares(function, [0.0] * size, xtol=1e-15, ftol=1e-15, gtol=1e-15)
        torch.testing.assert_close(found.w[member].flatten(), torch.from_numpy(rival.x), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(
            problem.cost(found.w)[member].sum(), torch.tensor(rival.cost, dtype=torch.float64), atol=1e-15, rtol=1e-9
        )  # fmt: skip


@COUPLED
@LEVEL
def test_levels_are_what_their_names_say(coupled, level):
    problem = least_squares(noise=LEVELS[level], coupled=coupled, patches=3)
    relative = minimise(problem, TIGHT).stats["relative_residual"]
    low, high = {"zero": (0.0, 1e-6), "small": (0.02, 0.2), "large": (0.4, 0.95)}[level]
    assert low <= float(relative.min()) <= float(relative.max()) <= high


@COUPLED
def test_gradient_and_hessian_are_those_of_the_cost(coupled):
    problem = least_squares(noise=0.5, coupled=coupled, patches=3, batch=1)
    w = 0.4 * uniform(*problem.shape, seed=9)

    def cost(w: Tensor) -> Tensor:
        return problem.cost(w).sum()

    normal = problem.linearise(w)
    gradient = torch.func.grad(cost)(w)
    hessian = torch.autograd.functional.hessian(cost, w).reshape(12, 12)
    torch.testing.assert_close(normal.cost.sum(), cost(w))
    torch.testing.assert_close(normal.gradient, gradient)
    torch.testing.assert_close(problem.hessian(w, normal.gram).dense()[0] if coupled else _dense(problem, w), hessian)


def _dense(problem: LeastSquares, w: Tensor) -> Tensor:
    return problem.hessian(w, problem.linearise(w).gram).dense()[0]


def test_equations_may_share_intermediate_results():
    """Two equations of one product: its graph must outlive the first derivative."""

    def function(terms: Any, inputs: Any) -> tuple[Tensor, ...]:
        square = terms[0] * terms[0]
        return square - 0.25, square * terms[0] - 0.125

    basis = torch.ones(1, 1, 3, 1, dtype=torch.float64)
    problem = LeastSquares((row_block(function, basis, torch.ones(1, 1, 3, dtype=torch.float64)),))
    found = minimise(problem, LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    torch.testing.assert_close(found.w, torch.full((1, 1, 1), -0.5, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@COUPLED
def test_a_linear_problem_takes_one_step(coupled, scale):
    problem = scaled(least_squares(noise=0.7, curved=0.0, coupled=coupled, patches=3), scale)
    found = minimise(problem, LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    assert int(found.stats["iterations"].max()) == 1


def test_nothing_to_do_takes_no_step():
    """Zero right-hand side: the answer is zero at once."""
    found = minimise(linear(uniform(2, 1, 9, 3), torch.zeros(2, 1, 9, dtype=torch.float64)), LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    assert int(found.stats["iterations"].max()) == 0
    assert float(found.w.abs().max()) == 0.0


@LEVEL
@COUPLED
@pytest.mark.parametrize(("rows", "unknowns"), [(1e6, 1.0), (1e-6, 1.0), (1.0, 1e6), (1.0, 1e-6), (1e-12, 1e12)])
def test_units_do_not_matter(level, coupled, rows, unknowns):
    problem = least_squares(noise=LEVELS[level], coupled=coupled, patches=2)
    plain = minimise(problem, LevenbergMarquardt())
    other = minimise(scaled(problem, rows, unknowns), LevenbergMarquardt())
    assert codes(other.status) == {"CONVERGED"}
    assert int((plain.stats["iterations"] - other.stats["iterations"]).abs().max()) <= 2
    torch.testing.assert_close(other.w * unknowns, plain.w, rtol=1e-6, atol=1e-6)


@LEVEL
def test_each_unknown_may_have_its_own_unit(level):
    problem = least_squares(noise=LEVELS[level])
    units = torch.tensor([1e-6, 1.0, 1e6, 1e3], dtype=torch.float64)
    plain = minimise(problem, LevenbergMarquardt())
    other = minimise(scaled(problem, unknowns=units), LevenbergMarquardt())
    assert codes(other.status) == {"CONVERGED"}
    assert int((plain.stats["iterations"] - other.stats["iterations"]).abs().max()) <= 2
    torch.testing.assert_close(other.w * units, plain.w, rtol=1e-6, atol=1e-6)


@LEVEL
@COUPLED
def test_a_warm_start_at_the_solution_takes_no_step(level, coupled):
    problem = least_squares(noise=LEVELS[level], coupled=coupled, patches=3)
    cold = minimise(problem, LevenbergMarquardt())
    warm = minimise(problem, LevenbergMarquardt(), start=cold.w)
    assert codes(warm.status) == {"CONVERGED"}
    assert int(warm.stats["iterations"].max()) == 0
    torch.testing.assert_close(warm.w, cold.w, rtol=1e-9, atol=1e-12)


def test_a_warm_start_survives_whitening():
    problem = ill_conditioned(1e-8)
    cold = minimise(problem, LevenbergMarquardt())
    assert cold.transform is not None
    warm = minimise(problem, LevenbergMarquardt(), start=cold.w)
    assert codes(warm.status) == {"CONVERGED"}
    assert int(warm.stats["iterations"].max()) <= 1
    basis = problem.rows[0].basis[0]
    torch.testing.assert_close(basis @ warm.w.mT, basis @ cold.w.mT, rtol=1e-7, atol=1e-9)


# Conditioning and rank.


def ill_conditioned(gap: float, batch: int = 1) -> LeastSquares:
    """Columns 0 and 3 differ by ``gap``; the data lie in their span, with weights of order one."""
    basis = uniform(batch, 1, 40, 4, seed=2)
    basis[..., 3] = basis[..., 0] + gap * basis[..., 3]
    return linear(basis, (basis @ torch.tensor([0.5, -1.0, 2.0, 1.5], dtype=torch.float64)))


@pytest.mark.parametrize("gap", [1e-10, 1e-11, 1e-12])
def test_whitening_resolves_a_near_dependent_basis(gap):
    problem = ill_conditioned(gap)
    found = minimise(problem, LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    assert found.stats["rank"].tolist() == [[4]]
    expected = torch.tensor([[[0.5, -1.0, 2.0, 1.5]]], dtype=torch.float64)
    torch.testing.assert_close(found.w, expected, rtol=0, atol=1e-14 / gap)
    assert float(problem.cost(found.w)) < 1e-24


@pytest.mark.parametrize("degree", [6, 12, 20, 28])
def test_an_ill_conditioned_basis_fits_as_well_as_a_rank_revealing_solve(degree):
    """Monomials on [0, 1], condition up to 1e18: what a basis can attain must be attained."""
    x = torch.linspace(0, 1, 200, dtype=torch.float64)
    basis = x[:, None] ** torch.arange(degree + 1)
    data = torch.sin(9 * x) * torch.exp(x)
    problem = linear(basis[None, None], data[None, None])
    found = minimise(problem, LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    rival = torch.linalg.lstsq(basis, data[:, None], rcond=1e-13, driver="gelsd").solution[:, 0]
    size = torch.linalg.vector_norm(data)
    error, best = (torch.linalg.vector_norm(basis @ w - data) / size for w in (found.w[0, 0], rival))
    assert float(error) <= 3 * float(best) + 1e-12


@pytest.mark.parametrize("gap", [1e-14, 1e-15, 1e-16, 0.0])
def test_whitening_drops_what_rounding_hides(gap):
    problem = ill_conditioned(gap)
    found = minimise(problem, LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    assert found.stats["rank"].tolist() == [[3]]
    assert float(problem.cost(found.w)) < 1e-24
    assert float(found.w.abs().max()) < 10.0


@pytest.mark.parametrize("kind", ["equal", "zero", "all zero", "proportional", "many equal"])
@pytest.mark.parametrize("curved", [0.0, 1.0])
def test_a_rank_deficient_basis_is_solved(kind, curved):
    problem = least_squares(noise=0.1, curved=curved, batch=3, unknowns=6)
    reduced = {"equal": [0, 1, 2, 3, 4], "proportional": [0, 1, 2, 3, 4], "zero": [0, 1, 2, 3, 4], "many equal": [0]}
    bases = [s.clone() for s in problem.rows[0].basis]
    for s in bases:
        if kind in ("equal", "proportional"):
            s[1, ..., 5] = (-3.0 if kind == "proportional" else 1.0) * s[1, ..., 0]
        elif kind == "zero":
            s[1, ..., 5] = 0.0
        elif kind == "all zero":
            s[1] = 0.0
        else:
            s[1] = s[1, ..., :1]
    spoilt = LeastSquares((replace(problem.rows[0], basis=tuple(bases)),))
    found = minimise(spoilt, LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    assert bool(torch.isfinite(found.w).all())
    if kind == "all zero":
        assert float(found.w[1].abs().max()) == 0.0
        return
    columns = reduced[kind]
    fewer = LeastSquares((replace(problem.rows[0], basis=tuple(s[..., columns] for s in bases)),))
    expected = minimise(fewer, LevenbergMarquardt())
    torch.testing.assert_close(spoilt.cost(found.w)[1], fewer.cost(expected.w)[1], rtol=1e-7, atol=1e-14)


def test_the_default_ridge_does_not_change_a_well_conditioned_solution():
    problem = least_squares(noise=0.3)
    plain = minimise(problem, LevenbergMarquardt(ridge=FixedRidge(0.0), gtol=1e-12)).w
    torch.testing.assert_close(minimise(problem, LevenbergMarquardt(gtol=1e-12)).w, plain, rtol=1e-11, atol=1e-11)


def test_a_fixed_ridge_minimises_the_penalised_cost():
    basis, data = uniform(1, 1, 20, 3), uniform(1, 1, 20, seed=1)
    found = minimise(linear(basis, data), LevenbergMarquardt(ridge=FixedRidge(0.5))).w[0, 0]
    s = basis[0, 0]
    expected = torch.linalg.solve(s.T @ s + 0.5 * torch.eye(3, dtype=torch.float64), s.T @ data[0, 0])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e7])
def test_the_condition_estimate_is_a_lower_bound_of_the_right_size(condition):
    u, _ = torch.linalg.qr(uniform(30, 5))
    v, _ = torch.linalg.qr(uniform(5, 5, seed=1))
    j = u @ torch.diag(torch.logspace(0, -float(torch.tensor(condition).log10()), 5, dtype=torch.float64)) @ v
    j = j / torch.linalg.vector_norm(j, dim=0)
    true = float(torch.linalg.cond(j))
    found = float(estimated_condition((j.mT @ j)[None, None]))
    assert true / 30 < found < true * 1.01


def test_interfaces_may_determine_what_a_patch_s_own_rows_leave_open():
    """Patch 1 sees differences of its unknowns only; its level comes through the rows shared with patch 0.

    A near-dependent pair of fields asks for whitening: the level must survive it.
    """
    truth = torch.tensor([[1.0, 2.0, -1.0], [1.0, 0.5, 0.3]], dtype=torch.float64)
    basis = uniform(1, 2, 30, 3, seed=3)
    basis[..., 2] = basis[..., 1] + 1e-7 * basis[..., 2]
    basis[:, 1, :, 0] = 0.0
    data = torch.linalg.vecdot(basis, truth[None, :, None, :])
    tied = least_squares(batch=1, patches=2, unknowns=3, coupled=True).interfaces[0]
    right = tied.right.clone()
    right[..., 2] = right[..., 1] + 1e-7 * right[..., 2]
    tied = tied.with_tensors([tied.left, right, torch.zeros_like(tied.offset)])
    tied = tied.with_tensors([tied.left, right, -tied.jump(truth[None])])
    problem = LeastSquares(linear(basis, data).rows, (tied,))
    found = minimise(problem, LevenbergMarquardt())
    assert codes(found.status) == {"CONVERGED"}
    assert float(problem.cost(found.w)) < 1e-20
    torch.testing.assert_close(found.w[0, :, 0], truth[:, 0], rtol=0, atol=1e-5)


# Members of a batch.


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@COUPLED
@LEVEL
def test_a_spoilt_member_leaves_the_others_bit_equal(level, coupled, value):
    problem = least_squares(noise=LEVELS[level], batch=3, coupled=coupled, patches=2)
    clean = minimise(problem, LevenbergMarquardt())
    block = problem.rows[0]
    offset = block.offset[0].clone()
    offset[1, 0, 4] = value
    spoilt = replace(problem, rows=(replace(block, offset=(offset, *block.offset[1:])),))
    found = minimise(spoilt, LevenbergMarquardt())
    assert torch.equal(found.w[[0, 2]], clean.w[[0, 2]])
    assert codes(found.status[[0, 2]]) == {"CONVERGED"}
    failed = [True, True] if coupled else [True, False]
    assert (found.status[1] == SolveStatus.NON_FINITE).tolist() == failed
    assert bool(torch.isfinite(found.w).all())


@COUPLED
def test_a_member_does_not_depend_on_its_company(coupled):
    """Neither on easy neighbours nor on one that needs whitening."""
    problem = least_squares(noise=0.1, batch=3, coupled=coupled, patches=2)
    bases = [s.clone() for s in problem.rows[0].basis]
    for s in bases:
        s[2, ..., 3] = s[2, ..., 0] + 1e-9 * s[2, ..., 3]
    mixed = replace(problem, rows=(replace(problem.rows[0], basis=tuple(bases)),))
    together = minimise(mixed, TIGHT)
    for member in range(2):
        alone = minimise(mixed.with_tensors([_case(t, member) for t in mixed.tensors()]), TIGHT)
        torch.testing.assert_close(together.w[member], alone.w[0], rtol=1e-10, atol=1e-10)
        assert together.stats["iterations"][member].tolist() == alone.stats["iterations"][0].tolist()


def _case(tensor: Tensor, member: int) -> Tensor:
    return tensor[member : member + 1] if tensor.shape[0] > 1 else tensor


def test_rows_of_weight_zero_do_not_count_even_where_they_are_huge():
    problem = least_squares(noise=0.1, patches=2)
    block = problem.rows[0]
    weight = torch.ones(1, 2, 24, dtype=torch.float64)
    weight[:, :, 20:] = 0.0
    padded = LeastSquares((replace(block, weight=weight),))
    cut = LeastSquares(
        (
            replace(
                block,
                basis=tuple(s[:, :, :20] for s in block.basis),
                offset=tuple(g[:, :, :20] for g in block.offset),
                inputs=(*block.inputs[:2], block.inputs[2][:, :, :20]),
            ),
        )
    )
    torch.testing.assert_close(minimise(padded, TIGHT).w, minimise(cut, TIGHT).w, rtol=1e-9, atol=1e-9)


@COUPLED
def test_shapes_of_status_and_statistics(coupled):
    problem = least_squares(batch=3, patches=2, coupled=coupled)
    found = minimise(problem, LevenbergMarquardt())
    assert found.w.shape == (3, 2, 4)
    assert found.status.shape == (3, 2)
    assert found.status.dtype == torch.int64
    assert {name: tuple(value.shape) for name, value in found.stats.items()} == dict.fromkeys(
        ("iterations", "cost", "relative_residual", "stationarity", "rank"), (3, 2)
    )
    assert stationarity(problem.linearise(found.w)).shape == ((3, 1) if coupled else (3, 2))


# Failures.


def scalar(function: Any, start: float, solver: LevenbergMarquardt) -> str:
    basis = torch.ones(1, 1, 2, 1, dtype=torch.float64)
    problem = LeastSquares((row_block(lambda terms, inputs: (function(terms[0]),), basis, basis[..., 0] * start),))
    return SolveStatus(int(minimise(problem, solver).status)).name


FAILURES = {
    SolveStatus.CONVERGED: lambda: scalar(lambda u: u * u - 2.0, 1.0, LevenbergMarquardt()),
    SolveStatus.STEP_CAP: lambda: scalar(lambda u: u**3, 1.0, LevenbergMarquardt(max_steps=3)),
    SolveStatus.NON_FINITE: lambda: scalar(torch.log, -1.0, LevenbergMarquardt()),
    # The sign of the derivative is wrong, so every step climbs.
    SolveStatus.DIVERGED: lambda: scalar(lambda u: 2.0 * u.detach() - u, 1.0, LevenbergMarquardt(max_steps=200)),
}


@pytest.mark.parametrize("status", FAILURES, ids=lambda s: s.name)
def test_each_status_is_reached(status):
    found = FAILURES[status]()
    assert status.name in found if isinstance(found, set) else status.name == found


def test_a_residual_that_turns_nan_on_the_way_is_stepped_around():
    """sqrt(u) - 1/10 from u = 4: the full step lands below zero, a shorter one does not."""
    assert scalar(lambda u: torch.sqrt(u) - 0.1, 4.0, LevenbergMarquardt(max_steps=100)) == "CONVERGED"


def test_failures_raise_with_their_remedy_and_keep_the_codes():
    status = torch.tensor([[0, 1], [3, 0]])
    with pytest.raises(SolveError, match=r"1 of 4 solves ended as STEP_CAP.*raise max_steps.*NON_FINITE") as caught:
        raise_unless_converged(status)
    assert torch.equal(caught.value.status, status)
    raise_unless_converged(torch.zeros(2, 3, dtype=torch.int64))
    assert describe([0, 0]) == "all 2 solves converged"
    assert SolveStatus.CONVERGED.succeeded
    assert all(status.message and not status.succeeded for status in SolveStatus if status)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LevenbergMarquardt(gtol=0.0),
        lambda: LevenbergMarquardt(gtol=float("nan")),
        lambda: LevenbergMarquardt(max_steps=0),
        lambda: LevenbergMarquardt(max_steps=True),
        lambda: LevenbergMarquardt(max_steps=2.5),
        lambda: LevenbergMarquardt(damping=-1.0),
        lambda: LevenbergMarquardt(damping=float("nan")),
        lambda: RelativeRidge(-1.0),
        lambda: FixedRidge(float("nan")),
        lambda: Whitening(threshold=0.5),
        lambda: Whitening(rcond=0.0),
    ],
)
def test_wrong_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"got|needed"):
        make()
