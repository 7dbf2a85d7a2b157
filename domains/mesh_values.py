"""Fields of coefficients on a mesh: one value for each cell, or for each node."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace
from typing import Self, final

import torch
from torch import Tensor

from pdesolve.domains.simplex_mesh import SimplexMesh


@dataclass(frozen=True, eq=False)
class AbstractMeshValues(abc.ABC):
    """Values of a coefficient on a mesh, for a batch of cases; gradients reach them.

    Arguments:
        values: (batch, n) or (n,), floating.

    Raises:
        TypeError: no floating tensor.
        ValueError: no dimension, or more than two.
    """

    values: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.values, Tensor) or not self.values.is_floating_point():
            raise TypeError(f"{type(self).__name__} needs a floating tensor, got {type(self.values).__name__}")
        if self.values.ndim not in (1, 2):
            raise ValueError(f"{type(self).__name__} needs (batch, n) or (n,), got shape {tuple(self.values.shape)}")

    @property
    def batch(self) -> int:
        """Number of cases, one for (n,)."""
        return 1 if self.values.ndim == 1 else len(self.values)

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.values.device

    def to(self, device: torch.device) -> Self:
        """The same values on a device."""
        return replace(self, values=self.values.to(device))

    def __len__(self) -> int:
        return self.batch

    def __getitem__(self, members: Tensor | slice) -> Self:
        """Some cases of the batch, by mask, indices or slice."""
        return replace(self, values=self.values.reshape(self.batch, -1)[members])

    def case(self, index: int) -> Tensor:
        """The values of one case, (n,); those of a batch of one stand for all."""
        return self.values if self.values.ndim == 1 else self.values[index if len(self.values) > 1 else 0]

    @abc.abstractmethod
    def check(self, mesh: SimplexMesh, name: str) -> None:
        """Raise unless there is one value for each place of the mesh.

        Arguments:
            mesh: where they belong.
            name: of the coefficient, for the message.

        Raises:
            ValueError: another number.
        """


@final
@dataclass(frozen=True, eq=False)
class CellValues(AbstractMeshValues):
    """One value for each cell of a mesh, (batch, n_cells) or (n_cells,): a coefficient that jumps between cells."""

    def check(self, mesh: SimplexMesh, name: str) -> None:
        _require(self.values, mesh.n_cells, "cells", name)


@final
@dataclass(frozen=True, eq=False)
class NodeValues(AbstractMeshValues):
    """One value for each node of a mesh, (batch, n_nodes) or (n_nodes,).

    Coefficients are linear in each cell between its corners; prescribed values are those at the nodes.
    """

    def check(self, mesh: SimplexMesh, name: str) -> None:
        _require(self.values, mesh.n_nodes, "nodes", name)


def _require(values: Tensor, count: int, places: str, name: str) -> None:
    if values.shape[-1] != count:
        raise ValueError(
            f"{name!r} has {values.shape[-1]} values, the mesh {count} {places}: give one for each of the {places}"
        )
