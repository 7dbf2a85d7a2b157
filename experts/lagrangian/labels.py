"""The label of a point: X(ξ, t) = x solved for ξ by a batched, safeguarded Newton method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.experts.lagrangian.map import LabelMap, gradients, inverse

_TABLE = {1: 256, 2: 40}
_TIMES = 33
_CHUNK = 1 << 15
_FAST, _SAFE = 5, 80
_HALVINGS = 10


@dataclass(frozen=True, eq=False)
class Labels:
    """Where points come from.

    Arguments:
        labels: ξ, (point, axis); along periodic axes any real number.
        converged: whether |X(ξ, t) - x| met the tolerance, (point,).
    """

    labels: Tensor
    converged: Tensor


@final
class LabelSolver:
    """Inverts the map of one slab at any points.

    A table of X on a grid gives the first guess; Newton's method, quadratic from there, does the rest. In one dimension
    what has not converged after five steps is bracketed and goes on with bisection beside Newton; in two dimensions
    steps that raise the error are halved.

    Arguments:
        map: X.
        theta: parameters of the position branch.
        tolerance: on |X - x| in units of the extent (default 1e-12).
    """

    def __init__(self, map: LabelMap, theta: Tensor, tolerance: float = 1e-12) -> None:
        self.map, self.theta = map, theta.detach()
        self.axes = map.frame.axes
        box = map.frame.box
        self.extent = theta.new_tensor([box.extent(axis) for axis in self.axes])
        self.low = theta.new_tensor([box.bounds(axis)[0] for axis in self.axes])
        self.wraps = torch.tensor([axis in map.frame.periodic for axis in self.axes], device=theta.device)
        self.drift = theta.new_tensor(map.drift)
        size = 1.0 + max(abs(v) for v in map.drift) * map.frame.duration
        self.tolerance = max(tolerance * float(self.extent.max()), 16 * torch.finfo(theta.dtype).eps * size)
        with torch.no_grad():
            self._make_table()

    def solve(self, position: Tensor, times: Tensor) -> Labels:
        """Labels of points.

        Arguments:
            position: x, (point, axis).
            times: t, (point,), inside the slab.
        """
        with torch.no_grad():
            parts = [self._solved(x, t) for x, t in zip(position.split(_CHUNK), times.split(_CHUNK), strict=True)]
        return Labels(torch.cat([p.labels for p in parts]), torch.cat([p.converged for p in parts]))

    def differentiable(self, labels: Tensor, position: Tensor, times: Tensor, theta: Tensor) -> Tensor:
        """The same labels with gradients to x, t and θ, by the implicit function theorem.

        A Newton step at the root changes nothing but carries ∂ξ = G⁻¹ (∂x - ∂X); a second one makes second derivatives
        right too, as each doubles the order to which the expansion of ξ agrees.

        Arguments:
            labels: the root, (point, axis).
            position, times: (point, axis) and (point,).
            theta: parameters of the position branch.
        """
        for _ in range(2):
            value, slope = self._map(labels, times, theta)
            step = inverse(slope) @ (value - position).unsqueeze(-1)
            labels = labels - step.squeeze(-1)
        return labels

    def _map(self, labels: Tensor, times: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """X, (point, axis), and G, (point, axis of X, axis of ξ)."""
        at = {"t": times, **dict(zip(self.axes, labels.unbind(-1), strict=True))}
        if labels.requires_grad or times.requires_grad:
            return self._nested(labels, times, theta)
        points = self.map.at(self.map.jets(at, self.axes))
        x = points.displaced(points.position.values(theta)).by_term()
        return x[""], gradients(self.axes, x)[0]

    def _nested(self, labels: Tensor, times: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The same with a graph through the points, whose derivatives jets do not record."""

        def value(at: Tensor) -> Tensor:
            points = self.map.at({"t": times, **dict(zip(self.axes, at.unbind(-1), strict=True))})
            found: Tensor = points.displaced(points.position.values(theta))
            return found

        columns = []
        for i in range(len(self.axes)):
            direction = torch.zeros_like(labels)
            direction[:, i] = 1.0
            columns.append(torch.func.jvp(value, (labels,), (direction,))[1])
        return value(labels), torch.stack(columns, dim=-1)

    def _make_table(self) -> None:
        d = len(self.axes)
        n = _TABLE[d]
        frame = self.map.frame
        self.times = torch.linspace(0.0, frame.duration, _TIMES, dtype=self.theta.dtype, device=self.theta.device)
        unit = torch.linspace(0.0, 1.0, n + 1, dtype=self.theta.dtype, device=self.theta.device)
        grid = torch.meshgrid(
            *(low + extent * unit for low, extent in zip(self.low, self.extent, strict=True)), indexing="ij"
        )
        self.nodes = torch.stack([g.flatten() for g in grid], dim=-1)  # (node, axis)
        rows = []
        for tau in self.times:
            points = self.map.at(
                {
                    "t": torch.full_like(self.nodes[:, 0], frame.start + float(tau)),
                    **dict(zip(self.axes, self.nodes.T, strict=True)),
                }
            )
            rows.append(points.displaced(points.position.values(self.theta)) - self.drift * tau)
        self.table = torch.stack(rows)  # (time, node, axis), in the moving frame

    def _guess(self, position: Tensor, times: Tensor) -> Tensor:
        tau = times - self.map.frame.start
        moving = position - self.drift * tau.unsqueeze(-1)
        place = (tau / self.times[-1] * (_TIMES - 1)).clamp(0, _TIMES - 1)
        row = place.floor().clamp(max=_TIMES - 2).long()
        if len(self.axes) == 1:
            share = place - row
            first, second = (self._inverted(moving[:, 0], r) for r in (row, row + 1))
            return ((1.0 - share) * first + share * second).unsqueeze(-1)
        return self._nearest(moving, place.round().long())

    def _inverted(self, x: Tensor, row: Tensor) -> Tensor:
        """Linear interpolation of ξ(x) in a row of the table; rows lie behind each other, two units apart."""
        table = torch.cummax(self.table[:, :, 0], dim=1).values
        low, span = table[:, 0], table[:, -1] - table[:, 0]
        turns = torch.floor((x - low[row]) / span[row]) if bool(self.wraps[0]) else torch.zeros_like(x)
        unit = ((x - low[row]) / span[row] - turns).clamp(0.0, 1.0)
        flat = ((table - low[:, None]) / span[:, None] + 2.0 * torch.arange(_TIMES, device=x.device)[:, None]).flatten()
        n = table.shape[1]
        index = torch.searchsorted(flat, unit + 2.0 * row, right=True) - 1 - row * n
        index = index.clamp(0, n - 2)
        left, right = (table[row, index + k] for k in (0, 1))
        inside = ((low[row] + unit * span[row] - left) / (right - left).clamp(min=1e-300)).clamp(0.0, 1.0)
        return self.low[0] + self.extent[0] * ((index + inside) / (n - 1) + turns)

    def _nearest(self, x: Tensor, row: Tensor) -> Tensor:
        found = torch.empty_like(x)
        for r in row.unique().tolist():
            here = (row == r).nonzero()[:, 0]
            for piece in here.split(2048):
                gap = x[piece].unsqueeze(1) - self.table[r]  # (point, node, axis)
                turns = torch.where(self.wraps, torch.round(gap / self.extent), 0.0)
                best = (gap - turns * self.extent).square().sum(-1).argmin(dim=1)
                found[piece] = self.nodes[best] + turns[torch.arange(len(piece), device=x.device), best] * self.extent
        return found

    def _solved(self, x: Tensor, t: Tensor) -> Labels:
        labels = self._guess(x, t)
        converged = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        active = torch.arange(len(x), device=x.device)
        for _ in range(_FAST):
            value, slope = self._map(labels[active], t[active], self.theta)
            gap = value - x[active]
            done = (gap.abs() <= self.tolerance).all(-1)
            step = (inverse(slope) @ gap.unsqueeze(-1)).squeeze(-1)
            moved = labels[active] - torch.where(torch.isfinite(step), step, 0.0)
            labels[active] = moved  # also where done: half a digit more for nothing
            converged[active[done]] = True
            active = active[~done]
            if not len(active):
                return Labels(labels, converged)
        guess = self._guess(x[active], t[active])
        safe = self._bracketed if len(self.axes) == 1 else self._damped
        labels[active], converged[active] = safe(guess, x[active], t[active])
        return Labels(labels, converged)

    def _bracketed(self, labels: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Newton inside a bracket, bisection where a step would leave it."""
        reach = torch.full_like(labels, 2.0) * self.extent / _TABLE[1]
        lower, upper = labels - reach, labels + reach
        for _ in range(40):
            low_out = self._map(lower, t, self.theta)[0] > x
            high_out = self._map(upper, t, self.theta)[0] < x
            if not bool((low_out | high_out).any()) or float(reach.max()) > 4.0 * float(self.extent):
                break
            reach = torch.where(low_out | high_out, 2.0 * reach, reach)
            lower, upper = torch.where(low_out, lower - reach, lower), torch.where(high_out, upper + reach, upper)
        for _ in range(_SAFE):
            value, slope = self._map(labels, t, self.theta)
            gap = value - x
            if bool((gap.abs() <= self.tolerance).all()):
                break
            lower, upper = torch.where(gap < 0, labels, lower), torch.where(gap > 0, labels, upper)
            newton = labels - gap / slope[..., 0]
            inside = (newton > lower) & (newton < upper)
            labels = torch.where(
                gap.abs() <= self.tolerance, labels, torch.where(inside, newton, 0.5 * (lower + upper))
            )
        gap = self._map(labels, t, self.theta)[0] - x
        return labels, (gap.abs() <= self.tolerance).all(-1)

    def _damped(self, labels: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Newton with steps halved where they raise the error."""
        value, slope = self._map(labels, t, self.theta)
        gap = value - x
        for _ in range(_SAFE):
            if bool((gap.abs() <= self.tolerance).all()):
                break
            step = (inverse(slope) @ gap.unsqueeze(-1)).squeeze(-1)
            step = torch.where(torch.isfinite(step), step, gap)
            size, share = gap.norm(dim=-1), torch.ones_like(gap[:, :1])
            for _ in range(_HALVINGS):
                value, slope = self._map(labels - share * step, t, self.theta)
                worse = (value - x).norm(dim=-1) > size
                if not bool(worse.any()):
                    break
                share = torch.where(worse.unsqueeze(-1), 0.5 * share, share)
            labels = labels - share * step
            gap = value - x
        return labels, (gap.abs() <= self.tolerance).all(-1)
