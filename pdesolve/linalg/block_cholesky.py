"""Cholesky factorisation of batched symmetric block-sparse matrices by repeated Schur complements.

Blocks of an independent set are eliminated together, in one batched dense factorisation; what is left is the
Schur complement on the other blocks, and so on (``elimination.plan``). Work is O(n_blocks N³) for a chain.

Source: George & Liu, *Computer Solution of Large Sparse Positive Definite Systems*, ch. 5; Golub & Van Loan,
*Matrix Computations*, section 4.5 (cyclic reduction).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.linalg.elimination import Edge, Elimination, Level, plan


@dataclass(frozen=True, eq=False)
class BlockMatrix:
    """A symmetric matrix of P x P blocks of size N x N, of which few are not zero.

    Arguments:
        diagonal: (*batch, P, N, N).
        coupling: (*batch, E, N, N), block (a, b) for each edge; empty for a block-diagonal matrix.
        edges: pairs (a, b) with a < b.
    """

    diagonal: Tensor
    coupling: Tensor
    edges: tuple[Edge, ...] = ()

    def shifted(self, addition: Tensor) -> BlockMatrix:
        """With ``addition`` (*batch, P, N) on the diagonal."""
        diagonal = self.diagonal.clone()
        diagonal.diagonal(dim1=-2, dim2=-1).add_(addition)
        return BlockMatrix(diagonal, self.coupling, self.edges)

    def matvec(self, x: Tensor) -> Tensor:
        """A x for x (*batch, P, N)."""
        out = (self.diagonal @ x.unsqueeze(-1)).squeeze(-1)
        if self.edges:
            a, b = (torch.tensor(ends, device=x.device) for ends in zip(*self.edges, strict=True))
            out = out.index_add(-2, a, (self.coupling @ x[..., b, :].unsqueeze(-1)).squeeze(-1))
            out = out.index_add(-2, b, (self.coupling.mT @ x[..., a, :].unsqueeze(-1)).squeeze(-1))
        return out

    def dense(self) -> Tensor:
        """The whole matrix, (*batch, P N, P N); for tests and small problems."""
        *batch, p, n, _ = self.diagonal.shape
        full = self.diagonal.new_zeros((*batch, p, p, n, n))
        index = torch.arange(p)
        full[..., index, index, :, :] = self.diagonal
        for e, (a, b) in enumerate(self.edges):
            full[..., a, b, :, :] = self.coupling[..., e, :, :]
            full[..., b, a, :, :] = self.coupling[..., e, :, :].mT
        return full.transpose(-3, -2).reshape(*batch, p * n, p * n)


@dataclass(frozen=True, eq=False)
class _Round:
    level: Level
    factor: Tensor  # (*batch, nodes, N, N), lower triangular
    panels: Tensor  # (*batch, entries, N, N), factor⁻¹ times the off-diagonal blocks


@dataclass(frozen=True, eq=False)
class BlockCholesky:
    """A factor that solves with any number of right-hand sides; A is its own transpose.

    Arguments:
        rounds: eliminated levels in order.
        failed: (*batch, P), where a diagonal block was not positive definite; nothing is raised, so that one
            member does not spoil a batch.
        pivots: (*batch, P), smallest over largest squared pivot of each block, a cheap bound on 1/condition.
    """

    rounds: tuple[_Round, ...]
    failed: Tensor
    pivots: Tensor

    @staticmethod
    def factorise(matrix: BlockMatrix) -> BlockCholesky:
        """Factorise; members that are not positive definite are marked in ``failed``."""
        p = matrix.diagonal.shape[-3]
        elimination = plan(p, matrix.edges)
        diagonal = matrix.diagonal.clone() if matrix.edges else matrix.diagonal
        coupling = _with_fill(matrix, elimination)
        failed = torch.zeros(diagonal.shape[:-2], dtype=torch.bool, device=diagonal.device)
        pivots = diagonal.new_ones(diagonal.shape[:-2])
        rounds = []
        for level in elimination.levels:
            nodes = torch.tensor(level.nodes, device=diagonal.device)
            block = diagonal[..., nodes, :, :]
            factor, info = torch.linalg.cholesky_ex(block)
            root = factor.diagonal(dim1=-2, dim2=-1)  # every entry of a row enters its pivot, NaN too
            failed[..., nodes] = (info != 0) | ~torch.isfinite(root).all(dim=-1)
            pivots[..., nodes] = (root.amin(-1) / root.amax(-1)) ** 2
            panels = _eliminate(level, factor, diagonal, coupling)
            rounds.append(_Round(level, factor, panels))
        return BlockCholesky(tuple(rounds), failed, pivots)

    def solve(self, rhs: Tensor) -> Tensor:
        """x with A x = rhs, both (*batch, P, N)."""
        b = rhs.clone().unsqueeze(-1)
        for step in self.rounds:
            nodes, owner, neighbour = _indices(step.level, rhs.device)
            z = torch.linalg.solve_triangular(step.factor, b[..., nodes, :, :], upper=False)
            b[..., nodes, :, :] = z
            if step.level.owner:
                b.index_add_(-3, neighbour, -(step.panels.mT @ z[..., owner, :, :]))
        for step in reversed(self.rounds):
            nodes, owner, neighbour = _indices(step.level, rhs.device)
            z = b[..., nodes, :, :]
            if step.level.owner:
                z = z.index_add(-3, owner, -(step.panels @ b[..., neighbour, :, :]))
            b[..., nodes, :, :] = torch.linalg.solve_triangular(step.factor.mT, z, upper=True)
        x: Tensor = b.squeeze(-1)
        return x


def _indices(level: Level, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    names = (level.nodes, level.owner, level.neighbour)
    nodes, owner, neighbour = (torch.tensor(i, dtype=torch.long, device=device) for i in names)
    return nodes, owner, neighbour


def _with_fill(matrix: BlockMatrix, elimination: Elimination) -> Tensor:
    *batch, e, n, _ = matrix.coupling.shape
    coupling = matrix.coupling.new_zeros((*batch, elimination.n_slots, n, n))
    coupling[..., :e, :, :] = matrix.coupling
    return coupling


def _eliminate(level: Level, factor: Tensor, diagonal: Tensor, coupling: Tensor) -> Tensor:
    """Panels of a level; subtracts its Schur complement from ``diagonal`` and ``coupling`` in place."""
    if not level.owner:
        return coupling[..., :0, :, :]
    _, owner, neighbour = _indices(level, diagonal.device)
    blocks = coupling[..., torch.tensor(level.slot, device=diagonal.device), :, :]
    flipped = torch.tensor(level.flipped, device=diagonal.device)[:, None, None]
    blocks = torch.where(flipped, blocks.mT, blocks)
    panels: Tensor = torch.linalg.solve_triangular(factor[..., owner, :, :], blocks, upper=False)
    diagonal.index_add_(-3, neighbour, -(panels.mT @ panels))
    if level.edge_updates:
        first, second, slot = (torch.tensor(i, device=diagonal.device) for i in zip(*level.edge_updates, strict=True))
        coupling.index_add_(-3, slot, -(panels[..., first, :, :].mT @ panels[..., second, :, :]))
    return panels
