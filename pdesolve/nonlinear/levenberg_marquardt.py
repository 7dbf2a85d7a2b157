"""Levenberg-Marquardt, batched: every member has its own damping, mask and status."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pdesolve.execution import AbstractExecution, Eager
from pdesolve.linalg.block_cholesky import BlockCholesky, BlockMatrix
from pdesolve.nonlinear.least_squares import LeastSquares, Normal, select
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, Iterate, stationarity
from pdesolve.nonlinear.ridge import AbstractRidge, RelativeRidge
from pdesolve.nonlinear.whitening import Whitening

_FIRST_DAMPING = 1e-3
_LARGEST_DAMPING = 1e16
_UNDAMPED = 1e-9


@dataclass(frozen=True)
class LevenbergMarquardt(AbstractNonlinearSolver):
    """min_w 1/2 |r(w)|² by steps (JᵀJ + λ D²) h = -Jᵀr with D the running maximum of column norms.

    Arguments:
        gtol: stop at max_j |J_j·r| / (|J_j| |r|) <= gtol (default 1e-8). Scale-free: units do not matter.
        max_steps: step cap; reaching it is a failure with its own status (default 50).
        damping: λ at the start (default 0: a Gauss-Newton step is tried first, so a linear problem takes one
            step; where a step fails λ jumps to 1e-3 and grows by Nielsen's rule).
        ridge: penalty for rank-deficient bases.
        whitening: change of unknowns for ill-conditioned bases.
        execution: ``Eager()`` (default), or ``Compiled()`` for many small solves of one size.

    Raises:
        ValueError: gtol, max_steps or damping out of range.

    Notes:
        Differences from the textbook: 1. λ = 0 is tried first and restored after good steps, since the
        constraint problems are nearly linear about their lifting and a fixed λ leaves slow directions.
        2. A failed Cholesky factor counts as a rejected step of that member only.
        3. A member whose stationarity falls by less than a factor of three in a step switches to the full
        Hessian: Gauss-Newton converges only linearly where the residual stays large. Where that matrix is not
        positive definite it switches back.

    Source: Moré 1978 (scaling); Nielsen 1999, IMM-REP-1999-05 (damping update); Madsen, Nielsen & Tingleff 2004.
    """

    gtol: float = 1e-8
    max_steps: int = 50
    damping: float = 0.0
    ridge: AbstractRidge = field(default_factory=RelativeRidge)
    whitening: Whitening = field(default_factory=Whitening)
    execution: AbstractExecution = field(default_factory=Eager)

    def __post_init__(self) -> None:
        if not 0 < self.gtol < 1:
            raise ValueError(f"gtol must lie between 0 and 1, got {self.gtol}")
        if isinstance(self.max_steps, bool) or not isinstance(self.max_steps, int) or self.max_steps < 1:
            raise ValueError(f"max_steps must be an integer >= 1, got {self.max_steps!r}")
        if not 0 <= self.damping < float("inf"):
            raise ValueError(f"damping must be finite and >= 0, got {self.damping}")

    def init(self, problem: LeastSquares, w: Tensor, normal: Normal) -> Iterate:
        by_member = torch.zeros_like(normal.cost)
        memory = {
            "damping": by_member + self.damping,
            "growth": by_member + 2.0,
            "scale": column_squares(normal),
        }
        return Iterate(w, normal, stationarity(normal), memory, by_member.bool(), by_member.bool())

    def step(self, problem: LeastSquares, iterate: Iterate, active: Tensor, curved: bool) -> Iterate:
        normal, damping = iterate.normal, iterate.memory["damping"]
        scale = torch.maximum(iterate.memory["scale"], column_squares(normal))
        shift = damping.unsqueeze(-1) * scale
        newton = iterate.curved if curved else torch.zeros_like(iterate.curved)
        matrix = _with_curvature(problem, iterate) if curved else normal.gram
        factor = BlockCholesky.factorise(matrix.shifted(shift))
        broken = problem.any_member(factor.failed)
        h = factor.solve(-normal.gradient)
        h = torch.where((active & ~broken).unsqueeze(-1) & torch.isfinite(h), h, torch.zeros_like(h))
        trial = problem.linearise(iterate.w + h)
        accepted, gain = _judge(problem, normal, trial, h, shift)
        accepted = accepted & active & ~broken
        rejected = active & ~accepted
        measure = stationarity(trial)
        slow = measure > iterate.stationarity / 3.0
        memory = _updated(iterate.memory, accepted, rejected & ~(broken & newton), gain)
        memory |= {"scale": scale}
        return Iterate(
            w=torch.where(accepted.unsqueeze(-1), iterate.w + h, iterate.w),
            normal=select(accepted, trial, normal),
            stationarity=torch.where(accepted, measure, iterate.stationarity),
            memory=memory,
            failed=iterate.failed | (rejected & (memory["damping"] > _LARGEST_DAMPING)),
            curved=(iterate.curved & ~(broken & newton)) | (accepted & slow),
        )


def _judge(problem: LeastSquares, old: Normal, new: Normal, h: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """(accepted, gain ratio), by member.

    The predicted reduction is 1/2 hᵀ(λ D² h - Jᵀr). Where it is below the round-off of the cost a comparison of costs
    is noise: the step is then taken if it does not raise the cost beyond that.
    """
    predicted = 0.5 * problem.by_member((h * (shift * h - old.gradient)).sum(-1))
    actual = old.cost - new.cost
    gain = actual / predicted.clamp_min(torch.finfo(h.dtype).tiny)
    eps = torch.finfo(h.dtype).eps
    noise = 1e2 * eps * old.cost + (1e2 * eps * old.magnitude) ** 2
    minute = predicted <= noise
    accepted = torch.where(minute, actual >= -10.0 * noise, gain > 1e-4) & torch.isfinite(new.cost)
    return accepted, torch.where(minute, torch.ones_like(gain), gain)


def column_squares(normal: Normal) -> Tensor:
    """Squared column norms of J, (batch, patch, N)."""
    return normal.gram.diagonal.diagonal(dim1=-2, dim2=-1).clamp_min(0)


def _with_curvature(problem: LeastSquares, iterate: Iterate) -> BlockMatrix:
    """The Gauss-Newton matrix, with the full Hessian in its place for the members in ``curved``."""
    gram, chosen = iterate.normal.gram, iterate.curved[..., None, None]
    full = problem.hessian(iterate.w, gram)
    coupling = torch.where(chosen, full.coupling, gram.coupling) if gram.edges else gram.coupling
    return replace(gram, diagonal=torch.where(chosen, full.diagonal, gram.diagonal), coupling=coupling)


def _updated(memory: dict[str, Tensor], accepted: Tensor, rejected: Tensor, gain: Tensor) -> dict[str, Tensor]:
    damping, growth = memory["damping"], memory["growth"]
    shrink = (1.0 - (2.0 * gain - 1.0) ** 3).clamp(0.1, 2.0)
    smaller = damping * shrink
    smaller = torch.where(smaller < _UNDAMPED, torch.zeros_like(smaller), smaller)
    larger = torch.clamp_min(damping * growth, _FIRST_DAMPING)
    return {
        "damping": torch.where(accepted, smaller, torch.where(rejected, larger, damping)),
        "growth": torch.where(accepted, torch.full_like(growth, 2.0), torch.where(rejected, 2.0 * growth, growth)),
    }
