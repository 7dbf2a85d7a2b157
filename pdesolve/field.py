"""A field: values on the nodes of a mesh, with names and where they stand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.mesh_in_time import MeshInTime
from pdesolve.domains.simplex_mesh import SimplexMesh
from pdesolve.namespace import nearest

Nodes = StructuredGrid | SimplexMesh | MeshInTime
"""Where values stand: all have ``shape`` and ``axes``."""


@dataclass(frozen=True, eq=False)
class Field:
    """Values of one or more unknowns on a structured grid or a mesh, for a batch of cases.

    Arguments:
        values: (batch, component, t, x, y, z), axes that the grid lacks left out; on a mesh (batch, component, node),
            or (batch, component, t, node) on one in time.
        grid: the nodes; its time axis, if any, holds the times.
        names: one for each component.

    Raises:
        ValueError: shape against grid and names.
        TypeError: values that are no floating tensor.
    """

    values: Tensor
    grid: Nodes
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Tensor) or not torch.is_floating_point(self.values):
            raise TypeError(f"values must be a floating tensor, got {type(self.values).__name__}")
        wanted = (len(self.names), *self.grid.shape)
        if self.values.ndim != len(wanted) + 1 or tuple(self.values.shape[1:]) != wanted:
            raise ValueError(
                f"values have shape {tuple(self.values.shape)}: (batch, {', '.join(map(str, wanted))}) is needed "
                f"for fields {self.names} on {self._place()}"
            )

    def _place(self) -> str:
        if isinstance(self.grid, StructuredGrid):
            return f"a grid of axes {self.grid.axes}"
        mesh = self.grid.mesh if isinstance(self.grid, MeshInTime) else self.grid
        return f"a mesh of {mesh.n_nodes} nodes" + (" in time" if mesh is not self.grid else "")

    @property
    def batch(self) -> int:
        return int(self.values.shape[0])

    def component(self, name: str) -> Tensor:
        """One unknown, (batch, *grid.shape)."""
        if name not in self.names:
            raise ValueError(
                f"unknown field {name!r}: the fields are {', '.join(self.names)}{nearest(name, self.names)}"
            )
        return self.values[:, self.names.index(name)]

    def case(self, index: int) -> Field:
        """One case of the batch, as a batch of one.

        Raises:
            IndexError: no such case; negative numbers are none.
        """
        if not 0 <= index < self.batch:
            raise IndexError(f"case {index}: the field has the cases 0 to {self.batch - 1}")
        return Field(self.values[index : index + 1], self.grid, self.names)
