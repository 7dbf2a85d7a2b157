"""Patches, the faces between them, and what every decomposition can say about its own."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.domains.grid import StructuredGrid


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
class Blend:
    """Which patches make up a field at points, and with which weights.

    Arguments:
        index: patches, (share, *points) int64.
        weight: φ >= 0 of each, (share, *points), its sum over the shares one. A share of zero repeats the owner's
            index, so that what a patch says never reaches beyond it, NaN neither.
    """

    index: Tensor
    weight: Tensor


class AbstractPatches(abc.ABC):
    """Boxes in a domain, and the nodes of a grid that each holds."""

    patches: tuple[Patch, ...]
    domain: Box
    grid: StructuredGrid | None

    @property
    def node_ranges(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The node ranges of every patch, as ``sample_nodes`` takes them.

        Raises:
            ValueError: without a grid.
        """
        self._grid()
        return tuple(patch.node_ranges or () for patch in self.patches)

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

    def _patch(self, index: int) -> Patch:
        if not 0 <= index < len(self.patches):
            raise ValueError(f"there is no patch {index}; allowed: 0 to {len(self.patches) - 1}")
        return self.patches[index]

    def _grid(self) -> StructuredGrid:
        if self.grid is None:
            raise ValueError("this decomposition has no grid; decompose a StructuredGrid instead of a Box")
        return self.grid


@final
@dataclass(frozen=True, eq=False)
class Regions(AbstractPatches):
    """Boxes without any claim to fill the domain.

    Arguments:
        patches: the boxes.
        domain: what they lie in.
        grid: the grid of their nodes; None: none.
    """

    patches: tuple[Patch, ...]
    domain: Box
    grid: StructuredGrid | None = None


class AbstractDecomposition(AbstractPatches):
    """Patches that cover a domain, and how what they hold makes one field."""

    interfaces: tuple[Interface, ...]

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

    def neighbours(self, index: int) -> tuple[int, ...]:
        """Indices of the patches that share a face with a patch, rising.

        Arguments:
            index: of the patch.

        Raises:
            ValueError: on an index out of range.
        """
        self._patch(index)
        return tuple(sorted({b if a == index else a for a, b in self.edges if index in (a, b)}))

    @abc.abstractmethod
    def restrict(self, values: Tensor) -> list[Tensor]:
        """The values of each patch's nodes; differentiable.

        Arguments:
            values: (*batch, *grid).

        Returns:
            One tensor (*batch, *patch.shape) per patch.

        Raises:
            ValueError: without a grid, or when the shape does not fit it.
        """

    @abc.abstractmethod
    def assemble(self, patch_values: Sequence[Tensor]) -> Tensor:
        """The values on the whole grid from those of the patches; inverse of ``restrict``, differentiable.

        Arguments:
            patch_values: one tensor (*batch, *patch.shape) per patch, with the same batch.

        Returns:
            (*batch, *grid).

        Raises:
            ValueError: without a grid, or when number or shapes do not fit the patches.
        """

    @abc.abstractmethod
    def blend(self, coordinates: Mapping[str, Tensor]) -> Blend:
        """The patches at each point and their weights: u(x) = Σ_k φ_k(x) u_k(x).

        Arguments:
            coordinates: one tensor per axis of the domain, of shapes that broadcast.

        Raises:
            ValueError: when an axis is missing, or a point is NaN or outside of the domain (beyond rounding).
        """

    @abc.abstractmethod
    def overlaps_along(self, axis: str) -> Regions:
        """What the two patches of each interface of an axis have in common, none where they only touch."""

    def _checked(self, values: Tensor) -> tuple[int, ...]:
        """The leading dimensions of values on the grid."""
        shape = self._grid().shape
        if tuple(values.shape[-len(shape) :]) != shape:
            raise ValueError(f"values must have the shape (*batch, *{shape}), got {tuple(values.shape)}")
        return tuple(values.shape[: values.ndim - len(shape)])

    def _checked_parts(self, patch_values: Sequence[Tensor]) -> tuple[int, ...]:
        """The leading dimensions of values on the patches."""
        shape = self._grid().shape
        if len(patch_values) != len(self.patches):
            raise ValueError(f"there are {len(self.patches)} patches, got values of {len(patch_values)}")
        batch = tuple(patch_values[0].shape[: patch_values[0].ndim - len(shape)])
        for patch, values in zip(self.patches, patch_values, strict=True):
            if tuple(values.shape) != (*batch, *patch.shape):
                needed, got = (*batch, *patch.shape), tuple(values.shape)
                raise ValueError(f"patch {patch.index} needs values of shape {needed}, got {got}")
        return batch
