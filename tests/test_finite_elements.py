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
    return [np.polyfit(steps, logs[:, i], 1)[0] for i in range(2)]


CASES = [(name, kind) for name in FORMS for kind in ("dirichlet", "neumann", "robin", "flux")]
CASES = [(n, k) for n, k in CASES if not (n == "elasticity" and k in ("neumann", "robin"))]


@pytest.mark.parametrize(("name", "kind"), CASES)
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
    sizes = (6, 9, 12) if order == 1 else (4, 6, 8)
    in_l2, in_h1 = orders(FORMS[name]("xyz"), order, kind, sizes, cube)
    assert abs(in_l2 - (order + 1)) < 0.1
    assert abs(in_h1 - order) < 0.1
