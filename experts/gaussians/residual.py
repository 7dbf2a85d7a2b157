"""The residual vector of Gaussians on a problem, with its Jacobian in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.lifted import LiftedTerms, lifted_terms
from pdesolve.frames.abstract import AbstractLifting
from pdesolve.jet import canonical
from pdesolve.linalg.direct.memory import available_memory
from pdesolve.pde.trace import Term
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractResidual
from pdesolve.residual_minimisation.problem_rows import Known, ProblemRows

_CHUNK = 1 << 17  # numbers of a table that stay in a processor's cache
_KEPT = 0.2  # share of free memory that tables of fixed Gaussians may take


@dataclass(frozen=True, eq=False)
class Block:
    """Rows with where they are as a matrix, and their lifting."""

    rows: ProblemRows
    points: Tensor
    opposite: Tensor | None
    lifted: LiftedTerms


@final
class GaussianResidual(AbstractResidual):
    """r(θ) of u_f = g_f + m_f Σ_i c_fi φ_i on rows of a problem.

    θ holds the weights c, field after field, then, where they are trained, centres (d, N), the covariances' free
    numbers (k, N), and unknown parameters of the equation. The rows are pointwise, so J = Σ_α diag(ω ∂F/∂(∂^α u)) of
    the closed derivatives of ∂^α φ: no graph goes through a Gaussian.

    Arguments:
        problem: gives parameters and field names.
        cloud: the Gaussians, shared by all fields.
        lifting: g and m.
        rows: which rows.
        trained: whether centres and covariances are in θ.
        unknown: names of parameters in θ (default none).

    Raises:
        ValueError: an unknown parameter that the problem lacks.
    """

    def __init__(
        self,
        problem: Problem,
        cloud: GaussianCloud,
        lifting: AbstractLifting,
        rows: Sequence[ProblemRows],
        *,
        trained: bool = False,
        unknown: Sequence[str] = (),
    ) -> None:
        for name in unknown:
            if name not in problem.parameters:
                raise ValueError(f"unknown parameter {name!r}: the problem has {', '.join(problem.parameters)}")
        self.problem, self.cloud, self.trained, self.unknown = problem, cloud, trained, tuple(unknown)
        device = cloud.centres.device
        self.parameters = problem.batch_parameters(device=device)
        self._axes = problem.box.axes
        self.blocks = [self._block(piece, lifting) for piece in rows]
        self._tables: dict[int, list[dict[str, Tensor]]] = {}

    def _block(self, rows: ProblemRows, lifting: AbstractLifting) -> Block:
        points = torch.stack([rows.coordinates[a] for a in self._axes], dim=1)
        far = None if rows.opposite is None else torch.stack([rows.opposite[a] for a in self._axes], dim=1)
        lifted = lifted_terms(lifting, rows.coordinates, self.parameters, rows.terms, rows.opposite)
        return Block(rows, points, far, lifted)

    @property
    def n_weights(self) -> int:
        """Leading entries of θ in which u is linear."""
        return len(self.problem.field_names) * self.cloud.size

    @property
    def n_rows(self) -> int:
        """m."""
        return sum(block.rows.count for block in self.blocks)

    def start(self, weights: Tensor) -> Tensor:
        """θ of the cloud as it is with weights (fields, N)."""
        parts = [weights.flatten()]
        if self.trained:
            parts += [self.cloud.centres.T.flatten(), self.cloud.covariance.numbers.T.flatten()]
        parts += [self.parameters[name] for name in self.unknown]
        return torch.cat(parts)

    def split(self, theta: Tensor) -> tuple[Tensor, GaussianCloud, dict[str, Tensor]]:
        """Weights (fields, N), cloud and parameters of a θ."""
        at, cloud = self.n_weights, self.cloud
        weights = theta[:at].reshape(-1, cloud.size)
        if self.trained:
            n, k = cloud.centres.numel(), cloud.covariance.numbers.numel()
            centres = theta[at : at + n].reshape(-1, cloud.size).T
            numbers = theta[at + n : at + n + k].reshape(-1, cloud.size).T
            cloud, at = cloud.with_parameters(centres, numbers), at + n + k
        known = {name: theta[at + j : at + j + 1] for j, name in enumerate(self.unknown)}
        return weights, cloud, {**self.parameters, **known}

    def residual(self, theta: Tensor) -> Tensor:
        weights, cloud, parameters = self.split(theta)
        return torch.cat([self._values(b, k, weights, cloud, parameters) for k, b in enumerate(self.blocks)])

    def by_label(self, theta: Tensor) -> dict[str, Tensor]:
        """r in parts, by what the rows say."""
        sizes = [block.rows.count for block in self.blocks]
        parts: dict[str, Tensor] = {}
        for block, part in zip(self.blocks, self.residual(theta).split(sizes), strict=True):
            label = block.rows.label
            parts[label] = torch.cat([parts[label], part]) if label in parts else part
        return parts

    def _values(self, block: Block, index: int, weights: Tensor, cloud: GaussianCloud, parameters: Known) -> Tensor:
        return block.rows.residual(self._terms(block, index, weights, cloud), parameters)

    def _terms(self, block: Block, index: int, weights: Tensor, cloud: GaussianCloud) -> dict[Term, Tensor]:
        needed = block.lifted.needed
        parts: dict[str, list[Tensor]] = {beta: [] for beta in needed}
        for _, table in self._pieces(block, index, cloud, needed):
            for beta in needed:
                parts[beta].append(table[beta] @ weights.mT)
        values = {beta: torch.cat(found) for beta, found in parts.items()}
        fields = self.problem.field_names
        return block.lifted.values({(f, beta): values[beta][:, j] for beta in needed for j, f in enumerate(fields)})

    def _pieces(
        self, block: Block, index: int, cloud: GaussianCloud, terms: Sequence[str]
    ) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Tables of some points at a time; kept where the Gaussians stay and memory allows."""
        size = max(16, _CHUNK // cloud.size)
        m = len(block.points)
        fixed = not self.trained
        if fixed and index in self._tables:
            stored = self._tables[index]
            yield slice(0, m), stored[0]
            return
        if fixed and self._may_keep(len(terms) * m * cloud.size):
            self._tables[index] = [self._table(block, slice(0, m), cloud, terms)]
            yield slice(0, m), self._tables[index][0]
            return
        for start in range(0, m, size):
            piece = slice(start, min(m, start + size))
            yield piece, self._table(block, piece, cloud, terms)

    def _may_keep(self, numbers: int) -> bool:
        return 8.0 * numbers < _KEPT * available_memory(self.cloud.centres.device)

    def _table(self, block: Block, piece: slice, cloud: GaussianCloud, terms: Sequence[str]) -> dict[str, Tensor]:
        table = cloud.table(block.points[piece], terms)
        if block.opposite is None:
            return table
        far = cloud.table(block.opposite[piece], terms)
        return {term: table[term] - far[term] for term in terms}

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self._linearise(theta.detach())

    def _linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        weights, cloud, parameters = self.split(theta)
        known = len(theta) - len(self.unknown)
        jacobian = theta.new_zeros(self.n_rows, len(theta))
        residuals, first = [], 0
        for index, block in enumerate(self.blocks):
            terms = self._terms(block, index, weights, cloud)
            r, slopes, by_name = block.rows.linearise(terms, parameters, self.unknown)
            residuals.append(r)
            pulled = [block.lifted.pulled(s) for s in slopes]
            self._fill(block, index, weights, cloud, pulled, jacobian[first : first + block.rows.count])
            m = len(block.points)
            for e, named in enumerate(by_name):
                for name, slope in named.items():
                    jacobian[first + e * m : first + (e + 1) * m, known + self.unknown.index(name)] = slope
            first += block.rows.count
        return torch.cat(residuals), jacobian

    def _fill(
        self,
        block: Block,
        index: int,
        weights: Tensor,
        cloud: GaussianCloud,
        pulled: Sequence[Mapping[tuple[str, str], Tensor]],
        out: Tensor,
    ) -> None:
        """Write the Jacobian of one block."""
        m = len(block.points)
        terms = with_shifts(block.lifted.needed, self._axes) if self.trained else block.lifted.needed
        for piece, table in self._pieces(block, index, cloud, terms):
            for e, slopes in enumerate(pulled):
                rows = out[e * m + piece.start : e * m + piece.stop]
                _fill_rows(rows, slopes, piece, table, weights, cloud, self.problem.field_names, self.trained)


def with_shifts(terms: Sequence[str], axes: Sequence[str]) -> tuple[str, ...]:
    """The terms, each with one and with two derivatives more."""
    shifts = ["", *axes, *(canonical(a + b) for i, a in enumerate(axes) for b in axes[i:])]
    return tuple(dict.fromkeys(canonical(term + shift) for term in terms for shift in shifts))


def _fill_rows(
    out: Tensor,
    slopes: Mapping[tuple[str, str], Tensor],
    piece: slice,
    table: Mapping[str, Tensor],
    weights: Tensor,
    cloud: GaussianCloud,
    fields: Sequence[str],
    trained: bool,
) -> None:
    n, axes = cloud.size, "".join(cloud.domain.axes)
    at = len(fields) * n
    for j, field in enumerate(fields):
        own = {beta: s[piece].unsqueeze(1) for (f, beta), s in slopes.items() if f == field}
        if not own:
            continue
        cache: dict[str, Tensor] = {}

        def shifted(shift: str, own: Mapping[str, Tensor] = own, cache: dict[str, Tensor] = cache) -> Tensor:
            if shift not in cache:
                total: Tensor | None = None
                for beta, slope in own.items():
                    entry = table[canonical(beta + shift)]
                    total = slope * entry if total is None else torch.addcmul(total, slope, entry)
                assert total is not None
                cache[shift] = total
            return cache[shift]

        out[:, j * n : (j + 1) * n] = shifted("")
        if not trained:
            continue

        changes = [-shifted(axis) for axis in axes] + cloud.covariance.sensitivities(axes, shifted)
        for i, change in enumerate(changes):
            out[:, at + i * n : at + (i + 1) * n].addcmul_(weights[j], change)
