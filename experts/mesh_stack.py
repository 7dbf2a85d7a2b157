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
        entries: which entries of all element matrices, flattened.
        places: stacked node of each chosen local node.
        local: which local nodes of all elements, flattened.
        size: stacked nodes.
    """

    triplets: Triplets
    entries: Tensor
    places: Tensor
    local: Tensor
    size: int

    def matrix(self, elements: Tensor) -> SparseOperator:
        """The stacked matrix of element matrices, flattened and joined."""
        return SparseOperator(self.triplets.pattern, self.triplets.sum(elements[self.entries]))

    def vector(self, elements: Tensor) -> Tensor:
        """The stacked vector of element vectors, flattened and joined."""
        return elements.new_zeros(self.size).index_add(0, self.places, elements[self.local])


@dataclass(frozen=True, eq=False)
class PatchStack:
    """The nodes of all patches with their surroundings, one patch after another.

    Arguments:
        inner: the decomposition whose weights join the fields.
        outer: the same patches with more layers, on whose nodes fields live.
    """

    inner: MeshDecomposition
    outer: MeshDecomposition
    _interiors: dict[int, tuple[Triplets, Tensor]] = field(default_factory=dict, init=False, repr=False)

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

    def sums(self, tables: Sequence[ElementTable], node_of: Tensor, *, own: bool) -> ElementSum:
        """Element matrices summed over the cells of each patch.

        Arguments:
            tables: whose elements stand one after another, those of cells first.
            node_of: mesh node of each degree of freedom.
            own: over each patch's own cells instead of those with its surroundings.
        """
        size, width = len(self.nodes), tables[0].dofs.shape[1]
        cell = torch.cat([table.cells for table in tables])
        nodes = node_of[torch.cat([table.dofs for table in tables])]  # (element, L)
        order = torch.argsort(cell, stable=True)
        starts = torch.searchsorted(cell[order], torch.arange(self.inner.mesh.n_cells + 1))
        rows, columns, entries, places, local = [], [], [], [], []
        for patch in self.outer.patches:
            chosen = patch.own_cells if own else patch.cells
            counts = starts[chosen + 1] - starts[chosen]
            first = starts[chosen].repeat_interleave(counts)
            offset = torch.arange(len(first)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
            element = order[first + offset]
            where = self.place(torch.full_like(nodes[element], patch.index), nodes[element])
            shape = (len(element), width, width)
            rows.append(where.unsqueeze(-1).expand(shape).reshape(-1))
            columns.append(where.unsqueeze(1).expand(shape).reshape(-1))
            entries.append((element.unsqueeze(-1) * width**2 + torch.arange(width**2)).reshape(-1))
            places.append(where.reshape(-1))
            local.append((element.unsqueeze(-1) * width + torch.arange(width)).reshape(-1))
        triplets = Triplets.of(torch.cat(rows), torch.cat(columns), (size, size))
        return ElementSum(triplets, torch.cat(entries), torch.cat(places), torch.cat(local), size)

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
        return padded.T[table]

    def interior(self, pattern: SparsityPattern, free: Tensor) -> tuple[Triplets, Tensor]:
        """The pattern of a stacked matrix on some of its nodes, and which entries are left; kept for each pattern.

        Arguments:
            pattern: of the stacked matrix.
            free: the nodes, the same for one pattern.
        """
        if id(pattern) not in self._interiors:
            number = torch.full((len(self.nodes),), -1)
            number[free] = torch.arange(len(free))
            rows, columns = (number[index.long()] for index in (pattern.rows, pattern.columns))
            kept = ((rows >= 0) & (columns >= 0)).nonzero().squeeze(1)
            found = Triplets.of(rows[kept], columns[kept], (len(free), len(free)))
            self._interiors[id(pattern)] = found, kept
        return self._interiors[id(pattern)]

    def joined(self, values: Tensor) -> Tensor:
        """Σ_k φ_k u_k of stacked values (..., S) at the nodes of the mesh, (..., P)."""
        out = values.new_zeros(*values.shape[:-1], self.inner.mesh.n_nodes)
        return out.index_add(-1, self.nodes, values * self.weight)
