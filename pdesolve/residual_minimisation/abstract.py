"""What is minimised, what minimises it, and what comes out."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pdesolve.status import SolveStatus


class AbstractResidual(abc.ABC):
    """r(θ), m weighted rows of n parameters; the cost is 1/2 |r|²."""

    @abc.abstractmethod
    def residual(self, theta: Tensor) -> Tensor:
        """r, (m,), at θ, (n,); gradients are recorded if θ asks for them."""

    @abc.abstractmethod
    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """(r, J), (m,) and (m, n), without a graph."""


class AbstractJacobianOperator(abc.ABC):
    """J P at one θ by its products, without a graph; P, (n, k), leads from z, in which J P is well conditioned."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """k."""

    @abc.abstractmethod
    def mv(self, z: Tensor) -> Tensor:
        """J P z, (m,), of z (k,)."""

    @abc.abstractmethod
    def rmv(self, w: Tensor) -> Tensor:
        """(J P)ᵀ w, (k,), of w (m,)."""

    @abc.abstractmethod
    def lifted(self, z: Tensor) -> Tensor:
        """P z, (n,)."""


class AbstractOperatorResidual(AbstractResidual):
    """A residual whose J has cheap products, and may be too large for a matrix."""

    @abc.abstractmethod
    def operator(self, theta: Tensor) -> tuple[Tensor, AbstractJacobianOperator]:
        """(r, J) at θ, without a graph."""


@dataclass(frozen=True, eq=False)
class Minimised:
    """Where a minimiser stopped, and why.

    Arguments:
        theta: the best parameters seen by cost, (n,).
        status: how it ended.
        history: by name ("cost", "seconds", "radius", ...), one number for each step.
        detail: what is known beyond the status, one sentence or nothing.
        shared: whether factors that were made for an earlier problem served for this one.
    """

    theta: Tensor
    status: SolveStatus
    history: Mapping[str, Sequence[float]]
    detail: str = ""
    shared: bool = False


Watch = Callable[[int, Tensor, float], bool]
"""Called after each step with (step, θ, cost); true asks for a stop, which is then the step cap's."""


class AbstractMinimiser(abc.ABC):
    """A method that lowers 1/2 |r(θ)|² step by step."""

    @abc.abstractmethod
    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        """Run from ``start`` until the method's own criterion, its step cap, or ``watch`` ends it.

        Arguments:
            problem: the rows.
            start: θ to begin from, (n,), float64 unless the method says otherwise.
            watch: progress, early stop.
        """


class AbstractKeepingMinimiser(AbstractMinimiser):
    """One that may keep what it made for a problem, such as factors, for others like it."""

    @abc.abstractmethod
    def recall(self, problem: AbstractResidual, start: Tensor) -> None:
        """Be as after a solve of these rows.

        Arguments:
            problem, start: as of ``minimise``.
        """
