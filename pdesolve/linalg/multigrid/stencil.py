"""The network that a diffusion operator is on a structured grid: cells joined by conductances.

    (A u)_i = c_i u_i + Σ_faces g_ij (u_i - u_j) + Σ_boundary faces g_i u_i

A symmetric operator with 2 d + 1 entries in each row, c and g not negative. Every coarse grid is such a network again.
All arrays are kept in the smallest shape that broadcasts: what does not vary along an axis has size one there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class AxisLinks:
    """The conductances along one axis with n cells.

    Arguments:
        between: of the faces between cells, n - 1 of them (or one for all) along the axis.
        wrap: of the face that joins the last cell to the first, one along the axis; None where there is none.
        lower, upper: of the faces between the first, the last cell and a boundary where u = 0; None where no flux.
    """

    between: Tensor
    wrap: Tensor | None = None
    lower: Tensor | None = None
    upper: Tensor | None = None

    def parts(self) -> list[Tensor]:
        """The tensors that are there, in the order of the arguments."""
        return [part for part in (self.between, self.wrap, self.lower, self.upper) if part is not None]

    def with_parts(self, parts: Sequence[Tensor]) -> AxisLinks:
        """The same kind of links with other numbers."""
        queue = list(parts)
        names = ("between", "wrap", "lower", "upper")
        return AxisLinks(**{name: queue.pop(0) for name in names if getattr(self, name) is not None})


@dataclass(frozen=True, eq=False)
class Stencil:
    """A network on a grid.

    Arguments:
        grid: cells along each axis.
        links: along each axis.
        mass: c, broadcasts to ``grid``.
    """

    grid: tuple[int, ...]
    links: tuple[AxisLinks, ...]
    mass: Tensor

    def tensors(self) -> list[Tensor]:
        """c, then the links of each axis."""
        return [self.mass, *[part for links in self.links for part in links.parts()]]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Stencil:
        """The same network with other numbers, in the order of ``tensors``."""
        mass, *queue = tensors
        links = []
        for old in self.links:
            count = len(old.parts())
            links.append(old.with_parts(queue[:count]))
            queue = queue[count:]
        return replace(self, links=tuple(links), mass=mass)

    @property
    def singular(self) -> bool:
        """Whether constants are in the null space: no boundary with u = 0, and c = 0."""
        open_ends = all(links.lower is None and links.upper is None for links in self.links)
        return open_ends and not bool((self.mass != 0).any())

    @cached_property
    def uniform(self) -> bool:
        """Whether all cells but those at boundaries have the same row."""
        return all(part.numel() == 1 for part in self.tensors())

    def diagonal(self) -> Tensor:
        """diag(A), of shape ``grid``."""
        total = self.mass.expand(self.grid).clone()
        for dim, links, n in self._axes():
            between = links.between.expand(_faces(self.grid, dim, n - 1))
            total.narrow(dim, 1, n - 1).add_(between)
            total.narrow(dim, 0, n - 1).add_(between)
            for place, part in ((0, links.wrap), (n - 1, links.wrap), (0, links.lower), (n - 1, links.upper)):
                if part is not None:
                    total.narrow(dim, place, 1).add_(part)
        return total

    def scratch(self, like: Tensor) -> Tensor:
        """Space that ``residual`` needs; who calls often keeps it."""
        return like.new_empty(0 if self.uniform else like.numel())

    def product(self, x: Tensor) -> Tensor:
        """A x for x (..., *grid), not differentiable."""
        out = x * self._centre
        self._subtract_neighbours(x, out, self.scratch(x), -1.0)
        return out

    def residual(self, x: Tensor, b: Tensor, out: Tensor, scratch: Tensor) -> Tensor:
        """b - A x, written to ``out``; all (..., *grid)."""
        torch.addcmul(b, x, self._centre, value=-1.0, out=out)
        self._subtract_neighbours(x, out, scratch, 1.0)
        return out

    @cached_property
    def _centre(self) -> Tensor:
        """What multiplies u_i itself; where conductances vary they come with differences."""
        if not self.uniform:
            return self.mass
        return self.mass + sum(2.0 * links.between for links in self.links)

    def _subtract_neighbours(self, x: Tensor, out: Tensor, scratch: Tensor, factor: float) -> None:
        for dim, links, n in self._axes():
            if self.uniform:
                _uniform_links(x, out, links.between, dim, factor)
            else:
                _varying_links(x, out, links.between, dim, scratch, factor)
            first, last = x.narrow(dim, 0, 1), x.narrow(dim, n - 1, 1)
            to_first, to_last = out.narrow(dim, 0, 1), out.narrow(dim, n - 1, 1)
            if links.lower is not None:
                to_first.addcmul_(first, links.lower, value=-factor)
            if links.upper is not None:
                to_last.addcmul_(last, links.upper, value=-factor)
            if links.wrap is not None:
                flux = links.wrap * (first - last)
                to_first.sub_(flux, alpha=factor)
                to_last.add_(flux, alpha=factor)

    def _axes(self) -> list[tuple[int, AxisLinks, int]]:
        """Dimension counted from the end, links, number of cells."""
        count = len(self.grid)
        return [(axis - count, links, self.grid[axis]) for axis, links in enumerate(self.links)]


def _faces(grid: tuple[int, ...], dim: int, count: int) -> tuple[int, ...]:
    shape = list(grid)
    shape[dim] = count
    return tuple(shape)


# The diagonal is in the centre already; the first and the last cell lack one neighbour.
def _uniform_links(x: Tensor, out: Tensor, between: Tensor, dim: int, factor: float) -> None:
    n = x.shape[dim]
    out.narrow(dim, 1, n - 1).addcmul_(x.narrow(dim, 0, n - 1), between, value=factor)
    out.narrow(dim, 0, n - 1).addcmul_(x.narrow(dim, 1, n - 1), between, value=factor)
    for place in (0, n - 1):
        out.narrow(dim, place, 1).addcmul_(x.narrow(dim, place, 1), between, value=factor)


# Differences of neighbours first, then the conductance: with coefficients that jump by 1e6 the other order loses the
# digits of what is nearly constant where the coefficient is large.
def _varying_links(x: Tensor, out: Tensor, between: Tensor, dim: int, scratch: Tensor, factor: float) -> None:
    n = x.shape[dim]
    upper, lower = x.narrow(dim, 1, n - 1), x.narrow(dim, 0, n - 1)
    flux = scratch[: upper.numel()].view(upper.shape)
    torch.sub(upper, lower, out=flux).mul_(between)
    out.narrow(dim, 1, n - 1).sub_(flux, alpha=factor)
    out.narrow(dim, 0, n - 1).add_(flux, alpha=factor)
