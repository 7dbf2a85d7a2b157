"""Patches of a mesh stacked one after another: numbering, element sums, and products between neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pdesolve.linalg.elimination import Edge
from pdesolve.linalg.operators.sparse import SparseOperator
from pdesolve.linalg.operators.sparsity_pattern import SparsityPattern, Triplets

if TYPE_CHECKING:
    from pdesolve.discretization.finite_elements.element_table import ElementTable
    from pdesolve.domains.mesh_decomposition import MeshDecomposition


@dataclass(frozen=True, eq=False)
class ElementSum:
    """Where the entries of element matrices go in the stacked matrix of some cells of each patch.

    Arguments:
        triplets: of the stacked matrix.
        elements: which elements.
        places: stacked node of each of their local nodes, (element, L).
        size: stacked nodes.
    """

    triplets: Triplets
    elements: Tensor
    places: Tensor
    size: int

    @staticmethod
    def of(elements: Tensor, places: Tensor, size: int) -> ElementSum:
        """From the place of each local node."""
        shape = (*places.shape, places.shape[1])
        rows, columns = (places.unsqueeze(i).expand(shape).reshape(-1) for i in (-1, 1))
        return ElementSum(Triplets.of(rows, columns, (size, size)), elements, places, size)

    def matrix(self, elements: Tensor) -> SparseOperator:
        """The stacked matrix of all element matrices, (element, L, L)."""
        return SparseOperator(self.triplets.pattern, self.triplets.sum(elements[self.elements].reshape(-1)))

    def vector(self, elements: Tensor) -> Tensor:
        """The stacked vector of all element vectors, (element, L)."""
        local = elements[self.elements].reshape(-1)
        return elements.new_zeros(self.size).index_add(0, self.places.reshape(-1), local)


@dataclass(frozen=True, eq=False)
class PatchStack:
    """The nodes of all patches with their surroundings, one patch after another.

    Arguments:
        inner: the decomposition whose weights join the fields.
        outer: the same patches with more layers, on whose nodes fields live.
    """

    inner: MeshDecomposition
    outer: MeshDecomposition
    _parts: list[tuple[SparsityPattern, Tensor, Tensor, tuple[Triplets, Tensor]]] = field(
        default_factory=list, init=False, repr=False
    )

    @property
    def count(self) -> int:
        """Number of patches."""
        return len(self.outer.patches)

    @cached_property
    def nodes(self) -> Tensor:
        """Mesh node of each stacked node, (S,)."""
        return torch.cat([patch.nodes for patch in self.outer.patches])

    @cached_property
    def patch(self) -> Tensor:
        """Patch of each stacked node, (S,)."""
        sizes = torch.tensor([len(patch.nodes) for patch in self.outer.patches])
        return torch.arange(self.count).repeat_interleave(sizes)

    @cached_property
    def _keys(self) -> Tensor:
        return self.patch * self.inner.mesh.n_nodes + self.nodes

    def place(self, patch: Tensor, node: Tensor) -> Tensor:
        """The stacked node of a mesh node in a patch that has it."""
        return torch.searchsorted(self._keys, patch * self.inner.mesh.n_nodes + node)

    @cached_property
    def weight(self) -> Tensor:
        """φ of its patch at each stacked node, zero outside of the inner patches, (S,)."""
        found = torch.zeros(len(self.nodes), dtype=torch.float64)
        for patch in self.inner.patches:
            found[self.place(torch.full_like(patch.nodes, patch.index), patch.nodes)] = patch.weight
        return found

    @cached_property
    def border(self) -> Tensor:
        """Whether some cells of a stacked node are not in its patch, (S,)."""
        cells = self.inner.mesh.cells
        around = torch.bincount(cells.reshape(-1), minlength=self.inner.mesh.n_nodes)
        own = torch.zeros(len(self.nodes), dtype=torch.int64)
        for patch in self.outer.patches:
            nodes = cells[patch.cells].reshape(-1)
            own.index_add_(0, self.place(torch.full_like(nodes, patch.index), nodes), torch.ones_like(nodes))
        return own < around[self.nodes]

    @cached_property
    def positions(self) -> Tensor:
        """Coordinates within the box of the patch, each axis on [-1, 1], (S, d)."""
        points = self.inner.mesh.points[self.nodes]
        index = self.patch.unsqueeze(1).expand_as(points)
        shape = (self.count, points.shape[1])
        low = torch.full(shape, torch.inf, dtype=points.dtype).scatter_reduce(0, index, points, "amin")
        high = torch.full(shape, -torch.inf, dtype=points.dtype).scatter_reduce(0, index, points, "amax")
        return (2 * points - (low + high)[self.patch]) / (high - low)[self.patch]

    def sums(self, tables: Sequence[ElementTable], node_of: Tensor) -> ElementSum:
        """Element matrices summed over the cells of each outer patch.

        Arguments:
            tables: whose elements stand one after another, those of cells first.
            node_of: mesh node of each degree of freedom.
        """
        cell = torch.cat([table.cells for table in tables])
        nodes = node_of[torch.cat([table.dofs for table in tables])]  # (element, L)
        order = torch.argsort(cell, stable=True)
        starts = torch.searchsorted(cell[order], torch.arange(self.inner.mesh.n_cells + 1))
        elements, places = [], []
        for patch in self.outer.patches:
            counts = starts[patch.cells + 1] - starts[patch.cells]
            first = starts[patch.cells].repeat_interleave(counts)
            offset = torch.arange(len(first)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
            element = order[first + offset]
            elements.append(element)
            places.append(self.place(torch.full_like(nodes[element], patch.index), nodes[element]))
        return ElementSum.of(torch.cat(elements), torch.cat(places), len(self.nodes))

    def gathered(self, places: Sequence[Tensor]) -> Tensor:
        """Lists of stacked nodes padded to one length by S, which stands for a node that is zero, (list, n)."""
        return pad_sequence(list(places), batch_first=True, padding_value=len(self.nodes))

    @cached_property
    def table(self) -> Tensor:
        """The stacked nodes of each patch, (K, n)."""
        sizes = [len(patch.nodes) for patch in self.outer.patches]
        return self.gathered(torch.arange(len(self.nodes)).split(sizes))

    @cached_property
    def overlapping(self) -> tuple[tuple[Edge, ...], Tensor, Tensor]:
        """Pairs of inner patches with common nodes, and where these stand in the first and in the second, (E, n)."""
        inside = [patch.nodes for patch in self.inner.patches]
        edges, first, second = [], [], []
        for a in range(self.count):
            for b in range(a + 1, self.count):
                common = inside[a][torch.isin(inside[a], inside[b], assume_unique=True)]
                if len(common):
                    edges.append((a, b))
                    first.append(self.place(torch.full_like(common, a), common))
                    second.append(self.place(torch.full_like(common, b), common))
        empty = torch.zeros(0, 0, dtype=torch.int64)
        if not edges:
            return (), empty, empty
        return tuple(edges), self.gathered(first), self.gathered(second)

    @cached_property
    def interfaces(self) -> tuple[tuple[Edge, ...], Tensor, Tensor]:
        """As ``overlapping``, for the nodes of the facets between own cells."""
        faces = self.inner.interfaces
        if not faces:
            empty = torch.zeros(0, 0, dtype=torch.int64)
            return (), empty, empty
        sides = [
            self.gathered([self.place(torch.full_like(f.nodes, f.patches[side]), f.nodes) for f in faces])
            for side in (0, 1)
        ]
        return tuple(f.patches for f in faces), sides[0], sides[1]

    def at(self, fields: Tensor, table: Tensor) -> Tensor:
        """Stacked fields (N, S) at padded lists of nodes, (list, n, N), zero where padded."""
        padded = torch.cat([fields, fields.new_zeros(fields.shape[0], 1)], 1)
        chosen = padded.index_select(1, table.reshape(-1))  # its backward is a sum along rows: no atomic writes
        return chosen.reshape(fields.shape[0], *table.shape).movedim(0, -1)

    def part(self, pattern: SparsityPattern, rows: Tensor, columns: Tensor) -> tuple[Triplets, Tensor]:
        """The pattern of some rows and columns of a stacked matrix, and which of its entries are left; kept.

        Arguments:
            pattern: of the stacked matrix.
            rows, columns: stacked nodes, not none.
        """
        for known, first, second, found in self._parts:
            if known is pattern and torch.equal(first, rows) and torch.equal(second, columns):
                return found
        row, column = (
            torch.full((len(self.nodes),), -1).index_copy(0, chosen, torch.arange(len(chosen)))[index.long()]
            for chosen, index in ((rows, pattern.rows), (columns, pattern.columns))
        )
        kept = ((row >= 0) & (column >= 0)).nonzero().squeeze(1)
        found = Triplets.of(row[kept], column[kept], (len(rows), len(columns))), kept
        self._parts.append((pattern, rows, columns, found))
        return found

    @cached_property
    def core(self) -> PatchStack:
        """The inner patches alone: where fields are joined."""
        return self if self.outer is self.inner else PatchStack(self.inner, self.inner)

    @cached_property
    def core_places(self) -> Tensor:
        """The stacked node at each of the core's."""
        return self.place(self.core.patch, self.core.nodes)

    def joined(self, values: Tensor) -> Tensor:
        """Σ_k φ_k u_k of stacked values (..., S) at the nodes of the mesh, (..., P)."""
        out = values.new_zeros(*values.shape[:-1], self.inner.mesh.n_nodes)
        return out.index_add(-1, self.nodes, values * self.weight)
