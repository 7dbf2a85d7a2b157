"""A solve below all function transforms: its outcome in tensors that may be mapped or followed outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.linalg.block_cholesky import BlockMatrix
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.minimise import Minimum
from pdesolve.nonlinear.rows import times
from pdesolve.transforms import below

Solve = Callable[..., Minimum]
"""Called with a problem, and with a start if there is one."""


@dataclass(frozen=True, eq=False)
class Solved:
    """What a solve leaves.

    Arguments:
        w: unknowns of the problem as given, (batch, patch, N).
        status: ``SolveStatus`` codes, (batch, patch).
        stats: by name, each (batch, patch).
        c: the solver's unknowns, (batch, patch, N).
        gram: its Gauss-Newton matrix there, ridge included.
        ridge: Γ of the penalty 1/2 cᵀΓc, (batch, patch, N, N).
        transform: w = transform c, (batch, patch, N, N), or None for w = c.
    """

    w: Tensor
    status: Tensor
    stats: dict[str, Tensor]
    c: Tensor
    gram: BlockMatrix
    ridge: Tensor
    transform: Tensor | None

    @staticmethod
    def of(minimum: Minimum) -> Solved:
        """A minimum of plain tensors."""
        gram, ridge = minimum.normal.gram, minimum.problem.ridge
        ridge = torch.zeros_like(gram.diagonal) if ridge is None else ridge
        return Solved(minimum.w, minimum.status, minimum.stats, minimum.c, gram, ridge, minimum.transform)

    def weights(self, c: Tensor) -> Tensor:
        """w at c."""
        return c if self.transform is None else times(self.transform, c)


def constrained(problem: LeastSquares, run: Solve, start: Tensor | None = None) -> Minimum:
    """``run(problem)`` under constraints, which are solved outside every transform.

    Raises:
        NotImplementedError: inside a ``torch.func`` transform.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise NotImplementedError(
            "constraints do not run under torch.func transforms: use plain autograd (loss.backward()), or leave "
            "constraints out"
        )
    with torch.no_grad():
        return run(problem.detached(), *(() if start is None else (start,)))


def solved(problem: LeastSquares, run: Solve, start: Tensor | None = None) -> Solved:
    """``run(problem)``, as constants to every derivative.

    Arguments:
        problem: what is solved; its tensors may be mapped by ``torch.vmap``, which enlarges the batch.
        run: the solver, called with plain tensors.
        start: handed to ``run`` after the problem, (batch, patch, N); default not at all.
    """
    if problem.constraints:
        return Solved.of(constrained(problem, run, start))
    parts = problem.parts()
    names: list[str] = []

    def plain(*tensors: Tensor) -> tuple[Tensor, ...]:
        found = run(problem.with_parts(tensors[: len(parts)]), *tensors[len(parts) :])
        names[:] = found.stats
        end = Solved.of(found)
        transform = end.c.new_empty((*end.c.shape[:2], 0, 0)) if end.transform is None else end.transform
        gram = end.gram
        return end.w, end.status, end.c, gram.diagonal, gram.coupling, end.ridge, transform, *end.stats.values()

    with torch.no_grad():
        w, status, c, diagonal, coupling, ridge, transform, *stats = below(
            plain, *parts, *(() if start is None else (start,))
        )
    gram = BlockMatrix(diagonal, coupling, problem.edges)
    none = transform.shape[-1] == 0
    return Solved(w, status, dict(zip(names, stats, strict=True)), c, gram, ridge, None if none else transform)
