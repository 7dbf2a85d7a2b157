"""Registries that the property tests run over: a new equation, problem, solver or expert is one row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdesolve.condition import AbstractCondition, Dirichlet, InitialCondition
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation
from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.domains import Interval, Rectangle, StructuredGrid, TimeInterval, cartesian_decomposition
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
from pdesolve.nonlinear.gauss_newton import GaussNewton
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, minimise
from pdesolve.nonlinear.ridge import FixedRidge
from pdesolve.nonlinear.rows import InterfaceBlock, RowBlock
from pdesolve.pde.abstract import AbstractPDE, FunctionPDE
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.pde.heat import Heat
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

    The solutions are polynomials of low degree, so differences of order 4 differentiate them exactly and a basis that
    contains them must give them back to round-off.

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
    def grid(self) -> StructuredGrid:
        return StructuredGrid.uniform(self.problem.domain, self.shape)

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
        at = list(grid.coordinates().values())
        waves = [sum(2.0 * k * x for k, x in zip(row[1:], at, strict=True)) + 3.0 * row[0] for row in numbers]
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


EXACT_CASES = [_heat_1d(), _heat_2d(), _poisson(), _burgers(), _transport(), _wave(), _system()]

EQUATIONS: list[AbstractPDE] = [Heat(), Heat(0.2, "xyz"), Burgers(), DiffusionSorption()]


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
    return HardConstraintLayer(case.problem, FiniteDifferences(grid, 4), decomposition=decomposition, **options)


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
