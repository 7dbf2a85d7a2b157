"""Structured grids: the tensor product of one strictly rising set of nodes per axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, check_axes, finite_float, nearest_hint, positive_int

MAX_GRADING = 8.0
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class StructuredGrid:
    """A tensor-product grid in 1 to 3 space dimensions and, optionally, time.

    Node (i, j, ...) lies at (t_i, x_j, ...). Gridded tensors have the shape (batch, component, *shape).
    ``uniform``, ``periodic``, ``cell_centred`` and ``graded`` make the usual ones. The nodes are kept on the CPU.

    Arguments:
        axes: axis letters in the order t, x, y, z.
        nodes: per axis a 1-D float64 tensor, strictly rising, of at least 2 nodes; any spacing.
        bounds: the box the grid fills, which its nodes need not reach (cell centres do not);
            None: from the first to the last node of each axis.

    Raises:
        ValueError: on wrong axes, and on nodes that do not rise strictly, are not finite, fewer than 2, or
            outside ``bounds``.
        TypeError: on nodes that are no float64 tensor.
    """

    axes: tuple[str, ...]
    nodes: tuple[Tensor, ...]
    bounds: Box | None = None

    def __post_init__(self) -> None:
        axes = check_axes(self.axes, "a grid")
        if axes == ("t",):
            raise ValueError("a grid needs at least one axis in space besides 't'; add 'x'")
        if len(self.nodes) != len(axes):
            raise ValueError(f"a grid needs one tensor of nodes per axis; got {len(self.nodes)} for {axes}")
        nodes = tuple(_checked_nodes(tensor, axis) for axis, tensor in zip(axes, self.nodes, strict=True))
        if self.bounds is not None:
            _check_inside(axes, nodes, self.bounds)
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "nodes", nodes)

    @classmethod
    def uniform(cls, box: Box, shape: Sequence[int]) -> StructuredGrid:
        """Equally spaced nodes that include both ends of every axis.

        Arguments:
            box: what the grid fills.
            shape: number of nodes per axis, in the order of ``box.axes``; at least 2 each.

        Raises:
            ValueError, TypeError: as for the class, and when ``shape`` does not fit the axes.
        """
        return cls(box.axes, tuple(_spaced(box, axis, n) for axis, n in _counts(box, shape).items()), box)

    @classmethod
    def periodic(cls, box: Box, shape: Sequence[int], axes: Sequence[str] | None = None) -> StructuredGrid:
        """Equally spaced nodes without the end point of periodic axes, x_j = l + j L/n; other axes include both ends.

        Arguments:
            box: what the grid fills.
            shape: number of nodes per axis, in the order of ``box.axes``; at least 2 each.
            axes: the periodic ones (default: every space axis).

        Raises:
            ValueError, TypeError: as for the class, when ``shape`` does not fit the axes, and when ``axes`` names
                time or an axis that the box lacks.
        """
        chosen = box.space_axes if axes is None else tuple(axes)
        for axis in chosen:
            if axis not in box.space_axes:
                raise ValueError(f"{axis!r} is no space axis of the box; {nearest_hint(str(axis), box.space_axes)}")
        counts = _counts(box, shape)
        nodes = tuple((_wrapped if axis in chosen else _spaced)(box, axis, n) for axis, n in counts.items())
        return cls(box.axes, nodes, box)

    @classmethod
    def cell_centred(cls, box: Box, shape: Sequence[int]) -> StructuredGrid:
        """Nodes at the centres of equal cells in space, x_j = l + (j + ½)h; time includes both its ends.

        Arguments:
            box: what the cells fill.
            shape: number of cells per space axis and of nodes in time, in the order of ``box.axes``; at least
                2 each.

        Raises:
            ValueError, TypeError: as for the class, and when ``shape`` does not fit the axes.
        """
        counts = _counts(box, shape)
        nodes = tuple((_spaced if axis == "t" else _centres)(box, axis, n) for axis, n in counts.items())
        return cls(box.axes, nodes, box)

    @classmethod
    def graded(cls, box: Box, shape: Sequence[int], strengths: Mapping[str, float]) -> StructuredGrid:
        """Nodes that crowd smoothly towards the named boundaries and include both ends of every axis.

        With s equally spaced in [0, 1] and strengths a, b towards the lower and the upper end,
        x(s) = l + (u - l) [f(s) - f(0)] / [f(1) - f(0)], f(s) = tanh((a + b)s - a). The spacing at an end of
        strength a is smaller than the widest spacing by the factor cosh²(a).

        Arguments:
            box: what the grid fills.
            shape: number of nodes per axis, in the order of ``box.axes``; at least 2 each.
            strengths: boundary name (also ``"initial"``, ``"final"``) to strength in [0, 8]; boundaries
                not named have 0. Good values: 1 (factor 2.4) to 3 (factor 100).

        Raises:
            ValueError: on an unknown boundary or a strength outside [0, 8]; otherwise as for the class.
            TypeError: on a strength that is no number.

        Source: Vinokur, On one-dimensional stretching functions for finite-difference calculations,
            J. Comput. Phys. 50 (1983), the hyperbolic tangent.
        """
        ends = {axis: [0.0, 0.0] for axis in box.axes}
        for name, strength in strengths.items():
            boundary = box.boundary(name)
            value = finite_float(strength, f"the grading towards {name!r}")
            if not 0.0 <= value <= MAX_GRADING:
                raise ValueError(f"the grading towards {name!r} must lie in [0, {MAX_GRADING}], got {value}")
            ends[boundary.axis][boundary.side > 0] = value
        nodes = tuple(_stretched(box, axis, n, *ends[axis]) for axis, n in _counts(box, shape).items())
        return cls(box.axes, nodes, box)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of nodes per axis."""
        return tuple(len(nodes) for nodes in self.nodes)

    @property
    def n_nodes(self) -> int:
        """Number of nodes in all."""
        return math.prod(self.shape)

    @property
    def box(self) -> Box:
        """The box the grid fills."""
        if self.bounds is not None:
            return self.bounds
        ends = [(float(nodes[0]), float(nodes[-1])) for nodes in self.nodes]
        return Box(self.axes, tuple(low for low, _ in ends), tuple(high for _, high in ends))

    def axis_nodes(self, axis: str) -> Tensor:
        """The nodes of one axis, (n,) float64.

        Arguments:
            axis: one of ``axes``.

        Raises:
            ValueError: on an axis the grid does not have.
        """
        if axis not in self.axes:
            raise ValueError(f"the grid has no axis {axis!r}; {nearest_hint(axis, self.axes)}")
        return self.nodes[self.axes.index(axis)]

    def coordinates(self) -> dict[str, Tensor]:
        """Axis to the coordinate of every node, (*shape) float64; expanded views, not to be written to."""
        return dict(zip(self.axes, torch.meshgrid(*self.nodes, indexing="ij"), strict=True))

    def boundary_mask(self, name: str) -> Tensor:
        """The outermost nodes at a boundary, (*shape) boolean; of cell-centred grids the adjacent cells.

        Arguments:
            name: a boundary of ``box``, ``"initial"`` or ``"final"``.

        Raises:
            ValueError: on a name the box does not have.
        """
        boundary = self.box.boundary(name)
        mask = torch.zeros(self.shape, dtype=torch.bool)
        mask.select(self.axes.index(boundary.axis), 0 if boundary.side < 0 else -1).fill_(True)
        return mask

    def has_nodes_on(self, name: str) -> bool:
        """Whether the outermost nodes lie on a boundary of ``box``, up to rounding.

        Arguments:
            name: a boundary of ``box``, ``"initial"`` or ``"final"``.

        Raises:
            ValueError: on a name the box does not have.
        """
        boundary = self.box.boundary(name)
        outermost = float(self.axis_nodes(boundary.axis)[0 if boundary.side < 0 else -1])
        return abs(outermost - boundary.position) <= ROUNDING * self.box.extent(boundary.axis)

    def is_uniform(self, axis: str) -> bool:
        """Whether the nodes of an axis are equally spaced, up to rounding.

        Arguments:
            axis: one of ``axes``.

        Raises:
            ValueError: on an axis the grid does not have.
        """
        nodes = self.axis_nodes(axis)
        spacing = float(nodes[-1] - nodes[0]) / (len(nodes) - 1)
        rounding = 8 * torch.finfo(nodes.dtype).eps * float(nodes.abs().max())
        return float((nodes.diff() - spacing).abs().max()) <= ROUNDING * spacing + rounding


def _checked_nodes(nodes: Tensor, axis: str) -> Tensor:
    what = f"the nodes of axis {axis!r}"
    if not isinstance(nodes, Tensor) or nodes.dtype != torch.float64:
        got = nodes.dtype if isinstance(nodes, Tensor) else type(nodes).__name__
        raise TypeError(f"{what} must be a float64 tensor, got {got}; use torch.as_tensor(..., dtype=torch.float64)")
    if nodes.requires_grad:
        raise ValueError(f"{what} require a gradient, which a grid does not carry; pass nodes.detach()")
    if nodes.ndim != 1 or len(nodes) < 2:
        raise ValueError(f"{what} must be 1-D with at least 2 entries, got shape {tuple(nodes.shape)}")
    if not bool(torch.isfinite(nodes).all()):
        first = int((~torch.isfinite(nodes)).nonzero()[0])
        raise ValueError(f"{what} must be finite; entry {first} is {float(nodes[first])}")
    if not bool((nodes.diff() > 0).all()):
        first = int((nodes.diff() <= 0).nonzero()[0])
        pair = f"{float(nodes[first])}, {float(nodes[first + 1])}"
        raise ValueError(f"{what} must rise strictly; entries {first}, {first + 1} are {pair}; sort, drop duplicates")
    with torch.inference_mode(False):  # an inference tensor could never enter autograd later
        return torch.empty(nodes.shape, dtype=torch.float64).copy_(nodes)


def _check_inside(axes: tuple[str, ...], nodes: tuple[Tensor, ...], box: Box) -> None:
    if box.axes != axes:
        raise ValueError(f"the grid has the axes {axes}, its bounds {box.axes}; they must be the same")
    for axis, tensor in zip(axes, nodes, strict=True):
        low, high = box.bounds(axis)
        first, last = float(tensor[0]), float(tensor[-1])
        if first < low or last > high:
            raise ValueError(f"the nodes of axis {axis!r} run over [{first}, {last}], outside of [{low}, {high}]")


def _counts(box: Box, shape: Sequence[int]) -> dict[str, int]:
    if len(shape) != len(box.axes):
        raise ValueError(f"the shape needs one number for each of the axes {box.axes}, got {tuple(shape)}")
    counts: dict[str, int] = {}
    for axis, n in zip(box.axes, shape, strict=True):
        counts[axis] = positive_int(n, f"the number of nodes of axis {axis!r}")
        if counts[axis] < 2:
            raise ValueError(f"axis {axis!r} needs at least 2 nodes, got {n}")
    return counts


def _spaced(box: Box, axis: str, n: int) -> Tensor:
    return torch.linspace(*box.bounds(axis), n, dtype=torch.float64)


def _wrapped(box: Box, axis: str, n: int) -> Tensor:
    low, _ = box.bounds(axis)
    return low + torch.arange(n, dtype=torch.float64) * (box.extent(axis) / n)


def _centres(box: Box, axis: str, n: int) -> Tensor:
    low, _ = box.bounds(axis)
    return low + (torch.arange(n, dtype=torch.float64) + 0.5) * (box.extent(axis) / n)


def _stretched(box: Box, axis: str, n: int, to_lower: float, to_upper: float) -> Tensor:
    if to_lower == to_upper == 0.0:
        return _spaced(box, axis, n)
    low, high = box.bounds(axis)
    values = torch.tanh(torch.linspace(-to_lower, to_upper, n, dtype=torch.float64))
    nodes = low + (high - low) * (values - values[0]) / (values[-1] - values[0])
    nodes[0], nodes[-1] = low, high  # exactly: conditions are found by equality with the ends
    return nodes
