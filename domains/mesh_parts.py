"""Parts of a mesh: pieces that no facet joins, single cells, surfaces, and what lies between two subdomains."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.geometry import nearest_hint
from pdesolve.domains.simplex_check import check_subdomain
from pdesolve.domains.simplex_mesh import SimplexMesh


def components(mesh: SimplexMesh) -> Tensor:
    """Which piece each cell belongs to, (C,) int64 from 0: cells of one piece are joined through facets.

    Arguments:
        mesh: of any kind.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    cells = mesh.facets.cells.numpy()
    pairs = cells[cells[:, 1] >= 0]
    links = coo_matrix((np.ones(len(pairs), dtype=np.int8), pairs.T), shape=(mesh.n_cells, mesh.n_cells))
    _, label = connected_components(links, directed=False)
    return torch.from_numpy(label.astype(np.int64))


def extract(mesh: SimplexMesh, cells: Tensor) -> tuple[SimplexMesh, Tensor]:
    """The mesh of some cells; names stay where something is left of them.

    Arguments:
        mesh: the whole.
        cells: (n,) different cells.

    Returns:
        The mesh, its cells in the order given, and the node of the whole at each of its nodes.

    Raises:
        ValueError: no cells, a cell twice or one that is not there.
    """
    check_subdomain("the cells to keep", cells, mesh.n_cells)
    if not len(cells):
        raise ValueError("there are no cells to keep: give at least one")
    chosen = mesh.cells[cells]
    nodes, number = torch.unique(chosen, return_inverse=True)
    place = torch.full((mesh.n_cells,), -1)
    place[cells] = torch.arange(len(cells))
    boundaries = {}
    new = torch.full((mesh.n_nodes,), -1)
    new[nodes] = torch.arange(len(nodes))
    for name in mesh.boundaries:
        sides = mesh.facets.cells[mesh.facet_index(name)]
        kept = ((sides >= 0) & (place[sides] >= 0)).any(1)
        if bool(kept.any()):
            boundaries[name] = new[mesh.boundary(name)[kept]]
    subdomains = {name: place[index][place[index] >= 0] for name, index in mesh.subdomains.items()}
    left = {name: index for name, index in subdomains.items() if len(index)}
    return SimplexMesh(mesh.points[nodes], number.reshape(chosen.shape), boundaries, left), nodes


def surface(mesh: SimplexMesh, name: str | None = None) -> tuple[SimplexMesh, Tensor]:
    """The triangles in space on the boundary of a mesh of tetrahedra; named boundaries become subdomains.

    Arguments:
        mesh: of tetrahedra.
        name: of a boundary; None: the whole outside.

    Returns:
        The surface, turning outwards, and the node of the mesh at each of its nodes.

    Raises:
        ValueError: a mesh of triangles, an unknown or empty boundary, or one that is no manifold.
    """
    if mesh.dimension != 3:
        raise ValueError("a mesh of triangles has lines around it, not a surface; use outer_facets for them")
    facets = mesh.outer_facets() if name is None else mesh.facet_index(name)
    if not len(facets):
        raise ValueError(f"the boundary {name!r} has no facets" if name else "the mesh has no outer facets")
    nodes, number = torch.unique(mesh.facet_nodes(facets), return_inverse=True)
    place = torch.full((len(mesh.facets.corners),), -1)
    place[facets] = torch.arange(len(facets))
    parts = {key: place[mesh.facet_index(key)] for key in mesh.boundaries}
    named = {key: index[index >= 0] for key, index in parts.items() if bool((index >= 0).any())}
    return SimplexMesh(mesh.points[nodes], number.reshape(len(facets), -1), {}, named), nodes


def interface_between(mesh: SimplexMesh, first: str, second: str) -> Tensor:
    """The facets between two subdomains, (F, n) nodes, turning outwards of the first.

    Arguments:
        mesh: the mesh.
        first, second: names of subdomains.

    Raises:
        ValueError: an unknown name, or subdomains with a common cell.
    """
    side = torch.zeros(mesh.n_cells, dtype=torch.int64)
    side[mesh.subdomain(first)] += 1
    side[mesh.subdomain(second)] += 2
    if bool((side == 3).any()):
        raise ValueError(f"the subdomains {first!r} and {second!r} have {int((side == 3).sum())} common cells")
    return facets_between(mesh, side, 1, 2)[1]


def facets_between(mesh: SimplexMesh, label: Tensor, first: int, second: int) -> tuple[Tensor, Tensor]:
    """The facets between cells of two labels: places in ``facets``, and nodes turning outwards of the first.

    Arguments:
        mesh: the mesh.
        label: (C,).
        first, second: two of its values.
    """
    pairs = mesh.facets.cells
    inner = pairs[:, 1] >= 0
    sides = torch.where(inner[:, None], label[pairs.clamp(min=0)], first - 1)
    there = inner & (
        ((sides[:, 0] == first) & (sides[:, 1] == second)) | ((sides[:, 0] == second) & (sides[:, 1] == first))
    )
    index = there.nonzero().squeeze(1)
    owner = torch.where(sides[index, 0] == first, pairs[index, 0], pairs[index, 1])
    place = (mesh.facets.of_cell[owner] == index[:, None]).int().argmax(1)
    local = torch.tensor(mesh.cell_shape.facets)[place]
    return index, mesh.cells[owner].gather(1, local)


def with_boundaries(mesh: SimplexMesh, where: Mapping[str, Callable[[Tensor], Tensor]]) -> SimplexMesh:
    """The mesh with more named boundaries: outer facets whose middles satisfy a condition.

    Arguments:
        mesh: the mesh.
        where: name -> function of the middles (n, d), true where the boundary is.

    Raises:
        ValueError: a name that is taken, a condition of another shape, or one that no outer facet satisfies.
    """
    facets = mesh.facet_nodes(mesh.outer_facets())
    middles = mesh.points[facets[:, : mesh.dimension]].mean(1)
    found = dict(mesh.boundaries)
    for name, condition in where.items():
        if name in found:
            raise ValueError(f"the mesh has a boundary {name!r} already; {nearest_hint('', found)}")
        chosen = condition(middles)
        if chosen.dtype != torch.bool or chosen.shape != (len(facets),):
            raise ValueError(
                f"the condition of {name!r} must give ({len(facets)},) truth values, got {chosen.dtype} of shape "
                f"{tuple(chosen.shape)}"
            )
        if not bool(chosen.any()):
            raise ValueError(f"no outer facet satisfies the condition of {name!r}; is its tolerance too small?")
        found[name] = facets[chosen]
    return SimplexMesh(mesh.points, mesh.cells, found, mesh.subdomains)
