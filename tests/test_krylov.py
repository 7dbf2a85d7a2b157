"""Krylov solvers: steps against theory, statuses, masks, null spaces, preconditioners (more in test_linear_solvers)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from helpers import seeded, uniform
from linear_cases import laplacian
from torch import Tensor

from pdesolve.linalg.krylov.bicgstab import BiCGStab
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.krylov.fgmres import FGMRES
from pdesolve.linalg.krylov.minres import MINRES
from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner, Identity, Jacobi, diagonal_of
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.diagonal import DiagonalOperator
from pdesolve.linalg.operators.jacobian import JacobianOperator
from pdesolve.linalg.solve import linear_solve
from pdesolve.status import SolveError, SolveStatus

ALL = [CG(), MINRES(), FGMRES(), BiCGStab()]
every = pytest.mark.parametrize("solver", ALL, ids=lambda solver: type(solver).__name__)
any_matrix = pytest.mark.parametrize("solver", [FGMRES(), BiCGStab()], ids=["FGMRES", "BiCGStab"])


def rotated(eigenvalues: Tensor, *, definite: bool = True) -> DenseOperator:
    """A symmetric matrix with these eigenvalues."""
    n = eigenvalues.shape[0]
    q = torch.linalg.qr(uniform(n, n, seed=3))[0]
    matrix = q * eigenvalues @ q.mT
    return DenseOperator(0.5 * (matrix + matrix.mT), symmetric=True, positive_definite=definite)


def statuses(status: Tensor) -> list[str]:
    return [SolveStatus(int(code)).name for code in status.flatten()]


def relative(operator: DenseOperator, x: Tensor, b: Tensor) -> Tensor:
    return (b - operator.mv(x)).norm(dim=-1) / b.norm(dim=-1)


@every
def test_true_residual_meets_the_tolerance_and_is_reported(solver: AbstractLinearSolver) -> None:
    operator, b = rotated(torch.linspace(1, 300, 80, dtype=torch.float64)), uniform(3, 2, 80)
    x, report = linear_solve(operator, b, solver)
    assert (relative(operator, x, b) <= 1e-10).all()
    torch.testing.assert_close(report.stats["relative_residual"], relative(operator, x, b), rtol=1e-2, atol=1e-15)
    assert report.stats["iterations"].shape == (3, 2)


def test_cg_keeps_its_bound_and_ends_after_as_many_steps_as_eigenvalues() -> None:
    few = rotated(torch.tensor([1.0, 4.0, 9.0, 25.0], dtype=torch.float64).repeat_interleave(10))
    state = CG().init(few)
    assert int(CG().compute(state, uniform(40)).stats["iterations"]) == 4
    kappa = 100.0
    operator, b = rotated(torch.linspace(1, kappa, 60, dtype=torch.float64)), uniform(60)
    exact = torch.linalg.solve(operator.matrix, b)
    factor = (kappa**0.5 - 1) / (kappa**0.5 + 1)
    for steps in (5, 10, 20):
        x = CG(max_steps=steps).compute(CG().init(operator), b).value
        error, start = ((v * operator.mv(v)).sum().sqrt() for v in (x - exact, exact))
        assert error <= 2 * factor**steps * start


def test_minres_and_gmres_minimise_the_same_residual() -> None:
    """Both are the smallest over the same space, so equal; CG's, on another matrix, only bounded by it."""
    signs = torch.where(torch.arange(60) % 4 == 0, -1.0, 1.0)
    operator = rotated(signs * torch.linspace(1, 30, 60, dtype=torch.float64), definite=False)
    b = uniform(60)
    previous = 1.0
    for steps in (3, 9, 17):
        by_lanczos = MINRES(max_steps=steps).compute(MINRES().init(operator), b)
        by_arnoldi = FGMRES(max_steps=steps).compute(FGMRES().init(operator), b)
        one, two = by_lanczos.stats["relative_residual"], by_arnoldi.stats["relative_residual"]
        torch.testing.assert_close(one, two, rtol=1e-6, atol=0)
        assert one <= previous
        previous = one


def test_restarts_reach_the_solution() -> None:
    operator = DenseOperator(uniform(40, 40) + 8 * torch.eye(40, dtype=torch.float64))
    b = uniform(2, 40)
    x, report = linear_solve(operator, b, FGMRES(restart=7))
    assert (relative(operator, x, b) <= 1e-10).all()
    assert (report.stats["iterations"] > 7).all()


@any_matrix
def test_convection(solver: AbstractLinearSolver) -> None:
    n = 200
    wind = torch.ones(n - 1, dtype=torch.float64)
    operator = DenseOperator(2.5 * torch.eye(n, dtype=torch.float64) - 1.8 * wind.diag(-1) - 0.6 * wind.diag(1))
    b = uniform(3, n)
    assert (relative(operator, linear_solve(operator, b, solver)[0], b) <= 1e-10).all()
    state = solver.init(operator)
    x = solver.compute(solver.transpose(state), b).value
    assert ((b - operator.rmv(x)).norm(dim=-1) <= 1e-10 * b.norm(dim=-1)).all()


# Members of a batch.


@every
def test_members_stop_on_their_own(solver: AbstractLinearSolver) -> None:
    """An easy member, zero, NaN and a hard member: each as if it were alone."""
    values = torch.linspace(1, 200, 50, dtype=torch.float64)
    operator = rotated(values)
    easy = torch.linalg.eigh(operator.matrix)[1][:, 7]
    b = torch.stack([easy, torch.zeros_like(easy), torch.full_like(easy, torch.nan), uniform(50)])
    state = solver.init(operator)
    together = solver.compute(state, b)
    assert statuses(together.status) == ["CONVERGED", "CONVERGED", "NON_FINITE", "CONVERGED"]
    steps = together.stats["iterations"]
    assert steps[0] <= 2
    assert steps[3] > 20
    assert not together.value[1:3].any()
    alone = solver.compute(state, b[3])
    torch.testing.assert_close(together.value[3], alone.value, rtol=1e-9, atol=1e-11)
    assert abs(int(alone.stats["iterations"]) - int(steps[3])) <= 1


@every
def test_a_bad_matrix_leaves_the_others_alone(solver: AbstractLinearSolver) -> None:
    good = rotated(torch.linspace(1, 9, 12, dtype=torch.float64)).matrix
    operator = DenseOperator(torch.stack([good, torch.full_like(good, torch.nan)]), symmetric=True)
    b = uniform(3, 2, 12)
    result = solver.compute(solver.init(operator), b)
    assert statuses(result.status) == ["CONVERGED", "NON_FINITE"] * 3
    expected = torch.linalg.solve(good, b[:, 0].mT).mT
    torch.testing.assert_close(result.value[:, 0], expected, rtol=1e-8, atol=1e-9)
    assert result.value.isfinite().all()


# Statuses.


@every
def test_step_cap_keeps_what_was_found(solver: AbstractLinearSolver) -> None:
    operator, b = rotated(torch.linspace(1, 500, 90, dtype=torch.float64)), uniform(2, 90)
    short = replace(solver, max_steps=6)  # type: ignore[type-var]
    result = short.compute(short.init(operator), b)
    assert statuses(result.status) == ["STEP_CAP"] * 2
    assert (relative(operator, result.value, b) < 1).all()
    with pytest.raises(SolveError, match="raise max_steps"):
        linear_solve(operator, b, short)


def test_cg_finds_indefiniteness() -> None:
    values = torch.linspace(1, 9, 30, dtype=torch.float64)
    values[11] = -2.0
    operator = rotated(values, definite=False)
    assert statuses(CG().compute(CG().init(operator), uniform(2, 30)).status) == ["INDEFINITE"] * 2


@dataclass(frozen=True)
class Negative(AbstractPreconditioner):
    """-I, which no symmetric method can use."""

    def init(self, operator: object) -> None:
        return None

    def apply(self, state: None, r: Tensor) -> Tensor:
        return -r

    def transpose(self, state: None) -> None:
        return None


@pytest.mark.parametrize("solver", [CG(Negative()), MINRES(Negative())], ids=["CG", "MINRES"])
def test_an_indefinite_preconditioner_is_found(solver: AbstractLinearSolver) -> None:
    operator = rotated(torch.linspace(1, 9, 30, dtype=torch.float64))
    assert statuses(solver.compute(solver.init(operator), uniform(2, 30)).status) == ["BREAKDOWN"] * 2


@every
def test_a_singular_system_gives_no_number(solver: AbstractLinearSolver) -> None:
    values = torch.linspace(0, 9, 30, dtype=torch.float64)
    result = solver.compute(solver.init(rotated(values, definite=False)), uniform(30))
    assert statuses(result.status) != ["CONVERGED"]


def test_gmres_that_stagnates_says_so() -> None:
    """The shift matrix: no progress before step n."""
    shift = DenseOperator(torch.eye(12, dtype=torch.float64).roll(1, 0))
    b = torch.eye(12, dtype=torch.float64)[0]
    stuck = FGMRES(restart=6)
    assert statuses(stuck.compute(stuck.init(shift), b).status) == ["BREAKDOWN"]
    x, _ = linear_solve(shift, b, FGMRES(restart=12))
    torch.testing.assert_close(shift.mv(x), b)


def test_bicgstab_breaks_down_on_a_rotation() -> None:
    rotation = DenseOperator(torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64))
    b = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert statuses(BiCGStab().compute(BiCGStab().init(rotation), b).status) == ["BREAKDOWN"]
    torch.testing.assert_close(linear_solve(rotation, b, FGMRES())[0], rotation.matrix.mT @ b)


@dataclass(frozen=True)
class Alternating(AbstractPreconditioner):
    """L diag(1 + ε) L^T with L L^T = A⁻¹ and two ε of 10 % by turns."""

    factor: Tensor
    calls: list[int] = field(default_factory=list)

    def init(self, operator: object) -> None:
        return None

    def apply(self, state: None, r: Tensor) -> Tensor:
        self.calls.append(1)
        noise = uniform(2, r.shape[-1], seed=4)[len(self.calls) % 2]
        return self.factor @ ((1 + 0.1 * noise) * (self.factor.mT @ r))

    def transpose(self, state: None) -> None:
        return None


@pytest.mark.parametrize("solver", [CG, FGMRES])
def test_a_preconditioner_that_changes(solver: type[CG]) -> None:
    """The textbook's β takes 13 steps here."""
    operator, b = rotated(torch.linspace(1, 20, 60, dtype=torch.float64)), uniform(60)
    factor = torch.linalg.cholesky(torch.linalg.inv(operator.matrix))
    x, report = linear_solve(operator, b, solver(Alternating(factor)))
    assert relative(operator, x, b) <= 1e-10
    assert int(report.stats["iterations"]) <= 10


@dataclass(frozen=True, eq=False)
class Glitching(AbstractLinearOperator):
    """A dense matrix whose products are wrong by 1e-4 while ``sound`` does not hold for their number."""

    matrix: Tensor
    sound: Callable[[int], bool]
    calls: list[int] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def mv(self, x: Tensor) -> Tensor:
        self.calls.append(1)
        return self.matrix @ x * (1.0 if self.sound(len(self.calls)) else 1.0 + 1e-4 * len(self.calls))

    def rmv(self, y: Tensor) -> Tensor:
        return self.matrix.mT @ y

    def tensors(self) -> list[Tensor]:
        return [self.matrix]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Glitching:
        return replace(self, matrix=tensors[0])


@pytest.mark.parametrize("solver", [CG(), MINRES(), BiCGStab()], ids=lambda solver: type(solver).__name__)
def test_a_recursive_residual_that_lies_is_found_out(solver: AbstractLinearSolver) -> None:
    """After some wrong products the iteration starts once more; where they stay wrong the status says so."""
    matrix = rotated(torch.linspace(1, 4, 30, dtype=torch.float64)).matrix
    for sound, expected in ((lambda call: call > 7, "CONVERGED"), (lambda call: call > 10**6, "INACCURATE")):
        operator = Glitching(matrix, sound)
        x = solver.compute(solver.init(operator), uniform(30))
        assert statuses(x.status) == [expected]
        met = (uniform(30) - matrix @ x.value).norm() <= 1e-10 * uniform(30).norm()
        assert met == (expected == "CONVERGED")


def test_round_off_that_no_method_beats_counts_as_met() -> None:
    """Condition number 1e9 and b along the largest eigenvalue's complement: |A||x|ε exceeds 1e-10 |b|."""
    values = torch.logspace(-8, 0, 40, dtype=torch.float64)
    operator, b = rotated(values), uniform(40)
    x, report = linear_solve(operator, b, CG(Jacobi(), max_steps=5000))
    floor = torch.finfo(torch.float64).eps * x.norm() / b.norm()
    assert 0 < relative(operator, x, b) <= floor
    assert report.converged.all()


@any_matrix
def test_rows_that_outweigh_the_others_do_not_hide_them(solver: AbstractLinearSolver) -> None:
    """One row times 1e12: |b - A x|/|b| is tiny as soon as that row is solved, and the others are not."""
    n = 40
    matrix = uniform(n, n) + 9 * torch.eye(n, dtype=torch.float64)
    exact, scale = uniform(n, seed=1), torch.ones(n, dtype=torch.float64)
    scale[7] = 1e12
    operator = DenseOperator(scale[:, None] * matrix)
    for preconditioner in (Identity(), Jacobi()):
        tried = replace(solver, preconditioner=preconditioner)  # type: ignore[type-var]
        x, report = linear_solve(operator, operator.mv(exact), tried, throw=False)
        assert (x - exact).abs().max() > 0.1
        assert report.stats["relative_residual"] <= 1e-10
        assert statuses(report.status) == ["INACCURATE"]


@pytest.mark.parametrize(("option", "value"), [("rtol", 0.0), ("rtol", 1.0), ("max_steps", 0)])
@every
def test_limits_are_checked(solver: AbstractLinearSolver, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=option):
        replace(solver, **{option: value})  # type: ignore[type-var]
    with pytest.raises(ValueError, match="restart"):
        FGMRES(restart=0)


# Null spaces and other operators.


@every
def test_neumann_is_solved_in_its_range(solver: AbstractLinearSolver) -> None:
    operator, b = laplacian(7, 6, ends=1.0, definite=False), uniform(2, 42)
    with pytest.raises(SolveError, match="INCOMPATIBLE"):
        linear_solve(operator, b, solver)
    b = b - b.mean(-1, keepdim=True)
    x, report = linear_solve(operator, b, solver)
    assert report.converged.all()
    assert ((b - operator.mv(x)).norm(dim=-1) <= 2e-10 * b.norm(dim=-1)).all()
    assert x.mean(-1).abs().max() <= 1e-12


def test_constants_are_found_by_probing() -> None:
    def ring(u: Tensor) -> Tensor:
        return 2 * u - u.roll(1, 0) - u.roll(-1, 0)

    operator = JacobianOperator(ring, uniform(30), symmetric=True)
    b = uniform(30)
    assert statuses(CG().compute(CG().init(operator), b).status) == ["INCOMPATIBLE"]
    x = linear_solve(operator, b - b.mean(), CG())[0]
    torch.testing.assert_close(ring(x), b - b.mean(), rtol=1e-8, atol=1e-9)


def test_jacobi_evens_out_rows() -> None:
    scale = 10.0 ** (4 * torch.rand(60, generator=seeded(1), dtype=torch.float64))
    inner = rotated(torch.linspace(1, 5, 60, dtype=torch.float64)).matrix
    operator = DenseOperator(scale[:, None] * inner * scale, symmetric=True, positive_definite=True)
    b = scale * uniform(60)
    plain, scaled = (CG(m, max_steps=3000).compute(CG(m).init(operator), b) for m in (Identity(), Jacobi()))
    assert scaled.stats["iterations"] < 60 < plain.stats["iterations"]


def test_the_diagonal_of_combined_operators() -> None:
    dense, diagonal = DenseOperator(uniform(5, 5)), DiagonalOperator(uniform(5, seed=1))
    combined = (2.0 * dense + diagonal).T
    torch.testing.assert_close(diagonal_of(combined), 2 * dense.matrix.diagonal() + diagonal.diagonal)
    with pytest.raises(TypeError, match="Identity"):
        diagonal_of(JacobianOperator(torch.sin, uniform(3)))
