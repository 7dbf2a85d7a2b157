"""Sparse nonlinear systems F(u, θ) = 0: Newton and Newton-Krylov, continuation, implicit gradients."""

from pdesolve.root_finding.colored_jacobian import ColoredJacobian
from pdesolve.root_finding.continuation import Continuation
from pdesolve.root_finding.find_root import RootReport, find_root
from pdesolve.root_finding.forcing import AbstractForcing, EisenstatWalker, ExactSolves
from pdesolve.root_finding.jacobian import AbstractJacobian, DenseJacobian, GivenJacobian, MatrixFree
from pdesolve.root_finding.line_search import AbstractLineSearch
from pdesolve.root_finding.natural_monotonicity import NaturalMonotonicity
from pdesolve.root_finding.newton import Newton
from pdesolve.root_finding.newton_krylov import newton_krylov
from pdesolve.root_finding.residual_decrease import ResidualDecrease
from pdesolve.root_finding.root_finder import AbstractRootFinder, RootResult

__all__ = [
    "AbstractForcing",
    "AbstractJacobian",
    "AbstractLineSearch",
    "AbstractRootFinder",
    "ColoredJacobian",
    "Continuation",
    "DenseJacobian",
    "EisenstatWalker",
    "ExactSolves",
    "GivenJacobian",
    "MatrixFree",
    "NaturalMonotonicity",
    "Newton",
    "ResidualDecrease",
    "RootReport",
    "RootResult",
    "find_root",
    "newton_krylov",
]
