"""A slab that begins exactly where the one before ended."""

from __future__ import annotations

from typing import Any, final

import torch

from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.experts.gaussians.state import State
from pdesolve.frames.abstract import AbstractLifting, Points
from pdesolve.jet import Jet


@final
class HandedOver(AbstractLifting):
    """u = A + (t - t₀) v, A = Σ_j a_j ψ_j the state at t₀, for every field whose value is known there; u = v else.

    Arguments:
        state: of at most one order.

    Raises:
        ValueError: a state that knows rates.

    Notes:
        For equations of the first order in time. With both u and u_t held so, waves grow from slab to slab: derivatives
        by Gaussians on a bounded interval have eigenvalues that are not real, and only rows in the sense of least
        squares keep them down.
    """

    def __init__(self, state: State) -> None:
        if state.orders > 1:
            raise ValueError("rates cannot be handed over exactly: give the state as initial conditions")
        self.state = state

    def lift(self, at: Points) -> dict[str, Any]:
        basis, time = self.state.basis, at.t
        terms = time.terms if isinstance(time, Jet) else ("",)
        columns = [getattr(at, axis) for axis in basis.axes]
        points = torch.stack([c.term("") if isinstance(c, Jet) else c for c in columns], dim=-1)
        shape = points.shape[:-1]
        in_space = tuple(term for term in terms if "t" not in term)
        known = {name: a for name, a in self.state.weights.items() if len(a)}
        stacked = torch.cat(list(known.values()))
        sums = basis.sums(points.reshape(-1, len(columns)), stacked, in_space)
        values = {alpha: value.reshape(len(known), *shape) for alpha, value in sums.items()}
        zero = torch.zeros(shape, dtype=points.dtype, device=points.device)
        lifted: dict[str, Any] = dict.fromkeys(self.state.weights, 0.0)
        for row, name in enumerate(known):
            data = torch.stack([values[alpha][row] if alpha in values else zero for alpha in terms])
            lifted[name] = Jet(data, terms) if isinstance(time, Jet) else data[0]
        return lifted

    def multiplier(self, at: Points) -> dict[str, Any]:
        tau = at.t - self.state.time
        return {name: tau if len(a) else 1.0 for name, a in self.state.weights.items()}

    def imposes(self, field: str, boundary: str) -> bool:
        return boundary == BOUNDARIES["t"][0] and bool(len(self.state.weights[field]))
