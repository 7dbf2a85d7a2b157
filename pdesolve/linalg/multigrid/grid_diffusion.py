"""Diffusion and reaction on a box as a matrix-free linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.linalg.multigrid.ends import AbstractEnds, Walls, harmonic
from pdesolve.linalg.multigrid.entries import Entries, stencil_entries
from pdesolve.linalg.multigrid.stencil import AxisLinks, Stencil
from pdesolve.linalg.multigrid.stencil_operator import StencilOperator, stencil_product
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.assemble import triplets
from pdesolve.linalg.operators.dense import require_floating
from pdesolve.linalg.operators.sparse import SparseOperator


@dataclass(frozen=True, eq=False)
class GridDiffusion(AbstractLinearOperator):
    """-∇·(a ∇u) + c u on a box of equal cells, by finite volumes; u lives at cell centres.

    For cell i with neighbours j at distance h_k along axis k

        (A u)_i = c_i u_i + Σ_j a_ij (u_i - u_j)/h_k² ,   a_ij = 2 a_i a_j/(a_i + a_j) ,

    the harmonic mean, so that the flux is right where a jumps between cells. Symmetric whatever is declared, and second
    order in h for smooth a and for a that jumps at cell faces.

    Arguments:
        grid: cells along each axis, one or more axes.
        spacing: h of each axis, or one number for all.
        coefficient: a > 0: a number or tensor (), the same everywhere; (*grid), one for each cell; (d,) with d > 1 or
            (d, *grid), one for each axis (default 1).
        reaction: c: a number or tensor (), or (*grid) (default 0).
        ends: of each axis, ``Walls(lower, upper)`` of ``FixedValue()`` or ``FixedFlux()``, or ``Wrapped()`` (default
            ``Walls()``, u = 0 on all faces).

    Raises:
        TypeError: integer, complex or half precision tensors, or of two types.
        ValueError: shapes do not fit, a spacing is not positive, or tensors lie on different devices.

    Notes:
        Vectors are (..., n) with the cells in row-major order, n their number. Numbers become float64 tensors, or take
        the type of the other argument. Gradients reach ``coefficient`` and ``reaction``. Conditions with data: see
        ``FixedValue`` and ``FixedFlux``. With ``FixedFlux`` or ``Wrapped`` on all faces and c = 0 constants are in the
        null space: solvers project them out, and say so where the right-hand side does not add up to zero.

    Source:
        Patankar, *Numerical Heat Transfer and Fluid Flow*, section 4.2-3; LeVeque, *Finite Difference Methods*, 2.15.
    """

    grid: tuple[int, ...]
    spacing: tuple[float, ...] | float
    coefficient: Tensor | float = 1.0
    reaction: Tensor | float = 0.0
    ends: tuple[AbstractEnds, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "symmetric", True)
        super().__post_init__()
        grid, count = tuple(self.grid), len(self.grid)
        if not count or min(grid) < 1:
            raise ValueError(f"grid must hold a positive number of cells for each axis, not {self.grid}")
        spacing = tuple(self.spacing) if isinstance(self.spacing, Sequence) else (float(self.spacing),) * count
        if len(spacing) != count or not all(h > 0 for h in spacing):
            raise ValueError(f"spacing must be {count} positive numbers, not {self.spacing}")
        ends = (Walls(),) * count if self.ends is None else tuple(self.ends)
        if len(ends) != count:
            raise ValueError(f"ends must be {count}, one for each axis, not {len(ends)}")
        coefficient, reaction = _alike(self.coefficient, self.reaction)
        _require_shape("coefficient", coefficient, _coefficient_shapes(grid))
        _require_shape("reaction", reaction, [(), grid])
        fields = {"grid": grid, "spacing": spacing, "ends": ends, "coefficient": coefficient, "reaction": reaction}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int]:
        n = torch.Size(self.grid).numel()
        return n, n

    @property
    def annihilates_constants(self) -> bool:
        """Whether A 1 = 0."""
        return self.stencil().singular

    def mv(self, x: Tensor) -> Tensor:
        return stencil_product(self.stencil(), x.unflatten(-1, self.grid)).flatten(-len(self.grid))

    def rmv(self, y: Tensor) -> Tensor:
        return self.mv(y)

    def tensors(self) -> list[Tensor]:
        coefficient, reaction = _alike(self.coefficient, self.reaction)
        return [coefficient, reaction]

    def with_tensors(self, tensors: Sequence[Tensor]) -> GridDiffusion:
        coefficient, reaction = tensors
        return replace(self, coefficient=coefficient, reaction=reaction)

    def frozen(self) -> StencilOperator:
        """The same operator with its conductances computed: for many products with the same coefficients."""
        return StencilOperator(self.stencil(), positive_definite=self.positive_definite)

    def diagonal(self) -> Tensor:
        """diag(A), (n,)."""
        return self.stencil().diagonal().flatten()

    def stencil(self) -> Stencil:
        """The conductances, differentiable in ``tensors()``."""
        reaction = self.tensors()[1]
        flat = (1,) * len(self.grid)
        links = []
        for axis, (n, ends) in enumerate(zip(self.grid, self.ends or (), strict=True)):
            links.append(_links(self._cells(axis), axis - len(self.grid), n, ends))
        return Stencil(self.grid, tuple(links), reaction.reshape(self.grid if reaction.ndim else flat))

    def _cells(self, axis: int) -> Tensor:
        """a/h² of the cells along an axis, of the shape of the grid or of size one along each axis."""
        coefficient, count = self.tensors()[0], len(self.grid)
        spacing = self.spacing if isinstance(self.spacing, tuple) else (self.spacing,)
        shared = coefficient.shape in ((), self.grid)
        along = coefficient if shared else coefficient[axis]
        return along.reshape(self.grid if along.ndim else (1,) * count) / spacing[axis] ** 2

    def to_sparse(self) -> SparseOperator:
        """The same matrix with stored entries, for direct solvers; gradients go on to ``tensors()``."""
        rows, columns, values = stencil_entries(self.stencil())
        return SparseOperator.from_triplets(
            rows, columns, values, self.shape, symmetric=True, positive_definite=self.positive_definite
        )


@triplets.register
def _(operator: GridDiffusion) -> Entries:
    rows, columns, values = stencil_entries(operator.stencil())
    return rows, columns, values.detach()


def _links(cells: Tensor, dim: int, n: int, ends: AbstractEnds) -> AxisLinks:
    constant = cells.shape[dim] == 1
    between = cells if constant else harmonic(cells.narrow(dim, 0, n - 1), cells.narrow(dim, 1, n - 1))
    links = ends.links(cells, between, dim)
    return replace(links, wrap=None) if n == 1 else links


def _alike(coefficient: Tensor | float, reaction: Tensor | float) -> tuple[Tensor, Tensor]:
    """Both as tensors of one type and device."""
    like = next((t for t in (coefficient, reaction) if isinstance(t, Tensor)), torch.zeros((), dtype=torch.float64))

    def made(value: Tensor | float) -> Tensor:
        return value if isinstance(value, Tensor) else torch.full((), value, dtype=like.dtype, device=like.device)

    a, c = made(coefficient), made(reaction)
    for name, tensor in (("coefficient", a), ("reaction", c)):
        require_floating(name, tensor)
    if a.dtype != c.dtype:
        raise TypeError(f"coefficient is {a.dtype}, reaction {c.dtype}: convert one of them")
    if a.device != c.device:
        raise ValueError(f"coefficient lies on {a.device}, reaction on {c.device}: move one of them")
    return a, c


def _coefficient_shapes(grid: tuple[int, ...]) -> list[tuple[int, ...]]:
    count = len(grid)
    return [(), grid, (count, *grid)] + ([(count,)] if count > 1 else [])


def _require_shape(name: str, tensor: Tensor, allowed: list[tuple[int, ...]]) -> None:
    if tuple(tensor.shape) not in allowed:
        raise ValueError(f"{name} must have one of the shapes {allowed}, not {tuple(tensor.shape)}")
