"""Grid operators as matrices with stored entries, for direct solvers and algebraic multigrid."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.linalg.multigrid.stencil import Stencil
from pdesolve.linalg.multigrid.stencil_operator import StencilOperator
from pdesolve.linalg.operators.assemble import triplets

Entries = tuple[Tensor, Tensor, Tensor]


def stencil_entries(stencil: Stencil) -> Entries:
    """Rows, columns and values, duplicates allowed; values are differentiable in ``stencil.tensors()``."""
    index = torch.arange(torch.Size(stencil.grid).numel(), device=stencil.mass.device).reshape(stencil.grid)
    places, entries = [(index, index)], [stencil.mass.expand(stencil.grid)]

    def join(a: Tensor, b: Tensor, conductance: Tensor) -> None:
        g = conductance.expand(a.shape)
        places.extend([(a, a), (b, b), (a, b), (b, a)])
        entries.extend([g, g, -g, -g])

    for axis, links in enumerate(stencil.links):
        n = stencil.grid[axis]
        first, last = index.narrow(axis, 0, 1), index.narrow(axis, n - 1, 1)
        join(index.narrow(axis, 0, n - 1), index.narrow(axis, 1, n - 1), links.between)
        if links.wrap is not None:
            join(first, last, links.wrap)
        for end, part in ((first, links.lower), (last, links.upper)):
            if part is not None:
                places.append((end, end))
                entries.append(part.expand(end.shape))
    rows, columns = (torch.cat([place[k].flatten() for place in places]) for k in (0, 1))
    return rows, columns, torch.cat([entry.flatten() for entry in entries])


@triplets.register
def _(operator: StencilOperator) -> Entries:
    rows, columns, values = stencil_entries(operator.stencil)
    return rows, columns, values.detach()
