"""Finite differences on structured grids, on the whole grid or only at sampled nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.discretization.gridded import AbstractGridDiscretization, check_indices, check_not_text, check_values
from pdesolve.domains.geometry import nearest_hint
from pdesolve.domains.grid import StructuredGrid
from pdesolve.transforms import below

HIGHEST_DERIVATIVE = 4


@dataclass(frozen=True, eq=False)
class Stencil:
    """Weights of one derivative along one axis: (D u)_i = Σ_k weights[i, k] u[starts[i] + k].

    Arguments:
        starts: (n,) int64, the first node each node's stencil reads.
        weights: (n, width) float64.
        lead: how many nodes before the first node whose stencil is not shifted by the lower boundary;
            starts = clamp(i - lead, 0, n - width).
    """

    starts: Tensor
    weights: Tensor
    lead: int

    @property
    def width(self) -> int:
        """Number of nodes each stencil reads."""
        return self.weights.shape[1]


@dataclass(frozen=True, eq=False)
class FiniteDifferences(AbstractGridDiscretization):
    """Derivatives of gridded values by finite differences of the formal order 2 or 4.

    On an equally spaced axis the m-th derivative uses the central stencil of order + 2⌊(m + 1)/2⌋ - 1
    nodes inside and one-sided stencils of order + m nodes near the ends. On any other axis it uses order + m
    nodes, or the next odd number of them, around the node, so the order holds for arbitrary spacings; even
    derivatives then come out one order better than asked for, two inside smooth grids. Mixed derivatives are
    tensor products.

    Arguments:
        grid: the nodes; any spacing.
        order: formal order p of the truncation error O(h^p), 2 or 4, also at boundaries.

    Raises:
        ValueError: on another order.

    Notes: the rounding error of the m-th derivative grows as ε/h^m: in float32 prefer the coarser grid.

    Source: Fornberg, Generation of finite difference formulas on arbitrarily spaced grids,
        Math. Comp. 51 (1988), the recursion on page 702.
    """

    grid: StructuredGrid
    order: int = 2
    _cache: dict[tuple[str, int], Stencil] = field(default_factory=dict, init=False, repr=False)
    _cast: dict[tuple[str, int, torch.dtype, torch.device], Stencil] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        if self.order not in (2, 4):
            raise ValueError(f"the order of finite differences must be 2 or 4, got {self.order!r}")

    def derivatives(
        self,
        values: Tensor,  # (*batch, *grid)
        terms: Iterable[str],
        indices: Tensor | None = None,  # (*points, n_axes)
    ) -> dict[str, Tensor]:
        """See ``AbstractGridDiscretization.derivatives``.

        At sampled nodes only the values within their stencils are read, so the cost does not depend on the
        size of the grid (if ``values`` is contiguous), and the result is that of the whole grid there.

        Raises:
            ValueError: also on a derivative above the fourth, and on too few nodes for it.
        """
        orders = self.check_terms(terms)
        check_values(values, self.grid)
        if indices is None:
            return {term: self._everywhere(values, order) for term, order in orders.items()}
        check_indices(indices, self.grid)
        nodes = indices.to(values.device)
        return {term: self._sampled(values, order, nodes) for term, order in orders.items()}

    def check_terms(self, terms: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Each term's derivative order per axis, if this discretisation can give all of them.

        Arguments:
            terms: as in ``derivatives``.

        Raises:
            ValueError: on a derivative the discretisation cannot give; the message says why.
            TypeError: on ``terms`` given as one string.
        """
        check_not_text(terms)
        orders = {}
        for term in terms:
            for axis in term:
                self.stencil(axis, term.count(axis))
            orders[term] = tuple(term.count(axis) for axis in self.grid.axes)
        return orders

    def stencil(self, axis: str, derivative: int) -> Stencil:
        """The float64 stencil of one derivative along one axis, kept once computed.

        Arguments:
            axis: an axis of the grid.
            derivative: m in 1..4.

        Raises:
            ValueError: on a derivative the discretisation cannot give.
        """
        if axis not in self.grid.axes:
            hint = nearest_hint(axis, self.grid.axes)
            raise ValueError(f"the grid has no axis {axis!r} to differentiate along; {hint}")
        if not 1 <= derivative <= HIGHEST_DERIVATIVE:
            raise ValueError(
                f"finite differences give derivatives 1 to {HIGHEST_DERIVATIVE} along an axis, got "
                f"{axis * derivative or derivative!r}; write the equation as a system of lower order"
            )
        n, needed = len(self.grid.axis_nodes(axis)), self.order + derivative
        if n < needed:
            raise ValueError(
                f"axis {axis!r} has {n} nodes, but {axis * derivative!r} at order {self.order} "
                f"needs {needed}; refine the grid or lower the order"
            )
        key = (axis, derivative)
        if key not in self._cache:
            # What is kept may meet autograd later, or outlive a function transform.
            with torch.inference_mode(False), torch.no_grad():
                self._cache[key] = below(lambda: _build(self.grid, axis, derivative, self.order))
        return self._cache[key]

    def matrix(self, axis: str, derivative: int) -> Tensor:
        """The dense differentiation matrix of one axis, (n, n) float64.

        Arguments:
            axis: an axis of the grid.
            derivative: m in 1..4.

        Raises:
            ValueError: on a derivative the discretisation cannot give.
        """
        stencil = self.stencil(axis, derivative)
        n = len(stencil.starts)
        columns = stencil.starts[:, None] + torch.arange(stencil.width)
        return torch.zeros(n, n, dtype=torch.float64).scatter_(1, columns, stencil.weights)

    def _stencil_like(self, axis: str, derivative: int, values: Tensor) -> Stencil:
        key = (axis, derivative, values.dtype, values.device)
        if key not in self._cast:
            exact = self.stencil(axis, derivative)
            device, dtype = values.device, values.dtype
            with torch.inference_mode(False):
                self._cast[key] = below(
                    lambda: Stencil(exact.starts.to(device), exact.weights.to(device, dtype), exact.lead)
                )
        return self._cast[key]

    def _everywhere(self, values: Tensor, orders: tuple[int, ...]) -> Tensor:
        for position in reversed(range(len(orders))):
            if orders[position]:
                stencil = self._stencil_like(self.grid.axes[position], orders[position], values)
                values = _along(values, stencil, position - len(orders))
        return values

    def _sampled(self, values: Tensor, orders: tuple[int, ...], nodes: Tensor) -> Tensor:
        axes, shape = self.grid.axes, self.grid.shape
        stencils = {a: self._stencil_like(axes[a], m, values) for a, m in enumerate(orders) if m}
        flat = torch.zeros(nodes.shape[:-1], dtype=torch.int64, device=values.device)
        for position in range(len(axes)):
            stride, node = math.prod(shape[position + 1 :]), nodes[..., position]
            stencil = stencils.get(position)
            if stencil is None:
                flat = flat + (stride * node).reshape(node.shape + (1,) * (flat.ndim - node.ndim))
            else:  # one more trailing dimension: this axis's neighbours
                start = stencil.starts[node].reshape(node.shape + (1,) * (flat.ndim - node.ndim + 1))
                flat = flat[..., None] + stride * (start + torch.arange(stencil.width, device=values.device))
        batch = values.shape[: values.ndim - len(shape)]
        # gather is several times faster than index_select here, forward and backward
        index = flat.reshape(-1).expand(*batch, -1)
        neighbours = values.reshape(*batch, -1).gather(-1, index).reshape(*batch, *flat.shape)
        for position in reversed(stencils):  # the same arithmetic in the same order as on the whole grid
            weights = stencils[position].weights[nodes[..., position]]
            extra = neighbours.ndim - len(batch) - weights.ndim
            weights = weights.reshape(*weights.shape[:-1], *(1,) * extra, weights.shape[-1])
            neighbours = _weighted_sum(weights, neighbours.unbind(-1).__getitem__)
        return neighbours


def fornberg_weights(points: Tensor, nodes: Tensor, derivative: int) -> Tensor:
    """Weights w with f⁽ᵐ⁾(z) ≈ Σ_k w_k f(x_k), exact for polynomials of degree below the number of nodes.

    Arguments:
        points: (n,) the z, float64.
        nodes: (n, width) distinct x_k for each point, float64.
        derivative: m, below the width.

    Returns:
        (n, width) float64.

    Source: Fornberg, Generation of finite difference formulas on arbitrarily spaced grids,
        Math. Comp. 51 (1988), the recursion on page 702; here for all points at once.
    """
    width = nodes.shape[1]
    scale = (nodes.amax(1, keepdim=True) - nodes.amin(1, keepdim=True)) / (width - 1)
    x = (nodes - points[:, None]) / scale  # local coordinates: z = 0 and spacings near 1
    # weights[j][k]: of node j for derivative k with the nodes 0..i
    weights = x.new_zeros(width, derivative + 2, len(x))  # row -1 stays zero: derivative "-1"
    weights[0, 0] = 1.0
    factor = torch.arange(derivative + 1, dtype=x.dtype, device=x.device)[:, None]
    product = torch.ones_like(points)
    for i in range(1, width):
        previous, product = product, torch.ones_like(points)
        last = weights[i - 1].clone()
        for j in range(i):
            distance = x[:, i] - x[:, j]
            product = product * distance
            lower = weights[j].roll(1, 0)[:-1]
            weights[j, :-1] = (x[:, i] * weights[j, :-1] - factor * lower) / distance
        lower = last.roll(1, 0)[:-1]
        weights[i, :-1] = previous * (factor * lower - x[:, i - 1] * last[:-1]) / product
    return weights[:, derivative].T / scale**derivative


def _build(grid: StructuredGrid, axis: str, derivative: int, order: int) -> Stencil:
    nodes = grid.axis_nodes(axis)
    n, width, even = len(nodes), order + derivative, derivative % 2 == 0
    node = torch.arange(n)
    if not grid.is_uniform(axis):
        width = min(width + even, n)
        starts = (node - width // 2).clamp(0, n - width)
        weights = fornberg_weights(nodes, nodes[starts[:, None] + torch.arange(width)], derivative)
        return Stencil(starts, weights.contiguous(), width // 2)
    # Equal spacing: integer coordinates make the weights of all inner nodes equal and exactly symmetric.
    spacing = float(nodes[-1] - nodes[0]) / (n - 1)
    central = width - even
    lead = central // 2
    starts = (node - lead).clamp(0, n - width)
    at_end = (node < lead) | (node >= n - lead)
    weights = torch.zeros(n, width, dtype=torch.float64)
    weights[at_end] = _integer_weights(node[at_end], starts[at_end], width, derivative)
    # inside, the central stencil fills all columns but one, and near the upper end that is the first
    inner = node[~at_end]
    columns = (inner - lead - starts[inner])[:, None] + torch.arange(central)
    exact = _integer_weights(inner, inner - lead, central, derivative)
    weights[inner[:, None], columns] = (exact + (-1) ** derivative * exact.flip(1)) / 2
    return Stencil(starts, weights / spacing**derivative, lead)


def _integer_weights(node: Tensor, starts: Tensor, width: int, derivative: int) -> Tensor:
    positions = starts[:, None] + torch.arange(width) - node[:, None]
    return fornberg_weights(torch.zeros(len(node), dtype=torch.float64), positions.double(), derivative)


def _along(values: Tensor, stencil: Stencil, dim: int) -> Tensor:
    """Apply a stencil along one dimension, counted from the end.

    Slices, not gathers: starts = clamp(i - lead, 0, n - width) splits the nodes into a lower end, whose
    stencils all start at node 0, an inside, whose stencils move with the node, and an upper end.
    """
    n, width, lead = len(stencil.starts), stencil.width, stencil.lead
    inside = n - width + 1
    weights = stencil.weights.reshape(n, *(1,) * (-dim - 1), width)

    def part(rows: slice, offset: int, length: int) -> Tensor:
        return _weighted_sum(weights[rows], lambda k: values.narrow(dim, offset + k, length))

    lower = part(slice(0, lead), 0, 1)
    inner = part(slice(lead, lead + inside), 0, inside)
    upper = part(slice(lead + inside, n), n - width, 1)
    return torch.cat([lower, inner, upper], dim)


def _weighted_sum(weights: Tensor, column: Callable[[int], Tensor]) -> Tensor:
    """Σ_k weights[..., k] column(k), added in rising k: the whole grid and samples agree to the last bit."""
    total = weights[..., 0] * column(0)
    for k in range(1, weights.shape[-1]):
        total = total + weights[..., k] * column(k)
    return total
