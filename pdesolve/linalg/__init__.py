"""Linear solves that gradients pass through: operators, direct and iterative solvers, multigrid.

Each name is loaded when it is first used, so that ``import pdesolve`` does not pay for what a script leaves alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdesolve.lazy import loader

if TYPE_CHECKING:
    from pdesolve.linalg.block_cholesky import BlockCholesky as BlockCholesky
    from pdesolve.linalg.block_cholesky import BlockMatrix as BlockMatrix
    from pdesolve.linalg.choice import default_solver as default_solver
    from pdesolve.linalg.direct.block_schur import BlockSchur as BlockSchur
    from pdesolve.linalg.direct.cholmod import Cholmod as Cholmod
    from pdesolve.linalg.direct.cudss import CuDSS as CuDSS
    from pdesolve.linalg.direct.cupy_lu import CuPyLU as CuPyLU
    from pdesolve.linalg.direct.dense_lu import DenseLU as DenseLU
    from pdesolve.linalg.direct.ordering import AbstractOrdering as AbstractOrdering
    from pdesolve.linalg.direct.ordering import ByShape as ByShape
    from pdesolve.linalg.direct.ordering import MinimumDegree as MinimumDegree
    from pdesolve.linalg.direct.ordering import NestedDissection as NestedDissection
    from pdesolve.linalg.direct.pardiso import Pardiso as Pardiso
    from pdesolve.linalg.direct.superlu import SuperLU as SuperLU
    from pdesolve.linalg.direct.system import Limits as Limits
    from pdesolve.linalg.krylov.bicgstab import BiCGStab as BiCGStab
    from pdesolve.linalg.krylov.cg import CG as CG
    from pdesolve.linalg.krylov.fgmres import FGMRES as FGMRES
    from pdesolve.linalg.krylov.minres import MINRES as MINRES
    from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner as AbstractPreconditioner
    from pdesolve.linalg.krylov.preconditioner import Identity as Identity
    from pdesolve.linalg.krylov.preconditioner import Jacobi as Jacobi
    from pdesolve.linalg.linear_solver import AbstractLinearSolver as AbstractLinearSolver
    from pdesolve.linalg.linear_solver import LinearResult as LinearResult
    from pdesolve.linalg.linear_solver import NullSpace as NullSpace
    from pdesolve.linalg.multigrid.algebraic import AlgebraicMultigrid as AlgebraicMultigrid
    from pdesolve.linalg.multigrid.algebraic_setup import AbstractCoarsening as AbstractCoarsening
    from pdesolve.linalg.multigrid.algebraic_setup import RugeStuben as RugeStuben
    from pdesolve.linalg.multigrid.algebraic_setup import SmoothedAggregation as SmoothedAggregation
    from pdesolve.linalg.multigrid.ends import AbstractEnds as AbstractEnds
    from pdesolve.linalg.multigrid.ends import AbstractWall as AbstractWall
    from pdesolve.linalg.multigrid.ends import FixedFlux as FixedFlux
    from pdesolve.linalg.multigrid.ends import FixedValue as FixedValue
    from pdesolve.linalg.multigrid.ends import Walls as Walls
    from pdesolve.linalg.multigrid.ends import Wrapped as Wrapped
    from pdesolve.linalg.multigrid.geometric import GeometricMultigrid as GeometricMultigrid
    from pdesolve.linalg.multigrid.grid_diffusion import GridDiffusion as GridDiffusion
    from pdesolve.linalg.multigrid.smoother import Chebyshev as Chebyshev
    from pdesolve.linalg.operators.abstract import AbstractLinearOperator as AbstractLinearOperator
    from pdesolve.linalg.operators.block import BlockOperator as BlockOperator
    from pdesolve.linalg.operators.block_sparse import BlockSparseOperator as BlockSparseOperator
    from pdesolve.linalg.operators.dense import DenseOperator as DenseOperator
    from pdesolve.linalg.operators.diagonal import DiagonalOperator as DiagonalOperator
    from pdesolve.linalg.operators.jacobian import JacobianOperator as JacobianOperator
    from pdesolve.linalg.operators.sparse import SparseOperator as SparseOperator
    from pdesolve.linalg.operators.sparsity_pattern import SparsityPattern as SparsityPattern
    from pdesolve.linalg.operators.sparsity_pattern import Triplets as Triplets
    from pdesolve.linalg.solve import LinearReport as LinearReport
    from pdesolve.linalg.solve import linear_solve as linear_solve

_HOMES = {
    "AbstractCoarsening": "multigrid.algebraic_setup",
    "AbstractEnds": "multigrid.ends",
    "AbstractLinearOperator": "operators.abstract",
    "AbstractLinearSolver": "linear_solver",
    "AbstractOrdering": "direct.ordering",
    "AbstractPreconditioner": "krylov.preconditioner",
    "AbstractWall": "multigrid.ends",
    "AlgebraicMultigrid": "multigrid.algebraic",
    "BiCGStab": "krylov.bicgstab",
    "BlockCholesky": "block_cholesky",
    "BlockMatrix": "block_cholesky",
    "BlockOperator": "operators.block",
    "BlockSchur": "direct.block_schur",
    "BlockSparseOperator": "operators.block_sparse",
    "ByShape": "direct.ordering",
    "CG": "krylov.cg",
    "Chebyshev": "multigrid.smoother",
    "Cholmod": "direct.cholmod",
    "CuDSS": "direct.cudss",
    "CuPyLU": "direct.cupy_lu",
    "DenseLU": "direct.dense_lu",
    "DenseOperator": "operators.dense",
    "DiagonalOperator": "operators.diagonal",
    "FGMRES": "krylov.fgmres",
    "FixedFlux": "multigrid.ends",
    "FixedValue": "multigrid.ends",
    "GeometricMultigrid": "multigrid.geometric",
    "GridDiffusion": "multigrid.grid_diffusion",
    "Identity": "krylov.preconditioner",
    "Jacobi": "krylov.preconditioner",
    "JacobianOperator": "operators.jacobian",
    "Limits": "direct.system",
    "LinearReport": "solve",
    "LinearResult": "linear_solver",
    "MINRES": "krylov.minres",
    "MinimumDegree": "direct.ordering",
    "NestedDissection": "direct.ordering",
    "NullSpace": "linear_solver",
    "Pardiso": "direct.pardiso",
    "RugeStuben": "multigrid.algebraic_setup",
    "SmoothedAggregation": "multigrid.algebraic_setup",
    "SparseOperator": "operators.sparse",
    "SparsityPattern": "operators.sparsity_pattern",
    "SuperLU": "direct.superlu",
    "Triplets": "operators.sparsity_pattern",
    "Walls": "multigrid.ends",
    "Wrapped": "multigrid.ends",
    "default_solver": "choice",
    "linear_solve": "solve",
}


__getattr__ = loader(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
