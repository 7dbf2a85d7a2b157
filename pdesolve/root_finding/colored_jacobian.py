"""Sparse Jacobians from a few directional derivatives: columns that share no row are found together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.jacobian import JacobianOperator
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.operators.sparsity_pattern import SparsityPattern
from pdesolve.root_finding.coloring import color_columns
from pdesolve.root_finding.jacobian import AbstractJacobian


@dataclass(frozen=True, eq=False)
class ColoredJacobian(AbstractJacobian):
    """∂F/∂u on a known sparsity pattern, exact, from as many products as the pattern has colours.

    Columns of one colour have no row in common, so J s with s the sum of their unit vectors holds all their entries.
    A five-point stencil takes about eight products, whatever the number of unknowns.

    Arguments:
        pattern: where ∂F/∂u may be other than zero, (n, n); more positions than needed cost time only, missing ones
            are found by ``find_root``, which compares one product.
        symmetric: declares ∂F/∂u symmetric (default false).
        positive_definite: declares it positive definite (default false).

    Raises:
        ValueError: a pattern that is not square; when it is used, one of another size than u.

    Source: Curtis, Powell & Reid, *On the estimation of sparse Jacobian matrices* (1974); Gebremedhin, Manne & Pothen,
    *What color is your Jacobian?*, SIAM Review 47 (2005).
    """

    pattern: SparsityPattern
    symmetric: bool = False
    positive_definite: bool = False

    def __post_init__(self) -> None:
        if self.pattern.shape[0] != self.pattern.shape[1]:
            raise ValueError(f"the pattern of a Jacobian must be square, not {self.pattern.shape}")

    @cached_property
    def colors(self) -> Tensor:
        """Colour of each column, (n,), found once."""
        return color_columns(self.pattern)

    @cached_property
    def _place(self) -> tuple[Tensor, Tensor]:
        """For each entry the product it is read from, and the row there."""
        return self.colors[self.pattern.columns.long()], self.pattern.rows.long()

    def operator(
        self, function: Callable[..., Tensor], u: Tensor, parameters: tuple[Tensor, ...]
    ) -> AbstractLinearOperator:
        n = self.pattern.shape[1]
        if u.shape != (n,):
            raise ValueError(f"the pattern has {n} columns, u has shape {tuple(u.shape)}: make the pattern of F")
        count = int(self.colors.max()) + 1
        seeds = torch.zeros(count, n, dtype=u.dtype, device=u.device)
        seeds[self.colors, torch.arange(n, device=u.device)] = 1.0
        products = JacobianOperator(function, u, parameters, rows=n).mv(seeds)
        return SparseOperator(
            self.pattern,
            products[self._place],
            symmetric=self.symmetric,
            positive_definite=self.positive_definite,
        )
