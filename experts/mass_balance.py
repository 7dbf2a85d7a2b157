"""An integral of the solution that is known at all times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pdesolve.condition.value import Value
from pdesolve.discretization.abstract import Points
from pdesolve.domains.geometry import Box, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.linear_constraint import AbstractLinearConstraint, bound_at, check_bound, field_index, known_at
from pdesolve.experts.patch_context import PatchContext
from pdesolve.nonlinear.constraints import LinearConstraints


@final
@dataclass(frozen=True)
class MassBalance(AbstractLinearConstraint):
    """∫ u dx = M(t) over the whole domain in space, exactly as far as the quadrature goes.

    On a grid the integral is Σ_i h_i u_i with h_i the cell around node i: the trapezoidal rule with nodes on the
    boundary, the midpoint rule at cell centres. Else Gauss-Legendre points on every patch.

    Arguments:
        total: M, a number or a function of t and parameters by name.
        times: at how many instants, equally spaced and the last included; the initial one is left to the initial
            condition (default 8; a grid gives the nearest nodes, each once).
        quadrature: Gauss-Legendre points along each axis of a patch (default 16; a grid has its nodes).
        field: the unknown (default the only one).

    Raises:
        ValueError: times or quadrature below one, NaN; at the call, patches cut along time, an unknown field or name.
        TypeError: ``total`` neither number nor function.

    Notes:
        The rows reach over all patches of a sample, which are then solved together, with dense matrices. They are
        refused where patches are solved one after another (``flow_along``). Without time there is one row.

    Good values: fewer instants than half of the basis fields: each takes one degree of freedom.
    """

    total: Value
    times: int = 8
    quadrature: int = 16
    field: str | None = None

    def __post_init__(self) -> None:
        check_bound(self.total, "the total")
        positive_int(self.times, "times")
        positive_int(self.quadrature, "quadrature")

    def rows(self, context: PatchContext) -> LinearConstraints:
        domain, patches = context.problem.box, context.decomposition.patches
        if context.interfaces("t"):
            raise ValueError("MassBalance needs all of time in each patch: cut the domain along space only")
        grid, place = context.discretization.grid, context.generator.device
        if grid is None:
            instants, points, weight = self._gauss(domain, [patch.box for patch in patches])
        else:
            instants, points, weight = self._nodes(grid, context.decomposition.node_ranges)
        points = Points(
            {axis: value.to(place) for axis, value in points.coordinates.items()},
            None if points.nodes is None else points.nodes.to(place),
        )
        index = field_index(context, self.field)
        expansion = context.expand(context.owned(points), ("",))
        basis, offset = expansion.basis[""][..., index, :], expansion.offset[""][..., index]
        weight = weight.to(basis)
        batch, n_patches, _, n = basis.shape
        steps = len(instants)
        parts = basis.reshape(batch, n_patches, steps, -1, n)
        matrix = torch.einsum("pq,bptqn->btpn", weight, parts).reshape(batch, 1, steps, n_patches * n)
        given = torch.einsum("pq,bptq->bt", weight, offset.reshape(offset.shape[0], n_patches, steps, -1))
        at = {"t": instants.to(place).unsqueeze(0)} if domain.has_time else {}
        total = bound_at(self.total, known_at(context, at), given.unsqueeze(1), "the total")
        bound = total - given.unsqueeze(1)
        name = f"integral of {context.problem.field_names[index]}"
        return LinearConstraints(matrix, bound, bound, equality=True, name=name, coordinates=at)

    def _gauss(self, domain: Box, boxes: Sequence[Box]) -> tuple[Tensor, Points, Tensor]:
        """Instants (T,), points (patch, T · q) and weights (patch, q)."""
        unit, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(self.quadrature))
        instants = torch.zeros(1, dtype=torch.float64)
        if domain.has_time:
            low, high = domain.bounds("t")
            instants = low + (high - low) * torch.arange(1, self.times + 1, dtype=torch.float64) / self.times
        axes = [axis for axis in domain.axes if axis != "t"]
        inside = [[box.bounds(axis)[0] + 0.5 * (1.0 + unit) * box.extent(axis) for axis in axes] for box in boxes]
        weight = [_products([0.5 * box.extent(axis) * weights for axis in axes]) for box in boxes]
        columns = [_columns([instants, *nodes]) for nodes in inside]
        names = ("t", *axes)
        coordinates = {
            axis: torch.stack([column[k] for column in columns]) for k, axis in enumerate(names) if axis in domain.axes
        }
        return instants, Points(coordinates), torch.stack(weight)

    def _nodes(self, grid: StructuredGrid, ranges: Any) -> tuple[Tensor, Points, Tensor]:
        """As ``_gauss``, on nodes; patches of fewer nodes repeat their last one with weight zero."""
        first = int("t" in grid.axes)
        cells = [_cells(grid, axis) for axis in grid.axes]
        instants = torch.zeros(1, dtype=torch.int64)
        if first:
            last = grid.shape[0] - 1
            instants = torch.linspace(min(1, last), last, min(self.times, last)).round().long().unique()
        most = max(math.prod(stop - start for start, stop in patch[first:]) for patch in ranges)
        nodes, weights = [], []
        for patch in ranges:
            space = _columns([torch.arange(*pair) for pair in patch[first:]])
            weight = _products([cells[first + k][slice(*pair)] for k, pair in enumerate(patch[first:])])
            fill = torch.arange(most).clamp_max(len(weight) - 1)
            weights.append(torch.where(torch.arange(most) < len(weight), weight[fill], 0.0))
            each = torch.stack([column[fill] for column in space], -1)  # (q, axes in space)
            steps = [instants.repeat_interleave(most).unsqueeze(-1)] if first else []
            nodes.append(torch.cat([*steps, each.repeat(len(instants), 1)], -1))
        points = Points.at_nodes(grid, torch.stack(nodes))
        return (grid.axis_nodes("t")[instants] if first else instants.double()), points, torch.stack(weights)


def _columns(axes: Sequence[Tensor]) -> list[Tensor]:
    """Coordinates of the tensor product, each flat, the first the slowest."""
    return [t.reshape(-1) for t in torch.meshgrid(*axes, indexing="ij")]


def _products(axes: Sequence[Tensor]) -> Tensor:
    """Products over the tensor product, flat."""
    columns = _columns(axes)
    return torch.stack(columns).prod(0)


def _cells(grid: StructuredGrid, axis: str) -> Tensor:
    """Length of the part of an axis that is nearest to each node, within the box."""
    nodes, (low, high) = grid.axis_nodes(axis), grid.box.bounds(axis)
    ends = nodes.new_tensor([low, high])
    edges = torch.cat([ends[:1], 0.5 * (nodes[1:] + nodes[:-1]), ends[1:]])
    return edges.diff()
