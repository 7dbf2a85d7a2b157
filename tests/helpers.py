"""Registries that the property tests run over: a new equation, problem, solver or expert is one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdesolve.condition import AbstractCondition, Dirichlet, InitialCondition, Neumann, Periodic
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation
from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.discretization.fourier import FourierSpectral
from pdesolve.discretization.gridded import AbstractGridDiscretization
from pdesolve.domains import Box, Cuboid, Interval, Rectangle, StructuredGrid, TimeInterval, cartesian_decomposition
from pdesolve.experts.coupling import AbstractCoupling, Independent, InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.partition_of_unity import PartitionOfUnity
from pdesolve.experts.rows import RowCounts
from pdesolve.frames.abstract import NoLifting
from pdesolve.frames.generic import Frame
from pdesolve.frames.transfinite import ScaledCoordinates
from pdesolve.implicit import AbstractAdjoint, DetachedAdjoint, ImplicitAdjoint
from pdesolve.jet import Jet, closure
from pdesolve.namespace import Namespace
from pdesolve.nonlinear.gauss_newton import GaussNewton
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, minimise
from pdesolve.nonlinear.ridge import FixedRidge
from pdesolve.nonlinear.rows import InterfaceBlock, RowBlock
from pdesolve.pde.abstract import AbstractPDE, FunctionPDE
from pdesolve.pde.allen_cahn import AllenCahn
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.pde.fisher_kpp import FisherKPP
from pdesolve.pde.fitzhugh_nagumo import FitzHughNagumo
from pdesolve.pde.heat import Heat
from pdesolve.pde.helmholtz import Helmholtz
from pdesolve.pde.klein_gordon import KleinGordon
from pdesolve.pde.korteweg_de_vries import KortewegDeVries
from pdesolve.pde.linear_advection import LinearAdvection
from pdesolve.pde.nonlinear_diffusion import NonlinearDiffusion
from pdesolve.pde.steady_navier_stokes import SteadyNavierStokes
from pdesolve.pde.trace import trace
from pdesolve.pde.variable import FieldVariable
from pdesolve.problem import Problem
from pdesolve.unrolled import UnrolledAdjoint

PI = torch.pi


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Numbers in [-1, 1), float64."""
    return 2.0 * torch.rand(*shape, generator=seeded(seed), dtype=torch.float64) - 1.0


# Equations with exact solutions.


@dataclass(frozen=True)
class ExactCase:
    """A problem whose solution is known.

    The solutions are polynomials of low degree, trigonometric along periodic axes, so differences of order 4 and
    Fourier modes differentiate them exactly and a basis that contains them must give them back to round-off.

    Arguments:
        problem: equation and conditions.
        exact: by field, functions of the coordinates by name and of the parameters ``p``.
        shape: nodes of a grid on which the stencils fit.
        linear: what tracing must find.
        terms: what tracing must find, by field.
    """

    name: str
    problem: Problem
    exact: Mapping[str, Callable[..., Tensor]]
    shape: tuple[int, ...]
    linear: bool
    terms: Mapping[str, set[str]]

    @property
    def periodic(self) -> tuple[str, ...]:
        """Axes along which every field is periodic."""
        found = self.problem.resolved.periodic
        return tuple(a for a in self.problem.domain.axes if all(a in found.get(f, ()) for f in self.exact))

    @property
    def grid(self) -> StructuredGrid:
        return StructuredGrid.periodic(self.problem.domain, self.shape, self.periodic)

    def discretization(self, grid: StructuredGrid) -> AbstractGridDiscretization:
        """What differentiates the solution exactly."""
        return FourierSpectral(grid, self.periodic) if self.periodic else FiniteDifferences(grid, 4)

    def on(self, grid: StructuredGrid) -> Tensor:
        """(component, *grid)."""
        at = grid.coordinates()
        return torch.stack([self.exact[f](**at).expand(grid.shape) for f in self.problem.field_names])

    def basis(self, grid: StructuredGrid, n: int, seed: int = 0, batch: int = 1) -> Tensor:
        """n fields a case, among whose combinations the solution is: smooth random ones and one mixed with it.

        Returns (batch, n, *grid), or (batch, n, component, *grid) for several fields.
        """
        fields = [self._random(grid, 17 * seed + i) for i in range(batch * (n - 1))]
        spread = torch.stack(fields).reshape(batch, n - 1, len(self.exact), *grid.shape)
        holds = self.on(grid) + 0.5 * spread.sum(1)
        whole = torch.cat([spread, holds.unsqueeze(1)], dim=1)
        return whole.squeeze(2) if len(self.exact) == 1 else whole

    def _random(self, grid: StructuredGrid, seed: int) -> Tensor:
        numbers = uniform(len(self.exact), len(grid.axes) + 1, seed=seed)
        waves = []
        for row in numbers:
            wave = 3.0 * row[0] + torch.zeros(grid.shape, dtype=torch.float64)
            for k, (axis, x) in zip(row[1:], grid.coordinates().items(), strict=True):
                whole = (3.0 * k).round() * 2 * PI / grid.box.extent(axis)  # whole waves fit a periodic axis
                wave = wave + (whole if axis in self.periodic else 2.0 * k) * x
            waves.append(wave)
        return torch.stack([torch.sin(w) for w in waves])


def _exact_case(
    name: str,
    pde: AbstractPDE,
    domain: Any,
    exact: dict[str, Callable[..., Tensor]],
    conditions: list[AbstractCondition],
    shape: tuple[int, ...],
    linear: bool,
    terms: dict[str, set[str]],
) -> ExactCase:
    return ExactCase(name, Problem(pde, domain, conditions), exact, shape, linear, terms)


SPACE_TIME = Interval(0, 1) * TimeInterval(0, 1)
SQUARE = Rectangle((0, 1), (0, 1))


def _heat(x: Tensor, t: Any) -> Tensor:
    return x**4 + 12 * 0.5 * x * x * t + 12 * 0.25 * t * t + 0 * x


def _heat_1d() -> ExactCase:
    conditions: list[AbstractCondition] = [InitialCondition(lambda x: x**4), Dirichlet(lambda x, t: _heat(x, t))]
    terms = {"u": {"", "t", "xx"}}
    return _exact_case("heat 1-D", Heat(0.5), SPACE_TIME, {"u": _heat}, conditions, (11, 13), True, terms)


def _heat_2d() -> ExactCase:
    def exact(x: Tensor, y: Tensor, t: Any) -> Tensor:
        return x * x + 2 * y * y - x * y + 6 * t

    conditions: list[AbstractCondition] = [InitialCondition(lambda x, y: exact(x, y, 0.0)), Dirichlet(exact)]
    domain = SQUARE * TimeInterval(0, 1)
    terms = {"u": {"", "t", "xx", "yy"}}
    return _exact_case("heat 2-D", Heat(1.0, "xy"), domain, {"u": exact}, conditions, (7, 8, 9), True, terms)


def _poisson() -> ExactCase:
    def exact(x: Tensor, y: Tensor) -> Tensor:
        return x**3 - 2 * x * y * y + y

    pde = FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy - 2 * c.x)
    terms = {"u": {"", "xx", "yy"}}
    return _exact_case("Poisson 2-D", pde, SQUARE, {"u": exact}, [Dirichlet(exact)], (11, 12), True, terms)


def _burgers() -> ExactCase:
    def exact(x: Tensor, t: Any) -> Tensor:
        return 1 + x * t

    pde = FunctionPDE(
        lambda f, c, p: f.u.t + f.u * f.u.x - p.nu * f.u.xx - c.x - (1 + c.x * c.t) * c.t, parameters={"nu": 0.05}
    )
    conditions: list[AbstractCondition] = [InitialCondition(1.0), Dirichlet(exact)]
    terms = {"u": {"", "t", "x", "xx"}}
    return _exact_case("Burgers", pde, SPACE_TIME, {"u": exact}, conditions, (11, 13), False, terms)


def _transport() -> ExactCase:
    def exact(x: Tensor, t: Any) -> Tensor:
        return (x - 0.5 * t) ** 3

    pde = FunctionPDE(lambda f, c, p: f.u.t + 0.5 * f.u.x)
    conditions: list[AbstractCondition] = [InitialCondition(lambda x: x**3), Dirichlet(exact, on="left")]
    terms = {"u": {"", "t", "x"}}
    return _exact_case("transport", pde, SPACE_TIME, {"u": exact}, conditions, (11, 13), True, terms)


def _wave() -> ExactCase:
    def exact(x: Tensor, t: Any) -> Tensor:
        return (x - t) ** 3 + (x + t) ** 2

    pde = FunctionPDE(lambda f, c, p: f.u.tt - f.u.xx)
    conditions: list[AbstractCondition] = [
        InitialCondition(lambda x: x**3 + x**2),
        InitialCondition(lambda x: -3 * x**2 + 2 * x, order=1),
        Dirichlet(exact),
    ]
    terms = {"u": {"", "tt", "xx"}}
    return _exact_case("wave", pde, SPACE_TIME, {"u": exact}, conditions, (11, 13), True, terms)


def _system() -> ExactCase:
    def u(x: Tensor, t: Any) -> Tensor:
        return x * x + 2 * t

    def v(x: Tensor, t: Any) -> Tensor:
        return 1 + x * t

    def residual(f: Any, c: Any, p: Any) -> tuple[Tensor, Tensor]:
        product = f.u * f.v  # shared by both equations
        source = (c.x * c.x + 2 * c.t) * (1 + c.x * c.t)
        return f.u.t - f.u.xx + product - source, f.v.t - f.v.xx - product - c.x + source

    conditions: list[AbstractCondition] = [
        InitialCondition(lambda x: x * x, field="u"),
        InitialCondition(1.0, field="v"),
        Dirichlet(u, field="u"),
        Dirichlet(v, field="v"),
    ]
    terms = {"u": {"", "t", "xx"}, "v": {"", "t", "xx"}}
    pde = FunctionPDE(residual, fields=("u", "v"))
    return _exact_case("reaction system", pde, SPACE_TIME, {"u": u, "v": v}, conditions, (11, 13), False, terms)


def forced(pde: AbstractPDE, exact: Mapping[str, Callable[..., Any]], domain: Box) -> FunctionPDE:
    """A PDE with the source that makes ``exact`` a solution: the method of manufactured solutions."""
    needed = tuple(term for _, term in trace(pde, pde.parameters, domain.axes).terms)

    def at(f: Any, c: Any, p: Any) -> tuple[Tensor, ...]:
        found = pde.residual(f, c, p)
        return found if isinstance(found, tuple) else (found,)

    def residual(f: Any, c: Any, p: Any) -> tuple[Tensor, ...]:
        jets = {axis: Jet.variable(getattr(c, axis), axis, closure(needed)) for axis in domain.axes}
        true = {name: FieldVariable(name, exact[name](**jets).by_term()) for name in pde.field_names}
        return tuple(r - s for r, s in zip(at(f, c, p), at(Namespace(true, "field"), c, p), strict=True))

    return FunctionPDE(residual, pde.field_names, pde.parameters)


def _forced_case(
    name: str,
    pde: AbstractPDE,
    domain: Box,
    exact: dict[str, Callable[..., Any]],
    shape: tuple[int, ...],
    linear: bool = False,
    periodic: str = "",
    walls: list[AbstractCondition] | None = None,
) -> ExactCase:
    """Dirichlet conditions, unless others are given, on the axes that are not periodic."""
    start = domain.bounds("t")[0]
    conditions: list[AbstractCondition] = [*(walls or [])]
    for field, u in exact.items():
        conditions.append(_initial(field, u, domain, start))
        conditions += [Periodic(axis, field) for axis in periodic]
        ends = tuple(b for b in domain.boundary_names if domain.boundary(b).axis not in periodic)
        if ends and walls is None:
            conditions.append(Dirichlet(u, on=ends, field=field))
    space = {2 * axis for axis in domain.space_axes}
    if isinstance(pde, Burgers):
        space |= set(domain.space_axes)
    terms = {field: {"", "t", *space} for field in exact}
    return _exact_case(name, forced(pde, exact, domain), domain, exact, conditions, shape, linear, terms)


def _initial(field: str, u: Callable[..., Any], domain: Box, start: float) -> InitialCondition:
    space = domain.space_axes
    values: dict[int, Callable[..., Any]] = {
        1: lambda x: u(x=x, t=start),
        2: lambda x, y: u(x=x, y=y, t=start),
        3: lambda x, y, z: u(x=x, y=y, z=z, t=start),
    }
    return InitialCondition(values[len(space)], field=field)


PLANE_TIME = SQUARE * TimeInterval(0, 1)
SPACE_3D = Cuboid((0, 1), (0, 1), (0, 1)) * TimeInterval(0, 1)


def _heat_3d() -> ExactCase:
    def exact(x: Any, y: Any, z: Any, t: Any) -> Any:
        return x * x + 2.0 * y * y - z * z + x * z - y * t

    return _forced_case("heat 3-D", Heat(0.5, "xyz"), SPACE_3D, {"u": exact}, (6, 9, 6, 6), True)


def _burgers_2d() -> ExactCase:
    exact: dict[str, Callable[..., Any]] = {
        "u": lambda x, y, t: 1.0 + x * t + 0.5 * y * y,
        "v": lambda x, y, t: x - y * y + t,
    }
    return _forced_case("Burgers 2-D", Burgers(0.1, "xy"), PLANE_TIME, exact, (7, 9, 8))


def _fitzhugh_nagumo() -> ExactCase:
    """Given flow through the walls."""
    exact: dict[str, Callable[..., Any]] = {
        "u": lambda x, y, t: 0.5 * x * x - 0.5 * y + 0.5 * t,
        "v": lambda x, y, t: 0.5 * x * y * t + 0.25 * y * y,
    }
    walls: list[AbstractCondition] = [
        Neumann(0.0, on="left", field="u"),
        Neumann(1.0, on="right", field="u"),
        Neumann(0.5, on="bottom", field="u"),
        Neumann(-0.5, on="top", field="u"),
        Neumann(lambda y, t: -0.5 * y * t, on="left", field="v"),
        Neumann(lambda y, t: 0.5 * y * t, on="right", field="v"),
        Neumann(lambda x, t: -0.5 * x * t, on="bottom", field="v"),
        Neumann(lambda x, t: 0.5 * x * t + 0.5, on="top", field="v"),
    ]
    pde = FitzHughNagumo(0.1, 0.2)
    return _forced_case("FitzHugh-Nagumo", pde, PLANE_TIME, exact, (7, 9, 8), walls=walls)


def _fisher() -> ExactCase:
    exact: dict[str, Callable[..., Any]] = {"u": lambda x, t: 0.3 + 0.2 * x * x * t + 0.1 * t * t}
    return _forced_case("Fisher-KPP", FisherKPP(), SPACE_TIME, exact, (11, 13))


EXACT_CASES = [
    _heat_1d(),
    _heat_2d(),
    _poisson(),
    _burgers(),
    _transport(),
    _wave(),
    _system(),
    _heat_3d(),
    _burgers_2d(),
    _fitzhugh_nagumo(),
    _fisher(),
]


def _wave_1d(x: Any, t: Any) -> Any:
    return 0.5 + 0.3 * (1.0 + t - 0.5 * t * t) * torch.sin(2 * PI * x) + 0.1 * t * torch.cos(4 * PI * x)


def _wave_2d(x: Any, y: Any, t: Any) -> Any:
    return 0.2 * (1.0 + t) * torch.sin(2 * PI * x) * torch.cos(2 * PI * y) + 0.1 * t * t * torch.sin(2 * PI * (x + y))


def _other_2d(x: Any, y: Any, t: Any) -> Any:
    return 0.3 - 0.2 * t * torch.cos(2 * PI * x) + 0.1 * torch.sin(4 * PI * y)


def _wave_3d(x: Any, y: Any, z: Any, t: Any) -> Any:
    return (1.0 - 0.5 * t) * torch.sin(2 * PI * (x - z)) + t * t * torch.cos(2 * PI * y)


def _channel(x: Any, y: Any, t: Any) -> Any:
    return (y * y + t) * torch.sin(2 * PI * x) + y


_PAIR: dict[str, Callable[..., Any]] = {"u": _wave_2d, "v": _other_2d}

PERIODIC_CASES = [
    _forced_case("heat 1-D", Heat(0.1), SPACE_TIME, {"u": _wave_1d}, (7, 12), True, "x"),
    _forced_case("heat 2-D", Heat(0.1, "xy"), PLANE_TIME, {"u": _wave_2d}, (7, 12, 9), True, "xy"),
    _forced_case("heat 3-D", Heat(0.1, "xyz"), SPACE_3D, {"u": _wave_3d}, (6, 8, 7, 6), True, "xyz"),
    _forced_case("heat in a channel", Heat(0.1, "xy"), PLANE_TIME, {"u": _channel}, (7, 11, 8), True, "x"),
    _forced_case("Burgers 1-D", Burgers(0.1), SPACE_TIME, {"u": _wave_1d}, (7, 13), periodic="x"),
    _forced_case("Burgers 2-D", Burgers(0.1, "xy"), PLANE_TIME, _PAIR, (7, 12, 11), periodic="xy"),
    _forced_case("FitzHugh-Nagumo", FitzHughNagumo(0.01, 0.02), PLANE_TIME, _PAIR, (7, 12, 11), periodic="xy"),
    _forced_case("Fisher-KPP", FisherKPP(0.1), SPACE_TIME, {"u": _wave_1d}, (7, 12), periodic="x"),
]
"""For ``FourierSpectral``, which no other discretisation here differentiates exactly."""

EQUATIONS: list[AbstractPDE] = [
    Heat(),
    Heat(0.2, "xyz"),
    Burgers(),
    Burgers(0.1, "xy"),
    Burgers(0.1, "xyz"),
    DiffusionSorption(),
    FitzHughNagumo(),
    FitzHughNagumo(axes="z"),
    FisherKPP(),
    FisherKPP(axes="xyz"),
    LinearAdvection(2.0, 0.1),
    LinearAdvection(lambda c, p: (-c.y, c.x), axes="xy"),
    AllenCahn(),
    AllenCahn(axes="yz"),
    Helmholtz(),
    Helmholtz(2.0, lambda c, p: torch.sin(p.wavenumber * c.x), "xz"),
    KleinGordon(),
    KleinGordon(2.0, 0.5, lambda c, p: c.t * c.z, "z"),
    KortewegDeVries(),
    NonlinearDiffusion(),
    NonlinearDiffusion(axes="xyz"),
    SteadyNavierStokes(),
    SteadyNavierStokes(10.0, "xyz"),
]


def named(item: Any) -> str:
    """Test id of a registry row."""
    return str(getattr(item, "name", type(item).__name__))


# Least-squares problems.


def pointwise(terms: Any, inputs: Any) -> tuple[Tensor, ...]:
    """A curved equation of two terms and a parameter: u' + p u + c u²/2 + tanh(u')/4 - y."""
    u, slope = terms
    parameter, curved, data = inputs
    return (slope + parameter * u + 0.5 * curved * u * u + 0.25 * curved * torch.tanh(slope) - data,)


def least_squares(
    *,
    batch: int = 2,
    patches: int = 1,
    points: int = 24,
    unknowns: int = 4,
    noise: float = 0.0,
    curved: float = 1.0,
    coupled: bool = False,
    seed: int = 0,
) -> LeastSquares:
    """Random rows whose residual at the minimiser is about ``noise`` times that at the start.

    With ``coupled`` the patches form a chain tied by one row block of weight 1; without noise the true weights of all
    patches meet those rows too.
    """
    shape = (batch, patches, points)
    value, slope = (uniform(*shape, unknowns, seed=seed + i) for i in range(2))
    offsets = tuple(0.3 * uniform(*shape, seed=seed + 2 + i) for i in range(2))
    parameter = 1.0 + 0.3 * uniform(batch, 1, 1, seed=seed + 4)
    curvature = torch.tensor(curved, dtype=torch.float64).reshape(1, 1, 1)
    truth = uniform(batch, patches, unknowns, seed=seed + 5)
    zero = torch.zeros(shape, dtype=torch.float64)
    rows = RowBlock(
        pointwise, (value, slope), offsets, (parameter, curvature, zero), torch.ones(1, 1, 1, dtype=torch.float64)
    )
    clean = rows.residual(truth)[0]
    scatter = uniform(*shape, seed=seed + 6)
    data = clean + noise * clean.square().mean().sqrt() / scatter.square().mean().sqrt() * scatter
    rows = rows.with_tensors([*rows.tensors()[:-1], data])
    interfaces: tuple[InterfaceBlock, ...] = ()
    if coupled:
        edges = tuple((i, i + 1) for i in range(patches - 1))
        left, right = (uniform(batch, patches - 1, 3, unknowns, seed=seed + 7 + i) for i in range(2))
        bare = InterfaceBlock(edges, left, right, left.new_zeros(batch, patches - 1, 3), left.new_ones(1, 1, 1))
        tie = -bare.jump(truth) + noise * uniform(batch, patches - 1, 3, seed=seed + 9)
        interfaces = (bare.with_tensors([left, right, tie]),)
    return LeastSquares((rows,), interfaces)


def leaves_of(problem: LeastSquares) -> list[Tensor]:
    """Copies of the problem's tensors that require gradients."""
    return [t.clone().requires_grad_() for t in problem.tensors()]


LEVELS = {"zero": 0.0, "small": 0.08, "large": 1.0}
"""Noise by name: relative residuals of about 0, 0.075 and 0.75."""

SOLVERS: dict[str, AbstractNonlinearSolver] = {
    "LevenbergMarquardt": LevenbergMarquardt(),
    "LevenbergMarquardt, damped": LevenbergMarquardt(damping=1e-2, max_steps=200),
    "LevenbergMarquardt, fixed ridge": LevenbergMarquardt(ridge=FixedRidge(1e-14)),
    "GaussNewton": GaussNewton(max_steps=200),
}

TIGHT_SOLVER = LevenbergMarquardt(gtol=1e-12, max_steps=200)

ADJOINTS: dict[str, AbstractAdjoint] = {
    "implicit": ImplicitAdjoint(),
    "implicit, no polish": ImplicitAdjoint(polish=float("inf")),
    "unrolled": UnrolledAdjoint(30),
    "detached": DetachedAdjoint(),
}

COUPLINGS: dict[str, AbstractCoupling] = {
    "independent": Independent(),
    "interface rows": InterfaceRows(),
    "partition of unity": PartitionOfUnity(0.4),
}


def solve_with(adjoint: AbstractAdjoint, solver: AbstractNonlinearSolver) -> Callable[[LeastSquares], Any]:
    return lambda problem: adjoint.solve(problem, lambda p: minimise(p, solver))


def flat_residual(problem: LeastSquares, member: int) -> Callable[[Any], Any]:
    """All weighted rows of one sample as a function of its flat unknowns, for SciPy."""
    shape = problem.shape

    def function(flat: Any) -> Any:
        w = torch.zeros(shape, dtype=torch.float64)
        w[member] = torch.as_tensor(flat, dtype=torch.float64).reshape(shape[1:])
        parts = [block.residual(w)[:, member].flatten() for block in problem.rows]
        parts += [block.residual(w)[member].flatten() for block in problem.interfaces]
        return torch.cat(parts).numpy()

    return function


# Experts.


class Monomials(nn.Module):
    """All monomials of total degree up to ``degree`` in the features: a basis that is known exactly."""

    def __init__(self, n_features: int, degree: int) -> None:
        super().__init__()
        powers = torch.cartesian_prod(*(torch.arange(degree + 1),) * n_features).reshape(-1, n_features)
        self.powers = [tuple(row) for row in powers.tolist() if sum(row) <= degree]

    @property
    def n_basis(self) -> int:
        return len(self.powers)

    def forward(self, features: Any) -> Any:
        columns = []
        for row in self.powers:
            product = features[..., 0] * 0.0 + 1.0
            for position, power in enumerate(row):
                for _ in range(power):
                    product = product * features[..., position]
            columns.append(product)
        return torch.stack(columns, dim=-1)


def monomial_ansatz(case: ExactCase, degree: int = 4, frame: Frame | None = None) -> Ansatz:
    """Monomials of the scaled coordinates for every field, without a lifting unless a frame is given."""
    fields = case.problem.field_names
    frame = frame or Frame(ScaledCoordinates(case.problem), NoLifting(fields))
    network: nn.Module = Monomials(frame.coordinates.n_features, degree)
    if len(fields) > 1:
        network = Blocks(network, len(fields))
    return Ansatz(network, frame.coordinates, frame.lifting, fields)


class Blocks(nn.Module):
    """The same basis for each of several fields, with weights of their own: block diagonal."""

    def __init__(self, network: Any, n_fields: int) -> None:
        super().__init__()
        self.network, self.n_fields = network, n_fields

    def forward(self, features: Any) -> Any:
        basis = self.network(features)
        blocks = []
        for row in range(self.n_fields):
            blocks += [basis if row == column else basis * 0.0 for column in range(self.n_fields)]
        return torch.cat(blocks, dim=-1)


def grid_layer(case: ExactCase, cuts: Mapping[str, int] | None = None, **options: Any) -> HardConstraintLayer:
    """A layer on the case's grid with enough points for the tests' bases."""
    grid = case.grid
    options.setdefault("rows", RowCounts(200, 40, 30))
    decomposition = cartesian_decomposition(grid, cuts or {})
    return HardConstraintLayer(case.problem, case.discretization(grid), decomposition=decomposition, **options)


def monomial_expert(case: ExactCase, degree: int = 4, **options: Any) -> HardConstraintExpert:
    options.setdefault("rows", RowCounts(150, 40, 30))
    return HardConstraintExpert(
        monomial_ansatz(case, degree), HardConstraintLayer(case.problem, Collocation(), **options)
    )


def monomial_mixture(
    case: ExactCase, cuts: Mapping[str, int], coupling: AbstractCoupling | None = None, degree: int = 4
) -> MixtureOfExperts:
    decomposition = cartesian_decomposition(case.problem.domain, cuts)
    return MixtureOfExperts(decomposition, monomial_expert(case, degree), coupling)


EXPERTS: dict[str, Callable[[ExactCase], Any]] = {
    "hard constraint": monomial_expert,
    "mixture of 2": lambda case: monomial_mixture(case, {"x": 2}),
    "mixture of 3": lambda case: monomial_mixture(case, {"x": 3}),
    "overlapping mixture of 3": lambda case: monomial_mixture(case, {"x": 3}, PartitionOfUnity()),
}
