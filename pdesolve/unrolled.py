"""A solve differentiated by writing its last steps into the graph: what implicit gradients are checked against."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.implicit import AbstractAdjoint
from pdesolve.linalg.block_cholesky import BlockMatrix
from pdesolve.linalg.elimination import Edge
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.rows import RowBlock, times, transposed_times
from pdesolve.nonlinear.solved import Solve, Solved, solved
from pdesolve.status import SolveStatus


@dataclass(frozen=True)
class UnrolledAdjoint(AbstractAdjoint):
    """Gauss-Newton steps w <- w - (JᵀJ + Γ)⁻¹ (Jᵀr + Γw) from the converged w, recorded by autograd.

    w does not move, its derivative does: after n steps it is right to O(ρⁿ), ρ being the rate at which Gauss-Newton
    converges, zero where the residual is. Differentiable any number of times.

    Arguments:
        steps: n >= 1 (default 12).

    Raises:
        ValueError: steps below one; at the call, a problem with constraints.

    Notes:
        Memory and time grow with n, and the matrix of all patches of a coupled sample is dense: made for checking and
        for second derivatives of small problems. Where ρ >= 1 (residuals as large as the data) it does not converge;
        ``ImplicitAdjoint`` has no such limit. Members that failed carry no gradient.

    Good values: 1 where the residual vanishes (one-step differentiation), 10 to 20 at relative residuals of 0.1.

    Source: Griewank & Walther, *Evaluating Derivatives*, chapter 15; Bolte, Pauwels & Vaiter, NeurIPS 2023 (one step).
    """

    steps: int = 12

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"steps must be an integer >= 1, got {self.steps!r}")

    def solve(self, problem: LeastSquares, run: Solve, start: Tensor | None = None) -> Solved:
        if problem.constraints:
            raise ValueError("UnrolledAdjoint knows no constraints: use ImplicitAdjoint() or DetachedAdjoint()")
        problem = problem.memberwise()
        found = solved(problem, run, start)
        if not torch.is_grad_enabled() and not any(_has_tangent(t) for t in problem.tensors()):
            return found
        good = (found.status == SolveStatus.CONVERGED).detach()
        w = torch.where(good.unsqueeze(-1), self._recorded(problem, found, good), found.w)
        return replace(found, w=w)

    def _recorded(self, problem: LeastSquares, found: Solved, good: Tensor) -> Tensor:
        """The weights after the steps, taken in the unknowns c that the solver used, w = T c."""
        problem = replace(problem.with_tensors(problem.masked(good)), ridge=None)
        problem = problem if found.transform is None else problem.transformed(found.transform)
        problem = problem.penalised(found.ridge)
        c = found.c
        for _ in range(self.steps):
            gradient, matrix = normal_equations(problem, c)
            c = c - _solved(_regular(matrix, good), torch.where(good.unsqueeze(-1), gradient, 0.0))
        return found.weights(c)


def _has_tangent(t: Tensor) -> bool:
    return torch.autograd.forward_ad.unpack_dual(t).tangent is not None


def _regular(matrix: BlockMatrix, good: Tensor) -> BlockMatrix:
    """The identity for members that failed: whatever stands there must not spoil the solve."""
    keep = good[..., None, None]
    identity = torch.eye(matrix.diagonal.shape[-1], dtype=matrix.diagonal.dtype, device=matrix.diagonal.device)
    coupling = torch.where(keep[:, :1], matrix.coupling, 0.0) if matrix.edges else matrix.coupling
    return replace(matrix, diagonal=torch.where(keep, matrix.diagonal, identity), coupling=coupling)


def normal_equations(problem: LeastSquares, c: Tensor) -> tuple[Tensor, BlockMatrix]:
    """(Jᵀr + Γc, JᵀJ + Γ), with a graph."""
    gradient, diagonal = torch.zeros_like(c), c.new_zeros((*c.shape, c.shape[-1]))
    if problem.ridge is not None:
        gradient, diagonal = gradient + times(problem.ridge, c), diagonal + problem.ridge
    for block in problem.rows:
        for r, j in _rows(block, c):
            gradient, diagonal = gradient + transposed_times(j, r), diagonal + j.mT @ j
    coupling: dict[Edge, Tensor] = {}
    for interface in problem.interfaces:
        (a, b), (aa, bb, cross) = interface.weighted, interface.products
        r = interface.residual(c)
        gradient = interface.scatter(gradient, transposed_times(a, r), -transposed_times(b, r))
        diagonal = interface.scatter(diagonal, aa, bb)
        for e, edge in enumerate(interface.edges):
            coupling[edge] = coupling.get(edge, 0.0) + cross[:, e]
    for joint in problem.joint:
        for r, j in _rows(joint.block, joint.gather(c)):
            diagonal = joint.scatter_matrix(diagonal, coupling, j.mT @ j)
            gradient = joint.scatter(gradient, transposed_times(j, r))
    stacked = torch.stack(list(coupling.values()), 1) if coupling else diagonal[:, :0]
    return gradient, BlockMatrix(diagonal, stacked, tuple(coupling))


def _rows(block: RowBlock, c: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weighted residual (batch, patch, point) and Jacobian of each equation."""

    def equations(*terms: Tensor) -> tuple[Tensor, ...]:
        return tuple(e.expand(terms[0].shape) for e in block.function(terms, (*block.inputs, *block.constants)))

    values, pull = torch.func.vjp(equations, *block.values(c))[:2]
    found = []
    for e, value in enumerate(values):
        slopes = pull(tuple(torch.full_like(v, float(i == e)) for i, v in enumerate(values)))
        weighted = [(s * block.weight).unsqueeze(-1) * b for s, b in zip(slopes, block.basis, strict=True)]
        found.append((value * block.weight, sum(weighted, torch.zeros_like(block.basis[0]))))
    return found


def _solved(matrix: BlockMatrix, gradient: Tensor) -> Tensor:
    """By Cholesky: under vmap, forward mode through torch.linalg.solve is wrong (torch 2.13)."""
    square, right = (matrix.dense(), gradient.flatten(1)) if matrix.edges else (matrix.diagonal, gradient)
    found = torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(square))
    return found.reshape(gradient.shape)
