"""Basis fields given by their values on a structured grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pdesolve.discretization.abstract import Points
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.patch import AbstractDecomposition
from pdesolve.frames.abstract import AbstractLifting, NoLifting, full_like, points_at
from pdesolve.problem import Problem


@dataclass(frozen=True, eq=False)
class GridBasis:
    """u_c = g_c + Σ_i w_i b_ic on the nodes of a grid.

    Arguments:
        values: b, (batch, n_basis, component, *grid).
        offset: g, (batch or 1, component, *grid).
        lifting: which conditions g and b meet.
    """

    values: Tensor
    offset: Tensor
    lifting: AbstractLifting
    patchwise: ClassVar[bool] = False
    """All patches combine the same fields."""

    @staticmethod
    def lifted(
        problem: Problem,
        grid: StructuredGrid,
        basis: Tensor,
        lifting: AbstractLifting,
        parameters: Mapping[str, Tensor],
    ) -> GridBasis:
        """The network's fields multiplied by m, beside g, both evaluated on the grid.

        Arguments:
            basis: (batch, n_basis, *grid), or (batch, n_basis, component, *grid) for several fields.
            parameters: name -> (batch,) or (1,).

        Raises:
            TypeError: not a real floating tensor.
            ValueError: shape against grid and fields.
        """
        values = _checked(problem, grid, basis, parameters)
        shape = (1, 1, grid.n_nodes)
        at = points_at(
            {a: v.to(values).reshape(shape) for a, v in grid.coordinates().items()},
            {name: value.to(values).reshape(-1, 1, 1) for name, value in parameters.items()},
        )
        like = at[grid.axes[0]]
        if isinstance(lifting, NoLifting):  # nothing to add or multiply: no work that grows with the grid
            return GridBasis(values, values.new_zeros(()).expand(1, *values.shape[2:]), lifting)
        lift, factor = lifting.lift(at), lifting.multiplier(at)
        g = [full_like(lift[f], like).reshape(-1, *grid.shape) for f in problem.field_names]
        m = [full_like(factor[f], like).reshape(-1, *grid.shape) for f in problem.field_names]
        batch = max(x.shape[0] for x in (*g, *m))
        offset = torch.stack([x.expand(batch, *grid.shape) for x in g], dim=1)
        multiplier = torch.stack([x.expand(batch, *grid.shape) for x in m], dim=1)
        return GridBasis(values * multiplier.unsqueeze(1), offset, lifting)

    def combine(self, decomposition: AbstractDecomposition, weights: Tensor) -> Tensor:
        """u on the grid, assembled from the patches as the decomposition says, (batch, component, *grid).

        Arguments:
            decomposition: the patches, which may overlap.
            weights: (batch, n_patches, n_basis).
        """
        owned = weights.to(self.values.dtype)
        parts = [
            torch.einsum("bn,bn...->b...", owned[:, i], part)
            for i, part in enumerate(decomposition.restrict(self.values))
        ]
        return self.offset + decomposition.assemble(parts)

    def initial_data(self, grid: StructuredGrid, data: Tensor) -> Callable[[Points, int], Tensor]:
        """A function that reads gridded initial values at sampled initial nodes.

        Arguments:
            data: (batch, *space) or (batch, component, *space), on the device of the basis.

        Returns:
            (points, component) -> (batch, piece, point), float64.
        """
        space = grid.shape[1:]
        if not isinstance(data, Tensor):
            raise TypeError(f"initial_condition must be a tensor, got {type(data).__name__}")
        given = data.unsqueeze(1) if data.ndim == len(space) + 1 else data
        if not torch.is_floating_point(data) or data.device != self.values.device:
            raise TypeError(
                f"initial_condition must be a floating tensor on {self.values.device}, the device of the basis: "
                f"got {data.dtype} on {data.device}"
            )
        wanted = (self.values.shape[2], *space)
        if tuple(given.shape[1:]) != wanted or given.shape[0] not in (1, self.values.shape[0]):
            raise ValueError(
                f"initial_condition has shape {tuple(data.shape)}: (batch, *space) = "
                f"({self.values.shape[0]}, {', '.join(map(str, space))}) is needed, with a component axis of "
                f"{self.values.shape[2]} after batch for several fields"
            )

        def read(points: Points, component: int) -> Tensor:
            assert points.nodes is not None
            strides = torch.tensor([math.prod(space[a + 1 :]) for a in range(len(space))], device=given.device)
            flat = (points.nodes[..., 1:].to(given.device) * strides).sum(-1)
            return given[:, component].flatten(1)[:, flat].to(torch.float64)

        return read


def _checked(problem: Problem, grid: StructuredGrid, basis: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    if not isinstance(basis, Tensor) or basis.dtype not in (torch.float32, torch.float64):
        got = basis.dtype if isinstance(basis, Tensor) else type(basis).__name__
        raise TypeError(f"basis must be a float32 or float64 tensor, got {got}: convert it, e.g. basis.float()")
    if basis.is_meta:
        raise TypeError("basis is on the meta device, which holds no values: move the model to a real device first")
    fields, shape = len(problem.field_names), tuple(grid.shape)
    values = basis.unsqueeze(2) if fields == 1 and basis.ndim == len(shape) + 2 else basis
    if values.ndim != len(shape) + 3 or tuple(values.shape[2:]) != (fields, *shape):
        raise ValueError(
            f"basis has shape {tuple(basis.shape)}: (batch, n_basis, {', '.join(map(str, shape))}) is needed on "
            f"this grid" + (f", with a component axis of {fields} after n_basis" if fields > 1 else "")
        )
    if values.shape[0] == 0 or values.shape[1] == 0:
        raise ValueError(f"basis has shape {tuple(basis.shape)}: at least one case and one basis field are needed")
    batches = {name: v.shape[0] for name, v in parameters.items() if v.shape[0] != 1}
    wrong = {name: n for name, n in batches.items() if values.shape[0] not in (1, n)}
    if wrong:
        raise ValueError(f"basis holds {values.shape[0]} cases, but the parameters hold {wrong}: make them agree")
    return values
