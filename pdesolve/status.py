"""How a solve ended, one value per sample and patch."""

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

    CONVERGED = 0, "the stationarity tolerance was met"
    STEP_CAP = (
        1,
        "the step cap was reached before the stationarity tolerance was met: "
        "raise max_steps, give a better starting point, or loosen gtol",
    )
    DIVERGED = (
        2,
        "the damping grew without bound and no step lowered the cost: "
        "check the residual's derivatives and the starting point",
    )
    NON_FINITE = (
        3,
        "the residual, the basis or the field held NaN or Inf: "
        "check this sample's parameters, conditions and coefficients (a logarithm or power of u <= 0?)",
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


def raise_unless_converged(status: Tensor) -> None:
    """Raise ``SolveError`` unless every member converged.

    Arguments:
        status: integer tensor of ``SolveStatus`` codes, any shape.
    """
    codes = status.flatten().tolist()
    if any(code != SolveStatus.CONVERGED for code in codes):
        first = next(i for i, code in enumerate(codes) if code != SolveStatus.CONVERGED)
        hint = "pass throw=False to get the converged members and the status of each"
        raise SolveError(f"{describe(codes)} (first failed member {first}; {hint})", status)
