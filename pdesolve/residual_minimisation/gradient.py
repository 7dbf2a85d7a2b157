"""The gradient of 1/2 |r|² by one reverse pass."""

from __future__ import annotations

import torch
from torch import Tensor

from pdesolve.residual_minimisation.abstract import AbstractResidual


def rows_and_gradient(problem: AbstractResidual, theta: Tensor) -> tuple[Tensor, Tensor]:
    """(r, Jᵀr) at θ, without a graph; from J itself where the rows record no gradients."""
    free = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        r = problem.residual(free)
    if not r.requires_grad:
        r, jacobian = problem.linearise(theta.detach())
        return r, jacobian.mT @ r
    (gradient,) = torch.autograd.grad(r, free, grad_outputs=r.detach())
    return r.detach(), gradient
