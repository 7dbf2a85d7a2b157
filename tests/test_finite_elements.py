"""Finite elements: orders of convergence by manufactured solutions, patch tests, gradients, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from manufactured import Manufactured, cube, derivatives, square
from torch import Tensor

import pdesolve as ps
from pdesolve import CellValues, NodeValues, SolveError, SolveStatus
from pdesolve.condition import AbstractCondition
from pdesolve.discretization.finite_elements.discrete_problem import DiscreteProblem
from pdesolve.discretization.finite_elements.method import cases_of
from pdesolve.discretization.finite_elements.steady import solve_steady
from pdesolve.namespace import Namespace
from pdesolve.pde.divergence_form import AbstractDivergenceForm
from pdesolve.pde.variable import FieldVariable

SIDES = ("left", "right", "bottom", "top", "back", "front")


def wave(shift: float = 0.0) -> Callable[[Any], Tensor]:
    """A smooth field in two or three dimensions."""

    def u(c: Any) -> Tensor:
        z = c.get("z", 0.0)
        return torch.sin(2 * c["x"] + shift) * torch.cos(1.5 * c["y"]) + 0.5 * c["x"] * torch.exp(0.5 * c["y"] - z)

    return u


def named(function: Any, axes: str) -> Callable[..., Tensor]:
    """A function of coordinates by name, as conditions read them."""
    if axes == "xy":
        return lambda x, y: function({"x": x, "y": y})
    return lambda x, y, z: function({"x": x, "y": y, "z": z})


def flux_of(form: AbstractDivergenceForm, exact: list[Any], at: Any) -> Any:
    """F of known fields."""
    known = {
        n: FieldVariable(n, derivatives(u, at, form.axes, 1)) for n, u in zip(form.field_names, exact, strict=True)
    }
    parameters = {k: torch.tensor(float(v), dtype=torch.float64) for k, v in form.parameters.items()}
    return form.flux(Namespace(known, "field"), Namespace(at, "coordinate"), Namespace(parameters, "parameter"))


def conditions_of(kind: str, form: AbstractDivergenceForm, exact: list[Any]) -> list[AbstractCondition]:
    """Values everywhere, or on half of the boundaries with Neumann, Robin or Flux conditions on the others."""
    axes, found = form.axes, []
    for i, name in enumerate(form.field_names):
        u = exact[i]
        for place, side in enumerate(SIDES[: 2 * len(axes)]):
            axis, sign = axes[place // 2], (-1.0, 1.0)[place % 2]
            if kind == "dirichlet" or place % 2 == 0:
                found.append(ps.Dirichlet(named(u, axes), on=side, field=name))
            elif kind == "flux":
                force = named(lambda c, i=i, a=axis, s=sign: s * flux_of(form, exact, c)[i][axes.index(a)], axes)
                found.append(ps.Flux(force, on=side, field=name))
            elif kind == "neumann":
                slope = named(lambda c, u=u, a=axis, s=sign: s * derivatives(u, c, axes, 1)[a], axes)
                found.append(ps.Neumann(slope, on=side, field=name))
            else:
                mixed = named(lambda c, u=u, a=axis, s=sign: 2 * u(c) + 0.7 * s * derivatives(u, c, axes, 1)[a], axes)
                found.append(ps.Robin(mixed, alpha=2.0, beta=0.7, on=side, field=name))
    return found


def _varying(axes: str) -> ps.DivergenceForm:
    return ps.DivergenceForm(
        lambda f, c, p: tuple((1 + c.x * c.y) * getattr(f.u, a) for a in axes), lambda f, c, p: 2.0 * f.u, axes=axes
    )


def _nonlinear(axes: str) -> ps.DivergenceForm:
    return ps.DivergenceForm(
        lambda f, c, p: tuple((1 + f.u**2) * getattr(f.u, a) for a in axes), lambda f, c, p: f.u**3, axes=axes
    )


FORMS: dict[str, Callable[[str], AbstractDivergenceForm]] = {
    "diffusion": lambda axes: ps.Diffusion(a=1.3, axes=axes),
    "varying-reaction": _varying,
    "transport": lambda axes: ps.Diffusion(a=0.7, c=1.0, velocity=(1.0, -2.0, 0.5)[: len(axes)], axes=axes),
    "elasticity": lambda axes: ps.LinearElasticity(lame=1.5, shear=0.8, axes=axes),
    "nonlinear": _nonlinear,
}


def discrete(
    form: AbstractDivergenceForm, exact: list[Any], mesh: ps.SimplexMesh, order: int, kind: str, method: Any = None
) -> DiscreteProblem:
    conditions = conditions_of(kind, form, exact)
    problem = ps.Problem(Manufactured(form, exact), ps.MeshDomain(mesh), conditions)
    return (method or ps.FiniteElements(order)).discretise(problem)


def errors(found: DiscreteProblem, u: Tensor, exact: list[Any]) -> tuple[float, float]:
    """Errors in L² and in the H¹ seminorm."""
    table, axes = found.space.cells, found.form.axes
    total, slopes = 0.0, 0.0
    for field, function in zip(u.reshape(len(exact), -1), exact, strict=True):
        known = derivatives(function, table.coordinates, axes, 1)
        parts = table.at(field, ("", *axes))
        total += float(((parts[0] - known[""]).square() * table.weights).sum())
        slopes += sum(
            float(((p - known[a]).square() * table.weights).sum()) for p, a in zip(parts[1:], axes, strict=True)
        )
    return math.sqrt(total), math.sqrt(slopes)


def orders(
    form: AbstractDivergenceForm, order: int, kind: str, sizes: tuple[int, ...], make: Any, method: Any = None
) -> Any:
    """Fitted orders in L² and H¹ over the finer meshes."""
    exact = [wave(0.3 * i) for i in range(len(form.field_names))]
    seen = []
    for n in sizes:
        found = discrete(form, exact, make(n), order, kind, method)
        u, _ = solve_steady(found, cases_of(found.problem, {})[0])
        seen.append(errors(found, u, exact))
    logs = np.log(np.array(seen))
    steps = np.log(1.0 / np.array(sizes))
    return [float(np.polyfit(steps, logs[:, i], 1)[0]) for i in range(2)]


CASES = [(name, kind) for name in FORMS for kind in ("dirichlet", "neumann", "robin", "flux")]
CASES = [(n, k) for n, k in CASES if not (n == "elasticity" and k in ("neumann", "robin"))]


# Newton's method takes several assemblies: one boundary type here, all of them among the slow tests
QUICK = [case for case in CASES if case[0] != "nonlinear" or case[1] == "robin"]


@pytest.mark.parametrize(("name", "kind"), QUICK)
@pytest.mark.parametrize("order", [1, 2])
def test_order_on_triangles(name: str, kind: str, order: int) -> None:
    sizes = (8, 12, 16) if name == "nonlinear" else (12, 18, 27)
    in_l2, in_h1 = orders(FORMS[name]("xy"), order, kind, sizes, square)
    assert abs(in_l2 - (order + 1)) < 0.1
    assert abs(in_h1 - order) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("order", [1, 2])
def test_order_on_tetrahedra(name: str, kind: str, order: int) -> None:
    sizes = (8, 12, 16) if order == 1 else (5, 7, 10)
    in_l2, in_h1 = orders(FORMS[name]("xyz"), order, kind, sizes, cube)
    assert abs(in_l2 - (order + 1)) < 0.1
    assert abs(in_h1 - order) < 0.1


@pytest.mark.parametrize("order", [1, 2])
def test_streamline_upwinding_keeps_the_order(order: int) -> None:
    form = ps.Diffusion(a=0.1, velocity=(1.0, 0.5))
    method = ps.FiniteElements(order, ps.StreamlineUpwind())
    in_l2, in_h1 = orders(form, order, "dirichlet", (16, 24, 32), square, method)
    assert abs(in_l2 - (order + 1)) < 0.1
    assert abs(in_h1 - order) < 0.1


def test_streamline_upwinding_stops_oscillations() -> None:
    """A layer of width 1e-3 on cells of 1/20: Galerkin's overshoot is of the size of the solution."""
    mesh = square(20, crooked=False)
    conditions = [ps.Dirichlet(0.0, on=("left", "right")), ps.Neumann(0.0, on=("bottom", "top"))]
    problem = ps.Problem(ps.Diffusion(a=1e-3, f=1.0, velocity=(1.0, 0.0)), ps.MeshDomain(mesh), conditions)
    peak = {}
    for choice in (ps.Unstabilised(), ps.StreamlineUpwind()):
        u = ps.Classical(ps.FiniteElements(1, choice)).on(problem)({}).field.values
        peak[type(choice).__name__] = float(u.max())
    assert peak["StreamlineUpwind"] < 1.15  # the exact maximum is just below one
    assert peak["Unstabilised"] > 1.5


def patch_error(make: Any, axes: str, order: int) -> float:
    """Largest relative error where the solution is a polynomial of the element's degree, over boundary types."""

    def exact(c: Any) -> Tensor:
        linear = 1.0 + 2.0 * c["x"] - 3.0 * c["y"] + 0.5 * c.get("z", 0.0)
        return linear if order == 1 else linear + c["x"] * c["y"] - 0.7 * c["x"] ** 2 + c["y"] * c.get("z", 0.0)

    worst = 0.0
    for name in ("diffusion", "transport", "elasticity"):
        form = FORMS[name](axes)
        fields = [exact, lambda c: 2 * exact(c) - 0.3, lambda c: -exact(c)][: len(form.field_names)]
        for kind in (kind for n, kind in CASES if n == name):
            found = discrete(form, fields, make(3 if axes == "xy" else 2), order, kind)
            u, _ = solve_steady(found, cases_of(found.problem, {})[0])
            where = dict(zip(axes, found.space.locations.unbind(1), strict=True))
            truth = torch.cat([f(where) for f in fields])
            worst = max(worst, float((u - truth).abs().max() / truth.abs().max()))
    return worst


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("make", "axes"), [(square, "xy"), (cube, "xyz")])
def test_patch_test(make: Any, axes: str, order: int) -> None:
    """Polynomials of the element's degree come out exactly, whatever the boundary type."""
    assert patch_error(make, axes, order) < 1e-12


@pytest.mark.parametrize("order", [1, 2])
def test_matrices_are_those_of_scikit_fem(order: int) -> None:
    from skfem import BilinearForm
    from skfem.helpers import dot, grad

    mesh = square(5)
    problem = ps.Problem(ps.Diffusion(c=0.5, velocity=(1.0, 2.0)), ps.MeshDomain(mesh), [ps.Neumann(0.0)])
    found = ps.FiniteElements(order).discretise(problem)
    a = torch.rand(mesh.n_cells, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    (case,) = cases_of(problem, {"a": CellValues(a)})
    zero = torch.zeros(found.space.size, dtype=torch.float64)
    ours = found.jacobian(zero, None, case, None)
    dense = ours.mv(torch.eye(found.space.size, dtype=torch.float64)).T

    def weak(u: Any, v: Any, w: Any) -> Any:
        transport = 1.0 * grad(u)[0] + 2.0 * grad(u)[1]
        return w["a"] * dot(grad(u), grad(v)) + (transport + 0.5 * u) * v

    theirs = BilinearForm(weak).assemble(found.space.basis, a=a.numpy()[:, None]).toarray()
    assert np.abs(dense.numpy() - theirs).max() < 1e-13


def box_problem(pde: Any, mesh: ps.SimplexMesh, **parameters: float) -> ps.Problem:
    conditions = [ps.Dirichlet(0.0, on="left"), ps.Robin(1.0, on="right"), ps.Neumann(0.0, on=("bottom", "top"))]
    return ps.Problem(pde, ps.MeshDomain(mesh), conditions, parameters)


@pytest.mark.parametrize("kind", [CellValues, NodeValues])
def test_gradients_to_coefficient_fields(kind: Any) -> None:
    mesh = square(3)
    expert = ps.Classical(ps.FiniteElements(2)).on(box_problem(ps.Diffusion(f=1.0, c=0.3), mesh))
    count = mesh.n_cells if kind is CellValues else mesh.n_nodes
    a = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5

    def solved(a: Tensor, c: Tensor) -> Tensor:
        return expert({"a": kind(a), "c": c}).field.values

    c = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(solved, (a.requires_grad_(), c), fast_mode=True)


def test_gradients_through_nonlinear_and_transient_solves() -> None:
    mesh = square(2)
    pde = ps.DivergenceForm(
        lambda f, c, p: (p.a * (1 + f.u**2) * f.u.x, p.a * f.u.y), lambda f, c, p: p.k * f.u**3 - 1.0,
        parameters={"a": 1.0, "k": 0.5},
    )  # fmt: skip
    steady = ps.Classical(ps.FiniteElements(1)).on(box_problem(pde, mesh))
    heat = ps.Problem(
        ps.HeatConduction(f=1.0), ps.MeshDomain(mesh, ps.TimeInterval(0, 0.3)),
        [ps.InitialCondition(lambda x: x), ps.Dirichlet(lambda t: t, on="left"), ps.Neumann(0.0, on="right"),
         ps.Flux(0.2, alpha=1.0, on=("bottom", "top"))],
    )  # fmt: skip
    transient = ps.Classical(ps.FiniteElements(1, time=ps.BDF2(3))).on(heat)
    a = torch.rand(mesh.n_cells, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    for expert in (steady, transient):
        assert torch.autograd.gradcheck(
            lambda a, e=expert: e({"a": CellValues(a)}).field.values, (a.requires_grad_(),), fast_mode=True
        )


@pytest.mark.parametrize(
    ("scheme", "wanted"), [(ps.ThetaMethod, 2), (ps.BDF2, 2), (lambda n: ps.ThetaMethod(n, 1.0), 1)]
)
def test_order_in_time(scheme: Any, wanted: int) -> None:
    """u = (1 + x y) sin 3t is held exactly by quadratic elements, so that the error is that of time."""
    mesh = square(2)

    def exact(c: Any) -> Tensor:
        return (1 + c["x"] * c["y"]) * torch.sin(3 * c["t"])

    form = Manufactured(ps.HeatConduction(a=0.3, capacity=2.0), [exact])
    value = lambda x, y, t: exact({"x": x, "y": y, "t": t})  # noqa: E731
    flux = lambda y, t: 0.3 * y * torch.sin(3 * t)  # noqa: E731
    conditions = [
        ps.InitialCondition(0.0),
        ps.Dirichlet(value, on=("left", "bottom", "top")),
        ps.Flux(flux, on="right"),
    ]
    problem = ps.Problem(form, ps.MeshDomain(mesh, ps.TimeInterval(0, 1)), conditions)
    seen, steps = [], (10, 20, 40)
    for n in steps:
        field = ps.Classical(ps.FiniteElements(2, time=scheme(n))).on(problem)({}).field
        truth = exact({**mesh.coordinates(), "t": field.grid.times[:, None]})
        seen.append(float((field.values[0, 0] - truth).abs().max()))
    assert abs(np.polyfit(np.log(1 / np.array(steps)), np.log(seen), 1)[0] - wanted) < 0.1


def test_transient_nonlinear_follows_the_strong_form() -> None:
    """Fisher's equation as the package writes it, and in divergence form with its Jacobian by Newton."""
    mesh = square(4)
    domain = ps.MeshDomain(mesh, ps.TimeInterval(0, 1))
    conditions = [ps.InitialCondition(lambda x: 0.1 + 0.5 * x), ps.Neumann(0.0)]
    strong = ps.Problem(ps.FisherKPP(axes="xy"), domain, conditions)
    values = dict(strong.pde.parameters)
    (rate,) = (v for k, v in values.items() if k == "r") if "r" in values else (1.0,)
    diffusivity = next(v for k, v in values.items() if k != "r")
    weak = ps.DivergenceForm(
        lambda f, c, p: (diffusivity * f.u.x, diffusivity * f.u.y), lambda f, c, p: f.u.t - rate * f.u * (1 - f.u)
    )
    ends = [
        ps.Classical(ps.FiniteElements(1, time=ps.BDF2(5))).on(problem)({}).field.values
        for problem in (strong, ps.Problem(weak, domain, conditions))
    ]
    assert torch.allclose(*ends, rtol=1e-9)
    assert float(ends[0][0, 0, -1].min()) > 0.15


def test_statuses_and_batches() -> None:
    mesh = square(4)
    expert = ps.Classical(ps.FiniteElements(1)).on(box_problem(ps.Diffusion(f=1.0), mesh))
    a = torch.ones(3, mesh.n_cells, dtype=torch.float64)
    a[1, 5] = torch.nan
    solution = expert({"a": CellValues(a), "c": torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64)}, throw=False)
    assert solution.status.flatten().tolist() == [0, int(SolveStatus.NON_FINITE), 0]
    assert bool(solution.field.values.isfinite().all())
    alone = expert({"a": CellValues(a[2]), "c": 0.2}).field.values
    assert torch.equal(alone[0], solution.field.values[2])
    closed = ps.Problem(ps.Diffusion(f=1.0), ps.MeshDomain(mesh), [ps.Neumann(0.0)])
    with pytest.raises(SolveError, match="INCOMPATIBLE"):
        ps.Classical(ps.FiniteElements(1)).on(closed)({})
    balanced = ps.Problem(ps.Diffusion(f=1.0), ps.MeshDomain(mesh), [ps.Neumann(-0.25)])
    assert ps.Classical(ps.FiniteElements(1)).on(balanced)({}).status.flatten().tolist() == [0]


def test_bad_input() -> None:
    mesh = square(3)
    domain = ps.MeshDomain(mesh)
    with pytest.raises(ValueError, match=r"no outer boundary 'lefft'.*'left'"):
        ps.Problem(ps.Diffusion(), domain, [ps.Dirichlet(0.0, on="lefft")])
    with pytest.raises(ValueError, match="no condition on boundary 'top'"):
        ps.Problem(ps.Diffusion(), domain, [ps.Dirichlet(0.0, on=("left", "right", "bottom"))])
    with pytest.raises(ValueError, match="two conditions"):
        ps.Problem(ps.Diffusion(), domain, [ps.Dirichlet(0.0), ps.Flux(0.0, on="left")])
    with pytest.raises(ValueError, match="order 1 and 2 are carried, not 3"):
        ps.FiniteElements(3)
    with pytest.raises(ValueError, match="belong to no named boundary"):
        ps.MeshDomain(ps.SimplexMesh(mesh.points, mesh.cells, {"left": mesh.boundary("left")}))
    nowhere = ps.SimplexMesh(mesh.points, mesh.cells, {**mesh.boundaries, "none": torch.empty(0, 2, dtype=torch.int64)})
    with pytest.raises(ValueError, match="boundary 'none' has no facets"):
        ps.Problem(ps.Diffusion(), ps.MeshDomain(nowhere), [ps.Dirichlet(0.0), ps.Flux(1.0, on="none")])
    inner = mesh.facets.corners[(mesh.facets.cells[:, 1] >= 0).nonzero()[:2, 0]]
    cut = ps.SimplexMesh(mesh.points, mesh.cells, {**mesh.boundaries, "cut": inner})
    with pytest.raises(ValueError, match="boundary 'cut' has facets between cells"):
        ps.Problem(ps.Diffusion(), ps.MeshDomain(cut), [ps.Dirichlet(0.0), ps.Flux(1.0, on="cut")])
    both = {**mesh.boundaries, "left": torch.cat([mesh.boundary("left"), inner])}
    with pytest.raises(ValueError, match="facets between cells are in left"):
        ps.MeshDomain(ps.SimplexMesh(mesh.points, mesh.cells, both))
    stretched = ps.Problem(ps.LinearElasticity(), domain, [ps.Neumann(0.0, field="ux"), ps.Neumann(0.0, field="uy")])
    with pytest.raises(ValueError, match="depends on more than ∂u/∂n"):
        ps.FiniteElements().discretise(stretched)
    good = ps.Problem(ps.Diffusion(), domain, [ps.Dirichlet(0.0)])
    expert = ps.Classical(ps.FiniteElements()).on(good)
    a = torch.ones(mesh.n_cells, dtype=torch.float64)
    a[7] = -0.5
    with pytest.raises(ValueError, match=r"cell 7 \(coefficient -0.5\)"):
        expert({"a": CellValues(a)})
    with pytest.raises(ValueError, match="'a' has 5 values, the mesh 18 cells"):
        expert({"a": CellValues(a[:5])})
    with pytest.raises(ValueError, match="'a' has no cases"):
        expert({"a": CellValues(torch.ones(0, mesh.n_cells))})
    with pytest.raises(ValueError, match="unknown parameter 'aa'"):
        expert({"aa": 1.0})
    with pytest.raises(TypeError, match="on a box"):
        ps.FiniteElements().discretise(ps.Problem(ps.Heat(), ps.Interval(0, 1) * ps.TimeInterval(0, 1), [
            ps.InitialCondition(0.0), ps.Dirichlet(0.0)]))  # fmt: skip
    with pytest.raises(TypeError, match="on a mesh"):
        ps.generic_frame(good)
    with pytest.raises(ValueError, match="axes"):
        ps.FiniteElements().discretise(ps.Problem(ps.Diffusion(axes="x"), domain, [ps.Dirichlet(0.0)]))


@pytest.mark.parametrize("order", [1, 2])
def test_prescribed_values_at_nodes(order: int) -> None:
    """A linear function, given by its values at the nodes, is solved for exactly; gradients reach the values."""
    mesh = square(5)
    walls = tuple(mesh.boundaries)
    problem = ps.Problem(ps.Diffusion(), ps.MeshDomain(mesh), [ps.Dirichlet(lambda g: g, on=walls)], {"g": 0.0})
    g = (1 + 2 * mesh.points[:, 0] - mesh.points[:, 1]).requires_grad_()
    found = ps.Classical(ps.FiniteElements(order)).on(problem)({"g": ps.NodeValues(g)}).field.values[0, 0]
    assert torch.allclose(found, g, atol=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), g)
    assert float(slope.sum()) == pytest.approx(mesh.n_nodes)  # one more on the boundary is one more everywhere


def test_prescribed_values_at_the_nodes_of_curved_cells() -> None:
    """Middles of edges count: u = x² - y² of the disk."""
    disk = pytest.importorskip("skfem").MeshTri2.init_circle(3)
    mesh = ps.SimplexMesh.from_skfem(disk.with_boundaries({"rim": lambda x: x[0] < 9}))
    problem = ps.Problem(ps.Diffusion(), ps.MeshDomain(mesh), [ps.Dirichlet(lambda g: g, on="rim")], {"g": 0.0})
    exact = mesh.points[:, 0] ** 2 - mesh.points[:, 1] ** 2
    found = ps.Classical(ps.FiniteElements(2)).on(problem)({"g": ps.NodeValues(exact)}).field.values[0, 0]
    assert float((found - exact).abs().max()) < 1e-3


def test_prescribed_values_of_cells_are_refused() -> None:
    mesh = square(3)
    problem = ps.Problem(
        ps.Diffusion(), ps.MeshDomain(mesh), [ps.Dirichlet(lambda g: g, on=tuple(mesh.boundaries))], {"g": 0.0}
    )
    with pytest.raises(ValueError, match="reads 'g', which has one value for each cell"):
        ps.Classical(ps.FiniteElements(1)).on(problem)({"g": CellValues(torch.ones(mesh.n_cells))})


def test_robin_coefficients_may_be_fields() -> None:
    """Fields of one value are numbers; gradients reach the heat transfer at the nodes of the wall alone."""
    mesh = square(4)
    conditions = [
        ps.Robin(lambda g: g, alpha=lambda h: h, on="left"),
        ps.Neumann(0.0, on=("right", "bottom", "top")),
    ]
    problem = ps.Problem(ps.Diffusion(f=1.0), ps.MeshDomain(mesh), conditions, {"g": 0.0, "h": 1.0})
    expert = ps.Classical(ps.FiniteElements(2)).on(problem)
    h = torch.full((mesh.n_nodes,), 2.0, dtype=torch.float64, requires_grad=True)
    g = CellValues(torch.ones(mesh.n_cells, dtype=torch.float64))
    found = expert({"h": NodeValues(h), "g": g}).field.values
    torch.testing.assert_close(found, expert({"h": 2.0, "g": 1.0}).field.values)
    (slope,) = torch.autograd.grad(found.sum(), h)
    wall = torch.isin(torch.arange(mesh.n_nodes), mesh.boundary_nodes("left"))
    assert bool((slope[wall] != 0).all())
    assert bool((slope[~wall] == 0).all())


def test_curved_boundaries_keep_the_order() -> None:
    """Quadratic cells around a disk: order 3 in L² with eˣ sin y prescribed; Robin and Flux alike find 2 - r²."""
    skfem = pytest.importorskip("skfem")
    errors, gaps = [], []
    for n in (2, 3):
        mesh = ps.SimplexMesh.from_skfem(skfem.MeshTri2.init_circle(n).with_boundaries({"rim": lambda x: x[0] < 9}))
        domain = ps.MeshDomain(mesh)

        def exact(x: Tensor, y: Tensor) -> Tensor:
            return torch.exp(x) * torch.sin(y)

        problem = ps.Problem(ps.Diffusion(), domain, [ps.Dirichlet(exact, on="rim")])
        discrete = ps.FiniteElements(2).discretise(problem)
        (case,) = cases_of(problem, {})
        u, _ = solve_steady(discrete, case)
        table = discrete.space.cells
        gap = table.at(u, ("",))[0] - exact(table.coordinates["x"], table.coordinates["y"])
        errors.append(float((gap.square() * table.weights).sum().sqrt()))
        robin = ps.Problem(ps.Diffusion(f=4.0), domain, [ps.Robin(-1.0, on="rim")])
        flux = ps.Problem(ps.Diffusion(f=4.0), domain, [ps.Flux(-1.0, alpha=1.0, on="rim")])
        solved = [ps.Classical(ps.FiniteElements(2)).on(p)({}).field.values[0, 0] for p in (robin, flux)]
        torch.testing.assert_close(*solved)
        gaps.append(float((solved[0] - (2 - mesh.points.square().sum(1))).abs().max()))
    assert math.log2(errors[0] / errors[1]) > 2.9
    assert math.log2(gaps[0] / gaps[1]) > 2.5
