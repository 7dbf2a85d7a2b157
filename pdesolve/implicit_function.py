"""The minimiser as a function of the problem's tensors, with derivatives of every order, in both modes.

With E(c, θ) the cost in the solver's unknowns c, w = T c, and ψ(c, θ, λ) = ∂E/∂c · λ, three functions close under
differentiation. Everything below the line is built from ψ by reverse mode alone.

    minimiser    c(θ)             ċ = -L(∂ψ/∂λ along θ̇)                     θ̄ = -P(L(c̄))
    pullback     P(λ) = ∂ψ/∂θ     derivatives of ∂ψ/∂θ itself
    solve        L(v) = H⁻¹ v     L̇ = L(v̇ - Ḣ L(v)),  H λ = ∂ψ/∂c         v̄ = μ = L(L̄),  (c̄, θ̄) = -∂(μ · H λ)

Members that failed are constants. ``_Minimiser``, ``_Pullback`` and ``_HessianSolve`` compute with plain tensors: their
first derivatives are the structured ones of ``LeastSquares``, and a dimension that ``torch.vmap`` maps is folded into
the batch. Higher derivatives go through ``LeastSquares.cost`` and cost a few passes over all rows.

Source: Griewank & Walther, *Evaluating Derivatives*, section 15.5; Blondel et al., NeurIPS 2022.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.execution import AbstractExecution
from pdesolve.linalg.block_cholesky import BlockCholesky, BlockMatrix
from pdesolve.nonlinear.least_squares import LeastSquares, constant_unless
from pdesolve.nonlinear.rows import times
from pdesolve.nonlinear.solved import Solved
from pdesolve.status import SolveStatus
from pdesolve.transforms import folded, unfolded

_log = logging.getLogger(__name__)

_PARTS = 6
"""Tensors before those of the problem: c, status, the two of the Gauss-Newton matrix, ridge, transform."""


@dataclass(eq=False)
class ImplicitFunction:
    """c(θ) of one solve.

    Arguments:
        structure: the problem with tensors that do not count: they are handed in with every call, and autograd keeps
            them.
        execution: how the passes over all rows are run.
        factor: the last factor of H, and the c it belongs to.
        forward_modes: how many levels of forward mode have asked for a derivative.
        wanted: which of the problem's tensors require gradients, seen outside transforms; empty for all.
    """

    structure: LeastSquares
    execution: AbstractExecution
    factor: list[tuple[Tensor, BlockCholesky]] = field(default_factory=list)
    forward_modes: int = 0
    wanted: tuple[bool, ...] = ()

    @staticmethod
    def of(problem: LeastSquares, execution: AbstractExecution) -> ImplicitFunction:
        return ImplicitFunction(problem.with_parts([torch.empty(0)] * len(problem.parts())), execution)

    def __call__(self, found: Solved, problem: LeastSquares) -> Tensor:
        """The solver's unknowns with their derivatives.

        Arguments:
            found: the minimum.
            problem: ``memberwise``, the one that was solved.
        """
        transform = found.c.unsqueeze(-1)[..., :0] if found.transform is None else found.transform
        constants = (found.status, found.gram.diagonal, found.gram.coupling, found.ridge, transform)
        if torch._C._functorch.peek_interpreter_stack() is None:
            self.wanted = tuple(t.requires_grad for t in problem.tensors())
        c: Tensor = _Minimiser.apply(self, found.c, *constants, *problem.parts())  # type: ignore[no-untyped-call]
        return c

    def keep(self, c: Tensor, factor: BlockCholesky) -> None:
        """Remember a factor of H at c."""
        self.factor[:] = [(c, factor)]

    def follow(self) -> None:
        """Count a level of forward mode.

        Raises:
            NotImplementedError: the second. torch switches forward mode off within a Function's jvp, so that the outer
                level would silently miss a part.
        """
        self.forward_modes += 1
        if self.forward_modes > 1:
            raise NotImplementedError(
                "forward mode over forward mode through a constraint solve is not supported: take one of the two "
                "derivatives in reverse mode, as torch.func.hessian does, or use UnrolledAdjoint()"
            )

    def at(self, tensors: Sequence[Tensor]) -> _Point:
        """Where the tensors that a function of this module was called with stand."""
        c, status, diagonal, coupling, ridge, transform, *parts = tensors
        problem = replace(self.structure.with_parts(parts), ridge=None)
        gram = BlockMatrix(diagonal, coupling, self.structure.edges)
        return _Point(
            problem, c, status == SolveStatus.CONVERGED, gram, ridge, transform if transform.shape[-1] else None
        )

    def factorised(self, point: _Point) -> BlockCholesky:
        """The factor of H at a point of plain tensors."""
        for c, factor in self.factor:
            if c.shape == point.c.shape and c.device == point.c.device and torch.equal(c, point.c):
                return factor
        factor = hessian_factor(point.inner(), point.c, point.gram, self.execution)
        self.keep(point.c, factor)
        return factor

    def theta(self, tensors: Sequence[Any]) -> list[Any]:
        """What belongs to ``LeastSquares.tensors()`` among something for each of ``tensors``."""
        queue, found = list(tensors[_PARTS:]), []
        for block in self.structure.blocks:
            found += queue[: len(block.tensors())]
            del queue[: len(block.parts())]
        return found

    def among(self, theta: Sequence[Any], c: Any = None) -> list[Any]:
        """The reverse of ``theta``: None for everything else, and ``c`` for c."""
        queue, found = list(theta), [c, *(None,) * (_PARTS - 1)]
        for block in self.structure.blocks:
            n = len(block.tensors())
            found += [*queue[:n], *(None,) * (len(block.parts()) - n)]
            del queue[:n]
        return found + [None] * (self.structure.ridge is not None)


@dataclass(frozen=True, eq=False)
class _Point:
    """Where derivatives are taken.

    Arguments:
        problem: in the unknowns w, without a ridge.
        c: the solver's unknowns.
        good: (batch, patch), what has converged.
        gram: Gauss-Newton matrix in c.
        ridge: Γ in c.
        transform: w = transform c.
    """

    problem: LeastSquares
    c: Tensor
    good: Tensor
    gram: BlockMatrix
    ridge: Tensor
    transform: Tensor | None

    def inner(self) -> LeastSquares:
        """The problem in the unknowns c."""
        problem = self.problem if self.transform is None else self.problem.transformed(self.transform)
        return problem.penalised(self.ridge)

    def weights(self, c: Tensor) -> Tensor:
        """T c."""
        return c if self.transform is None else times(self.transform, c)

    def gradient(self, c: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """∂E/∂c, (batch, patch, N)."""
        problem = self.problem.with_tensors(theta)
        problem = problem.with_tensors(problem.masked(self.good))

        def cost(c: Tensor) -> Tensor:
            penalty: Tensor = 0.5 * torch.linalg.vecdot(c, times(self.ridge, c)).sum()
            return problem.cost(self.weights(c)).sum() + penalty

        value, pull = _vjp(cost, constant_unless(self.good, c))
        found: Tensor = pull(torch.ones_like(value))[0]
        return found

    def product(self, c: Tensor, theta: Sequence[Tensor], direction: Tensor) -> Tensor:
        """H λ = ∂ψ/∂c."""
        found: Tensor = _vjp(lambda c: self.gradient(c, theta), c)[1](direction)[0]
        return found

    def pullback(self, direction: Tensor, c: Tensor, theta: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """∂ψ/∂θ."""
        found: tuple[Tensor, ...] = _vjp(lambda *theta: self.gradient(c, theta), *theta)[1](direction)
        return found


def hessian_factor(problem: LeastSquares, c: Tensor, gram: BlockMatrix, execution: AbstractExecution) -> BlockCholesky:
    """Factor of the full Hessian, with the Gauss-Newton matrix for members where that is not positive definite.

    Arguments:
        problem: in the unknowns c.
        c: where.
        gram: the Gauss-Newton matrix there.
        execution: how that is run.
    """
    hessian, factor = execution.run(_factorised, problem, c, gram)
    indefinite = problem.any_member(factor.failed)
    if bool(indefinite.any()):
        members = indefinite.expand(factor.failed.shape)
        _log.info("Gauss-Newton adjoint for %d patches: their Hessian is not positive definite", int(members.sum()))
        diagonal, coupling = torch.where(members[..., None, None], gram.diagonal, hessian.diagonal), hessian.coupling
        if hessian.edges:
            coupling = torch.where(indefinite[..., None, None], gram.coupling, hessian.coupling)
        factor = BlockCholesky.factorise(replace(hessian, diagonal=diagonal, coupling=coupling))
    return factor


def _factorised(problem: LeastSquares, c: Tensor, gram: BlockMatrix) -> tuple[BlockMatrix, BlockCholesky]:
    hessian = problem.hessian(c, gram)
    return hessian, BlockCholesky.factorise(hessian)


def _solved(function: ImplicitFunction, v: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """L(v) for v (..., batch, patch, N)."""
    found: Tensor = _HessianSolve.apply(function, v, *tensors)  # type: ignore[no-untyped-call]
    return found


def _pulled(function: ImplicitFunction, direction: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """P(λ), one tensor for each of ``LeastSquares.tensors()``."""
    found: tuple[Tensor, ...] = _Pullback.apply(function, direction, *tensors)  # type: ignore[no-untyped-call]
    return found


def _vjp(function: Callable[..., Any], *at: Any) -> tuple[Any, Callable[..., Any]]:
    found = torch.func.vjp(function, *at)
    return found[0], found[1]


def _along(function: Callable[..., Any], at: Sequence[Tensor], dots: Sequence[Tensor]) -> Any:
    """The derivative of ``function`` along ``dots``, by reverse mode twice.

    torch refuses torch.func.jvp inside forward_ad.dual_level; the pullback is linear in its cotangent.
    """
    value, pull = _vjp(function, *at)
    zeros = torch.zeros_like(value) if isinstance(value, Tensor) else tuple(torch.zeros_like(v) for v in value)
    return _vjp(pull, zeros)[1](tuple(dots))[0]


def _require_plain(t: Tensor) -> None:
    """Raise for a tensor of torch's older vmap, which runs a Function's code as it is and would sum over members."""
    try:
        t.data_ptr()
    except RuntimeError as error:
        raise NotImplementedError(
            "batched gradients (is_grads_batched, vectorize=True of torch.autograd.functional) do not work through a "
            "constraint solve: use torch.func.jacrev, or torch.func.vmap over torch.func.vjp"
        ) from error


def _filled(dots: Sequence[Tensor | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(t) if dot is None else dot for dot, t in zip(dots, tensors, strict=True)]


class _Minimiser(torch.autograd.Function):
    """c(θ)."""

    @staticmethod
    def forward(function: ImplicitFunction, c: Tensor, *tensors: Tensor) -> Tensor:
        return c.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.function, _, *tensors = inputs
        # c is saved as the output: a second derivative goes through it. Saved tensors carry version counters, so a
        # basis changed in place before the backward pass raises.
        ctx.save_for_backward(output, *tensors)
        ctx.save_for_forward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        function, tensors = ctx.function, ctx.saved_tensors
        grads = _pulled(function, -_solved(function, cotangent, tensors), tensors)
        needed = function.theta(ctx.needs_input_grad[1:])
        wanted = [grad if want else None for grad, want in zip(grads, needed, strict=True)]
        return None, *function.among(wanted)

    @staticmethod
    def jvp(ctx: Any, _: None, *dots: Tensor | None) -> Tensor:
        function, tensors = ctx.function, ctx.saved_tensors
        function.follow()
        point, theta = function.at(tensors), function.theta(tensors)
        change = _along(lambda *theta: point.gradient(point.c, theta), theta, _filled(function.theta(dots), theta))
        return _solved(function, -change, tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], function: ImplicitFunction, *tensors: Tensor) -> Any:
        whole = folded(info.batch_size, in_dims[1:], tensors)
        found = _Minimiser.apply(function, *whole)  # type: ignore[no-untyped-call]
        return unfolded(info.batch_size, found), 0


def _pullback(
    problem: LeastSquares, w: Tensor, direction: Tensor, wanted: tuple[bool, ...] | None, good: Tensor | None
) -> list[Tensor | None]:
    return problem.pullback(w, direction, wanted, good)


class _Pullback(torch.autograd.Function):
    """P(λ; c, θ) = ∂ψ/∂θ."""

    @staticmethod
    def forward(function: ImplicitFunction, direction: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        _require_plain(direction)
        point = function.at(tensors)
        wanted = function.wanted or None
        good = None if bool(point.good.all()) else point.good
        at = point.weights(point.c), point.weights(direction)
        grads = function.execution.run(_pullback, point.problem, *at, wanted, good)
        every = zip(grads, function.theta(tensors), strict=True)
        return tuple(t.new_zeros(()).expand(t.shape) if grad is None else grad for grad, t in every)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.function, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        function, (direction, *tensors) = ctx.function, ctx.saved_tensors
        point, theta = function.at(tensors), function.theta(tensors)
        _, pull = _vjp(lambda direction, c, *theta: point.pullback(direction, c, theta), direction, point.c, *theta)
        by_direction, by_c, *by_theta = pull(cotangents)
        return None, by_direction, *function.among(by_theta, by_c)

    @staticmethod
    def jvp(ctx: Any, _: None, direction_dot: Tensor | None, *dots: Tensor | None) -> tuple[Tensor, ...]:
        function, (direction, *tensors) = ctx.function, ctx.saved_tensors
        point, theta = function.at(tensors), function.theta(tensors)
        at = [direction, point.c, *theta]
        found: tuple[Tensor, ...] = _along(
            lambda direction, c, *theta: point.pullback(direction, c, theta),
            at,
            _filled([direction_dot, dots[0], *function.theta(dots)], at),
        )
        return found

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], function: ImplicitFunction, *tensors: Tensor) -> Any:
        direction, *whole = folded(info.batch_size, in_dims[1:], tensors)
        found = unfolded(info.batch_size, _pulled(function, direction, whole))
        return found, (0,) * len(found)


class _HessianSolve(torch.autograd.Function):
    """L(v; c, θ) = H⁻¹ v, for any number of v: (..., batch, patch, N)."""

    @staticmethod
    def forward(function: ImplicitFunction, v: Tensor, *tensors: Tensor) -> Tensor:
        _require_plain(v)
        point = function.at(tensors)
        good = point.good.unsqueeze(-1)
        return torch.where(good, function.factorised(point).solve(torch.where(good, v, 0.0)), 0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.function, _, *tensors = inputs
        ctx.save_for_backward(output, *tensors)
        ctx.save_for_forward(output, *tensors)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        function, (x, *tensors) = ctx.function, ctx.saved_tensors
        adjoint = _solved(function, cotangent, tensors)
        if not any(ctx.needs_input_grad[2:]):
            return None, adjoint, *(None for _ in tensors)
        every, shape = tensors, tensors[0].shape
        if x.ndim > len(shape):  # several right-hand sides, each with a copy of the point
            every = folded(x.shape[:-3].numel(), [None] * len(tensors), tensors)
        point, theta = function.at(every), function.theta(every)
        direction, rows = x.reshape(point.c.shape), -adjoint.reshape(point.c.shape)
        pull = _vjp(lambda c, *theta: point.product(c, theta, direction), point.c, *theta)[1]
        by_c, *by_theta = pull(rows)
        found = function.among(by_theta, by_c)
        summed = [None if g is None else g.reshape(-1, *t.shape).sum(0) for g, t in zip(found, tensors, strict=True)]
        return None, adjoint, *summed

    @staticmethod
    def jvp(ctx: Any, _: None, v_dot: Tensor | None, *dots: Tensor | None) -> Tensor:
        function, (x, *tensors) = ctx.function, ctx.saved_tensors
        every = tensors
        if x.ndim > tensors[0].ndim:
            every = folded(x.shape[:-3].numel(), [None] * len(tensors), tensors)
            given = _filled(dots, tensors)
            dots = tuple(folded(x.shape[:-3].numel(), [None] * len(tensors), given))
        point, theta = function.at(every), function.theta(every)
        at = [point.c, *theta]
        direction = x.reshape(point.c.shape)
        change = _along(
            lambda c, *theta: point.product(c, theta, direction), at, _filled([dots[0], *function.theta(dots)], at)
        ).reshape(x.shape)
        return _solved(function, -change if v_dot is None else v_dot - change, tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], function: ImplicitFunction, v: Tensor, *tensors: Tensor) -> Any:
        _, dim, *dims = in_dims
        if all(d is None for d in dims):
            return _solved(function, v.movedim(dim, 0), tensors), 0
        first = v.unsqueeze(-4) if dim is None else v.movedim(dim, -4)
        v = first.expand(*first.shape[:-4], info.batch_size, *first.shape[-3:])
        found = _solved(function, v.flatten(-4, -3), folded(info.batch_size, dims, tensors))
        return found.unflatten(-3, (info.batch_size, -1)), found.ndim - 3
