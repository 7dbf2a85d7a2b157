"""The order in which the blocks of a symmetric block-sparse matrix are eliminated, found once from its graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

Edge = tuple[int, int]


@dataclass(frozen=True)
class Level:
    """One round: a set of blocks that share no edge, all eliminated at once.

    Arguments:
        nodes: the blocks.
        owner: for each neighbour entry, its node's place in ``nodes``.
        neighbour: for each entry, the neighbouring block.
        slot: for each entry, where its off-diagonal block is stored.
        flipped: whether the stored block is (neighbour, node) and must be transposed.
        edge_updates: (first entry, second entry, slot): neighbours of one node become neighbours.
    """

    nodes: tuple[int, ...]
    owner: tuple[int, ...]
    neighbour: tuple[int, ...]
    slot: tuple[int, ...]
    flipped: tuple[bool, ...]
    edge_updates: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Elimination:
    """All rounds, and how many off-diagonal blocks there are with fill-in."""

    n_nodes: int
    n_slots: int
    levels: tuple[Level, ...]


@lru_cache(maxsize=64)
def plan(n_nodes: int, edges: tuple[Edge, ...]) -> Elimination:
    """Nested independent sets, smallest degree first.

    A chain takes log2(n) rounds (cyclic reduction), a graph without edges one.

    Arguments:
        n_nodes: number of diagonal blocks.
        edges: pairs (a, b) with a < b, each once.
    """
    for a, b in edges:
        if not 0 <= a < b < n_nodes:
            raise ValueError(f"edge ({a}, {b}) is not of the form 0 <= a < b < {n_nodes}")
    slots = {edge: i for i, edge in enumerate(edges)}
    if len(slots) != len(edges):
        raise ValueError("an edge occurs twice: merge the interfaces of one pair of patches first")
    adjacency: dict[int, set[int]] = {i: set() for i in range(n_nodes)}
    for a, b in edges:
        adjacency[a].add(b)
        adjacency[b].add(a)
    levels = []
    while adjacency:
        levels.append(_eliminate(_independent(adjacency), adjacency, slots))
    return Elimination(n_nodes, len(slots), tuple(levels))


def _independent(adjacency: dict[int, set[int]]) -> list[int]:
    chosen: list[int] = []
    blocked: set[int] = set()
    for node in sorted(adjacency, key=lambda i: (len(adjacency[i]), i)):
        if node not in blocked:
            chosen.append(node)
            blocked |= adjacency[node]
    return chosen


def _eliminate(nodes: list[int], adjacency: dict[int, set[int]], slots: dict[Edge, int]) -> Level:
    owner: list[int] = []
    neighbour: list[int] = []
    slot: list[int] = []
    flipped: list[bool] = []
    updates: list[tuple[int, int, int]] = []
    for place, node in enumerate(nodes):
        around = sorted(adjacency.pop(node))
        first = len(owner)
        for other in around:
            owner.append(place)
            neighbour.append(other)
            slot.append(slots[min(node, other), max(node, other)])
            flipped.append(other < node)
            adjacency[other].discard(node)
        for i, a in enumerate(around):
            for j, b in enumerate(around[i + 1 :], start=i + 1):
                updates.append((first + i, first + j, slots.setdefault((a, b), len(slots))))
                adjacency[a].add(b)
                adjacency[b].add(a)
    return Level(tuple(nodes), tuple(owner), tuple(neighbour), tuple(slot), tuple(flipped), tuple(updates))
