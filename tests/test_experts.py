"""Experts as users hold them: gradients to parameters, files that another process loads, provenance, bad parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pdesolve as ps
from pdesolve.reference import diffusion_sorption_family
from pdesolve.results import load

SPACE_TIME = ps.Interval(0, 1) * ps.TimeInterval(0, 1)


def mixture(coupling: ps.InterfaceRows | ps.Independent | None = None) -> ps.MixtureOfExperts:
    family = diffusion_sorption_family()
    expert = ps.parametric_expert(family, n_basis=8, widths=(16,), dtype=torch.float64, rows=ps.RowCounts(100, 16, 16))
    return ps.MixtureOfExperts(ps.cartesian_decomposition(family.problem.domain, {"x": 2}), expert, coupling)


def grid() -> ps.StructuredGrid:
    return ps.StructuredGrid.cell_centred(diffusion_sorption_family().problem.domain, (4, 9))


@pytest.mark.parametrize("coupling", [ps.InterfaceRows(), ps.Independent()])
@pytest.mark.parametrize("name", ["u0", "D", "k"])
def test_a_field_s_gradient_reaches_the_parameters(coupling: ps.InterfaceRows | ps.Independent, name: str) -> None:
    expert, value = mixture(coupling), diffusion_sorption_family().problem.parameters[name]
    expert.expert.layer.solver = ps.LevenbergMarquardt(gtol=1e-12)

    def probe(shift: float) -> torch.Tensor:
        parameter = torch.tensor([value * (1 + shift)], dtype=torch.float64, requires_grad=True)
        total = expert({name: parameter}, grid()).field.values[..., 1:, :].square().sum()
        return total.detach() if shift else torch.autograd.grad(total, parameter)[0] * value

    step = 1e-5
    difference = (float(probe(step)) - float(probe(-step))) / (2 * step)
    assert float(probe(0.0)) == pytest.approx(difference, rel=1e-5)


def test_without_wanted_gradients_nothing_is_recorded() -> None:
    assert not mixture()({"u0": 0.1}, grid()).field.values.requires_grad


def test_a_saved_expert_gives_the_same_field_in_another_process(tmp_path: Path) -> None:
    expert, path = mixture(), tmp_path / "expert.safetensors"
    with torch.no_grad():
        next(expert.parameters()).add_(0.1)
    ps.save_expert(expert, path, {"n_basis": 8})
    expert({"u0": 0.1}, grid()).save(str(tmp_path / "here.vtkhdf"))
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); import test_experts as t, pdesolve as ps\n"
        "expert = ps.load_expert(sys.argv[1] + '/expert.safetensors', lambda config: t.mixture())\n"
        "expert({'u0': 0.1}, t.grid()).save(sys.argv[1] + '/there.vtkhdf')\n"
    )
    here = Path(__file__).resolve()
    subprocess.run([sys.executable, "-c", script, tmp_path, here.parent], check=True, cwd=here.parents[1])
    values = [load(tmp_path / name).field.values for name in ("here.vtkhdf", "there.vtkhdf")]
    assert torch.equal(*values)


def test_a_solution_says_where_it_comes_from() -> None:
    solution = mixture()({"u0": 0.1}, grid())
    text = json.dumps(solution.provenance)
    for word in ("DiffusionSorption", "InterfaceRows", "LevenbergMarquardt", "Robin"):
        assert word in text
    assert "0x" not in text
    assert solution.interfaces == {"x": (0.5,)}


def test_one_bad_member_fails_alone() -> None:
    u0 = torch.tensor([0.1, float("nan"), 0.15], dtype=torch.float64)
    solution = mixture()({"u0": u0}, grid(), throw=False)
    assert solution.converged.tolist() == [True, False, True]
    alone = mixture()({"u0": u0[[0, 2]]}, grid())
    assert torch.equal(solution.field.values[[0, 2]], alone.field.values)
    with pytest.raises(ps.SolveError, match="NON_FINITE"):
        mixture()({"u0": u0}, grid())


def test_the_soft_expert_meets_its_lifting_s_conditions_exactly() -> None:
    soft = ps.soft_expert(diffusion_sorption_family(), dtype=torch.float64)
    nodes = (torch.tensor([0.0, 250.0]).double(), torch.tensor([0.0, 0.5]).double())
    edge = ps.StructuredGrid(("t", "x"), nodes, soft.problem.domain)
    values = soft({"u0": 0.1}, edge).field.values[0, 0]
    assert float((values[:, 0] - 1.0).abs().max()) < 1e-5
    assert float((values[0, 1] - 0.1).abs()) < 1e-5


def test_a_soft_field_that_is_not_finite_is_no_success() -> None:
    soft = ps.soft_expert(diffusion_sorption_family(), dtype=torch.float64)
    u0 = torch.tensor([0.1, float("nan")], dtype=torch.float64)
    assert soft({"u0": u0}, grid(), throw=False).converged.tolist() == [True, False]
    with pytest.raises(ps.SolveError, match="NON_FINITE"):
        soft({"u0": u0}, grid())


def test_a_soft_expert_has_one_patch() -> None:
    family = diffusion_sorption_family()
    patches = ps.cartesian_decomposition(family.problem.domain, {"x": 2})
    layer = ps.HardConstraintLayer(family.problem, ps.Collocation(), decomposition=patches)
    with pytest.raises(ValueError, match="one patch"):
        ps.SoftConstraintExpert(ps.soft_expert(family).backbone, layer)


def test_a_warm_start_saves_steps_and_its_shape_is_checked() -> None:
    problem = ps.Problem(
        ps.Burgers(nu=0.1), SPACE_TIME, [ps.InitialCondition(lambda x: x * (1 - x)), ps.Dirichlet(0.0)]
    )
    nodes = ps.StructuredGrid.uniform(SPACE_TIME, (11, 13))
    t, x = nodes.coordinates()["t"], nodes.coordinates()["x"]
    basis = torch.stack([x**i * t**j for i in range(3) for j in range(3)])[None]
    layer = ps.HardConstraintLayer(problem, ps.FiniteDifferences(nodes), ps.RowCounts(90, 20))
    u, report = layer(basis)
    again, warm = layer(basis, start=report.weights)
    assert int(warm.stats["iterations"].max()) < int(report.stats["iterations"].max())
    assert torch.allclose(u, again, atol=1e-8)
    with pytest.raises(ValueError, match=r"start has shape \(1, 1, 3\)"):
        layer(basis, start=torch.zeros(1, 1, 3))


def test_cases_expanded_in_groups_are_cases_expanded_at_once() -> None:
    """Without a graph the cases go through the network in groups: 20 cases of 4000 points are three of them."""
    family = diffusion_sorption_family()
    backbone = ps.parametric_expert(family, n_basis=3, widths=(8,), dtype=torch.float64).backbone
    generator = torch.Generator().manual_seed(0)
    values = family.problem.batch_parameters(family.sample(20, generator))
    collocation, patches = ps.Collocation(), ps.cartesian_decomposition(family.problem.domain, {"x": 4})
    points = collocation.interior(patches, 1000, generator)
    whole = collocation.expand(backbone, points, values, ("", "xx"))
    with torch.no_grad():
        parts = collocation.expand(backbone, points, values, ("", "xx"))
    for term in ("", "xx"):
        assert parts.basis[term].shape == (20, 4, 1000, 1, 3)
        torch.testing.assert_close(parts.basis[term], whole.basis[term], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(parts.offset[term], whole.offset[term], rtol=1e-12, atol=1e-12)
