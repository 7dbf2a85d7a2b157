"""Algebraic multigrid: steps, symmetry, the transpose, jumps, unstructured meshes, single precision, missing pyamg."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math

import pytest
import torch
from helpers import seeded, uniform
from linear_cases import laplacian
from torch import Tensor
from torch.autograd import gradcheck

from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.krylov.fgmres import FGMRES
from pdesolve.linalg.multigrid.algebraic import AlgebraicMultigrid
from pdesolve.linalg.multigrid.algebraic_setup import AbstractCoarsening, RugeStuben, SmoothedAggregation
from pdesolve.linalg.multigrid.grid_diffusion import GridDiffusion
from pdesolve.linalg.multigrid.smoother import Chebyshev
from pdesolve.linalg.operators.jacobian import JacobianOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.solve import linear_solve

pyamg = pytest.mark.skipif(importlib.util.find_spec("pyamg") is None, reason="needs pyamg")
coarsenings = pytest.mark.parametrize("coarsening", [RugeStuben(), SmoothedAggregation()], ids=["RS", "SA"])


def steps(operator: object, b: Tensor, preconditioner: AlgebraicMultigrid) -> int:
    _, report = linear_solve(operator, b, CG(preconditioner, max_steps=200))  # type: ignore[arg-type]
    assert report.converged.all()
    return int(report.stats["iterations"].max())


@pyamg
@coarsenings
def test_steps_hardly_grow_with_the_grid(coarsening: AbstractCoarsening) -> None:
    counts = [steps(laplacian(n, n), uniform(2, n * n), AlgebraicMultigrid(coarsening)) for n in (24, 48, 96)]
    assert max(counts) <= 14
    assert max(counts) - min(counts) <= 4


@pyamg
@coarsenings
def test_the_cycle_is_symmetric_and_definite(coarsening: AbstractCoarsening) -> None:
    operator, cycle = laplacian(27, 28), AlgebraicMultigrid(coarsening)
    state = cycle.init(operator)
    assert state.grids.levels
    inverse = cycle.apply(state, torch.eye(27 * 28, dtype=torch.float64))
    torch.testing.assert_close(inverse, inverse.mT, rtol=0, atol=1e-12)
    assert torch.linalg.eigvalsh(inverse)[0] > 0
    assert cycle.transpose(state) is state


@pyamg
def test_the_transposed_hierarchy_is_the_transpose() -> None:
    n = 27
    index, speed = torch.arange(n * n), torch.full((n * n - 1,), -0.4, dtype=torch.float64)
    wind = SparseOperator.from_triplets(index[1:], index[:-1], speed, (n * n, n * n))
    stored = laplacian(n, n)
    plain = SparseOperator(stored.pattern, stored.values)
    operator, cycle = plain + wind, AlgebraicMultigrid()
    state = cycle.init(operator)
    assert state.grids.levels
    unit = torch.eye(n * n, dtype=torch.float64)
    inverse, other = cycle.apply(state, unit), cycle.apply(cycle.transpose(state), unit)
    torch.testing.assert_close(other, inverse.mT, rtol=0, atol=1e-12)
    solver, b = FGMRES(cycle), uniform(2, n * n)
    solved = solver.init(operator)
    forward, backward = (solver.compute(state, b) for state in (solved, solver.transpose(solved)))
    for result, image in ((forward, operator.mv), (backward, operator.rmv)):
        assert int(result.stats["iterations"].max()) <= 20
        torch.testing.assert_close(image(result.value), b, rtol=0, atol=1e-8)


@pyamg
@pytest.mark.parametrize("smooth", [False, True], ids=["two values", "all values between"])
@pytest.mark.parametrize("grid", [(128, 128), (20, 20, 20)], ids=str)
def test_jumps_from_cell_to_cell(grid: tuple[int, ...], smooth: bool) -> None:
    """1 to 1e6 in every cell by chance: no averaging of coefficients follows this, interpolation by strength does."""
    chance = torch.rand(grid, generator=seeded(), dtype=torch.float64)
    coefficient = 10 ** (6 * (chance if smooth else chance.round()))
    operator = GridDiffusion(grid, 1 / grid[0], coefficient)
    assert steps(operator, uniform(operator.shape[0]), AlgebraicMultigrid()) <= 20


@pyamg
@coarsenings
def test_anisotropy(coarsening: AbstractCoarsening) -> None:
    operator = GridDiffusion((80, 80), (1.0, math.sqrt(1e3)))
    assert steps(operator, uniform(6400), AlgebraicMultigrid(coarsening)) <= 15


@pyamg
def test_finite_elements_on_triangles() -> None:
    import skfem
    from skfem.models.poisson import laplace

    mesh = skfem.MeshTri.init_circle(5)
    basis = skfem.Basis(mesh, skfem.ElementTriP1())
    inner = skfem.condense(laplace.assemble(basis), D=mesh.boundary_nodes(), expand=False)
    operator = SparseOperator.from_scipy(inner.tocsr(), symmetric=True, positive_definite=True)
    b = uniform(operator.shape[0])
    x, report = linear_solve(operator, b, CG(AlgebraicMultigrid()))
    assert int(report.stats["iterations"]) <= 15
    torch.testing.assert_close(x, linear_solve(operator, b, SuperLU())[0], rtol=0, atol=1e-7)


@pyamg
def test_null_space_single_precision_batch_and_gradient() -> None:
    free = laplacian(30, 30, ends=1.0, definite=False)
    b = uniform(2, 3, 900)
    assert steps(free, b - b.mean(-1, keepdim=True), AlgebraicMultigrid()) <= 14
    assert steps(free, b - b.mean(-1, keepdim=True), AlgebraicMultigrid(dtype=torch.float32)) <= 16
    line = laplacian(5)

    def solution(values: Tensor, rhs: Tensor) -> Tensor:
        symmetric = 0.5 * (values + values[line.pattern.transposition])
        operator = SparseOperator(line.pattern, symmetric, symmetric=True, positive_definite=True)
        return linear_solve(operator, rhs, CG(AlgebraicMultigrid(), rtol=1e-13))[0]

    assert gradcheck(solution, (line.values.clone().requires_grad_(), uniform(5).requires_grad_()))


@pyamg
def test_more_sweeps_save_steps_and_small_systems_are_solved_at_once() -> None:
    operator, b = laplacian(60, 60), uniform(3600)
    assert steps(operator, b, AlgebraicMultigrid(smoother=Chebyshev(4))) < steps(
        operator, b, AlgebraicMultigrid(smoother=Chebyshev(1))
    )
    assert steps(laplacian(10, 10), uniform(100), AlgebraicMultigrid()) <= 2


def test_what_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="no entries"):
        AlgebraicMultigrid().init(JacobianOperator(torch.sin, uniform(3)))
    with pytest.raises(TypeError, match="float32 or"):
        AlgebraicMultigrid(dtype=torch.float16)

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(ImportError, match=r"pip install 'pdesolve\[amg\]'"):
        AlgebraicMultigrid().init(laplacian(5))
