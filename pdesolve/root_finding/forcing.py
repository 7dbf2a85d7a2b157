"""How accurately the linear system of a Newton step is solved."""

from __future__ import annotations

import abc
from dataclasses import dataclass, is_dataclass, replace

from pdesolve.linalg.linear_solver import AbstractLinearSolver


class AbstractForcing(abc.ABC):
    """Chooses the relative residual η of the linear solves."""

    @abc.abstractmethod
    def solver(
        self, solver: AbstractLinearSolver, ratio: float | None, last: float
    ) -> tuple[AbstractLinearSolver, float]:
        """The solver of the next step and its η.

        Arguments:
            solver: the user's.
            ratio: |F| now over |F| before the last step; None at first.
            last: η of the last step.
        """


@dataclass(frozen=True)
class ExactSolves(AbstractForcing):
    """The solver's own tolerance at every step: for direct solvers."""

    def solver(
        self, solver: AbstractLinearSolver, ratio: float | None, last: float
    ) -> tuple[AbstractLinearSolver, float]:
        return solver, 0.0


@dataclass(frozen=True)
class EisenstatWalker(AbstractForcing):
    """η = γ (|F_k| / |F_k-1|)², not falling faster than γ η² while that is above 0.1, at most ``largest``.

    Loose solves far from the root, tight ones near it: convergence stays quadratic up to γ.

    Arguments:
        gamma: γ in (0, 1] (default 0.9).
        first: η of the first step (default 0.5).
        largest: in (0, 1) (default 0.9).
        smallest: in (0, 1) (default 1e-8: beyond it a step's accuracy is that of the linearisation).

    Raises:
        TypeError: when used, a solver without a tolerance ``rtol``.

    Source: Eisenstat & Walker, *Choosing the forcing terms in an inexact Newton method*, SIAM J. Sci. Comput. 17
    (1996), choice 2.
    """

    gamma: float = 0.9
    first: float = 0.5
    largest: float = 0.9
    smallest: float = 1e-8

    def __post_init__(self) -> None:
        if not (0 < self.gamma <= 1 and 0 < self.smallest <= self.first <= self.largest < 1):
            raise ValueError(
                "0 < gamma <= 1 and 0 < smallest <= first <= largest < 1 are needed, got "
                f"{self.gamma}, {self.smallest}, {self.first}, {self.largest}"
            )

    def solver(
        self, solver: AbstractLinearSolver, ratio: float | None, last: float
    ) -> tuple[AbstractLinearSolver, float]:
        if not (is_dataclass(solver) and hasattr(solver, "rtol")):
            raise TypeError(
                f"{type(solver).__name__} has no tolerance rtol to choose: use a Krylov solver or ExactSolves"
            )
        if ratio is None:
            eta = self.first
        else:
            eta = self.gamma * ratio**2
            safeguard = self.gamma * last**2
            eta = max(eta, safeguard) if safeguard > 0.1 else eta
            eta = min(max(eta, self.smallest), self.largest)
        return replace(solver, rtol=eta), eta
