"""The residual vector of a small network over sums of Gaussians, with its Jacobian in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.head import Head
from pdesolve.experts.gaussians.lifted import LiftedTerms, lifted_terms
from pdesolve.experts.gaussians.residual import with_shifts
from pdesolve.frames.abstract import AbstractLifting
from pdesolve.jet import Jet, canonical, closure
from pdesolve.pde.trace import Term
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractResidual
from pdesolve.residual_minimisation.problem_rows import ProblemRows

_CHUNK = 1 << 17


@dataclass(frozen=True, eq=False)
class _Block:
    rows: ProblemRows
    points: Tensor
    opposite: Tensor | None
    lifted: LiftedTerms
    terms: tuple[str, ...]


@final
class NetworkResidual(AbstractResidual):
    """r(θ) of u = g + m v, v = head(f), f_k = Σ_i c_ki φ_ki, every feature with Gaussians of its own.

    θ holds the head's parameters, the last layer first, then the weights c, the centres (d, K N) and the covariances'
    numbers, feature after feature.

    Arguments:
        problem: gives parameters and field names.
        cloud: the K N Gaussians, feature after feature.
        head: from K features to the fields.
        lifting: g and m.
        rows: which rows.

    Raises:
        ValueError: a number of Gaussians that the features do not divide, or a head for another number of fields.
    """

    def __init__(
        self, problem: Problem, cloud: GaussianCloud, head: Head, lifting: AbstractLifting, rows: Sequence[ProblemRows]
    ) -> None:
        if cloud.size % head.sizes[0]:
            raise ValueError(f"{cloud.size} Gaussians cannot be shared out equally to {head.sizes[0]} features")
        if head.sizes[-1] != len(problem.field_names):
            raise ValueError(f"the head has {head.sizes[-1]} outputs, the problem {len(problem.field_names)} fields")
        self.problem, self.cloud, self.head = problem, cloud, head
        self.parameters = problem.batch_parameters(device=cloud.centres.device)
        self._axes = problem.box.axes
        self._blocks = [self._block(piece, lifting) for piece in rows]
        self._feature = torch.arange(cloud.size, device=cloud.centres.device) // (cloud.size // head.sizes[0])

    def _block(self, rows: ProblemRows, lifting: AbstractLifting) -> _Block:
        points = torch.stack([rows.coordinates[a] for a in self._axes], dim=1)
        far = None if rows.opposite is None else torch.stack([rows.opposite[a] for a in self._axes], dim=1)
        lifted = lifted_terms(lifting, rows.coordinates, self.parameters, rows.terms, rows.opposite)
        return _Block(rows, points, far, lifted, closure(lifted.needed))

    @property
    def n_rows(self) -> int:
        """m."""
        return sum(block.rows.count for block in self._blocks)

    def start(self, head: Tensor, weights: Tensor) -> Tensor:
        """θ of the cloud as it is, with a head and weights (K N,)."""
        return torch.cat([head, weights, self.cloud.centres.T.flatten(), self.cloud.covariance.numbers.T.flatten()])

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor, GaussianCloud]:
        """Head, weights and cloud of a θ."""
        n, d = self.cloud.size, self.cloud.centres.shape[1]
        head, weights, centres, numbers = theta.split(
            [self.head.count, n, d * n, self.cloud.covariance.numbers.numel()]
        )
        return head, weights, self.cloud.with_parameters(centres.reshape(d, n).T, numbers.reshape(-1, n).T)

    def values(self, theta: Tensor, points: Tensor, terms: Sequence[str]) -> dict[str, Tensor]:
        """∂^α v, (m, fields) by term, at points (m, d)."""
        head, weights, cloud = self.split(theta)
        closed, parts = closure(tuple(terms)), []
        for piece in points.split(self._piece):
            features = self._features(cloud.table(piece, closed), weights, closed)
            parts.append(self.head(features, head).data)
        by_term = dict(zip(closed, torch.cat(parts, dim=1), strict=True))
        return {term: by_term[term] for term in terms}

    @property
    def _piece(self) -> int:
        return max(16, _CHUNK // self.cloud.size)

    def _features(self, table: dict[str, Tensor], weights: Tensor, terms: tuple[str, ...]) -> Jet:
        own = [(table[t] * weights).unflatten(1, (self.head.sizes[0], -1)).sum(-1) for t in terms]
        return Jet(torch.stack(own), terms)

    def residual(self, theta: Tensor) -> Tensor:
        return torch.cat([block.rows.residual(self._terms(block, theta), self.parameters) for block in self._blocks])

    def _terms(self, block: _Block, theta: Tensor) -> dict[Term, Tensor]:
        values = self.values(theta, block.points, block.terms)
        if block.opposite is not None:
            far = self.values(theta, block.opposite, block.terms)
            values = {term: values[term] - far[term] for term in values}
        names = self.problem.field_names
        return block.lifted.values({(f, t): v[:, j] for t, v in values.items() for j, f in enumerate(names)})

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        theta, residuals, first = theta.detach(), [], 0
        with torch.no_grad():
            jacobian = theta.new_zeros(self.n_rows, len(theta))
            for block in self._blocks:
                r, slopes, _ = block.rows.linearise(self._terms(block, theta), self.parameters)
                residuals.append(r)
                out = jacobian[first : first + block.rows.count]
                pulled = [self._stacked(block, block.lifted.pulled(row)) for row in slopes]
                self._fill(block.points, 1.0, block, theta, pulled, out)
                if block.opposite is not None:
                    self._fill(block.opposite, -1.0, block, theta, pulled, out)
                first += block.rows.count
        return torch.cat(residuals), jacobian

    def _stacked(self, block: _Block, slopes: dict[tuple[str, str], Tensor]) -> Tensor:
        """(terms, m, fields)."""
        zero = torch.zeros_like(block.points[:, 0])
        names = self.problem.field_names
        return torch.stack([torch.stack([slopes.get((f, t), zero) for f in names], dim=1) for t in block.terms])

    def _fill(
        self, points: Tensor, sign: float, block: _Block, theta: Tensor, slopes: Sequence[Tensor], out: Tensor
    ) -> None:
        """Add what the terms at some points give to the Jacobian."""
        head, weights, cloud = self.split(theta)
        wanted, m, size = with_shifts(block.terms, self._axes), len(points), self._piece
        for start in range(0, m, size):
            piece = slice(start, min(m, start + size))
            table = cloud.table(points[piece], wanted)
            features = self._features(table, weights, block.terms)
            own = self.head.pulled(features, head, [sign * s[:, piece] for s in slopes])
            for e, (pulled, of_head) in enumerate(own):
                rows = out[e * m + piece.start : e * m + piece.stop]
                rows[:, : self.head.count] += of_head
                rows[:, self.head.count :] += self._of_gaussians(pulled, table, weights, cloud, block.terms)

    def _of_gaussians(
        self, pulled: Tensor, table: dict[str, Tensor], weights: Tensor, cloud: GaussianCloud, terms: tuple[str, ...]
    ) -> Tensor:
        axes, each = "".join(self._axes), dict(zip(terms, pulled[:, :, self._feature], strict=True))
        cache: dict[str, Tensor] = {}

        def shifted(shift: str) -> Tensor:
            if shift not in cache:
                parts = [slope * table[canonical(term + shift)] for term, slope in each.items()]
                cache[shift] = torch.stack(parts).sum(0)
            return cache[shift]

        changes = [-shifted(axis) for axis in axes] + cloud.covariance.sensitivities(axes, shifted)
        return torch.cat([shifted(""), *(weights * change for change in changes)], dim=1)
