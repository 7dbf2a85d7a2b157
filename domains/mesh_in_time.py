"""A mesh and the instants at which values stand on its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.simplex_mesh import SimplexMesh


@final
@dataclass(frozen=True, eq=False)
class MeshInTime:
    """The nodes of a mesh that does not move, at several times; values have the shape (..., T, P).

    Arguments:
        mesh: in space.
        times: (T,) float64, strictly rising, at least one.

    Raises:
        ValueError: times that are not finite, do not rise strictly, or none.
        TypeError: times that are no float64 tensor.
    """

    mesh: SimplexMesh
    times: Tensor

    def __post_init__(self) -> None:
        times = self.times
        if not isinstance(times, Tensor) or times.dtype != torch.float64:
            raise TypeError(f"times must be a float64 tensor, got {getattr(times, 'dtype', type(times).__name__)}")
        if times.ndim != 1 or not len(times):
            raise ValueError(f"times must have the shape (T,) with T > 0, got {tuple(times.shape)}")
        if not bool(torch.isfinite(times).all()) or not bool((times.diff() > 0).all()):
            raise ValueError("times must be finite and rise strictly; sort them and drop what occurs twice")
        object.__setattr__(self, "times", times.detach().cpu().clone())

    @property
    def shape(self) -> tuple[int, int]:
        """(T, P)."""
        return (len(self.times), self.mesh.n_nodes)

    @property
    def axes(self) -> tuple[str, ...]:
        """``"t"``, then the letters of the coordinates."""
        return ("t", *self.mesh.axes)
