"""The derivative of a linear solve, written once for all solvers.

With A x = b and A = A(θ), θ the operator's ``tensors()``:

    forward mode    ẋ = A⁻¹ (ḃ - Ȧ x)
    reverse mode    λ = A⁻ᵀ x̄ ,   b̄ = λ ,   θ̄ = -∂/∂θ (λ · A(θ) x)

Both contain nothing but another solve with the same factors, so both call the same Function again; that gives every
higher derivative. For a ``SparseOperator`` θ̄ is -λ_i x_j on the pattern, O(nnz). Where A has a null space that the
solver projects out, A⁻¹ stands for the pseudo-inverse A⁺, and the formulas hold for changes of A that keep it.

Members that failed are constants: they receive no gradient and pass none on.

Source: Giles, *Collected matrix derivative results for forward and reverse mode algorithmic differentiation* (2008),
section 2.3.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.checks import guarded, largest_entry
from pdesolve.linalg.linear_solver import AbstractLinearSolver, LinearResult, NullSpace
from pdesolve.linalg.operators.abstract import AbstractLinearOperator
from pdesolve.linalg.operators.dense import DenseOperator
from pdesolve.linalg.pullback import directional, pullback
from pdesolve.status import SolveStatus, raise_unless_converged
from pdesolve.transforms import require_one_forward_mode, untransformed

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Factors:
    """What the solves with one matrix share: the states, found when first needed.

    Arguments:
        operator: A without values that count: its tensors are handed in with every solve.
        solver: the solver.
        throw: raise when a member fails.
        states: solver states of A (False) and A^T (True).
        null_space: what the solver projected out, if anything.
        members: those of the members when ``torch.vmap`` runs over the matrix, by index; -1 for all together.
        stats: of the last solve asked for by the user.
    """

    operator: AbstractLinearOperator
    solver: AbstractLinearSolver
    throw: bool
    states: dict[bool, Any] = field(default_factory=dict)
    null_space: NullSpace | None = None
    members: dict[int, Factors] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)

    def state(self, operator: AbstractLinearOperator, transposed: bool) -> Any:
        """The solver's state for ``operator`` or its transpose, from one factorisation."""
        if not self.states:
            self.states[False] = self.solver.init(operator)
        if transposed not in self.states:
            self.states[transposed] = self.solver.transpose(self.states[not transposed])
        return self.states[transposed]

    def member(self, index: int) -> Factors:
        """The factors of one member of a mapped matrix."""
        if index not in self.members:
            self.members[index] = Factors(self.operator, self.solver, self.throw)
        return self.members[index]


@dataclass(frozen=True, eq=False)
class System:
    """One direction of solving with ``Factors``.

    Arguments:
        factors: shared with every other direction.
        transposed: solve with A^T.
        derived: a solve that a derivative asks for: its right-hand side is projected silently and normalised.
    """

    factors: Factors
    transposed: bool = False
    derived: bool = False

    def tangent(self) -> System:
        return System(self.factors, self.transposed, True)

    def adjoint(self) -> System:
        return System(self.factors, not self.transposed, True)

    def operator(self, tensors: tuple[Tensor, ...]) -> AbstractLinearOperator:
        """A(θ), or A(θ)^T."""
        operator = self.factors.operator.with_tensors(tensors)
        return operator.T if self.transposed else operator

    def compute(self, b: Tensor, tensors: tuple[Tensor, ...]) -> LinearResult:
        """Solve with plain tensors.

        Raises:
            SolveError: a member failed, and ``throw`` is set.
        """
        factors = self.factors
        state = factors.state(factors.operator.with_tensors(tensors), self.transposed)
        scale = torch.ones((), dtype=b.dtype, device=b.device)
        if self.derived:
            b, scale = self._prepared(b)
        result = guarded(b, lambda rhs: factors.solver.compute(state, rhs))
        if not self.derived:
            factors.null_space = result.null_space
            factors.stats = result.stats
        if factors.throw:
            raise_unless_converged(result.status, str(result.stats.get("detail", "")))
        failed = int((result.status != SolveStatus.CONVERGED).sum()) if self.derived else 0
        if failed:
            _log.warning("%d of %d solves of a derivative failed and count as zero", failed, result.status.numel())
        return LinearResult(result.value * scale, result.status)

    def _prepared(self, b: Tensor) -> tuple[Tensor, Tensor]:
        """In the range of the matrix and divided by a power of two: absolute tolerances see numbers near one."""
        null = self.factors.null_space
        if null is not None:
            outside = null.right if self.transposed else null.left
            b = b - outside * (outside * b).sum(-1, keepdim=True)
        largest = largest_entry(b).unsqueeze(-1)
        usable = largest.isfinite() & (largest > 0)
        scale = torch.where(usable, largest, 1.0).log2().floor().exp2()
        return b / scale, scale


def solve(system: System, b: Tensor, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Value (..., n) and status (...) of A x = b, differentiable to every order in b and ``tensors``."""
    value, status = _LinearSolve.apply(system, b, *tensors)  # type: ignore[no-untyped-call]
    return value, status


class _LinearSolve(torch.autograd.Function):
    """The formulas of the module's head."""

    @staticmethod
    def forward(system: System, b: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        result = system.compute(b, tensors)
        return result.value, result.status

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.system, _, *tensors = inputs
        ctx.mark_non_differentiable(output[1])
        # Saved tensors carry version counters: a matrix changed in place before the backward pass raises.
        ctx.save_for_backward(*output, *tensors)
        ctx.save_for_forward(*output, *tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, status, *tensors = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        adjoint = _derived_solve(ctx.system.adjoint(), cotangent, status, tuple(tensors))
        if not any(needed):
            return None, adjoint, *[None for _ in tensors]
        grads = pullback(ctx.system.operator(tuple(tensors)), -adjoint, x)
        return None, adjoint, *[grad if want else None for grad, want in zip(grads, needed, strict=True)]

    @staticmethod
    def jvp(ctx: Any, _: None, b_dot: Tensor | None, *tensor_dots: Tensor | None) -> tuple[Tensor, None]:
        require_one_forward_mode("a linear solve")
        x, status, *tensors = ctx.saved_tensors
        rhs = torch.zeros_like(x) if b_dot is None else b_dot
        if any(dot is not None for dot in tensor_dots):
            dots = [torch.zeros_like(t) if dot is None else dot for t, dot in zip(tensors, tensor_dots, strict=True)]
            rhs = rhs - directional(ctx.system.operator(tuple(tensors)), dots, x)
        return _derived_solve(ctx.system.tangent(), rhs, status, tuple(tensors)), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], system: System, b: Tensor, *tensors: Tensor) -> Any:
        _, b_dim, *dims = in_dims
        if all(dim is None for dim in dims):
            return solve(system, b.movedim(b_dim, 0), tensors), (0, 0)
        if isinstance(system.factors.operator, DenseOperator):
            together = System(system.factors.member(-1), system.transposed, system.derived)
            b = b.expand(info.batch_size, *b.shape) if b_dim is None else b.movedim(b_dim, 0)
            matrix = tensors[0].movedim(dims[0], 0)
            gap = (1,) * (b.ndim - matrix.ndim + 1)
            return solve(together, b, (matrix.reshape(matrix.shape[0], *gap, *matrix.shape[1:]),)), (0, 0)
        columns = [_members(t, dim, info.batch_size) for t, dim in zip(tensors, dims, strict=True)]
        found = []
        for i, rhs in enumerate(_members(b, b_dim, info.batch_size)):
            single = System(system.factors.member(i), system.transposed, system.derived)
            found.append(solve(single, rhs, tuple(column[i] for column in columns)))
        values, statuses = zip(*found, strict=True)
        return (torch.stack(values), torch.stack(statuses)), (0, 0)


def _derived_solve(system: System, rhs: Tensor, status: Tensor, tensors: tuple[Tensor, ...]) -> Tensor:
    """A solve for a derivative, zero for members whose solve failed."""
    value, reached = solve(system, _zeroed(rhs, status), tensors)
    return _zeroed(value, reached)


def _zeroed(x: Tensor, status: Tensor) -> Tensor:
    """x with zero in place of the members that failed."""
    good = status == SolveStatus.CONVERGED
    return x if untransformed(good) and bool(good.all()) else torch.where(good.unsqueeze(-1), x, 0.0)


def _members(tensor: Tensor, dim: int | None, count: int) -> list[Tensor]:
    return [tensor] * count if dim is None else list(tensor.unbind(dim))
