"""Spaces of Lagrange elements on a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pdesolve.discretization.finite_elements.element_table import ElementTable, table_of
from pdesolve.discretization.finite_elements.order import check_order
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.domains.skfem_mesh import skfem_order
from pdesolve.pde.divergence_form import second_terms


@final
@dataclass(frozen=True, eq=False)
class FiniteElementSpace:
    """Continuous functions that are polynomials of degree p in each cell.

    Arguments:
        mesh: triangles of the plane or tetrahedra, linear or quadratic (then cells are curved).
        order: p, 1 or 2.

    Raises:
        ValueError: another order, linear elements on a quadratic mesh, or triangles in space.

    Source: Gustafsson & McBain, *scikit-fem*, JOSS 5 (2020); Ern & Guermond, *Finite Elements I* (2021), chapter 7.
    """

    mesh: SimplexMesh
    order: int

    def __post_init__(self) -> None:
        check_order(self.order)
        if self.order < self.mesh.order:
            raise ValueError("the mesh is quadratic: use FiniteElements(order=2), or a mesh of its corners alone")

    @cached_property
    def skfem_mesh(self) -> Any:
        """The mesh as scikit-fem's."""
        return self.mesh.to_skfem()

    @cached_property
    def element(self) -> Any:
        """The element as scikit-fem's."""
        import skfem

        kinds = {
            (2, 1): skfem.ElementTriP1,
            (2, 2): skfem.ElementTriP2,
            (3, 1): skfem.ElementTetP1,
            (3, 2): skfem.ElementTetP2,
        }
        return kinds[self.mesh.dimension, self.order]()

    @cached_property
    def basis(self) -> Any:
        """scikit-fem's cell basis; its quadrature integrates the product of two basis functions exactly."""
        from skfem import CellBasis

        return CellBasis(self.skfem_mesh, self.element, intorder=2 * self.order)

    @property
    def size(self) -> int:
        """Number of degrees of freedom."""
        return int(self.basis.N)

    @cached_property
    def locations(self) -> Tensor:
        """Where each degree of freedom is, (n, d)."""
        return torch.from_numpy(np.ascontiguousarray(self.basis.doflocs.T))

    @cached_property
    def cells(self) -> ElementTable:
        """Basis functions on cells."""
        return table_of(self.basis, self.mesh, self._curvatures)

    @cached_property
    def _facets(self) -> dict[str, ElementTable]:
        return {}

    def facets(self, boundary: str) -> ElementTable:
        """Basis functions on the facets of a named boundary."""
        from skfem import FacetBasis

        if boundary not in self._facets:
            self.mesh.boundary(boundary)  # an unknown name is named here
            found = FacetBasis(
                self.skfem_mesh, self.element, facets=self.skfem_mesh.boundaries[boundary], intorder=2 * self.order
            )
            self._facets[boundary] = table_of(found, self.mesh, self._curvatures)
        return self._facets[boundary]

    def boundary_dofs(self, boundary: str) -> Tensor:
        """Degrees of freedom on a named boundary, rising, (n,)."""
        self.mesh.boundary(boundary)
        found = self.basis.get_dofs(self.skfem_mesh.boundaries[boundary]).all()
        return torch.from_numpy(np.sort(found).astype(np.int64))

    @cached_property
    def node_dofs(self) -> Tensor:
        """The degree of freedom at each node of the mesh, (P,)."""
        if self.mesh.order == 1:
            return torch.arange(self.mesh.n_nodes)
        order = skfem_order(self.mesh)
        return torch.empty_like(order).scatter(0, order, torch.arange(len(order)))

    def at_dofs(self, nodal: Tensor) -> Tensor:
        """Values at the nodes of the mesh at the degrees of freedom: the same where these are the nodes, else linear.

        Arguments:
            nodal: (..., P).

        Returns:
            (..., n).
        """
        if self.order == self.mesh.order:
            return nodal.index_copy(-1, self.node_dofs.to(nodal.device), nodal)
        corners, shares = self._interpolation
        return (nodal[..., corners.to(nodal.device)] * shares.to(nodal.device)).sum(-1)

    @cached_property
    def _interpolation(self) -> tuple[Tensor, Tensor]:
        """Corners of a cell that has a degree of freedom, and its barycentric coordinates there, (n, d + 1) each."""
        local = torch.as_tensor(np.asarray(self.element.doflocs, dtype=np.float64))  # (L, d)
        local = torch.cat([1 - local.sum(1, keepdim=True), local], 1)
        dofs = self.cells.dofs
        cell = torch.zeros(self.size, dtype=torch.int64)
        place = torch.zeros(self.size, dtype=torch.int64)
        for i, column in enumerate(dofs.unbind(1)):
            cell[column], place[column] = torch.arange(len(dofs)), i
        return self.cells.corners[cell], local[place]

    def at_nodes(self, u: Tensor) -> Tensor:
        """The values at the nodes of the mesh, (..., n) -> (..., P)."""
        return u[..., self.node_dofs.to(u.device)]

    @cached_property
    def _curvatures(self) -> dict[str, Tensor]:
        """∂²φ on straight cells: ∇φ is linear, ∂_j ∇φ = Σ_k ∇φ(corner k) ∂_j λ_k."""
        if self.order == 1:
            return {}
        from skfem import CellBasis

        d, axes = self.mesh.dimension, self.mesh.axes
        corners = np.concatenate([np.zeros((d, 1)), np.eye(d)], axis=1)
        quadrature = (corners, np.full(d + 1, 1.0 / (d + 1)))
        there = CellBasis(self.skfem_mesh, self.element, quadrature=quadrature)
        inverse = torch.from_numpy(np.ascontiguousarray(there.mapping.invDF(corners)[..., 0]))  # (ref, axis, cell)
        shares = torch.cat([-inverse.sum(0, keepdim=True), inverse])  # ∂_j λ_k, (k, j, cell)
        slopes = torch.stack([torch.as_tensor(f[0].grad) for f in there.basis], -1)  # (i, cell, k, L)
        second = torch.einsum("ickl,kjc->ijcl", slopes, shares)
        return {term: second[axes.index(term[0]), axes.index(term[1])] for term in second_terms("".join(axes))}
