"""The nearest point of a polyhedron to the origin, batched: a primal-dual interior-point method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.nonlinear.rows import times, transposed_times

_STEPS = 60
_TOLERANCE = 1e-11
_SPENT = 1e-18  # a gap below which nothing improves
_FARKAS = 1e-7


@dataclass(frozen=True, eq=False)
class Nearest:
    """What ``least_distance`` returns.

    Arguments:
        v: the point, (*batch, n).
        multipliers: λ >= 0 with v + Gᵀ(λ_upper - λ_lower) = 0, (*batch, 2, m).
        active: the rows that seem to hold it, (*batch, 2, m).
    """

    v: Tensor
    multipliers: Tensor
    active: Tensor


def least_distance(rows: Tensor, room: Tensor, elastic: float = 0.0) -> Nearest:
    """min 1/2 |v|² (+ 1/2δ Σ e²) with G v - e <= room₀ and -G v - e <= room₁.

    Arguments:
        rows: G, (*batch, m, n), rows of length one or zero.
        room: (*batch, 2, m), the least of them about -1; infinity where there is no bound.
        elastic: δ; 0 (default) admits no e. With δ > 0 the problem always has a solution, whose e = δλ tends to the
            smallest violation as δ falls.

    Notes:
        Gives up where λ >= 0 with |Gᵀλ| <= 1e-7 |roomᵀλ| and roomᵀλ < 0 shows that no point within 1e7 of the origin
        satisfies all rows (Farkas), and says nothing of how far it came: ``crossover`` judges and finishes.
        Differences from the textbook: both sides of a row share its products with G, and the best iterate is returned,
        since rounding takes over in the last ones.

    Source: Mehrotra, SIAM J. Optim. 2 (1992); Nocedal & Wright, *Numerical Optimization*, section 16.6.
    """
    real = torch.isfinite(room)
    d = torch.where(real, room, torch.ones_like(room))
    state = _State(torch.zeros_like(rows[..., 0, :]), d.clamp_min(1.0), torch.where(real, 1.0 / d.clamp_min(1.0), 0.0))
    count = real.sum((-1, -2)).clamp_min(1)
    errors = torch.full_like(d[..., 0, 0], torch.inf)
    moving, best = torch.ones_like(count).bool(), state
    for _ in range(_STEPS):
        dual, primal, gap = _residuals(rows, d, real, state, elastic)
        mu = gap / count
        current = _error(dual, primal, gap, d, state)
        best, errors = _better(current < errors, state, best), torch.minimum(current, errors)
        going = moving & (errors > _TOLERANCE) & (gap > _SPENT)
        if elastic == 0.0:
            going = going & (_farkas(rows, d, state) > _FARKAS)
        if not bool(going.any()):
            break
        state, moving = _step(rows, real, state, dual, primal, mu, count, elastic, going)
    return Nearest(best.v, best.multipliers, real & (best.multipliers > best.slack))


@dataclass(frozen=True, eq=False)
class _State:
    v: Tensor
    slack: Tensor
    multipliers: Tensor


def _better(which: Tensor, a: _State, b: _State) -> _State:
    """``a`` for some members, else ``b``."""
    wide = which[..., None, None]
    return _State(
        torch.where(which.unsqueeze(-1), a.v, b.v),
        torch.where(wide, a.slack, b.slack),
        torch.where(wide, a.multipliers, b.multipliers),
    )


def _both(t: Tensor) -> Tensor:
    """(t, -t): a row from its upper and its lower side."""
    return torch.stack([t, -t], -2)


def _pull(rows: Tensor, sides: Tensor) -> Tensor:
    """Gᵀ(upper - lower)."""
    return transposed_times(rows, sides[..., 0, :] - sides[..., 1, :])


def _residuals(rows: Tensor, d: Tensor, real: Tensor, state: _State, elastic: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of stationarity and of the rows, and sᵀλ."""
    dual = state.v + _pull(rows, state.multipliers)
    primal = _both(times(rows, state.v)) - elastic * state.multipliers + state.slack - d
    return dual, torch.where(real, primal, 0.0), (state.slack * state.multipliers).sum((-1, -2))


def _error(dual: Tensor, primal: Tensor, gap: Tensor, d: Tensor, state: _State) -> Tensor:
    """The largest of the three residuals, each on its own scale; NaN counts as infinite."""
    size = 1.0 + torch.linalg.vector_norm(state.v, dim=-1)
    row = (primal.abs() / (1.0 + d.abs())).amax((-1, -2))
    largest = torch.maximum(torch.maximum(dual.abs().amax(-1) / size, row), gap / size**2)
    return torch.where(torch.isfinite(largest), largest, torch.inf)


def _farkas(rows: Tensor, d: Tensor, state: _State) -> Tensor:
    """|Gᵀλ| / -dᵀλ: the inverse of a distance from the origin within which no point is feasible."""
    pull = torch.linalg.vector_norm(_pull(rows, state.multipliers), dim=-1)
    value = -(d * state.multipliers).sum((-1, -2))
    return torch.where(value > 0.0, pull / value.clamp_min(torch.finfo(d.dtype).tiny), torch.inf)


def _step(
    rows: Tensor,
    real: Tensor,
    state: _State,
    dual: Tensor,
    primal: Tensor,
    mu: Tensor,
    count: Tensor,
    elastic: float,
    going: Tensor,
) -> tuple[_State, Tensor]:
    """A predictor and a corrector with one factor of I + Gᵀ diag(λ/(s + δλ)) G, and who moved."""
    s, lam = state.slack, state.multipliers
    weight = lam / (s + elastic * lam)
    matrix = (rows * weight.sum(-2).unsqueeze(-1)).mT @ rows
    matrix = matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    factor, info = torch.linalg.cholesky_ex(matrix)

    def direction(complementarity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q = torch.where(real, (lam * primal - complementarity) / (s + elastic * lam), 0.0)
        dv = torch.cholesky_solve((-dual - _pull(rows, q)).unsqueeze(-1), factor).squeeze(-1)
        moved = _both(times(rows, dv))
        dlam = torch.where(real, q + weight * moved, 0.0)
        return dv, torch.where(real, elastic * dlam - primal - moved, 0.0), dlam

    _, ds, dlam = direction(lam * s)
    length = torch.minimum(_longest(s, ds), _longest(lam, dlam))[..., None, None]
    affine = ((s + length * ds) * (lam + length * dlam)).sum((-1, -2)) / count
    centre = (affine / mu.clamp_min(torch.finfo(mu.dtype).tiny)).clamp(0.0, 1.0) ** 3 * mu
    dv, ds, dlam = direction(lam * s + ds * dlam - centre[..., None, None])
    length = torch.minimum(_longest(s, ds), _longest(lam, dlam))
    length = (torch.clamp_min(1.0 - mu, 0.995).clamp_max(1.0 - 1e-6) * length).clamp_max(1.0)
    good = going & (info == 0) & torch.isfinite(dv).all(-1) & torch.isfinite(length)
    length = torch.where(good, length, 0.0)
    usable, wide = good.unsqueeze(-1), good[..., None, None]
    moved = _State(
        torch.where(usable, state.v + length.unsqueeze(-1) * dv, state.v),
        torch.where(wide, s + length[..., None, None] * ds, s),
        torch.where(wide, lam + length[..., None, None] * dlam, lam),
    )
    return moved, good


def _longest(value: Tensor, change: Tensor) -> Tensor:
    """The largest step that keeps a positive value from falling below zero."""
    ratio = torch.where(change < 0.0, -value / change, torch.inf)
    return ratio.amin((-1, -2)).clamp_max(1e6)
