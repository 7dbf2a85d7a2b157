"""The derivative of a root, written once for all root finders.

F(u, θ) = 0 at u = u(θ) gives, with J = ∂F/∂u at the root,

    forward mode    u̇ = -J⁻¹ (∂F/∂θ) θ̇
    reverse mode    λ = J⁻ᵀ ū ,   θ̄ = -∂/∂θ (λ · F(u, θ)) .

u is an output of this very Function, J a function of u and θ, and the solves are ``linear_solve``: differentiating the
formulas again gives every higher derivative.

Source: Griewank & Walther, *Evaluating Derivatives* (2008), section 15.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdesolve.linalg.operators.jacobian import differentiable, exchanged
from pdesolve.linalg.solve import linear_solve
from pdesolve.root_finding.check import require_derivative, require_start
from pdesolve.root_finding.problem import RootProblem
from pdesolve.root_finding.root_finder import AbstractRootFinder
from pdesolve.status import SolveStatus, raise_unless_converged
from pdesolve.transforms import require_one_forward_mode


@dataclass(eq=False)
class Root:
    """What the derivatives of one root share.

    Arguments:
        problem: F and its Jacobian, without parameters that count: they are handed in.
        method: the root finder.
        throw: raise when a member fails.
        state: the linear solver's at the root, if there is one.
        stats: of the root finder.
        members: those of the members under ``torch.vmap``.
    """

    problem: RootProblem
    method: AbstractRootFinder
    throw: bool
    state: Any = None
    stats: dict[str, Any] = field(default_factory=dict)
    members: dict[int, Root] = field(default_factory=dict)

    def member(self, index: int) -> Root:
        if index not in self.members:
            self.members[index] = Root(self.problem, self.method, self.throw)
        return self.members[index]

    def solved(self, u: Tensor, parameters: tuple[Tensor, ...], b: Tensor, status: Tensor, transposed: bool) -> Tensor:
        """J⁻¹ b or J⁻ᵀ b at the root, differentiable; zero for members without a root.

        Raises:
            SolveError: a member with a root has a Jacobian that cannot be solved with, and ``throw`` is set.
        """
        good = status == SolveStatus.CONVERGED
        operator = self.problem.at(parameters).operator(u)
        solver = self.method.linear_solver(operator)
        state = self.state
        if state is not None and transposed:
            state = solver.transpose(state)
        rhs = torch.where(good.unsqueeze(-1), b, 0.0)
        # With throw set no member failed, or the root would have raised: the solve may raise for any of them.
        value, report = linear_solve(operator.T if transposed else operator, rhs, solver, throw=self.throw, state=state)
        return torch.where((good & report.converged).unsqueeze(-1), value, 0.0)


def root(shared: Root, start: Tensor, parameters: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Root (*batch, n) and status (*batch,), differentiable to every order in ``parameters``."""
    value, status = _Root.apply(shared, start.detach(), *parameters)  # type: ignore[no-untyped-call]
    return value, status


class _Root(torch.autograd.Function):
    """The formulas of the module's head."""

    @staticmethod
    def forward(shared: Root, start: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        problem = shared.problem.at(parameters)
        require_start(problem, start)
        require_derivative(problem, start)
        found = shared.method.run(problem, start)
        shared.state, shared.stats = found.state, found.stats
        if shared.throw:
            raise_unless_converged(found.status, str(found.stats.get("detail", "")))
        return found.value.clone(), found.status

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.shared, _, *parameters = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*output, *parameters)
        ctx.save_for_forward(*output, *parameters)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        u, status, *parameters = ctx.saved_tensors
        adjoint = ctx.shared.solved(u, tuple(parameters), cotangent, status, transposed=True)
        pulled = _pulled(ctx.shared.problem, u, parameters, -adjoint)
        # Where no member has a root F may be NaN, and zero times its derivative too.
        found = (status == SolveStatus.CONVERGED).any()
        queue = iter([torch.where(found, grad, 0.0) for grad in pulled])
        return None, None, *[next(queue) if differentiable(p) else None for p in parameters]

    @staticmethod
    def jvp(ctx: Any, _: None, __: Tensor | None, *dots: Tensor | None) -> tuple[Tensor, None]:
        require_one_forward_mode("a root")
        u, status, *parameters = ctx.saved_tensors
        pairs = [(p, dot) for p, dot in zip(parameters, dots, strict=True) if differentiable(p)]
        given = [torch.zeros_like(p) if dot is None else dot for p, dot in pairs]

        # torch refuses torch.func.jvp inside forward_ad.dual_level: two reverse passes give the same.
        def pulled(y: Tensor) -> tuple[Tensor, ...]:
            return _pulled(ctx.shared.problem, u, parameters, y)

        along: Tensor = torch.func.vjp(pulled, torch.zeros_like(u))[1](tuple(given))[0]
        return ctx.shared.solved(u, tuple(parameters), -along, status, transposed=False), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], shared: Root, start: Tensor, *parameters: Tensor) -> Any:
        _, *dims = in_dims
        columns = [
            [t] * info.batch_size if dim is None else list(t.unbind(dim))
            for t, dim in zip((start, *parameters), dims, strict=True)
        ]
        found = [root(shared.member(i), u, tuple(theta)) for i, (u, *theta) in enumerate(zip(*columns, strict=True))]
        values, statuses = zip(*found, strict=True)
        return (torch.stack(values), torch.stack(statuses)), (0, 0)


def _pulled(problem: RootProblem, u: Tensor, parameters: list[Tensor], y: Tensor) -> tuple[Tensor, ...]:
    """∂/∂θ of y · F(u, θ), for those of the parameters that have one."""

    def residual(*theta: Tensor) -> Tensor:
        return problem.at(exchanged(parameters, theta)).residual(u)

    theta = [p for p in parameters if differentiable(p)]
    return tuple(torch.func.vjp(residual, *theta)[1](y)) if theta else ()
