"""Coarser networks: along an axis every second cell is eliminated, as if it had neighbours along that axis alone.

    along the axis     conductances in series, g = g⁻g⁺/(g⁻ + g⁺)
    across it, and c   shared out to the two neighbours with the weights of interpolation

The first is the Schur complement of the cells along a line, exact; the second lumps the Galerkin product P^T A P to the
same 2 d + 1 entries. For constant coefficients the result is the operator discretised with the doubled spacing.
Several axes are coarsened one after another, so interpolation is a product of steps along axes and so is P^T.

Source: Alcouffe, Brandt, Dendy & Painter, *The multi-grid method for the diffusion equation with strongly discontinuous
coefficients*, SIAM J. Sci. Stat. Comput. 2 (1981), whose weights these are; the lumping differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pdesolve.linalg.multigrid.stencil import AxisLinks, Stencil
from pdesolve.linalg.multigrid.transfer import AxisTransfer, coarse_size

_COMPARABLE = 0.3  # an axis is coarsened where its conductance is at least this part of the largest


def strengths(stencil: Stencil) -> list[float]:
    """Geometric mean of the conductances along each axis; zero along axes of one cell."""
    means = [
        links.between.double().log().mean().exp() if n > 1 else links.between.new_zeros((), dtype=torch.float64)
        for n, links in zip(stencil.grid, stencil.links, strict=True)
    ]
    found: list[float] = torch.stack(means).tolist()
    return found


def strong_axes(strength: Sequence[float]) -> list[int]:
    """Axes to coarsen: a point smoother smooths only along strong couplings, so only there may cells be left out."""
    largest = max(strength)
    return [axis for axis, value in enumerate(strength) if value > 0 and value >= _COMPARABLE * largest]


def coarsened(stencil: Stencil, axes: Sequence[int]) -> tuple[Stencil, list[AxisTransfer]]:
    """The coarse network and the steps of restriction, in this order."""
    steps = []
    for axis in axes:
        stencil, step = _along(stencil, axis)
        steps.append(step)
    return stencil, steps


def _along(stencil: Stencil, axis: int) -> tuple[Stencil, AxisTransfer]:
    dim, n, links = axis - len(stencil.grid), stencil.grid[axis], stencil.links[axis]
    below, above = _neighbours(links, dim, n)
    wrapped = links.wrap is not None
    coarse = coarse_size(n, wrapped)
    stop = n - 1 if wrapped and n % 2 else n
    below, above = (_even(t, dim, stop) for t in (below, above))
    total = below + above
    step = AxisTransfer(dim, n, coarse, wrapped, below / total, above / total)
    series = below * above / total
    new = [
        _series(links, series, dim, n, coarse) if other == axis else _lumped_links(stencil, other, step)
        for other in range(len(stencil.grid))
    ]
    grid = tuple(coarse if other == axis else size for other, size in enumerate(stencil.grid))
    return Stencil(grid, tuple(new), _lumped(stencil.mass, step, step.lower, step.upper)), step


def _neighbours(links: AxisLinks, dim: int, n: int) -> tuple[Tensor, Tensor]:
    """Conductances of each cell to the one before and the one after, n along the axis; zero where there is none."""
    between = _expanded(links.between, dim, n - 1)
    none = torch.zeros_like(between.narrow(dim, 0, 1))
    ends = [part if part is not None else links.wrap for part in (links.lower, links.upper)]
    first, last = (none if part is None else part.expand_as(none) for part in ends)
    return torch.cat([first, between], dim), torch.cat([between, last], dim)


def _series(links: AxisLinks, series: Tensor, dim: int, n: int, coarse: int) -> AxisLinks:
    """Links along the axis; ``series`` holds what cells 0, 2, 4, … leave when they are eliminated."""
    first = series.narrow(dim, 0, 1)
    if links.wrap is not None:
        inner = series.narrow(dim, 1, series.shape[dim] - 1)
        if n % 2:  # the last two cells are both kept
            inner = torch.cat([inner, _expanded(links.between, dim, n - 1).narrow(dim, n - 2, 1)], dim)
        return AxisLinks(inner, first if coarse > 1 else None)
    upper = links.upper
    if upper is not None and n % 2:
        upper = series.narrow(dim, coarse, 1)
    return AxisLinks(series.narrow(dim, 1, coarse - 1), None, None if links.lower is None else first, upper)


def _lumped_links(stencil: Stencil, other: int, step: AxisTransfer) -> AxisLinks:
    """Links along another axis; a face takes the mean of the weights on its two sides."""
    dim, n, links = other - len(stencil.grid), stencil.grid[other], stencil.links[other]

    def on_faces(weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if weight.shape[dim] == 1:
            return weight, weight, weight, weight
        inner = 0.5 * (weight.narrow(dim, 0, n - 1) + weight.narrow(dim, 1, n - 1))
        first, last = weight.narrow(dim, 0, 1), weight.narrow(dim, n - 1, 1)
        return inner, 0.5 * (first + last), first, last

    names = ("between", "wrap", "lower", "upper")
    weights = zip(names, on_faces(step.lower), on_faces(step.upper), strict=True)
    parts = {
        name: _lumped(getattr(links, name), step, below, above)
        for name, below, above in weights
        if getattr(links, name) is not None
    }
    return replace(links, **parts)


def _lumped(quantity: Tensor, step: AxisTransfer, lower: Tensor, upper: Tensor) -> Tensor:
    """Σ_i P_ij q_i for what belongs to cells along the axis of ``step``."""
    shape = list(torch.broadcast_shapes(quantity.narrow(step.dim, 0, 1).shape, lower.narrow(step.dim, 0, 1).shape))
    shape[step.dim] = step.fine
    fine = quantity.expand(shape)
    weighted = replace(step, lower=lower, upper=upper)
    return weighted.restricted(fine)


def _even(t: Tensor, dim: int, stop: int) -> Tensor:
    index: list[slice] = [slice(None)] * t.ndim
    index[dim] = slice(0, stop, 2)
    return t[tuple(index)]


def _expanded(t: Tensor, dim: int, count: int) -> Tensor:
    shape = list(t.shape)
    shape[dim] = count
    return t.expand(shape)
