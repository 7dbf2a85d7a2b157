"""The two operations of a coordinate network on stacked jets, each as one autograd function.

A linear layer acts on every term alike, its bias on the value alone. For y = tanh(f)
with derivatives f_i, f_ij, and φ' = 1 - y², φ'' = -2 y φ', φ''' = (6 y² - 2) φ':

    forward   y_i = φ' f_i,                   y_ij = φ' f_ij + φ'' f_i f_j
    backward  df   = φ' g + φ'' (Σ g_i f_i + Σ g_ij f_ij) + φ''' Σ g_ij f_i f_j
              df_i = φ' g_i + φ'' Σ_j (1 + δ_ij) g_ij f_j,   df_ij = φ' g_ij

Written out because these few lines are most of the cost of a training step: autograd through the same
formulas keeps about ten temporaries a layer and is three times slower on a CPU (docs/benchmarks.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _FusedTanh(torch.autograd.Function):
    """Stacked jets in, stacked jets out; ``pairs`` holds (row of ij, row of i, row of j)."""

    @staticmethod
    def forward(data: Tensor, pairs: tuple[tuple[int, int, int], ...]) -> Tensor:
        out = torch.empty_like(data)
        value = torch.tanh(data[0], out=out[0])
        slope = torch.addcmul(torch.ones_like(value), value, value, value=-1.0)
        torch.mul(data[1:], slope, out=out[1:])
        curvature = slope.mul_(value) if pairs else slope
        for row, i, j in pairs:
            out[row].addcmul_(data[i] * data[j], curvature, value=-2.0)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.pairs = inputs[1]

    @staticmethod
    def vmap(info: Any, in_dims: Any, data: Tensor, pairs: tuple[tuple[int, int, int], ...]) -> tuple[Tensor, int]:
        """The terms stay in front; all else is done entry by entry."""
        return _tanh_of_rows(data.movedim(in_dims[0], 1), pairs), 1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        data, out = ctx.saved_tensors
        value = out[0]
        square = value * value
        slope = 1.0 - square
        curvature = (value * slope).mul_(-2.0)
        back = grad * slope
        if data.shape[0] > 1:
            back[0].addcmul_(torch.linalg.vecdot(grad[1:], data[1:], dim=0), curvature)
        third = square.mul_(6.0).sub_(2.0).mul_(slope) if ctx.pairs else square
        for row, i, j in ctx.pairs:
            weighted = grad[row] * curvature
            back[i].addcmul_(weighted, data[j])
            back[j].addcmul_(weighted, data[i])
            back[0].addcmul_((grad[row] * third).mul_(data[i]), data[j])
        return back, None


class _FusedLinear(torch.autograd.Function):
    """One matrix product for all terms; a bias added in place, which autograd would pay for with a copy."""

    @staticmethod
    def forward(data: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out = torch.matmul(data, weight.mT)
        if bias is not None:
            out[0] += bias
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        data, weight, bias = inputs
        ctx.save_for_backward(data, weight)
        ctx.has_bias = bias is not None

    @staticmethod
    def vmap(info: Any, in_dims: Any, data: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:
        """A network for each member, as one product of matrices for each; members stand behind the terms."""
        size, dims = info.batch_size, in_dims
        features = data.unsqueeze(1).expand(-1, size, *data.shape[1:]) if dims[0] is None else data.movedim(dims[0], 1)
        matrices = weight.expand(size, *weight.shape) if dims[1] is None else weight.movedim(dims[1], 0)
        shifts = bias
        if bias is not None:
            shifts = bias.expand(size, -1) if dims[2] is None else bias.movedim(dims[2], 0)
        flat = features.reshape(*features.shape[:2], -1, features.shape[-1])
        out: Tensor = _FusedLinears.apply(flat, matrices, shifts)  # type: ignore[no-untyped-call]
        return out.reshape(*features.shape[:-1], out.shape[-1]), 1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        data, weight = ctx.saved_tensors
        need_data, need_weight, need_bias = ctx.needs_input_grad
        flat = grad.reshape(-1, grad.shape[-1])
        return (
            torch.matmul(grad, weight) if need_data else None,
            flat.mT @ data.reshape(-1, data.shape[-1]) if need_weight else None,
            grad[0].reshape(-1, grad.shape[-1]).sum(0) if ctx.has_bias and need_bias else None,
        )


class _FusedLinears(torch.autograd.Function):
    """``_FusedLinear`` for members with weights of their own: data (term, member, point, n_in)."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(data, weight)
        ctx.has_bias = bias is not None
        out = torch.matmul(data, weight.mT)
        if bias is not None:
            out[0] += bias.unsqueeze(1)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        data, weight = ctx.saved_tensors
        need_data, need_weight, need_bias = ctx.needs_input_grad
        by_member, rows = grad.movedim(0, 1).flatten(1, 2), data.movedim(0, 1).flatten(1, 2)
        return (
            torch.matmul(grad, weight) if need_data else None,
            by_member.mT @ rows if need_weight else None,
            grad[0].sum(1) if ctx.has_bias and need_bias else None,
        )


def fused_linear(data: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W f + b on stacked jets.

    Arguments:
        data: (n_terms, *shape, n_in), the value first.
        weight: (n_out, n_in).
        bias: (n_out,) or None.
    """
    out: Tensor = _FusedLinear.apply(data, weight, bias)  # type: ignore[no-untyped-call]
    return out


def fused_tanh(data: Tensor, terms: tuple[str, ...]) -> Tensor:
    """tanh of stacked jets whose terms have order two at most.

    Arguments:
        data: (n_terms, *shape), the value first.
        terms: their names, closed downward.
    """
    return _tanh_of_rows(
        data, tuple((terms.index(t), terms.index(t[0]), terms.index(t[1])) for t in terms if len(t) == 2)
    )


def _tanh_of_rows(data: Tensor, pairs: tuple[tuple[int, int, int], ...]) -> Tensor:
    out: Tensor = _FusedTanh.apply(data, pairs)  # type: ignore[no-untyped-call]
    return out
