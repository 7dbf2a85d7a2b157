"""Geometric multigrid: order of the discretisation, rates against theory, boundaries, jumps, anisotropy, odd grids."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.krylov.fgmres import FGMRES
from pdesolve.linalg.krylov.preconditioner import Jacobi
from pdesolve.linalg.linear_solver import LinearResult
from pdesolve.linalg.multigrid import hierarchy
from pdesolve.linalg.multigrid.coarsen import coarsened
from pdesolve.linalg.multigrid.ends import AbstractEnds, FixedFlux, FixedValue, Walls, Wrapped
from pdesolve.linalg.multigrid.geometric import GeometricMultigrid
from pdesolve.linalg.multigrid.grid_diffusion import GridDiffusion
from pdesolve.linalg.multigrid.smoother import Chebyshev
from pdesolve.linalg.operators.assemble import sparse_matrix
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.solve import linear_solve
from pdesolve.status import SolveError, SolveStatus

VALUE, FLUX = FixedValue(), FixedFlux()
ENDS: dict[str, AbstractEnds] = {
    "value": Walls(),
    "flux": Walls(FLUX, FLUX),
    "value-flux": Walls(VALUE, FLUX),
    "flux-value": Walls(FLUX, VALUE),
    "wrapped": Wrapped(),
}
SIZES = [(1,), (2,), (3,), (7, 4), (1, 9), (5, 5), (2, 3, 4), (1, 6, 1), (3, 1, 5)]
ends_of = pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)


def box(*grid: int, ends: AbstractEnds | None = None, **options: object) -> GridDiffusion:
    """The unit box with the same ends along every axis."""
    every = (ends or Walls(),) * len(grid)
    return GridDiffusion(grid, tuple(1.0 / n for n in grid), ends=every, **options)  # type: ignore[arg-type]


def centres(*grid: int) -> tuple[Tensor, ...]:
    return torch.meshgrid(*[(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in grid], indexing="ij")


def matrix(operator: GridDiffusion) -> Tensor:
    return operator.mv(torch.eye(operator.shape[0], dtype=torch.float64))


def solved(operator: GridDiffusion, *lead: int, solver: CG | None = None) -> LinearResult:
    """A random right-hand side in the range, solved by multigrid."""
    solver = solver or CG(GeometricMultigrid(), max_steps=100)
    b = uniform(*lead, operator.shape[0], seed=5)
    if operator.annihilates_constants:
        b = b - b.mean(-1, keepdim=True)
    return solver.compute(solver.init(operator), b)


def steps_of(result: LinearResult) -> int:
    assert (result.status == SolveStatus.CONVERGED).all(), result.status
    return int(result.stats["iterations"].max())


# The operator.


@ends_of
@pytest.mark.parametrize("grid", SIZES, ids=str)
def test_products_are_those_of_the_stored_matrix(grid: tuple[int, ...], ends: AbstractEnds) -> None:
    """Constant and varying coefficients take different code."""
    a, c = uniform(*grid).exp(), uniform(*grid, seed=1).exp()
    each = torch.stack([a] * len(grid))
    cases: list[dict[str, object]] = [{}, {"coefficient": a, "reaction": c}, {"coefficient": each}]
    for options in cases:
        operator = box(*grid, ends=ends, **options)
        dense = matrix(operator)
        torch.testing.assert_close(dense, dense.mT, rtol=0, atol=0)
        stored = operator.to_sparse()
        torch.testing.assert_close(dense, stored.mv(torch.eye(stored.shape[0], dtype=torch.float64)))
        torch.testing.assert_close(dense.diagonal(), operator.diagonal())
        torch.testing.assert_close(sparse_matrix(operator.frozen()).values, sparse_matrix(operator).values)
        free = "reaction" not in options and ends in (Walls(FLUX, FLUX), Wrapped())
        assert operator.annihilates_constants == free
        assert (dense.sum(-1).abs().max() <= 1e-9) == free


@pytest.mark.parametrize("varying", [False, True], ids=["constant", "jump"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_second_order(count: int, varying: bool) -> None:
    """Errors against manufactured solutions; with a jump from 1 to 100 the exact u has a kink there."""
    errors, sizes = [], [8, 16, 32]
    for n in sizes:
        x, *others = centres(*(n,) * count)
        rest = math.prod([torch.sin(math.pi * y) for y in others], start=torch.ones(()))
        if varying:
            a = torch.where(x < 0.5, 1.0, 100.0).double()
            u = torch.sin(2 * math.pi * x) / a * rest  # zero at the jump, flux 2π cos(2πx) continuous
        else:
            a, u = torch.ones_like(x), torch.sin(2 * math.pi * x) * rest
        f = a * u * math.pi**2 * (4 + len(others))
        solution = linear_solve(box(*(n,) * count, coefficient=a), f.flatten(), CG(GeometricMultigrid()))[0]
        errors.append((solution.reshape(u.shape) - u).abs().max().log())
    slope = -torch.stack(errors).diff() / math.log(2)
    assert slope[-1] > 1.9, slope


def test_data_on_walls_go_into_the_right_hand_side() -> None:
    """u = 3 - 2 x between u(0) = 3 and flux -2 at 1, exact for any h."""
    n, g, q = 11, 3.0, -2.0
    operator = box(n, ends=Walls(VALUE, FLUX))
    b = torch.zeros(n, dtype=torch.float64)
    b[0] += 2 * g * n**2
    b[-1] += q * n
    x = linear_solve(operator, b, CG(GeometricMultigrid()))[0]
    torch.testing.assert_close(x, g + q * centres(n)[0])


@pytest.mark.parametrize("ends", [Walls(VALUE, FLUX), Wrapped()], ids=["walls", "wrapped"])
def test_derivatives_of_the_product(ends: AbstractEnds) -> None:
    operator = box(3, 2, ends=ends, coefficient=uniform(3, 2).exp(), reaction=uniform(3, 2))

    def product(x: Tensor, *tensors: Tensor) -> Tensor:
        return operator.with_tensors(tensors).mv(x)

    inputs = [t.clone().requires_grad_() for t in (uniform(2, 6, seed=2), *operator.tensors())]
    assert gradcheck(product, inputs, check_forward_ad=True)
    assert gradgradcheck(product, inputs)
    frozen = operator.frozen()
    links = [t.detach().clone().requires_grad_() for t in frozen.tensors()]
    assert gradcheck(lambda *t: frozen.with_tensors(t).mv(inputs[0].detach()), links, check_forward_ad=True)
    backward = torch.func.jacrev(product, 1)(*inputs)
    torch.testing.assert_close(backward, torch.func.jacfwd(product, 1)(*inputs))


def test_gradients_of_a_solve_reach_the_coefficient() -> None:
    operator = box(4, 3, coefficient=uniform(4, 3).exp(), reaction=uniform(4, 3, seed=1).exp())

    def solution(b: Tensor, *tensors: Tensor) -> Tensor:
        return linear_solve(operator.with_tensors(tensors), b, CG(GeometricMultigrid(), rtol=1e-13))[0]

    inputs = [t.clone().requires_grad_() for t in (uniform(12, seed=2), *operator.tensors())]
    assert gradcheck(solution, inputs, check_forward_ad=True)


def test_second_derivatives_and_those_in_the_range() -> None:
    operator = box(3, 2, coefficient=uniform(3, 2).exp(), reaction=uniform(3, 2, seed=1).exp())

    def solution(b: Tensor, *tensors: Tensor) -> Tensor:
        return linear_solve(operator.with_tensors(tensors), b, CG(GeometricMultigrid(), rtol=1e-13))[0]

    assert gradgradcheck(solution, [t.clone().requires_grad_() for t in (uniform(6, seed=2), *operator.tensors())])

    def floating(b: Tensor, coefficient: Tensor) -> Tensor:
        free = box(3, 2, ends=Walls(FLUX, FLUX), coefficient=coefficient)
        return linear_solve(free, b - b.mean(), CG(GeometricMultigrid(), rtol=1e-13))[0]

    assert gradcheck(floating, [t.clone().requires_grad_() for t in (uniform(6, seed=2), uniform(3, 2).exp())])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"grid": (0, 3)}, ValueError, "positive number of cells"),
        ({"grid": ()}, ValueError, "positive number of cells"),
        ({"spacing": (0.1,)}, ValueError, "spacing must be 2 positive"),
        ({"spacing": -1.0}, ValueError, "spacing must be 2 positive"),
        ({"ends": (Walls(),)}, ValueError, "one for each axis"),
        ({"coefficient": torch.ones(3, 4)}, ValueError, "coefficient must have one of the shapes"),
        ({"reaction": torch.ones(2)}, ValueError, "reaction must have one of the shapes"),
        ({"coefficient": torch.ones(4, 3, dtype=torch.int64)}, TypeError, "float32 or float64"),
        ({"coefficient": torch.ones(4, 3), "reaction": torch.ones(4, 3).double()}, TypeError, "convert one of them"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        GridDiffusion(**{"grid": (4, 3), "spacing": 0.1, **options})  # type: ignore[arg-type]


# Coarse grids and cycles.


def test_coarse_grids_have_the_doubled_spacing() -> None:
    """A constant coefficient on a ring: rows of the coarse network are those of 2h, times the cells in each."""
    fine = GridDiffusion((8, 8), 1.0, ends=(Wrapped(), Wrapped()), reaction=0.5)
    coarse, _ = coarsened(fine.stencil(), [0, 1])
    expected = GridDiffusion((4, 4), 2.0, ends=(Wrapped(), Wrapped()), reaction=0.5)
    x = uniform(4, 4)
    torch.testing.assert_close(coarse.product(x), 4 * expected.stencil().product(x))


@ends_of
@pytest.mark.parametrize("grid", SIZES, ids=str)
def test_restriction_is_the_transpose_of_interpolation(grid: tuple[int, ...], ends: AbstractEnds) -> None:
    stencil = box(*grid, ends=ends, coefficient=uniform(*grid).exp()).stencil()
    axes = [axis for axis, n in enumerate(grid) if n > 1]
    coarse, steps = coarsened(stencil, axes)
    r, u = uniform(1, *grid), uniform(1, *coarse.grid, seed=1)
    down, up = r, u
    for step in steps:
        down = step.restricted(down)
    for step in reversed(steps):
        shape = list(up.shape)
        shape[step.dim] = step.fine
        finer = up.new_zeros(shape)
        step.add_prolonged(up, finer)
        up = finer
    torch.testing.assert_close((down * u).sum(), (r * up).sum())
    if stencil.singular:
        constants = [torch.ones_like(u)]
        for step in reversed(steps):
            shape = list(constants[-1].shape)
            shape[step.dim] = step.fine
            constants.append(u.new_zeros(shape))
            step.add_prolonged(constants[-2], constants[-1])
        torch.testing.assert_close(constants[-1], torch.ones_like(r))


def test_a_line_is_coarsened_exactly() -> None:
    """In one dimension the coarse network is the Schur complement of the cells left out."""
    operator = box(9, coefficient=uniform(9).exp())
    dense = matrix(operator)
    out, kept = torch.arange(0, 9, 2), torch.arange(1, 9, 2)
    schur = dense[kept][:, kept] - dense[kept][:, out] @ torch.linalg.solve(dense[out][:, out], dense[out][:, kept])
    coarse, _ = coarsened(operator.stencil(), [0])
    torch.testing.assert_close(coarse.product(torch.eye(4, dtype=torch.float64)), schur)


@ends_of
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_cycle_is_symmetric_and_definite(
    ends: AbstractEnds, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On three grids; the eigenvalues of M⁻¹A lie near one."""
    monkeypatch.setattr(hierarchy, "_DIRECT", 20)
    operator = box(17, 12, ends=ends, coefficient=uniform(17, 12).exp())
    cycle = GeometricMultigrid(dtype=dtype)
    state = cycle.init(operator)
    assert len(state.grids.levels) == 2
    inverse = cycle.apply(state, torch.eye(operator.shape[0], dtype=torch.float64))
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    assert (inverse - inverse.mT).abs().max() <= tolerance * inverse.abs().max()
    values = torch.linalg.eigvals(inverse @ matrix(operator)).real.sort().values
    if operator.annihilates_constants:
        assert abs(values[0]) <= 1e-4
        values = values[1:]
    assert values[0] > 0.55
    assert values[-1] < 1.2


def two_grid_factor(count: int, smoother: Chebyshev) -> float:
    """Local Fourier analysis of -Δ on an infinite grid, h = 1.

    A mode θ and its 2^d aliases θ + π are mixed by E = S (I - P A_c⁻¹ P^T A) S, with symbols a(θ) = Σ (2 - 2 cos θ_k),
    p(θ) = Π (1 + cos θ_k), S = Π (1 - ω a/(2 d)), and A_c that of the doubled spacing times the 2^d cells in each.
    """
    weights, largest = smoother.weights(1.0 / count), 0.0
    angles = (torch.arange(16, dtype=torch.float64) + 0.5) / 16 * math.pi / 2
    aliases = torch.tensor(list(itertools.product([0.0, math.pi], repeat=count)), dtype=torch.float64)
    for low in itertools.product(angles.tolist(), repeat=count):
        cosine = torch.cos(torch.tensor(low, dtype=torch.float64) + aliases)
        a, p = (2 - 2 * cosine).sum(-1), (1 + cosine).prod(-1)
        damping = torch.stack([1 - weight * a / (2 * count) for weight in weights]).prod(0)
        coarse = 2**count * (2 - 2 * torch.cos(2 * torch.tensor(low, dtype=torch.float64))).sum() / 4
        identity = torch.eye(2**count, dtype=torch.float64)
        error = damping[:, None] * (identity - torch.outer(p, p * a) / coarse / 2**count) * damping
        largest = max(largest, float(torch.linalg.eigvals(error).abs().max()))
    return largest


@pytest.mark.parametrize(("count", "n"), [(1, 1000), (2, 127), (3, 32)])
@pytest.mark.parametrize("sweeps", [1, 2])
def test_convergence_factor(count: int, n: int, sweeps: int) -> None:
    """x += cycle(b - A x) on Poisson contracts as two-grid theory says, though there are more grids and boundaries."""
    smoother = Chebyshev(sweeps)
    operator, cycle = box(*(n,) * count), GeometricMultigrid(smoother, torch.float64)
    state, b = cycle.init(operator), uniform(operator.shape[0])
    x, sizes = torch.zeros_like(b), []
    for _ in range(10):
        r = b - operator.mv(x)
        sizes.append(r.norm())
        x = x + cycle.apply(state, r)
    factor = float((sizes[-1] / sizes[4]) ** (1 / (len(sizes) - 5)))
    assert 0.5 * two_grid_factor(count, smoother) <= factor <= 1.5 * two_grid_factor(count, smoother)


@pytest.mark.parametrize(("sizes", "count"), [([31, 32, 63, 127, 128], 2), ([15, 31, 32, 45], 3)])
def test_steps_do_not_grow_with_the_grid(sizes: list[int], count: int) -> None:
    steps = [steps_of(solved(box(*(n,) * count))) for n in sizes]
    assert max(steps) - min(steps) <= 2
    assert max(steps) <= 9


@pytest.mark.slow
def test_steps_up_to_two_million_cells() -> None:
    steps = [steps_of(solved(box(n, n, n))) for n in (31, 63, 127)]
    assert max(steps) - min(steps) <= 2


@pytest.mark.parametrize("ends", list(itertools.product(ENDS, repeat=2)), ids="-".join)
def test_every_pair_of_ends(ends: tuple[str, str]) -> None:
    """Against a direct solve where there is no null space, on a grid that does not halve."""
    kinds = tuple(ENDS[name] for name in ends)
    operator = GridDiffusion((53, 38), (0.1, 0.13), uniform(53, 38).exp(), ends=kinds)
    result = solved(operator, 2)
    assert steps_of(result) <= 13
    b = uniform(2, operator.shape[0], seed=5)
    if operator.annihilates_constants:
        b = b - b.mean(-1, keepdim=True)
        assert result.value.mean(-1).abs().max() <= 1e-12
    exact, _ = linear_solve(operator.to_sparse(), b, SuperLU())
    torch.testing.assert_close(result.value, exact, rtol=0, atol=1e-7 * float(exact.abs().max()))


@pytest.mark.parametrize(
    "grid", [(1, 1), (1, 700), (700, 1), (3, 500, 2), (1000,), (601,), (17, 17, 3), (1, 1, 300), (2, 2, 90), (5, 67)]
)
@ends_of
def test_odd_thin_and_small_grids(grid: tuple[int, ...], ends: AbstractEnds) -> None:
    operator = GridDiffusion(grid, 0.5, ends=(ends,) * len(grid))
    if grid == (1, 1) and operator.annihilates_constants:
        b = torch.ones(1, dtype=torch.float64)
        assert linear_solve(operator, b, CG(GeometricMultigrid()), throw=False)[1].status == SolveStatus.INCOMPATIBLE
        return
    assert steps_of(solved(operator)) <= 10


def inclusion(*grid: int) -> Tensor:
    """1e6 in a ball that no coarse grid resolves exactly, 1 outside."""
    distance = torch.stack([(x - 0.47).square() for x in centres(*grid)]).sum(0)
    return torch.where(distance < 0.11, 1e6, 1.0).double()


def blocks(n: int, count: int) -> Tensor:
    """A chequerboard of 1 and 1e6 with ``count`` fields along each axis, which need not fit the cells."""
    index = [(x * count).floor() for x in centres(n, n)]
    return torch.where(sum(index) % 2 == 0, 1e6, 1.0).double()


def channels(n: int) -> Tensor:
    """1e6 in lines one cell wide."""
    row = torch.arange(n)
    return torch.where((row[:, None] % 7 == 0) | (row[None] % 11 == 0), 1e6, 1.0).double()


@pytest.mark.parametrize(
    "coefficient",
    [
        pytest.param(inclusion(128, 128), id="disc"),
        pytest.param(1.0 / inclusion(101, 128), id="hole"),
        pytest.param(inclusion(30, 30, 30), id="ball"),
        pytest.param(blocks(128, 4), id="chequers"),
        pytest.param(blocks(127, 13), id="small chequers"),
        pytest.param(channels(100), id="channels"),
    ],
)
def test_jumps_of_a_million(coefficient: Tensor) -> None:
    assert steps_of(solved(box(*coefficient.shape, coefficient=coefficient))) <= 30


@pytest.mark.parametrize("spacing", [(1.0, 1000**0.5), (1000**0.5, 1.0), (1.0, 1e3), (1.0, 30.0, 1000**0.5)], ids=str)
def test_anisotropy(spacing: tuple[float, ...]) -> None:
    operator = GridDiffusion((120, 120) if len(spacing) == 2 else (30, 32, 33), spacing)
    assert steps_of(solved(operator)) <= 12
    ratio = torch.tensor([(spacing[0] / h) ** 2 for h in spacing], dtype=torch.float64)
    by_coefficient = GridDiffusion(operator.grid, 1.0, ratio)
    assert steps_of(solved(by_coefficient)) <= 12


def test_a_coefficient_that_averages_cannot_follow_ends_with_a_status() -> None:
    """1 or 1e6 in each cell by chance: algebraic multigrid takes it (test_amg), this does not, and says so."""
    chance = torch.rand(96, 96, generator=seeded()) < 0.5
    operator = box(96, 96, coefficient=torch.where(chance, 1e6, 1.0).double())
    assert solved(operator, solver=CG(GeometricMultigrid(), max_steps=40)).status == SolveStatus.STEP_CAP


def test_float32_cycle_costs_no_digit_and_no_step() -> None:
    operator = box(60, 60, coefficient=uniform(60, 60).exp())
    single, double = (solved(operator, solver=CG(GeometricMultigrid(dtype=t))) for t in (torch.float32, torch.float64))
    assert abs(steps_of(single) - steps_of(double)) <= 1
    torch.testing.assert_close(single.value, double.value, rtol=0, atol=1e-8 * float(double.value.abs().max()))
    tight = solved(operator, solver=CG(GeometricMultigrid(), rtol=1e-13))
    assert steps_of(tight) <= 13


def test_scale_does_not_matter() -> None:
    """Coefficients and right-hand sides far outside what float32 holds."""
    plain, b = box(40, 40), uniform(1600)
    x = linear_solve(plain, b, CG(GeometricMultigrid()))[0]
    for exponent in (-200, 200):
        factor = 2.0**exponent
        scaled = box(40, 40, coefficient=factor)
        y, report = linear_solve(scaled, b * factor, CG(GeometricMultigrid()))
        torch.testing.assert_close(y, x, rtol=1e-8, atol=1e-10)
        assert int(report.stats["iterations"]) <= 9


def test_batch_of_right_hand_sides_as_if_alone() -> None:
    operator, solver = box(40, 33), CG(GeometricMultigrid())
    b = uniform(2, 3, operator.shape[0])
    b[1, 1] = 0
    b[0, 2] = torch.nan
    state = solver.init(operator)
    together = solver.compute(state, b)
    assert together.status.tolist() == [[0, 0, int(SolveStatus.NON_FINITE)], [0, 0, 0]]
    assert not together.value[1, 1].any()
    torch.testing.assert_close(together.value[1, 2], solver.compute(state, b[1, 2]).value, rtol=0, atol=1e-9)


def test_neumann_needs_a_compatible_right_hand_side() -> None:
    operator = box(20, 20, ends=Walls(FLUX, FLUX))
    with pytest.raises(SolveError, match="INCOMPATIBLE"):
        linear_solve(operator, uniform(400), CG(GeometricMultigrid()))
    nearly = box(20, 20, ends=Walls(FLUX, FLUX), reaction=1e-6)
    b = uniform(400)
    x = linear_solve(nearly, b, CG(GeometricMultigrid()))[0]
    torch.testing.assert_close(x.mean(), b.mean() / 1e-6, rtol=1e-6, atol=0)


def test_what_multigrid_refuses() -> None:
    cycle = GeometricMultigrid()
    with pytest.raises(TypeError, match="AlgebraicMultigrid"):
        cycle.init(DenseOperator(uniform(3, 3)))
    with pytest.raises(ValueError, match="reaction c >= 0"):
        cycle.init(box(20, 20, reaction=-1.0))
    with pytest.raises(ValueError, match="coefficient a > 0"):
        cycle.init(box(3, coefficient=torch.tensor([1.0, 0.0, 1.0])))
    with pytest.raises(TypeError, match="float32 or"):
        GeometricMultigrid(dtype=torch.float16)
    with pytest.raises(ValueError, match="sweeps"):
        Chebyshev(0)
    spoilt = box(3, coefficient=torch.tensor([1.0, torch.nan, 1.0]))
    result = CG(cycle).compute(CG(cycle).init(spoilt), torch.ones(3))
    assert result.status == SolveStatus.NON_FINITE


def test_in_single_precision_and_as_preconditioner_of_gmres() -> None:
    operator = box(50, 50, coefficient=torch.rand(50, 50, generator=seeded()) + 0.5)
    assert operator.dtype == torch.float32
    b = uniform(2500).float()
    for solver in (CG(GeometricMultigrid()), FGMRES(GeometricMultigrid())):
        x, report = linear_solve(operator, b, solver)
        assert x.dtype == torch.float32
        assert int(report.stats["iterations"]) <= 9
        assert (b - operator.mv(x)).norm() <= 1e-4 * b.norm()
    transposed, report = linear_solve(operator.T, b, CG(Jacobi(), max_steps=400))
    torch.testing.assert_close(transposed, x, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_on_cuda() -> None:
    operator = box(63, 63, 63, coefficient=torch.ones((), dtype=torch.float64, device="cuda"))
    b = uniform(2, operator.shape[0]).cuda()
    x, report = linear_solve(operator, b, CG(GeometricMultigrid()))
    assert x.is_cuda
    assert int(report.stats["iterations"].max()) <= 9
