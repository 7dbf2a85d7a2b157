"""How a solve ended, one value for each member of a batch."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class SolveStatus(enum.IntEnum):
    """The outcome of one solve; ``message`` says what happened and what to do about it.

    Batched solvers return an integer tensor of these codes, so that one failed member never hides
    or spoils the others. ``SolveStatus(code).message`` turns a code back into its sentence.
    """

    CONVERGED = 0, "the tolerance was met"
    STEP_CAP = (
        1,
        "the step cap was reached before the tolerance was met: "
        "raise max_steps, give a better starting point or preconditioner, or loosen the tolerance (gtol, rtol)",
    )
    DIVERGED = (
        2,
        "the damping grew without bound and no step lowered the cost: "
        "check the residual's derivatives and the starting point",
    )
    NON_FINITE = (
        3,
        "the residual, the basis, the field, the matrix or the right-hand side held NaN or Inf: "
        "check this sample's parameters, conditions and coefficients (a logarithm or power of u <= 0?)",
    )
    SINGULAR = (
        4,
        "the matrix is singular to working precision: look for empty, repeated or dependent rows, "
        "impose a boundary condition where the solution is free, or add a small multiple of the identity",
    )
    INDEFINITE = (
        5,
        "the matrix was declared positive definite and is not: "
        "check the signs of the coefficients, or leave positive_definite out",
    )
    UNSYMMETRIC = (
        6,
        "the matrix was declared symmetric and is not: "
        "impose conditions on rows and columns alike, or leave symmetric out",
    )
    INCOMPATIBLE = (
        7,
        "the matrix has a null space and the right-hand side is outside its range, so no solution exists: "
        "for pure Neumann or periodic problems subtract the (weighted) mean of the right-hand side, "
        "or impose the value somewhere",
    )
    ILL_CONDITIONED = (
        8,
        "the matrix is so ill-conditioned that few digits of the solution are certain: "
        "rescale the unknowns, regularise, or raise the solver's condition limit if this accuracy is enough",
    )
    BREAKDOWN = (
        9,
        "the iteration divided by zero or stopped making progress: "
        "use FGMRES or a direct solver, or another preconditioner",
    )
    INACCURATE = (
        10,
        "the backward error stayed above the tolerance after refinement: "
        "use a solver with full pivoting (DenseLU), rescale the system, or loosen the solver's tolerance",
    )
    INFEASIBLE = (
        11,
        "no combination of the basis fields meets all constraints: the report's violations say which rows and by how "
        "much at the point that comes nearest; loosen the bounds, give fewer points, or use more basis fields",
    )
    CROSSING = (
        12,
        "characteristics cross inside the asked time, so that u has several values from there on: end before, add "
        "viscosity, or where the equation has it and only the map folds, take more time slabs, which set out anew",
    )
    UNRESOLVED = (
        13,
        "the residual on points that the fit has not seen stayed above the tolerance: take more basis functions, more "
        "or shorter time slabs, or put nodes where the solution is steep (maps)",
    )

    message: str

    def __new__(cls, code: int, message: str) -> SolveStatus:
        member = int.__new__(cls, code)
        member._value_ = code
        member.message = message
        return member

    @property
    def succeeded(self) -> bool:
        """True only for ``CONVERGED``."""
        return self is SolveStatus.CONVERGED


_STATUS = {int(status): status for status in SolveStatus}


class SolveError(RuntimeError):
    """Raised when ``throw=True`` and at least one member of a batch failed.

    ``status`` holds the integer codes of the whole batch, so nothing that was solved is lost: call again
    with ``throw=False`` to get the members that did converge.
    """

    def __init__(self, message: str, status: Tensor) -> None:
        super().__init__(message)
        self.status = status


def describe(codes: Sequence[int]) -> str:
    """One line that counts the failures by kind, with each kind's remedy.

    Arguments:
        codes: integer codes of the members, flattened.
    """
    failed = [_STATUS[code] for code in codes if code != SolveStatus.CONVERGED]
    parts = [
        f"{failed.count(status)} of {len(codes)} solves ended as {status.name}: {status.message}"
        for status in SolveStatus
        if status in failed
    ]
    return "; ".join(parts) if parts else f"all {len(codes)} solves converged"


def raise_unless_converged(status: Tensor, detail: str = "") -> None:
    """Raise ``SolveError`` unless every member converged.

    Arguments:
        status: integer tensor of ``SolveStatus`` codes, any shape.
        detail: what is known beyond the codes, such as the first bad index (default nothing).
    """
    codes = status.flatten().tolist()
    if any(code != SolveStatus.CONVERGED for code in codes):
        first = next(i for i, code in enumerate(codes) if code != SolveStatus.CONVERGED)
        hint = "pass throw=False to get the converged members and the status of each"
        known = f"; {detail}" if detail else ""
        raise SolveError(f"{describe(codes)}{known} (first failed member {first}; {hint})", status)
