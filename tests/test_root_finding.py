"""Roots of nonlinear systems: accuracy, order, invariance, derivatives to every order, statuses, bad input."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
from helpers import uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from linear_cases import laplacian
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.krylov.bicgstab import BiCGStab
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.krylov.fgmres import FGMRES
from pdesolve.linalg.krylov.preconditioner import Jacobi
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.operators.sparsity_pattern import Triplets
from pdesolve.root_finding import (
    AbstractJacobian,
    AbstractRootFinder,
    ColoredJacobian,
    Continuation,
    DenseJacobian,
    EisenstatWalker,
    ExactSolves,
    GivenJacobian,
    MatrixFree,
    Newton,
    ResidualDecrease,
    find_root,
    newton_krylov,
)
from pdesolve.root_finding.coloring import color_columns
from pdesolve.status import SolveError, SolveStatus

N = 5
LINE = laplacian(N)
STIFFNESS = SparseOperator(LINE.pattern, LINE.values)


def reaction(u: Tensor, force: Tensor, rate: Tensor) -> Tensor:
    """-u'' + rate u³ + u u' = force on a line: nonlinear, not symmetric; for u (*batch, N)."""
    matrix = laplacian_matrix(u)
    padded = torch.nn.functional.pad(u, (1, 1))
    slope = 0.5 * (padded[..., 2:] - padded[..., :-2])
    return u @ matrix + rate * u**3 + u * slope - force


def laplacian_matrix(u: Tensor) -> Tensor:
    off = torch.ones(N - 1, dtype=u.dtype, device=u.device)
    return torch.diag(2 * torch.ones(N, dtype=u.dtype, device=u.device)) - torch.diag(off, 1) - torch.diag(off, -1)


def assembled(u: Tensor, force: Tensor, rate: Tensor) -> SparseOperator:
    """The derivative of ``reaction`` by hand."""
    padded = torch.nn.functional.pad(u, (1, 1))
    slope = 0.5 * (padded[2:] - padded[:-2])
    diagonal = 2.0 + 3 * rate * u**2 + slope
    i = torch.arange(N)
    rows, columns = torch.cat([i, i[:-1], i[1:]]), torch.cat([i, i[1:], i[:-1]])
    values = torch.cat([diagonal, -1.0 + 0.5 * u[:-1], -1.0 - 0.5 * u[1:]])
    return SparseOperator.from_triplets(rows, columns, values, (N, N))


@dataclass(frozen=True)
class RootCase:
    """A Jacobian with a method that goes with it."""

    name: str
    jacobian: AbstractJacobian
    method: Callable[[], AbstractRootFinder]


def from_nothing(s: float, force: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    return s * force, rate


CASES = [
    RootCase("coloured, Newton", ColoredJacobian(LINE.pattern), Newton),
    RootCase("coloured, residual", ColoredJacobian(LINE.pattern), lambda: Newton(line_search=ResidualDecrease())),
    RootCase("given, Newton", GivenJacobian(assembled), lambda: Newton(SuperLU())),
    RootCase("dense, Newton", DenseJacobian(), Newton),
    RootCase("matrix-free, FGMRES", MatrixFree(), lambda: newton_krylov(FGMRES(rtol=1e-13))),
    RootCase("coloured, BiCGStab", ColoredJacobian(LINE.pattern), lambda: newton_krylov(BiCGStab(Jacobi(), 1e-13))),
    RootCase("coloured, continuation", ColoredJacobian(LINE.pattern), lambda: Continuation(from_nothing)),
]
FORCE, RATE = 2.0 + uniform(N, seed=3), torch.tensor(0.7, dtype=torch.float64)
START = torch.zeros(N, dtype=torch.float64)


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> RootCase:
    return request.param


def solution(case: RootCase, force: Tensor, rate: Tensor) -> Tensor:
    return find_root(reaction, START, (force, rate), jacobian=case.jacobian, method=case.method())[0]


def test_the_residual_vanishes(case):
    u, report = find_root(reaction, START, (FORCE, RATE), jacobian=case.jacobian, method=case.method())
    assert bool(report.converged)
    assert reaction(u, FORCE, RATE).abs().max() < 1e-13
    assert float(report.stats["residual"]) == float(reaction(u, FORCE, RATE).abs().max())
    assert 2 < int(report.stats["iterations"]) < 40


def test_derivatives_to_second_order(case):
    inputs = (FORCE.clone().requires_grad_(), RATE.clone().requires_grad_())
    assert gradcheck(lambda *p: solution(case, *p), inputs, check_forward_ad=True)
    assert gradgradcheck(lambda *p: solution(case, *p), inputs, fast_mode=True)


def test_torch_func(case):
    expected = torch.autograd.functional.jacobian(lambda f: solution(case, f, RATE), FORCE)
    torch.testing.assert_close(torch.func.jacrev(lambda f: solution(case, f, RATE))(FORCE), expected)
    torch.testing.assert_close(torch.func.jacfwd(lambda f: solution(case, f, RATE))(FORCE), expected)
    many = torch.stack([FORCE, 2 * FORCE, 0 * FORCE])
    mapped = torch.func.vmap(lambda f: solution(case, f, RATE))(many)
    torch.testing.assert_close(mapped, torch.stack([solution(case, f, RATE) for f in many]))

    def energy(force: Tensor) -> Tensor:
        return solution(case, force, RATE).square().sum()

    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(energy))(many), torch.stack([torch.func.grad(energy)(f) for f in many])
    )
    reference = torch.autograd.functional.hessian(energy, FORCE)
    torch.testing.assert_close(torch.func.hessian(energy)(FORCE), reference)


def test_convergence_is_quadratic():
    """Errors e_k of Newton's iterates satisfy log e_k+1 ~ 2 log e_k."""
    errors = []
    force = 10 * FORCE
    exact = solution(CASES[0], force, RATE)
    for steps in range(1, 12):
        method = Newton(max_steps=steps, rtol=0.0, atol=1e-300)
        u, _ = find_root(reaction, START, (force, RATE), jacobian=CASES[0].jacobian, method=method, throw=False)
        errors.append(float((u - exact).abs().max()))
    seen = [e for e in errors if 1e-13 < e < 0.1]
    orders = [math.log(b) / math.log(a) for a, b in itertools.pairwise(seen)]
    assert len(orders) >= 2
    assert min(orders) > 1.7


@pytest.mark.parametrize("power", [-6, 6])
def test_units_of_equations_do_not_change_newton(power):
    """The natural test sees J⁻¹F: scaled rows take the same steps, and find the same root."""
    scale = torch.ones(N, dtype=torch.float64)
    scale[::2] = 10.0**power

    def scaled(u: Tensor, force: Tensor, rate: Tensor) -> Tensor:
        return scale * reaction(u, force, rate)

    far = START + 40.0
    jacobian = ColoredJacobian(LINE.pattern)
    u, report = find_root(reaction, far, (FORCE, RATE), jacobian=jacobian)
    v, other = find_root(scaled, far, (FORCE, RATE), jacobian=jacobian)
    assert int(report.stats["iterations"]) == int(other.stats["iterations"]) > 5
    torch.testing.assert_close(u, v, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("power", [-6, 6])
def test_units_of_unknowns_do_not_change_newton(power):
    size = 10.0**power

    def scaled(v: Tensor, force: Tensor, rate: Tensor) -> Tensor:
        return reaction(v / size, force, rate)

    _, report = find_root(reaction, START, (FORCE, RATE), jacobian=DenseJacobian())
    v, other = find_root(scaled, START, (FORCE, RATE), jacobian=DenseJacobian(), method=Newton(scale=size))
    assert abs(int(report.stats["iterations"]) - int(other.stats["iterations"])) <= 1
    torch.testing.assert_close(v / size, solution(CASES[0], FORCE, RATE), rtol=1e-9, atol=1e-11)


def test_a_line_search_saves_what_full_steps_lose():
    """arctan u = 0 from u = 3: Newton's full steps run away."""
    for search in (Newton(), Newton(line_search=ResidualDecrease())):
        u, _ = find_root(torch.atan, torch.tensor([3.0]).double(), jacobian=DenseJacobian(), method=search)
        assert abs(float(u)) < 1e-12


# Batches.


def test_members_of_a_batch_do_not_see_each_other():
    """Roots, no root, a singular Jacobian, NaN: each gets its own status, and the good ones the same bits."""

    def parabola(u: Tensor, c: Tensor) -> Tensor:
        return torch.stack([u[..., 0] ** 2 - c[..., 0], u[..., 1] - u[..., 0] + torch.log(c[..., 1])], -1)

    c = torch.tensor([[4.0, 1.0], [-1.0, 1.0], [9.0, 1.0], [4.0, -1.0], [2.0, 2.0]]).double().requires_grad_()
    start = torch.tensor([[1.0, 0.0], [1.3, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]).double()
    u, report = find_root(parabola, start, (c,), jacobian=DenseJacobian(), throw=False)
    codes = [int(code) for code in report.status]
    assert codes[0] == codes[4] == 0
    assert codes[1] in (SolveStatus.DIVERGED, SolveStatus.STEP_CAP, SolveStatus.SINGULAR)
    assert codes[2] == SolveStatus.SINGULAR
    assert codes[3] == SolveStatus.NON_FINITE
    assert u.isfinite().all()
    alone, _ = find_root(parabola, start[[0, 4]], (c[[0, 4]],), jacobian=DenseJacobian())
    assert torch.equal(u[[0, 4]], alone)
    torch.testing.assert_close(u[0].detach(), torch.tensor([2.0, 2.0]).double())
    u.sum().backward()
    torch.testing.assert_close(c.grad[0], torch.tensor([2 / (2 * 2.0), -1.0]).double())
    assert torch.equal(c.grad[1:3], torch.zeros(2, 2).double())
    with pytest.raises(SolveError, match="1 of 5") as caught:
        find_root(parabola, start, (c,), jacobian=DenseJacobian())
    assert caught.value.status.tolist() == codes


def test_a_batch_is_its_members_one_by_one():
    force = torch.stack([FORCE, 3 * FORCE, -FORCE])
    start = torch.zeros(3, N, dtype=torch.float64)
    together, report = find_root(reaction, start, (force, RATE), jacobian=DenseJacobian())
    single = [find_root(reaction, START, (f, RATE), jacobian=DenseJacobian()) for f in force]
    torch.testing.assert_close(together, torch.stack([u for u, _ in single]), rtol=1e-14, atol=1e-15)
    assert report.stats["iterations"].tolist() == [int(r.stats["iterations"]) for _, r in single]
    inputs = (force.requires_grad_(), RATE.clone().requires_grad_())
    assert gradcheck(lambda f, r: find_root(reaction, start, (f, r), jacobian=DenseJacobian())[0], inputs)


# Statuses.


def test_step_cap():
    _, report = find_root(
        reaction, START + 1e6, (FORCE, RATE), jacobian=DenseJacobian(), method=Newton(max_steps=3), throw=False
    )
    assert report.status.item() == SolveStatus.STEP_CAP
    assert int(report.stats["iterations"]) == 3


def test_no_root():
    with pytest.raises(SolveError, match=r"DIVERGED.*no step along the Newton direction|SINGULAR|STEP_CAP"):
        find_root(lambda u: u**2 + 1.0, torch.tensor([0.7]).double(), jacobian=DenseJacobian())


def test_a_singular_jacobian_names_its_step():
    with pytest.raises(SolveError, match=r"SINGULAR.*Jacobian at step 0"):
        find_root(lambda u: u**2 - 1.0, torch.zeros(2).double(), jacobian=DenseJacobian())


def test_nan_at_the_start_is_named():
    with pytest.raises(SolveError, match=r"NON_FINITE.*F\(start\)\[1\] is nan"):
        find_root(torch.log, torch.tensor([1.0, -1.0]).double(), jacobian=DenseJacobian())


def test_a_trial_point_with_nan_is_only_too_far():
    """log u = -3 from u = 10: the full step leaves the domain of the logarithm."""
    u, _ = find_root(lambda u: torch.log(u) + 3.0, torch.tensor([10.0]).double(), jacobian=DenseJacobian())
    assert abs(float(u) - math.exp(-3.0)) < 1e-12


@pytest.mark.parametrize(
    ("name", "function", "start", "method"),
    [
        ("pole", lambda u: 1.0 / (u - 1.0), [1.0 + 1e-13], Newton()),
        ("double pole", lambda u: (u - 1.0) ** -2, [1.0 + 1e-13], Newton()),
        ("tail", lambda u: torch.exp(1e12 * u), [0.0], Newton()),
        ("plateau", lambda u: torch.exp(1e12 * u) + 1.0, [1e-12], Newton(atol=1e-8)),
        ("no root", lambda u: 1e14 * u + 1e30 * u**2 + 1.0, [0.0], Newton()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_small_correction_is_not_yet_a_root(name, function, start, method):
    u, report = find_root(function, torch.tensor(start).double(), jacobian=DenseJacobian(), method=method, throw=False)
    assert report.status.item() != SolveStatus.CONVERGED, name
    assert u.isfinite().all()


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_roots_of_any_order_are_roots(order):
    method = Newton(max_steps=200)
    u, _ = find_root(
        lambda u: (u - 1.0) ** order, torch.tensor([3.0]).double(), jacobian=DenseJacobian(), method=method
    )
    assert abs(float(u) - 1.0) < 1e-9


def test_a_small_unknown_is_followed_until_newton_contracts():
    """A correction of 2e-14 is below every tolerance; the residual it leaves is four times as large."""

    def function(u: Tensor) -> Tensor:
        return torch.stack([u[0] - 1.0, (u[1] * 1e14) ** 3 - 8.0])

    u, report = find_root(function, torch.tensor([1.0, 1e-14]).double(), jacobian=DenseJacobian())
    assert float(report.stats["residual"]) < 1.0
    assert abs(float(u[1]) - 2e-14) < 1e-15


def test_a_jacobian_that_becomes_wrong_does_not_converge():
    """Right at the start, where it is checked; a million million times too large beyond."""

    def assemble(u: Tensor) -> DenseOperator:
        return DenseOperator(torch.diag(torch.where(u < 1.5, 3.0, 3e13) * u**2))

    _, report = find_root(
        lambda u: u**3 - 8.0, torch.tensor([1.0]).double(), jacobian=GivenJacobian(assemble), throw=False
    )
    assert report.status.item() != SolveStatus.CONVERGED


def test_a_correction_of_round_off_is_converged():
    """Condition number 1e8: corrections stay at 1e-9 of u, below the tolerance, and do not fall."""
    left, right = (torch.linalg.qr(uniform(20, 20, seed=seed))[0] for seed in (1, 2))
    matrix = left @ torch.diag(torch.logspace(0, -8, 20, dtype=torch.float64)) @ right
    exact = uniform(20, seed=3)

    def function(u: Tensor) -> Tensor:
        v = (u - exact) @ matrix.mT
        return (v + 1.0) ** 3 - 1.0

    u, _ = find_root(function, exact + 1e-7, jacobian=DenseJacobian(), method=Newton(rtol=1e-7))
    torch.testing.assert_close(u, exact, rtol=0, atol=1e-7)


@pytest.mark.parametrize("solver", [FGMRES(), CG(), BiCGStab()], ids=lambda solver: type(solver).__name__)
def test_a_loose_solve_does_not_hide_a_soft_unknown(solver):
    """Half of the residual is gone with corrections of 1e-8; the one soft unknown is still off by 0.1."""
    stiffness = torch.full((200,), 1e8, dtype=torch.float64)
    stiffness[0] = 1.0
    load = torch.ones(200, dtype=torch.float64)
    load[0] = 0.1
    method = newton_krylov(solver, atol=1e-6)
    u, _ = find_root(lambda u: stiffness * u - load, 0.0 * load, jacobian=MatrixFree(), method=method)
    torch.testing.assert_close(u, load / stiffness, rtol=0, atol=1e-6)


def test_a_capped_linear_solve_does_not_converge():
    """One Krylov step of many: its small correction is no estimate of the error."""
    stiffness = torch.full((200,), 1e8, dtype=torch.float64)
    stiffness[0] = 1.0
    load = torch.ones(200, dtype=torch.float64)
    method = newton_krylov(FGMRES(max_steps=1), forcing=ExactSolves(), atol=1e-6, max_steps=2)
    u, report = find_root(lambda u: stiffness * u - load, 0.0 * load, jacobian=MatrixFree(), method=method, throw=False)
    assert (u - load / stiffness).abs().max() > 1e-3
    assert report.status.item() != SolveStatus.CONVERGED


# What gradients may be asked for.


@pytest.mark.parametrize("method", [None, newton_krylov(FGMRES(rtol=1e-13))], ids=["direct", "Krylov"])
@pytest.mark.parametrize("kind", [torch.int64, torch.bool])
def test_parameters_without_gradients(kind, method):
    """Powers and masks are parameters too; their neighbours have derivatives to every order."""
    jacobian = DenseJacobian() if method is None else MatrixFree()

    def cube(u: Tensor, switch: Tensor, c: Tensor) -> Tensor:
        return u**3 * switch - c

    def solved(c: Tensor) -> Tensor:
        start = torch.ones(2, dtype=torch.float64)
        return find_root(cube, start, (torch.ones(2, dtype=kind), c), jacobian=jacobian, method=method)[0]

    c = torch.tensor([8.0, 27.0], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(solved(c).detach(), torch.tensor([2.0, 3.0]).double())
    assert gradcheck(solved, c, check_forward_ad=True)
    assert gradgradcheck(solved, c)


def test_a_failed_system_has_no_gradient():
    """F is NaN, and so is its derivative: zero times that is not passed on."""
    c = torch.tensor([4.0, -1.0], dtype=torch.float64, requires_grad=True)
    diagonal = Triplets.of(torch.arange(2), torch.arange(2), (2, 2)).pattern
    u, report = find_root(
        lambda u, c: u - torch.sqrt(c),
        torch.ones(2, dtype=torch.float64),
        (c,),
        jacobian=ColoredJacobian(diagonal),
        throw=False,
    )
    assert report.status.item() == SolveStatus.NON_FINITE
    u.sum().backward()
    assert torch.equal(c.grad, torch.zeros(2, dtype=torch.float64))


def test_a_parameter_changed_in_place_is_noticed():
    force = FORCE.clone().requires_grad_()
    u, _ = find_root(reaction, START, (force, RATE), jacobian=ColoredJacobian(LINE.pattern))
    with torch.no_grad():
        force.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        u.sum().backward()


def test_parameters_in_single_precision_beside_double():
    rate = RATE.float().requires_grad_()
    u, _ = find_root(reaction, START, (FORCE, rate), jacobian=ColoredJacobian(LINE.pattern))
    (grad,) = torch.autograd.grad(u.sum(), rate)
    precise = rate.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(solution(CASES[0], FORCE, precise).sum(), precise)
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad.double(), expected, rtol=1e-6, atol=0)


def test_only_the_start_is_mapped():
    start = torch.stack([START, START + 1.0])
    rate = RATE.clone().requires_grad_()
    u = torch.func.vmap(lambda s: find_root(reaction, s, (FORCE, rate), jacobian=DenseJacobian())[0])(start)
    torch.testing.assert_close(u[0], u[1])
    (grad,) = torch.autograd.grad(u.sum(), rate)
    (single,) = torch.autograd.grad(solution(CASES[0], FORCE, rate).sum(), rate)
    torch.testing.assert_close(grad, 2.0 * single)


def test_threads_do_not_mix_their_derivatives():
    """torch keeps one stack of forward-mode levels for the whole process."""
    jacobian = ColoredJacobian(LINE.pattern)

    def run(scale: int) -> tuple[Tensor, Tensor]:
        rate = (RATE * scale).requires_grad_()
        u, _ = find_root(reaction, START, (FORCE, rate), jacobian=jacobian)
        return u.detach(), torch.autograd.grad(u.sum(), rate)[0]

    scales = [1 + i % 7 for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(run, scales))
    for scale, (u, grad) in zip(scales, together, strict=True):
        alone = run(scale)
        assert torch.equal(u, alone[0])
        assert torch.equal(grad, alone[1])


# Continuation.


def bratu(n: int) -> tuple[Callable[..., Tensor], ColoredJacobian]:
    """u'' + λ e^u = 0 on (0, 1), u = 0 at both ends: two solutions below λ* = 3.513830719, none above."""
    operator = laplacian(n)
    matrix = SparseOperator(operator.pattern, operator.values * (n + 1.0) ** 2)
    return lambda u, rate: matrix.mv(u) - rate * torch.exp(u), ColoredJacobian(operator.pattern, symmetric=True)


def test_a_fold_is_reported_where_it_is():
    function, jacobian = bratu(200)
    rate, start = torch.tensor(5.0, dtype=torch.float64), torch.zeros(200, dtype=torch.float64)
    method = Continuation(lambda s, r: (s * r,))
    u, report = find_root(function, start, (rate,), jacobian=jacobian, method=method, throw=False)
    assert report.status.item() != SolveStatus.CONVERGED
    assert report.stats["detail"].split("ends at s = ")[1].split(":")[0]
    reached = float(report.stats["detail"].split("ends at s = ")[1].split(":")[0]) * 5.0
    assert abs(reached - 3.513830719) < 0.01
    assert u.isfinite().all()
    assert u.max() < 1.3  # still the lower branch: 1.187 at the fold


def test_bratu_against_its_closed_form():
    """u(1/2) = 2 log cosh(θ/4) with θ = sqrt(2λ) cosh(θ/4); second order in h."""
    from scipy.optimize import brentq

    rate = 2.0
    theta = brentq(lambda t: t - math.sqrt(2 * rate) * math.cosh(t / 4), 0.1, 4.0)
    exact = 2.0 * math.log(math.cosh(theta / 4))
    errors = []
    for n in (31, 63, 127):
        function, jacobian = bratu(n)
        u, _ = find_root(function, torch.zeros(n).double(), (torch.tensor(rate).double(),), jacobian=jacobian)
        errors.append(abs(float(u[n // 2]) - exact))
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(abs(order - 2.0) < 0.1 for order in orders)


def test_continuation_reaches_what_newton_does_not():
    """A force ten thousand times as large: few Newton steps from zero are not enough, the same few on a path are."""
    weak, force = Newton(max_steps=7), 1e4 * FORCE
    jacobian = ColoredJacobian(LINE.pattern)
    _, report = find_root(reaction, START, (force, RATE), jacobian=jacobian, method=weak, throw=False)
    assert report.status.item() == SolveStatus.STEP_CAP
    u, _ = find_root(
        reaction, START, (force, RATE), jacobian=jacobian, method=Continuation(from_nothing, weak, first=1e-3)
    )
    assert reaction(u, force, RATE).abs().max() < 1e-9 * float(force.max())


def test_a_path_that_ends_elsewhere_is_refused():
    method = Continuation(lambda s, f, r: (s * f, 2 * r))
    with pytest.raises(ValueError, match=r"path\(1, ...\) changes parameter 1"):
        find_root(reaction, START, (FORCE, RATE), jacobian=DenseJacobian(), method=method)


def test_a_path_through_nan_says_where():
    def path(s: float, force: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        return s * force * (float("nan") if 0.3 < s < 0.6 else 1.0), rate

    u, report = find_root(
        reaction, START, (FORCE, RATE), jacobian=DenseJacobian(), method=Continuation(path), throw=False
    )
    assert report.status.item() == SolveStatus.NON_FINITE
    assert re.search(r"F\(start\)\[0\] is nan; the path ends at s = 0\.(29|3)", report.stats["detail"])
    torch.testing.assert_close(u, solution(CASES[0], 0.3 * FORCE, RATE), rtol=1e-3, atol=1e-3)


def test_paths_that_are_none():
    def attempt(path: Callable[..., object], force: Tensor = FORCE) -> None:
        find_root(reaction, START, (force, RATE), jacobian=DenseJacobian(), method=Continuation(path))

    with pytest.raises(TypeError, match="tuple of parameters, not Tensor"):
        attempt(lambda s, f, r: s * f)
    with pytest.raises(ValueError, match="returns 1 parameters, 2 were given"):
        attempt(lambda s, f, r: (s * f,))
    with pytest.raises(SolveError, match=r"NON_FINITE.*F\(start\)\[2\] is nan"):
        attempt(from_nothing, FORCE.index_fill(0, torch.tensor(2), torch.nan))


# Newton-Krylov.


def test_loose_solves_save_krylov_steps():
    """Counted by the products with J: Eisenstat and Walker's η against tight solves, to the same root."""
    operator = laplacian(24, 24)
    matrix = SparseOperator(operator.pattern, operator.values)

    def cubic(u: Tensor) -> Tensor:
        return matrix.mv(u) + u**3 - 1.0

    counts = {}
    for forcing in (EisenstatWalker(), ExactSolves()):
        calls = []

        def counted(u: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            return cubic(u)

        method = newton_krylov(CG(rtol=1e-10), forcing=forcing)
        u, _ = find_root(counted, torch.zeros(576).double(), jacobian=MatrixFree(), method=method)
        assert cubic(u).abs().max() < 1e-9
        counts[type(forcing)] = len(calls)
    assert counts[EisenstatWalker] < 0.8 * counts[ExactSolves]


# Coloured Jacobians.


@st.composite
def patterns(draw):
    m, n = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    count = draw(st.integers(1, 40))
    rows = draw(st.lists(st.integers(0, m - 1), min_size=count, max_size=count))
    columns = draw(st.lists(st.integers(0, n - 1), min_size=count, max_size=count))
    return Triplets.of(torch.tensor(rows), torch.tensor(columns), (m, n)).pattern


@settings(max_examples=200, deadline=None)
@given(patterns())
def test_columns_of_one_colour_share_no_row(pattern):
    colors = color_columns(pattern)
    assert colors.shape == (pattern.shape[1],)
    assert colors.min() >= 0
    assert set(colors.tolist()) == set(range(int(colors.max()) + 1))
    seen = torch.stack([pattern.rows.long(), colors[pattern.columns.long()]])
    assert seen.unique(dim=1).shape[1] == pattern.count


def test_a_stencil_takes_a_fixed_number_of_colours():
    few, many = (int(color_columns(laplacian(n, n).pattern).max()) + 1 for n in (16, 64))
    assert few <= 11
    assert many <= 12


def test_coloured_entries_are_the_derivative():
    u = uniform(N, seed=9)
    exact = torch.func.jacfwd(reaction)(u, FORCE, RATE)
    operator = ColoredJacobian(LINE.pattern).operator(reaction, u, (FORCE, RATE))
    unit = torch.eye(N, dtype=torch.float64)
    torch.testing.assert_close(operator.mv(unit).mT, exact)


# Bad input.


def test_a_pattern_without_some_entries_is_found():
    i = torch.arange(N)
    diagonal = Triplets.of(i, i, (N, N)).pattern
    with pytest.raises(ValueError, match=r"not the derivative of the function: row \d"):
        find_root(reaction, START, (FORCE, RATE), jacobian=ColoredJacobian(diagonal))


def test_a_wrong_assembly_is_found():
    def halved(u, force, rate):
        return 0.5 * assembled(u, force, rate)

    with pytest.raises(ValueError, match="not the derivative"):
        find_root(reaction, START, (FORCE, RATE), jacobian=GivenJacobian(halved))
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        find_root(
            reaction, START, (FORCE, RATE), jacobian=GivenJacobian(lambda *_: DenseOperator(torch.eye(2).double()))
        )


def test_bad_calls():
    dense = DenseJacobian()
    with pytest.raises(TypeError, match="float32 or float64"):
        find_root(reaction, START.int(), (FORCE, RATE), jacobian=dense)
    with pytest.raises(TypeError, match=r"parameters\[1\]"):
        find_root(reaction, START, (FORCE, 0.7), jacobian=dense)
    with pytest.raises(ValueError, match=r"start\[2\] is nan"):
        find_root(reaction, START.clone().index_fill_(0, torch.tensor(2), torch.nan), (FORCE, RATE), jacobian=dense)
    with pytest.raises(ValueError, match="takes one system"):
        find_root(reaction, START.expand(2, N), (FORCE, RATE), jacobian=MatrixFree())
    with pytest.raises(ValueError, match="n >= 1"):
        find_root(reaction, START[:0], (FORCE, RATE), jacobian=dense)
    with pytest.raises(ValueError, match="shape of u"):
        find_root(lambda u: u[:2], START, jacobian=dense)
    with pytest.raises(TypeError, match="make them agree"):
        find_root(lambda u: u.float(), START, jacobian=dense)
    with pytest.raises(TypeError, match="no tolerance rtol"):
        find_root(reaction, START, (FORCE, RATE), jacobian=dense, method=newton_krylov(SuperLU()))
    with pytest.raises(TypeError, match="must be an AbstractJacobian such as"):
        find_root(reaction, START, (FORCE, RATE), jacobian=DenseJacobian)
    with pytest.raises(TypeError, match="must be an AbstractRootFinder such as"):
        find_root(reaction, START, (FORCE, RATE), jacobian=dense, method=SuperLU())
    with pytest.raises(TypeError, match="must return a tensor, not tuple"):
        find_root(lambda u: (u,), START, jacobian=dense)
    with pytest.raises(ValueError, match=r"scale must be a number or \(5,\), not \(3,\)"):
        find_root(reaction, START, (FORCE, RATE), jacobian=dense, method=Newton(scale=torch.ones(3)))
    with pytest.raises(ValueError, match="pattern has 4 columns"):
        find_root(reaction, START, (FORCE, RATE), jacobian=ColoredJacobian(laplacian(4).pattern))
    with pytest.raises(ValueError, match="square"):
        ColoredJacobian(Triplets.of(torch.tensor([0]), torch.tensor([0]), (2, 3)).pattern)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Newton(rtol=-1.0),
        lambda: Newton(rtol=0.0, atol=0.0),
        lambda: Newton(rtol=float("nan")),
        lambda: Newton(max_steps=0),
        lambda: Newton(max_steps=True),
        lambda: Newton(shortest=0.0),
        lambda: Newton(scale=0.0),
        lambda: Newton(scale=float("inf")),
        lambda: ResidualDecrease(alpha=0.7),
        lambda: EisenstatWalker(gamma=0.0),
        lambda: EisenstatWalker(first=1.5),
        lambda: Continuation(from_nothing, first=0.0),
        lambda: Continuation(from_nothing, smallest=0.5),
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=r"got|positive|needed"):
        bad()


def test_single_precision():
    u, report = find_root(
        reaction, START.float(), (FORCE.float(), RATE.float()), jacobian=ColoredJacobian(LINE.pattern)
    )
    assert u.dtype == torch.float32
    assert bool(report.converged)
    torch.testing.assert_close(u.double(), solution(CASES[0], FORCE, RATE), rtol=1e-5, atol=1e-5)


def test_a_root_at_the_start_and_at_zero():
    u, report = find_root(lambda u: 3.0 * u, START, jacobian=DenseJacobian())
    assert torch.equal(u, START)
    assert int(report.stats["iterations"]) == 1


def test_a_residual_of_sparse_products_has_all_modes():
    """F with a ``SparseOperator`` inside: Jacobians are products within products."""
    start, jacobian = torch.zeros(N).double(), ColoredJacobian(LINE.pattern, symmetric=True)

    def energy(rate: Tensor) -> Tensor:
        u, _ = find_root(lambda u, r: STIFFNESS.mv(u) + r * u**3 - FORCE, start, (rate,), jacobian=jacobian)
        return u.square().sum()

    first, second = torch.func.jacrev(energy)(RATE), torch.func.jacrev(torch.func.jacrev(energy))(RATE)
    torch.testing.assert_close(torch.func.jacfwd(energy)(RATE), first)
    torch.testing.assert_close(torch.func.hessian(energy)(RATE), second)
    h = 1e-4
    quotient = (energy(RATE + h) - energy(RATE - h)) / (2 * h)
    torch.testing.assert_close(first, quotient, rtol=1e-6, atol=0)
