"""The interface of linear solvers: factorise once, solve often, solve with the transpose from the same factors."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator


@dataclass(frozen=True, eq=False)
class NullSpace:
    """Unit vectors that span the null spaces of A and of A^T, where these have dimension one.

    A x = b is solvable when ``left`` is orthogonal to b; the solution orthogonal to ``right`` is then the shortest.

    Arguments:
        left: (*batch, n), A^T left = 0; zero where a member of a batch has no null space.
        right: (*batch, n), A right = 0.
    """

    left: Tensor
    right: Tensor

    @property
    def T(self) -> NullSpace:
        """That of A^T."""
        return NullSpace(left=self.right, right=self.left)


@dataclass(frozen=True, eq=False)
class LinearResult:
    """What ``AbstractLinearSolver.compute`` gives back.

    Arguments:
        value: x, (..., n); finite everywhere, zero where nothing better is known.
        status: integer tensor of ``SolveStatus`` codes, one for each right-hand side, shape (...).
        stats: numbers for the curious (iterations, backward error, condition estimate, fill, ...); "detail" holds a
            sentence on what is special or wrong.
        null_space: of A, where one was found and projected out; None otherwise.
    """

    value: Tensor
    status: Tensor
    stats: dict[str, Any] = field(default_factory=dict)
    null_space: NullSpace | None = None


class AbstractLinearSolver(abc.ABC):
    """Solves A x = b for square A. A solver is a frozen dataclass; what it knows about A is in the state.

    Nothing here is differentiable: ``init`` and ``compute`` are given tensors without graph, and
    ``linear_solve`` differentiates all solvers alike.
    """

    @abc.abstractmethod
    def init(self, operator: AbstractLinearOperator) -> Any:
        """Factorise, or build a hierarchy; any object.

        Starts with ``checks.examine(operator)``; a fault found there does not raise: it is kept in the state and
        becomes the status of every right-hand side.

        Raises:
            TypeError: the solver cannot work on this kind of operator.
            MemoryError: the factors would not fit; the message names the remedy.
        """

    @abc.abstractmethod
    def compute(self, state: Any, b: Tensor) -> LinearResult:
        """Solve for right-hand sides (..., n), each with a status of its own; b = 0 gives exactly 0.

        A right-hand side with NaN or Inf gets the status ``NON_FINITE`` and leaves the others alone
        (``checks.guarded`` sees to both).
        """

    @abc.abstractmethod
    def transpose(self, state: Any) -> Any:
        """The state for A^T, from the same factorisation."""
