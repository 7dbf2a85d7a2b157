"""Linear problems under constraints through cvxpylayers: a second opinion on solution and gradient."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.implicit import AbstractAdjoint
from pdesolve.nonlinear.constrained import Shape
from pdesolve.nonlinear.constraints import joined
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.minimise import Minimum
from pdesolve.nonlinear.rows import times
from pdesolve.nonlinear.solved import Solve, Solved, constrained
from pdesolve.status import SolveStatus
from pdesolve.unrolled import normal_equations

_AFFINE = 1e-8


@dataclass(frozen=True)
class ConvexAdjoint(AbstractAdjoint):
    """min 1/2 |Lᵀw + L⁻¹Jᵀr|² under the constraints, L Lᵀ = JᵀJ, solved and differentiated as a cone program by DIFFCP.

    The layer's own solver runs first and gives the status; its converged members are then solved again. Slower than
    ``ImplicitAdjoint`` and less exact, but nothing of it is this package's.

    Arguments:
        eps: tolerance of the cone solver (default 1e-10).
        max_iterations: of the cone solver (default 100000).

    Raises:
        ValueError: eps or max_iterations out of range; at the call, a problem without constraints, or rows that are not
            affine in w.
        ImportError: at the call, without ``pip install pdesolve[cvx]``.

    Notes:
        In float64. Each shape is canonicalised once and kept by this object. Members that failed carry no gradient.

    Source: Agrawal et al., *Differentiable Convex Optimization Layers*, NeurIPS 2019.
    """

    eps: float = 1e-10
    max_iterations: int = 100_000
    _layers: dict[tuple[int, int, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, got {self.eps}")
        if isinstance(self.max_iterations, bool) or not isinstance(self.max_iterations, int) or self.max_iterations < 1:
            raise ValueError(f"max_iterations must be an integer >= 1, got {self.max_iterations!r}")

    def solve(self, problem: LeastSquares, run: Solve, start: Tensor | None = None) -> Solved:
        if not problem.constraints:
            raise ValueError("ConvexAdjoint is for problems with constraints: use ImplicitAdjoint() without")
        problem = problem.memberwise()
        minimum = constrained(problem, run, start)
        end, good = Solved.of(minimum), minimum.status == SolveStatus.CONVERGED
        if not bool(good.any()):
            return end
        _check_affine(problem, minimum, good)
        shape = Shape.of(problem)
        member = good.all(1) if shape.joint else good.flatten()
        program = _program(problem, shape, minimum, good, member)
        found = self._layer(program)(*program, solver_args={"eps": self.eps, "max_iters": self.max_iterations})[0]
        w = shape.flat(minimum.w).reshape(-1, found.shape[-1])
        w = w.index_copy(0, member.nonzero()[:, 0], found.to(w))
        return replace(end, w=w.reshape(minimum.w.shape))

    def _layer(self, program: tuple[Tensor, ...]) -> Any:
        root, _, rows, _, fixed, _ = program
        key = (root.shape[-1], rows.shape[-2], fixed.shape[-2])
        if key not in self._layers:
            self._layers[key] = _canonical(*key)
        return self._layers[key]


def _canonical(n: int, bounds: int, equalities: int) -> Any:
    try:
        cvxpy, layers = importlib.import_module("cvxpy"), importlib.import_module("cvxpylayers.torch")
    except ImportError as error:
        raise ImportError("ConvexAdjoint needs cvxpylayers: pip install pdesolve[cvx]") from error
    w = cvxpy.Variable(n)
    shapes = ((n, n), (n,), (bounds, n), (bounds,), (equalities, n), (equalities,))
    root, target, rows, room, fixed, value = (cvxpy.Parameter(shape) for shape in shapes)
    cost = cvxpy.Minimize(0.5 * cvxpy.sum_squares(root @ w + target))
    program = cvxpy.Problem(cost, [rows @ w <= room, fixed @ w == value])
    return layers.CvxpyLayer(program, [root, target, rows, room, fixed, value], [w])


def _program(problem: LeastSquares, shape: Shape, minimum: Minimum, good: Tensor, member: Tensor) -> tuple[Tensor, ...]:
    """(Lᵀ, L⁻¹(∇ - L Lᵀw), G, h, E, e) of the members, with graph, linearised at the w that was found.

    A row without a bound is 0 <= 1; one such row is always there, and so is an equation.
    """
    ridge = minimum.problem.ridge if minimum.transform is None else problem.ridge
    w = torch.where(good.unsqueeze(-1), minimum.w.detach(), 0.0)
    bare = replace(problem, constraints=(), ridge=ridge)
    gradient, gram = normal_equations(bare.with_tensors(bare.masked(good)), w)
    matrix, slope, at = (_chosen(t, member) for t in (shape.matrix(gram), shape.flat(gradient), shape.flat(w)))
    factor = torch.linalg.cholesky(matrix)
    linear = (slope - times(matrix, at)).unsqueeze(-1)
    target = torch.linalg.solve_triangular(factor, linear, upper=False)
    parts = joined(problem.constraints, shape.patches, shape.joint)
    matrix, lower, upper = (_chosen(t, member) for t in parts[:3])
    equality = parts[3]
    sides = [_side(matrix[:, ~equality], upper[:, ~equality]), _side(-matrix[:, ~equality], -lower[:, ~equality])]
    none = (torch.zeros_like(matrix[:, :1]), torch.ones_like(lower[:, :1]))
    rows, room = (torch.cat([*(side[k] for side in sides), none[k]], 1) for k in (0, 1))
    fixed, value = matrix[:, equality], upper[:, equality]
    if not bool(equality.any()):
        fixed, value = none[0], torch.zeros_like(none[1])
    return factor.mT, target.squeeze(-1), rows, room, fixed, value


def _side(rows: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    real = torch.isfinite(room)
    return torch.where(real.unsqueeze(-1), rows, 0.0), torch.where(real, room, 1.0)


def _chosen(t: Tensor, member: Tensor) -> Tensor:
    """(batch, member, ...) -> (chosen, ...)."""
    return t.flatten(0, 1)[member]


def _check_affine(problem: LeastSquares, minimum: Minimum, good: Tensor) -> None:
    """The residual at w is what its linearisation at zero says."""
    with torch.no_grad():
        bare = problem.detached()
        w = torch.where(good.unsqueeze(-1), minimum.w.detach(), 0.0)
        start, end = bare.linearise(bare.zeros()), bare.linearise(w)
        change = end.gradient - start.gradient - start.gram.matvec(w)
        size = start.gradient.abs() + (start.gram.diagonal.abs() @ w.abs().unsqueeze(-1)).squeeze(-1)
        bent = (change.abs() > _AFFINE * size.amax(-1, keepdim=True)) & good.unsqueeze(-1)
    if bool(bent.any()):
        raise ValueError("ConvexAdjoint needs rows that are affine in w: use ImplicitAdjoint() for this equation")
