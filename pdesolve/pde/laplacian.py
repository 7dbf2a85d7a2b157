"""What equations on a choice of space axes share."""

from __future__ import annotations

from torch import Tensor

from pdesolve.jet import AXES
from pdesolve.pde.variable import FieldVariable


def check_space_axes(axes: str) -> None:
    """Raise ``ValueError`` unless ``axes`` is a choice of letters of "xyz", each once, at least one."""
    if not axes or any(axis not in AXES[1:] for axis in axes):
        raise ValueError(f"axes must be letters of 'xyz', got {axes!r}")
    if len(set(axes)) < len(axes):
        raise ValueError(f"axes must differ, got {axes!r}")


def laplacian(u: FieldVariable, axes: str) -> Tensor:
    """Δu = Σ_a ∂²u/∂a² over space axes."""
    total: Tensor = getattr(u, 2 * axes[0])
    for axis in axes[1:]:
        total = total + getattr(u, 2 * axis)
    return total
