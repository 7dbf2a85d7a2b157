"""Faults that are no fault of one cell: nodes that lie in one place, and nodes that hang on a facet."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.simplex_topology import EDGES, Array

SAME_PLACE = 1e-3
"""Distance over the shortest boundary edge below which two nodes are taken for one."""

SLACK = 1e-6
"""Distance from a facet over its size below which a node lies on it."""

CANDIDATES = 8


def check_conforming(mesh: SimplexMesh) -> None:
    """Neighbouring cells share their nodes: no two nodes lie in one place, none on a facet of which it is no corner.

    Only nodes of outer facets are looked at, since such faults make a facet an outer one. The 8 nodes nearest to the
    middle of a facet are tested.

    Arguments:
        mesh: of any kind.

    Raises:
        ValueError: doubled or hanging nodes; the message names the first.
    """
    facets = mesh.outer_corners.numpy()
    if not len(facets):  # a closed surface
        return
    nodes, local = np.unique(facets, return_inverse=True)
    places = mesh.points.numpy()[nodes]
    corner = places[local.reshape(facets.shape)]  # (facet, corner, coordinate)
    ends = np.asarray(EDGES[2])[: 1 if facets.shape[1] == 2 else 3]
    shortest = np.linalg.norm(corner[:, ends[:, 0]] - corner[:, ends[:, 1]], axis=2).min()
    _check_doubled(nodes, places, SAME_PLACE * float(shortest))
    _check_hanging(nodes, places, facets, corner)


def same_place(points: Tensor, distance: float) -> Tensor:
    """Pairs of points closer than a distance, (n, 2), the lower index first.

    Arguments:
        points: (P, d).
        distance: largest.
    """
    from scipy.spatial import cKDTree

    pairs = cKDTree(points.numpy()).query_pairs(distance, output_type="ndarray")
    return torch.from_numpy(np.ascontiguousarray(pairs, dtype=np.int64))


def _check_doubled(nodes: Array, places: Array, distance: float) -> None:
    pairs = nodes[same_place(torch.from_numpy(places), distance).numpy()]
    if len(pairs):
        first = pairs[np.lexsort(pairs.T[::-1])[0]].tolist()
        raise ValueError(
            f"the nodes {first} lie in one place ({len(pairs)} such pairs), so that the cells around them are not "
            "joined: merge them (merge_nodes does)"
        )


def _check_hanging(nodes: Array, places: Array, facets: Array, corner: Array) -> None:
    from scipy.spatial import cKDTree

    middle = corner.mean(1)
    reach = np.linalg.norm(corner - middle[:, None], axis=2).max(1)
    facet, near = _nearer(cKDTree(places), middle, reach * (1 - SLACK), len(nodes))
    other = (nodes[near, None] != facets[facet]).all(1)
    facet, near = facet[other], near[other]
    inside = _within(places[near], corner[facet])
    if inside.any():
        first = int(inside.argmax())
        node, nodes_of_facet = nodes[near[first]], facets[facet[first]].tolist()
        raise ValueError(
            f"node {node} hangs: it lies on the facet {nodes_of_facet} without being a corner of it "
            f"({int(inside.sum())} such cases); remesh so that neighbours share whole facets"
        )


def _nearer(tree: Any, middle: Array, reach: Array, count: int) -> tuple[Array, Array]:
    """Facets and nodes nearer than ``reach`` to their middles, at most 8 for each: more than 4 where that many are."""
    rows, found = np.arange(len(middle)), []
    for number in (CANDIDATES // 2, CANDIDATES):
        k = min(number, count)
        distance, near = (np.reshape(a, (len(rows), k)) for a in tree.query(middle[rows], k=k))
        inside: Array = np.asarray(distance) < reach[rows, None]
        full = inside.sum(1) == (k if k < min(CANDIDATES, count) else -1)
        row, place = (inside & ~full.reshape(-1, 1)).nonzero()
        found.append((rows[row], near[row, place]))
        rows = rows[full]
        if not len(rows):
            break
    facet, node = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(facet, kind="stable")
    return facet[order], node[order]


def _within(places: Array, corner: Array) -> Any:
    """Which places (n, coordinate) lie on their facet (n, corner, coordinate)."""
    sides = corner[:, 1:] - corner[:, :1]
    offset = (places - corner[:, 0])[:, :, None]
    gram = sides @ sides.transpose(0, 2, 1)
    share = np.linalg.solve(gram, sides @ offset)  # (n, side, 1)
    distance = np.linalg.norm(offset - sides.transpose(0, 2, 1) @ share, axis=(1, 2))
    size = np.sqrt(np.diagonal(gram, axis1=1, axis2=2).max(1))
    share = share[:, :, 0]
    return (distance <= SLACK * size) & (share >= -SLACK).all(1) & (share.sum(1) <= 1 + SLACK)
