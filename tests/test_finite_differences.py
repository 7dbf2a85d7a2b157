"""Finite differences: order, exactness, agreement of samples with the whole grid, gradients, errors."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pdesolve.discretization import FiniteDifferences
from pdesolve.discretization.finite_differences import fornberg_weights
from pdesolve.domains import Cuboid, Interval, StructuredGrid, TimeInterval

BOX = Interval(-1, 1) * TimeInterval(0, 2)
ORDERS = [2, 4]
DERIVATIVES = [1, 2, 3, 4]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def interval_grid(kind: str, n: int) -> StructuredGrid:
    box = Interval(0, 1)
    if kind == "uniform":
        return StructuredGrid.uniform(box, (n,))
    if kind == "cell centred":
        return StructuredGrid.cell_centred(box, (n,))
    return StructuredGrid.graded(box, (n,), {"left": 0.4, "right": 0.2})


def random_grid(shape: tuple[int, ...], axes: tuple[str, ...] = ("t", "x"), seed: int = 0) -> StructuredGrid:
    """Spacings that vary by a factor of up to 5 from node to node."""
    spacings = [torch.rand(n, dtype=torch.float64, generator=generator(seed + n)) + 0.25 for n in shape]
    return StructuredGrid(axes, tuple(s.cumsum(0) / s.sum() for s in spacings))


def observed_orders(kind: str, order: int, m: int, frequency: float) -> list[float]:
    """Slopes of log error against log h for exp(i frequency x): inside, at the lower, at the upper end.

    The modulus of this function's derivatives is the same everywhere, and successive terms of the error are a
    quarter turn apart, so the slope is near the order already on coarse grids, far above rounding.
    """
    sizes = torch.tensor([33, 41, 49, 65])
    errors = []
    for n in sizes.tolist():
        grid = interval_grid(kind, n)
        values = torch.exp(1j * frequency * grid.axis_nodes("x"))
        found = FiniteDifferences(grid, order).derivatives(values, ["x" * m])["x" * m]
        error = (found - (1j * frequency) ** m * values).abs()
        errors.append([float(error[n // 4 : -(n // 4)].max()), float(error[0]), float(error[-1])])
    log_h = -torch.log(sizes.double() - int(kind != "cell centred"))
    log_h = log_h - log_h.mean()
    slopes: list[float] = (log_h @ torch.tensor(errors, dtype=torch.float64).log() / (log_h @ log_h)).tolist()
    return slopes


@pytest.mark.parametrize("m", DERIVATIVES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["uniform", "cell centred", "graded"])
def test_observed_order_is_the_formal_order_inside_and_at_boundaries(kind, order, m):
    inside, *ends = observed_orders(kind, order, m, frequency=6.0)
    if kind == "graded" and m % 2 == 0:  # the odd number of nodes around each node gives more than was asked for
        assert inside > order + 1.9
        assert min(ends) > order + 0.95
    else:
        tolerance = 0.1 if kind == "graded" else 0.02
        assert [inside, *ends] == pytest.approx([order] * 3, abs=tolerance)


@pytest.mark.parametrize("m", DERIVATIVES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", [0, None], ids=["random nodes", "uniform nodes"])
def test_polynomials_below_degree_order_plus_m_are_differentiated_exactly(seed, order, m):
    # This is the formal order on any nodes: the truncation error begins with h^(degree + 1 - m).
    n = order + m + 6
    grid = interval_grid("uniform", n) if seed is None else random_grid((n,), ("x",), seed)
    x = grid.axis_nodes("x") - 0.5
    for degree in range(order + m):
        exact = math.perm(degree, m) * x ** (degree - m) if degree >= m else torch.zeros_like(x)
        found = FiniteDifferences(grid, order).derivatives(x**degree, ["x" * m])["x" * m]
        scale = float(FiniteDifferences(grid, order).stencil("x", m).weights.abs().sum(1).max())
        torch.testing.assert_close(found, exact, rtol=0, atol=1e-13 * scale)


def test_uniform_stencils_are_the_textbook_ones():
    fd2, fd4 = (FiniteDifferences(StructuredGrid.uniform(Interval(0, 10), (11,)), order) for order in ORDERS)
    assert fd2.stencil("x", 1).weights[5].tolist() == [-0.5, 0.0, 0.5]
    assert fd2.stencil("x", 1).weights[0].tolist() == [-1.5, 2.0, -0.5]
    assert fd2.matrix("x", 2)[5, 4:7].tolist() == [1.0, -2.0, 1.0]
    assert int((fd2.matrix("x", 2)[1:-1] != 0).sum(1).max()) == 3  # central up to the last inner node
    torch.testing.assert_close(
        fd4.matrix("x", 2)[5, 3:8] * 12, torch.tensor([-1.0, 16.0, -30.0, 16.0, -1.0], dtype=torch.float64)
    )


def test_stencils_on_uniform_axes_are_exactly_symmetric_and_equal_at_all_inner_nodes():
    matrix = FiniteDifferences(StructuredGrid.uniform(Interval(0, 0.7), (23,)), 4).matrix("x", 2)
    assert torch.equal(matrix[8, 6:11], matrix[12, 10:15])
    torch.testing.assert_close(matrix, matrix.flip(0, 1), rtol=1e-12, atol=1e-9)
    assert torch.equal(matrix[8, 6:11], matrix[8, 6:11].flip(0))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("m", DERIVATIVES)
def test_smallest_grid_works(order, m):
    for grid in (StructuredGrid.uniform(Interval(0, 1), (order + m,)), random_grid((order + m,), ("x",))):
        x = grid.axis_nodes("x")
        found = FiniteDifferences(grid, order).derivatives(x**m, ["x" * m])["x" * m]
        torch.testing.assert_close(found, torch.full_like(x, math.factorial(m)), rtol=1e-8, atol=0)


def test_weights_solve_the_moment_equations():
    nodes = torch.rand(50, 6, dtype=torch.float64, generator=generator()).sort(1).values
    points = nodes[:, 2] + 0.01
    powers = torch.arange(6)
    for m in range(4):
        weights = fornberg_weights(points, nodes, m)
        moments = (weights[:, :, None] * (nodes - points[:, None])[:, :, None] ** powers).sum(1)
        expected = torch.zeros_like(moments)
        expected[:, m] = math.factorial(m)
        scale = weights.abs().amax(1, keepdim=True)
        torch.testing.assert_close(moments / scale, expected / scale, rtol=0, atol=1e-13)


GRIDS = {
    "uniform": StructuredGrid.uniform(BOX, (9, 12)),
    "non-uniform": random_grid((9, 12)),
    "four axes": StructuredGrid.uniform(Cuboid((0, 1), (0, 1), (0, 1)) * TimeInterval(0, 1), (7, 6, 8, 7)),
}
TERMS = {
    "uniform": ["", "t", "x", "xx", "tx", "ttxx", "xxx"],
    "non-uniform": ["", "t", "x", "xx", "tx", "ttxx", "xxxx"],
    "four axes": ["", "t", "z", "xy", "yyz", "txyz"],
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_samples_equal_the_whole_grid_to_the_last_bit(name, dtype):
    grid, terms = GRIDS[name], TERMS[name]
    fd = FiniteDifferences(grid, 2)
    values = torch.randn(2, 3, *grid.shape, dtype=dtype, generator=generator())
    nodes = torch.stack([torch.randint(n, (4, 60), generator=generator(n)) for n in grid.shape], -1)
    whole, sampled = fd.derivatives(values, terms), fd.derivatives(values, terms, nodes)
    for term in terms:
        assert sampled[term].shape == (2, 3, 4, 60)
        assert sampled[term].dtype == dtype
        assert torch.equal(sampled[term], whole[term][(..., *nodes.unbind(-1))])


@pytest.mark.parametrize("name", GRIDS)
def test_whole_grid_equals_the_matrices(name):
    grid = GRIDS[name]
    fd = FiniteDifferences(grid, 2)
    values = torch.randn(2, *grid.shape, dtype=torch.float64, generator=generator())
    for term in TERMS[name]:
        expected = values
        for axis in set(term):
            dim = grid.axes.index(axis) - len(grid.axes)
            matrix = fd.matrix(axis, term.count(axis))
            expected = (expected.movedim(dim, -1) @ matrix.T).movedim(-1, dim)
        found = fd.derivatives(values, [term])[term]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_terms_come_back_under_their_own_names_in_any_letter_order():
    fd = FiniteDifferences(GRIDS["uniform"])
    values = torch.randn(9, 12, dtype=torch.float64, generator=generator())
    found = fd.derivatives(values, ["xt", "tx"])
    assert list(found) == ["xt", "tx"]
    assert torch.equal(found["xt"], found["tx"])


def test_mixed_derivative_of_a_smooth_function():
    grid = StructuredGrid.uniform(BOX, (81, 81))
    x, t = grid.coordinates()["x"], grid.coordinates()["t"]
    found = FiniteDifferences(grid, 4).derivatives(torch.sin(2 * x + t), ["tx"])["tx"]
    torch.testing.assert_close(found, -2 * torch.sin(2 * x + t), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["uniform", "non-uniform"])
@pytest.mark.parametrize("nodes", [None, torch.tensor([[0, 0], [4, 5], [4, 5], [8, 11]])], ids=["all", "sampled"])
def test_gradients_pass_gradcheck(name, nodes):
    fd = FiniteDifferences(GRIDS[name])
    values = torch.randn(2, 9, 12, dtype=torch.float64, generator=generator(), requires_grad=True)

    def function(v):
        return tuple(fd.derivatives(v, ["", "x", "xx", "tx"], nodes).values())

    assert torch.autograd.gradcheck(function, values, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, values, fast_mode=True)


# The first torch.func.jvp of a process compiles some of torch's own rules with the deprecated torch.jit.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_function_transforms_agree_with_a_loop():
    fd = FiniteDifferences(GRIDS["uniform"])
    values = torch.randn(5, 9, 12, dtype=torch.float64, generator=generator())
    nodes = torch.tensor([[1, 2], [3, 11]])
    for indices in (None, nodes):
        mapped = torch.func.vmap(lambda v, i=indices: fd.derivatives(v, ["tx"], i)["tx"])(values)
        torch.testing.assert_close(mapped, fd.derivatives(values, ["tx"], indices)["tx"], rtol=0, atol=0)
        _, tangent = torch.func.jvp(lambda v, i=indices: fd.derivatives(v, ["tx"], i)["tx"], (values,), (values,))
        torch.testing.assert_close(tangent, mapped, rtol=0, atol=0)


def test_stencils_first_met_in_inference_mode_can_be_trained_through_later():
    fd = FiniteDifferences(GRIDS["uniform"])
    values = torch.randn(9, 12, dtype=torch.float32, generator=generator())
    with torch.inference_mode():
        fd.derivatives(values, ["x"])
    values.requires_grad_()
    fd.derivatives(values, ["x"])["x"].square().sum().backward()
    assert values.grad is not None


def test_samples_read_only_their_stencils():
    fd = FiniteDifferences(StructuredGrid.uniform(BOX, (40, 50)))
    values = torch.full((40, 50), math.nan, dtype=torch.float64)
    values[19:22, 29:33] = 1.0  # 3 nodes in t; 4 in x, of which the second derivative gives one the weight 0
    found = fd.derivatives(values, ["", "t", "x", "xx", "tx"], torch.tensor([[20, 30]]))
    assert all(bool(torch.isfinite(derivative).all()) for derivative in found.values())


class ElementCount(TorchDispatchMode):
    """Adds up the elements that all operations write; views write none."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view and isinstance(out, torch.Tensor):
            self.elements += out.numel()
        return out


def test_work_at_samples_does_not_depend_on_the_size_of_the_grid():
    counts = []
    for n in (16, 256):
        fd = FiniteDifferences(StructuredGrid.uniform(BOX, (n, n)))
        values = torch.randn(8, n, n, generator=generator())
        nodes = torch.randint(n, (20, 2), generator=generator())
        fd.derivatives(values, ["t", "x", "xx", "tx"], nodes)  # the weights are kept from here on
        with ElementCount() as count:
            fd.derivatives(values, ["t", "x", "xx", "tx"], nodes)
        counts.append(count.elements)
    assert counts[0] == counts[1]
    assert counts[1] < 256 * 256


FD = FiniteDifferences(GRIDS["uniform"], 4)
VALUES = torch.zeros(9, 12, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FiniteDifferences(GRIDS["uniform"], 3), ValueError, "must be 2 or 4, got 3"),
        (lambda: FD.derivatives(VALUES, ["y"]), ValueError, "no axis 'y'"),
        (lambda: FD.derivatives(VALUES, ["xxxxx"]), ValueError, "got 'xxxxx'"),
        (lambda: FD.derivatives(VALUES, "xx"), TypeError, r"write \['xx'\]"),
        (lambda: FD.derivatives(VALUES.T, ["x"]), ValueError, r"got \(12, 9\)"),
        (lambda: FD.derivatives(VALUES.long(), ["x"]), TypeError, "floating or complex"),
        (lambda: FD.stencil("x", 0), ValueError, "derivatives 1 to 4"),
        (
            lambda: FiniteDifferences(StructuredGrid.uniform(BOX, (3, 5)), 4).derivatives(torch.zeros(3, 5), ["xx"]),
            ValueError,
            "axis 'x' has 5 nodes, but 'xx' at order 4 needs 6",
        ),
        (lambda: FD.derivatives(VALUES, ["x"], torch.tensor([[0, 12]])), ValueError, "within the grid"),
        (lambda: FD.derivatives(VALUES, ["x"], torch.tensor([[-1, 0]])), ValueError, "not be negative"),
        (lambda: FD.derivatives(VALUES, ["x"], torch.tensor([[0, 1, 2]])), ValueError, r"\(\*points, 2\)"),
        (lambda: FD.derivatives(VALUES, ["x"], torch.tensor([[0.0, 1.0]])), TypeError, "int64"),
    ],
)
def test_errors_say_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()
