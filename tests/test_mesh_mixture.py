"""Mixtures over patches of a mesh: against the finite-element solution, gradients, training, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from manufactured import cube, square
from torch import Tensor

import pdesolve as ps
from pdesolve import CellValues, SolveStatus
from pdesolve.discretization.finite_elements.method import cases_of
from pdesolve.reference import bracket

MESH = square(24)


def problem_on(mesh: ps.SimplexMesh, pde: Any = None) -> ps.Problem:
    walls = tuple(name for name in mesh.boundaries if name not in ("left", "right"))
    conditions = [ps.Dirichlet(0.0, on="left"), ps.Robin(1.0, beta=0.5, on="right"), ps.Neumann(0.0, on=walls)]
    return ps.Problem(pde or ps.Diffusion(f=1.0), ps.MeshDomain(mesh), conditions)


def inclusions(mesh: ps.SimplexMesh, seed: int) -> Tensor:
    """Six balls of conductivity 1/50 or 50."""
    generator = torch.Generator().manual_seed(seed)
    middles = mesh.points[mesh.corners].mean(1)
    a = torch.ones(mesh.n_cells, dtype=torch.float64)
    for i in range(6):
        centre = torch.rand(middles.shape[1], generator=generator, dtype=torch.float64)
        a[(middles - centre).square().sum(1) < 0.15**2] = 50.0 if i % 2 else 0.02
    return a


def mixture(problem: ps.Problem, patches: int, n_basis: int, **choices: Any) -> ps.MeshMixture:
    mesh = problem.domain.mesh  # type: ignore[union-attr]
    features = choices.pop("features", ps.PatchFeatures())
    count = features.count(mesh.dimension)
    network = ps.CoordinateNetwork(count, n_basis, generator=torch.Generator().manual_seed(0), widths=(32,))
    return ps.MeshMixture(problem, network, ps.domains.graph_decomposition(mesh, patches), features=features, **choices)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(
    ("coupling", "fields", "bound"),
    [
        (ps.BlendedPatches(), ps.EquationFields(), 1e-3),
        (ps.BlendedPatches(), ps.NetworkFields(), 0.3),
        (ps.TiedPatches(), ps.EquationFields(), 5e-3),
    ],
)
def test_near_the_finite_element_solution(coupling: Any, fields: Any, bound: float) -> None:
    problem = problem_on(MESH)
    a = CellValues(torch.stack([inclusions(MESH, seed) for seed in (1, 2)]))
    found = mixture(problem, 8, 24, coupling=coupling, fields=fields)({"a": a})
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)({"a": a}).field.values
    assert relative(found.field.values, exact) < bound
    assert found.status.shape == (2, 8)
    assert float(found.stats["jump"].max()) < 30 * bound


def test_separate_patches_disagree() -> None:
    """Without rows between them patches have no reason to agree: what the couplings are for."""
    problem = problem_on(MESH)
    solution = mixture(problem, 8, 24, coupling=ps.SeparatePatches())({"a": CellValues(inclusions(MESH, 1))})
    assert float(solution.stats["jump"]) > 0.1


def test_more_fields_and_tetrahedra() -> None:
    mesh = cube(8)
    problem = problem_on(mesh, ps.Diffusion(f=1.0, axes="xyz"))
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)({"a": CellValues(inclusions(mesh, 1))}).field.values
    errors = [
        relative(
            mixture(problem, 6, n, fields=ps.EquationFields(2))({"a": CellValues(inclusions(mesh, 1))}).field.values,
            exact,
        )
        for n in (4, 16, 48)
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 5e-3


def test_quadratic_elements_and_transport() -> None:
    """On a quadratic mesh, and with an operator that is not symmetric."""
    import skfem

    flat = square(10, crooked=False).to_skfem()
    curved = skfem.MeshTri2.from_mesh(flat).with_boundaries(flat.boundaries)
    mesh = ps.SimplexMesh.from_skfem(curved)
    problem = problem_on(mesh, ps.Diffusion(f=1.0, c=0.5, velocity=(3.0, 1.0)))
    found = mixture(problem, 5, 24)({})
    exact = ps.Classical(ps.FiniteElements(2)).on(problem)({}).field.values
    assert relative(found.field.values, exact) < 2e-3


@pytest.mark.parametrize(("coupling", "bound"), [(ps.BlendedPatches(2), 1e-3), (ps.TiedPatches(), 2e-2)])
def test_an_indefinite_equation(coupling: Any, bound: float) -> None:
    """Δu + 100 u = -1, between eigenvalues: symmetric, but without a Cholesky factor."""
    problem = problem_on(square(16), ps.Diffusion(f=1.0, c=-100.0))
    solution = mixture(problem, 6, 16, coupling=coupling)({})
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)({}).field.values
    assert relative(solution.field.values, exact) < bound


def test_one_patch_is_the_finite_element_solution() -> None:
    problem = problem_on(MESH)
    a = CellValues(inclusions(MESH, 3))
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)({"a": a}).field.values
    assert relative(mixture(problem, 1, 4)({"a": a}).field.values, exact) < 1e-10


@pytest.mark.parametrize("coupling", [ps.BlendedPatches(2), ps.TiedPatches()])
def test_gradients(coupling: Any) -> None:
    mesh = square(6)
    expert = mixture(problem_on(mesh), 3, 5, coupling=coupling, fields=ps.EquationFields(1))
    a = inclusions(mesh, 1).requires_grad_()
    defaults = {name: torch.tensor(v, dtype=torch.float64) for name, v in (("f", 1.0), ("c", 0.0))}

    def solved(a: Tensor, seeds: Tensor) -> Tensor:
        return expert.solve({"a": CellValues(a), **defaults}, seeds).u

    seeds = expert.seeds({"a": CellValues(a.detach()), **defaults}).detach().requires_grad_()
    assert torch.autograd.gradcheck(solved, (a, seeds), fast_mode=True, atol=1e-6)


def test_training_lowers_the_error_on_other_coefficients() -> None:
    mesh = square(16)
    problem = problem_on(mesh)
    expert = mixture(problem, 6, 4, features=ps.PatchFeatures(("a",)), fields=ps.EquationFields(1))
    held_out = {"a": CellValues(torch.stack([inclusions(mesh, 100 + i) for i in range(4)]))}
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)(held_out).field.values
    before = relative(expert(held_out).field.values, exact)
    optimiser = torch.optim.Adam(expert.parameters(), 1e-2)
    for step in range(50):
        optimiser.zero_grad()
        rows, _ = expert.residual({"a": CellValues(inclusions(mesh, step))}, torch.Generator())
        torch.log(rows["equation"].square().sum()).backward()
        optimiser.step()
    assert relative(expert(held_out).field.values, exact) < 0.9 * before


def test_a_member_with_nan_leaves_the_others_alone() -> None:
    expert = mixture(problem_on(MESH), 4, 8)
    a = torch.stack([inclusions(MESH, 1), inclusions(MESH, 2)])
    a[0, 3] = torch.nan
    solution = expert({"a": CellValues(a)}, throw=False)
    assert int(solution.status[0, 0]) == SolveStatus.NON_FINITE
    assert int(solution.status[1, 0]) == SolveStatus.CONVERGED
    alone = expert({"a": CellValues(a[1])}).field.values
    assert torch.equal(alone[0], solution.field.values[1])


def test_bad_input() -> None:
    problem = problem_on(MESH)
    with pytest.raises(ValueError, match="cuts another mesh"):
        ps.MeshMixture(problem, torch.nn.Identity(), ps.domains.graph_decomposition(square(3), 2))
    patches = ps.domains.graph_decomposition(MESH, 2)
    nonlinear = problem_on(MESH, ps.DivergenceForm(lambda f, c, p: (f.u.x, f.u.y), lambda f, c, p: f.u**3))
    with pytest.raises(ValueError, match="linear steady problems"):
        ps.MeshMixture(nonlinear, torch.nn.Identity(), patches)
    with pytest.raises(ValueError, match="elements of order 2 on a mesh of order 1"):
        ps.MeshMixture(problem, torch.nn.Identity(), patches, method=ps.FiniteElements(2))
    with pytest.raises(ValueError, match="layers"):
        ps.BlendedPatches(0)
    with pytest.raises(ValueError, match="weight"):
        ps.TiedPatches(-1.0)
    with pytest.raises(ValueError, match="problem's mesh"):
        mixture(problem, 2, 4)({}, square(3))


def test_the_field_keeps_its_name() -> None:
    def flux(fields: Any, coordinates: Any, parameters: Any) -> tuple[Any, ...]:
        return fields.T.x, fields.T.y

    def source(fields: Any, coordinates: Any, parameters: Any) -> Any:
        return -parameters.power + 0.0 * fields.T.value

    pde = ps.DivergenceForm(flux, source, axes="xy", fields=("T",), parameters={"power": 1.0})
    walls = tuple(name for name in MESH.boundaries if name != "left")
    conditions = [ps.Dirichlet(0.0, field="T", on="left"), ps.Flux(0.0, field="T", on=walls)]
    problem = ps.Problem(pde, ps.MeshDomain(MESH), conditions)
    found = mixture(problem, 4, 8)({})
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)({})
    assert found.field.names == exact.field.names == ("T",)
    assert relative(found.field.component("T"), exact.field.component("T")) < 1e-2


def test_more_fields_than_small_patches_need() -> None:
    """Neighbours of a hundred nodes that overlap can say the same in many ways: the system is singular to rounding."""
    mesh = bracket(2)
    conditions = [ps.Dirichlet(0.0, on="base_hole"), ps.Flux(1.0, on="flange_hole")]
    conditions += [ps.Flux(0.0, alpha=0.1, on=("bottom", "outside"))]
    problem = ps.Problem(ps.Diffusion(axes="xyz"), ps.MeshDomain(mesh), conditions)
    a = {"a": ps.RandomInclusions(mesh, 10)(4, torch.Generator().manual_seed(1))}
    expert = mixture(problem, 16, 32, features=ps.PatchFeatures(("a",)), fields=ps.EquationFields(2))
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)(a).field.values
    assert relative(expert(a).field.values, exact) < 1e-4


def test_fields_ask_the_network_only_where_they_read_it() -> None:
    expert = mixture(problem_on(MESH), 4, 6)
    (case,) = cases_of(expert.problem, {})
    fixed = expert.discrete.fixed
    free_border = expert.stack.border & ~torch.isin(expert.stack.nodes, fixed)
    assert expert.seeds(case).shape == (6, int(free_border.sum()))
    assert expert.seeds(case).shape[1] < len(expert.stack.nodes) / 3


def bumps(mesh: ps.SimplexMesh, n: int, generator: torch.Generator) -> ps.NodeValues:
    """Smooth random fields of both signs."""
    waves = 3 * torch.randn(n, 4, mesh.space_dimension, generator=generator, dtype=torch.float64)
    phases = 6 * torch.rand(n, 4, 1, generator=generator, dtype=torch.float64)
    return ps.NodeValues(torch.sin(waves @ mesh.points.T + phases).sum(1))


def many_sided() -> ps.MeshFamily:
    """Coefficient, source, wall temperature and heat flux vary."""
    conditions = [
        ps.Dirichlet(lambda wall, x: wall * (1 + x), on="left"),
        ps.Robin(lambda outside: outside, beta=0.5, on="right"),
        ps.Flux(lambda heat, x: heat * x, on=("bottom", "top")),
    ]
    parameters = {"wall": 0.0, "outside": 1.0, "heat": 0.0}
    problem = ps.Problem(ps.Diffusion(f=1.0), ps.MeshDomain(MESH), conditions, parameters)
    fields = {
        "a": lambda n, generator: CellValues(
            torch.stack([inclusions(MESH, int(torch.randint(9999, (1,), generator=generator))) for _ in range(n)])
        ),
        "f": lambda n, generator: bumps(MESH, n, generator),
        "wall": lambda n, generator: bumps(MESH, n, generator),
        "heat": lambda n, generator: bumps(MESH, n, generator),
    }
    return ps.MeshFamily(problem, fields, {"outside": ps.Uniform(-1.0, 1.0)})


def test_a_family_of_coefficients_sources_and_boundary_values() -> None:
    family = many_sided()
    expert = mixture(family.problem, 6, 24, features=ps.PatchFeatures(("a",)))
    ps.train(expert, family, ps.TrainingSettings(steps=2, batch=2), seed=0)
    held_out = family.sample(3, torch.Generator().manual_seed(77))
    exact = ps.Classical(ps.FiniteElements(1)).on(family.problem)(held_out).field.values
    found = expert(held_out).field.values
    for one, other in zip(found, exact, strict=True):
        assert relative(one, other) < 1e-3
    assert relative(exact[0], exact[1]) > 0.1  # the cases are different ones


def test_numbers_alone_may_vary() -> None:
    problem = many_sided().problem
    family = ps.ProblemFamily(problem, {name: ps.Uniform(0.5, 2.0) for name in ("a", "f", "wall", "outside", "heat")})
    expert = mixture(problem, 6, 24, features=ps.PatchFeatures(("a",)))
    ps.train(expert, family, ps.TrainingSettings(steps=1, batch=2), seed=0)
    held_out = family.sample(3, torch.Generator().manual_seed(77))
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)(held_out).field.values
    assert relative(expert(held_out).field.values, exact) < 1e-3


def test_features_of_what_is_not_positive_are_refused() -> None:
    family = many_sided()
    expert = mixture(family.problem, 4, 4, features=ps.PatchFeatures(("f",)))
    with pytest.raises(ValueError, match="logarithm of 'f'"):
        expert(family.sample(4, torch.Generator().manual_seed(0)))


def free_of_walls(source: float, mesh: ps.SimplexMesh = MESH) -> ps.MeshMixture:
    """Heated from below and above by 2 x - 1, no value prescribed."""
    conditions = [ps.Flux(lambda x: 2 * x - 1, on=("bottom", "top")), ps.Neumann(0.0, on=("left", "right"))]
    problem = ps.Problem(ps.Diffusion(f=source), ps.MeshDomain(mesh), conditions)
    return mixture(problem, 6, 20, fields=ps.EquationFields(2))


def test_pure_neumann_up_to_a_constant() -> None:
    expert = free_of_walls(0.0)
    found = expert({}).field.values
    assert float(found.mean().abs()) < 1e-12
    exact = ps.Classical(ps.FiniteElements(1)).on(expert.problem)({}).field.values
    assert relative(found, exact) < 1e-3
    status = free_of_walls(1.0)({}, throw=False).status
    assert set(status[0].tolist()) == {int(SolveStatus.INCOMPATIBLE)}


def test_a_little_heat_transfer_determines_the_level() -> None:
    """Newton's law with α = 1e-6 beside conductivities of 1e-4 to 1e4."""
    walls = tuple(MESH.boundaries)
    problem = ps.Problem(ps.Diffusion(f=1.0), ps.MeshDomain(MESH), [ps.Flux(0.0, alpha=1e-6, on=walls)])
    a = {"a": CellValues(inclusions(MESH, 4) ** 2.3)}
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)(a).field.values
    assert float(exact.mean()) == pytest.approx(1 / 4e-6, rel=1e-2)
    assert relative(mixture(problem, 6, 20, fields=ps.EquationFields(2))(a).field.values, exact) < 1e-2


def two_squares(names: dict[str, tuple[str, ...]]) -> ps.SimplexMesh:
    """Two squares that do not touch; boundaries joined from those of the first and, with "2", of the second."""
    one = square(12)
    points = torch.cat([one.points, one.points + torch.tensor([1.5, 0.0], dtype=torch.float64)])
    sides = {**one.boundaries, **{name + "2": rows + one.n_nodes for name, rows in one.boundaries.items()}}
    joined = {name: torch.cat([sides[side] for side in parts]) for name, parts in names.items()}
    return ps.SimplexMesh(points, torch.cat([one.cells, one.cells + one.n_nodes]), joined)


@pytest.mark.parametrize("coupling", [ps.BlendedPatches(), ps.TiedPatches()])
def test_each_part_of_a_mesh_is_solved(coupling: Any) -> None:
    mesh = two_squares(
        {
            "left": ("left", "left2"),
            "right": ("right", "right2"),
            "bottom": ("bottom", "bottom2"),
            "top": ("top", "top2"),
        }
    )
    problem = problem_on(mesh)
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)({}).field.values
    for patches in (1, 2, 6):  # the whole, one for each part, more
        assert relative(mixture(problem, patches, 16, coupling=coupling)({}).field.values, exact) < 5e-3


def test_a_part_that_floats_is_singular() -> None:
    rest = ("right", "bottom", "top", "left2", "right2", "bottom2", "top2")
    mesh = two_squares({"left": ("left",), "rest": rest})
    problem = ps.Problem(
        ps.Diffusion(), ps.MeshDomain(mesh), [ps.Dirichlet(1.0, on="left"), ps.Neumann(0.0, on="rest")]
    )
    for expert in (
        mixture(problem, 6, 16, fields=ps.EquationFields(1)),
        ps.Classical(ps.FiniteElements(1)).on(problem),
    ):
        status = expert({}, throw=False).status
        assert set(status.flatten().tolist()) == {int(SolveStatus.SINGULAR)}


@pytest.mark.gpu
def test_results_go_where_the_inputs_are() -> None:
    """The network on a GPU, its sparse solves on the CPU."""
    family = many_sided()
    expert = mixture(family.problem, 4, 8, features=ps.PatchFeatures(("a",)))
    case = family.sample(2, torch.Generator().manual_seed(3))
    here = expert(case).field.values
    ps.train(expert.cuda(), family, ps.TrainingSettings(steps=1, batch=1), seed=0)
    expert = mixture(family.problem, 4, 8, features=ps.PatchFeatures(("a",))).cuda()
    there = {name: value.to("cuda") for name, value in case.items()}
    for made in (expert, ps.Classical(ps.FiniteElements(1)).on(family.problem)):
        solution = made(there)
        assert solution.field.values.device.type == solution.status.device.type == "cuda"
    assert relative(expert(there).field.values.cpu(), here) < 1e-8


class Elsewhere(torch.nn.Module):
    """In place of a network on another device: works in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.tanh(self.linear(x.float()))
        return out


def test_a_network_in_another_precision() -> None:
    problem = problem_on(MESH)
    expert = ps.MeshMixture(problem, Elsewhere(), ps.domains.graph_decomposition(MESH, 4))
    assert expert({}).field.values.dtype == torch.float64
    rows, _ = expert.residual({}, torch.Generator())
    rows["equation"].sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in expert.parameters() if p.grad is not None)
    assert expert.network.linear.weight.grad is not None


def beam(mesh: ps.SimplexMesh, axes: str) -> ps.Problem:
    """Clamped at the left, pulled and bent at the right, under its weight."""
    names = ("ux", "uy", "uz")[: len(axes)]
    rest = tuple(name for name in mesh.boundaries if name not in ("left", "right"))
    force = (0.0, -1.0, 0.0)[: len(axes)]
    conditions = [ps.Dirichlet(0.0, field=name, on="left") for name in names]
    conditions += [ps.Flux(0.5 if name == "ux" else 0.2, field=name, on="right") for name in names]
    conditions += [ps.Flux(0.0, field=name, on=rest) for name in names]
    return ps.Problem(ps.LinearElasticity(force=force, axes=axes), ps.MeshDomain(mesh), conditions)


@pytest.mark.parametrize(
    ("make", "axes", "coupling", "bound"),
    [
        (lambda: square(20), "xy", ps.BlendedPatches(2), 3e-4),
        (lambda: square(20), "xy", ps.TiedPatches(), 1e-2),
        (lambda: cube(6), "xyz", ps.BlendedPatches(2), 3e-4),
        (lambda: cube(6), "xyz", ps.TiedPatches(), 0.15),
    ],
)
def test_elasticity(make: Any, axes: str, coupling: Any, bound: float) -> None:
    """Displacements by experts whose fields are in equilibrium; stiffness jumps between cells."""
    mesh = make()
    problem = beam(mesh, axes)
    network = ps.CoordinateNetwork(len(axes), 24 * len(axes), generator=torch.Generator().manual_seed(0), widths=(32,))
    patches = ps.domains.graph_decomposition(mesh, 5)
    expert = ps.MeshMixture(problem, network, patches, coupling=coupling, fields=ps.EquationFields(3))
    case = {"shear": CellValues(inclusions(mesh, 2).clamp(0.2, 5.0))}
    found = expert(case)
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)(case)
    assert found.field.values.shape == exact.field.values.shape
    assert found.field.names == exact.field.names
    assert relative(found.field.values, exact.field.values) < bound
    rows, _ = expert.residual(case, torch.Generator())
    rows["equation"].sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_gradients_with_two_fields() -> None:
    mesh = square(5)
    problem = beam(mesh, "xy")
    network = ps.CoordinateNetwork(2, 6, generator=torch.Generator().manual_seed(0), widths=(8,))
    patches = ps.domains.graph_decomposition(mesh, 3)
    expert = ps.MeshMixture(problem, network, patches, coupling=ps.BlendedPatches(1), fields=ps.EquationFields(1))
    (case,) = cases_of(problem, {})
    shear = inclusions(mesh, 1).clamp(0.5, 2.0).requires_grad_()
    seeds = expert.seeds(case).detach().requires_grad_()

    def solved(shear: Tensor, seeds: Tensor) -> Tensor:
        return expert.solve({**case, "shear": CellValues(shear)}, seeds).u

    assert torch.autograd.gradcheck(solved, (shear, seeds), fast_mode=True, atol=1e-6)


def test_elasticity_without_support_is_singular() -> None:
    mesh = square(12)
    pushed = [ps.Flux(0.1, field=name, on=tuple(mesh.boundaries)) for name in ("ux", "uy")]
    problem = ps.Problem(ps.LinearElasticity(), ps.MeshDomain(mesh), pushed)
    network = ps.CoordinateNetwork(2, 16, generator=torch.Generator().manual_seed(0), widths=(8,))
    expert = ps.MeshMixture(problem, network, ps.domains.graph_decomposition(mesh, 6), fields=ps.EquationFields(1))
    assert set(expert({}, throw=False).status.flatten().tolist()) == {int(SolveStatus.SINGULAR)}


@pytest.mark.parametrize("coupling", [ps.BlendedPatches(), ps.TiedPatches()])
def test_a_body_on_rollers_that_may_turn_is_singular(coupling: Any) -> None:
    """Each displacement is held on one side, neither holds the rotation about the corner between them."""
    mesh = square(20, crooked=False)
    sides = tuple(mesh.boundaries)
    conditions: list[Any] = []
    for name, side in (("ux", "bottom"), ("uy", "left")):
        conditions += [ps.Dirichlet(0.0, field=name, on=side)]
        conditions += [ps.Flux(0.0, field=name, on=tuple(other for other in sides if other != side))]
    pde = ps.LinearElasticity(force=(-1.0, 1.0))
    assert set(elastic(ps.Problem(pde, ps.MeshDomain(mesh), conditions), coupling)[1]) == {int(SolveStatus.SINGULAR)}


@pytest.mark.parametrize("coupling", [ps.BlendedPatches(2), ps.TiedPatches()])
def test_springs_far_softer_than_the_body_hold_its_motions(coupling: Any) -> None:
    """Translations and the rotation are what the springs make of them, however weak beside the ridge."""
    mesh = square(12)
    rest = tuple(name for name in mesh.boundaries if name != "left")
    springs = [ps.Flux(0.0, alpha=1e-7, field=name, on=rest) for name in ("ux", "uy")]
    springs += [ps.Flux(0.0, alpha=3e-7, field=name, on="left") for name in ("ux", "uy")]  # so it turns
    problem = ps.Problem(ps.LinearElasticity(force=(0.0, -1.0)), ps.MeshDomain(mesh), springs)
    exact = ps.Classical(ps.FiniteElements(1)).on(problem)({}).field.values
    found, status = elastic(problem, coupling)
    assert set(status) == {int(SolveStatus.CONVERGED)}
    assert relative(found, exact) < 1e-4


def elastic(problem: ps.Problem, coupling: Any) -> tuple[Tensor, list[int]]:
    network = ps.CoordinateNetwork(2, 32, generator=torch.Generator().manual_seed(0), widths=(16,))
    patches = ps.domains.graph_decomposition(problem.domain.mesh, 8)  # type: ignore[union-attr]
    solution = ps.MeshMixture(problem, network, patches, coupling=coupling)({}, throw=False)
    return solution.field.values, solution.status.flatten().tolist()


def test_outputs_are_a_multiple_of_the_fields() -> None:
    mesh = square(5)
    network = ps.CoordinateNetwork(2, 7, generator=torch.Generator().manual_seed(0), widths=(8,))
    expert = ps.MeshMixture(beam(mesh, "xy"), network, ps.domains.graph_decomposition(mesh, 3))
    with pytest.raises(ValueError, match="7 outputs for 2 fields"):
        expert({})


def test_a_zero_problem_and_units_of_any_size() -> None:
    """u = 0 has no jumps; lengths in micrometres or kilometres change nothing."""
    still = ps.Problem(ps.Diffusion(), ps.MeshDomain(MESH), [ps.Dirichlet(0.0)])
    solution = mixture(still, 4, 8)({})
    assert float(solution.field.values.abs().max()) == float(solution.stats["jump"]) == 0.0
    levels = []
    for size in (1e-6, 1.0, 1e6):
        mesh = ps.SimplexMesh(MESH.points * size, MESH.cells, MESH.boundaries)
        pde = ps.Diffusion(a=1e-12, f=1e-12 / size**2)
        insulated = [ps.Dirichlet(0.0, on="left"), ps.Neumann(0.0, on=("right", "bottom", "top"))]
        problem = ps.Problem(pde, ps.MeshDomain(mesh), insulated)
        levels.append(mixture(problem, 4, 12, fields=ps.EquationFields(2))({}).field.values)
    assert relative(levels[0], levels[1]) < 1e-6
    assert relative(levels[2], levels[1]) < 1e-6
