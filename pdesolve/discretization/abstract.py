"""What a discretisation must give: points, and derivatives of basis fields at them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.patch import AbstractPatches


@dataclass(frozen=True, eq=False)
class Points:
    """Points on a number of pieces (patches or faces).

    Arguments:
        coordinates: by axis, each (piece, point).
        nodes: indices of grid nodes, (piece, point, axis), for discretisations that live on a grid.
        patches: whose basis is meant on each piece, (piece,) int64; None where all patches share one.
    """

    coordinates: Mapping[str, Tensor]
    nodes: Tensor | None = None
    patches: Tensor | None = None

    def of(self, patches: Sequence[int]) -> Points:
        """The same points, with the patch whose basis is meant on each piece."""
        return replace(self, patches=torch.tensor(list(patches), device=self.device))

    @staticmethod
    def at_nodes(grid: StructuredGrid, nodes: Tensor) -> Points:
        """Nodes of a grid, (piece, point, axis), with their coordinates."""
        columns = {axis: grid.axis_nodes(axis).to(nodes.device)[nodes[..., a]] for a, axis in enumerate(grid.axes)}
        return Points(columns, nodes)

    def distinct(self) -> Tensor:
        """One where a node stands for the first time on its piece, zero where it repeats, (piece, point)."""
        like = next(iter(self.coordinates.values()))
        if self.nodes is None:
            return torch.ones_like(like)
        strides = self.nodes.amax(dim=(0, 1)) + 1
        flat = self.nodes[..., 0]
        for axis in range(1, self.nodes.shape[-1]):
            flat = flat * strides[axis] + self.nodes[..., axis]
        ordered, order = flat.sort(dim=1, stable=True)
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        return torch.zeros_like(like).scatter(1, order, first.to(like.dtype))

    def share(self) -> Tensor:
        """1 / sqrt(count) for each point, zero for a node that repeats, (piece, point): what a row is scaled by."""
        distinct = self.distinct()
        return distinct / distinct.sum(1, keepdim=True).sqrt()

    @property
    def device(self) -> torch.device:
        return next(iter(self.coordinates.values())).device

    @property
    def shape(self) -> tuple[int, int]:
        pieces, points = next(iter(self.coordinates.values())).shape
        return pieces, points


@dataclass(frozen=True, eq=False)
class Expansion:
    """u = offset + Σ_i w_i basis_i and its derivatives at points.

    Arguments:
        basis: derivative name -> (batch, piece, point, component, n_basis).
        offset: derivative name -> (batch, piece, point, component).
    """

    basis: Mapping[str, Tensor]
    offset: Mapping[str, Tensor]

    def double(self) -> Expansion:
        """In float64, in which every solve is done."""
        return Expansion(
            {k: v.to(torch.float64) for k, v in self.basis.items()},
            {k: v.to(torch.float64) for k, v in self.offset.items()},
        )


class AbstractDiscretization(abc.ABC):
    """Chooses points and takes derivatives there: the only place that knows stencils or autograd."""

    grid: StructuredGrid | None = None
    """The grid it lives on, or None if points are free."""

    periodic_axes: tuple[str, ...] = ()
    """Axes along which every field it can represent is periodic: conditions there hold by construction."""

    @abc.abstractmethod
    def interior(self, decomposition: AbstractPatches, n: int, generator: torch.Generator) -> Points:
        """n points on every patch."""

    @abc.abstractmethod
    def face(
        self,
        decomposition: AbstractPatches,
        patches: Sequence[int],
        boundary: str,
        n: int,
        generator: torch.Generator,
    ) -> Points:
        """n points on the face called ``boundary`` ("initial" too) of each of the patches."""

    @abc.abstractmethod
    def expand(
        self, basis: Any, points: Points, parameters: Mapping[str, Tensor], derivatives: tuple[str, ...]
    ) -> Expansion:
        """Derivatives of a basis at points.

        Arguments:
            basis: what this discretisation can differentiate; see the subclass.
            points: where.
            parameters: name -> (batch,) or (1,).
            derivatives: names, "" for the value.

        Raises:
            TypeError: a basis of the wrong kind.
            ValueError: a derivative that the discretisation cannot give.
        """
