"""A basis that all members share gives what its copies give, and is made and multiplied once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import ADJOINTS, least_squares, solve_with, uniform
from torch import Tensor, nn

import pdesolve as ps
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.experts.evaluation import evaluate
from pdesolve.frames.diffusivity import largest_diffusivity
from pdesolve.nonlinear import rows as rows_module
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.status import SolveStatus

COUPLED = pytest.mark.parametrize("coupled", [False, True], ids=["independent", "coupled"])
SOLVER = ps.LevenbergMarquardt()


def shared(coupled: bool, batch: int = 5, noise: float = 0.08) -> LeastSquares:
    """Members of their own data on one basis."""
    problem = least_squares(batch=batch, patches=3, coupled=coupled, noise=noise)
    (block,) = problem.rows
    ties = tuple(replace(i, left=i.left[:1], right=i.right[:1]) for i in problem.interfaces)
    return LeastSquares((replace(block, basis=tuple(s[:1] for s in block.basis)),), ties)


def copied(problem: LeastSquares) -> LeastSquares:
    """The same with a copy of the basis for every member."""
    batch = problem.shape[0]

    def full(t: Tensor) -> Tensor:
        return t.expand(batch, *t.shape[1:]).clone()

    rows = tuple(replace(b, basis=tuple(full(s) for s in b.basis)) for b in problem.rows)
    ties = tuple(replace(i, left=full(i.left), right=full(i.right)) for i in problem.interfaces)
    return LeastSquares(rows, ties)


def close(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@COUPLED
def test_the_linearisation_is_that_of_copies(coupled: bool) -> None:
    one, many = shared(coupled), copied(shared(coupled))
    w = uniform(*one.shape, seed=20)
    assert one.shape == many.shape
    close(one.cost(w), many.cost(w))
    a, b = one.linearise(w), many.linearise(w)
    for name in ("cost", "gradient", "magnitude"):
        close(getattr(a, name), getattr(b, name))
    close(a.gram.dense(), b.gram.dense())
    close(one.hessian(w, a.gram).dense(), many.hessian(w, b.gram).dense())


@COUPLED
def test_the_pullback_to_a_shared_basis_is_the_sum_over_copies(coupled: bool) -> None:
    one, many = shared(coupled), copied(shared(coupled))
    w, direction = uniform(*one.shape, seed=20), uniform(*one.shape, seed=21)
    found, wanted = one.pullback(w, direction), many.pullback(w, direction)
    for tensor, a, b in zip(one.tensors(), found, wanted, strict=True):
        close(a, b.sum_to_size(tensor.shape))
    parts = one.pullback(w, direction, [False] * len(found))
    assert parts[0] is None
    assert parts[1] is None
    close(parts[2], found[2])


@COUPLED
def test_solutions_and_statistics_are_those_of_copies(coupled: bool) -> None:
    one, many = ps.minimise(shared(coupled), SOLVER), ps.minimise(copied(shared(coupled)), SOLVER)
    assert bool((one.status == SolveStatus.CONVERGED).all())
    torch.testing.assert_close(one.w, many.w, rtol=1e-8, atol=1e-9)
    assert torch.equal(one.stats["iterations"], many.stats["iterations"])


@COUPLED
@pytest.mark.parametrize("adjoint", [name for name in ADJOINTS if name != "detached"])
def test_gradients_are_those_of_copies(coupled: bool, adjoint: str) -> None:
    run = solve_with(ADJOINTS[adjoint], ps.LevenbergMarquardt(gtol=1e-12))
    leaves, gradients = [t.clone().requires_grad_() for t in shared(coupled).tensors()], []
    one = shared(coupled).with_tensors(leaves)
    for problem in (one, copied(one)):
        w = run(problem).w
        direction = uniform(*w.shape, seed=30)
        gradients.append(torch.autograd.grad((w * direction).sum(), leaves))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


@COUPLED
def test_a_broken_member_spoils_no_other(coupled: bool) -> None:
    problem = shared(coupled)
    tensors = [t.clone() for t in problem.tensors()]
    tensors[2][1] = torch.nan  # an offset of member 1; the basis is everybody's
    broken = problem.with_tensors([t.requires_grad_() for t in tensors])
    found = solve_with(ps.ImplicitAdjoint(), SOLVER)(broken)
    assert (found.status == SolveStatus.NON_FINITE).all(1).tolist() == [False, True, False, False, False]
    kept = [0, 2, 3, 4]
    clean = [t.clone().requires_grad_() for t in problem.tensors()]
    wanted = solve_with(ps.ImplicitAdjoint(), SOLVER)(problem.with_tensors(clean))
    close(found.w[kept], wanted.w[kept])
    found.w[kept].square().sum().backward()
    wanted.w[kept].square().sum().backward()
    for a, b in zip(tensors, clean, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-8)


def test_a_patch_whose_shared_basis_is_broken_fails_for_all_and_leaves_the_others() -> None:
    tensors = [t.clone() for t in shared(False).tensors()]
    tensors[0][0, 1, 3] = torch.nan
    found = solve_with(ps.ImplicitAdjoint(), SOLVER)(shared(False).with_tensors([t.requires_grad_() for t in tensors]))
    assert (found.status[:, 1] == SolveStatus.NON_FINITE).all()
    assert (found.status[:, [0, 2]] == SolveStatus.CONVERGED).all()
    found.w[:, [0, 2]].sum().backward()
    assert all(bool(torch.isfinite(t.grad).all()) for t in tensors if t.grad is not None)


@COUPLED
@pytest.mark.parametrize("make", [shared, lambda coupled: copied(shared(coupled))], ids=["shared", "copied"])
def test_groups_of_members_give_the_same_bits(
    coupled: bool, make: Callable[[bool], LeastSquares], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jacobians are made for a few members at a time: how many does not show, and none is kept for all."""
    found = []
    for size in (1, 2 * 3 * 24 * 4, 1 << 19):  # one member, two of five, all
        monkeypatch.setattr(rows_module, "_CACHED", size)
        problem = make(coupled)
        w = uniform(*problem.shape, seed=20)
        normal = problem.linearise(w)
        found.append((normal.gram.diagonal, normal.gradient, problem.hessian(w, normal.gram).diagonal))
        block = problem.rows[0]
        assert len(block.pieces) == {1: 5, 576: 3}.get(size, 1)
        assert block.scratch.shape[0] == {1: 1, 576: 2}.get(size, 5)
        assert [i for piece in block.pieces for i in range(piece.start, piece.stop)] == list(range(5))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


class Counting(nn.Module):
    """A network that counts the points it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.points = network, 0

    def forward(self, features: Any) -> Any:
        self.points += features.shape.numel() // features.shape[-1]
        return self.network(features)


def sorption_expert(diffusivity: float | None) -> tuple[ps.HardConstraintExpert, Counting]:
    """Untrained, with similarity coordinates that do or do not depend on the member."""
    problem = ps.diffusion_sorption_problem()
    network = Counting(ps.CoordinateNetwork(4, 6, generator=torch.Generator().manual_seed(0), widths=(16,)))
    coordinates = ps.SimilarityCoordinates(problem, diffusivity=diffusivity)
    lifting = ps.SimilarityLifting(problem, interior=0.0, diffusivity=diffusivity)
    layer = ps.HardConstraintLayer(problem, ps.Collocation(), ps.RowCounts(60, 20, 20))
    return ps.HardConstraintExpert(Ansatz(network, coordinates, lifting), layer), network


def typical() -> float:
    problem = ps.diffusion_sorption_problem()
    return float(largest_diffusivity(problem, "x", problem.batch_parameters()))


def test_a_basis_without_parameters_goes_through_the_network_once() -> None:
    """For 700 cases, more than are expanded in one group."""
    for diffusivity, cases in ((typical(), 1), (None, 700)):
        expert, network = sorption_expert(diffusivity)
        values = expert.problem.batch_parameters({"u0": torch.linspace(0.05, 0.15, 700, dtype=torch.float64)})
        with torch.no_grad():
            rows = expert.layer.assemble(expert.backbone, values, torch.Generator().manual_seed(0))
        assert [b.basis[0].shape[0] for b in rows.rows] == [cases] * 2
        assert all(b.offset[0].shape[0] == 700 for b in rows.rows)
        assert cases * 80 <= network.points <= cases * 80 + 2 * cases  # and a point for each of the two to find out
        assert rows.shape[0] == 700


def test_a_field_of_a_shared_basis_is_that_of_each_case() -> None:
    expert, network = sorption_expert(typical())
    patches = ps.cartesian_decomposition(expert.problem.domain, {"x": 3, "t": 2})
    grid = ps.StructuredGrid.uniform(expert.problem.domain, (7, 11))
    u0 = torch.tensor([0.03, 0.1, 0.18], dtype=torch.float64)
    weights, values = uniform(3, 6, 6), expert.problem.batch_parameters({"u0": u0})
    network.points = 0
    together = evaluate(expert.backbone, values, grid, patches, weights).values
    assert network.points == grid.n_nodes + 1
    for case in range(3):
        own = expert.problem.batch_parameters({"u0": u0[case : case + 1]})
        close(together[case], evaluate(expert.backbone, own, grid, patches, weights[case : case + 1]).values[0])


def test_cases_solved_on_a_shared_basis_are_cases_solved_one_by_one() -> None:
    expert, _ = sorption_expert(typical())
    mixture = ps.MixtureOfExperts(ps.cartesian_decomposition(expert.problem.domain, {"x": 3}), expert)
    grid = ps.StructuredGrid.uniform(expert.problem.domain, (5, 9))
    u0 = torch.tensor([0.03, 0.1, 0.18], dtype=torch.float64)
    together = mixture({"u0": u0}, grid).field.values
    for case in range(3):
        alone = mixture({"u0": u0[case : case + 1]}, grid).field.values[0]
        torch.testing.assert_close(together[case], alone, rtol=1e-6, atol=1e-8)
