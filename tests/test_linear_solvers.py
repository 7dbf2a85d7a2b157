"""Linear solves: against numpy, derivatives, transforms, null spaces, statuses, bad input; over the registry."""

from __future__ import annotations

import importlib.metadata
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import uniform
from linear_cases import N, Solvable, definite_system, dense, general_system, laplacian, line, pairs, symmetric_system
from torch.autograd import gradcheck, gradgradcheck

from pdesolve.linalg.checks import examine
from pdesolve.linalg.choice import default_solver
from pdesolve.linalg.direct import memory
from pdesolve.linalg.direct.cholmod import Cholmod
from pdesolve.linalg.direct.cudss import CuDSS
from pdesolve.linalg.direct.cupy_lu import CuPyLU
from pdesolve.linalg.direct.dense_lu import DenseLU
from pdesolve.linalg.direct.memory import factor_bytes
from pdesolve.linalg.direct.ordering import ByShape, MinimumDegree, NestedDissection
from pdesolve.linalg.direct.pardiso import PYPARDISO, Pardiso
from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.direct.system import Limits
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.operators.block import BlockOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.diagonal import DiagonalOperator
from pdesolve.linalg.operators.jacobian import JacobianOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.optional import OptionalPackage
from pdesolve.linalg.solve import linear_solve
from pdesolve.status import SolveError, SolveStatus

EYE = torch.eye(3, dtype=torch.float64)
DIRECT = [DenseLU(), SuperLU()]
direct = pytest.mark.parametrize("solver", DIRECT, ids=["dense", "sparse"])


@pytest.fixture(params=pairs())
def pair(request: pytest.FixtureRequest) -> Solvable:
    return request.param


def solution(pair: Solvable):
    return lambda p, b: linear_solve(pair.system.make(p), b, pair.solver.make())[0]


def matrix_of(values) -> SparseOperator:
    """A dense array as a sparse operator that stores every nonzero."""
    matrix = torch.as_tensor(values, dtype=torch.float64)
    rows, columns = matrix.nonzero().unbind(-1)
    return SparseOperator.from_triplets(rows, columns, matrix[rows, columns], tuple(matrix.shape))


def statuses(report) -> list[str]:
    return [SolveStatus(int(code)).name for code in report.status.flatten()]


# Against numpy, over the registry.


def test_agrees_with_numpy(pair):
    operator, b = pair.system.make(pair.parameters()), pair.rhs(2, 3)
    x, report = linear_solve(operator, b, pair.solver.make())
    expected = np.linalg.solve(dense(operator).cpu().numpy(), b.cpu().numpy().reshape(-1, N).T).T.reshape(2, 3, N)
    np.testing.assert_allclose(x.cpu().numpy(), expected, rtol=0, atol=pair.solver.tolerance * np.abs(expected).max())
    assert report.status.shape == (2, 3)
    assert report.converged.all()


def test_transposed_state_solves_with_the_transpose(pair):
    operator, b, solver = pair.system.make(pair.parameters()), pair.rhs(2), pair.solver.make()
    state = solver.init(operator)
    x = solver.compute(solver.transpose(state), b).value
    expected = np.linalg.solve(dense(operator).cpu().numpy().T, b.cpu().numpy().T).T
    np.testing.assert_allclose(x.cpu().numpy(), expected, rtol=0, atol=pair.solver.tolerance * np.abs(expected).max())
    twice = solver.compute(solver.transpose(solver.transpose(state)), b).value
    torch.testing.assert_close(twice, solver.compute(state, b).value, rtol=1e-12, atol=1e-13)


def test_zero_gives_exactly_zero(pair):
    b = pair.rhs(3)
    b[1] = 0
    x, report = linear_solve(pair.system.make(pair.parameters()), b, pair.solver.make())
    assert not x[1].any()
    assert x[0].all()
    assert report.converged.all()


def test_single_precision_in_and_out(pair):
    p, b = pair.parameters(), pair.rhs(2)
    x, _ = linear_solve(pair.system.make(p.float()), b.float(), pair.solver.make())
    assert x.dtype == torch.float32
    exact, _ = linear_solve(pair.system.make(p.float().double()), b.float().double(), pair.solver.make())
    torch.testing.assert_close(x.double(), exact, rtol=1e-5, atol=1e-6)


def test_a_bad_right_hand_side_leaves_the_others_alone(pair):
    operator, b = pair.system.make(pair.parameters()), pair.rhs(3)
    good, _ = linear_solve(operator, b, pair.solver.make())
    b[1, 4] = torch.nan
    x, report = linear_solve(operator, b, pair.solver.make(), throw=False)
    assert statuses(report) == ["CONVERGED", "NON_FINITE", "CONVERGED"]
    torch.testing.assert_close(x[::2], good[::2], rtol=1e-12, atol=1e-13)
    assert not x[1].any()
    assert "b[1, 4] is nan" in report.stats["detail"]


@pytest.mark.parametrize("exponent", [-300, -150, 150, 300])
def test_scale_of_the_right_hand_side_does_not_matter(pair, exponent):
    scale = 2.0**exponent
    operator, b = pair.system.make(pair.parameters()), pair.rhs(1)
    x, report = linear_solve(operator, b * scale, pair.solver.make())
    torch.testing.assert_close(x / scale, linear_solve(operator, b, pair.solver.make())[0], rtol=1e-9, atol=1e-10)
    assert report.converged.all()


# Derivatives and transforms, over the registry.


def test_first_derivatives_and_forward_mode(pair):
    inputs = (pair.parameters().requires_grad_(), pair.rhs(2).requires_grad_())
    assert gradcheck(solution(pair), inputs, check_forward_ad=True)


def test_second_derivatives_and_forward_over_reverse(pair):
    inputs = (pair.parameters().requires_grad_(), pair.rhs(2).requires_grad_())
    assert gradgradcheck(solution(pair), inputs, check_fwd_over_rev=True)


def test_maps(pair):
    """Over right-hand sides, over matrices, over both, and over gradients."""
    solve, p, b = solution(pair), pair.parameters(), pair.rhs(3, 2)
    many = torch.stack([p, 0.5 * p, -p])
    singly = torch.stack([solve(p, v) for v in b])
    close = {"rtol": 1e-10, "atol": 1e-11}
    torch.testing.assert_close(torch.func.vmap(solve, (None, 0))(p, b), singly, **close)
    torch.testing.assert_close(torch.func.vmap(solve, (None, 1))(p, b.transpose(0, 1)), singly, **close)
    torch.testing.assert_close(torch.func.vmap(solve, (0, None))(many, b[0])[0], singly[0], **close)
    both = torch.stack([solve(q, v) for q, v in zip(many, b, strict=True)])
    torch.testing.assert_close(torch.func.vmap(solve)(many, b), both, **close)

    def energy(q, v):
        return solve(q, v).square().sum()

    grads = torch.stack([torch.func.grad(energy)(q, v) for q, v in zip(many, b, strict=True)])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(energy))(many, b), grads, **close)


def test_jacobians_by_both_modes_agree(pair):
    solve, p, b = solution(pair), pair.parameters(), pair.rhs()
    backward, forward = torch.func.jacrev(solve)(p, b), torch.func.jacfwd(solve)(p, b)
    torch.testing.assert_close(backward, forward, rtol=1e-9, atol=1e-10)
    inverse = torch.func.jacrev(solve, argnums=1)(p, b)
    torch.testing.assert_close(inverse @ dense(pair.system.make(p)), torch.eye(N).to(inverse), rtol=0, atol=1e-9)


@dataclass(frozen=True)
class Counting(AbstractLinearSolver):
    """Counts what it is asked for."""

    inner: AbstractLinearSolver = field(default_factory=SuperLU)
    calls: list[str] = field(default_factory=list)

    def init(self, operator):
        self.calls.append("init")
        return self.inner.init(operator)

    def compute(self, state, b):
        self.calls.append("compute")
        return self.inner.compute(state, b)

    def transpose(self, state):
        self.calls.append("transpose")
        return self.inner.transpose(state)


def test_one_factorisation_serves_all_derivatives():
    solver = Counting()
    p, b = uniform(N + 7).requires_grad_(), uniform(N).requires_grad_()
    x, _ = linear_solve(general_system(p), b, solver)
    (grad,) = torch.autograd.grad(x.square().sum(), p, create_graph=True)
    torch.autograd.grad(grad.square().sum(), (p, b))
    assert solver.calls.count("init") == 1
    assert solver.calls.count("transpose") == 1
    kept = Counting()
    state = kept.init(general_system(p))
    for _ in range(3):
        linear_solve(general_system(p), b, kept, state=state)[0].sum().backward()
    assert kept.calls.count("init") == 1


def test_a_mapped_gradient_factorises_each_matrix_once():
    solver = Counting()
    many, b = uniform(3, N + 7), uniform(N)
    torch.func.vmap(torch.func.grad(lambda p: linear_solve(general_system(p), b, solver)[0].square().sum()))(many)
    assert solver.calls.count("init") == 3


def test_cotangents_of_any_size_pass():
    p, b = uniform(N + 7), uniform(N).requires_grad_()
    x, _ = linear_solve(general_system(p), b)
    (small,) = torch.autograd.grad(x.sum() * 1e-300, b, retain_graph=True)
    (plain,) = torch.autograd.grad(x.sum(), b)
    torch.testing.assert_close(small * 1e300, plain)


def test_matrix_free_operators_get_gradients_by_their_products():
    """DenseLU assembles a Jacobian from products; the gradient goes to the point and the parameters."""

    def function(u, weight):
        return weight * u**3 + u.roll(1)

    def solve(u, weight, b):
        return linear_solve(JacobianOperator(function, u, (weight,)), b, DenseLU())[0]

    inputs = (uniform(4).add(2).requires_grad_(), uniform(4, seed=1).add(2).requires_grad_(), uniform(2, 4))
    assert gradcheck(solve, inputs, check_forward_ad=True)
    assert gradgradcheck(solve, inputs, check_fwd_over_rev=True)
    torch.testing.assert_close(
        torch.func.jacfwd(solve)(*inputs).detach(), torch.func.jacrev(solve)(*inputs).detach(), rtol=1e-10, atol=1e-12
    )


def test_block_systems_get_gradients():
    def solve(matrix, diagonal, b):
        corner = DenseOperator(matrix)
        operator = BlockOperator(((corner, DiagonalOperator(diagonal)), (DiagonalOperator(diagonal), None)))
        return linear_solve(operator, b, SuperLU())[0]

    inputs = (uniform(3, 3).requires_grad_(), uniform(3).add(2).requires_grad_(), uniform(6))
    assert gradcheck(solve, inputs, check_forward_ad=True)


# Batches of matrices.


def test_batches_of_matrices_broadcast():
    matrix, b = uniform(2, 1, 4, 4) + 3 * torch.eye(4, dtype=torch.float64), uniform(5, 2, 3, 4)
    x, report = linear_solve(DenseOperator(matrix), b)
    torch.testing.assert_close(x, torch.linalg.solve(matrix, b.unsqueeze(-1)).squeeze(-1))
    assert report.status.shape == (5, 2, 3)
    one, _ = linear_solve(DenseOperator(matrix), b[0, 0, 0])
    assert one.shape == (2, 1, 4)
    wanted = (matrix.clone().requires_grad_(), b.clone().requires_grad_())
    assert gradcheck(lambda m, v: linear_solve(DenseOperator(m), v)[0], wanted, fast_mode=True)


def test_a_bad_matrix_leaves_the_others_alone():
    """One member each: sound, NaN, an empty row, singular, unsymmetric, indefinite; only two are what they claim."""
    sound = 2 * EYE + 0.1
    matrices = sound.repeat(6, 1, 1)
    matrices[1, 0, 2] = torch.nan
    matrices[2, 1] = matrices[2, :, 1] = 0
    matrices[3] = torch.diag(torch.tensor([1.0, 1.0, 0.0])) + torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    matrices[3, 1, 1] = matrices[3, 2, 2] = 1
    matrices[4, 0, 1] += 1
    matrices[5, 0, 0] = -1
    b, claimed = uniform(3), matrices.clone().requires_grad_()
    x, report = linear_solve(DenseOperator(claimed, positive_definite=True), b, throw=False)
    names = ["CONVERGED", "NON_FINITE", "SINGULAR", "INDEFINITE", "UNSYMMETRIC", "INDEFINITE"]
    assert statuses(report) == names
    torch.testing.assert_close(x[0], torch.linalg.solve(sound, b))
    assert torch.equal(x[0], linear_solve(DenseOperator(sound, positive_definite=True), b)[0])
    (grad,) = torch.autograd.grad(x.sum(), claimed)
    assert grad.isfinite().all()
    assert not grad[1:].any()
    unclaimed, report = linear_solve(DenseOperator(matrices), b, throw=False)
    assert statuses(report) == ["CONVERGED", "NON_FINITE", "SINGULAR", "SINGULAR", "CONVERGED", "CONVERGED"]
    assert unclaimed.isfinite().all()


# Null spaces.


@direct
@pytest.mark.parametrize("claimed", [False, True])
def test_neumann_problems_get_the_solution_of_zero_mean(solver, claimed):
    operator = laplacian(6, 5, ends=1.0, definite=claimed)
    b = uniform(2, 30)
    b = b - b.mean(-1, keepdim=True)
    x, report = linear_solve(operator, b, solver)
    torch.testing.assert_close(x, b @ torch.linalg.pinv(dense(operator)).mT)
    torch.testing.assert_close(x.mean(-1), torch.zeros(2, dtype=torch.float64))
    assert "null space" in report.stats["detail"]


@direct
def test_periodic_and_one_sided_null_spaces(solver):
    """Upwind advection on a ring; and matrices of which only the rows, or only the columns, add up to zero."""
    n = 7
    unit = torch.eye(n, dtype=torch.float64)
    ring = 3 * unit - unit.roll(1, 0) - 2 * unit.roll(-1, 0)
    weights = torch.linspace(1, 2, n, dtype=torch.float64)
    for matrix in (ring, weights[:, None] * ring, weights * ring):
        b = matrix @ uniform(n)
        x, report = linear_solve(matrix_of(matrix), b, solver)
        torch.testing.assert_close(x, torch.linalg.pinv(matrix) @ b)
        assert report.converged.all()


@direct
def test_incompatible_right_hand_sides_are_told_apart(solver):
    operator = laplacian(6, 5, ends=1.0)
    b = uniform(3, 30)
    b[1] -= b[1].mean()
    x, report = linear_solve(operator, b, solver, throw=False)
    assert statuses(report) == ["INCOMPATIBLE", "CONVERGED", "INCOMPATIBLE"]
    assert x.isfinite().all()
    with pytest.raises(SolveError, match=r"INCOMPATIBLE.*subtract the \(weighted\) mean"):
        linear_solve(operator, b, solver)


@direct
def test_gradient_of_a_neumann_problem_is_that_of_the_pseudo_inverse(solver):
    """Conductances on the edges of a ring keep the null space; so do right-hand sides made compatible."""
    n = 6
    a, c = torch.arange(n), torch.arange(n).roll(-1)
    rows, columns = torch.cat([a, c, a, c]), torch.cat([a, c, c, a])

    def solve(conductance, b):
        values = torch.cat([conductance, conductance, -conductance, -conductance])
        operator = SparseOperator.from_triplets(rows, columns, values, (n, n), symmetric=True)
        return linear_solve(operator, b - b.mean(-1, keepdim=True), solver)[0]

    inputs = (uniform(n).add(2).requires_grad_(), uniform(2, n).requires_grad_())
    assert gradcheck(solve, inputs, check_forward_ad=True)
    assert gradgradcheck(solve, inputs, check_fwd_over_rev=True)


def test_two_null_spaces_are_singular():
    """Two separate Neumann problems: constants on each of them."""
    matrix = torch.block_diag(line(3, 1.0), line(4, 1.0))
    b = matrix @ uniform(7)
    for solver in DIRECT:
        _, report = linear_solve(matrix_of(matrix), b, solver, throw=False)
        assert statuses(report) == ["SINGULAR"]


def test_null_spaces_in_a_batch_belong_to_their_members():
    matrix = torch.stack([line(5, 1.0), line(5, 2.0)])
    b = (matrix @ uniform(5, 1)).squeeze(-1)
    x, report = linear_solve(DenseOperator(matrix, symmetric=True), b)
    torch.testing.assert_close(x, (torch.linalg.pinv(matrix) @ b.unsqueeze(-1)).squeeze(-1))
    assert report.converged.all()


# Statuses: every failure by name, with its detail.


@direct
@pytest.mark.parametrize(
    ("operator", "name", "detail"),
    [
        (lambda: matrix_of(EYE).with_tensors([torch.tensor([1.0, torch.nan, 1.0]).double()]), "NON_FINITE", "is nan"),
        (lambda: matrix_of([[1.0, 1, 0], [0, 0, 0], [0, 1, 1]]), "SINGULAR", "row 1 is empty"),
        (lambda: matrix_of([[1.0, 0, 1], [1, 0, 0], [0, 0, 1]]), "SINGULAR", "column 1 is empty"),
        (lambda: matrix_of([[1.0, 2, 3], [2, 4, 6], [1, 1, 1]]), "SINGULAR", ""),
        (lambda: matrix_of([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]), "SINGULAR", ""),
        (lambda: matrix_of([[1.0, 1], [1, 1 + 3e-16]]), "SINGULAR", "condition estimate"),
        (lambda: matrix_of([[1.0, 1], [1, 1 + 3e-15]]), "ILL_CONDITIONED", "condition estimate"),
    ],
    ids=["nan", "empty row", "empty column", "multiple", "dependent", "nearly dependent", "ill-conditioned"],
)
def test_bad_matrices_end_with_a_reason(operator, name, detail, solver):
    operator = operator()
    operator = operator if isinstance(solver, SuperLU) else DenseOperator(dense(operator))
    b = uniform(2, operator.shape[0])
    x, report = linear_solve(operator, b, solver, throw=False)
    assert statuses(report) == [name] * 2
    assert detail in report.stats["detail"]
    assert x.isfinite().all()
    with pytest.raises(SolveError, match=name):
        linear_solve(operator, b, solver)


def test_non_finite_values_are_named_with_their_place():
    operator = matrix_of([[1.0, 0, 2], [0, 1, 0], [3, 0, 1]])
    values = operator.values.clone()
    values[3] = torch.nan
    with pytest.raises(SolveError, match=r"values\[3\] is nan, at row 2, column 0"):
        linear_solve(operator.with_tensors([values]), EYE[0])
    with pytest.raises(SolveError, match=r"matrix\[1, 0\] is -inf"):
        linear_solve(DenseOperator(EYE - torch.tensor([[0.0], [torch.inf], [0]]) * torch.eye(1, 3)), EYE[0])


@direct
def test_false_declarations_are_refuted(solver):
    unsymmetric = matrix_of([[2.0, 1, 0], [0.5, 2, 0], [0, 0, 2]])
    pattern = matrix_of([[2.0, 1, 0], [0, 2, 0], [0, 0, 2]])
    negative = matrix_of([[2.0, 0, 0], [0, -2, 0], [0, 0, 2]])
    indefinite = matrix_of([[1.0, 2, 0], [2, 1, 0], [0, 0, 2]])
    cases = [(unsymmetric, False, "UNSYMMETRIC"), (pattern, False, "UNSYMMETRIC"), (unsymmetric, True, "UNSYMMETRIC")]
    for operator, definite, name in [*cases, (negative, True, "INDEFINITE"), (indefinite, True, "INDEFINITE")]:
        sparse = SparseOperator(operator.pattern, operator.values, symmetric=True, positive_definite=definite)
        full = DenseOperator(dense(operator), symmetric=True, positive_definite=definite)
        for claimed in (sparse, full):
            _, report = linear_solve(claimed, EYE[:1], solver, throw=False)
            assert statuses(report) == [name]
    with pytest.raises(SolveError, match=r"declared symmetric and is not.*row 0 differs from column 0"):
        linear_solve(SparseOperator(unsymmetric.pattern, unsymmetric.values, symmetric=True), EYE[0], SuperLU())


def test_true_declarations_survive_round_off():
    """Assembled in single precision, entry by entry in another order."""
    b = uniform(N).float()
    operator = definite_system(uniform(N + 7).float())
    noise = 1 + 1e-7 * uniform(operator.values.shape[0]).float()
    noisy = SparseOperator(operator.pattern, operator.values * noise, positive_definite=True)
    assert linear_solve(noisy, b)[1].converged


def test_matrix_free_declarations_are_probed():
    ahead = JacobianOperator(lambda u: u + 0.5 * u.roll(1), uniform(4), symmetric=True)
    assert int(examine(ahead).status) == SolveStatus.UNSYMMETRIC
    below = JacobianOperator(lambda u: -u, uniform(4), positive_definite=True)
    assert int(examine(below).status) == SolveStatus.INDEFINITE
    sound = JacobianOperator(lambda u: 2 * u, uniform(4), positive_definite=True)
    assert int(examine(sound).status) == SolveStatus.CONVERGED
    lost = JacobianOperator(lambda u, w: w * u, uniform(4), (torch.tensor([1.0, torch.nan, 1, 1]).double(),))
    assert examine(lost).detail == "tensors()[1][1] is nan"


@direct
def test_limits_decide_what_counts(solver):
    b = uniform(1, N)
    operator = DenseOperator(dense(general_system(uniform(N + 7))))
    strict = type(solver)(limits=Limits(backward_error=1e-30))
    assert statuses(linear_solve(operator, b, strict, throw=False)[1]) == ["INACCURATE"]
    narrow = type(solver)(limits=Limits(condition=1.0001))
    assert statuses(linear_solve(operator, b, narrow, throw=False)[1]) == ["ILL_CONDITIONED"]
    for name in ("backward_error", "condition", "compatibility"):
        with pytest.raises(ValueError, match=f"{name} must be positive, not 0"):
            Limits(**{name: 0.0})


def test_overflow_is_a_status():
    tiny = DenseOperator(1e-200 * EYE)
    x, report = linear_solve(tiny, 1e200 * EYE[:1], throw=False)
    assert statuses(report) == ["NON_FINITE"]
    assert not x.any()
    assert "overflows" in report.stats["detail"]


@direct
def test_rows_and_columns_of_very_different_scales(solver):
    """Rows times 1e±12 and columns times 1e±12: the solution is that of the balanced system."""
    matrix = dense(general_system(uniform(N + 7)))
    rows = 10.0 ** torch.tensor([12, -12, 0, 6, -6, 12], dtype=torch.float64)
    columns = 10.0 ** torch.tensor([-12, 0, 12, 3, -12, 9], dtype=torch.float64)
    b = uniform(N)
    x, report = linear_solve(matrix_of(rows[:, None] * matrix * columns), rows * b, solver)
    torch.testing.assert_close(x * columns, torch.linalg.solve(matrix, b), rtol=1e-11, atol=1e-12)
    assert float(report.stats["condition"]) < 100


def test_failed_members_give_and_take_no_gradient():
    p, b = uniform(N + 7).requires_grad_(), uniform(2, N)
    b[0, 0] = torch.inf
    b.requires_grad_()
    x, _ = linear_solve(general_system(p), b, throw=False)
    to_p, to_b = torch.autograd.grad(x.sum(), (p, b))
    assert to_p.isfinite().all()
    assert to_p.any()
    assert not to_b[0].any()
    assert to_b[1].all()


@dataclass(frozen=True)
class OneWay(AbstractLinearSolver):
    """Fails with the transpose."""

    def init(self, operator):
        return SuperLU().init(operator)

    def compute(self, state, b):
        return SuperLU().compute(state, b)

    def transpose(self, state):
        return SuperLU(Limits(backward_error=1e-30)).init(state.matrix.T)


def test_a_failure_in_the_backward_pass_is_never_silent(caplog):
    b = uniform(N).requires_grad_()
    x, _ = linear_solve(general_system(uniform(N + 7)), b, OneWay())
    with pytest.raises(SolveError, match="INACCURATE"):
        x.sum().backward()
    x, _ = linear_solve(general_system(uniform(N + 7)), b, OneWay(), throw=False)
    with caplog.at_level(logging.WARNING):
        (grad,) = torch.autograd.grad(x.sum(), b)
    assert not grad.any()
    assert "1 of 1 solves of a derivative failed" in caplog.text


# Bad calls.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_solve(DenseOperator(uniform(3, 4)), uniform(3)), ValueError, r"square, not \(3, 4\)"),
        (lambda: linear_solve(DenseOperator(uniform(0, 0)), uniform(0)), ValueError, "no rows"),
        (lambda: linear_solve(DenseOperator(EYE), uniform(4)), ValueError, r"\(..., 3\), not \(4,\)"),
        (lambda: linear_solve(DenseOperator(EYE), torch.ones((), dtype=torch.float64)), ValueError, r"not \(\)"),
        (lambda: linear_solve(DenseOperator(EYE), torch.ones(3, dtype=torch.int64)), TypeError, "b must be float32"),
        (lambda: linear_solve(DenseOperator(EYE), torch.ones(3, dtype=torch.complex128)), TypeError, "imaginary"),
        (lambda: linear_solve(DenseOperator(EYE), [1.0, 2.0, 3.0]), TypeError, "must be a tensor, not list"),
        (lambda: linear_solve(DenseOperator(EYE), torch.ones(3)), TypeError, "b is torch.float32, the operator"),
        (lambda: linear_solve(DenseOperator(EYE), EYE[0].to("meta")), ValueError, "b lies on meta"),
        (lambda: linear_solve(DenseOperator(EYE), EYE[0], state=object()), ValueError, "give that solver too"),
        (lambda: linear_solve(JacobianOperator(torch.sin, EYE[0]), EYE[0]), TypeError, "use a Krylov solver"),
        (lambda: Cholmod().init(DenseOperator(EYE)), ValueError, "needs an operator with positive_definite=True"),
        (lambda: CuDSS().init(DenseOperator(EYE)), TypeError, "CUDA device, not cpu"),
        (lambda: CuPyLU().init(DenseOperator(EYE)), TypeError, "CUDA device, not cpu"),
        (lambda: SuperLU(pivot_threshold=2.0), ValueError, "must lie in 0 ... 1, not 2.0"),
    ],
)
def test_bad_calls_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("make", [general_system, lambda v: DenseOperator(dense(general_system(v)))])
def test_a_change_in_place_before_the_backward_pass_raises(make):
    operator = make(uniform(N + 7))
    b = uniform(N).requires_grad_()
    x, _ = linear_solve(operator, b)
    operator.tensors()[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        x.sum().backward()


def test_a_stale_state_is_noticed():
    operator = general_system(uniform(N + 7))
    solver = SuperLU()
    state = solver.init(operator)
    values = operator.values.clone()
    operator.values.mul_(1.5)
    x, _ = linear_solve(operator, uniform(N), solver, state=state, throw=False)
    expected, _ = linear_solve(operator.with_tensors([values]), uniform(N))
    torch.testing.assert_close(x, expected)  # the state holds a matrix of its own


def test_missing_and_old_back_ends_say_how_to_install_them(monkeypatch):
    absent = OptionalPackage("nowhere", ("no-such-package",), (1,), "pip install no-such-package")
    with pytest.raises(ImportError, match="no-such-package is not installed: pip install"):
        absent.load()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.3.1")
    with pytest.raises(ImportError, match=r"pypardiso 0.3.1 is installed, 0.4 or newer is needed: pip install"):
        PYPARDISO.load()
    with pytest.raises(ImportError, match="pypardiso"):
        Pardiso().init(DenseOperator(EYE))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.0")
    with pytest.raises(ImportError, match=r"no-such-package 9.0 does not start"):
        absent.load()


def test_a_factorisation_that_does_not_fit_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda device: 1e5)
    for call in (
        lambda: SuperLU().init(laplacian(30, 30)),
        lambda: DenseLU().init(laplacian(30, 30)),
    ):
        with pytest.raises(MemoryError, match=r"GiB on cpu.*CG with multigrid"):
            call()


def test_memory_that_runs_out_after_all_is_told_with_the_remedy(monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("scipy.sparse.linalg.splu", full)
    with pytest.raises(MemoryError, match=r"900 unknowns did not fit.*CG with multigrid"):
        SuperLU().init(laplacian(30, 30))


@pytest.mark.parametrize("sizes", [(160, 160), (28, 28, 28), (20, 1200), (25000,)], ids=str)
def test_memory_estimate_is_of_the_right_size(sizes):
    operator = laplacian(*sizes)
    filled = SuperLU().init(operator).factor.fill
    assert 0.5 < factor_bytes(operator) / (memory._BYTES * filled) < 4


@pytest.mark.parametrize("symmetric", [True, False])
def test_orderings_give_the_same_solution(symmetric):
    """On a solid grid of 17³ unknowns dissection is chosen, and fills less than minimum degree."""
    operator = laplacian(17, 17, 17, definite=symmetric)
    if not symmetric:
        wind = operator.values * (1 + 0.2 * (operator.pattern.rows < operator.pattern.columns))
        operator = SparseOperator(operator.pattern, wind)
    b, fills = uniform(2, 17**3), []
    for ordering in (ByShape(), NestedDissection(), MinimumDegree()):
        solver = SuperLU(ordering=ordering)
        state = solver.init(operator)
        x, adjoint = solver.compute(state, b).value, solver.compute(state.T, b).value
        torch.testing.assert_close(operator.mv(x), b, rtol=0, atol=1e-12)
        torch.testing.assert_close(operator.rmv(adjoint), b, rtol=0, atol=1e-12)
        fills.append(state.factor.fill)
    assert fills[0] == fills[1] < fills[2]
    assert SuperLU().ordering.order(laplacian(80, 80).pattern) is None


def test_available_memory_is_read():
    assert 1e8 < memory.available_memory(torch.device("cpu")) < 1e14


@pytest.mark.gpu
def test_available_memory_on_cuda():
    assert 1e8 < memory.available_memory(torch.device("cuda")) < 1e13


# What is chosen when nothing is given.


def test_default_solver_goes_by_structure():
    sparse, full = symmetric_system(uniform(N + 7)), DenseOperator(EYE)
    assert isinstance(default_solver(sparse), SuperLU)
    assert isinstance(default_solver(sparse.T), SuperLU)
    assert isinstance(default_solver(2 * full.T), DenseLU)
    assert isinstance(default_solver(full + DiagonalOperator(EYE[0])), DenseLU)


@pytest.mark.gpu
def test_default_solver_on_cuda_solves():
    operator = general_system(uniform(N + 7).cuda())
    x, _ = linear_solve(operator, uniform(N).cuda())
    assert x.device.type == "cuda"
    assert not isinstance(default_solver(operator), DenseLU)


def test_linear_pieces_of_a_grid_problem():
    """-Δu = f on 31 x 33 nodes with the exact discrete eigenfunction."""
    n, m = 31, 33
    i, j = (torch.arange(1, k + 1, dtype=torch.float64) * torch.pi / (k + 1) for k in (n, m))
    u = (i.sin()[:, None] * (2 * j).sin()).flatten()
    eigenvalue = 4 - 2 * torch.cos(i[0]) - 2 * torch.cos(2 * j[0])
    x, report = linear_solve(laplacian(n, m), eigenvalue * u)
    torch.testing.assert_close(x, u, rtol=0, atol=1e-12)
    assert 1e2 < float(report.stats["condition"]) < 1e4
    assert report.stats["fill"] > n * m


def test_the_examples_of_the_page_run():
    page = Path(__file__).resolve().parents[1] / "docs" / "sparse_solves.md"
    first, second, third = (part.split("```")[0] for part in page.read_text(encoding="utf-8").split("```python\n")[1:])
    names: dict[str, Any] = {}
    exec(compile(first, str(page), "exec"), names)
    n, u = names["n"], names["u"].detach()
    x = torch.arange(1, n + 1, dtype=torch.float64)
    torch.testing.assert_close(u, x * (n + 1 - x) / 2)
    assert names["kappa"].grad.shape == (n + 1,)
    assert (names["kappa"].grad <= 0).all()
    exec(compile(second, str(page), "exec"), names)
    assert bool(names["report"].converged.all())
    assert names["a"].grad.shape == (64, 64, 64)
    assert (names["a"].grad.sum() < 0).all()
    exec(compile(third, str(page), "exec"), names)
    assert bool(names["report"].converged)
    assert float(names["rate"].grad) > 0  # more heat, higher temperature


@pytest.mark.parametrize("n", [2, 4, 6])
@pytest.mark.parametrize("solver", [DenseLU(), SuperLU()], ids=["DenseLU", "SuperLU"])
def test_a_null_vector_of_few_equal_entries_is_not_missed(solver, n):
    """Pairs of unknowns that are tied to each other up to 1e-14; plain random signs cancel on them."""
    unit = torch.eye(n // 2, dtype=torch.float64)
    tie = -(1.0 - 1e-14) * unit
    matrix = torch.cat([torch.cat([unit, tie], 1), torch.cat([tie, unit], 1)])
    _, report = linear_solve(DenseOperator(matrix), uniform(n), solver, throw=False)
    assert report.status.item() != SolveStatus.CONVERGED


def test_forward_mode_over_forward_mode_is_right_or_refused():
    """torch would leave a part out without a word: what was 0.54 came out as zero."""
    unit = torch.eye(2, dtype=torch.float64)
    pattern = SparseOperator.from_torch(unit.to_sparse_coo()).pattern

    def solved(a):
        return linear_solve(DenseOperator((1 + a + a * a) * unit), torch.ones(2).double())[0].sum()

    def product(a):
        return SparseOperator(pattern, a * a * torch.ones(2).double()).mv(torch.sin(a) * torch.ones(2).double()).sum()

    a = torch.tensor(0.3).double()
    with pytest.raises(NotImplementedError, match="forward mode over forward mode"):
        torch.func.jacfwd(torch.func.jacfwd(solved))(a)
    expected = torch.func.jacrev(torch.func.jacrev(product))(a)
    torch.testing.assert_close(torch.func.jacfwd(torch.func.jacfwd(product))(a), expected)
    for function in (solved, product):
        twice = torch.func.jacrev(torch.func.jacrev(function))(a)
        torch.testing.assert_close(torch.func.hessian(function)(a), twice)
        torch.testing.assert_close(torch.func.jacrev(torch.func.jacfwd(function))(a), twice)
