"""What a solve returns: the field, how it ended, and how it got there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

import torch
from torch import Tensor

from pdesolve.field import Field
from pdesolve.status import SolveStatus


@dataclass(frozen=True, eq=False)
class Solution:
    """A field with its status and where it came from.

    Arguments:
        field: the values.
        status: ``SolveStatus`` codes, (batch, n_patches).
        stats: numbers about the solve, tensors of shape (batch, ...): residual, iterations, seconds.
        parameters: name -> (batch,), the cases' parameters.
        interfaces: positions of patch interfaces by axis, for plots.
        provenance: JSON-compatible record of problem, method, versions and seeds.

    Raises:
        ValueError: status codes that are not (batch, n_patches).
    """

    field: Field
    status: Tensor
    stats: Mapping[str, Tensor] = default(default_factory=dict)
    parameters: Mapping[str, Tensor] = default(default_factory=dict)
    interfaces: Mapping[str, tuple[float, ...]] = default(default_factory=dict)
    provenance: Mapping[str, Any] = default(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status.ndim != 2 or self.status.shape[0] != self.field.batch:
            raise ValueError(
                f"status has shape {tuple(self.status.shape)}: (batch, n_patches) with batch {self.field.batch} "
                "is needed"
            )

    @property
    def converged(self) -> Tensor:
        """Which cases converged on every patch, (batch,)."""
        return (self.status == SolveStatus.CONVERGED).all(dim=1)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write a ``.vtkhdf`` file that ParaView opens; ``pdesolve.results.load`` reads it back.

        Raises:
            FileExistsError: the path exists and ``overwrite`` is false.
            ValueError, OSError: not a ``.vtkhdf`` path, a folder, or a place that cannot be written.
        """
        from pdesolve.results.vtkhdf import save  # the writer stands above this layer

        save(self, path, overwrite=overwrite)

    def relative_error(self, exact: Tensor) -> Tensor:
        """‖u - exact‖₂ / ‖exact‖₂ of each case, (batch,).

        Arguments:
            exact: (batch, component, *grid), on the field's device.

        Raises:
            ValueError: another shape than the field's values.

        Notes:
            Infinite or NaN for a case whose exact solution is zero.
        """
        if exact.shape != self.field.values.shape:
            raise ValueError(f"exact has shape {tuple(exact.shape)}, the field {tuple(self.field.values.shape)}")
        difference = (self.field.values - exact).flatten(1)
        size = torch.linalg.vector_norm(exact.flatten(1), dim=1)
        error: Tensor = torch.linalg.vector_norm(difference, dim=1) / size
        return error
