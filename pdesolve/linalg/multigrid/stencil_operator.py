"""A network on a grid as a linear operator, differentiable to every order in its conductances and in the vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.multigrid.stencil import Stencil
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.transforms import require_one_forward_mode


@dataclass(frozen=True, eq=False)
class StencilOperator(AbstractLinearOperator):
    """A x for the network ``stencil``, symmetric whatever is declared; x (..., n) are cells in row-major order.

    Made by ``GridDiffusion.frozen``: links are computed once, products follow many times.

    Arguments:
        stencil: conductances.
    """

    stencil: Stencil

    def __post_init__(self) -> None:
        object.__setattr__(self, "symmetric", True)
        super().__post_init__()

    @property
    def shape(self) -> tuple[int, int]:
        n = torch.Size(self.stencil.grid).numel()
        return n, n

    @property
    def annihilates_constants(self) -> bool:
        """Whether A 1 = 0."""
        return self.stencil.singular

    def mv(self, x: Tensor) -> Tensor:
        return stencil_product(self.stencil, x.unflatten(-1, self.stencil.grid)).flatten(-len(self.stencil.grid))

    def rmv(self, y: Tensor) -> Tensor:
        return self.mv(y)

    def tensors(self) -> list[Tensor]:
        return self.stencil.tensors()

    def with_tensors(self, tensors: Sequence[Tensor]) -> StencilOperator:
        return replace(self, stencil=self.stencil.with_tensors(tensors))

    def diagonal(self) -> Tensor:
        """(n,)."""
        return self.stencil.diagonal().flatten()


def stencil_product(stencil: Stencil, x: Tensor) -> Tensor:
    """A x for x (..., *grid), differentiable in x and in ``stencil.tensors()``."""
    out: Tensor = _StencilProduct.apply(stencil, x, *stencil.tensors())  # type: ignore[no-untyped-call]
    return out


# y·A x = Σ c y x + Σ_faces g (δy)(δx) + Σ_boundary g y x is bilinear and symmetric in x and y: x receives A ȳ, and each
# conductance the product of the two differences across its face, summed over the batch and over what it is shared by.
class _StencilProduct(torch.autograd.Function):
    @staticmethod
    def forward(stencil: Stencil, x: Tensor, *tensors: Tensor) -> Tensor:
        return stencil.with_tensors(tensors).product(x.contiguous())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.stencil, x, *tensors = inputs
        ctx.save_for_backward(x, *tensors)
        ctx.save_for_forward(x, *tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        x, *tensors = ctx.saved_tensors
        stencil = ctx.stencil.with_tensors(tensors)
        to_x = stencil_product(stencil, cotangent) if ctx.needs_input_grad[1] else None
        if not any(ctx.needs_input_grad[2:]):
            return None, to_x, *[None for _ in tensors]
        return None, to_x, *_on_faces(stencil, cotangent, x)

    @staticmethod
    def jvp(ctx: Any, _: None, x_dot: Tensor | None, *dots: Tensor | None) -> Tensor:
        x, *tensors = ctx.saved_tensors
        if any(dot is not None for dot in dots):
            require_one_forward_mode("a product with a stencil")
        out = torch.zeros_like(x)
        if any(dot is not None for dot in dots):
            full = [torch.zeros_like(t) if dot is None else dot for t, dot in zip(tensors, dots, strict=True)]
            out = out + stencil_product(ctx.stencil.with_tensors(full), x)
        if x_dot is not None:
            out = out + stencil_product(ctx.stencil.with_tensors(tensors), x_dot)
        return out

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], stencil: Stencil, x: Tensor, *tensors: Tensor) -> Any:
        _, x_dim, *dims = in_dims
        if all(dim is None for dim in dims):
            return stencil_product(stencil.with_tensors(tensors), x.movedim(x_dim, 0)), 0
        found = []
        for i in range(info.batch_size):
            member = [t if dim is None else t.select(dim, i) for t, dim in zip(tensors, dims, strict=True)]
            vector = x if x_dim is None else x.select(x_dim, i)
            found.append(stencil_product(stencil.with_tensors(member), vector))
        return torch.stack(found), 0


def _on_faces(stencil: Stencil, y: Tensor, x: Tensor) -> list[Tensor]:
    """Products of differences across faces, in the order and shapes of ``stencil.tensors()``."""
    found = [(y * x).sum_to_size(stencil.mass.shape)]
    for axis, links in enumerate(stencil.links):
        dim, n = axis - len(stencil.grid), stencil.grid[axis]
        faces = y.diff(dim=dim) * x.diff(dim=dim)
        found.append(faces.sum_to_size(links.between.shape) if n > 1 else torch.zeros_like(links.between))
        ends = [(t.narrow(dim, 0, 1), t.narrow(dim, n - 1, 1)) for t in (y, x)]
        (y_first, y_last), (x_first, x_last) = ends
        if links.wrap is not None:
            found.append(((y_first - y_last) * (x_first - x_last)).sum_to_size(links.wrap.shape))
        if links.lower is not None:
            found.append((y_first * x_first).sum_to_size(links.lower.shape))
        if links.upper is not None:
            found.append((y_last * x_last).sum_to_size(links.upper.shape))
    return found
