"""Cells of a mesh assigned to patches by METIS, through pymetis."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.domains.mesh_parts import components
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_topology import Array

_log = logging.getLogger(__name__)

LARGEST_WEIGHT = 10**6
LARGEST_SUM = 2**30
SMALLEST_SHARE = 8
"""Cells per patch below which recursive bisection, which leaves no patch empty so easily, takes over."""


def metis_partition(mesh: SimplexMesh, n_patches: int, cost: Tensor | None = None, seed: int = 0) -> tuple[Tensor, int]:
    """Patches of about equal cost with few facets between them.

    METIS divides the graph whose vertices are the cells, joined where they share a facet.

    Arguments:
        mesh: what is cut.
        n_patches: K.
        cost: (C,) work of each cell, positive; None: all alike.
        seed: of METIS' random choices (default 0).

    Returns:
        The patch of each cell, (C,) int64, no patch empty; and METIS' own count of facets between patches.

    Raises:
        ValueError: K < 1 or above the number of cells, or costs that are not positive, finite and (C,).
        TypeError: a K that is no integer, or costs that are no tensor.

    Notes:
        METIS balances whole numbers: costs count to six digits, and to ten of 2³⁰ in sum. A mesh of several parts that
        no facet joins is cut as one, with a warning: a patch may then lie in two of them.

    Source: Karypis and Kumar, A fast and high quality multilevel scheme for partitioning irregular graphs, SIAM J. Sci.
        Comput. 20 (1998).
    """
    import pymetis

    n_patches = positive_int(n_patches, "the number of patches")
    if n_patches > mesh.n_cells:
        raise ValueError(f"the mesh has {mesh.n_cells} cells, too few for {n_patches} patches; allowed: 1 to that many")
    weights = _weights(cost, mesh.n_cells)
    parts = int(components(mesh).max()) + 1
    if parts > 1:
        _log.warning("the mesh has %d parts that no facet joins: each is solved, none acts on another", parts)
    start, neighbours = dual_graph(mesh)
    adjacency = pymetis.CSRAdjacency(start, neighbours)
    few = mesh.n_cells < SMALLEST_SHARE * n_patches
    options = pymetis.Options(seed=seed, contig=0)
    cut, owner = pymetis.part_graph(n_patches, adjacency=adjacency, vweights=weights, options=options, recursive=few)
    result = torch.tensor(owner, dtype=torch.int64)
    return (result, int(cut)) if len(torch.unique(result)) == n_patches else _filled(mesh, result, n_patches)


def dual_graph(mesh: SimplexMesh) -> tuple[Array, Array]:
    """Which cells share a facet, as compressed rows: starts (C + 1,) and neighbours.

    Arguments:
        mesh: the mesh.
    """
    cells = mesh.facets.cells.numpy()
    pairs = cells[cells[:, 1] >= 0]
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    ends = ends[np.lexsort(ends.T[::-1])]
    start = np.zeros(mesh.n_cells + 1, dtype=np.int64)
    np.cumsum(np.bincount(ends[:, 0], minlength=mesh.n_cells), out=start[1:])
    return start, np.ascontiguousarray(ends[:, 1])


def _weights(cost: Tensor | None, n_cells: int) -> Array | None:
    """Whole numbers in proportion to costs."""
    if cost is None:
        return None
    if not isinstance(cost, Tensor):
        raise TypeError(f"cost must be a tensor of one number for each cell, got {type(cost).__name__}")
    values = cost.detach().cpu().double()
    if tuple(values.shape) != (n_cells,):
        raise ValueError(f"cost must have the shape ({n_cells},), one number for each cell, got {tuple(values.shape)}")
    if not bool((torch.isfinite(values) & (values > 0)).all()):
        bad = int((~(torch.isfinite(values) & (values > 0))).nonzero()[0])
        raise ValueError(f"cost must be positive and finite, got {float(values[bad])} of cell {bad}")
    relative = values / values.max()
    scale = min(LARGEST_WEIGHT, LARGEST_SUM / float(relative.sum()))
    return np.asarray((relative * scale).round().clamp(min=1).long())


def _filled(mesh: SimplexMesh, owner: Tensor, n_patches: int) -> tuple[Tensor, int]:
    """A partition in which every patch that METIS left empty takes one cell of the largest."""
    count = torch.bincount(owner, minlength=n_patches)
    for patch in (count == 0).nonzero().squeeze(1).tolist():
        largest = int(count.argmax())
        owner[(owner == largest).nonzero()[-1]] = patch
        count[largest] -= 1
        count[patch] = 1
    pairs = mesh.facets.cells[mesh.facets.cells[:, 1] >= 0]
    return owner, int((owner[pairs[:, 0]] != owner[pairs[:, 1]]).sum())
