"""A solve differentiated by writing its last steps into the graph: what implicit gradients are checked against."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.implicit import AbstractAdjoint, Solve
from pdesolve.linalg.block_cholesky import BlockMatrix
from pdesolve.linalg.elimination import Edge
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.minimise import Minimum
from pdesolve.nonlinear.rows import RowBlock, times, transposed_times
from pdesolve.status import SolveStatus


@dataclass(frozen=True)
class UnrolledAdjoint(AbstractAdjoint):
    """Gauss-Newton steps w <- w - (JᵀJ + Γ)⁻¹ (Jᵀr + Γw) from the converged w, recorded by autograd.

    w does not move, its derivative does: after n steps it is right to O(ρⁿ), ρ being the rate at which Gauss-Newton
    converges, zero where the residual is. Differentiable any number of times.

    Arguments:
        steps: n >= 1 (default 12).

    Raises:
        ValueError: steps below one.

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

    def solve(self, problem: LeastSquares, run: Solve) -> Minimum:
        minimum = run(problem)
        if not (torch.is_grad_enabled() and any(t.requires_grad for t in problem.tensors())):
            return minimum
        good = minimum.status == SolveStatus.CONVERGED
        if not bool(good.any()):
            return minimum
        healthy = problem if bool(good.all()) else problem.healthy(good)
        keep = good.unsqueeze(-1)
        return replace(minimum, w=torch.where(keep, self._recorded(healthy, minimum, keep), minimum.w))

    def _recorded(self, problem: LeastSquares, minimum: Minimum, keep: Tensor) -> Tensor:
        """The weights after the steps, taken in the unknowns c that the solver used, w = T c."""
        transform, ridge = minimum.transform, minimum.problem.ridge
        problem = problem if transform is None else problem.transformed(transform)
        problem = problem if ridge is None else problem.penalised(ridge)
        c = torch.where(keep, minimum.c, torch.zeros_like(minimum.c))
        for _ in range(self.steps):
            gradient, matrix = _normal_equations(problem, c)
            c = c - _solved(matrix, gradient)
        return c if transform is None else times(transform, c)


def _normal_equations(problem: LeastSquares, c: Tensor) -> tuple[Tensor, BlockMatrix]:
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
    terms = [t if t.requires_grad else t.requires_grad_() for t in block.values(c)]
    found = []
    for equation in block.function(terms, (*block.inputs, *block.constants)):
        slopes = torch.autograd.grad(equation.sum(), terms, create_graph=True, allow_unused=True)
        weighted = [
            (s * block.weight).unsqueeze(-1) * b for s, b in zip(slopes, block.basis, strict=True) if s is not None
        ]
        found.append((equation * block.weight, sum(weighted, torch.zeros_like(block.basis[0]))))
    return found


def _solved(matrix: BlockMatrix, gradient: Tensor) -> Tensor:
    shape = gradient.shape
    square, right = (matrix.dense(), gradient.flatten(1)) if matrix.edges else (matrix.diagonal, gradient)
    found: Tensor = torch.linalg.solve(square, right.unsqueeze(-1))
    return found.reshape(shape)
