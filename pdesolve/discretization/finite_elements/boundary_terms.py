"""Conditions on boundaries as integrals over their facets, and as prescribed values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, FluxCondition, arguments, value_at
from pdesolve.discretization.finite_elements.element_table import ElementTable
from pdesolve.discretization.finite_elements.space import FiniteElementSpace
from pdesolve.discretization.finite_elements.weak_form import (
    Case,
    Density,
    Integrand,
    State,
    parameters_at,
    plain,
    points_at,
    variables,
)
from pdesolve.domains.mesh_values import NodeValues
from pdesolve.namespace import Namespace
from pdesolve.pde.divergence_form import AbstractDivergenceForm


def boundary_integrand(
    form: AbstractDivergenceForm,
    condition: FaceCondition | FluxCondition,
    table: ElementTable,
    case: Case,
    time: float | None,
) -> Integrand:
    """-n·F on a boundary, paired with v.

    ``Flux`` gives n·F = γ - α u. ``Neumann`` and ``Robin`` give ∂u/∂n = (γ - α u)/β, and n·F is that of the gradient
    n ∂u/∂n (``check_normal`` sees to it that no other part of it counts).
    """
    axes = tuple(form.axes)
    terms, own = ("", *axes), form.field_names.index(condition.field)
    points = points_at(table, time)
    known = parameters_at(case, table)
    parameters, coordinates = Namespace(known, "parameter"), Namespace(points, "coordinate")
    assert table.normals is not None
    normals = table.normals

    def given(value: object, like: Tensor) -> Tensor:
        return plain(value_at(value, {**points, **known}), like)  # type: ignore[arg-type]

    def flux(state: State) -> Tensor:
        u = state[own][0]
        if isinstance(condition, FluxCondition):
            return given(condition.value, u) - given(condition.alpha, u) * u
        alpha, beta, gamma = (given(v, u) for v in (condition.alpha, condition.beta, condition.value))
        slope = (gamma - alpha * u) / beta
        zero = torch.zeros_like(u)
        there = [[o[0], *(n * slope if i == own else zero for n in normals)] for i, o in enumerate(state)]
        parts = form.flux(variables(form, terms, there), coordinates, parameters)[own]
        return sum((plain(p, u) * n for p, n in zip(parts, normals, strict=True)), torch.zeros_like(u))

    def function(state: State) -> Density:
        zero = torch.zeros_like(state[0][0])
        return [[-flux(state) if i == own else zero] for i in range(len(state))]

    return Integrand(table, axes, terms, ("",), function, len(form.field_names))


def check_normal(
    form: AbstractDivergenceForm, condition: FaceCondition, table: ElementTable, case: Case, time: float | None
) -> None:
    """Raise unless n·F depends on no derivative but ∂u/∂n, tried at random states.

    Raises:
        ValueError: it does, as in elasticity or where diffusion is anisotropic.
    """
    axes, own = tuple(form.axes), form.field_names.index(condition.field)
    assert table.normals is not None
    normals = table.normals
    generator = torch.Generator().manual_seed(0)
    parameters = Namespace(parameters_at(case, table), "parameter")
    coordinates = Namespace(points_at(table, time), "coordinate")

    def draw() -> Tensor:
        return torch.rand(table.shape, generator=generator, dtype=torch.float64)

    def normal_flux(gradients: list[list[Tensor]]) -> Tensor:
        state = [[u, *own_part] for u, own_part in zip(values, gradients, strict=True)]
        parts = form.flux(variables(form, ("", *axes), state), coordinates, parameters)[own]
        return sum((plain(p, values[0]) * n for p, n in zip(parts, normals, strict=True)), torch.zeros(table.shape))

    values = [draw() for _ in form.field_names]
    slope = draw()
    straight = [[n * slope if i == own else 0 * n for n in normals] for i in range(len(values))]
    other = [[draw() for _ in axes] for _ in values]
    along = sum((g * n for g, n in zip(other[own], normals, strict=True)), torch.zeros(table.shape))
    other[own] = [g + n * (slope - along) for g, n in zip(other[own], normals, strict=True)]
    first, second = normal_flux(straight), normal_flux(other)
    if not bool(((first - second).abs() <= 1e-9 * (1 + first.abs() + second.abs())).all()):
        raise ValueError(
            f"field {condition.field!r} on {condition.boundary!r}: the normal flux depends on more than ∂u/∂n, so "
            "Neumann and Robin do not determine it: prescribe the flux with Flux(value, alpha)"
        )


def prescribed(
    conditions: Sequence[FaceCondition],
    places: Sequence[Tensor],
    space: FiniteElementSpace,
    case: Case,
    time: float | None,
) -> list[Tensor]:
    """u = γ/α at the degrees of freedom of each Dirichlet condition.

    Arguments:
        conditions: with β = 0.
        places: their degrees of freedom.
        space: whose they are.

    Raises:
        ValueError: a value that reads one value for each cell, which has none on a boundary.
    """
    numbers = {name: value for name, value in case.items() if isinstance(value, Tensor)}
    found = []
    for condition, dofs in zip(conditions, places, strict=True):
        there = space.locations[dofs]
        points = dict(zip(space.mesh.axes, there.unbind(1), strict=True))
        if time is not None:
            points["t"] = torch.full_like(there[:, 0], time)
        read = {name for v in (condition.value, condition.alpha) for name in arguments(v)}
        for name in read & case.keys() - numbers.keys():
            value = case[name]
            if not isinstance(value, NodeValues):
                raise ValueError(
                    f"the Dirichlet value on {condition.boundary!r} reads {name!r}, which has one value for each cell: "
                    "it may read coordinates, numbers and NodeValues"
                )
            points[name] = space.at_dofs(value.case(0))[dofs]
        given, alpha = (value_at(v, {**points, **numbers}) for v in (condition.value, condition.alpha))
        found.append(plain(given, there[:, 0]) / plain(alpha, there[:, 0]))
    return found
