"""Cholesky factorisation of batched symmetric block-sparse matrices by repeated Schur complements.

Blocks of an independent set are eliminated together, in one batched dense factorisation; what is left is the
Schur complement on the other blocks, and so on (``elimination.plan``). Work is O(n_blocks N³) for a chain.

Source: George & Liu, *Computer Solution of Large Sparse Positive Definite Systems*, ch. 5; Golub & Van Loan,
*Matrix Computations*, section 4.5 (cyclic reduction).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
        if not matrix.edges:
            factor, failed, pivots = _factor(matrix.diagonal)
            return BlockCholesky((_Round(elimination.levels[0], factor, matrix.coupling),), failed, pivots)
        diagonal = matrix.diagonal.clone()
        coupling = _with_fill(matrix, elimination)
        failed = torch.zeros(diagonal.shape[:-2], dtype=torch.bool, device=diagonal.device)
        pivots = diagonal.new_ones(diagonal.shape[:-2])
        rounds = []
        for level in elimination.levels:
            nodes = _indices(level, diagonal.device).nodes
            factor, failed[..., nodes], pivots[..., nodes] = _factor(diagonal[..., nodes, :, :])
            panels = _eliminate(level, factor, diagonal, coupling)
            rounds.append(_Round(level, factor, panels))
        return BlockCholesky(tuple(rounds), failed, pivots)

    def solve(self, rhs: Tensor) -> Tensor:
        """x with A x = rhs, both (*batch, P, N)."""
        if len(self.rounds) == 1:  # independent blocks
            factor = self.rounds[0].factor
            z = torch.linalg.solve_triangular(factor, rhs.unsqueeze(-1), upper=False)
            alone: Tensor = torch.linalg.solve_triangular(factor.mT, z, upper=True).squeeze(-1)
            return alone
        b = rhs.clone().unsqueeze(-1)
        for step in self.rounds:
            at = _indices(step.level, rhs.device)
            nodes, owner, neighbour = at.nodes, at.owner, at.neighbour
            z = torch.linalg.solve_triangular(step.factor, b[..., nodes, :, :], upper=False)
            b[..., nodes, :, :] = z
            if step.level.owner:
                b.index_add_(-3, neighbour, -(step.panels.mT @ z[..., owner, :, :]))
        for step in reversed(self.rounds):
            at = _indices(step.level, rhs.device)
            nodes, owner, neighbour = at.nodes, at.owner, at.neighbour
            z = b[..., nodes, :, :]
            if step.level.owner:
                z = z.index_add(-3, owner, -(step.panels @ b[..., neighbour, :, :]))
            b[..., nodes, :, :] = torch.linalg.solve_triangular(step.factor.mT, z, upper=True)
        x: Tensor = b.squeeze(-1)
        return x


def _factor(block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(lower factor, failed, pivots) of dense blocks (..., N, N)."""
    factor, info = torch.linalg.cholesky_ex(block)
    root = factor.diagonal(dim1=-2, dim2=-1)  # every entry of a row enters its pivot, NaN too
    failed = (info != 0) | ~torch.isfinite(root).all(dim=-1)
    return factor, failed, (root.amin(-1) / root.amax(-1)) ** 2


@dataclass(frozen=True, eq=False)
class _Indices:
    """A level's numbers as tensors on a device."""

    nodes: Tensor
    owner: Tensor
    neighbour: Tensor
    slot: Tensor
    flipped: Tensor
    updates: tuple[Tensor, Tensor, Tensor]


@lru_cache(maxsize=256)
def _indices(level: Level, device: torch.device) -> _Indices:
    """Kept: on a GPU each would be a transfer in every factorisation and solve."""
    with torch.inference_mode(False):
        integers = (level.nodes, level.owner, level.neighbour, level.slot)
        nodes, owner, neighbour, slot = (torch.tensor(i, dtype=torch.long, device=device) for i in integers)
        flipped = torch.tensor(level.flipped, dtype=torch.bool, device=device)[:, None, None]
        first, second, target = torch.tensor(level.edge_updates, dtype=torch.long, device=device).reshape(-1, 3).T
    return _Indices(nodes, owner, neighbour, slot, flipped, (first, second, target))


def _with_fill(matrix: BlockMatrix, elimination: Elimination) -> Tensor:
    *batch, e, n, _ = matrix.coupling.shape
    coupling = matrix.coupling.new_zeros((*batch, elimination.n_slots, n, n))
    coupling[..., :e, :, :] = matrix.coupling
    return coupling


def _eliminate(level: Level, factor: Tensor, diagonal: Tensor, coupling: Tensor) -> Tensor:
    """Panels of a level; subtracts its Schur complement from ``diagonal`` and ``coupling`` in place."""
    if not level.owner:
        return coupling[..., :0, :, :]
    at = _indices(level, diagonal.device)
    blocks = coupling[..., at.slot, :, :]
    blocks = torch.where(at.flipped, blocks.mT, blocks)
    panels: Tensor = torch.linalg.solve_triangular(factor[..., at.owner, :, :], blocks, upper=False)
    diagonal.index_add_(-3, at.neighbour, -(panels.mT @ panels))
    if level.edge_updates:
        first, second, slot = at.updates
        coupling.index_add_(-3, slot, -(panels[..., first, :, :].mT @ panels[..., second, :, :]))
    return panels
