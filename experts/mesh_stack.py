"""Patches of a mesh stacked one after another: numbering, element sums, and products between neighbours.

Unknowns of several fields stand field after field: number f S + s is field f at stacked node s of S, and f P + p field
f at node p of the mesh.
"""

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
        places: stacked unknown of each of their local ones, (element, L).
        size: stacked unknowns.
    """

    triplets: Triplets
    elements: Tensor
    places: Tensor
    size: int

    @staticmethod
    def of(elements: Tensor, places: Tensor, size: int) -> ElementSum:
        """From the place of each local unknown."""
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
    """The nodes of all patches with their surroundings, one patch after another, and the unknowns there.

    Arguments:
        inner: the decomposition whose weights join the fields.
        outer: the same patches with more layers, on whose nodes fields live.
        fields: number of fields of the equation, F.
    """

    inner: MeshDecomposition
    outer: MeshDecomposition
    fields: int = 1
    _parts: list[tuple[SparsityPattern, Tensor, Tensor, tuple[Triplets, Tensor]]] = field(
        default_factory=list, init=False, repr=False
    )

    @property
    def count(self) -> int:
        """Number of patches."""
        return len(self.outer.patches)

    @cached_property
    def mesh_nodes(self) -> Tensor:
        """Mesh node of each stacked node, (S,)."""
        return torch.cat([patch.nodes for patch in self.outer.patches])

    @cached_property
    def node_patch(self) -> Tensor:
        """Patch of each stacked node, (S,)."""
        sizes = torch.tensor([len(patch.nodes) for patch in self.outer.patches])
        return torch.arange(self.count).repeat_interleave(sizes)

    @property
    def n_nodes(self) -> int:
        """Number of stacked nodes, S."""
        return len(self.mesh_nodes)

    @property
    def size(self) -> int:
        """Number of stacked unknowns, F S."""
        return self.fields * self.n_nodes

    def unknowns(self, places: Tensor, count: int) -> Tensor:
        """The unknowns of all fields at nodes, (..., n) -> (..., F n).

        Arguments:
            places: nodes.
            count: how many nodes there are in all.
        """
        return torch.cat([places + field * count for field in range(self.fields)], -1)

    @cached_property
    def nodes(self) -> Tensor:
        """Mesh unknown of each stacked unknown, (F S,)."""
        return self.unknowns(self.mesh_nodes, self.inner.mesh.n_nodes)

    @cached_property
    def patch(self) -> Tensor:
        """Patch of each stacked unknown, (F S,)."""
        return self.node_patch.repeat(self.fields)

    @cached_property
    def _keys(self) -> Tensor:
        return self.node_patch * self.inner.mesh.n_nodes + self.mesh_nodes

    def place(self, patch: Tensor, node: Tensor) -> Tensor:
        """The stacked node of a mesh node in a patch that has it."""
        return torch.searchsorted(self._keys, patch * self.inner.mesh.n_nodes + node)

    @cached_property
    def weight(self) -> Tensor:
        """φ of its patch at each stacked unknown, zero outside of the inner patches, (F S,)."""
        found = torch.zeros(self.n_nodes, dtype=torch.float64)
        for patch in self.inner.patches:
            found[self.place(torch.full_like(patch.nodes, patch.index), patch.nodes)] = patch.weight
        return found.repeat(self.fields)

    @cached_property
    def border(self) -> Tensor:
        """Whether some cells around a stacked unknown are not in its patch, (F S,)."""
        cells = self.inner.mesh.cells
        around = torch.bincount(cells.reshape(-1), minlength=self.inner.mesh.n_nodes)
        own = torch.zeros(self.n_nodes, dtype=torch.int64)
        for patch in self.outer.patches:
            nodes = cells[patch.cells].reshape(-1)
            own.index_add_(0, self.place(torch.full_like(nodes, patch.index), nodes), torch.ones_like(nodes))
        return (own < around[self.mesh_nodes]).repeat(self.fields)

    @cached_property
    def positions(self) -> Tensor:
        """Coordinates within the box of the patch, each axis on [-1, 1], (S, d)."""
        points = self.inner.mesh.points[self.mesh_nodes]
        index = self.node_patch.unsqueeze(1).expand_as(points)
        shape = (self.count, points.shape[1])
        low = torch.full(shape, torch.inf, dtype=points.dtype).scatter_reduce(0, index, points, "amin")
        high = torch.full(shape, -torch.inf, dtype=points.dtype).scatter_reduce(0, index, points, "amax")
        return (2 * points - (low + high)[self.node_patch]) / (high - low)[self.node_patch]

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
        return ElementSum.of(torch.cat(elements), self.unknowns(torch.cat(places), self.n_nodes), self.size)

    def gathered(self, places: Sequence[Tensor]) -> Tensor:
        """The unknowns at lists of stacked nodes, padded to one length by F S, which stands for a zero, (list, n)."""
        lists = [self.unknowns(nodes, self.n_nodes) for nodes in places]
        return pad_sequence(lists, batch_first=True, padding_value=self.size)

    @cached_property
    def table(self) -> Tensor:
        """The stacked unknowns of each patch, (K, n)."""
        sizes = [len(patch.nodes) for patch in self.outer.patches]
        return self.gathered(torch.arange(self.n_nodes).split(sizes))

    @cached_property
    def overlapping(self) -> tuple[tuple[Edge, ...], Tensor, Tensor]:
        """Pairs of inner patches with common nodes; where their unknowns stand in the first and the second, (E, n)."""
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
        """As ``overlapping``, at the nodes of the facets between own cells."""
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
        """Stacked fields (N, F S) at padded lists of unknowns, (list, n, N), zero where padded."""
        padded = torch.cat([fields, fields.new_zeros(fields.shape[0], 1)], 1)
        chosen = padded.index_select(1, table.reshape(-1))  # its backward is a sum along rows: no atomic writes
        return chosen.reshape(fields.shape[0], *table.shape).movedim(0, -1)

    def part(self, pattern: SparsityPattern, rows: Tensor, columns: Tensor) -> tuple[Triplets, Tensor]:
        """The pattern of some rows and columns of a stacked matrix, and which of its entries are left; kept.

        Arguments:
            pattern: of the stacked matrix.
            rows, columns: stacked unknowns, not none.
        """
        for known, first, second, found in self._parts:
            if known is pattern and torch.equal(first, rows) and torch.equal(second, columns):
                return found
        row, column = (
            torch.full((self.size,), -1).index_copy(0, chosen, torch.arange(len(chosen)))[index.long()]
            for chosen, index in ((rows, pattern.rows), (columns, pattern.columns))
        )
        kept = ((row >= 0) & (column >= 0)).nonzero().squeeze(1)
        found = Triplets.of(row[kept], column[kept], (len(rows), len(columns))), kept
        self._parts.append((pattern, rows, columns, found))
        return found

    @cached_property
    def core(self) -> PatchStack:
        """The inner patches alone: where fields are joined."""
        return self if self.outer is self.inner else PatchStack(self.inner, self.inner, self.fields)

    @cached_property
    def core_places(self) -> Tensor:
        """The stacked unknown at each of the core's."""
        return self.unknowns(self.place(self.core.node_patch, self.core.mesh_nodes), self.n_nodes)

    def joined(self, values: Tensor) -> Tensor:
        """Σ_k φ_k u_k of stacked values (..., F S) on the mesh, (..., F P)."""
        out = values.new_zeros(*values.shape[:-1], self.fields * self.inner.mesh.n_nodes)
        return out.index_add(-1, self.nodes, values * self.weight)
