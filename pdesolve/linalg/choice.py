"""Which solver is used when none is given."""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache

from pdesolve.linalg.direct.block_schur import BlockSchur
from pdesolve.linalg.direct.dense_lu import DenseLU
from pdesolve.linalg.direct.superlu import SuperLU
from pdesolve.linalg.linear_solver import AbstractLinearSolver
from pdesolve.linalg.operators.abstract import (
    AbstractLinearOperator,
    ComposedOperator,
    ScaledOperator,
    SumOperator,
    TransposedOperator,
)
from pdesolve.linalg.operators.block_sparse import BlockSparseOperator
from pdesolve.linalg.operators.dense import DenseOperator

_log = logging.getLogger(__name__)


def default_solver(operator: AbstractLinearOperator) -> AbstractLinearSolver:
    """A direct solver by structure and device; always the same for the same machine.

    | operator | CPU | CUDA |
    |---|---|---|
    | dense, or combined from dense ones | ``DenseLU`` | ``DenseLU`` |
    | equal blocks, positive definite | ``BlockSchur`` | ``BlockSchur`` |
    | equal blocks, a batch of others | ``DenseLU`` | ``DenseLU`` |
    | with entries | ``SuperLU`` | ``CuDSS`` or ``CuPyLU``, what is installed, else ``SuperLU`` |

    Which Krylov solver and preconditioner suit a matrix-free operator, or a system too large to factorise, cannot be
    seen from it: these are for you to choose (``SuperLU`` says so when it refuses).
    """
    if _is_dense(operator):
        return DenseLU()
    blocks = operator.operator if isinstance(operator, TransposedOperator) else operator
    if isinstance(blocks, BlockSparseOperator) and blocks.positive_definite:
        return BlockSchur()
    if isinstance(blocks, BlockSparseOperator) and blocks.diagonal.ndim > 3:
        return DenseLU()
    if operator.device.type == "cuda":
        return _on_cuda()
    return SuperLU()


def _is_dense(operator: AbstractLinearOperator) -> bool:
    match operator:
        case DenseOperator():
            return True
        case TransposedOperator() | ScaledOperator():
            return _is_dense(operator.operator)
        case SumOperator() | ComposedOperator():
            return _is_dense(operator.left) or _is_dense(operator.right)
    return False


@lru_cache(maxsize=1)
def _on_cuda() -> AbstractLinearSolver:
    if importlib.util.find_spec("nvmath"):
        from pdesolve.linalg.direct.cudss import CuDSS

        return CuDSS()
    if importlib.util.find_spec("cupy"):
        from pdesolve.linalg.direct.cupy_lu import CuPyLU

        return CuPyLU()
    _log.warning("neither nvmath-python nor CuPy is installed: sparse systems on CUDA are factorised on the CPU")
    return SuperLU()
