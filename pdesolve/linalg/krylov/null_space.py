"""Which operators have the constants in their null space, asked without a factorisation."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pdesolve.linalg.direct.null_space import constant_null_space
from pdesolve.linalg.linear_solver import NullSpace
from pdesolve.linalg.operators.abstract import AbstractLinearOperator, TransposedOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.operators.sparse import SparseOperator

_ROUND_OFF = 16.0  # times machine epsilon and the size of A: a row sum that counts as zero


@runtime_checkable
class KnowsConstants(Protocol):
    """An operator that knows from its description whether A 1 = A^T 1 = 0."""

    @property
    def annihilates_constants(self) -> bool: ...


def constants_of(operator: AbstractLinearOperator) -> NullSpace | None:
    """The constants as null vectors of A and of A^T; None where they are not both.

    Notes:
        Only constants are recognised. A system with another null space either converges, where b lies in its range, or
        fails with a status.
    """
    inner = operator.operator if isinstance(operator, TransposedOperator) else operator
    if isinstance(inner, KnowsConstants):
        free = torch.tensor(inner.annihilates_constants, device=operator.device)
    elif isinstance(inner, SparseOperator | DenseOperator):
        found = constant_null_space(inner)
        free = found.right & found.left
    else:
        free = _probed(operator)
    if not bool(free.any()):
        return None
    n = operator.shape[1]
    one = torch.full((n,), 1.0 / math.sqrt(n), dtype=operator.dtype, device=operator.device)
    one = torch.where(free.unsqueeze(-1), one, 0.0)
    return NullSpace(left=one, right=one)


def _probed(operator: AbstractLinearOperator) -> Tensor:
    """A 1 and A^T 1 against A times random signs."""
    generator = torch.Generator().manual_seed(0)
    signs = (torch.randint(0, 2, operator.shape[1:], generator=generator) * 2 - 1).to(operator.device, operator.dtype)
    one = torch.ones_like(signs)
    tolerance = _ROUND_OFF * torch.finfo(operator.dtype).eps * operator.mv(signs).abs().amax(-1)
    right, left = operator.mv(one).abs().amax(-1), operator.rmv(one).abs().amax(-1)
    return (right <= tolerance) & (left <= tolerance)
