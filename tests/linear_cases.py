"""Registries of linear operators, systems and solvers: a new one is one row here."""

from __future__ import annotations

import enum
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from helpers import seeded, uniform
from torch import Tensor

from pdesolve.linalg.direct.block_schur import BlockSchur
from pdesolve.linalg.direct.cholmod import Cholmod
from pdesolve.linalg.direct.cudss import CuDSS
from pdesolve.linalg.direct.cupy_lu import CuPyLU
from pdesolve.linalg.direct.dense_lu import DenseLU
from pdesolve.linalg.direct.pardiso import Pardiso
from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.krylov.bicgstab import BiCGStab
from pdesolve.linalg.krylov.cg import CG
from pdesolve.linalg.krylov.fgmres import FGMRES
from pdesolve.linalg.krylov.minres import MINRES
from pdesolve.linalg.krylov.preconditioner import Jacobi
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.multigrid.grid_diffusion import GridDiffusion
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.block import BlockOperator
from pdesolve.linalg.operators.block_sparse import BlockSparseOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.diagonal import DiagonalOperator
from pdesolve.linalg.operators.jacobian import JacobianOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.operators.sparsity_pattern import Triplets

# Operators.


@dataclass(frozen=True)
class OperatorCase:
    """An operator as a function of its tensors.

    Arguments:
        name: for the test's id.
        make: tensors -> operator.
        tensors: where it is tried.
    """

    name: str
    make: Callable[..., AbstractLinearOperator]
    tensors: tuple[Tensor, ...]


# 3 x 4 with the entries (0, 1) and (2, 2) given twice and row 1 empty.
ROWS, COLUMNS = torch.tensor([0, 0, 2, 2, 0, 2, 2]), torch.tensor([1, 3, 2, 0, 1, 2, 3])
PATTERN = Triplets.of(ROWS, COLUMNS, (3, 4))


def sparse(values: Tensor) -> SparseOperator:
    return SparseOperator(PATTERN.pattern, PATTERN.sum(values))


def block(matrix: Tensor, values: Tensor, diagonal: Tensor) -> BlockOperator:
    return BlockOperator(((DenseOperator(matrix), None), (sparse(values), DiagonalOperator(diagonal))))


def blocks(diagonal: Tensor, coupling: Tensor) -> BlockSparseOperator:
    return BlockSparseOperator(diagonal, coupling, ((0, 2), (1, 2)))


def cubic(point: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([point[0] ** 3 * weight[0], point[1] * point[2] + weight[1] * point[0]])


OPERATORS: list[OperatorCase] = [
    OperatorCase("dense", DenseOperator, (uniform(3, 4),)),
    OperatorCase("dense batch", DenseOperator, (uniform(2, 3, 4),)),
    OperatorCase("sparse", sparse, (uniform(7),)),
    OperatorCase("sparse, transposed", lambda v: sparse(v).transposed(), (uniform(7),)),
    OperatorCase("blocks of patches", blocks, (uniform(3, 2, 2), uniform(2, 2, 2))),
    OperatorCase("diagonal", DiagonalOperator, (uniform(4),)),
    OperatorCase("block", block, (uniform(2, 4), uniform(7, seed=1), uniform(3))),
    OperatorCase("jacobian", lambda u, w: JacobianOperator(cubic, u, (w,)), (uniform(3), uniform(2))),
    OperatorCase("transposed", lambda v: sparse(v).T, (uniform(7),)),
    OperatorCase("product", lambda v, m: sparse(v) @ DenseOperator(m), (uniform(7), uniform(4, 2))),
    OperatorCase("sum", lambda v, m: sparse(v) + DenseOperator(m), (uniform(7), uniform(3, 4))),
    OperatorCase("difference", lambda v, m: sparse(v) - DenseOperator(m), (uniform(7), uniform(3, 4))),
    OperatorCase("grid diffusion", lambda a, c: GridDiffusion((3, 2), 0.5, 2.0 + a, c), (uniform(3, 2), uniform(3, 2))),
    OperatorCase("multiple", lambda v: -2.5 * sparse(v), (uniform(7),)),
]


def dense(operator: AbstractLinearOperator) -> Tensor:
    """The matrix of an operator without batch, column by column."""
    unit = torch.eye(operator.shape[1], dtype=operator.dtype, device=operator.device)
    return operator.mv(unit).mT


# Systems.


class Kind(enum.Enum):
    GENERAL = enum.auto()
    SYMMETRIC = enum.auto()
    DEFINITE = enum.auto()
    BLOCKS = enum.auto()


@dataclass(frozen=True)
class SystemCase:
    """A small well-conditioned system as a function of parameters that keep its kind.

    Arguments:
        name: for the test's id.
        kind: what is declared.
        make: parameters -> operator.
        parameters: where it is tried, float64.
    """

    name: str
    kind: Kind
    make: Callable[[Tensor], AbstractLinearOperator]
    parameters: Tensor


N = 6
_UPPER = torch.triu_indices(N, N, 1)
_CHOSEN = _UPPER[:, torch.randperm(_UPPER.shape[1], generator=seeded())[:7]]
_DIAGONAL = torch.arange(N)


def general_system(p: Tensor) -> SparseOperator:
    """Unsymmetric in pattern and values, diagonally dominant; seven entries beside the diagonal."""
    rows = torch.cat([_DIAGONAL, _CHOSEN[0, :4], _CHOSEN[1, 4:]]).to(p.device)
    columns = torch.cat([_DIAGONAL, _CHOSEN[1, :4], _CHOSEN[0, 4:]]).to(p.device)
    return SparseOperator.from_triplets(rows, columns, torch.cat([3.0 + p[:N], p[N:]]), (N, N))


def symmetric_system(p: Tensor) -> SparseOperator:
    """Symmetric with eigenvalues of both signs."""
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0], dtype=p.dtype, device=p.device)
    return _symmetric(torch.cat([signs * (3.0 + p[:N]), p[N:]]), definite=False)


def definite_system(p: Tensor) -> SparseOperator:
    """Symmetric positive definite."""
    return _symmetric(torch.cat([3.0 + p[:N], p[N:]]), definite=True)


def _symmetric(p: Tensor, definite: bool) -> SparseOperator:
    rows = torch.cat([_DIAGONAL, _CHOSEN[0], _CHOSEN[1]]).to(p.device)
    columns = torch.cat([_DIAGONAL, _CHOSEN[1], _CHOSEN[0]]).to(p.device)
    values = torch.cat([p, p[N:]])
    return SparseOperator.from_triplets(rows, columns, values, (N, N), symmetric=True, positive_definite=definite)


BLOCK_EDGES = ((0, 1), (1, 2))


def block_system(p: Tensor) -> BlockSparseOperator:
    """Three symmetric blocks of two unknowns in a chain, positive definite."""
    own, coupling = p[:9].reshape(3, 3), p[9:].reshape(2, 2, 2)
    diagonal = torch.stack([4.0 + own[:, 0], own[:, 1], own[:, 1], 4.0 + own[:, 2]], -1).reshape(3, 2, 2)
    return BlockSparseOperator(diagonal, coupling, BLOCK_EDGES, positive_definite=True)


SYSTEMS: list[SystemCase] = [
    SystemCase("general", Kind.GENERAL, general_system, uniform(N + 7)),
    SystemCase("general, transposed", Kind.GENERAL, lambda p: general_system(p).T, uniform(N + 7)),
    SystemCase("symmetric", Kind.SYMMETRIC, symmetric_system, uniform(N + 7)),
    SystemCase("definite", Kind.DEFINITE, definite_system, uniform(N + 7)),
    SystemCase("blocks", Kind.BLOCKS, block_system, uniform(17)),
]


# Solvers.


@dataclass(frozen=True)
class SolverCase:
    """A linear solver and what it promises.

    Arguments:
        name: for the test's id.
        make: makes it.
        kinds: the systems that it takes.
        tolerance: of the solution, relative.
        needs: modules without which it is skipped.
        device: where it runs.
    """

    name: str
    make: Callable[[], AbstractLinearSolver]
    kinds: tuple[Kind, ...] = tuple(Kind)
    tolerance: float = 1e-12
    needs: tuple[str, ...] = ()
    device: str = "cpu"


TIGHT = 1e-13

SOLVERS: list[SolverCase] = [
    SolverCase("DenseLU", DenseLU),
    SolverCase("SuperLU", SuperLU),
    SolverCase("Pardiso", Pardiso, needs=("pypardiso",)),
    SolverCase("Cholmod", Cholmod, (Kind.DEFINITE,), needs=("cvxopt",)),
    SolverCase("BlockSchur", BlockSchur, (Kind.BLOCKS,)),
    SolverCase("CG", lambda: CG(Jacobi(), TIGHT), (Kind.DEFINITE,)),
    SolverCase("MINRES", lambda: MINRES(rtol=TIGHT), (Kind.SYMMETRIC,)),
    SolverCase("FGMRES", lambda: FGMRES(Jacobi(), TIGHT), (Kind.GENERAL,)),
    SolverCase("BiCGStab", lambda: BiCGStab(Jacobi(), TIGHT), (Kind.GENERAL,)),
    SolverCase("DenseLU on CUDA", DenseLU, device="cuda"),
    SolverCase("BlockSchur on CUDA", BlockSchur, (Kind.BLOCKS,), device="cuda"),
    SolverCase("CuDSS", CuDSS, needs=("nvmath",), device="cuda"),
    SolverCase("CuPyLU", CuPyLU, needs=("cupy",), device="cuda"),
]


@dataclass(frozen=True)
class Solvable:
    """A system and a solver that takes it."""

    solver: SolverCase
    system: SystemCase

    def parameters(self) -> Tensor:
        return self.system.parameters.to(self.solver.device)

    def rhs(self, *lead: int) -> Tensor:
        return uniform(*lead, N, seed=7).to(self.solver.device)


def pairs() -> list[object]:
    """Every solver with every system that it takes, as parameters for pytest."""
    found = []
    for solver in SOLVERS:
        missing = [name for name in solver.needs if importlib.util.find_spec(name) is None]
        marks = [pytest.mark.skip(reason=f"needs {missing[0]}")] if missing else []
        if solver.device == "cuda":
            marks.append(pytest.mark.gpu)
        for system in SYSTEMS:
            if system.kind in solver.kinds:
                name = f"{solver.name}, {system.name}"
                found.append(pytest.param(Solvable(solver, system), id=name, marks=marks))
    return found


# Matrices of partial differential equations.


def line(n: int, ends: float = 2.0) -> Tensor:
    """Second differences, dense (n, n): Dirichlet with ``ends`` = 2, Neumann with 1."""
    return dense(laplacian(n, ends=ends))


def laplacian(*sizes: int, ends: float = 2.0, definite: bool = True) -> SparseOperator:
    """-Δ on a grid of unit spacing; Dirichlet, or Neumann with ``ends`` = 1."""
    import numpy as np
    import scipy.sparse as sp

    total = sp.csr_array((1, 1))
    for n in sizes:
        diagonal = np.full(n, 2.0)
        diagonal[0] = diagonal[-1] = ends
        side = sp.diags_array([-np.ones(n - 1), diagonal, -np.ones(n - 1)], offsets=[-1, 0, 1])
        total = sp.kron(total, sp.eye_array(n)) + sp.kron(sp.eye_array(total.shape[0]), side)
    return SparseOperator.from_scipy(total, symmetric=True, positive_definite=definite)
