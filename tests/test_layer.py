"""The constraint layer: exact recovery, gradients, batches, and each of the bad inputs it must answer for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import COUPLINGS, EXACT_CASES, EXPERTS, ExactCase, grid_layer, monomial_expert, named, seeded, uniform
from torch import Tensor, nn

from pdesolve.condition import Dirichlet, InitialCondition, Neumann, Periodic
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation, ForwardMode
from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains import Interval, StructuredGrid, TimeInterval, cartesian_decomposition
from pdesolve.experts.coordinate_network import CoordinateNetwork
from pdesolve.experts.coupling import InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.row_weight import TimePower
from pdesolve.experts.rows import RowCounts
from pdesolve.experts.soft_constraint_expert import SoftConstraintExpert
from pdesolve.frames.abstract import FunctionLifting, NoLifting, points_at
from pdesolve.frames.generic import generic_frame
from pdesolve.frames.transfinite import ScaledCoordinates, TransfiniteLifting
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.pde.heat import Heat
from pdesolve.problem import Problem, ProblemFamily, Uniform
from pdesolve.status import SolveError, SolveStatus

BY_NAME = {case.name: case for case in EXACT_CASES}
HEAT, BURGERS, POISSON = (BY_NAME[name] for name in ("heat 1-D", "Burgers", "Poisson 2-D"))
CASES = pytest.mark.parametrize("case", EXACT_CASES, ids=named)


def names(status: Tensor) -> list[list[str]]:
    return [[SolveStatus(int(code)).name for code in row] for row in status]


# Exact solutions are recovered.


@CASES
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("patches", [1, 3, 4])
def test_a_basis_that_holds_the_solution_gives_it_back(case, coupling, patches):
    """On 11 nodes along x: neither 3 nor 4 patches divide the grid."""
    layer = grid_layer(case, {"x": patches}, coupling=COUPLINGS[coupling])
    basis = case.basis(case.grid, 5, batch=2)
    u, report = layer(basis)
    assert report.status.shape == (2, patches)
    assert report.weights.shape == (2, patches, 5)
    exact = case.on(case.grid).expand_as(u)
    tolerance = 1e-5 if patches > 1 and coupling == "independent" else 1e-6  # a middle patch sees the equation only
    if coupling == "independent" and patches > 1:
        u = u[..., :1] if case.grid.axes[-1] == "x" else u  # the first patch touches the left boundary
        exact = exact[..., : u.shape[-1]]
        if case.grid.axes[-1] != "x":
            return
    torch.testing.assert_close(u, exact, rtol=0, atol=tolerance * float(exact.abs().max()))


def test_a_lifting_that_is_the_solution_already_leaves_nothing_to_solve():
    """The rows hold nothing but the round-off of F(g), which is no failure."""
    lifting = TransfiniteLifting(POISSON.problem)
    u, report = grid_layer(POISSON, lifting=lifting, throw=False)(POISSON.basis(POISSON.grid, 4))
    assert names(report.status) == [["CONVERGED"]]
    torch.testing.assert_close(u[0], POISSON.on(POISSON.grid), rtol=0, atol=1e-9)


def test_a_lifting_leaves_only_the_equation():
    """u = sin(πx) exp(-κπ²t) + x: g meets the conditions, one field is the rest."""
    kappa, pi = 0.1, torch.pi

    def exact(x: Tensor, t: Any) -> Tensor:
        return torch.sin(pi * x) * torch.exp(-kappa * pi * pi * t) + x

    problem = Problem(
        Heat(kappa),
        HEAT.problem.domain,
        [InitialCondition(lambda x: torch.sin(pi * x) + x), Dirichlet(0.0, on="left"), Dirichlet(1.0, on="right")],
    )
    grid = StructuredGrid.uniform(problem.domain, (41, 41))
    at = grid.coordinates()
    inside = {a: v.reshape(1, 1, -1) for a, v in at.items()}
    lifting = TransfiniteLifting(problem)
    g, m = lifting.lift(points_at(inside, {}))["u"], lifting.multiplier(points_at(inside, {}))["u"]
    ratio = torch.where(m.abs() > 1e-12, (exact(**inside) - g) / m, torch.zeros_like(m)).reshape(1, 1, 41, 41)
    spread = torch.stack([torch.cos(k * at["x"] + at["t"]) for k in (1.0, 2.0)]).unsqueeze(0)
    layer = HardConstraintLayer(problem, FiniteDifferences(grid, 4), RowCounts(400), lifting=lifting)
    u, _ = layer(torch.cat([spread, ratio + spread[:, :1]], 1))
    torch.testing.assert_close(u[0, 0], exact(at["x"], at["t"]), rtol=0, atol=2e-3)


@CASES
def test_collocation_recovers_polynomials(case):
    grid = StructuredGrid.uniform(case.problem.domain, (5,) * len(case.grid.axes))
    solution = monomial_expert(case)({}, grid)
    assert bool(solution.converged.all())
    torch.testing.assert_close(solution.field.values[0], case.on(grid), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_forward_mode_gives_the_same_solution():
    grid = StructuredGrid.uniform(HEAT.problem.domain, (5, 5))
    expert = monomial_expert(HEAT)
    other = HardConstraintExpert(
        expert.backbone,
        HardConstraintLayer(HEAT.problem, Collocation(differentiation=ForwardMode()), RowCounts(150, 40)),
    )  # fmt: skip
    torch.testing.assert_close(other({}, grid).field.values, expert({}, grid).field.values, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", EXPERTS)
@CASES
def test_every_expert_solves_every_case(name, case):
    grid = StructuredGrid.uniform(case.problem.domain, (6,) * len(case.grid.axes))
    solution = EXPERTS[name](case)({}, grid)
    assert bool(solution.converged.all())
    torch.testing.assert_close(solution.field.values[0], case.on(grid), rtol=0, atol=1e-5)


def test_a_steady_problem_needs_no_time():
    layer = grid_layer(POISSON)
    with pytest.raises(ValueError, match="initial"):
        layer(POISSON.basis(POISSON.grid, 4), initial_condition=torch.zeros(1, 12))


def test_an_initial_condition_of_the_call_replaces_the_problem_s():
    layer = grid_layer(HEAT)
    basis = HEAT.basis(HEAT.grid, 4)
    own, _ = layer(basis)
    x = HEAT.grid.axis_nodes("x")
    given, _ = layer(basis, initial_condition=(x**4).unsqueeze(0))
    torch.testing.assert_close(given, own, rtol=0, atol=1e-8)
    other, _ = layer(basis, initial_condition=(x**4 + 1).unsqueeze(0))
    assert float((other - own).abs().max()) > 1e-2


# Dtypes, devices, gradients.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_the_basis_is_that_of_the_solution(dtype):
    u, report = grid_layer(HEAT)(HEAT.basis(HEAT.grid, 4).to(dtype))
    assert u.dtype == dtype
    assert report.weights.dtype == torch.float64
    exact = HEAT.on(HEAT.grid).to(dtype)
    torch.testing.assert_close(u[0], exact, rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("patches", [1, 3])
def test_cuda_gives_the_same_solution(patches):
    layer = grid_layer(BURGERS, {"x": patches}, coupling=InterfaceRows())
    basis = BURGERS.basis(BURGERS.grid, 4)
    cpu, _ = layer(basis)
    cuda, report = layer(basis.cuda().requires_grad_())
    assert cuda.device.type == report.status.device.type == "cuda"
    cuda.square().sum().backward()
    torch.testing.assert_close(cuda.detach().cpu(), cpu, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("case", [HEAT, BURGERS], ids=named)
def test_gradcheck_to_basis_initial_condition_and_parameters(case, coupling):
    small = replace(case, shape=(6, 8))
    layer = grid_layer(
        small, {"x": 2}, coupling=COUPLINGS[coupling], rows=RowCounts(8, 6, 4),
        solver=LevenbergMarquardt(gtol=1e-12, max_steps=200),
    )  # fmt: skip
    basis = uniform(1, 3, 6, 8, seed=1).requires_grad_()
    initial = uniform(1, 8, seed=2).requires_grad_()
    name = next(iter(case.problem.parameters))
    parameter = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)

    def weights(basis: Tensor, initial: Tensor, parameter: Tensor) -> Tensor:
        u, _ = layer(basis, initial, {name: parameter})
        return torch.tanh(u).flatten(1) @ uniform(48, 3, seed=7)

    assert torch.autograd.gradcheck(
        weights, (basis, initial, parameter), eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True
    )


def test_gradients_reach_a_float32_basis():
    basis = HEAT.basis(HEAT.grid, 4).float().requires_grad_()
    grid_layer(HEAT)(basis)[0].square().mean().backward()
    assert basis.grad.dtype == torch.float32
    assert bool(torch.isfinite(basis.grad).all())
    assert float(basis.grad.abs().max()) > 0


def test_a_foreign_model_around_the_layer_learns():
    """A convolution makes the basis; the loss is the distance to the solution, and falls."""
    grid, batch = BURGERS.grid, 2
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 4, 3, padding=1))
    at = torch.stack([v.float() for v in grid.coordinates().values()]).expand(batch, -1, -1, -1)
    layer = grid_layer(BURGERS, solver=LevenbergMarquardt(max_steps=200), throw=False)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        u, report = layer(network(at))
        assert bool((report.status == SolveStatus.CONVERGED).all())
        loss = (u - BURGERS.on(grid).float()).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_an_expert_s_training_residual_falls():
    conditions = [InitialCondition(lambda x: torch.sin(3 * x)), Dirichlet(0.0, on="left"), Neumann(0.0, on="right")]
    problem = Problem(Heat(0.2), Interval(0, 1) * TimeInterval(0, 1), conditions)
    frame = generic_frame(problem)
    network = CoordinateNetwork(frame.coordinates.n_features, 4, widths=(8,), generator=seeded())
    ansatz = Ansatz(network, frame.coordinates, frame.lifting)
    expert = HardConstraintExpert(ansatz, HardConstraintLayer(problem, Collocation(), RowCounts(100, 20)))
    optimizer = torch.optim.Adam(expert.parameters(), 1e-2)
    costs = []
    for _ in range(15):
        rows, status = expert.residual({}, seeded(3))
        assert bool((status == SolveStatus.CONVERGED).all())
        cost = 0.5 * sum(r.square().sum() for r in rows.values())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(float(cost.detach()))
    assert costs[-1] < 0.8 * costs[0]


# Batches.


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("case", [HEAT, BURGERS], ids=named)
def test_a_case_alone_equals_the_same_case_in_a_batch(case, coupling):
    layer = grid_layer(case, {"x": 2}, coupling=COUPLINGS[coupling])
    basis = case.basis(case.grid, 4, batch=3)
    basis[1] *= 1e-3
    basis[2, 1] = basis[2, 0] + 1e-9 * basis[2, 1]  # asks for whitening
    name = next(iter(case.problem.parameters))
    parameter = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    together, report = layer(basis, parameters={name: parameter})
    for i in range(2):
        alone, single = layer(basis[i : i + 1], parameters={name: parameter[i : i + 1]})
        torch.testing.assert_close(together[i], alone[0], rtol=0, atol=1e-9 * float(alone.abs().max()))
        assert report.stats["iterations"][i].tolist() == single.stats["iterations"][0].tolist()


def test_permuting_the_batch_permutes_the_result():
    layer = grid_layer(BURGERS, {"x": 2}, coupling=InterfaceRows())
    basis = BURGERS.basis(BURGERS.grid, 4, batch=4)
    nu = torch.tensor([0.05, 0.1, 0.2, 0.4], dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    u, report = layer(basis, parameters={"nu": nu})
    v, other = layer(basis[order], parameters={"nu": nu[order]})
    torch.testing.assert_close(v, u[order], rtol=1e-10, atol=1e-10)
    assert torch.equal(other.status, report.status[order])


def test_one_basis_serves_many_parameters():
    layer = grid_layer(HEAT)
    kappa = torch.tensor([0.3, 0.5], dtype=torch.float64)
    basis = HEAT.basis(HEAT.grid, 4)
    u, report = layer(basis, parameters={"kappa": kappa})
    v, _ = layer(basis.expand(2, -1, -1, -1), parameters={"kappa": kappa})
    assert report.status.shape == (2, 1)
    torch.testing.assert_close(u, v)


def test_calls_repeat_and_generators_vary():
    layer, basis = grid_layer(HEAT, rows=RowCounts(20, 10)), uniform(1, 4, 11, 13)
    first, second = layer(basis)[0], layer(basis)[0]
    assert torch.equal(first, second)
    assert not torch.equal(first, layer(basis, generator=seeded(5))[0])


def test_non_contiguous_bases_are_fine():
    basis = HEAT.basis(HEAT.grid, 4)
    turned = basis.transpose(-1, -2).contiguous().transpose(-1, -2)
    torch.testing.assert_close(grid_layer(HEAT)(turned)[0], grid_layer(HEAT)(basis)[0])


# Bad inputs: the basis.


@pytest.mark.parametrize(
    ("basis", "error", "message"),
    [
        (lambda: uniform(1, 4, 11, 12), ValueError, r"shape \(1, 4, 11, 12\).*11, 13"),
        (lambda: uniform(4, 11, 13), ValueError, "n_basis"),
        (lambda: uniform(1, 4, 2, 11, 13), ValueError, "shape"),
        (lambda: uniform(0, 4, 11, 13), ValueError, "at least one case"),
        (lambda: uniform(1, 0, 11, 13), ValueError, "at least one"),
        (lambda: uniform(3, 4, 11, 13).half(), TypeError, "float16"),
        (lambda: uniform(3, 4, 11, 13).bfloat16(), TypeError, "bfloat16"),
        (lambda: uniform(1, 4, 11, 13).to(torch.complex64), TypeError, "complex64"),
        (lambda: torch.ones(1, 4, 11, 13, dtype=torch.int64), TypeError, "int64"),
        (lambda: uniform(1, 4, 11, 13).numpy(), TypeError, "ndarray"),
        (lambda: None, TypeError, "NoneType"),
        (lambda: uniform(3, 4, 11, 13), ValueError, "3 cases.*kappa"),
    ],
    ids=["nodes", "no batch", "components", "no case", "no field", "half", "bfloat16", "complex", "integer", "numpy",
         "none", "batch against parameters"],
)  # fmt: skip
def test_wrong_bases_are_refused(basis, error, message):
    with pytest.raises(error, match=message):
        grid_layer(HEAT)(basis(), parameters={"kappa": torch.ones(2)})


@pytest.mark.parametrize(
    ("initial", "error", "message"),
    [
        (lambda: uniform(1, 12), ValueError, r"shape \(1, 12\).*13"),
        (lambda: uniform(13), ValueError, r"\(13,\)|shape"),
        (lambda: uniform(3, 13), ValueError, "shape"),
        (lambda: uniform(1, 2, 13), ValueError, "shape"),
        (lambda: torch.ones(1, 13, dtype=torch.int64), TypeError, "int64"),
        (lambda: torch.ones(1, 13, device="meta"), TypeError, "meta"),
        (lambda: [0.0] * 13, TypeError, "list"),
    ],
    ids=["nodes", "no batch", "batch", "components", "integer", "device", "list"],
)
def test_wrong_initial_conditions_are_refused(initial, error, message):
    with pytest.raises(error, match=message):
        grid_layer(HEAT)(uniform(2, 4, 11, 13), initial())


def test_an_initial_condition_beside_a_lifting_that_imposes_one_is_refused():
    layer = grid_layer(HEAT, lifting=TransfiniteLifting(HEAT.problem))
    with pytest.raises(ValueError, match="lifting imposes"):
        layer(uniform(1, 4, 11, 13), uniform(1, 13))


@pytest.mark.gpu
def test_an_initial_condition_on_another_device_is_refused():
    with pytest.raises(TypeError, match="device of the basis"):
        grid_layer(HEAT)(uniform(1, 4, 11, 13).cuda(), uniform(1, 13))


def test_unknown_parameters_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'kapa'.*'kappa'"):
        grid_layer(HEAT)(uniform(1, 4, 11, 13), parameters={"kapa": 1.0})


# Bad inputs: points and patches.


def test_fewer_points_than_unknowns_are_refused():
    with pytest.raises(ValueError, match=r"10 basis fields.*RowCounts"):
        grid_layer(HEAT, rows=RowCounts(3, 2))(uniform(1, 10, 11, 13))


def test_padding_does_not_count_as_points():
    """Middle patches touch no boundary: 60 padded rows must not hide that 5 points meet 10 unknowns."""
    with pytest.raises(ValueError, match="basis fields"):
        grid_layer(HEAT, {"x": 3}, rows=RowCounts(5, 20))(uniform(1, 10, 11, 13))


def test_every_equation_of_a_system_counts_as_a_row():
    case = BY_NAME["reaction system"]
    boundless = HardConstraintLayer(
        case.problem,
        FiniteDifferences(case.grid, 4),
        RowCounts(30),
        lifting=TransfiniteLifting(case.problem),
        throw=False,
    )
    u, _ = boundless(uniform(1, 40, 2, 11, 13))
    assert u.shape == (1, 2, 11, 13)


def test_more_unknowns_than_nodes_are_refused():
    """A patch of 2 x 3 inner nodes cannot carry 20 fields, however often its nodes are drawn."""
    grid = StructuredGrid.uniform(HEAT.problem.domain, (7, 7))
    layer = HardConstraintLayer(HEAT.problem, FiniteDifferences(grid), RowCounts(400, 1))
    with pytest.raises(ValueError, match="basis fields"):
        layer(uniform(1, 60, 7, 7))


def test_a_patch_without_points_is_refused():
    """Of 11 patches along 13 nodes the outermost own boundary nodes only."""
    with pytest.raises(ValueError, match="patch 0 has no node inside the domain"):
        grid_layer(HEAT, {"x": 13})(uniform(1, 2, 11, 13))


def test_more_patches_than_nodes_are_refused():
    with pytest.raises(ValueError, match="too few for 14 patches"):
        cartesian_decomposition(HEAT.grid, {"x": 14})


@pytest.mark.parametrize(
    "counts", [{"interior": 0}, {"interior": 5, "boundary": 0}, {"interior": 2.5}, {"interior": True}]
)
def test_wrong_row_counts_are_refused(counts):
    with pytest.raises(ValueError, match="integer >= 1"):
        RowCounts(**counts)


def test_a_decomposition_of_another_grid_is_refused():
    decomposition = cartesian_decomposition(StructuredGrid.uniform(HEAT.problem.domain, (11, 13)), {"x": 2})
    with pytest.raises(ValueError, match="must cut the grid"):
        HardConstraintLayer(HEAT.problem, FiniteDifferences(HEAT.grid), decomposition=decomposition)(
            uniform(1, 3, 11, 13)
        )


@pytest.mark.parametrize(
    "domain", [Interval(0, 2) * TimeInterval(0, 1), Interval(0, 1), Interval(0, 1) * TimeInterval(0, 2)],
    ids=["longer", "no time", "later"],
)  # fmt: skip
def test_a_grid_of_another_domain_is_refused(domain):
    grid = StructuredGrid.uniform(domain, (9,) * len(domain.axes))
    with pytest.raises(ValueError, match="domain"):
        HardConstraintLayer(HEAT.problem, FiniteDifferences(grid))(uniform(1, 3, *grid.shape))


def test_a_cell_centred_grid_cannot_carry_boundary_rows():
    grid = StructuredGrid.cell_centred(HEAT.problem.domain, (11, 13))
    with pytest.raises(ValueError, match="no nodes on boundary 'left'"):
        HardConstraintLayer(HEAT.problem, FiniteDifferences(grid))(uniform(1, 3, 11, 13))


def test_a_derivative_that_the_grid_cannot_give_is_refused():
    problem = Problem(lambda f, c, p: f.u.t + f.u.xxxxx, HEAT.problem.domain, (InitialCondition(0.0), Dirichlet(0.0)))
    with pytest.raises(ValueError, match="derivatives 1 to 4"):
        HardConstraintLayer(problem, FiniteDifferences(HEAT.grid))(uniform(1, 3, 11, 13))
    coarse = StructuredGrid.uniform(HEAT.problem.domain, (4, 4))
    with pytest.raises(ValueError, match="has 4 nodes"):
        HardConstraintLayer(HEAT.problem, FiniteDifferences(coarse, 4))(uniform(1, 2, 4, 4))


def test_the_wrong_kind_of_basis_is_refused():
    with pytest.raises(TypeError, match="no fields on a grid"):
        HardConstraintLayer(HEAT.problem, Collocation())(uniform(1, 3, 11, 13))
    with pytest.raises(TypeError, match="needs a layer with Collocation"):
        HardConstraintExpert(monomial_expert(HEAT).backbone, grid_layer(HEAT))
    with pytest.raises(TypeError, match="AbstractDiscretization"):
        HardConstraintLayer(HEAT.problem, HEAT.grid)
    points = Collocation().interior(cartesian_decomposition(HEAT.problem.domain, {}), 3, seeded())
    with pytest.raises(TypeError, match="Ansatz"):
        Collocation().expand(nn.Linear(1, 1), points, {}, ("",))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(ValueError, match="must be finite"):
        grid_layer(HEAT, condition_weight=weight)
    if weight:
        with pytest.raises(ValueError, match="must be finite"):
            TimePower(weight)
    with pytest.raises(ValueError, match="must be finite"):
        InterfaceRows(weight)


def test_an_ansatz_that_does_not_fit_the_problem_is_refused():
    system = BY_NAME["reaction system"].problem
    coordinates = ScaledCoordinates(system)
    network = CoordinateNetwork(2, 5, generator=seeded())
    grid = StructuredGrid.uniform(system.domain, (4, 4))
    layer = HardConstraintLayer(system, Collocation(), RowCounts(50))
    with pytest.raises(ValueError, match=r"fields?.*u.*v"):
        HardConstraintExpert(Ansatz(network, coordinates, NoLifting(("u",))), layer)({}, grid)
    with pytest.raises(ValueError, match=r"divi|multiple|5"):
        HardConstraintExpert(Ansatz(network, coordinates, NoLifting(("u", "v")), ("u", "v")), layer)({}, grid)


def test_periodic_conditions_reach_the_solve_or_are_refused():
    """A Fourier mode that is not periodic on the domain must not pass as a solution."""
    problem = Problem(
        Heat(0.1), HEAT.problem.domain, [InitialCondition(lambda x: torch.sin(2 * torch.pi * x)), Periodic("x")]
    )
    grid = HEAT.grid
    at = grid.coordinates()
    t, x = at["t"], at["x"]
    mode = 2 * torch.pi
    fields = [torch.exp(-0.1 * mode**2 * t) * torch.sin(mode * x), x, torch.ones_like(x), x * x + 0.2 * t]
    layer = HardConstraintLayer(problem, FiniteDifferences(grid, 4), RowCounts(200, 40))
    try:
        u, _ = layer(torch.stack(fields)[None])
    except (NotImplementedError, ValueError) as error:
        assert "periodic" in str(error).lower()  # noqa: PT017
        return
    rows = layer.assemble(_source(layer, torch.stack(fields)[None]), problem.batch_parameters(), seeded())
    assert len(rows.rows) + len(rows.interfaces) > 2, "equation and initial rows only: the condition was dropped"
    torch.testing.assert_close(u[..., 0], u[..., -1], rtol=0, atol=1e-3)


def _source(layer: HardConstraintLayer, basis: Tensor) -> Any:
    grid = layer.discretization.grid
    return GridBasis.lifted(layer.problem, grid, basis, layer.lifting, layer.problem.batch_parameters())


def test_a_problem_without_parameters_can_be_solved_by_every_expert():
    problem = BY_NAME["transport"].problem
    assert not problem.parameters
    network = CoordinateNetwork(2, 1, generator=seeded())
    ansatz = Ansatz(network, ScaledCoordinates(problem), NoLifting(("u",)))
    layer = HardConstraintLayer(problem, Collocation(), RowCounts(50))
    grid = StructuredGrid.uniform(problem.domain, (4, 5))
    for expert in (SoftConstraintExpert(ansatz, layer), HardConstraintExpert(ansatz, layer)):
        assert expert({}, grid, throw=False).field.values.shape == (1, 1, 4, 5)


def test_a_family_of_diffusivities_has_a_frame():
    """The conditions do not read κ, the coordinates do: batches of κ must broadcast."""
    problem = Problem(Heat(), HEAT.problem.domain, [InitialCondition(0.0), Dirichlet(1.0)])
    frame = generic_frame(ProblemFamily(problem, {"kappa": Uniform(0.1, 1.0)}))
    network = CoordinateNetwork(frame.coordinates.n_features, 6, widths=(8,), generator=seeded())
    expert = HardConstraintExpert(
        Ansatz(network, frame.coordinates, frame.lifting), HardConstraintLayer(problem, Collocation(), RowCounts(60))
    )
    grid = StructuredGrid.uniform(problem.domain, (4, 5))
    solution = expert({"kappa": torch.tensor([0.2, 0.8])}, grid)
    assert solution.field.values.shape == (2, 1, 4, 5)
    assert bool(torch.isfinite(solution.field.values).all())


# Bad inputs: members that fail alone.


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("what", ["basis", "initial", "parameter", "infinite parameter"])
def test_only_the_sample_that_is_not_finite_fails(what, coupling):
    layer = grid_layer(BURGERS, {"x": 2}, coupling=COUPLINGS[coupling], throw=False)
    basis = BURGERS.basis(BURGERS.grid, 4, batch=3)
    initial, nu = torch.ones(3, 13, dtype=torch.float64), torch.full((3,), 0.05, dtype=torch.float64)
    clean, _ = layer(basis, initial, {"nu": nu})
    if what == "basis":
        basis = basis.clone()
        basis[1, 0] = torch.nan
    elif what == "initial":
        initial[1] = torch.nan
    else:
        nu[1] = torch.nan if what == "parameter" else torch.inf
    u, report = layer(basis, initial, {"nu": nu})
    assert "NON_FINITE" in names(report.status)[1]
    assert names(report.status)[0] == names(report.status)[2] == ["CONVERGED"] * 2
    assert torch.equal(u[[0, 2]], clean[[0, 2]])
    with pytest.raises(SolveError, match=r"NON_FINITE.*NaN or Inf"):
        HardConstraintLayer(BURGERS.problem, layer.discretization, layer.rows, decomposition=layer.decomposition)(
            basis, initial, {"nu": nu}
        )


def test_a_failed_sample_spoils_no_gradient_of_a_shared_network():
    """One NaN parameter: the gradient of the other samples' loss stays finite, and what it was."""
    layer = grid_layer(BURGERS, throw=False)
    grads = []
    for bad in (0.05, math.nan):
        shared = BURGERS.basis(BURGERS.grid, 4).requires_grad_()
        u, report = layer(shared.expand(3, -1, -1, -1), parameters={"nu": torch.tensor([0.05, bad, 0.3]).double()})
        good = (report.status == SolveStatus.CONVERGED).all(1)
        good[1] = False
        grads.append(torch.autograd.grad(u[good].square().sum(), shared)[0])
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["equal", "zero", "all equal"])
def test_equal_and_zero_fields_are_solved(kind):
    basis = HEAT.basis(HEAT.grid, 4, batch=2)
    spoilt = basis.clone()
    if kind == "equal":
        spoilt = torch.cat([basis, basis[:, 3:]], 1)
    elif kind == "zero":
        spoilt = torch.cat([basis, 0 * basis[:, :1]], 1)
    else:
        spoilt[1] = HEAT.on(HEAT.grid)
    u, report = grid_layer(HEAT)(spoilt.requires_grad_())
    assert names(report.status) == [["CONVERGED"]] * 2
    torch.testing.assert_close(u, HEAT.on(HEAT.grid).expand_as(u), rtol=0, atol=1e-5)
    u.square().sum().backward()
    assert bool(torch.isfinite(spoilt.grad).all())


def sorption() -> tuple[HardConstraintLayer, Tensor]:
    domain = Interval(0, 1) * TimeInterval(0, 500)
    conditions = [InitialCondition(0.0), Dirichlet(1.0, on="left"), Neumann(0.0, on="right")]
    problem = Problem(DiffusionSorption(), domain, conditions)
    grid = StructuredGrid.uniform(domain, (9, 15))
    return HardConstraintLayer(problem, FiniteDifferences(grid), RowCounts(60, 9), throw=False), uniform(2, 4, 9, 15)


@pytest.mark.parametrize("sign", [0.0, -1.0])
def test_retardation_at_and_below_zero_stays_finite(sign):
    """R(u) is singular at u = 0, where the solve starts: w = 0."""
    layer, basis = sorption()
    u, report = layer(sign * basis.abs() if sign else basis)
    assert not any("NON_FINITE" in row for row in names(report.status))
    assert bool(torch.isfinite(u).all())


def test_a_logarithm_of_a_negative_value_fails_that_sample_only():
    problem = Problem(
        lambda f, c, p: f.u.t - torch.log(f.u + p.shift), HEAT.problem.domain, [InitialCondition(1.0)], {"shift": 1.0}
    )
    layer = HardConstraintLayer(problem, FiniteDifferences(HEAT.grid), RowCounts(60, 13), throw=False)
    basis = torch.cat([torch.ones(2, 1, 11, 13, dtype=torch.float64), uniform(2, 2, 11, 13)], 1)
    _, report = layer(basis, parameters={"shift": torch.tensor([2.0, -1.0])})
    assert names(report.status)[1] == ["NON_FINITE"]
    assert names(report.status)[0] != ["NON_FINITE"]


def test_the_step_cap_is_a_failure_with_a_remedy():
    layer = grid_layer(BURGERS, solver=LevenbergMarquardt(max_steps=1))
    basis = uniform(2, 4, 11, 13)
    with pytest.raises(SolveError, match=r"2 of 2 solves ended as STEP_CAP.*raise max_steps.*throw=False"):
        layer(basis)
    quiet = grid_layer(BURGERS, solver=LevenbergMarquardt(max_steps=1), throw=False)
    u, report = quiet(basis)
    assert names(report.status) == [["STEP_CAP"]] * 2
    assert bool(torch.isfinite(u).all())


def test_divergence_concerns_its_samples_only():
    """p = 1 hides half of the derivative from autograd, so every step climbs."""

    def residual(f: Any, c: Any, p: Any) -> Any:
        honest, wrong = f.u.t - c.x, 2.0 * f.u.t.detach() - f.u.t - c.x
        return (1.0 - p.wrong) * honest + p.wrong * wrong

    problem = Problem(residual, HEAT.problem.domain, [InitialCondition(0.0)], {"wrong": 0.0})
    layer = HardConstraintLayer(
        problem, FiniteDifferences(HEAT.grid), RowCounts(60), throw=False,
        lifting=FunctionLifting(lambda x: 0.0 * x, lambda t: t, ("initial",)),
        solver=LevenbergMarquardt(max_steps=200),
    )  # fmt: skip
    _, report = layer(uniform(1, 4, 11, 13).expand(2, -1, -1, -1), parameters={"wrong": torch.tensor([0.0, 1.0])})
    assert names(report.status)[0] == ["CONVERGED"]
    assert names(report.status)[1][0] in ("DIVERGED", "STEP_CAP")


# Residuals that break only at the solve.


def test_a_residual_whose_shape_depends_on_the_points_is_refused():
    problem = Problem(
        lambda f, c, p: f.u.t - f.u.xx if f.u.t.ndim == 1 else (f.u.t - f.u.xx).sum(-1),
        HEAT.problem.domain, (InitialCondition(0.0), Dirichlet(0.0)),
    )  # fmt: skip
    with pytest.raises(ValueError, match="one value for each point"):
        HardConstraintLayer(problem, FiniteDifferences(HEAT.grid))(uniform(1, 3, 11, 13))


def test_an_exact_case_is_what_it_says():
    assert isinstance(HEAT, ExactCase)
    assert HEAT.basis(HEAT.grid, 4, batch=2).shape == (2, 4, 11, 13)
