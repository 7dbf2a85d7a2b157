"""Code that looks at values, run below every ``torch.func`` transform.

A branch on a value, an error that depends on it, and random numbers have no meaning for a tensor that ``torch.vmap``
has mapped or that ``torch.func.jvp`` follows. An ``autograd.Function`` reaches the plain tensors underneath: mapped
dimensions are folded into the batch, for which all code here is written anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def below(function: Callable[..., Any], *tensors: Tensor) -> Any:
    """``function(*tensors)`` on plain tensors; what it returns is a constant to every derivative.

    Arguments:
        function: takes and returns tensors whose first dimension is the batch, or 1 for all members alike. What it
            returns has the whole batch. Without ``tensors`` it may return anything: what is kept beyond the transform
            (a cache) must be made so.
        tensors: detached here.
    """
    if not tensors:
        made: list[Any] = []
        _Below.apply(lambda: made.append(function()))  # type: ignore[no-untyped-call]
        return made[0]
    return _Below.apply(function, *(t.detach() for t in tensors))  # type: ignore[no-untyped-call]


def forward_levels() -> int:
    """How many levels of ``torch.func.jvp`` are active."""
    levels = torch._C._functorch.get_interpreter_stack() or []
    return sum(level.key() == torch._C._functorch.TransformType.Jvp for level in levels)


def untransformed(tensor: Tensor) -> bool:
    """Whether no transform is active, so that a branch may look at the tensor's values."""
    return not torch._C._functorch.get_interpreter_stack() and not torch._C._functorch.is_legacy_batchedtensor(tensor)


def require_one_forward_mode(what: str) -> None:
    """Raise in forward mode over forward mode: torch switches it off within a Function's jvp, a part would be missing.

    Arguments:
        what: is differentiated, for the message.

    Raises:
        NotImplementedError: two levels of ``torch.func.jvp`` are active.
    """
    if forward_levels() > 1:
        raise NotImplementedError(
            f"forward mode over forward mode through {what} is not supported: take one of the two derivatives in "
            "reverse mode, as torch.func.jacrev(torch.func.jacrev(f)) does"
        )


def folded(size: int, dims: Sequence[int | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors with a mapped dimension folded into their batch, each (size * batch, ...).

    Arguments:
        size: length of the mapped dimension.
        dims: where it is in each tensor, None for one that is not mapped.
        tensors: (batch, ...) or (1, ...) beside the mapped dimension.
    """
    whole = [t.unsqueeze(0) if dim is None else t.movedim(dim, 0) for t, dim in zip(tensors, dims, strict=True)]
    batch = max(t.shape[1] for t in whole)
    return [t.expand(size, batch, *t.shape[2:]).flatten(0, 1) for t in whole]


def unfolded(size: int, outputs: Any) -> Any:
    """A tensor, or a tuple of them, with the mapped dimension first again, (size, batch, ...)."""
    if isinstance(outputs, Tensor):
        return outputs.unflatten(0, (size, outputs.shape[0] // size))
    return tuple(unfolded(size, output) for output in outputs)


class _Below(torch.autograd.Function):
    @staticmethod
    def forward(function: Callable[..., Any], *tensors: Tensor) -> Any:
        return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.mark_non_differentiable(*(t for t in outputs if isinstance(t, Tensor)))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], function: Callable[..., Any], *tensors: Tensor) -> Any:
        found = below(function, *folded(info.batch_size, in_dims[1:], tensors))
        if found is None:
            return None, None
        found = unfolded(info.batch_size, found)
        return found, (0 if isinstance(found, Tensor) else (0,) * len(found))
