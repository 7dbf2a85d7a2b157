"""Newton's method for systems too large to factorise."""

from __future__ import annotations

from pdesolve.linalg.krylov.fgmres import FGMRES
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.root_finding.forcing import AbstractForcing, EisenstatWalker
from pdesolve.root_finding.newton import Newton
from pdesolve.root_finding.residual_decrease import ResidualDecrease


def newton_krylov(
    solver: AbstractLinearSolver | None = None,
    *,
    forcing: AbstractForcing | None = None,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    scale: float = 1.0,
    max_steps: int = 50,
) -> Newton:
    """Inexact Newton: Krylov solves that are loose far from the root, and a line search on the residual.

    Arguments:
        solver: a Krylov solver with a preconditioner (default ``FGMRES()``); its own rtol is that of derivatives.
        forcing: η of the linear solves (default ``EisenstatWalker()``).
        rtol, atol, scale, max_steps: as in ``Newton``.

    Good values: ``CG(GeometricMultigrid())`` or ``FGMRES(AlgebraicMultigrid())`` with a Jacobian that has entries;
    ``MatrixFree()`` with a preconditioner of your own.

    Source: Knoll & Keyes, *Jacobian-free Newton-Krylov methods*, J. Comput. Phys. 193 (2004).
    """
    return Newton(
        solver or FGMRES(), ResidualDecrease(), forcing or EisenstatWalker(), rtol, atol, scale, max_steps
    )  # fmt: skip
