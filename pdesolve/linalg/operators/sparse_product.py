"""The product of a sparse matrix and vectors, differentiable to every order in both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.operators.sparsity_pattern import SparsityPattern
from pdesolve.transforms import forward_levels

_CHUNK = 2**22  # numbers held at once when many vectors meet on a pattern


def sparse_product(pattern: SparsityPattern, values: Tensor, x: Tensor) -> Tensor:
    """y_i = Σ_j a_ij x_j.

    Arguments:
        pattern: positions of the m x n matrix.
        values: (nnz,).
        x: (..., n).

    Returns:
        y: (..., m).
    """
    if forward_levels() > 1:  # torch switches the outer one off within a Function's jvp
        return _composed(pattern, values, x)
    out: Tensor = _SparseProduct.apply(pattern, values, x)  # type: ignore[no-untyped-call]
    return out


# y = A x is bilinear: with cotangent ȳ the values receive ā_ij = Σ ȳ_i x_j on the pattern only, O(nnz), and x receives
# A^T ȳ, again a product of this kind. torch's own reverse pass through a CSR product makes dense gradients.
class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(pattern: SparsityPattern, values: Tensor, x: Tensor) -> Tensor:
        columns = x.reshape(-1, x.shape[-1]).mT
        out: Tensor = pattern.matrix(values) @ columns.contiguous()
        return out.mT.reshape(*x.shape[:-1], pattern.shape[0]).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.pattern, values, x = inputs
        ctx.save_for_backward(values, x)
        ctx.save_for_forward(values, x)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        values, x = ctx.saved_tensors
        pattern = ctx.pattern
        to_values = to_x = None
        if ctx.needs_input_grad[1]:
            to_values = on_pattern(pattern, cotangent, x)
        if ctx.needs_input_grad[2]:
            to_x = sparse_product(pattern.T, values[pattern.transposition], cotangent)
        return None, to_values, to_x

    @staticmethod
    def jvp(ctx: Any, _: None, values_dot: Tensor | None, x_dot: Tensor | None) -> Tensor:
        values, x = ctx.saved_tensors
        out = torch.zeros((*x.shape[:-1], ctx.pattern.shape[0]), dtype=x.dtype, device=x.device)
        if values_dot is not None:
            out = out + sparse_product(ctx.pattern, values_dot, x)
        if x_dot is not None:
            out = out + sparse_product(ctx.pattern, values, x_dot)
        return out

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], pattern: SparsityPattern, values: Tensor, x: Tensor) -> Any:
        _, values_dim, x_dim = in_dims
        if values_dim is None:
            return sparse_product(pattern, values, x.movedim(x_dim, 0)), 0
        members = values.unbind(values_dim)
        vectors = [x] * len(members) if x_dim is None else x.unbind(x_dim)
        return torch.stack([sparse_product(pattern, v, u) for v, u in zip(members, vectors, strict=True)]), 0


def _composed(pattern: SparsityPattern, values: Tensor, x: Tensor) -> Tensor:
    """The product by operations that torch differentiates itself, in (..., nnz) memory."""
    terms = values * x[..., pattern.columns.long()]
    total = torch.zeros((*x.shape[:-1], pattern.shape[0]), dtype=x.dtype, device=x.device)
    return total.index_add(-1, pattern.rows.long(), terms)


def on_pattern(pattern: SparsityPattern, left: Tensor, right: Tensor) -> Tensor:
    """Σ over leading dimensions of left_i right_j at the stored (i, j): (..., m), (..., n) -> (nnz,)."""
    left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    total = left.new_zeros(pattern.count)
    chunk = max(1, _CHUNK // max(1, pattern.count))
    for y, x in zip(left.split(chunk), right.split(chunk), strict=True):
        total = total + (y[:, pattern.rows] * x[:, pattern.columns]).sum(0)
    return total
