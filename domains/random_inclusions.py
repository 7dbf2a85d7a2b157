"""Random coefficient fields: balls of other values in a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.domains.mesh_values import CellValues
from pdesolve.domains.simplex_mesh import SimplexMesh


@final
@dataclass(frozen=True, eq=False)
class RandomInclusions:
    """a = 1 in the matrix, and in ``count`` balls in turn 10^-e and 10^e, e uniform in ``exponents``.

    Centres are uniform over the cells, radii uniform in ``radii``; where balls overlap the last one counts. Each ball
    has d + 2 degrees of freedom.

    Arguments:
        mesh: a cell belongs to a ball that holds its middle.
        count: number of balls.
        radii: smallest and largest radius, as parts of the mesh's largest extent (default 0.04 to 0.1).
        exponents: range of e (default 1 to 2): with both kinds present the contrast is at least 100.

    Raises:
        ValueError: no balls, ranges that are not 0 < lower <= upper.
    """

    mesh: SimplexMesh
    count: int
    radii: tuple[float, float] = (0.04, 0.1)
    exponents: tuple[float, float] = (1.0, 2.0)

    def __post_init__(self) -> None:
        positive_int(self.count, "the number of inclusions")
        for what, (low, high) in (("radii", self.radii), ("exponents", self.exponents)):
            if not 0 < finite_float(low, what) <= finite_float(high, what):
                raise ValueError(f"{what} must be 0 < lower <= upper, got {(low, high)}")

    def __call__(self, n: int, generator: torch.Generator) -> CellValues:
        """n fields, (n, n_cells).

        Arguments:
            n: how many.
            generator: draws them.
        """
        middles = self.mesh.points[self.mesh.corners].mean(1)
        extent = float((self.mesh.points.amax(0) - self.mesh.points.amin(0)).max())

        def unit() -> Tensor:
            return torch.rand(n, self.count, generator=generator, dtype=torch.float64)

        centres = middles[(unit() * self.mesh.n_cells).long()]  # (n, ball, d)
        radii = extent * (self.radii[0] + (self.radii[1] - self.radii[0]) * unit())
        powers = self.exponents[0] + (self.exponents[1] - self.exponents[0]) * unit()
        signs = torch.tensor([1.0 if ball % 2 else -1.0 for ball in range(self.count)], dtype=torch.float64)
        values = 10.0 ** (signs * powers)
        a = torch.ones(n, self.mesh.n_cells, dtype=torch.float64)
        for ball in range(self.count):
            inside = (middles - centres[:, ball, None]).square().sum(-1) < radii[:, ball, None] ** 2
            a = torch.where(inside, values[:, ball, None], a)
        return CellValues(a)
