"""Whether a Jacobian fits, said before it is allocated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdesolve.linalg.direct.memory import available_memory

REMEDY = (
    "use Sketched(size), which makes products with a few hundred directions only, KrylovGaussNewton() where Gaussians "
    "are products along axes, fewer points or fewer parameters"
)


def require_jacobian(
    rows: int, parameters: int, device: torch.device, dtype: torch.dtype = torch.float64, copies: float = 2.0
) -> None:
    """Raise unless (rows, parameters) numbers fit ``copies`` times into what is free.

    Arguments:
        rows, parameters: m and n.
        device: where.
        dtype: of the entries (default float64).
        copies: how many of that size the method holds at its peak (default 2: the Jacobian and its factors).

    Raises:
        MemoryError: with the sizes and what to do.
    """
    needed = copies * rows * parameters * dtype.itemsize
    free = available_memory(device)
    if needed > free:
        raise MemoryError(
            f"the Jacobian of {rows} rows and {parameters} parameters takes {needed / 2**30:.3g} GiB with its factors, "
            f"{free / 2**30:.3g} GiB are free on {device}: {REMEDY}"
        )


def jacobian_copies(copies: float) -> Callable[[int, Tensor], None]:
    """``require_jacobian`` of all parameters, as a function of (rows, θ)."""
    return lambda rows, theta: require_jacobian(rows, len(theta), theta.device, theta.dtype, copies)
