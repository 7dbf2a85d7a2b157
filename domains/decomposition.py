"""Decompositions of a box, or of a grid, into patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, nearest_hint, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.transforms import below


@dataclass(frozen=True)
class Patch:
    """One part of a decomposition.

    Arguments:
        index: its place in ``Decomposition.patches``.
        box: what it covers.
        node_ranges: per axis the half-open range (start, stop) of the grid's nodes it owns; None: no grid.
    """

    index: int
    box: Box
    node_ranges: tuple[tuple[int, int], ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes per axis.

        Raises:
            ValueError: when the decomposition has no grid.
        """
        if self.node_ranges is None:
            raise ValueError("this patch has no nodes; decompose a StructuredGrid instead of a Box")
        return tuple(stop - start for start, stop in self.node_ranges)


@dataclass(frozen=True)
class Interface:
    """The face between two patches.

    Arguments:
        patches: indices (a, b); a lies below b on the axis.
        axis: the axis it is perpendicular to.
        position: its coordinate on that axis.
        lower, upper: the ends of the face on each axis of the domain; both are ``position`` on ``axis``.
    """

    patches: tuple[int, int]
    axis: str
    position: float
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Decomposition:
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

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The pairs of neighbouring patches, one for each interface."""
        return tuple(interface.patches for interface in self.interfaces)

    @property
    def interface_positions(self) -> dict[str, tuple[float, ...]]:
        """Where interfaces cut each axis, by axis letter, each position once."""
        found: dict[str, dict[float, None]] = {}
        for interface in self.interfaces:
            found.setdefault(interface.axis, {})[interface.position] = None
        return {axis: tuple(positions) for axis, positions in found.items()}

    @property
    def node_ranges(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The node ranges of every patch, as ``sample_nodes`` takes them.

        Raises:
            ValueError: without a grid.
        """
        self._grid()
        return tuple(patch.node_ranges or () for patch in self.patches)

    def neighbours(self, index: int) -> tuple[int, ...]:
        """Indices of the patches that share a face with a patch, rising.

        Arguments:
            index: of the patch.

        Raises:
            ValueError: on an index out of range.
        """
        self._patch(index)
        return tuple(sorted({b if a == index else a for a, b in self.edges if index in (a, b)}))

    def boundaries_of(self, index: int) -> tuple[str, ...]:
        """The domain's boundaries that a patch touches, by name; also ``"initial"`` at the first time.

        Arguments:
            index: of the patch.

        Raises:
            ValueError: on an index out of range.
        """
        box = self._patch(index).box
        names = [*(("initial",) if box.has_time else ()), *box.boundary_names]
        return tuple(name for name in names if box.boundary(name) == self.domain.boundary(name))

    def restrict(self, values: Tensor) -> list[Tensor]:
        """The values of each patch's own nodes; differentiable.

        Arguments:
            values: (*batch, *grid).

        Returns:
            One tensor (*batch, *patch.shape) per patch.

        Raises:
            ValueError: without a grid, or when the shape does not fit it.
        """
        shape = self._grid().shape
        if tuple(values.shape[-len(shape) :]) != shape:
            raise ValueError(f"values must have the shape (*batch, *{shape}), got {tuple(values.shape)}")
        batch = values.shape[: values.ndim - len(shape)]
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
        shape = self._grid().shape
        if len(patch_values) != len(self.patches):
            raise ValueError(f"there are {len(self.patches)} patches, got values of {len(patch_values)}")
        batch = tuple(patch_values[0].shape[: patch_values[0].ndim - len(shape)])
        for patch, values in zip(self.patches, patch_values, strict=True):
            if tuple(values.shape) != (*batch, *patch.shape):
                needed, got = (*batch, *patch.shape), tuple(values.shape)
                raise ValueError(f"patch {patch.index} needs values of shape {needed}, got {got}")
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

    def _patch(self, index: int) -> Patch:
        if not 0 <= index < len(self.patches):
            raise ValueError(f"there is no patch {index}; allowed: 0 to {len(self.patches) - 1}")
        return self.patches[index]

    def _grid(self) -> StructuredGrid:
        if self.grid is None:
            raise ValueError("this decomposition has no grid; decompose a StructuredGrid instead of a Box")
        return self.grid

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
