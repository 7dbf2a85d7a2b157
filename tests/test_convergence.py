"""The layer as a solver in one to three space dimensions: how fast its error falls, and against other solvers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from helpers import seeded
from torch import Tensor

from pdesolve.condition import AbstractCondition, Dirichlet, InitialCondition, Neumann, Periodic
from pdesolve.discretization import FiniteDifferences, FourierSpectral
from pdesolve.domains import Cuboid, Interval, Rectangle, StructuredGrid, TimeInterval
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.rows import RowCounts
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.fisher_kpp import FisherKPP
from pdesolve.pde.fitzhugh_nagumo import FitzHughNagumo
from pdesolve.pde.heat import Heat
from pdesolve.problem import Problem

PI = math.pi
CUBES = {1: Interval(0, 1), 2: Rectangle((0, 1), (0, 1)), 3: Cuboid((0, 1), (0, 1), (0, 1))}


def decaying(dimensions: int, phase: Any, t: Any = None) -> Any:
    """sin(x + y + ... + 0.3) exp(-0.1 d t), a solution of the heat equation with κ = 0.1; at the start without t."""
    wave = torch.sin(phase + 0.3)
    return wave if t is None else wave * torch.exp(-0.1 * dimensions * t)


EXACT: dict[int, Callable[..., Any]] = {
    1: lambda x, t: decaying(1, x, t),
    2: lambda x, y, t: decaying(2, x + y, t),
    3: lambda x, y, z, t: decaying(3, x + y + z, t),
}
STARTS: dict[int, Callable[..., Any]] = {
    1: lambda x: decaying(1, x),
    2: lambda x, y: decaying(2, x + y),
    3: lambda x, y, z: decaying(3, x + y + z),
}


def smooth_fields(grid: StructuredGrid, n: int, seed: int) -> Tensor:
    """n random waves that decay in time, (1, n, *grid)."""
    generator, at, fields = seeded(seed), grid.coordinates(), []
    for _ in range(n):
        draws = torch.randn(len(at) + 1, generator=generator, dtype=torch.float64)
        phase = 3.0 * draws[0] + torch.zeros(grid.shape, dtype=torch.float64)
        for k, (axis, x) in zip(draws[2:], list(at.items())[1:], strict=True):
            phase = phase + 2.0 * k / grid.box.extent(axis) * x
        fields.append(torch.sin(phase) * torch.exp(-draws[1].abs() * at["t"]))
    return torch.stack(fields).unsqueeze(0)


def best(basis: Tensor, exact: Tensor) -> float:
    """Relative error of the best approximation in a basis, in the mean square over the grid."""
    columns, target = basis[0].flatten(1).T, exact.reshape(-1, 1)
    found = torch.linalg.lstsq(columns, target, driver="gelsd").solution
    return float((columns @ found - target).norm() / target.norm())


def relative(u: Tensor, exact: Tensor) -> float:
    return float((u - exact).norm() / exact.norm())


def slope(sizes: list[int], errors: list[float]) -> float:
    """Of log error over log N."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


SIZES = [8, 16, 32, 64]


def check_against_best(layer: HardConstraintLayer, bases: dict[int, Tensor], true: Tensor) -> list[float]:
    """Errors of the solves, each within a factor 3 of the best approximation, down to that of the differences."""
    errors = []
    for basis in bases.values():
        u, _ = layer(basis)
        errors.append(relative(u[0, 0], true))
        assert errors[-1] < 3 * best(basis, true) + 1e-8
    return errors


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("dimensions", "shape", "rate"), [(1, (21, 21), 4.0), (2, (15, 15, 15), 2.5), (3, (9, 10, 10, 10), 1.2)]
)
def test_the_error_falls_as_the_basis_grows_between_walls(dimensions, shape, rate, seed):
    """And stays near the best approximation in the same basis, which knows the solution."""
    exact, domain = EXACT[dimensions], CUBES[dimensions] * TimeInterval(0, 1)
    problem = Problem(Heat(0.1, "xyz"[:dimensions]), domain, [InitialCondition(STARTS[dimensions]), Dirichlet(exact)])
    grid = StructuredGrid.uniform(domain, shape)
    layer = HardConstraintLayer(problem, FiniteDifferences(grid, 4), RowCounts(600, 80, 80))
    true = exact(**grid.coordinates())
    errors = check_against_best(layer, {n: smooth_fields(grid, n, seed) for n in SIZES}, true)
    assert slope(SIZES, errors) < -rate


@pytest.mark.parametrize(
    ("dimensions", "shape", "rate"), [(1, (17, 32), 3.5), (2, (13, 12, 12), 1.1), (3, (9, 9, 9, 9), 0.5)]
)
def test_the_error_falls_as_the_basis_grows_on_a_torus(dimensions, shape, rate):
    """The solution in closed form: every Fourier coefficient decays by exp(-κ k² t)."""
    domain, kappa = CUBES[dimensions] * TimeInterval(0, 1), 0.01

    def start(*at: Any) -> Any:
        return torch.exp(0.3 * sum(torch.sin(2 * PI * x + i) for i, x in enumerate(at)))

    starts: dict[int, Callable[..., Any]] = {
        1: lambda x: start(x),
        2: lambda x, y: start(x, y),
        3: lambda x, y, z: start(x, y, z),
    }
    axes = "xyz"[:dimensions]
    conditions: list[AbstractCondition] = [InitialCondition(starts[dimensions]), *(Periodic(axis) for axis in axes)]
    grid = StructuredGrid.periodic(domain, shape)
    layer = HardConstraintLayer(
        Problem(Heat(kappa, axes), domain, conditions), FourierSpectral(grid), RowCounts(600, 80)
    )
    at = grid.coordinates()
    spectrum = torch.fft.fftn(start(*(at[axis][0] for axis in axes)))
    k2 = sum(
        ((2 * PI * torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)) ** 2).reshape(-1, *(1,) * (dimensions - 1 - i))
        for i, n in enumerate(shape[1:])
    )
    decay = torch.exp(-kappa * k2 * grid.axis_nodes("t").reshape(-1, *(1,) * dimensions))
    true = torch.fft.ifftn(spectrum * decay, dim=list(range(1, dimensions + 1))).real
    errors = check_against_best(layer, {n: smoothest(grid, n) for n in SIZES}, true)
    assert all(later < 1.05 * earlier for earlier, later in pairwise(errors))
    assert slope(SIZES, errors) < -rate


# Nonlinear equations against a method of lines by SciPy with derivatives of its own.


def products(*factors: Tensor) -> Tensor:
    """All products of functions of one coordinate each, (n, *grid); factors (n_i, nodes_i)."""

    def outer(a: Tensor, b: Tensor) -> Tensor:
        return (a.reshape(a.shape[0], 1, *a.shape[1:], 1) * b.reshape(1, b.shape[0], *(1,) * (a.ndim - 1), -1)).flatten(
            0, 1
        )

    return reduce(outer, factors)


def chebyshev(grid: StructuredGrid, n: int) -> Tensor:
    """T_0 ... T_(n-1) over time, (n, t)."""
    low, high = grid.box.bounds("t")
    s = (2 * (grid.axis_nodes("t") - low) / (high - low) - 1).clamp(-1, 1)
    return torch.stack([torch.cos(j * torch.arccos(s)) for j in range(n)])


def modes(grid: StructuredGrid, axis: str, highest: int) -> Tensor:
    """1, cos, sin up to a number of waves along a periodic axis, (2 highest + 1, n)."""
    phase = 2 * PI / grid.box.extent(axis) * (grid.axis_nodes(axis) - grid.box.bounds(axis)[0])
    rows = [torch.ones_like(phase)]
    for j in range(1, highest + 1):
        rows += [torch.cos(j * phase), torch.sin(j * phase)]
    return torch.stack(rows)


def smoothest(grid: StructuredGrid, n: int, highest: int = 4) -> Tensor:
    """Products of polynomials in time and waves along periodic axes, the n of least degree, (1, n, *grid)."""
    space, waves = grid.axes[1:], [(j + 1) // 2 for j in range(2 * highest + 1)]
    degrees = [torch.arange(highest + 1), *(torch.tensor(waves) for _ in space)]
    total = torch.cartesian_prod(*degrees).sum(-1)
    fields = products(chebyshev(grid, highest + 1), *(modes(grid, axis, highest) for axis in space))
    return fields[total.sort(stable=True).indices[:n]].unsqueeze(0)


def cosines(grid: StructuredGrid, axis: str, n: int) -> Tensor:
    """cos(j π (x - l)/L), which have no slope at the walls, (n, nodes)."""
    phase = PI / grid.box.extent(axis) * (grid.axis_nodes(axis) - grid.box.bounds(axis)[0])
    return torch.stack([torch.cos(j * phase) for j in range(n)])


def per_field(basis: Tensor) -> Tensor:
    """The same functions for each of two fields, with weights of their own: (1, 2 n, 2, *grid)."""
    nothing = torch.zeros_like(basis)
    return torch.cat([torch.stack([basis, nothing], 1), torch.stack([nothing, basis], 1)]).unsqueeze(0)


def lines(rate: Callable[[Any], Any], start: Any, times: Tensor) -> Tensor:
    """(t, *shape) of du/dt = rate(u) by SciPy to 1e-10."""
    from scipy.integrate import solve_ivp

    shape = start.shape
    found = solve_ivp(
        lambda t, u: rate(u.reshape(shape)).ravel(), (float(times[0]), float(times[-1])), start.ravel(), "DOP853",
        t_eval=times.numpy(), rtol=1e-10, atol=1e-11,
    )  # fmt: skip
    return torch.from_numpy(found.y.T.reshape(-1, *shape).copy())


def wave_number(n: int, length: float) -> Any:
    """For first derivatives by NumPy: without the mode n/2."""
    k = 2 * PI * np.fft.fftfreq(n, length / n)
    return np.where(np.arange(n) * 2 == n, 0.0, k)


def test_fisher_agrees_with_the_method_of_lines():
    domain = Interval(0, 1) * TimeInterval(0, 1)
    grid = StructuredGrid.periodic(domain, (33, 24))
    problem = Problem(
        FisherKPP(nu=0.02, rho=3.0),
        domain,
        [InitialCondition(lambda x: 0.4 + 0.3 * torch.sin(2 * PI * x)), Periodic("x")],
    )
    k2 = (2 * PI * np.fft.fftfreq(24, 1 / 24)) ** 2

    def rate(u: Any) -> Any:
        return -0.02 * np.fft.ifft(k2 * np.fft.fft(u)).real + 3.0 * u * (1 - u)

    x = grid.axis_nodes("x").numpy()
    true = lines(rate, 0.4 + 0.3 * np.sin(2 * PI * x), grid.axis_nodes("t"))
    errors = []
    for highest, powers in ((2, 4), (3, 6), (5, 8)):
        basis = products(chebyshev(grid, powers), modes(grid, "x", highest)).unsqueeze(0)
        u, _ = HardConstraintLayer(problem, FourierSpectral(grid), RowCounts(700, 24))(basis)
        errors.append(relative(u[0, 0], true))
    assert errors[0] > 8 * errors[1] > 64 * errors[2]
    assert errors[2] < 5e-5


def test_burgers_in_two_dimensions_agrees_with_the_method_of_lines():
    domain, n, nu = Rectangle((0, 1), (0, 1)) * TimeInterval(0, 0.5), 16, 0.05
    grid = StructuredGrid.periodic(domain, (13, n, n))
    starts: dict[str, Callable[..., Any]] = {
        "u": lambda x, y: 0.3 * torch.sin(2 * PI * x) * torch.cos(2 * PI * y),
        "v": lambda x, y: 0.2 + 0.2 * torch.cos(2 * PI * x),
    }
    conditions: list[AbstractCondition] = [InitialCondition(value, field=name) for name, value in starts.items()]
    conditions += [Periodic(axis, field) for axis in "xy" for field in "uv"]
    k = wave_number(n, 1.0)
    k2 = (2 * PI * np.fft.fftfreq(n, 1 / n)) ** 2

    def rate(w: Any) -> Any:
        spectrum = np.fft.fft2(w)
        dx, dy = (np.fft.ifft2(1j * f * spectrum).real for f in (k[:, None], k[None]))
        return -w[0] * dx - w[1] * dy - nu * np.fft.ifft2((k2[:, None] + k2[None]) * spectrum).real

    at = {axis: grid.coordinates()[axis][0] for axis in "xy"}
    start = np.stack([value(**at).numpy() for value in starts.values()])
    true = lines(rate, start, grid.axis_nodes("t")).movedim(1, 0)
    errors = []
    for highest, powers in ((1, 3), (2, 4), (3, 5)):
        space = products(chebyshev(grid, powers), modes(grid, "x", highest), modes(grid, "y", highest))
        layer = HardConstraintLayer(
            Problem(Burgers(nu, "xy"), domain, conditions), FourierSpectral(grid), RowCounts(2000, 256)
        )
        u, _ = layer(per_field(space))
        errors.append(relative(u[0], true))
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    assert errors[2] < 3e-3


def test_fitzhugh_nagumo_agrees_with_the_method_of_lines():
    """No flow through the walls: the classical solution in cosines on cell centres, read at the nodes."""
    from scipy.fft import dctn, idctn

    domain, n = Rectangle((-1, 1), (-1, 1)) * TimeInterval(0, 1), 16
    grid = StructuredGrid.uniform(domain, (17, 21, 21))
    pde = FitzHughNagumo(D_u=0.02, D_v=0.05)
    starts: dict[str, Callable[..., Any]] = {
        "u": lambda x, y: 0.4 * torch.cos(PI * (x + 1) / 2) + 0.3 * torch.cos(PI * (y + 1) / 2),
        "v": lambda x, y: 0.2 * torch.cos(PI * (x + 1) / 2) * torch.cos(PI * (y + 1) / 2),
    }
    conditions: list[AbstractCondition] = [InitialCondition(value, field=name) for name, value in starts.items()]
    conditions += [Neumann(0.0, field=name) for name in starts]
    k2 = (PI / 2 * np.arange(n)) ** 2
    k2 = k2[:, None] + k2[None]

    def rate(w: Any) -> Any:
        diffused = [-d * idctn(k2 * dctn(f)) for d, f in ((pde.D_u, w[0]), (pde.D_v, w[1]))]
        return np.stack([diffused[0] + w[0] - w[0] ** 3 - pde.k - w[1], diffused[1] + w[0] - w[1]])

    centres = -1 + 2 * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x, y = torch.meshgrid(centres, centres, indexing="ij")
    cells = lines(rate, np.stack([value(x, y).numpy() for value in starts.values()]), grid.axis_nodes("t"))
    weight = np.full(n, 1.0 / n)
    weight[0] /= 2
    coefficients = torch.from_numpy(dctn(cells.numpy(), axes=(2, 3)) * np.outer(weight, weight))
    true = torch.einsum("tcjk,jx,ky->ctxy", coefficients, cosines(grid, "x", n), cosines(grid, "y", n))
    errors = []
    for highest, powers in ((2, 3), (4, 4), (6, 5)):
        space = products(chebyshev(grid, powers), cosines(grid, "x", highest), cosines(grid, "y", highest))
        layer = HardConstraintLayer(Problem(pde, domain, conditions), FiniteDifferences(grid, 4), RowCounts(2000, 200))
        u, _ = layer(per_field(space))
        errors.append(relative(u[0], true))
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 3e-3
