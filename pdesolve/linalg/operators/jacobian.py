"""The Jacobian of a function at a point as a linear operator, without forming it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from threading import RLock

import torch
from torch import Tensor
from torch._functorch import eager_transforms
from torch.autograd import forward_ad

from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import require_floating

_FORWARD_MODE = RLock()
"""torch has one stack of forward-mode levels for all threads: two that differentiate at once mix them up."""


@dataclass(frozen=True, eq=False)
class JacobianOperator(AbstractLinearOperator):
    """A = ∂f/∂u at u = ``point``: A x by forward, A^T y by reverse differentiation of f.

    Arguments:
        function: f, called as ``function(u, *parameters)`` with u (n,), returns (m,). Written in torch and free of
            in-place writes to its arguments.
        point: u, (n,), float32 or float64.
        parameters: what else f depends on and gradients may be asked for (default none); integers and booleans are
            constants.

    Raises:
        TypeError: integer, complex or half precision.
        ValueError: ``point`` or f(point) is not of one dimension.

    Notes:
        Tensors that f closes over are constants: name them in ``parameters`` to get gradients. Direct solvers refuse
        this operator; Krylov solvers take it. f is called once when the operator is made, to find m. Threads take
        turns in ``mv``.
    """

    function: Callable[..., Tensor]
    point: Tensor
    parameters: tuple[Tensor, ...] = ()
    rows: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_floating("point", self.point)
        if self.point.ndim != 1:
            raise ValueError(f"point must have shape (n,), not {tuple(self.point.shape)}")
        if not self.rows:
            with torch.no_grad():
                out = self.function(self.point, *self.parameters)
            if out.ndim != 1:
                raise ValueError(f"function must return shape (m,), not {tuple(out.shape)}")
            object.__setattr__(self, "rows", out.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.point.shape[0]

    def mv(self, x: Tensor) -> Tensor:
        def directional(direction: Tensor) -> Tensor:
            out: Tensor = torch.func.jvp(self._at_parameters, (self.point,), (direction,))[1]
            return out

        with _FORWARD_MODE:
            # torch refuses torch.func.jvp inside forward_ad.dual_level, except inside another torch.func.jvp; two
            # reverse passes give the same there.
            inside = forward_ad._current_level >= 0 and eager_transforms.JVP_NESTING == 0
            return _batched(self._twice_reversed if inside else directional, x)

    def rmv(self, y: Tensor) -> Tensor:
        def pulled(cotangent: Tensor) -> Tensor:
            out: Tensor = torch.func.vjp(self._at_parameters, self.point)[1](cotangent)[0]
            return out

        return _batched(pulled, y)

    def tensors(self) -> list[Tensor]:
        return [self.point, *(p for p in self.parameters if differentiable(p))]

    def with_tensors(self, tensors: Sequence[Tensor]) -> JacobianOperator:
        point, *others = tensors
        return replace(self, point=point, parameters=exchanged(self.parameters, others))

    def _twice_reversed(self, direction: Tensor) -> Tensor:
        cotangent = direction.new_zeros(self.rows)
        pull = torch.func.vjp(self._at_parameters, self.point)[1]
        out: Tensor = torch.func.vjp(lambda y: pull(y)[0], cotangent)[1](direction)[0]
        return out

    def _at_parameters(self, point: Tensor) -> Tensor:
        return self.function(point, *self.parameters)


def differentiable(tensor: Tensor) -> bool:
    """Whether gradients can be asked for: not of integers and booleans."""
    return tensor.is_floating_point() or tensor.is_complex()


def exchanged(parameters: Sequence[Tensor], others: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """``parameters`` with ``others`` in the place of those that are differentiable."""
    queue = iter(others)
    return tuple(next(queue) if differentiable(p) else p for p in parameters)


def _batched(apply: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``apply`` on every vector of x (..., n)."""
    if x.ndim == 1:
        return apply(x)
    out: Tensor = torch.func.vmap(apply)(x.reshape(-1, x.shape[-1]))
    return out.reshape(*x.shape[:-1], out.shape[-1])
