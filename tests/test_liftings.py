"""Liftings: the conditions hold for any network, and the ramps solve the heat equation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from helpers import SPACE_TIME, SQUARE, uniform
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition, Neumann, Robin, value_at
from pdesolve.domains import Box, Interval, StructuredGrid, TimeInterval
from pdesolve.frames.abstract import (
    AbstractLifting,
    FunctionCoordinates,
    FunctionLifting,
    JoinedCoordinates,
    points_at,
)
from pdesolve.frames.additive import AdditiveLifting
from pdesolve.frames.agreement import fluxes_disagree
from pdesolve.frames.check import check_imposed
from pdesolve.frames.diffusivity import largest_diffusivity, prescribed_values
from pdesolve.frames.generic import generic_frame
from pdesolve.frames.similarity import SimilarityCoordinates, SimilarityLifting
from pdesolve.frames.transfinite import ScaledCoordinates, TransfiniteLifting
from pdesolve.frames.walls import WallLifting
from pdesolve.jet import Jet, closure
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.heat import Heat
from pdesolve.problem import LogUniform, Problem, ProblemFamily

KAPPA = 0.3


def heat(*conditions: Any, domain: Box = SPACE_TIME, axes: str = "x", **parameters: float) -> Problem:
    return Problem(Heat(KAPPA, axes), domain, conditions, parameters)


def jump() -> Problem:
    """Initial value 0.5 between boundary values 1 and -2: contradictory at both corners."""
    return heat(InitialCondition(0.5), Dirichlet(1.0, on="left"), Dirichlet(-2.0, on="right"))


def smooth() -> Problem:
    return heat(InitialCondition(lambda x: x * x), Dirichlet(lambda x, t: x * x + 0.6 * t))


def parametric() -> Problem:
    return heat(InitialCondition(lambda x, u0: u0 * (1 + x)), Dirichlet(lambda x, t, u0: u0 * (1 + x + t)), u0=0.4)


def wave() -> Problem:
    pde = FunctionPDE(lambda f, c, p: f.u.tt - f.u.xx)
    conditions = [InitialCondition(lambda x: x * x), InitialCondition(lambda x: 2 * x, order=1)]
    return Problem(pde, SPACE_TIME, [*conditions, Dirichlet(lambda x, t: (x + t) ** 2)])


def plane() -> Problem:
    def exact(x: Tensor, y: Tensor, t: Any) -> Tensor:
        return x * x + y * y - x * y + 4 * KAPPA * t

    conditions = (InitialCondition(lambda x, y: exact(x, y, 0.0)), Dirichlet(exact))
    return heat(*conditions, domain=SQUARE * TimeInterval(0, 2), axes="xy")


def poisson() -> Problem:
    return Problem(FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy), SQUARE, [Dirichlet(lambda x, y: x * x - y * y)])


def space() -> Problem:
    """Values that no product of blends has, on five of six faces, Robin on the other."""
    exact = lambda x, y, z: torch.exp(x - 2 * y) * torch.sin(z + x * y)  # noqa: E731
    faces = ("left", "right", "bottom", "top", "back")
    return Problem(
        FunctionPDE(lambda f, c, p: f.u.xx + f.u.yy + f.u.zz),
        SQUARE * Interval(0, 2, axis="z"),
        [Dirichlet(exact, on=faces), Robin(2.0, 1.0, 1.0, on="front")],
    )


def system() -> Problem:
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.v.xx, f.v.t - f.u.xx), fields=("u", "v"))
    conditions = [InitialCondition(lambda x: x, field="u"), InitialCondition(2.0, field="v")]
    conditions += [Dirichlet(lambda x: x, field="u"), Dirichlet(2.0, field="v", on="left")]
    return Problem(pde, SPACE_TIME, [*conditions, Robin(2.0, 1.0, 1.0, field="v", on="right")])


def beside() -> Problem:
    """v has no time derivative and so no initial value; its boundary value changes in time."""
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx - f.v, f.v.xx - f.u), fields=("u", "v"))
    conditions = [InitialCondition(lambda x: x, field="u"), Dirichlet(lambda x: x, field="u")]
    return Problem(pde, SPACE_TIME, [*conditions, Dirichlet(lambda t: 1.0 + t, field="v")])


def jerk() -> Problem:
    """Third order in time: u = t² e^x."""
    pde = FunctionPDE(lambda f, c, p: f.u.ttt - f.u.x + c.t**2 * torch.exp(c.x))
    start = [
        InitialCondition(0.0),
        InitialCondition(0.0, order=1),
        InitialCondition(lambda x: 2 * torch.exp(x), order=2),
    ]
    return Problem(pde, SPACE_TIME, [*start, Dirichlet(lambda x, t: t**2 * torch.exp(x))])


LIFTINGS: dict[str, Callable[[], tuple[Problem, AbstractLifting]]] = {
    "transfinite, agreeing": lambda: (p := smooth(), TransfiniteLifting(p)),
    "transfinite, disagreeing": lambda: (p := jump(), TransfiniteLifting(p)),
    "transfinite, parameters": lambda: (p := parametric(), TransfiniteLifting(p)),
    "transfinite, second order in time": lambda: (p := wave(), TransfiniteLifting(p)),
    "transfinite, plane": lambda: (p := plane(), TransfiniteLifting(p)),
    "transfinite, steady": lambda: (p := poisson(), TransfiniteLifting(p)),
    "transfinite, two fields": lambda: (p := system(), TransfiniteLifting(p)),
    "additive": lambda: (p := smooth(), AdditiveLifting(p)),
    "additive, parameters": lambda: (p := parametric(), AdditiveLifting(p)),
    "additive, second order in time": lambda: (p := wave(), AdditiveLifting(p)),
    "additive, plane": lambda: (p := plane(), AdditiveLifting(p)),
    "additive, steady": lambda: (p := poisson(), AdditiveLifting(p)),
    "additive, two fields": lambda: (p := system(), AdditiveLifting(p)),
    "additive, no initial value": lambda: (p := beside(), AdditiveLifting(p)),
    "additive, third order in time": lambda: (p := jerk(), AdditiveLifting(p)),
    "transfinite, third order in time": lambda: (p := jerk(), TransfiniteLifting(p)),
    "walls": lambda: (p := smooth(), WallLifting(p)),
    "walls, initial values disagreeing": lambda: (p := jump(), WallLifting(p)),
    "walls, parameters": lambda: (p := parametric(), WallLifting(p)),
    "walls, second order in time": lambda: (p := wave(), WallLifting(p)),
    "walls, plane": lambda: (p := plane(), WallLifting(p)),
    "walls, steady": lambda: (p := poisson(), WallLifting(p)),
    "walls, in space": lambda: (p := space(), WallLifting(p)),
    "walls, two fields": lambda: (p := system(), WallLifting(p)),
    "walls, no initial value": lambda: (p := beside(), WallLifting(p)),
    "similarity, agreeing": lambda: (p := smooth(), SimilarityLifting(p)),
    "similarity, disagreeing": lambda: (p := jump(), SimilarityLifting(p)),
    "similarity, parameters": lambda: (p := parametric(), SimilarityLifting(p)),
    "function": lambda: (
        smooth(),
        FunctionLifting(lambda x, t: x * x + 0.6 * t, lambda x, t: t * x * (1 - x), ("initial", "left", "right")),
    ),
}
EXACT = pytest.mark.parametrize("name", LIFTINGS)


def values(problem: Problem, lifting: AbstractLifting, at: Mapping[str, Tensor], batch: int = 2) -> dict[str, Tensor]:
    """u = g + m v with random v, by field, (batch, 1, point)."""
    parameters = {
        name: value.reshape(1, 1, 1).expand(batch, 1, 1) for name, value in problem.batch_parameters().items()
    }
    known = points_at(at, parameters)
    lift, multiplier = lifting.lift(known), lifting.multiplier(known)
    shape = (batch, *next(iter(at.values())).shape[1:])
    return {
        field: (lift[field] + multiplier[field] * 100.0 * uniform(*shape, seed=5)).expand(shape)
        for field in problem.field_names
    }


def on_face(problem: Problem, boundary: str, n: int = 40) -> dict[str, Tensor]:
    """Points on a face, its edges left out, (1, 1, n)."""
    box = problem.domain
    face = box.boundary(boundary)
    at = {}
    for i, axis in enumerate(box.axes):
        low, high = box.bounds(axis)
        unit = 0.02 + 0.96 * (uniform(1, 1, n, seed=i) + 1) / 2
        at[axis] = (
            torch.full((1, 1, n), face.position, dtype=torch.float64)
            if axis == face.axis
            else low + (high - low) * unit
        )
    return at  # fmt: skip


@EXACT
def test_imposed_conditions_hold_for_any_network(name):
    problem, lifting = LIFTINGS[name]()
    checked = 0
    names = {**{k: v.reshape(1, 1, 1) for k, v in problem.batch_parameters().items()}}
    for face in problem.resolved.faces:
        if not lifting.imposes(face.field, face.boundary):
            continue
        at = on_face(problem, face.boundary)
        target = value_at(face.value, {**at, **names})
        found = values(problem, lifting, at)[face.field]
        torch.testing.assert_close(found, torch.as_tensor(target).double().expand(found.shape), rtol=1e-9, atol=1e-9)
        checked += 1
    for (field, order), value in problem.resolved.initial.items():
        if order or not lifting.imposes(field, "initial"):
            continue
        at = on_face(problem, "initial")
        target = value_at(value, {**at, **names})
        found = values(problem, lifting, at)[field]
        torch.testing.assert_close(found, torch.as_tensor(target).double().expand(found.shape), rtol=1e-9, atol=1e-9)
        checked += 1
    assert checked >= 2


@EXACT
def test_values_are_finite_on_all_nodes_of_a_grid(name):
    """Corners and edges too, where several distances vanish at once."""
    problem, lifting = LIFTINGS[name]()
    grid = StructuredGrid.uniform(problem.domain, (6,) * len(problem.domain.axes))
    at = {axis: value.reshape(1, 1, -1) for axis, value in grid.coordinates().items()}
    for value in values(problem, lifting, at).values():
        assert bool(torch.isfinite(value).all())


@pytest.mark.parametrize(
    "name", ["transfinite, agreeing", "transfinite, plane", "transfinite, steady", "walls, steady", "function"]
)
def test_conditions_that_agree_are_met_at_corners_too(name):
    problem, lifting = LIFTINGS[name]()
    grid = StructuredGrid.uniform(problem.domain, (5,) * len(problem.domain.axes))
    at = {axis: value.reshape(1, 1, -1) for axis, value in grid.coordinates().items()}
    face = problem.resolved.faces[0]
    exact = value_at(face.value, at)
    edge = torch.zeros_like(exact, dtype=torch.bool)
    for boundary in (*problem.domain.boundary_names, *(("initial",) if problem.domain.has_time else ())):
        edge |= grid.boundary_mask(boundary).reshape(1, 1, -1)
    found = values(problem, lifting, at)["u"][:1]
    torch.testing.assert_close(found[edge], exact[edge], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [TransfiniteLifting, AdditiveLifting])
def test_the_initial_slope_of_a_wave_is_imposed(make):
    problem = wave()
    at = on_face(problem, "initial")
    terms = closure(("t",))
    jets = {axis: Jet.variable(value, axis, terms) for axis, value in at.items()}
    known = points_at(jets, {})
    lift, multiplier = (f(known)["u"] for f in (make(problem).lift, make(problem).multiplier))
    u = lift + multiplier * torch.sin(3.0 * jets["x"] + jets["t"])
    torch.testing.assert_close(u.term("t"), 2 * at["x"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [TransfiniteLifting, AdditiveLifting])
def test_initial_rates_of_any_order_are_imposed(make):
    """u_tt = 2 e^x at the start, whatever v is."""
    problem, at = jerk(), on_face(jerk(), "initial")
    jets = {axis: Jet.variable(value, axis, closure(("tt",))) for axis, value in at.items()}
    lift, multiplier = (f(points_at(jets, {}))["u"] for f in (make(problem).lift, make(problem).multiplier))
    u = lift + multiplier * torch.sin(3.0 * jets["x"] + jets["t"])
    torch.testing.assert_close(u.term("tt"), 2 * torch.exp(at["x"]), rtol=1e-9, atol=1e-9)


def test_the_multiplier_lets_the_interior_free():
    """It vanishes nowhere inside: every solution can be written as g + m v."""
    for make in LIFTINGS.values():
        problem, lifting = make()
        at = {a: 0.1 + 0.8 * (uniform(1, 1, 200, seed=i) + 1) / 2 for i, a in enumerate(problem.domain.axes)}
        known = points_at(at, {k: v.reshape(1, 1, 1) for k, v in problem.batch_parameters().items()})
        for value in lifting.multiplier(known).values():
            assert float(torch.as_tensor(value).abs().min()) > 1e-6


@EXACT
def test_jets_and_tensors_give_the_same_values(name):
    problem, lifting = LIFTINGS[name]()
    box = problem.domain
    at = {a: box.bounds(a)[0] + box.extent(a) * (uniform(1, 1, 9, seed=i) + 1) / 2 for i, a in enumerate(box.axes)}
    parameters = {k: v.reshape(1, 1, 1) for k, v in problem.batch_parameters().items()}
    terms = closure(("xx", "t") if box.has_time else ("xx",))
    jets = {axis: Jet.variable(value, axis, terms) for axis, value in at.items()}
    for method in (lifting.lift, lifting.multiplier):
        plain, taylor = method(points_at(at, parameters)), method(points_at(jets, parameters))
        for field, value in plain.items():
            found = taylor[field].term("") if isinstance(taylor[field], Jet) else taylor[field]
            torch.testing.assert_close(found, torch.as_tensor(value, dtype=torch.float64).expand(found.shape))


# The Robin ramp.


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (5.0, 0.1), (0.1, 2.0), (1.0, 5e-4)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_robin_ramp_solves_the_heat_equation_and_its_condition(alpha, beta, side):
    """With u0 = 1 and value 0 on one end and nothing on the other, g is that exact solution."""
    other = {"left": "right", "right": "left"}[side]
    problem = heat(InitialCondition(1.0), Robin(0.0, alpha, beta, on=side), Neumann(0.0, on=other))
    lifting = SimilarityLifting(problem)
    terms = closure(("t", "xx"))
    inside = {a: 0.05 + 0.9 * (uniform(1, 1, 60, seed=i) + 1) / 2 for i, a in enumerate(("t", "x"))}
    face = problem.domain.boundary(side)
    edge = {"t": inside["t"], "x": torch.full_like(inside["x"], face.position)}
    parameters = {"kappa": torch.full((1, 1, 1), KAPPA, dtype=torch.float64)}

    def g(at: Mapping[str, Tensor]) -> Jet:
        jets = {axis: Jet.variable(value, axis, terms) for axis, value in at.items()}
        return lifting.lift(points_at(jets, parameters))["u"]

    u = g(inside)
    torch.testing.assert_close(u.term("t"), KAPPA * u.term("xx"), rtol=1e-7, atol=1e-8)
    u = g(edge)
    size = alpha + beta
    torch.testing.assert_close(
        (alpha * u.term("") + face.side * beta * u.term("x")) / size, torch.zeros_like(edge["x"]), rtol=0, atol=1e-9
    )
    start = {"t": torch.zeros_like(inside["t"]), "x": inside["x"]}
    torch.testing.assert_close(g(start).term(""), torch.ones_like(inside["x"]), rtol=0, atol=1e-9)


# Frames from problems.


def test_generic_frame_chooses_by_equation():
    assert isinstance(generic_frame(jump()).lifting, SimilarityLifting)
    for make in (wave, plane, poisson, system):
        assert isinstance(generic_frame(make()).lifting, AdditiveLifting)
    walls = [InitialCondition(0.0), InitialCondition(1.0, order=1), Dirichlet(0.0)]
    pulled = Problem(FunctionPDE(lambda f, c, p: f.u.tt - f.u.xx), SPACE_TIME, walls)
    assert isinstance(generic_frame(pulled).lifting, TransfiniteLifting)  # u_t = 1 inside, 0 at the walls


@pytest.mark.parametrize("make", [jump, smooth, parametric])
def test_similarity_coordinates_are_bounded(make):
    problem = make()
    grid = StructuredGrid.uniform(problem.domain, (9, 9))
    at = {axis: value.reshape(1, 1, -1) for axis, value in grid.coordinates().items()}
    parameters = {k: v.reshape(1, 1, 1) for k, v in problem.batch_parameters().items()}
    coordinates = SimilarityCoordinates(problem)
    features = coordinates(points_at(at, parameters))
    assert len(features) == coordinates.n_features
    assert all(float(f.abs().max()) <= 1.0 + 1e-9 for f in features)


def test_a_family_appends_its_parameters_scaled():
    family = ProblemFamily(plane(), {"kappa": LogUniform(0.1, 0.9)})
    frame = generic_frame(family)
    assert isinstance(frame.coordinates, ScaledCoordinates)
    at = {a: torch.zeros(1, 1, 2, dtype=torch.float64) for a in "txy"}
    parameters = {"kappa": torch.tensor([0.1, 0.9], dtype=torch.float64).reshape(2, 1, 1)}
    assert frame.coordinates(points_at(at, parameters))[-1].flatten().tolist() == pytest.approx([-1.0, 1.0])


def test_diffusivity_is_read_off_the_residual_with_its_gradient():
    """κ(u) = u²: largest where the conditions prescribe the largest |u|, here the initial value u0."""
    problem = Problem(
        lambda f, c, p: 2.0 * f.u.t - 2.0 * f.u**2 * f.u.xx,
        SPACE_TIME,
        [InitialCondition(lambda u0: u0), Dirichlet(0.5)],
        {"u0": 1.0},
    )
    u0 = torch.tensor([1.5, 3.0], dtype=torch.float64, requires_grad=True)
    kappa = largest_diffusivity(problem, "x", {"u0": u0})
    assert kappa.tolist() == pytest.approx([2.25, 9.0])
    (grad,) = torch.autograd.grad(kappa.sum(), u0)
    assert grad.tolist() == pytest.approx([3.0, 6.0])


def points_of(problem: Problem, **parameters: list[float]) -> Any:
    """Eleven points inside the domain, for members with some parameters."""
    unit = torch.linspace(0.1, 0.9, 11, dtype=torch.float64)
    at = {}
    for i, axis in enumerate(problem.domain.axes):
        lower, upper = problem.domain.bounds(axis)
        at[axis] = (lower + (upper - lower) * unit.roll(3 * i)).reshape(1, 1, -1)
    given = {name: torch.tensor(values, dtype=torch.float64) for name, values in parameters.items()}
    return points_at(at, {k: v.reshape(-1, 1, 1) for k, v in problem.batch_parameters(given).items()})


def test_joined_coordinates_are_the_features_of_all():
    first, second = SimilarityCoordinates(jump()), FunctionCoordinates(lambda x: 2.0 * x, lambda t, kappa: t * kappa)
    both, at = JoinedCoordinates(first, second), points_of(jump(), kappa=[0.1, 0.3])
    assert both.n_features == first.n_features + 2
    found = both(at)
    assert len(found) == both.n_features
    for a, b in zip(found, [*first(at), *second(at)], strict=True):
        assert torch.equal(a, b)


def test_one_scale_for_all_members_is_that_of_the_member_it_belongs_to():
    """Coordinates and multiplier no longer differ between members; for the member of that scale nothing changes."""
    own, all_alike = SimilarityCoordinates(jump()), SimilarityCoordinates(jump(), diffusivity=KAPPA)
    at = points_of(jump(), kappa=[KAPPA, 2.0 * KAPPA])
    for a, b in zip(own(at), all_alike(at), strict=True):
        assert b.shape[0] == 1
        torch.testing.assert_close(a[:1], b, rtol=1e-14, atol=1e-14)
    free, fixed = SimilarityLifting(jump()), SimilarityLifting(jump(), diffusivity=KAPPA)
    assert free.multiplier(at)["u"].shape[0] == 2
    assert fixed.multiplier(at)["u"].shape[0] == 1
    for name in ("lift", "multiplier"):
        a, b = getattr(free, name)(at)["u"], getattr(fixed, name)(at)["u"]
        torch.testing.assert_close(a[:1], b[:1], rtol=1e-14, atol=1e-14)


def bump() -> Problem:
    """A wave between two walls that contradict it: it decays while the layers grow."""
    wave = InitialCondition(lambda x: 0.5 + torch.cos(3.0 * x))
    return heat(wave, Dirichlet(1.0, on="left"), Dirichlet(-2.0, on="right"))


def test_the_state_between_the_layers_takes_the_place_of_the_initial_value():
    problem = bump()

    def decaying(x: Any, t: Any, kappa: Tensor) -> Any:
        return 0.5 + torch.cos(3.0 * x) * torch.exp(t * kappa * (-9.0))

    at, early = points_of(problem), Problem(Heat(KAPPA), problem.domain, problem.conditions)
    start = problem.domain.bounds("t")[0]
    lifting = SimilarityLifting(problem, between=lambda x, t, kappa: decaying(x, t - start, kappa))
    check_imposed(early, lifting, problem.batch_parameters())  # the initial and boundary values are met as before
    near = points_at({"t": at.t * 0.0 + start + 1e-9, "x": at.x}, {"kappa": at.kappa})
    torch.testing.assert_close(lifting.lift(near)["u"], decaying(near.x, 0.0 * near.t, KAPPA), rtol=1e-6, atol=1e-6)
    plain = SimilarityLifting(problem)
    assert torch.equal(lifting.multiplier(at)["u"], plain.multiplier(at)["u"])
    assert float((lifting.lift(at)["u"] - plain.lift(at)["u"]).abs().max()) > 0.05


# Bad inputs.


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="diffusivity must be"):
        SimilarityCoordinates(jump(), diffusivity=value)
    with pytest.raises(ValueError, match="diffusivity must be"):
        SimilarityLifting(jump(), diffusivity=value)


def test_a_state_between_the_layers_must_fit_the_problem():
    with pytest.raises(ValueError, match=r"between: its function reads 'kapa'.*'kappa'"):
        SimilarityLifting(jump(), between=lambda kapa: kapa)
    with pytest.raises(ValueError, match="condition of 'u' on 'initial', but there g misses it"):
        check_imposed(jump(), SimilarityLifting(jump(), between=0.4), jump().batch_parameters())


def test_only_coordinate_maps_are_joined():
    with pytest.raises(ValueError, match="at least one"):
        JoinedCoordinates()
    with pytest.raises(TypeError, match="got function: use FunctionCoordinates"):
        JoinedCoordinates(SimilarityCoordinates(jump()), lambda x: x)


def test_similarity_needs_one_parabolic_field():
    with pytest.raises(ValueError, match="order 2 and 2; use ScaledCoordinates"):
        SimilarityCoordinates(wave())
    with pytest.raises(ValueError, match="one field"):
        SimilarityLifting(system())


def test_a_problem_without_parameters_stays_on_the_device_of_its_points():
    """The meta device computes no values but refuses to mix devices, as CUDA does."""
    pde = FunctionPDE(lambda f, c, p: f.u.t - 0.1 * f.u.xx)
    problem = Problem(pde, SPACE_TIME, [InitialCondition(1.0), Dirichlet(0.0)])
    at = points_at({axis: torch.full((1, 1, 4), 0.5, dtype=torch.float64, device="meta") for axis in "tx"}, {})
    lifting = SimilarityLifting(problem)
    assert {lifting.lift(at)["u"].device.type, lifting.multiplier(at)["u"].device.type} == {"meta"}


def test_wrong_functions_are_refused():
    with pytest.raises(TypeError, match="write \\('left',\\)"):
        FunctionLifting(lambda x: x, lambda x: x, "left")
    with pytest.raises(ValueError, match=r"'lefft'.*'left'"):
        FunctionLifting(lambda x: x, lambda x: x, ("lefft",))
    with pytest.raises(TypeError, match="got float"):
        FunctionCoordinates(lambda x: x, 1.0)


def test_a_condition_without_a_value_at_times_leaves_the_rest_to_look_at():
    """α = t vanishes at first: u is not prescribed there, and nothing else becomes infinite."""
    for start in (0.0, lambda x: x):
        film = Robin(1.0, alpha=lambda t: t, beta=1.0, on="right")
        problem = heat(InitialCondition(start), Dirichlet(lambda t: 1.0 - torch.exp(-t), on="left"), film)
        assert bool(torch.isfinite(prescribed_values(problem, "u", problem.batch_parameters())).all())
        assert bool(torch.isfinite(largest_diffusivity(problem, "x", problem.batch_parameters())).all())
    assert fluxes_disagree(problem) is False
    assert fluxes_disagree(heat(InitialCondition(0.0), Dirichlet(0.0, on="left"), film)) is True


def test_a_function_lifting_that_reads_what_there_is_not_is_refused():
    lifting = FunctionLifting(lambda q: q, lambda x: x, ("left",))
    at = points_at({"x": torch.zeros(1, 1, 2)}, {})
    with pytest.raises((KeyError, ValueError), match="unknown axis or parameter 'q'"):
        lifting.lift(at)


def test_interval_away_from_the_origin():
    domain = Interval(-3, -1) * TimeInterval(5, 7)
    problem = heat(InitialCondition(lambda x: x), Dirichlet(lambda x, t: x + (t - 5)), domain=domain)
    for lifting in (TransfiniteLifting(problem), SimilarityLifting(problem)):
        at = on_face(problem, "right")
        torch.testing.assert_close(values(problem, lifting, at)["u"][:1], at["x"] + at["t"] - 5, rtol=1e-9, atol=1e-9)
