"""Fourier spectral derivatives: exactness, the mode n/2, convergence, gradients, conditions, errors."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import COUPLINGS, PERIODIC_CASES, SPACE_TIME, grid_layer, named, seeded, uniform
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pdesolve.condition import Dirichlet, InitialCondition, Periodic
from pdesolve.discretization import FiniteDifferences, FourierSpectral, fourier
from pdesolve.discretization.abstract import Points
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains import Cuboid, Interval, Rectangle, StructuredGrid, TimeInterval, cartesian_decomposition
from pdesolve.experts.coupling import Independent, InterfaceRows
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.rows import RowCounts
from pdesolve.frames.additive import AdditiveLifting
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.heat import Heat
from pdesolve.problem import Problem
from pdesolve.status import SolveStatus

BOX = Rectangle((0, 2), (-1, 3)) * TimeInterval(0, 1)
TERMS = ["", "t", "x", "yy", "xxx", "xy", "txx", "ttyyy", "xxxxxx"]


def grid_of(*shape: int) -> StructuredGrid:
    return StructuredGrid.periodic(BOX, shape)


def line(n: int, length: float = 2 * math.pi) -> StructuredGrid:
    return StructuredGrid.periodic(Interval(0, length), (n,))


def wave(grid: StructuredGrid, j: int, k: int, term: str) -> Tensor:
    """A derivative of (1 + t²) sin(j πx) cos(k πy/2 + 1): j and k whole waves."""
    at, a, b = grid.coordinates(), j * math.pi, k * math.pi / 2
    t = [1 + at["t"] ** 2, 2 * at["t"], 2 + 0 * at["t"]][term.count("t")]
    m, n = term.count("x"), term.count("y")
    quarter = math.pi / 2  # one derivative is a quarter turn
    return t * a**m * torch.sin(a * at["x"] + m * quarter) * b**n * torch.cos(b * at["y"] + 1 + n * quarter)


@pytest.mark.parametrize("shape", [(7, 12, 14), (7, 13, 15), (7, 12, 15)], ids=["even", "odd", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_trigonometric_polynomials_are_differentiated_exactly(shape, dtype):
    grid = grid_of(*shape)
    found = FourierSpectral(grid).derivatives(wave(grid, 5, 6, "").to(dtype), TERMS)
    assert list(found) == TERMS
    for term, value in found.items():
        assert value.dtype == dtype
        exact = wave(grid, 5, 6, term)
        tolerance = 1e-12 if dtype != torch.float32 else 2e-3 if term == "ttyyy" else 1e-4
        torch.testing.assert_close(value, exact.to(dtype), rtol=0, atol=tolerance * float(exact.abs().max()))


def test_cell_centres_and_any_origin_are_fine():
    grid = StructuredGrid.cell_centred(Interval(-3, 5), (10,))
    k = 2 * math.pi / 8 * 4
    x = grid.axis_nodes("x")
    found = FourierSpectral(grid).derivatives(torch.sin(k * x), ["x"])["x"]
    torch.testing.assert_close(found, k * torch.cos(k * x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("complex_values", [False, True])
def test_the_mode_of_half_the_nodes_is_a_cosine(complex_values):
    """u = cos(n x/2) = ±1: no odd derivative at the nodes, -(n/2)² u for the second, in one and two dimensions."""
    n = 8
    grid = StructuredGrid.periodic(Rectangle((0, 2 * math.pi), (0, 2 * math.pi)), (n, n))
    x, y = grid.coordinates()["x"], grid.coordinates()["y"]
    u = torch.cos(n * x / 2) * (1 + torch.sin(y))
    values = u.to(torch.complex128) if complex_values else u
    found = FourierSpectral(grid).derivatives(values, ["x", "xxx", "xy", "xx", "xxy"])
    for term in ("x", "xxx", "xy"):
        assert float(found[term].abs().max()) < 1e-12
    torch.testing.assert_close(found["xx"].real, -((n / 2) ** 2) * u, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        found["xxy"].real, -((n / 2) ** 2) * torch.cos(n * x / 2) * torch.cos(y), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("n", [8, 9])
def test_odd_derivatives_are_skew_and_even_ones_symmetric(n):
    """As on a circle, and the matrix is the one in closed form."""
    columns = FourierSpectral(line(n)).derivatives(torch.eye(n, dtype=torch.float64), ["x", "xx"])
    torch.testing.assert_close(columns["x"], -columns["x"].T, rtol=0, atol=1e-12)
    torch.testing.assert_close(columns["xx"], columns["xx"].T, rtol=0, atol=1e-12)
    h = 2 * math.pi / n
    ratio = math.tan if n % 2 == 0 else math.sin  # Trefethen, theorem 3
    assert float(columns["x"][0, 1]) == pytest.approx(-0.5 / ratio(h / 2))


def test_convergence_is_spectral():
    """exp(sin x) is entire: doubling the nodes squares the error, until round-off."""
    errors = []
    for n in (8, 16, 32):
        x = line(n).axis_nodes("x")
        found = FourierSpectral(line(n)).derivatives(torch.exp(torch.sin(x)), ["x"])["x"]
        errors.append(float((found - torch.cos(x) * torch.exp(torch.sin(x))).abs().max()))
    assert errors[1] < errors[0] ** 2
    assert errors[2] < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_samples_equal_the_whole_grid_to_the_last_bit(dtype):
    grid = grid_of(7, 8, 9)
    values = torch.randn(2, 3, *grid.shape, dtype=dtype, generator=seeded())
    nodes = torch.stack([torch.randint(n, (4, 20), generator=seeded(n)) for n in grid.shape], -1)
    whole, sampled = (FourierSpectral(grid).derivatives(values, TERMS, i) for i in (None, nodes))
    for term in TERMS:
        assert sampled[term].shape == (2, 3, 4, 20)
        assert torch.equal(sampled[term], whole[term][(..., *nodes.unbind(-1))])


def test_axes_that_are_not_periodic_have_finite_differences():
    grid = StructuredGrid.periodic(BOX, (7, 8, 9), "x")
    values = torch.randn(2, *grid.shape, dtype=torch.float64, generator=seeded())
    found = FourierSpectral(grid, "x", order=2).derivatives(values, ["yy", "tyy", "xy"])
    differences = FiniteDifferences(grid, 2)
    assert torch.equal(found["yy"], differences.derivatives(values, ["yy"])["yy"])
    assert torch.equal(found["tyy"], differences.derivatives(values, ["tyy"])["tyy"])
    along = FourierSpectral(grid, "x").derivatives(values, ["x"])["x"]
    assert torch.equal(found["xy"], differences.derivatives(along, ["y"])["y"])


@pytest.mark.parametrize("shape", [(5, 6, 5), (5, 5, 6)])
@pytest.mark.parametrize("nodes", [None, torch.tensor([[0, 0, 0], [4, 4, 4], [4, 4, 4]])], ids=["all", "sampled"])
def test_gradients_pass_gradcheck(shape, nodes):
    spectral = FourierSpectral(grid_of(*shape))
    values = torch.randn(2, *shape, dtype=torch.float64, generator=seeded(), requires_grad=True)

    def function(v):
        return tuple(spectral.derivatives(v, ["", "t", "x", "yy", "xy", "txxx"], nodes).values())

    assert torch.autograd.gradcheck(function, values, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, values, fast_mode=True)


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_function_transforms_agree_with_a_loop():
    spectral = FourierSpectral(grid_of(5, 6, 7))
    values = torch.randn(4, 5, 6, 7, dtype=torch.float64, generator=seeded())
    mapped = torch.func.vmap(lambda v: spectral.derivatives(v, ["tx"])["tx"])(values)
    torch.testing.assert_close(mapped, spectral.derivatives(values, ["tx"])["tx"], rtol=0, atol=1e-12)
    _, tangent = torch.func.jvp(lambda v: spectral.derivatives(v, ["tx"])["tx"], (values,), (values,))
    torch.testing.assert_close(tangent, mapped, rtol=0, atol=1e-12)


class Largest(TorchDispatchMode):
    """The most elements that one operation writes; views write none."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view and isinstance(out, Tensor):
            self.elements = max(self.elements, out.numel())
        return out


def test_fields_are_transformed_a_bounded_number_at_a_time(monkeypatch):
    grid = grid_of(7, 16, 16)
    values = torch.randn(5, 8, *grid.shape, dtype=torch.float64, generator=seeded()).requires_grad_()
    nodes = torch.stack([torch.randint(n, (2, 9), generator=seeded(n)) for n in grid.shape], -1)
    whole = FourierSpectral(grid).derivatives(values, TERMS, nodes)
    (gradient,) = torch.autograd.grad(sum(v.square().sum() for v in whole.values()), values)
    monkeypatch.setattr(fourier, "_CACHED", 3 * grid.n_nodes + 1)
    with Largest() as largest:
        found = FourierSpectral(grid).derivatives(values, TERMS, nodes)
    assert largest.elements <= 3 * grid.n_nodes
    for term in TERMS:
        assert torch.equal(found[term], whole[term])
    (other,) = torch.autograd.grad(sum(v.square().sum() for v in found.values()), values)
    torch.testing.assert_close(other, gradient, rtol=1e-12, atol=1e-9)


@pytest.mark.gpu
def test_cuda_gives_the_same_derivatives():
    grid = grid_of(7, 8, 9)
    values = torch.randn(2, *grid.shape, dtype=torch.float64, generator=seeded())
    nodes = torch.tensor([[0, 0, 0], [6, 7, 8]])
    spectral = FourierSpectral(grid)
    cpu, cuda = spectral.derivatives(values, TERMS, nodes), spectral.derivatives(values.cuda(), TERMS, nodes.cuda())
    for term in TERMS:
        assert cuda[term].device.type == "cuda"
        torch.testing.assert_close(cuda[term].cpu(), cpu[term], rtol=1e-9, atol=1e-9)


# In the layer.

CASES = pytest.mark.parametrize("case", PERIODIC_CASES, ids=named)


@CASES
@pytest.mark.parametrize("patches", [1, 2, 3])
def test_a_basis_that_holds_the_solution_gives_it_back(case, patches):
    layer = grid_layer(case, {"x": patches}, coupling=InterfaceRows())
    u, report = layer(case.basis(case.grid, 5, batch=2))
    assert report.status.shape == (2, patches)
    exact = case.on(case.grid).expand_as(u)
    torch.testing.assert_close(u, exact, rtol=0, atol=1e-7 * float(exact.abs().max()))


def blocks(case, cuts, coupling):
    """How many blocks of rows a layer makes: on patches, and between them by axis or seam."""
    layer = grid_layer(case, cuts, coupling=coupling)
    values = case.problem.batch_parameters()
    source = GridBasis.lifted(case.problem, case.grid, case.basis(case.grid, 5), layer.lifting, values)
    found = layer.assemble(source, values, seeded())
    return len(found.rows), [sorted(block.edges) for block in found.interfaces]


HEAT = PERIODIC_CASES[0]
PLANE = PERIODIC_CASES[1]


def test_one_patch_needs_no_periodic_rows_and_several_are_closed_to_a_ring():
    assert blocks(HEAT, {}, InterfaceRows()) == (2, [])  # equation and initial values
    assert blocks(HEAT, {"x": 3}, InterfaceRows()) == (2, [[(0, 1), (1, 2)], [(0, 2)]])
    assert blocks(HEAT, {"x": 3}, Independent()) == (2, [])
    assert blocks(PLANE, {"y": 2}, InterfaceRows()) == (2, [[(0, 1)], [(0, 1)]])


def test_patches_on_a_ring_agree_over_the_seam():
    """A basis that misses the solution: without rows over the seam the ends differ freely."""
    grid = StructuredGrid.periodic(SPACE_TIME, (9, 32))
    at = grid.coordinates()
    shapes = [torch.cos(j * 2 * math.pi * at["x"] + c) for j in (1, 2, 3) for c in (0.0, 1.0)]
    basis = torch.stack([s * at["t"] ** p for s in [*shapes, torch.ones_like(at["x"])] for p in range(5)])[None]
    case = Problem(
        Heat(0.05), SPACE_TIME, [InitialCondition(lambda x: torch.exp(torch.sin(2 * math.pi * x))), Periodic("x")]
    )
    jumps = []
    for coupling in (InterfaceRows(), Independent()):
        patches = cartesian_decomposition(grid, {"x": 4})
        layer = HardConstraintLayer(
            case, FourierSpectral(grid), RowCounts(300, 9, 9), decomposition=patches, coupling=coupling
        )
        _, report = layer(basis)
        ends = [(basis[0, ..., 0] * w[:, None]).sum(0) for w in report.weights[0, [0, -1]]]
        jumps.append(float((ends[0] - ends[1]).abs().max()))
    assert jumps[0] < 0.05 * jumps[1]


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_gradcheck_of_the_solve(coupling):
    grid = StructuredGrid.periodic(SPACE_TIME, (6, 8))
    problem = Problem(
        lambda f, c, p: f.u.t + f.u * f.u.x - p.nu * f.u.xx, SPACE_TIME,
        [InitialCondition(lambda x: torch.sin(2 * math.pi * x)), Periodic("x")], {"nu": 0.1},
    )  # fmt: skip
    patches = cartesian_decomposition(grid, {"x": 2})
    layer = HardConstraintLayer(
        problem, FourierSpectral(grid), RowCounts(20, 6, 6), decomposition=patches, coupling=COUPLINGS[coupling]
    )
    basis = HEAT.basis(grid, 3, seed=2).requires_grad_()
    nu = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda b, p: layer(b, parameters={"nu": p})[0], (basis, nu), eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True
    )


def test_a_lifting_of_periodic_initial_values_is_periodic():
    """g = sin 2πx meets the start exactly, m = t; the equation is all that is left."""
    grid = StructuredGrid.periodic(SPACE_TIME, (33, 16))
    problem = Problem(Heat(0.02), SPACE_TIME, [InitialCondition(lambda x: torch.sin(2 * math.pi * x)), Periodic("x")])
    t, x = grid.coordinates()["t"], grid.coordinates()["x"]
    exact = torch.exp(-0.02 * (2 * math.pi) ** 2 * t) * torch.sin(2 * math.pi * x)
    basis = torch.stack([t**p * torch.sin(2 * math.pi * x + c) for p in range(6) for c in (0.0, 1.0)])[None]
    layer = HardConstraintLayer(problem, FourierSpectral(grid), RowCounts(400), lifting=AdditiveLifting(problem))
    u, _ = layer(basis)
    assert torch.equal(u[0, 0, 0], torch.sin(2 * math.pi * x)[0])
    torch.testing.assert_close(u[0, 0], exact, rtol=0, atol=1e-5)


def test_only_the_sample_that_is_not_finite_fails():
    """A transform reads a whole line of nodes, but of one sample."""
    layer = grid_layer(HEAT, throw=False)
    basis = HEAT.basis(HEAT.grid, 4, batch=3)
    clean, _ = layer(basis)
    basis[1, 0, 3, 3] = torch.nan
    u, report = layer(basis)
    assert [SolveStatus(int(code)).name for code in report.status[:, 0]] == ["CONVERGED", "NON_FINITE", "CONVERGED"]
    assert torch.equal(u[[0, 2]], clean[[0, 2]])


# Bad inputs.

SINE = InitialCondition(lambda x: torch.sin(2 * math.pi * x))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ([SINE, Dirichlet(0.0)], "periodic along 'x', but field 'u' has a condition on 'left': use Periodic"),
        ([SINE, Dirichlet(0.0, on="right")], "condition on 'right'"),
        ([SINE], r"'left' and 'right': add Periodic\('x'\)"),
    ],
    ids=["both walls", "one wall", "none"],
)
def test_a_problem_that_is_not_periodic_is_refused(conditions, message):
    problem = Problem(lambda f, c, p: f.u.t + f.u.x, SPACE_TIME, conditions)
    with pytest.raises(ValueError, match=message):
        HardConstraintLayer(problem, FourierSpectral(StructuredGrid.periodic(SPACE_TIME, (8, 8))))


def test_one_field_that_is_not_periodic_is_refused_by_name():
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx, f.v.t - f.v.xx), fields=("u", "v"))
    conditions = [InitialCondition(0.0, field=f) for f in "uv"] + [Periodic("x", "u"), Dirichlet(0.0, field="v")]
    with pytest.raises(ValueError, match="field 'v' has a condition on 'left'"):
        HardConstraintLayer(
            Problem(pde, SPACE_TIME, conditions), FourierSpectral(StructuredGrid.periodic(SPACE_TIME, (8, 8)))
        )


def test_a_field_without_derivatives_along_the_axis_needs_no_condition():
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx, f.v.t - f.u), fields=("u", "v"))
    conditions = [InitialCondition(0.0, field=f) for f in "uv"] + [Periodic("x", "u")]
    grid = StructuredGrid.periodic(SPACE_TIME, (8, 8))
    layer = HardConstraintLayer(Problem(pde, SPACE_TIME, conditions), FourierSpectral(grid), RowCounts(30))
    u, _ = layer(uniform(1, 2, 2, 8, 8))
    assert float(u.abs().max()) < 1e-12


GRID = grid_of(7, 8, 9)
SPECTRAL = FourierSpectral(GRID)
VALUES = torch.zeros(7, 8, 9, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FourierSpectral(StructuredGrid.uniform(SPACE_TIME, (8, 8))), ValueError, "both ends.*leave out"),
        (lambda: FourierSpectral(StructuredGrid.graded(SPACE_TIME, (8, 8), {"left": 1.0})), ValueError, "not equally"),
        (
            lambda: FourierSpectral(StructuredGrid(("x",), (torch.arange(5).double(),), Interval(0, 7))),
            ValueError,
            "5 cells of axis 'x' cover 5, not its length 7",
        ),
        (lambda: FourierSpectral(StructuredGrid.periodic(BOX, (7, 8, 9), "y")), ValueError, "'x' has nodes at both"),
        (lambda: FourierSpectral(GRID, ("t",)), ValueError, "'t' is no axis in space.*allowed: x, y"),
        (lambda: FourierSpectral(GRID, ("z",)), ValueError, "'z' is no axis"),
        (lambda: FourierSpectral(GRID, ()), ValueError, "at least one axis"),
        (lambda: FourierSpectral(GRID, "xx"), ValueError, "none twice"),
        (lambda: FourierSpectral(GRID, order=3), ValueError, "2 or 4, got 3"),
        (lambda: SPECTRAL.derivatives(VALUES, "xx"), TypeError, r"write \['xx'\]"),
        (lambda: SPECTRAL.derivatives(VALUES, ["z"]), ValueError, "no axis 'z'"),
        (lambda: SPECTRAL.derivatives(VALUES, ["ttttt"]), ValueError, "got 'ttttt'"),
        (lambda: SPECTRAL.derivatives(VALUES[1:], ["x"]), ValueError, r"got \(6, 8, 9\)"),
        (lambda: SPECTRAL.derivatives(VALUES.long(), ["x"]), TypeError, "floating or complex"),
        (lambda: SPECTRAL.derivatives(VALUES, ["x"], torch.tensor([[0, 8, 0]])), ValueError, "within the grid"),
        (lambda: SPECTRAL.expand(None, Points({"t": torch.zeros(1, 1)}), {}, ("",)), TypeError, "FourierSpectral diff"),
        (lambda: StructuredGrid.periodic(BOX, (7, 8, 9), "t"), ValueError, "'t' is no space axis"),
        (lambda: StructuredGrid.periodic(BOX, (7, 8)), ValueError, "one number for each"),
    ],
)  # fmt: skip
def test_errors_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_grid_of_another_domain_is_refused():
    problem = Problem(Heat(), SPACE_TIME, [SINE, Periodic("x")])
    grid = StructuredGrid.periodic(Interval(0, 2) * TimeInterval(0, 1), (8, 8))
    with pytest.raises(ValueError, match="make it from problem"):
        HardConstraintLayer(problem, FourierSpectral(grid))
    own = FourierSpectral(StructuredGrid.periodic(SPACE_TIME, (8, 8)))
    patches = cartesian_decomposition(StructuredGrid.periodic(SPACE_TIME, (8, 8)), {"x": 2})
    layer = HardConstraintLayer(problem, own, RowCounts(30), decomposition=patches)
    with pytest.raises(ValueError, match="must cut the grid of the FourierSpectral"):
        layer(uniform(1, 2, 8, 8))


def test_periodic_grids_leave_out_the_end_of_periodic_axes_only():
    grid = StructuredGrid.periodic(Cuboid((0, 1), (0, 1), (2, 4)) * TimeInterval(0, 1), (3, 4, 5, 4), "xz")
    assert [float(nodes[-1]) for nodes in grid.nodes] == [1.0, 0.75, 1.0, 3.5]
    assert grid.box.bounds("z") == (2.0, 4.0)
