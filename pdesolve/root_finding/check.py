"""What is checked before a root is looked for: the start, and whether a Jacobian is the derivative of the function."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.linalg.operators.jacobian import JacobianOperator
from pdesolve.root_finding.jacobian import MatrixFree
from pdesolve.root_finding.problem import RootProblem


def require_start(problem: RootProblem, start: Tensor) -> None:
    """Raise unless ``start`` is finite and F gives what it is given.

    Raises:
        TypeError: F(start) is no tensor, has another type or lies on another device.
        ValueError: NaN or Inf in ``start``, or F(start) of another shape.
    """
    bad = (~start.isfinite()).nonzero()
    if bad.numel():
        index = tuple(int(i) for i in bad[0])
        raise ValueError(f"start[{', '.join(map(str, index))}] is {float(start[index])}: give a finite starting point")
    with torch.no_grad():
        out = problem.residual(start)
    if not isinstance(out, Tensor):
        raise TypeError(f"function must return a tensor, not {type(out).__name__}: torch.cat or torch.stack its parts")
    if out.shape != start.shape:
        raise ValueError(f"function must return the shape of u, {tuple(start.shape)}, not {tuple(out.shape)}")
    if out.dtype != start.dtype or out.device != start.device:
        raise TypeError(
            f"function returns {out.dtype} on {out.device} for start {start.dtype} on {start.device}: make them agree"
        )


def require_derivative(problem: RootProblem, start: Tensor) -> None:
    """Compare one product J v with the directional derivative of F, v random.

    Raises:
        ValueError: they differ by more than round-off, or J has another shape; names the worst row.
    """
    if isinstance(problem.jacobian, MatrixFree):
        return
    with torch.no_grad():
        operator, n = problem.operator(start), start.shape[-1]
        if operator.shape != (n, n):
            raise ValueError(f"the Jacobian has shape {operator.shape}: ({n}, {n}) is needed")
        v = torch.randn(start.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(start)

        def flat(u: Tensor, *theta: Tensor) -> Tensor:
            return problem.function(u.reshape(start.shape), *theta).reshape(-1)

        exact = JacobianOperator(flat, start.reshape(-1), problem.parameters, rows=start.numel()).mv(v.reshape(-1))
        gap = (operator.mv(v).reshape(-1) - exact).abs()
        allowed = torch.finfo(start.dtype).eps ** 0.5 * exact.abs().amax()
        if bool((gap > allowed).any()):  # not where it is NaN: that is for the root finder to tell
            row = int(gap.argmax())
            raise ValueError(
                f"the Jacobian is not the derivative of the function: row {row} of J v is off by {float(gap[row]):.1e} "
                f"of {float(exact.abs().amax()):.1e}; a pattern without some entries, or an assembly that misses terms?"
            )
