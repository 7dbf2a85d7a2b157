"""The state with which the labels of a slab set out: the initial condition, or what the slab before handed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.condition import Value, value_at
from pdesolve.experts.lagrangian.branch import joined
from pdesolve.experts.lagrangian.labels import LabelSolver
from pdesolve.experts.lagrangian.map import in_place
from pdesolve.experts.lagrangian.slab import Slab, Start
from pdesolve.jet import Jet


@final
@dataclass(frozen=True, eq=False)
class InitialState:
    """u₀(ξ) of the problem, (point, field).

    Arguments:
        values: the initial conditions, one for each field.
        parameters: of the problem, by name, shape (1,).
        time: t₀, for conditions that read it.
    """

    values: tuple[Value, ...]
    parameters: Mapping[str, Tensor]
    time: float

    def __call__(self, labels: Mapping[str, Any]) -> Any:
        like = labels["t"]
        given = {name: value.to(like.device) for name, value in self.parameters.items()}
        known = {**labels, **given, "t": like * 0.0 + self.time}
        columns = []
        for value in self.values:
            found = value_at(value, known)
            columns.append(found + like * 0.0)
        return joined(columns)


@final
@dataclass(frozen=True, eq=False)
class Lifted:
    """S with boundary values that move: S + Σ_e λ_e(ξ) (h_e(t) - h_e(t₀)), λ_e linear, one at its end.

    Arguments:
        base: the state at t₀.
        axis: the one space axis.
        ends: its two positions.
        values: for each field, h at the lower and at the upper end, None where nothing is prescribed.
        parameters: of the problem.
        time: t₀.
    """

    base: Start
    axis: str
    ends: tuple[float, float]
    values: tuple[tuple[Value | None, Value | None], ...]
    parameters: Mapping[str, Tensor]
    time: float

    def __call__(self, labels: Mapping[str, Any]) -> Any:
        state = self.base(labels)
        share = (labels[self.axis] - self.ends[0]) * (1.0 / (self.ends[1] - self.ends[0]))
        columns = []
        for pair in self.values:
            total = labels["t"] * 0.0
            for value, weight in zip(pair, (1.0 - share, share), strict=True):
                if callable(value):  # a constant does not move
                    total = (
                        total + (self._at(value, labels["t"]) - self._at(value, labels["t"] * 0.0 + self.time)) * weight
                    )
            columns.append(total)
        return state + joined(columns)

    def _at(self, value: Value, time: Any) -> Any:
        given = {name: number.to(time.device) for name, number in self.parameters.items()}
        return value_at(value, {"t": time, **given}) + time * 0.0


@final
class FittedSlab:
    """A slab with its parameters: u and its derivatives at points, by way of their labels.

    Arguments:
        slab: the equation and the map.
        theta: parameters of both branches.
    """

    def __init__(self, slab: Slab, theta: Tensor) -> None:
        self.slab, self.theta = slab, theta
        self.labels = LabelSolver(slab.map, slab.map.split(theta)[0])

    def __call__(self, position: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """u, the labels, and whether these were found.

        Arguments:
            position: x, (point, axis); gradients flow to it.
            times: t, (point,).

        Returns:
            (point, field), (point, axis), (point,).
        """
        found = self.labels.solve(position.detach(), times.detach())
        labels = found.labels
        first, second = self.slab.map.split(self.theta)
        if torch.is_grad_enabled() and (position.requires_grad or times.requires_grad or self.theta.requires_grad):
            labels = self.labels.differentiable(labels, position, times, first)
        at = self._at(labels, times)
        points = self.slab.map.at(at)
        vanishing = None if self.slab.vanishing is None else self.slab.vanishing(at)
        state: Tensor = points.valued(points.state.values(second), self.slab.start(at), vanishing)
        return state, labels, found.converged

    def jet_at(self, labels: Mapping[str, Jet], time: float) -> Jet:
        """u(·, time) as a jet where points are jets of the coordinates themselves: the start of the next slab."""
        axes = self.slab.map.frame.axes
        like = labels["t"]
        position = torch.stack([labels[axis].term("") for axis in axes], dim=-1)
        times = torch.full_like(like.term(""), time)
        if not any(set(term) & set(axes) for term in like.terms):
            with torch.no_grad():
                return Jet.constant(self(position, times)[0], like.terms)
        state, slope, hessian = self._hessian(position, times)
        data = like.data.new_zeros((len(like.terms), *state.shape))
        for i, term in enumerate(like.terms):
            if not term:
                data[i] = state
            elif term in axes:
                data[i] = slope[..., axes.index(term)]
            elif "t" not in term:
                data[i] = hessian[..., axes.index(term[0]), axes.index(term[1])]
        return Jet(data, like.terms)

    def _hessian(self, position: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        axes = self.slab.map.frame.axes
        with torch.no_grad():
            labels = self.labels.solve(position, times).labels
            terms = tuple(a + b for i, a in enumerate(axes) for b in axes[i:])
            x, u = self._terms(labels, times, terms)
            slope, hessian, _ = in_place(axes, x, u, second=True)
        assert hessian is not None
        return u[""], slope, hessian

    def _at(self, labels: Tensor, times: Tensor) -> dict[str, Tensor]:
        return {"t": times, **dict(zip(self.slab.map.frame.axes, labels.unbind(-1), strict=True))}

    def _terms(
        self, labels: Tensor, times: Tensor, terms: tuple[str, ...]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        first, second = self.slab.map.split(self.theta)
        jets = self.slab.map.jets(self._at(labels, times), terms)
        points = self.slab.map.at(jets)
        vanishing = None if self.slab.vanishing is None else self.slab.vanishing(jets)
        x = points.displaced(points.position.values(first))
        u = points.valued(points.state.values(second), self.slab.start(jets), vanishing)
        return x.by_term(), u.by_term()


@final
@dataclass(frozen=True, eq=False)
class HandedOver:
    """u at the end of the slab before, as the state of new labels: remeshing without interpolation.

    Arguments:
        before: the slab before.
        time: its end.
    """

    before: FittedSlab
    time: float

    def __call__(self, labels: Mapping[str, Any]) -> Any:
        if isinstance(labels["t"], Jet):
            return self.before.jet_at(labels, self.time)
        position = torch.stack([labels[axis] for axis in self.before.slab.map.frame.axes], dim=-1)
        return self.before(position, torch.full_like(labels["t"], self.time))[0]
