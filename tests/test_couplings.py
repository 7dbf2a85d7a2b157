"""Patches of one sample: interface rows make them one solution, in any number, direction and numbering."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers import (
    EXACT_CASES,
    PERIODIC_CASES,
    SPACE_TIME,
    Blocks,
    ExactCase,
    grid_layer,
    monomial_ansatz,
    monomial_expert,
    monomial_mixture,
    seeded,
    uniform,
)
from torch import nn

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation
from pdesolve.domains import Decomposition, Interval, StructuredGrid, TimeInterval, cartesian_decomposition
from pdesolve.domains.decomposition import Interface
from pdesolve.experts.coupling import Independent, InterfaceRows
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.mixture import MixtureOfExperts
from pdesolve.experts.rows import RowCounts
from pdesolve.frames.abstract import FunctionCoordinates, NoLifting
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.heat import Heat
from pdesolve.problem import Problem

BY_NAME = {case.name: case for case in EXACT_CASES}
HEAT, PLANE, POISSON, BURGERS, TRANSPORT, WAVE, SYSTEM, *_ = EXACT_CASES


def cuts_of(case: ExactCase) -> list[dict[str, int]]:
    cuts = [{"x": 2}, {"x": 3}]
    if "y" in case.grid.axes:
        cuts.append({"x": 2, "y": 2})
    if "t" in case.grid.axes:
        cuts += [{"t": 2}, {"t": 2, "x": 2}]
    if {"t", "y"} <= set(case.grid.axes):
        cuts.append({"t": 2, "x": 2, "y": 2})
    return cuts


ALL_CUTS = [
    pytest.param(case, cuts, id=f"{case.name}, {' x '.join(f'{k} {n}' for k, n in cuts.items())}")
    for case in EXACT_CASES
    for cuts in cuts_of(case)
]


PERIODIC_CUTS = [
    pytest.param(case, cuts, id=f"{case.name}, periodic, {' x '.join(f'{k} {n}' for k, n in cuts.items())}")
    for case in PERIODIC_CASES
    for cuts in cuts_of(case)
]


@pytest.mark.parametrize(("case", "cuts"), ALL_CUTS)
def test_a_rich_basis_makes_the_mixture_the_single_expert(case, cuts):
    grid = StructuredGrid.uniform(case.problem.domain, (6,) * len(case.grid.axes))
    single = monomial_expert(case)({}, grid)
    solution = monomial_mixture(case, cuts)({}, grid)
    assert bool(solution.converged.all())
    scale = float(case.on(grid).abs().max())
    torch.testing.assert_close(solution.field.values, single.field.values, rtol=0, atol=2e-6 * scale)
    torch.testing.assert_close(solution.field.values[0], case.on(grid), rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize(("case", "cuts"), ALL_CUTS)
def test_jumps_are_small(case, cuts):
    for name, jump in monomial_mixture(case, cuts).jumps({}).items():
        assert jump.difference.shape == jump.size.shape == (1,)
        assert float(jump.difference) < 1e-5 * (1.0 + float(jump.size)), name


@pytest.mark.parametrize(("case", "cuts"), ALL_CUTS + PERIODIC_CUTS)
def test_on_a_grid_the_patches_agree_too(case, cuts):
    layer = grid_layer(case, cuts, coupling=InterfaceRows())
    u, report = layer(case.basis(case.grid, 5, batch=2))
    assert report.status.shape == (2, math.prod(cuts.values()))
    torch.testing.assert_close(u, case.on(case.grid).expand_as(u), rtol=0, atol=1e-5 * float(u.abs().max()))


@pytest.mark.parametrize(("case", "cuts"), ALL_CUTS + PERIODIC_CUTS)
def test_independent_patches_are_exact_where_they_see_data(case, cuts):
    """The first patch touches the initial values or, of a steady problem, two sides."""
    layer = grid_layer(case, cuts, coupling=Independent(), throw=False)
    u, report = layer(case.basis(case.grid, 5))
    assert int(report.status[0, 0]) == 0
    first, exact = (layer.decomposition.restrict(values)[0] for values in (u[0], case.on(case.grid)))
    torch.testing.assert_close(first, exact, rtol=0, atol=1e-5 * float(exact.abs().max()))


AXES = (lambda t: t, lambda x: x, lambda y: y)


class Waves(nn.Module):
    """1, t, t² times 1, sin, cos of one and two waves along every space axis."""

    def forward(self, features):
        t = features[..., 0]
        columns = [0.0 * t + 1.0, t, t * t]
        for axis in range(1, features.shape[-1]):
            phases = [2.0 * math.pi * k * features[..., axis] for k in (1, 2)]
            columns += [c * wave(phase) for c in columns for phase in phases for wave in (torch.sin, torch.cos)]
        return torch.stack(columns, dim=-1)


@pytest.mark.parametrize(
    ("name", "cuts"),
    [
        ("heat 1-D", {"t": 2, "x": 2}),
        ("Fisher-KPP", {"t": 3, "x": 3}),
        ("heat 2-D", {"t": 2, "x": 2, "y": 2}),
        ("Burgers 2-D", {"t": 2, "x": 2}),
    ],
)
def test_collocation_closes_rings_of_patches_at_every_time(name, cuts):
    case = next(c for c in PERIODIC_CASES if c.name == name)
    fields, axes = case.problem.field_names, case.problem.domain.axes
    network = Waves() if len(fields) == 1 else Blocks(Waves(), len(fields))
    layer = HardConstraintLayer(case.problem, Collocation(), RowCounts(150 if len(axes) == 2 else 500, 90, 60))
    expert = HardConstraintExpert(
        Ansatz(network, FunctionCoordinates(*AXES[: len(axes)]), NoLifting(fields), fields), layer
    )
    solution = MixtureOfExperts(cartesian_decomposition(case.problem.domain, cuts), expert)({}, case.grid)
    torch.testing.assert_close(solution.field.values[0], case.on(case.grid), rtol=0, atol=1e-8)


@pytest.mark.parametrize("cases", [EXACT_CASES, PERIODIC_CASES], ids=["differences", "Fourier"])
def test_gradients_pass_through_patches_of_space_and_time(cases):
    """Four patches behind four others: the second solves read the weights of the first."""
    case = next(c for c in cases if c.name == "Burgers 2-D")
    case = replace(case, shape=(6, 6, 6) if case.periodic else (7, 8, 7))
    layer = grid_layer(case, {"t": 2, "x": 2, "y": 2}, coupling=InterfaceRows(), rows=RowCounts(24, 12, 8))
    basis = case.basis(case.grid, 3).requires_grad_()

    def solution(values):
        u, _ = layer(values)
        return torch.tanh(u).flatten(1) @ uniform(u[0].numel(), 2, seed=3)

    assert torch.autograd.gradcheck(solution, basis, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)


def test_independent_patches_that_see_no_data_disagree():
    """The published coupling: a middle patch is not determined, which interface rows mend."""
    grid = StructuredGrid.uniform(POISSON.problem.domain, (9, 9))
    loose = monomial_mixture(POISSON, {"x": 3, "y": 3}, Independent())
    tied = monomial_mixture(POISSON, {"x": 3, "y": 3})
    assert float(loose.jumps({})[""].difference) > 1e-2
    assert float(tied.jumps({})[""].difference) < 1e-5
    torch.testing.assert_close(tied({}, grid).field.values[0], POISSON.on(grid), rtol=0, atol=1e-5)


# How many rows.


@pytest.mark.parametrize(
    ("case", "axis", "orders"),
    [
        (HEAT, "x", ("", "x")),
        (HEAT, "t", ("",)),
        (PLANE, "y", ("", "y")),
        (POISSON, "x", ("", "x")),
        (TRANSPORT, "x", ("",)),
        (TRANSPORT, "t", ("",)),
        (WAVE, "t", ("", "t")),
        (WAVE, "x", ("", "x")),
        (SYSTEM, "x", ("", "x")),
    ],
    ids=lambda value: value.name if isinstance(value, ExactCase) else str(value),
)
def test_there_are_as_many_conditions_as_the_order_of_the_equation(case, axis, orders):
    mixture = monomial_mixture(case, {axis: 2})
    assert set(mixture.jumps({})) == set(orders)
    layer = mixture.expert.layer
    rows = layer.assemble(
        mixture.expert.backbone, case.problem.batch_parameters(), seeded(), mixture.decomposition, InterfaceRows()
    )
    (block,) = rows.interfaces
    fields = len(case.problem.field_names)
    assert block.left.shape[2] == len(orders) * fields * layer.rows.interface


def test_a_fourth_order_equation_ties_four_derivatives():
    problem = Problem(lambda f, c, p: f.u.t + f.u.xxxx, SPACE_TIME, (InitialCondition(0.0), Dirichlet(0.0)))
    case = replace(HEAT, problem=problem)
    assert set(monomial_mixture(case, {"x": 2}).jumps({})) == {"", "x", "xx", "xxx"}


def test_a_field_of_first_order_beside_one_of_second_is_tied_by_its_value_only():
    """More conditions than a field's own order overdetermine it: its derivative may jump."""
    pde = FunctionPDE(lambda f, c, p: (f.u.t - f.u.xx - f.v, f.v.t + f.v.x), fields=("u", "v"))
    conditions = [InitialCondition(0.0, field="u"), InitialCondition(0.0, field="v")]
    conditions += [Dirichlet(0.0, field="u"), Dirichlet(0.0, field="v", on="left")]
    case = replace(SYSTEM, problem=Problem(pde, SPACE_TIME, conditions))
    mixture = monomial_mixture(case, {"x": 2}, degree=2)
    rows = mixture.expert.layer.assemble(mixture.expert.backbone, {}, seeded(), mixture.decomposition, InterfaceRows())
    total = sum(block.left.shape[2] for block in rows.interfaces)
    assert total == 3 * mixture.expert.layer.rows.interface


# Numbering and scales.


def renumbered(decomposition: Decomposition, order: list[int]) -> Decomposition:
    """Patch ``order[k]`` becomes patch k."""
    place = {old: new for new, old in enumerate(order)}
    patches = tuple(replace(decomposition.patches[old], index=new) for new, old in enumerate(order))
    interfaces = tuple(
        Interface((place[i.patches[0]], place[i.patches[1]]), i.axis, i.position, i.lower, i.upper)
        for i in decomposition.interfaces
    )
    return Decomposition(patches, interfaces, decomposition.domain, decomposition.grid)


@pytest.mark.parametrize(("case", "cuts"), [(HEAT, {"x": 3}), (BURGERS, {"x": 2, "t": 2}), (POISSON, {"x": 2, "y": 2})])
@pytest.mark.parametrize("seed", range(2))
def test_the_numbering_of_patches_does_not_matter(case, cuts, seed):
    layer = grid_layer(case, cuts, coupling=InterfaceRows(), rows=RowCounts(2000, 400, 400))
    basis = case.basis(case.grid, 5)
    expected, report = layer(basis)
    order = torch.randperm(len(layer.decomposition.patches), generator=seeded(seed)).tolist()[::-1]
    assert order != sorted(order)
    layer.decomposition = renumbered(layer.decomposition, order)
    found, other = layer(basis)
    assert other.status.shape == report.status.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def layer_case(length: float = 1.0) -> ExactCase:
    """A cold bar between hot ends, which monomials cannot meet: some jump stays."""
    domain = Interval(0, length) * TimeInterval(0, length**2)
    return replace(HEAT, problem=Problem(Heat(0.5), domain, [InitialCondition(0.0), Dirichlet(1.0)]))


def test_units_of_space_and_time_do_not_matter():
    jumps = [monomial_mixture(layer_case(length), {"x": 3}).jumps({})[""] for length in (1.0, 1e3, 1e-3)]
    for jump in jumps[1:]:
        torch.testing.assert_close(jump.difference, jumps[0].difference, rtol=1e-3, atol=0)
        torch.testing.assert_close(jump.size, jumps[0].size, rtol=1e-3, atol=0)


def test_a_heavier_interface_closes_the_jump():
    """Where the basis cannot meet all rows, their weight decides."""
    light, heavy = (
        float(monomial_mixture(layer_case(), {"x": 3}, InterfaceRows(weight)).jumps({})[""].difference)
        for weight in (0.3, 100.0)
    )
    assert heavy < 0.2 * light


@pytest.mark.parametrize("coupled", [False, True])
def test_the_residual_of_a_mixture_is_its_cost(coupled):
    """Labels split the rows, which together are what the inner solve minimised."""
    coupling = InterfaceRows() if coupled else Independent()
    mixture = monomial_mixture(replace(HEAT, problem=HEAT.problem), {"x": 2}, coupling, degree=2)
    rows, status = mixture.residual({}, seeded())
    assert status.shape == (1, 2)
    assert set(rows) == {"equation", "conditions"} | ({"interfaces"} if coupled else set())
    layer = mixture.expert.layer
    found = layer.solve(
        mixture.expert.backbone, HEAT.problem.batch_parameters(), generator=seeded(),
        decomposition=mixture.decomposition, coupling=coupling,
    )  # fmt: skip
    total = 0.5 * sum(r.square().sum() for r in rows.values())
    torch.testing.assert_close(total, found.rows.cost(found.weights).sum(), rtol=1e-6, atol=1e-20)


def test_a_decomposition_of_another_domain_is_refused():
    other = cartesian_decomposition(Interval(0, 2) * TimeInterval(0, 1), {"x": 2})
    with pytest.raises(ValueError, match=r"decompose problem\.domain"):
        MixtureOfExperts(other, monomial_expert(HEAT))
    with pytest.raises(ValueError, match="domain"):
        HardConstraintExpert(
            monomial_ansatz(HEAT), HardConstraintLayer(HEAT.problem, Collocation(), decomposition=other)
        )({}, HEAT.grid)


def test_interfaces_of_patches_are_reported_for_plots():
    solution = monomial_mixture(HEAT, {"x": 4})({}, HEAT.grid)
    assert solution.interfaces == {"x": (0.25, 0.5, 0.75)}


def test_coupled_patches_share_their_status():
    layer = grid_layer(BURGERS, {"x": 3}, coupling=InterfaceRows(), throw=False)
    basis = uniform(2, 3, 11, 13)
    basis[1, 0, :, 0] = torch.nan  # only the first patch reads it
    _, report = layer(basis)
    assert len(set(report.status[1].tolist())) == 1
