"""Decompositions of a box, or of a grid, into patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, nearest_hint, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.patch import AbstractDecomposition, Blend, Interface, Patch, Regions
from pdesolve.transforms import below


@final
@dataclass(frozen=True, eq=False)
class Decomposition(AbstractDecomposition):
    """Boxes that fill a domain without overlap, and the faces between them.

    ``cartesian_decomposition`` makes the usual ones.

    Arguments:
        patches: in the order of their index.
        interfaces: the faces that two patches share.
        domain: the box that is decomposed.
        grid: the grid whose nodes the patches own, each node by one patch; None: only the box is decomposed.

    Raises:
        ValueError: when an index is not the patch's place, a patch has other axes than the domain, or patches
            do not own every node of the grid exactly once.
    """

    patches: tuple[Patch, ...]
    interfaces: tuple[Interface, ...]
    domain: Box
    grid: StructuredGrid | None = None
    _orders: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = [patch.index for patch in self.patches]
        if not numbers or numbers != list(range(len(numbers))):
            raise ValueError(f"patches must be indexed 0, 1, ..., got {numbers}")
        for patch in self.patches:
            if patch.box.axes != self.domain.axes:
                raise ValueError(f"patch {patch.index} has the axes {patch.box.axes}, the domain {self.domain.axes}")
        if self.grid is not None:
            owned = torch.bincount(self._owned_nodes(), minlength=self.grid.n_nodes)
            if bool((owned != 1).any()):
                node = int((owned != 1).nonzero()[0])
                raise ValueError(
                    f"patches must own each node once, but flat node {node} is owned {int(owned[node])} times"
                )

    def restrict(self, values: Tensor) -> list[Tensor]:
        """The values of each patch's own nodes; differentiable.

        Arguments:
            values: (*batch, *grid).

        Returns:
            One tensor (*batch, *patch.shape) per patch.

        Raises:
            ValueError: without a grid, or when the shape does not fit it.
        """
        batch = self._checked(values)
        sizes = [math.prod(patch.shape) for patch in self.patches]
        order, _ = self._orders_on(values.device)
        parts = values.reshape(*batch, -1)[..., order].split(sizes, -1)
        return [part.reshape(*batch, *patch.shape) for part, patch in zip(parts, self.patches, strict=True)]

    def assemble(self, patch_values: Sequence[Tensor]) -> Tensor:
        """The values on the whole grid from those of the patches: inverse of ``restrict``; differentiable.

        Arguments:
            patch_values: one tensor (*batch, *patch.shape) per patch, with the same batch.

        Returns:
            (*batch, *grid).

        Raises:
            ValueError: without a grid, or when number or shapes do not fit the patches.
        """
        batch, shape = self._checked_parts(patch_values), self._grid().shape
        flat = torch.cat([values.reshape(*batch, -1) for values in patch_values], -1)
        _, inverse = self._orders_on(flat.device)
        return flat[..., inverse].reshape(*batch, *shape)

    def owner(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """Index of the patch that owns each point; a point on an interface belongs to the upper patch.

        Arguments:
            coordinates: one tensor per axis of the domain, of shapes that broadcast.

        Returns:
            An int64 tensor of the broadcast shape.

        Raises:
            ValueError: when an axis is missing, or a point is NaN or outside of the domain (beyond rounding).
        """
        cells: list[Tensor] = []
        for position, axis in enumerate(self.domain.axes):
            if axis not in coordinates:
                given = ", ".join(coordinates) or "none"
                raise ValueError(f"coordinates of axis {axis!r} are missing; given: {given}")
            points = coordinates[axis]
            _check_within(points, axis, *self.domain.bounds(axis))
            cuts = self._cuts[position].to(points)
            cells.append(torch.searchsorted(cuts, points.contiguous(), right=True))
        return self._cell_owner.to(cells[0].device)[tuple(cells)]

    def blend(self, coordinates: Mapping[str, Tensor]) -> Blend:
        """The owner of each point, with the weight one; arguments as ``owner``."""
        index = self.owner(coordinates).unsqueeze(0)
        return Blend(index, torch.ones_like(index, dtype=next(iter(coordinates.values())).dtype))

    def overlaps_along(self, axis: str) -> Regions:
        return Regions((), self.domain, self.grid)

    def _orders_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The flat node indices, patch after patch, (n_nodes,), and the inverse permutation."""
        if device not in self._orders:
            with torch.inference_mode(False):  # what is kept may meet autograd later
                order = below(self._owned_nodes)
                self._orders[device] = below(lambda: (order.to(device), order.argsort().to(device)))
        return self._orders[device]

    def _owned_nodes(self) -> Tensor:
        grid = self._grid()
        numbers = torch.arange(grid.n_nodes).reshape(grid.shape)
        blocks = [numbers[tuple(slice(*pair) for pair in ranges)] for ranges in self.node_ranges]
        return torch.cat([block.flatten() for block in blocks])

    @property
    def in_rows_and_columns(self) -> bool:
        """Whether all cuts go through the whole domain."""
        return self._cell_owner.numel() == len(self.patches)

    @cached_property
    def _cuts(self) -> list[Tensor]:
        """Per axis the positions inside the domain at which some patch begins, float64."""
        begins = [{patch.box.lower[a] for patch in self.patches} for a in range(len(self.domain.axes))]
        inside = [sorted(begins[a] - {low}) for a, low in enumerate(self.domain.lower)]
        return list(below(lambda: [torch.tensor(positions, dtype=torch.float64) for positions in inside]))

    @cached_property
    def _cell_owner(self) -> Tensor:
        """The patch of each cell of the tensor product of all cuts."""
        n, dimensions = len(self.patches), len(self._cuts)
        inside = torch.ones((n, *(1,) * dimensions), dtype=torch.bool)
        for a, cuts in enumerate(self._cuts):
            ends = cuts.new_tensor([[self.domain.lower[a]], [self.domain.upper[a]]])
            edges = torch.cat([ends[0], cuts, ends[1]])
            centres = (edges[1:] + edges[:-1]) / 2
            lower = cuts.new_tensor([patch.box.lower[a] for patch in self.patches])[:, None]
            upper = cuts.new_tensor([patch.box.upper[a] for patch in self.patches])[:, None]
            within = (lower < centres) & (centres < upper)  # (n_patches, n_cells)
            inside = inside & within.reshape(n, *(-1 if b == a else 1 for b in range(dimensions)))
        if bool((inside.sum(0) != 1).any()):
            raise ValueError("the boxes of the patches overlap or leave gaps, so some points have no single owner")
        return inside.int().argmax(0)


def cartesian_decomposition(domain: Box | StructuredGrid, counts: Mapping[str, int]) -> Decomposition:
    """Cut a box into equal boxes, or a grid into blocks of (up to one) equally many nodes.

    Patches are numbered in row-major order of the axes t, x, y, z. Interfaces of a grid lie midway between
    the adjacent nodes; its patches own disjoint ranges of nodes.

    Arguments:
        domain: a box, or a grid, whose nodes the patches then own.
        counts: axis letter to the number K of patches along it; axes that are not named have 1. K need not
            divide the number of nodes: the first patches get one node more.

    Raises:
        ValueError: on an axis the domain does not have, K < 1, or K above the number of nodes.
        TypeError: on a K that is no integer.
    """
    grid = domain if isinstance(domain, StructuredGrid) else None
    box = domain.box if isinstance(domain, StructuredGrid) else domain
    for axis in counts:
        if axis not in box.axes:
            raise ValueError(f"the domain has no axis {axis!r} to cut; {nearest_hint(str(axis), box.axes)}")
    edges, ranges = [], []
    for axis in box.axes:
        k = positive_int(counts.get(axis, 1), f"the number of patches along axis {axis!r}")
        axis_edges, axis_ranges = _cut_axis(box, grid, axis, k)
        edges.append(axis_edges)
        ranges.append(axis_ranges)
    numbers = [range(len(axis_edges) - 1) for axis_edges in edges]
    patches = []
    for index, place in enumerate(itertools.product(*numbers)):
        lower = tuple(edges[a][i] for a, i in enumerate(place))
        upper = tuple(edges[a][i + 1] for a, i in enumerate(place))
        owned = tuple(ranges[a][i] for a, i in enumerate(place)) if grid is not None else None
        patches.append(Patch(index, Box(box.axes, lower, upper), owned))
    return Decomposition(tuple(patches), _cartesian_interfaces(box, patches, [len(n) for n in numbers]), box, grid)


def _cut_axis(box: Box, grid: StructuredGrid | None, axis: str, k: int) -> tuple[list[float], list[tuple[int, int]]]:
    low, high = box.bounds(axis)
    if grid is None:
        return [low, *(low + (high - low) * i / k for i in range(1, k)), high], []
    nodes = grid.axis_nodes(axis)
    n = len(nodes)
    if k > n:
        raise ValueError(f"axis {axis!r} has {n} nodes, too few for {k} patches; allowed: 1 to {n}")
    stops = [i * (n // k) + min(i, n % k) for i in range(k + 1)]  # the first n % k patches get one node more
    cuts = [float(nodes[stop - 1] + nodes[stop]) / 2 for stop in stops[1:-1]]
    return [low, *cuts, high], list(itertools.pairwise(stops))


def _cartesian_interfaces(box: Box, patches: Sequence[Patch], counts: Sequence[int]) -> tuple[Interface, ...]:
    interfaces = []
    for a, axis in enumerate(box.axes):
        stride = math.prod(counts[a + 1 :])
        for patch in patches:
            if patch.box.upper[a] < box.upper[a]:  # the next patch along this axis begins here
                position = patch.box.upper[a]
                lower = tuple(position if b == a else value for b, value in enumerate(patch.box.lower))
                pair = (patch.index, patch.index + stride)
                interfaces.append(Interface(pair, axis, position, lower, patch.box.upper))
    return tuple(interfaces)


def _check_within(points: Tensor, axis: str, low: float, high: float) -> None:
    if not points.is_floating_point():
        raise TypeError(f"coordinates of axis {axis!r} must be floating, got {points.dtype}")
    rounding = 8 * torch.finfo(points.dtype).eps * max(abs(low), abs(high))
    outside = ~((points >= low - rounding) & (points <= high + rounding))
    if bool(outside.any()):
        count, value = int(outside.sum()), float(points[outside].flatten()[0])
        raise ValueError(f"{count} points lie outside [{low}, {high}] on axis {axis!r}, the first at {value}")
