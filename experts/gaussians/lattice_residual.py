"""The residual vector of Gaussians that are products along axes, on points that are too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.lattice import LatticeTables, Orders, orders_of, places, product_tables
from pdesolve.experts.gaussians.lattice_jacobian import LatticeJacobian, independent
from pdesolve.experts.gaussians.lifted import LiftedTerms
from pdesolve.experts.gaussians.residual import Block, GaussianResidual
from pdesolve.frames.abstract import AbstractLifting
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractJacobianOperator, AbstractOperatorResidual
from pdesolve.residual_minimisation.problem_rows import ProblemRows

_LEAST = 1e-7  # less, and steps of conjugate gradients make weights that round-off spoils


@dataclass(frozen=True, eq=False)
class _Block:
    """Rows with their lifting, and the tables at their places."""

    rows: ProblemRows
    lifted: LiftedTerms
    tables: LatticeTables


@final
class LatticeResidual(AbstractOperatorResidual):
    """r(θ) of u_f = g_f + m_f Σ_i c_fi Π_a φ_ia on rows at products of places; θ holds the c, field after field.

    Sums go over one axis after another: J is no matrix but Σ_α diag(ω ∂F/∂(∂^α u)) Π_a T_a^(α_a), and a product with it
    costs N times the places along an axis, not N². ``linearise`` gives the matrix all the same.

    Arguments:
        problem: gives parameters and field names.
        cloud: the Gaussians.
        lifting: g and m.
        rows: which rows, the equation's first.

    Raises:
        ValueError: Gaussians that are no products, points that are no lattice.
    """

    def __init__(
        self, problem: Problem, cloud: GaussianCloud, lifting: AbstractLifting, rows: Sequence[ProblemRows]
    ) -> None:
        lines = cloud.lines()
        if lines is None:
            raise ValueError(
                "the Gaussians must be products along axes, such as those of a Layout: use GaussianResidual"
            )
        self._tabled = GaussianResidual(problem, cloud, lifting, rows)
        self._axes, self._lines = problem.box.axes, lines
        self._blocks = [self._block(block) for block in self._tabled.blocks]

    def _block(self, block: Block) -> _Block:
        rows, orders = block.rows, [orders_of(beta, self._axes) for beta in block.lifted.needed]
        tables = product_tables(self._lines, places({a: rows.coordinates[a] for a in self._axes}), orders)
        if rows.opposite is not None:
            far = product_tables(self._lines, places({a: rows.opposite[a] for a in self._axes}), orders)
            tables = tables.minus(far)
        return _Block(rows, block.lifted, tables)

    @property
    def n_rows(self) -> int:
        """m."""
        return self._tabled.n_rows

    def start(self) -> Tensor:
        """θ = 0."""
        return self._tabled.cloud.centres.new_zeros(self._tabled.n_weights)

    def residual(self, theta: Tensor) -> Tensor:
        return torch.cat([b.rows.residual(self._terms(b, theta), self._tabled.parameters) for b in self._blocks])

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        return self._tabled.linearise(theta)

    def operator(self, theta: Tensor) -> tuple[Tensor, AbstractJacobianOperator]:
        with torch.no_grad():
            residuals, factors = [], []
            for block in self._blocks:
                r, slopes, _ = block.rows.linearise(self._terms(block, theta), self._tabled.parameters)
                residuals.append(r)
                factors.append(self._factors(block, [block.lifted.pulled(s) for s in slopes]))
            return torch.cat(residuals), LatticeJacobian(self._changed, self._bases, factors)

    def _terms(self, block: _Block, theta: Tensor) -> dict[tuple[str, str], Tensor]:
        fields, needed = self._tabled.problem.field_names, block.lifted.needed
        keys = {beta: orders_of(beta, self._axes) for beta in needed}
        sums = block.tables.forward(theta.reshape(-1, *(line.size for line in self._lines)), list(keys.values()))
        return block.lifted.values({(f, b): sums[keys[b]][j] for b in needed for j, f in enumerate(fields)})

    def _factors(self, block: _Block, slopes: Sequence[Mapping[tuple[str, str], Tensor]]) -> dict[Orders, Tensor]:
        """∂F_e/∂(∂^β v_f) by operator, (equations, fields, m)."""
        fields = self._tabled.problem.field_names
        used = dict.fromkeys(beta for row in slopes for _, beta in row) or block.lifted.needed[:1]
        shape = (len(slopes), len(fields), len(block.rows.weight))  # rows that nothing moves are rows all the same
        out = {orders_of(beta, self._axes): block.rows.weight.new_zeros(shape) for beta in used}
        for e, row in enumerate(slopes):
            for (field, beta), slope in row.items():
                out[orders_of(beta, self._axes)][e, fields.index(field)] = slope
        return out

    @cached_property
    def _bases(self) -> list[Tensor]:
        """Along each axis, what makes its functions orthonormal on the places inside, those of the equation."""
        return independent(self._blocks[0].tables, _LEAST)

    @cached_property
    def _changed(self) -> list[LatticeTables]:
        return [block.tables.changed(self._bases) for block in self._blocks]
