"""Decompositions of a mesh of simplices into patches of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.mesh_parts import facets_between
from pdesolve.domains.metis import metis_partition
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_topology import EDGES, Array
from pdesolve.transforms import below


@final
@dataclass(frozen=True, eq=False)
class MeshPatch:
    """One part of a decomposition of a mesh.

    Arguments:
        index: its place in ``MeshDecomposition.patches``.
        own_cells: the cells that are its alone, rising.
        cells: those and the layers of overlap around them, rising.
        nodes: all nodes of ``cells``, rising; neighbours have those between them too.
        weight: φ of the patch at ``nodes``, float64; over all patches they sum to one at each node.
    """

    index: int
    own_cells: Tensor
    cells: Tensor
    nodes: Tensor
    weight: Tensor


@final
@dataclass(frozen=True, eq=False)
class MeshInterface:
    """The facets between the own cells of two patches.

    Arguments:
        patches: indices (a, b), a < b.
        facets: (F,) places in ``mesh.facets``.
        facet_nodes: (F, n) their nodes, turning outwards of a.
        nodes: all of them, each once, rising.
    """

    patches: tuple[int, int]
    facets: Tensor
    facet_nodes: Tensor
    nodes: Tensor


@final
@dataclass(frozen=True, eq=False)
class MeshDecomposition:
    """Patches of cells that cover a mesh, and how what they hold makes one field.

    ``graph_decomposition`` makes them by METIS; any other assignment of the cells will do.

    u = Σ_k φ_k u_k. Without overlap φ_k is one inside a patch and 1/m where m patches meet. With L > 0 layers it falls
    to zero on the border of patch k, in proportion to the number of layers from there; on a quadratic mesh it is linear
    in each cell.

    Arguments:
        mesh: the whole.
        owner: (C,) int64 the patch of each cell, 0 to K - 1, none empty.
        overlap: L, layers of cells around each patch, joined by nodes (default 0).
        cost: (C,) work of each cell, for ``imbalance``; None: all alike.

    Raises:
        ValueError: owners of another shape, or that leave a patch empty; a negative overlap.
        TypeError: owners that are no int64 tensor.
    """

    mesh: SimplexMesh
    owner: Tensor
    overlap: int = 0
    cost: Tensor | None = None
    _orders: dict[torch.device, tuple[Tensor, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        owner, mesh = self.owner, self.mesh
        if not isinstance(owner, Tensor) or owner.dtype != torch.int64:
            raise TypeError(f"owner must be an int64 tensor, got {getattr(owner, 'dtype', type(owner).__name__)}")
        if tuple(owner.shape) != (mesh.n_cells,):
            raise ValueError(f"owner must have the shape ({mesh.n_cells},), one patch for each cell, got {owner.shape}")
        if int(owner.min()) < 0:
            raise ValueError(f"patches are numbered from 0, got {int(owner.min())}")
        count = torch.bincount(owner)
        if not bool((count > 0).all()):
            raise ValueError(f"patch {int((count == 0).nonzero()[0])} has no cells: number the patches without gaps")
        if isinstance(self.overlap, bool) or not isinstance(self.overlap, int) or self.overlap < 0:
            raise ValueError(f"overlap must be a number of layers, 0 or more, got {self.overlap!r}")

    @cached_property
    def patches(self) -> tuple[MeshPatch, ...]:
        """All patches, in the order of their index."""
        region = _grown(self)
        incidence = _incidence(self.mesh.cells, self.mesh.n_nodes)
        nodes = _sorted(region @ incidence)
        weights = _weights(self, region, nodes)
        own = torch.argsort(self.owner, stable=True).split(torch.bincount(self.owner).tolist())
        return tuple(
            MeshPatch(
                k,
                own[k],
                _row(region, k),
                _row(nodes, k),
                torch.from_numpy(weights[nodes.indptr[k] : nodes.indptr[k + 1]]),
            )
            for k in range(len(own))
        )

    @cached_property
    def interfaces(self) -> tuple[MeshInterface, ...]:
        """The interfaces in the order of their patches."""
        pairs = self.mesh.facets.cells
        sides = self.owner[pairs[pairs[:, 1] >= 0]].sort(1).values
        cut = torch.unique(sides[sides[:, 0] != sides[:, 1]], dim=0).tolist()
        made = []
        for a, b in cut:
            index, nodes = facets_between(self.mesh, self.owner, a, b)
            made.append(MeshInterface((a, b), index, nodes, torch.unique(nodes)))
        return tuple(made)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The pairs of neighbouring patches, one for each interface."""
        return tuple(interface.patches for interface in self.interfaces)

    @property
    def edge_cut(self) -> int:
        """Number of facets between patches."""
        return sum(len(interface.facets) for interface in self.interfaces)

    @property
    def imbalance(self) -> float:
        """Cost of the most expensive patch over the mean: one at best."""
        cost = torch.ones(self.mesh.n_cells, dtype=torch.float64) if self.cost is None else self.cost.double()
        work = torch.zeros(int(self.owner.max()) + 1, dtype=torch.float64).index_add(0, self.owner, cost.cpu())
        return float(work.max() / work.mean())

    def neighbours(self, index: int) -> tuple[int, ...]:
        """Indices of the patches that share a facet with a patch, rising.

        Arguments:
            index: of the patch.

        Raises:
            ValueError: on an index out of range.
        """
        self._check(index)
        return tuple(sorted({b if a == index else a for a, b in self.edges if index in (a, b)}))

    def boundaries_of(self, index: int) -> tuple[str, ...]:
        """The named boundaries of the mesh that the own cells of a patch have facets on.

        Arguments:
            index: of the patch.

        Raises:
            ValueError: on an index out of range.
        """
        self._check(index)
        pairs = self.mesh.facets.cells
        label = torch.cat([self.owner, self.owner.new_tensor([-1])])  # -1, outside, finds the last
        on = {name: label[pairs[self.mesh.facet_index(name)]] for name in self.mesh.boundaries}
        return tuple(name for name, sides in on.items() if bool((sides == index).any()))

    def restrict(self, values: Tensor) -> list[Tensor]:
        """The values at the nodes of each patch; differentiable.

        Arguments:
            values: (*batch, P).

        Returns:
            One tensor (*batch, n_nodes of the patch) per patch.

        Raises:
            ValueError: another number of nodes.
        """
        if values.shape[-1:] != (self.mesh.n_nodes,):
            raise ValueError(f"values must have the shape (*batch, {self.mesh.n_nodes}), got {tuple(values.shape)}")
        order = self._orders_on(values.device)[0]
        return list(values[..., order].split(self._sizes, -1))

    def assemble(self, patch_values: Sequence[Tensor]) -> Tensor:
        """u = Σ_k φ_k u_k at every node: gives back what ``restrict`` took apart; differentiable.

        Arguments:
            patch_values: one tensor (*batch, n_nodes of the patch) per patch, with the same batch.

        Returns:
            (*batch, P).

        Raises:
            ValueError: when number or shapes do not fit the patches.
        """
        sizes = self._sizes
        if len(patch_values) != len(sizes):
            raise ValueError(f"there are {len(sizes)} patches, got values of {len(patch_values)}")
        batch = patch_values[0].shape[:-1]
        for index, (values, size) in enumerate(zip(patch_values, sizes, strict=True)):
            if values.shape != (*batch, size):
                raise ValueError(f"patch {index} needs values of shape {(*batch, size)}, got {tuple(values.shape)}")
        whole = torch.cat(list(patch_values), -1)
        order, kept, weight = self._orders_on(whole.device)
        # entries of weight zero are left out: what a patch says there, NaN too, reaches nothing
        shares = whole[..., kept] * weight.to(whole.dtype)
        return whole.new_zeros((*batch, self.mesh.n_nodes)).index_add(-1, order[kept], shares)

    @cached_property
    def _sizes(self) -> list[int]:
        return [len(patch.nodes) for patch in self.patches]

    def _orders_on(self, device: torch.device) -> tuple[Tensor, ...]:
        """Nodes, patch after patch; those entries with a weight; the weights."""
        if device not in self._orders:
            with torch.inference_mode(False):  # what is kept may meet autograd later

                def made() -> tuple[Tensor, ...]:
                    weight = torch.cat([patch.weight for patch in self.patches])
                    kept = (weight > 0).nonzero().squeeze(1)
                    order = torch.cat([patch.nodes for patch in self.patches])
                    return order.to(device), kept.to(device), weight[kept].to(device)

                self._orders[device] = below(made)
        return self._orders[device]

    def _check(self, index: int) -> None:
        count = int(self.owner.max()) + 1
        if not 0 <= index < count:
            raise ValueError(f"there is no patch {index}; allowed: 0 to {count - 1}")


def graph_decomposition(
    mesh: SimplexMesh, n_patches: int, *, cost: Tensor | None = None, overlap: int = 0, seed: int = 0
) -> MeshDecomposition:
    """Cut a mesh into patches of about equal cost with few facets between them, by METIS.

    Arguments:
        mesh: what is cut.
        n_patches: K.
        cost: (C,) work of each cell, positive; None: all alike.
        overlap: layers of cells around each patch (default 0).
        seed: of METIS' random choices (default 0).

    Raises:
        ValueError, TypeError: as ``metis_partition`` and ``MeshDecomposition``.

    Notes:
        Parts of the mesh that no facet joins are each covered; a warning says that there are several.
    """
    owner, _ = metis_partition(mesh, n_patches, cost, seed)
    return MeshDecomposition(mesh, owner, overlap, cost)


def _incidence(cells: Tensor, n_nodes: int) -> Any:
    """(C, P) which nodes each cell has."""
    from scipy.sparse import csr_matrix

    count, width = cells.shape
    starts = np.arange(0, count * width + 1, width)
    return csr_matrix((np.ones(count * width, dtype=np.int32), cells.reshape(-1).numpy(), starts), (count, n_nodes))


def _grown(decomposition: MeshDecomposition) -> Any:
    """(K, C) the cells of each patch with its overlap."""
    from scipy.sparse import csr_matrix

    owner = decomposition.owner.numpy()
    ones = np.ones(len(owner), dtype=np.int32)
    region = csr_matrix((ones, (owner, np.arange(len(owner)))), (int(owner.max()) + 1, len(owner)))
    incidence = _incidence(decomposition.mesh.corners, decomposition.mesh.n_nodes)
    for _ in range(decomposition.overlap):
        region = _sorted((region @ incidence) @ incidence.T)
    return _sorted(region)


def _sorted(matrix: Any) -> Any:
    """The same pattern with entries one and rising columns."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    matrix.data[:] = 1
    return matrix


def _row(matrix: Any, index: int) -> Tensor:
    return torch.from_numpy(matrix.indices[matrix.indptr[index] : matrix.indptr[index + 1]].astype(np.int64))


def _weights(decomposition: MeshDecomposition, region: Any, nodes: Any) -> Array:
    """φ at the nodes of all patches, one after another."""
    raw = _layers(decomposition, region, nodes) if decomposition.overlap else np.ones(nodes.nnz)
    total = np.bincount(nodes.indices, weights=raw, minlength=decomposition.mesh.n_nodes)
    result: Array = raw / total[nodes.indices]
    return result


def _layers(decomposition: MeshDecomposition, region: Any, nodes: Any) -> Array:
    """Layers between each node of a patch and the patch's border, at most 2 L + 1; zero on the border."""
    mesh, farthest = decomposition.mesh, 2 * decomposition.overlap + 1
    incidence = _incidence(mesh.corners, mesh.n_nodes)
    around = np.bincount(mesh.corners.reshape(-1).numpy(), minlength=mesh.n_nodes)
    inside = (region @ incidence).tocoo()
    border = inside.data < around[inside.col]  # some of the node's cells belong to others
    patch, node = inside.row[border], inside.col[border]
    raw, keys = np.full(nodes.nnz, float(farthest)), _keys(nodes)
    for layer in range(farthest):
        place = np.searchsorted(keys, patch.astype(np.int64) * mesh.n_nodes + node)
        place = place[raw[place] > layer]
        raw[place] = layer
        front = type(nodes)(
            (np.ones(len(place), dtype=np.int32), (keys[place] // mesh.n_nodes, keys[place] % mesh.n_nodes)),
            nodes.shape,
        )
        reached = (region.multiply(_sorted(front @ incidence.T)) @ incidence).tocoo()
        patch, node = reached.row, reached.col
    return raw if mesh.order == 1 else _linear(mesh, nodes, raw, keys)


def _keys(nodes: Any) -> Array:
    rows = np.repeat(np.arange(nodes.shape[0], dtype=np.int64), np.diff(nodes.indptr))
    result: Array = rows * nodes.shape[1] + nodes.indices
    return result


def _linear(mesh: SimplexMesh, nodes: Any, raw: Array, keys: Array) -> Array:
    """Middles of edges get the mean of the two ends."""
    ends = np.full((mesh.n_nodes, 2), -1)
    ends[mesh.cells[:, mesh.dimension + 1 :].numpy()] = mesh.corners.numpy()[:, np.asarray(EDGES[mesh.dimension])]
    middle = ends[nodes.indices, 0] >= 0
    base = keys[middle] - nodes.indices[middle]
    both = [raw[np.searchsorted(keys, base + ends[nodes.indices[middle], i])] for i in (0, 1)]
    raw[middle] = (both[0] + both[1]) / 2
    return raw
