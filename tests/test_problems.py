"""Problems: what tracing finds, how conditions resolve, and every mistake refused with a sentence that helps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from helpers import EQUATIONS, EXACT_CASES, PERIODIC_CASES, SPACE_TIME, SQUARE, named, seeded, uniform

from pdesolve.condition import (
    AbstractCondition,
    ConditionRegister,
    Dirichlet,
    InitialCondition,
    Neumann,
    Periodic,
    Robin,
    Value,
)
from pdesolve.domains import Interval, StructuredGrid, TimeInterval
from pdesolve.field import Field
from pdesolve.frames.generic import generic_frame
from pdesolve.namespace import Namespace
from pdesolve.pde.abstract import AbstractPDE, FunctionPDE
from pdesolve.pde.burgers import Burgers
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.pde.fisher_kpp import FisherKPP
from pdesolve.pde.fitzhugh_nagumo import FitzHughNagumo
from pdesolve.pde.heat import Heat
from pdesolve.pde.trace import evaluate, trace
from pdesolve.problem import AbstractDistribution, Family, LogUniform, Problem, ProblemFamily, Uniform

START = InitialCondition(0.0)


def heat(*conditions: Any, **parameters: float) -> Problem:
    return Problem(Heat(), SPACE_TIME, conditions or (START, Dirichlet(0.0)), parameters)


def of(residual: Any) -> Problem:
    """One field on an interval in time."""
    return Problem(residual, SPACE_TIME, (START, Dirichlet(0.0)))


# Tracing.


@pytest.mark.parametrize("case", [*EXACT_CASES, *PERIODIC_CASES], ids=named)
def test_tracing_finds_terms_order_and_linearity(case):
    found: dict[str, set[str]] = {}
    for field, term in case.problem.trace.terms:
        found.setdefault(field, set()).add(term)
    assert found == dict(case.terms)
    assert case.problem.trace.linear is case.linear
    for axis in case.problem.domain.axes:
        highest = max(term.count(axis) for terms in case.terms.values() for term in terms)
        assert case.problem.trace.order(axis) == highest


@pytest.mark.parametrize("case", [*EXACT_CASES, *PERIODIC_CASES], ids=named)
def test_exact_solution_has_no_residual(case):
    """The registry itself: the derivatives of the exact solution, by autograd, make F vanish."""
    box = case.problem.domain
    at = {}
    for i, axis in enumerate(box.axes):
        at[axis] = (box.bounds(axis)[0] + box.extent(axis) * (uniform(9, seed=i) + 1) / 2).requires_grad_()
    terms = {}
    for field, names in case.terms.items():
        for term in names:
            value = case.exact[field](**at)
            for axis in term:
                zero = 0.0 * (value + at[axis]).sum()  # what no longer depends on the axis has the derivative zero
                value = torch.autograd.grad(value.sum() + zero, at[axis], create_graph=True)[0]
            terms[field, term] = value
    parameters = case.problem.batch_parameters()
    for equation in evaluate(case.problem.pde, terms, at, parameters):
        assert float(equation.detach().abs().max()) < 1e-12


@pytest.mark.parametrize("pde", EQUATIONS, ids=named)
def test_equations_are_evaluated_point_by_point(pde):
    box = Interval(0, 1) * Interval(0, 1, axis="y") * Interval(0, 1, axis="z") * TimeInterval(0, 1)
    found = trace(pde, pde.parameters, box.axes)
    conditions: list[AbstractCondition] = [Dirichlet(0.0, field=f) for f in pde.field_names]
    for f in pde.field_names:
        conditions += [InitialCondition(0.0, field=f, order=n) for n in range(found.order("t", f))]
    problem = Problem(pde, box, conditions)
    points = (3, 5)
    terms = {t: 0.2 + uniform(*points, seed=i).abs() for i, t in enumerate(problem.trace.terms)}
    at = {axis: uniform(*points, seed=20 + i) for i, axis in enumerate(box.axes)}
    whole = evaluate(pde, terms, at, problem.batch_parameters())
    part = evaluate(
        pde,
        {t: v[:, :2] for t, v in terms.items()},
        {a: v[:, :2] for a, v in at.items()},
        problem.batch_parameters(),
    )
    assert whole[0].shape == points
    torch.testing.assert_close(whole[0][:, :2], part[0], rtol=0, atol=0)


def test_mixed_derivatives_are_one_term_in_any_spelling():
    problem = of(lambda f, c, p: f.u.t - f.u.xt - f.u.tx)
    assert ("u", "tx") in problem.trace.terms
    assert ("u", "xt") not in problem.trace.terms


def test_fields_stand_for_their_values_in_arithmetic_and_torch_functions():
    def residual(f: Any, c: Any, p: Any) -> Any:
        u = f.u
        pieces = [u + 1, 1 + u, u - 1, 1 - u, 2 * u, u / 2, 2 / u, u**2, 2.0**u, -u, abs(u), u * u, u - u.x]
        return u.t + sum(pieces) + torch.sin(u) + torch.stack([u, u.x]).sum(0)

    def plain(f: Any, c: Any, p: Any) -> Any:
        v = f.u.value
        pieces = [v + 1, 1 + v, v - 1, 1 - v, 2 * v, v / 2, 2 / v, v**2, 2.0**v, -v, v.abs(), v * v, v - f.u.x]
        return f.u.t + sum(pieces) + torch.sin(v) + v + f.u.x

    values = {("u", t): 0.5 + uniform(4, seed=i).abs() for i, t in enumerate(("", "t", "x"))}
    found, expected = (evaluate(FunctionPDE(r), values, {}, {})[0] for r in (residual, plain))
    torch.testing.assert_close(found, expected)


def test_a_weak_nonlinearity_is_not_taken_for_linear():
    assert not of(lambda f, c, p: f.u.t - f.u.xx + 1e-6 * f.u**3).trace.linear
    assert not of(lambda f, c, p: f.u.t - f.u.xx + torch.abs(f.u)).trace.linear
    assert not of(lambda f, c, p: f.u.t - f.u.xx + torch.log(f.u)).trace.linear
    assert of(lambda f, c, p: f.u.t - f.u.xx + torch.sin(50 * c.x)).trace.linear


def test_a_plain_function_is_an_equation_and_reads_the_problem_s_parameters():
    problem = Problem(lambda f, c, p: f.u.t - p.k * f.u.xx, SPACE_TIME, (START, Dirichlet(0.0)), {"k": 2.0})
    assert problem.field_names == ("u",)
    assert problem.parameters == {"k": 2.0}


def test_parameters_of_the_problem_replace_the_equation_s():
    assert heat(kappa=0.25).parameters == {"kappa": 0.25}


# Mistakes in the equation.


@pytest.mark.parametrize(
    ("residual", "error", "message"),
    [
        (lambda f, c, p: 0.0 * c.x, ValueError, "reads no derivative"),
        (lambda f, c, p: f.u - 1.0, ValueError, "reads no derivative"),
        (lambda f, c, p: f.u.t - f.u.yy, ValueError, "no axis 'y'.*t, x"),
        (lambda f, c, p: f.u.t - c.y, ValueError, "coordinate 'y'.*t, x"),
        (lambda f, c, p: f.u.t - f.v.xx, ValueError, "field 'v'.*u"),
        (lambda f, c, p: f.u.t - f.u.laplacian, ValueError, "laplacian is not a derivative"),
        (lambda f, c, p: f.u.t - p.nu * f.u.xx, ValueError, "parameter 'nu'"),
        (lambda f, c, p: f.u.t - p["nu"] * f.u.xx, (ValueError, KeyError), "parameter 'nu'"),
        (lambda f, c, p: (f.u.t - f.u.xx).sum(), ValueError, "shape"),
        (lambda f, c, p: (f.u.t - f.u.xx)[:-1], ValueError, "shape"),
        (lambda f, c, p: (f.u.t - f.u.xx).unsqueeze(-1), ValueError, "shape"),
        (lambda f, c, p: 1.0 if f.u.t is not None else 0.0, TypeError, "float"),
        (lambda f, c, p: [f.u.t, f.u.xx], TypeError, "list"),
        (lambda f, c, p: [f.u.t].clear(), TypeError, "NoneType"),
        (lambda f, c, p: f.u if f.u.t is not None else 0, TypeError, "no equation"),
        (lambda f, c, p: (f.u.t, f.u.xx)[:0], (TypeError, ValueError), "equation|empty|at least one"),
        (lambda f, c, p: f.u.t > f.u.xx, TypeError, "bool|floating"),
        (lambda f, c, p: torch.complex(f.u.t, f.u.xx), TypeError, "complex|floating"),
        (lambda f, c, p: (f.u.t - f.u.xx).detach().long(), TypeError, "int64|floating"),
    ],
)
def test_a_wrong_residual_is_refused_at_construction(residual, error, message):
    with pytest.raises(error, match=message):
        of(residual)


@pytest.mark.parametrize(
    "residual",
    [
        lambda f, c, p: f.u.t - f.u.xx - f.u.value.mean(),
        lambda f, c, p: f.u.t - f.u.xx.flip(-1),
        lambda f, c, p: f.u.t - torch.cumsum(f.u.xx, -1),
        lambda f, c, p: f.u.t - torch.roll(f.u.value, 1, -1),
        lambda f, c, p: f.u.t / f.u.xx.abs().amax(),
        lambda f, c, p: f.u.t - f.u.xx + torch.softmax(f.u.value, -1),
    ],
    ids=["mean", "flip", "cumulative sum", "shift", "maximum", "softmax"],
)
def test_a_residual_that_is_not_pointwise_is_refused(residual):
    with pytest.raises(ValueError, match="point by point"):
        of(residual)


def test_too_many_derivatives_are_refused():
    def residual(f: Any, c: Any, p: Any) -> Any:
        return sum(getattr(f.u, "x" * k) for k in range(1, 80))

    with pytest.raises(ValueError, match="derivatives"):
        of(residual)


def test_things_that_are_no_equation_or_domain_are_refused():
    with pytest.raises(TypeError, match="pde must be"):
        Problem("heat", SPACE_TIME, (START, Dirichlet(0.0)))
    with pytest.raises(TypeError, match="domain must be a Box"):
        Problem(Heat(), (0, 1), (START, Dirichlet(0.0)))
    with pytest.raises(TypeError, match="must be callable"):
        FunctionPDE(3)
    with pytest.raises(TypeError, match="fields"):
        FunctionPDE(lambda f, c, p: f.temperature.t, fields="temperature")
    with pytest.raises(ValueError, match=r"twice|two|unique|once"):
        FunctionPDE(lambda f, c, p: f.u.t, fields=("u", "u"))


@pytest.mark.parametrize("axes", ["", "w", "t", "xq"])
def test_heat_refuses_axes_that_are_no_space_axes(axes):
    with pytest.raises(ValueError, match="axes must be letters"):
        Heat(axes=axes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Heat(kappa=-1.0),
        lambda: Heat(kappa=0.0),
        lambda: Burgers(nu=-0.1),
        lambda: DiffusionSorption(D=-1.0),
        lambda: DiffusionSorption(porosity=1.5),
        lambda: DiffusionSorption(porosity=0.0),
        lambda: Heat(axes="xx"),
        lambda: Heat(kappa=10**400),
        lambda: Burgers(axes="t"),
        lambda: FitzHughNagumo(D_v=0.0),
        lambda: FitzHughNagumo(axes=""),
        lambda: FisherKPP(rho=-1.0),
        lambda: FisherKPP(axes="yy"),
    ],
    ids=[
        "kappa < 0",
        "kappa = 0",
        "nu < 0",
        "D < 0",
        "porosity > 1",
        "porosity = 0",
        "axis twice",
        "huge",
        "time",
        "D_v = 0",
        "no axis",
        "rho < 0",
        "y twice",
    ],
)
def test_unphysical_parameters_are_refused(make):
    with pytest.raises(ValueError, match=r"kappa|nu|D|porosity|axes|rho"):
        make()


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, True, "1e-6", None, [1.0]])
def test_parameters_that_are_no_finite_numbers_are_refused(value):
    with pytest.raises((TypeError, ValueError), match="'kappa' must be a finite number"):
        heat(kappa=value)


def test_a_parameter_that_nothing_reads_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'kapa'.*'kappa'"):
        heat(kapa=2.0)


def test_a_parameter_with_the_name_of_an_axis_is_refused():
    with pytest.raises(ValueError, match="name of an axis"):
        heat(x=1.0)


# Mistakes in the conditions.


@pytest.mark.parametrize(
    ("conditions", "error", "message"),
    [
        ((START,), ValueError, "no condition on boundary 'left'"),
        ((START, Dirichlet(0.0, on="left")), ValueError, "no condition on boundary 'right'"),
        ((Dirichlet(0.0),), ValueError, "lacks an initial condition of order 0"),
        ((START, START, Dirichlet(0.0)), ValueError, "two initial conditions"),
        ((START, Dirichlet(0.0), Neumann(0.0, on="left")), ValueError, "two conditions on boundary 'left'"),
        ((START, Dirichlet(0.0, on=("left", "left"))), ValueError, "two conditions"),
        ((START, Dirichlet(0.0, on="lefft")), ValueError, "no boundary 'lefft'.*'left'"),
        ((START, Dirichlet(0.0, on=("left", "top"))), ValueError, "no boundary 'top'"),
        ((START, Dirichlet(0.0, on=3)), (TypeError, ValueError), "boundary|on"),
        ((START, Dirichlet(0.0, on=())), ValueError, "boundary"),
        ((START, Dirichlet(0.0), Dirichlet(1.0, on="initial")), ValueError, "initial"),
        ((START, Dirichlet(0.0), Dirichlet(1.0, on="final")), ValueError, "final"),
        ((START, Dirichlet(0.0), Periodic("x")), ValueError, "periodic along x"),
        ((START, Periodic("y")), ValueError, "space axes are x"),
        ((START, Periodic("t")), ValueError, "space axes are x"),
        ((START, Periodic("x"), Periodic("x")), ValueError, "twice|two"),
        ((InitialCondition(0.0, order=1), START, Dirichlet(0.0)), ValueError, "order 1"),
        ((InitialCondition(0.0, order=-1), Dirichlet(0.0)), ValueError, "order -1"),
        ((InitialCondition(0.0, order=0.5), START, Dirichlet(0.0)), TypeError, "integer, got 0.5"),
        ((InitialCondition(0.0, field="v"), Dirichlet(0.0)), ValueError, "unknown field 'v'"),
        ((START, Dirichlet(math.nan)), ValueError, "not finite"),
        ((InitialCondition(math.inf), Dirichlet(0.0)), ValueError, "not finite"),
        ((START, Dirichlet(lambda t: (t - t) / (t - t))), ValueError, "not finite"),
        ((START, Robin(0.0, alpha=0.0, beta=0.0)), ValueError, "both zero"),
        ((START, Robin(0.0, alpha=math.nan)), ValueError, "not finite"),
        ((START, Dirichlet(lambda t, kapa: t * kapa)), ValueError, "'kapa'.*'kappa'"),
        ((InitialCondition(lambda s: s), Dirichlet(0.0)), ValueError, "'s'"),
        ((START, Dirichlet("0")), TypeError, "str"),
        ((START, Dirichlet(True)), TypeError, "bool"),
        ((START, Dirichlet(torch.zeros(3))), TypeError, "Tensor"),
        ((START, Dirichlet(torch.sin)), (TypeError, ValueError), "argument|signature.*lambda|lambda"),
        ((InitialCondition(lambda x: math.sin(x)), Dirichlet(0.0)), (TypeError, ValueError), "initial condition"),
        ((InitialCondition(lambda x: x[:3]), Dirichlet(0.0)), ValueError, r"shape \(3,\)"),
        ((InitialCondition(lambda x: torch.exp(1j * x)), Dirichlet(0.0)), TypeError, "real"),
        ((START, Dirichlet(10**400)), ValueError, "not finite"),
        ((START, "u = 0"), TypeError, "str is no condition"),
        ((START, 0.0), TypeError, "float is no condition"),
    ],
)  # fmt: skip
def test_wrong_conditions_are_refused_at_construction(conditions, error, message):
    with pytest.raises(error, match=message):
        heat(*conditions)


def test_an_initial_condition_without_time_is_refused():
    laplace = FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy)
    with pytest.raises(ValueError, match="needs a time axis"):
        Problem(laplace, SQUARE, (START, Dirichlet(0.0)))


def test_a_condition_that_is_not_finite_somewhere_on_its_face_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        heat(InitialCondition(lambda x: torch.log(x - 0.25)), Dirichlet(0.0))


def test_conditions_of_several_fields_must_name_them():
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.v.xx, f.v.t - f.u.xx), fields=("u", "v"))
    with pytest.raises(ValueError, match="must name its field: the fields are u, v"):
        Problem(pde, SPACE_TIME, (START, Dirichlet(0.0)))
    with pytest.raises(ValueError, match="'v' lacks an initial condition"):
        Problem(pde, SPACE_TIME, (InitialCondition(0.0, field="u"), Dirichlet(0.0, field="u")))


def test_each_field_needs_conditions_for_its_own_order_only():
    """v appears undifferentiated: it needs none."""
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx - f.v, f.v - f.u**2), fields=("u", "v"))
    conditions = (InitialCondition(0.0, field="u"), Dirichlet(0.0, field="u"))
    assert len(Problem(pde, SPACE_TIME, conditions).resolved.faces) == 2


def test_an_initial_order_is_that_of_its_own_field():
    """u_tt = v_xx takes u and u_t, v_t = u_xx takes v only."""
    pde = FunctionPDE(lambda f, c, p: (f.u.tt - f.v.xx, f.v.t - f.u.xx), fields=("u", "v"))
    walls = tuple(Dirichlet(0.0, field=name) for name in ("u", "v"))
    starts = (InitialCondition(0.0, "u"), InitialCondition(1.0, "u", order=1), InitialCondition(0.0, "v"))
    assert len(Problem(pde, SPACE_TIME, starts + walls).resolved.initial) == 3
    with pytest.raises(ValueError, match="order 1 for field 'v', whose equation is of order 1"):
        Problem(pde, SPACE_TIME, (*starts, InitialCondition(0.0, "v", order=1), *walls))


@dataclass(frozen=True)
class Film(AbstractCondition):
    """A user's own condition: loss through a film of thickness d on the right, nothing on the left."""

    thickness: str

    @property
    def values(self) -> tuple[Value, ...]:
        return (self._thickness,)

    def resolve(self, register: ConditionRegister) -> None:
        register.add_faces("Film", "right", None, alpha=1.0, beta=self._thickness, value=0.0)
        register.add_faces("Film", "left", None, alpha=0.0, beta=1.0, value=0.0)

    @property
    def _thickness(self) -> Value:
        return {"d": lambda d: d, "e": lambda e: e}[self.thickness]


def test_a_condition_of_ones_own_is_one_class():
    problem = heat(START, Film("d"), d=0.5)
    left, right = (problem.resolved.face("u", name) for name in ("left", "right"))
    assert left.is_neumann
    assert (right.alpha, right.value, right.beta(d=0.5)) == (1.0, 0.0, 0.5)
    with pytest.raises(ValueError, match="'e', which is neither an axis nor a parameter"):
        heat(START, Film("e"))
    with pytest.raises(ValueError, match="two conditions on boundary 'left'"):
        heat(START, Film("d"), Dirichlet(0.0), d=0.5)


def test_large_values_of_conditions_are_no_infinities():
    assert heat(InitialCondition(lambda u0: 1e200), Dirichlet(1e200), u0=1.0).resolved.faces[0].value == 1e200


def test_conditions_may_come_from_a_generator_or_alone():
    assert len(Problem(Heat(), SPACE_TIME, (c for c in (START, Dirichlet(0.0)))).conditions) == 2
    steady = FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy)
    assert len(Problem(steady, SQUARE, Dirichlet(0.0)).conditions) == 1


def test_conditions_resolve_by_field_and_boundary():
    problem = heat(START, Dirichlet(1.0, on="left"), Robin(0.0, 2.0, 3.0, on="right"))
    left, right = (problem.resolved.face("u", name) for name in ("left", "right"))
    assert left.is_dirichlet
    assert (left.side, left.position, left.value) == (-1, 0.0, 1.0)
    assert not right.is_dirichlet
    assert (right.side, right.alpha, right.beta) == (1, 2.0, 3.0)
    assert heat(START, Periodic("x")).resolved.periodic == {"u": ("x",)}
    with pytest.raises(ValueError, match="no condition on boundary 'left'"):
        heat(START, Periodic("x")).resolved.face("u", "left")


# Parameters and families.


def test_batches_of_parameters_broadcast():
    problem = heat(START, Dirichlet(lambda t, u0: u0 * t), u0=0.5)
    values = problem.batch_parameters({"kappa": torch.tensor([1.0, 2.0, 3.0])})
    assert values["kappa"].tolist() == [1.0, 2.0, 3.0]
    assert values["u0"].tolist() == [0.5]
    assert all(v.dtype == torch.float64 for v in values.values())
    assert problem.batch_parameters({"u0": 1})["u0"].tolist() == [1.0]


def test_gradients_flow_to_batches_of_parameters():
    kappa = torch.tensor([1.0, 2.0], requires_grad=True)
    heat().batch_parameters({"kappa": kappa})["kappa"].square().sum().backward()
    assert kappa.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"kapa": 1.0}, ValueError, "unknown parameter 'kapa'.*'kappa'"),
        ({"kappa": torch.ones(2, 2)}, ValueError, r"shape \(2, 2\)"),
        ({"kappa": torch.ones(2), "u0": torch.ones(3)}, ValueError, "different batch lengths"),
        ({"kappa": torch.ones(0)}, ValueError, "empty|at least one|batch"),
        ({"kappa": torch.ones(2, dtype=torch.complex64)}, TypeError, "complex|real"),
        ({"kappa": None}, TypeError, "kappa"),
        ({"kappa": "1.0"}, TypeError, "kappa"),
    ],
    ids=["name", "shape", "lengths", "no case", "complex", "None", "text"],
)
def test_wrong_batches_of_parameters_are_refused(values, error, message):
    problem = heat(START, Dirichlet(lambda t, u0: u0 * t), u0=0.5)
    with pytest.raises(error, match=message):
        problem.batch_parameters(values)


@pytest.mark.parametrize("distribution", [Uniform(0.1, 0.9), LogUniform(1e-3, 1.0)])
def test_family_samples_are_reproducible_and_in_range(distribution):
    family = ProblemFamily(heat(), {"kappa": distribution})
    first, second = (family.sample(500, seeded(7))["kappa"] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, family.sample(500, seeded(8))["kappa"])
    low, high = (distribution.lower, distribution.upper)
    assert first.shape == (500,)
    assert first.dtype == torch.float64
    assert low <= float(first.min()) < float(first.max()) < high


def test_log_uniform_fills_decades_evenly():
    values = LogUniform(1e-4, 1.0).sample(4000, seeded())
    counts = torch.histc(values.log10(), 4, -4, 0)
    assert float((counts / 1000 - 1).abs().max()) < 0.15


def test_a_sample_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    ProblemFamily(heat(), {"kappa": Uniform(0, 1)}).sample(4, seeded())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("distributions", "error", "message"),
    [
        ({}, ValueError, "at least one"),
        ({"kapa": Uniform(0, 1)}, ValueError, "unknown parameter 'kapa'.*'kappa'"),
        ({"kappa": (0.0, 1.0)}, TypeError, "kappa"),
    ],
    ids=["none", "name", "type"],
)
def test_wrong_families_are_refused(distributions, error, message):
    with pytest.raises(error, match=message):
        ProblemFamily(heat(), distributions)


def test_a_family_is_of_a_problem_and_has_members():
    with pytest.raises(TypeError, match="Problem, got Heat"):
        ProblemFamily(Heat(), {"kappa": Uniform(0, 1)})
    with pytest.raises(ValueError, match="number of members must be at least 1, got -1"):
        ProblemFamily(heat(), {"kappa": Uniform(0, 1)}).sample(-1, seeded())


def test_a_problem_is_a_family_of_one():
    problem = heat(kappa=0.25)
    family = ProblemFamily(problem, {"kappa": Uniform(0.1, 0.9)})
    assert all(isinstance(f, Family) and f.problem is problem for f in (problem, family))
    assert (dict(problem.distributions), list(family.distributions)) == ({}, ["kappa"])
    assert problem.sample(5, seeded())["kappa"].tolist() == [0.25]


@dataclass(frozen=True)
class Choice(AbstractDistribution):
    """A user's own distribution: one of two values."""

    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.randint(2, (n,), generator=generator)
        return torch.tensor([self.low, self.high], dtype=torch.float64)[drawn]

    def scaled(self, value: torch.Tensor) -> torch.Tensor:
        return 2.0 * (value - self.low) / (self.high - self.low) - 1.0


def test_a_distribution_of_ones_own_is_one_class():
    family = ProblemFamily(heat(), {"kappa": Choice(0.1, 0.9)})
    assert set(family.sample(50, seeded())["kappa"].tolist()) == {0.1, 0.9}
    assert generic_frame(family).coordinates.n_features == 3


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.0, 0.0), (math.nan, 1.0), (0.0, math.inf), (0.0, 10**400)])
def test_wrong_ranges_are_refused(bounds):
    with pytest.raises(ValueError, match="range needs"):
        Uniform(*bounds)
    with pytest.raises(ValueError, match="range needs"):
        LogUniform(*bounds)
    with pytest.raises(TypeError, match="lower must be a real number, got '0'"):
        Uniform("0", 1.0)
    with pytest.raises(TypeError, match="lower must be a real number, got '1'"):
        LogUniform("1", 2.0)


def test_a_residual_may_compare_a_field():
    """A diffusivity of its own on either side of zero."""
    problem = of(lambda f, c, p: f.u.t - torch.where((f.u > 0) & (f.u <= 1), 1.0, 2.0) * f.u.xx)
    other = of(lambda f, c, p: f.u.t - torch.where((f.u < 0) | (f.u >= 2), 1.0, 2.0) * f.u.xx)
    assert problem.trace.terms == other.trace.terms == (("u", ""), ("u", "t"), ("u", "xx"))


def test_a_case_of_a_field_that_is_not_there_is_refused():
    grid = StructuredGrid.uniform(SPACE_TIME, (3, 4))
    field = Field(torch.arange(24.0).reshape(2, 1, 3, 4), grid, ("u",))
    assert torch.equal(field.case(1).values, field.values[1:])
    for index in (-1, 2):
        with pytest.raises(IndexError, match=f"case {index}: the field has the cases 0 to 1"):
            field.case(index)


def test_a_system_by_subclass():
    class Waves(AbstractPDE):
        @property
        def field_names(self) -> tuple[str, ...]:
            return ("h", "q")

        @property
        def parameters(self) -> dict[str, float]:
            return {"g": 9.81}

        def residual(self, fields: Any, coordinates: Any, parameters: Any) -> Any:
            return fields.h.t + fields.q.x, fields.q.t + parameters.g * fields.h.x

    conditions = [InitialCondition(lambda x: x, field="h"), InitialCondition(0.0, field="q")]
    conditions += [Dirichlet(0.0, on="left", field="h"), Dirichlet(0.0, on="right", field="q")]
    problem = Problem(Waves(), SPACE_TIME, conditions)
    assert problem.trace.n_equations == 2
    assert problem.trace.linear


# The retardation of diffusion-sorption at and below u = 0.


@pytest.mark.parametrize("u", [0.0, -1e-9, -0.3, 1e-300, 1.0])
def test_retardation_is_finite_smooth_and_even(u):
    parameters = Problem(DiffusionSorption(), SPACE_TIME, (START, Dirichlet(0.0))).batch_parameters()
    value = torch.tensor([u], dtype=torch.float64, requires_grad=True)
    found = DiffusionSorption.retardation(value, Namespace(parameters))
    (slope,) = torch.autograd.grad(found.sum(), value)
    assert bool(torch.isfinite(found).all() & torch.isfinite(slope).all())
    assert float(found.detach()) > 1.0
    torch.testing.assert_close(found, DiffusionSorption.retardation(-value, Namespace(parameters)))
