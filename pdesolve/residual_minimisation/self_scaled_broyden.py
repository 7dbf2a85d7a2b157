"""Quasi-Newton steps whose matrix is scaled at every update: a baseline that needs gradients alone."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pdesolve.linalg.direct.memory import available_memory
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, AbstractResidual, Minimised, Watch
from pdesolve.residual_minimisation.gradient import rows_and_gradient
from pdesolve.residual_minimisation.journal import begin, cost_of, first_bad
from pdesolve.status import SolveStatus

_PATIENCE = 10  # steps over which the cost has to fall
_ROUND_OFF = 1e-13  # of the cost: a step that promises less cannot be seen to lower it
_INDEFINITE = 1e-6  # how far b h may stay below one by rounding
_HUGE = 1e300  # stands for a cost that is not finite


@final
@dataclass(frozen=True)
class SelfScaledBroyden(AbstractMinimiser):
    """θ <- θ - α H Jᵀr, α by the strong Wolfe conditions, H by a self-scaled update of Broyden's class.

    With s, y the changes of θ and of the gradient, b = -α sᵀg / sᵀy, h = yᵀHy / sᵀy and a = b h - 1:

        H <- (H - H y yᵀ H / yᵀHy + φ v vᵀ) / τ + s sᵀ / sᵀy ,   v = √(yᵀHy) (s / sᵀy - H y / yᵀHy) .

    φ = (1 - θ)/(1 + a θ) between BFGS (1) and DFP (0) and beyond, θ and τ <= 1 as Al-Baali chose them.

    Arguments:
        max_steps: default 2 000.
        gtol: converged where |Jᵀr| is at most this of what it was at the start (default 1e-12).
        ftol: converged where ten steps lower the cost by no more than this of itself (default 1e-9).
        target: converged where the cost is at most this (default 0).
        armijo, wolfe: c₁ and c₂ of the line search (default 1e-4, 0.9).

    Raises:
        ValueError: limits that are not positive, or not 0 < c₁ < c₂ < 1.
        MemoryError: an n by n matrix that does not fit, said before it is allocated.

    Notes:
        n² numbers and 6 n² operations a step, besides two to three evaluations of cost and gradient; no Jacobian.
        Takes n steps or more to learn the curvature that Gauss-Newton reads off J: here to be compared with. Where the
        line search finds no step H starts anew; twice in a row is DIVERGED, or CONVERGED where the first of the two
        promised less than ``ftol`` of the cost or than its round-off.

    Source: Urbán, Stefanou & Pons, J. Comput. Phys. 523 (2025), arXiv 2405.04230; Kiyani et al., arXiv 2501.16371;
        Al-Baali, Comput. Optim. Appl. 9 (1998), for the scaling.
    """

    max_steps: int = 2000
    gtol: float = 1e-12
    ftol: float = 1e-9
    target: float = 0.0
    armijo: float = 1e-4
    wolfe: float = 0.9

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if not min(self.gtol, self.ftol, self.target) >= 0:
            raise ValueError(f"tolerances must not be negative, got {self.gtol}, {self.ftol}, {self.target}")
        if not 0 < self.armijo < self.wolfe < 1:
            raise ValueError(f"the line search must have 0 < c1 < c2 < 1, got {self.armijo} and {self.wolfe}")

    def minimise(self, problem: AbstractResidual, start: Tensor, watch: Watch | None = None) -> Minimised:
        theta, journal, failed = begin(problem, start, watch, _require)
        if failed is not None:
            return failed
        g = rows_and_gradient(problem, theta)[1]
        first, cost = float(g.norm()), journal.best_cost
        inverse: Tensor | None = None
        promised = math.inf
        costs = [cost]
        while journal.steps < self.max_steps:
            if not bool(torch.isfinite(g).all()):
                return journal.finish(SolveStatus.NON_FINITE, f"step {journal.steps}: the gradient, {first_bad(g)}")
            if cost <= self.target or float(g.norm()) <= self.gtol * first:
                return journal.finish(SolveStatus.CONVERGED)
            direction = -g / max(float(g.norm()), 1.0) if inverse is None else -(inverse @ g)
            found = self._search(problem, theta, direction, cost, g)
            if found is None:
                if inverse is None:
                    if promised <= max(self.ftol, _ROUND_OFF) * cost:
                        return journal.finish(SolveStatus.CONVERGED)
                    return journal.finish(SolveStatus.DIVERGED, "no step down the gradient lowers the cost")
                inverse, promised = None, -0.5 * float(g @ direction)
                continue
            promised = math.inf
            before, theta, cost, g = g, found.theta, found.cost, found.gradient
            inverse = updated(inverse, found.length * direction, g - before, found.length, before)
            stop = journal.note(theta, cost, length=found.length)
            costs.append(cost)
            if len(costs) > _PATIENCE and costs[-1 - _PATIENCE] - cost <= self.ftol * costs[-1 - _PATIENCE]:
                return journal.finish(SolveStatus.CONVERGED)
            if stop:
                break
        return journal.finish(SolveStatus.STEP_CAP)

    def _search(
        self, problem: AbstractResidual, theta: Tensor, direction: Tensor, cost: float, gradient: Tensor
    ) -> _Point | None:
        """A point that meets the strong Wolfe conditions along a direction."""
        from scipy.optimize import line_search

        seen: dict[float, _Point] = {}

        def at(length: float) -> _Point:
            if length not in seen:
                there = theta + length * direction
                rows, slope = rows_and_gradient(problem, there)
                seen[length] = _Point(length, there, cost_of(rows), slope)
            return seen[length]

        def cost_at(length: np.ndarray[Any, Any]) -> float:
            return min(at(float(length[0])).cost, _HUGE)

        def slope_at(length: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return np.array([float(at(float(length[0])).gradient @ direction)])

        slope = float(gradient @ direction)
        if not slope < 0:
            return None
        # The search sees a function of the length alone, so that vectors stay on their device.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = line_search(
                cost_at,
                slope_at,
                np.zeros(1),
                np.ones(1),
                gfk=np.array([slope]),
                old_fval=cost,
                c1=self.armijo,
                c2=self.wolfe,
                maxiter=20,
            )[0]
        if found is None:
            best = min(seen.values(), key=lambda p: p.cost, default=None)
            return best if best is not None and best.cost < cost else None
        return at(float(found))


def _require(rows: int, theta: Tensor) -> None:
    """Raise unless H and two copies fit."""
    needed, free = 3.0 * len(theta) ** 2 * theta.dtype.itemsize, available_memory(theta.device)
    if needed > free:
        raise MemoryError(
            f"the matrix H of {len(theta)} parameters takes {needed / 2**30:.3g} GiB with its updates, "
            f"{free / 2**30:.3g} GiB are free on {theta.device}: use AdamDescent, "
            "ProbedLevenbergMarquardt(Sketched(size)), or fewer parameters"
        )


@dataclass(frozen=True, eq=False)
class _Point:
    """Cost and gradient at the end of a step."""

    length: float
    theta: Tensor
    cost: float
    gradient: Tensor


def updated(inverse: Tensor | None, s: Tensor, y: Tensor, length: float, gradient: Tensor) -> Tensor | None:
    """H after a step s = α p from the place of a gradient, y its change.

    As it was where sᵀy is not positive; none where rounding has made H indefinite, seen by b h < 1.

    Arguments:
        inverse: H before, (n, n), or None for the identity, which is then scaled to sᵀy / yᵀy.
        s, y: (n,).
        length: α.
        gradient: g before the step, so that H⁻¹ s = -α g.
    """
    sy = float(s @ y)
    tiny = torch.finfo(s.dtype).eps * float(s.norm() * y.norm())
    if not sy > tiny:
        return inverse
    if inverse is None:
        scale = sy / float(y @ y)
        inverse = scale * torch.eye(len(s), dtype=s.dtype, device=s.device)
        b = float(s @ s) / scale / sy
    else:
        b = -length * float(s @ gradient) / sy
    hy = inverse @ y
    yhy = float(y @ hy)
    if not b * yhy / sy > 1.0 - _INDEFINITE:
        return None
    tau, phi = scaling(b, yhy / sy, len(s))
    v = math.sqrt(yhy) * (s / sy - hy / yhy)
    new = torch.addr(inverse, hy, hy, alpha=-1.0 / yhy)
    new = torch.addr(new, v, v, alpha=phi)
    return torch.addr(new, s, s, beta=1.0 / tau, alpha=1.0 / sy)


def scaling(b: float, h: float, n: int) -> tuple[float, float]:
    """(τ, φ) from b = sᵀH⁻¹s / sᵀy and h = yᵀHy / sᵀy, whose product is at least one."""
    a = max(b * h - 1.0, 0.0)
    scaled = min(1.0, 1.0 / b)
    if a < 1e-12:  # s and H y are parallel: all updates of the class agree
        return scaled, 1.0
    low = min(1.0, h * (1.0 - math.sqrt(a / (a + 1.0))))
    theta = max((low - 1.0) / a, min(1.0 / low, (1.0 - b) / b))
    sigma = 1.0 + a * theta
    spread = sigma ** (-1.0 / max(n - 1, 1))
    tau = scaled * min(spread, 1.0 / theta) if theta > 0 else min(scaled * spread, sigma)
    return tau, (1.0 - theta) / sigma
