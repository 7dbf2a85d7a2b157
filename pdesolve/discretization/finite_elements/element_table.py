"""Basis functions and their derivatives at quadrature points, as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.skfem_mesh import skfem_order


@dataclass(frozen=True, eq=False)
class ElementTable:
    """Basis functions on pieces (cells, or facets of a boundary) at quadrature points.

    Arguments:
        cells: the mesh cell of each piece, (piece,).
        dofs: degrees of freedom of each piece, (piece, L).
        values: φ, (piece or 1, point, L).
        slopes: ∂φ by axis, (axis, piece, point, L).
        weights: quadrature weights with the Jacobian, (piece, point).
        coordinates: of the points by axis, each (piece, point).
        corner_shares: barycentric coordinates of the points, (piece or 1, point, d + 1).
        corners: mesh nodes at the corners of each piece's cell, (piece, d + 1).
        normals: outward unit normals of facets by axis, (axis, piece, point); None for cells.
        size: diameter of each piece's cell, (piece,).
        curvatures: second derivatives of φ by term, (piece, L), constant on a cell; empty for linear elements.
    """

    cells: Tensor
    dofs: Tensor
    values: Tensor
    slopes: Tensor
    weights: Tensor
    coordinates: Mapping[str, Tensor]
    corner_shares: Tensor
    corners: Tensor
    normals: Tensor | None
    size: Tensor
    curvatures: Mapping[str, Tensor]

    @property
    def shape(self) -> tuple[int, int]:
        """(pieces, points)."""
        return int(self.weights.shape[0]), int(self.weights.shape[1])

    def at(self, u: Tensor, terms: tuple[str, ...]) -> list[Tensor]:
        """Derivatives of fields at the points: (..., n) -> for each term (..., piece, point)."""
        local = u[..., self.dofs]
        return [self._term(local, term) for term in terms]

    def functions(self, term: str, axes: tuple[str, ...]) -> Tensor:
        """φ or a derivative of it, (piece, point, L)."""
        if not term:
            return self.values.expand(*self.shape, -1)
        if len(term) == 1:
            return self.slopes[axes.index(term)]
        flat = self.curvatures.get(term)
        if flat is None:
            return self.values.new_zeros(1, 1, 1).expand(*self.shape, self.dofs.shape[1])
        return flat[:, None].expand(-1, self.shape[1], -1)

    def _term(self, local: Tensor, term: str) -> Tensor:
        return torch.einsum("...cl,cql->...cq", local, self.functions(term, tuple(self.coordinates)))


def table_of(basis: Any, mesh: SimplexMesh, curvatures: Mapping[str, Tensor]) -> ElementTable:
    """The tables of a scikit-fem cell or facet basis.

    Arguments:
        basis: ``CellBasis`` or ``FacetBasis``.
        mesh: whose ``to_skfem()`` it lives on.
        curvatures: by term, (cell, L).
    """
    facets = hasattr(basis, "normals")
    cells = torch.as_tensor(basis.tind if facets else range(mesh.n_cells)).long()
    pieces, points = basis.dx.shape
    values = torch.stack([_tensor(f[0]).expand(pieces, points) for f in basis.basis], -1)
    slopes = torch.stack([_tensor(f[0].grad).expand(len(mesh.axes), pieces, points) for f in basis.basis], -1)
    if not facets:
        values = values[:1]
    where = basis.global_coordinates()
    coordinates = {axis: _tensor(where[i]) for i, axis in enumerate(mesh.axes)}
    local = _tensor(
        basis.mapping.invF(where, tind=basis.tind) if facets else basis.X
    )  # (d, piece, point) or (d, point)
    local = local if local.ndim == 3 else local[:, None]
    shares = torch.cat([1 - local.sum(0, keepdim=True), local]).movedim(0, -1)
    corner = torch.from_numpy(basis.mesh.t.T.astype("int64"))[cells]
    corner = skfem_order(mesh)[corner] if mesh.order > 1 else corner
    place = mesh.points[corner]
    size = (place[:, :, None] - place[:, None]).square().sum(-1).amax((1, 2)).sqrt()
    normals = _tensor(basis.normals) if facets else None
    dofs = torch.from_numpy(basis.element_dofs.T.astype("int64"))
    own = {term: value[cells] for term, value in curvatures.items()}
    return ElementTable(cells, dofs, values, slopes, _tensor(basis.dx), coordinates, shares, corner, normals, size, own)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))  # a copy: views may be read-only
