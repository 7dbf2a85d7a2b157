"""What discretisations on a grid share: nodes as points, basis fields given by their values there."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.patch import AbstractPatches
from pdesolve.domains.sampling import sample_nodes


class AbstractGridDiscretization(AbstractDiscretization):
    """Differentiates the values of a ``GridBasis``; override ``derivatives``."""

    grid: StructuredGrid

    @abc.abstractmethod
    def derivatives(
        self,
        values: Tensor,  # (*batch, *grid)
        terms: Iterable[str],
        indices: Tensor | None = None,  # (*points, n_axes)
    ) -> dict[str, Tensor]:
        """Derivatives of gridded values; differentiable, in the dtype and on the device of ``values``.

        Arguments:
            values: (*batch, *grid), floating or complex.
            terms: derivatives by their axis letters, ``""`` for the value, ``"x"``, ``"xx"``, ``"tx"``, ...
            indices: (*points, n_axes) int64 node indices in the order of ``grid.axes``, the same for the
                whole batch; None: every node.

        Returns:
            Term to (*batch, *grid), or with ``indices`` to (*batch, *points).

        Raises:
            ValueError: on shapes that do not fit the grid, indices outside it, and a derivative the
                discretisation cannot give.
            TypeError: on integer values, indices that are not int64, and ``terms`` given as one string.
        """

    def interior(self, decomposition: AbstractPatches, n: int, generator: torch.Generator) -> Points:
        """n nodes of every patch, those on the initial and boundary faces of the domain left out.

        A periodic axis has no such faces.

        Raises:
            ValueError: a decomposition of another grid, or a patch with no node inside the domain.
        """
        blocks = []
        for index, ranges in enumerate(self._ranges(decomposition)):
            inner = [
                self._inside(axis, *pair, nodes=length)
                for axis, pair, length in zip(self.grid.axes, ranges, self.grid.shape, strict=True)
            ]
            if any(start >= stop for start, stop in inner):
                raise ValueError(
                    f"patch {index} has no node inside the domain (node ranges {ranges}): use fewer patches or a "
                    "finer grid"
                )
            blocks.append(inner)
        return self._points(sample_nodes(blocks, n, generator))

    def face(
        self,
        decomposition: AbstractPatches,
        patches: Sequence[int],
        boundary: str,
        n: int,
        generator: torch.Generator,
    ) -> Points:
        """n nodes on the outermost layer of nodes of each patch.

        Raises:
            ValueError: a boundary of the domain that carries no nodes, as on a cell-centred grid.
        """
        face = self.grid.box.boundary(boundary)
        position, nodes = self.grid.axes.index(face.axis), self.grid.axis_nodes(face.axis)
        on_domain = [i for i in patches if boundary in decomposition.boundaries_of(i)]
        if on_domain and face.axis not in self.periodic_axes and not self.grid.has_nodes_on(boundary):
            raise ValueError(
                f"the grid has no nodes on boundary {boundary!r} ({face.axis} = {face.position}): its nearest are at "
                f"{float(nodes[0 if face.side < 0 else -1])}; use a node-based grid, or a lifting that imposes the "
                "condition there"
            )
        blocks = []
        for index in patches:
            ranges = list(self._ranges(decomposition)[index])
            start, stop = ranges[position]
            ranges[position] = (start, start + 1) if face.side < 0 else (stop - 1, stop)
            blocks.append(ranges)
        return self._points(sample_nodes(blocks, n, generator))

    def expand(
        self, basis: Any, points: Points, parameters: Mapping[str, Tensor], derivatives: tuple[str, ...]
    ) -> Expansion:
        """Derivatives of a ``GridBasis`` at sampled nodes."""
        if not isinstance(basis, GridBasis):
            raise TypeError(
                f"{type(self).__name__} differentiates fields on its grid, got {type(basis).__name__}: pass a tensor "
                "to HardConstraintLayer, or use Collocation for an Ansatz"
            )
        fields = self.derivatives(basis.values, derivatives, points.nodes)  # (batch, n_basis, component, P, M)
        offsets = self.derivatives(basis.offset, derivatives, points.nodes)
        return Expansion(
            {term: value.permute(0, 3, 4, 2, 1) for term, value in fields.items()},
            {term: value.permute(0, 2, 3, 1) for term, value in offsets.items()},
        )

    def _inside(self, axis: str, start: int, stop: int, *, nodes: int) -> tuple[int, int]:
        if axis in self.periodic_axes:
            return start, stop
        return max(start, 1), stop if axis == "t" else min(stop, nodes - 1)

    def _ranges(self, decomposition: AbstractPatches) -> tuple[tuple[tuple[int, int], ...], ...]:
        if decomposition.grid is not self.grid:
            raise ValueError(
                f"the decomposition must cut the grid of the {type(self).__name__}: cartesian_decomposition(grid, ...)"
            )
        return decomposition.node_ranges

    def _points(self, nodes: Tensor) -> Points:
        return Points.at_nodes(self.grid, nodes)


def check_values(values: Tensor, grid: StructuredGrid) -> None:
    """Raise unless values are (*batch, *grid.shape), floating or complex."""
    if tuple(values.shape[-len(grid.shape) :]) != grid.shape:
        raise ValueError(f"values must have the shape (*batch, *{grid.shape}), got {tuple(values.shape)}")
    if not (values.is_floating_point() or values.is_complex()):
        raise TypeError(f"values must be floating or complex, got {values.dtype}; convert them first")


def check_indices(indices: Tensor, grid: StructuredGrid) -> None:
    """Raise unless indices are (*points, n_axes) int64 within the grid."""
    if indices.dtype != torch.int64:
        raise TypeError(f"indices must be int64, got {indices.dtype}; use indices.long()")
    axes, shape = grid.axes, grid.shape
    if indices.ndim < 1 or indices.shape[-1] != len(axes):
        got = tuple(indices.shape)
        raise ValueError(f"indices must have the shape (*points, {len(axes)}) for {axes}, got {got}")
    limit = torch.tensor(shape, device=indices.device)
    if bool(((indices < 0) | (indices >= limit)).any()):
        raise ValueError(f"indices must lie within the grid of {shape} nodes and not be negative")


def check_not_text(terms: Iterable[str]) -> None:
    """Raise if terms are one string, whose letters would be taken for terms."""
    if isinstance(terms, str):
        raise TypeError(f"terms must be a list of terms, got the string {terms!r}; write [{terms!r}]")
