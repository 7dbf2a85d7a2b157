"""Gaussians: closed derivatives against nested forward mode, the Jacobian, solves by residual, bad inputs."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.cholesky import Cholesky
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.covariance import AbstractCovariance
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.layout import AxisMap
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.experts.gaussians.slabs import AdaptiveSlabs
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.frames.abstract import NoLifting
from pdesolve.reference.suite import burgers_problem
from pdesolve.residual_minimisation import damped_qr
from pdesolve.residual_minimisation.problem_rows import condition_rows, equation_rows, sampled_faces
from pdesolve.training.solve import solve

DOMAIN = ps.Rectangle((-1, 1), (0, 2)) * ps.TimeInterval(0, 1)
FACTORS = 0.2 * uniform(4, 3, 3, seed=3) + 0.4 * torch.eye(3, dtype=torch.float64)
COVARIANCES: dict[str, AbstractCovariance] = {
    "diagonal": Diagonal.of(0.4 + 0.2 * uniform(4, 3, seed=1)),
    "full": Cholesky.of(FACTORS @ FACTORS.mT + 0.05 * torch.eye(3, dtype=torch.float64)),
}


@pytest.mark.parametrize("periodic", [(), ("x",)])
@pytest.mark.parametrize("kind", COVARIANCES)
@pytest.mark.parametrize("term", ["", "t", "xy", "xxxx", "txxy"])
def test_derivatives_are_those_of_forward_mode(kind: str, term: str, periodic: tuple[str, ...]) -> None:
    cloud = GaussianCloud(DOMAIN, 0.5 + 0.5 * uniform(4, 3, seed=2), COVARIANCES[kind], periodic)
    points = 0.5 + 0.5 * uniform(5, 3, seed=4)

    def value(p: Tensor, order: str = term) -> Tensor:
        if not order:
            return cloud.table(p, ("",))[""]
        direction = torch.zeros_like(p)
        direction[:, DOMAIN.axes.index(order[-1])] = 1.0
        return torch.func.jvp(lambda q: value(q, order[:-1]), (p,), (direction,))[1]

    expected = value(points)
    assert torch.allclose(cloud.table(points, (term,))[term], expected, atol=1e-12 * float(expected.abs().max()))


def test_periodic_images_close_the_axis() -> None:
    cloud = GaussianCloud(DOMAIN, uniform(4, 3, seed=2).abs(), COVARIANCES["full"], ("x",))
    points = uniform(6, 3, seed=5)
    moved = points.clone()
    moved[:, DOMAIN.axes.index("x")] += 2.0
    assert torch.allclose(cloud.table(points, ("x",))["x"], cloud.table(moved, ("x",))["x"], atol=1e-13)


BURGERS = ps.Problem(
    ps.Burgers(nu=0.1),
    ps.Interval(-1, 1) * ps.TimeInterval(0, 1),
    [ps.InitialCondition(lambda x: -torch.sin(torch.pi * x)), ps.Dirichlet(0.0)],
)


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_the_jacobian_of_all_parameters(kind: str, lifted: bool) -> None:
    shape = 0.2 * uniform(6, 2, 2, seed=1) + 0.4 * torch.eye(2, dtype=torch.float64)
    covariance: AbstractCovariance = (
        Diagonal.of(0.4 + 0.2 * uniform(6, 2, seed=1))
        if kind == "diagonal"
        else Cholesky.of(shape @ shape.mT + 0.05 * torch.eye(2, dtype=torch.float64))
    )
    cloud = GaussianCloud(BURGERS.domain, 0.5 + 0.5 * uniform(6, 2, seed=2), covariance)
    lifting = ps.AdditiveLifting(BURGERS) if lifted else NoLifting(("u",))
    sampler = ps.UniformSampler()
    points = {a: v[0] for a, v in sampler.sample(BURGERS.domain, 20, seeded()).items()}
    rows = [equation_rows(BURGERS, points, torch.ones(20, dtype=torch.float64))]
    rows += condition_rows(BURGERS, lifting, sampled_faces(BURGERS.box, 5, sampler, seeded(1)), 10.0)
    residual = GaussianResidual(BURGERS, cloud, lifting, rows, trained=True, unknown=("nu",))
    theta = residual.start(uniform(1, 6, seed=6))
    r, jacobian = residual.linearise(theta)
    expected = torch.func.jacfwd(residual.residual)(theta)
    assert torch.allclose(r, residual.residual(theta), rtol=1e-14)
    assert torch.allclose(jacobian, expected, atol=1e-12 * float(expected.abs().max()))


def helmholtz(kx: int, ky: int) -> ps.Problem:
    factor = 1.0 - (kx * kx + ky * ky) * math.pi**2

    def exact(x: Tensor, y: Tensor) -> Tensor:
        return torch.sin(kx * torch.pi * x) * torch.sin(ky * torch.pi * y)

    return ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy + f.u - factor * exact(c.x, c.y),
        ps.Rectangle((-1, 1), (-1, 1)),
        [ps.Dirichlet(0.0)],
        reference=lambda c, p: exact(c["x"], c["y"]),
    )


def test_helmholtz_by_one_solve() -> None:
    problem = helmholtz(1, 2)
    solution = solve(problem, PhysicsInformedGaussians({"x": 19, "y": 27}, overlaps=(2.0, 3.0)))
    assert problem.reference is not None
    exact = problem.reference(solution.field.grid.coordinates(), {}).reshape(solution.field.values.shape)
    assert float(solution.relative_error(exact)) < 1e-6
    assert float(solution.stats["worst_residual"]) < 1e-5


def burgers_error(**choices: object) -> tuple[float, PhysicsInformedGaussians]:
    """Of Burgers at ν = 0.1 against Cole-Hopf."""
    problem = burgers_problem(0.1)
    expert = PhysicsInformedGaussians({"t": 7, "x": 44}, overlaps=(2.0,), **choices)  # type: ignore[arg-type]
    solution = solve(problem, expert, ps.StructuredGrid.uniform(problem.box, (11, 21)))
    assert problem.reference is not None
    at = solution.field.grid.coordinates()
    exact = problem.reference(at, problem.parameters).reshape(solution.field.values.shape)
    return float(solution.relative_error(exact)), expert


def test_slabs_follow_a_nonlinear_equation() -> None:
    coarse, fine = (burgers_error(slabs=k, tolerance=1.0)[0] for k in (1, 5))
    assert fine < 1e-6 < coarse


def test_slabs_get_as_short_as_the_residual_asks() -> None:
    error, expert = burgers_error(slabs=AdaptiveSlabs(1e-6, length=1.0))
    assert error < 1e-5
    assert expert.report is not None
    ends = expert.report.history["time"]
    assert max(expert.report.history["residual"]) <= 1e-6
    assert ends[-1] == 1.0
    assert len(ends) > 1


def test_a_slab_begins_where_the_one_before_ended() -> None:
    """Values at the common time from either side, of one field and of two, one of them with no initial value."""
    pde = ps.FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx, f.v - f.u.x), fields=("u", "v"))
    box = ps.Interval(0, 1) * ps.TimeInterval(0, 0.2)
    start = [ps.InitialCondition(lambda x: torch.sin(math.pi * x), field="u"), ps.Dirichlet(0.0, field="u")]
    expert = PhysicsInformedGaussians({"t": 6, "x": 18}, slabs=2, overlaps=(2.0,))
    expert.fit(ps.Problem(pde, box, start))
    first, second = expert._pieces
    x = torch.linspace(0.0, 1.0, 33, dtype=torch.float64)
    points = torch.stack([torch.full_like(x, 0.1), x], dim=1)
    left, right = (piece.values(points, {}) for piece in (first, second))
    assert float((left - right)[0].abs().max()) < 1e-9
    assert float((left - right)[1].abs().max()) < 1e-4
    exact = torch.stack([torch.sin(math.pi * x), math.pi * torch.cos(math.pi * x)]) * math.exp(-0.1 * math.pi**2)
    assert float((right - exact).norm() / exact.norm()) < 1e-3


def test_waves_do_not_grow_from_slab_to_slab() -> None:
    """u_tt = u_xx over ten times the length."""
    problem = ps.Problem(
        lambda f, c, p: f.u.tt - f.u.xx,
        ps.Interval(0, 1) * ps.TimeInterval(0, 5),
        [
            ps.InitialCondition(lambda x: torch.sin(math.pi * x)),
            ps.InitialCondition(lambda x: 0.0 * x, order=1),
            ps.Dirichlet(0.0),
        ],
    )
    expert = PhysicsInformedGaussians({"t": 10, "x": 12}, slabs=10, overlaps=(2.0,))
    solution = solve(problem, expert, ps.StructuredGrid.uniform(problem.box, (51, 21)))
    at = solution.field.grid.coordinates()
    exact = torch.sin(math.pi * at["x"]) * torch.cos(math.pi * at["t"])
    assert float(solution.relative_error(exact.expand_as(solution.field.values))) < 1e-4


def test_equal_slabs_of_a_linear_equation_share_their_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    factorise = damped_qr.DampedQR.__init__

    def counted(self: damped_qr.DampedQR, jacobian: Tensor, damping: float) -> None:
        made.append(jacobian.shape)
        factorise(self, jacobian, damping)

    monkeypatch.setattr(damped_qr.DampedQR, "__init__", counted)
    box = ps.Interval(0, 1) * ps.TimeInterval(0, 0.2)
    for rate, count in ((lambda c: 1.0, 1), (lambda c: 1.0 + c.t, 4)):
        problem = ps.Problem(
            ps.FunctionPDE(lambda f, c, p, rate=rate: f.u.t - rate(c) * f.u.xx, fields=("u",)),
            box,
            [ps.InitialCondition(lambda x: torch.sin(math.pi * x)), ps.Dirichlet(0.0)],
        )
        made.clear()
        PhysicsInformedGaussians({"t": 6, "x": 14}, slabs=4, overlaps=(2.0,)).fit(problem)
        assert sum(shape[1] == 84 for shape in made) == count


def test_a_slab_that_fails_is_named_with_its_time() -> None:
    expert = PhysicsInformedGaussians(21, slabs=2, overlaps=(1.0,), tolerance=1e-8)
    with pytest.raises(ps.SolveError, match=r"slab 1, which ends at t = 0\.5.*more Gaussians"):
        solve(BURGERS, expert)
    solution = solve(BURGERS, expert, throw=False)
    assert not bool(solution.converged)
    assert bool(solution.field.values[:, :, -1].isnan().all())


def test_a_source_that_is_nan_is_a_status() -> None:
    problem = ps.Problem(
        lambda f, c, p: f.u.xx + f.u.yy - torch.where(c.x > 1.9, torch.nan, 1.0),
        ps.Rectangle((0, 2), (0, 1)),
        [ps.Dirichlet(0.0)],
    )
    solution = solve(problem, PhysicsInformedGaussians(64, overlaps=(2.0,)), throw=False)
    assert int(solution.status[0, 0]) == ps.SolveStatus.NON_FINITE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Diagonal.of(torch.tensor([[0.1, 0.0, 0.1]])), "widths must be positive"),
        (lambda: Diagonal.of(torch.tensor([[0.1, -0.1, 0.1]])), "widths must be positive"),
        (lambda: Cholesky.of(-torch.eye(2, dtype=torch.float64)[None]), "positive definite"),
        (lambda: GaussianCloud(DOMAIN, 9.0 * torch.ones(4, 3), COVARIANCES["full"]), "outside the domain along 't'"),
        (lambda: GaussianCloud(DOMAIN, torch.full((4, 3), math.nan), COVARIANCES["full"]), "outside the domain"),
        (lambda: GaussianCloud(DOMAIN, torch.ones(3, 3), COVARIANCES["full"]), "as many covariances"),
        (lambda: PhysicsInformedGaussians(0), "count"),
        (lambda: PhysicsInformedGaussians(10, points=0.5), "fewer leave weights undetermined"),
        (lambda: PhysicsInformedGaussians(10, overlaps=(-1.0,)), "overlaps"),
        (lambda: PhysicsInformedGaussians(10, slabs=(0.5, 0.2, 1.0)), "slabs must be rising"),
        (lambda: PhysicsInformedGaussians(10, slabs=2).fit(helmholtz(1, 1)), "need a time axis"),
        (lambda: PhysicsInformedGaussians({"x": 9, "z": 9}).fit(helmholtz(1, 1)), "axis 'z'"),
        (lambda: PhysicsInformedGaussians({"x": 9}).fit(helmholtz(1, 1)), "not for y"),
        (lambda: AdaptiveSlabs(0.0), "tolerance above 0"),
        (lambda: AxisMap.of(lambda s: -s), "must rise"),
        (lambda: PhysicsInformedGaussians(10).problem, "no problem yet"),
    ],
)
def test_bad_inputs_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_an_order_above_the_closed_forms_is_refused() -> None:
    problem = ps.Problem(lambda f, c, p: f.u.xxxxx + f.u, ps.Interval(0, 1), [ps.Dirichlet(0.0)])
    with pytest.raises(ValueError, match=r"order 5.*order 4"):
        solve(problem, PhysicsInformedGaussians(10))


def test_a_family_expert_is_sent_to_train() -> None:
    with pytest.raises(TypeError, match="train"):
        solve(BURGERS, object())  # type: ignore[arg-type]
