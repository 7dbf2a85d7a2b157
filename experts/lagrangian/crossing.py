"""Where curves first cross, and how near they come to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.experts.lagrangian.map import LabelMap, gradients

_LABELS = {1: 512, 2: 48}
_FINER = 4
_TIMES = 65
_ZOOMS, _ZOOMED = 14, {1: 33, 2: 9}
_ROUNDS, _CLOSER = 7, 4.0


@dataclass(frozen=True)
class Crossing:
    """The first event J = det ∂X/∂ξ <= 0, or the smallest J where there is none.

    Arguments:
        jacobian: the smallest J seen, or 0 at a crossing.
        time: when.
        place: X, by axis in their order.
        crossed: whether J reached 0.
    """

    jacobian: float
    time: float
    place: tuple[float, ...]
    crossed: bool

    def __str__(self) -> str:
        where = ", ".join(f"{x:.6g}" for x in self.place)
        if self.crossed:
            return f"characteristics cross first at t = {self.time:.6g}, place ({where})"
        return f"the smallest Jacobian of the flow is {self.jacobian:.3g}, at t = {self.time:.6g}, place ({where})"


def first_crossing(map: LabelMap, theta: Tensor, domain: Box, counts: Mapping[str, int]) -> Crossing:
    """Look for J <= 0 on a grid of labels and times, between its nodes where J is smallest, then for its first time.

    Arguments:
        map: of the slab.
        theta: parameters of the position branch.
        domain: of the problem; what happens to labels that have left it is of no account.
        counts: nodes of the fit by axis; the grid has four times as many, or 512 (48² in two dimensions), and 65 times.

    Notes:
        Between the nodes only the neighbourhood of the smallest J is searched: a second dip, narrower than the grid,
        can be missed.
    """
    search = _Search(map, theta, domain)
    frame, d = map.frame, len(map.frame.axes)
    n = [max(_LABELS[d], _FINER * counts[axis]) for axis in frame.axes]
    ends = [frame.box.bounds(axis) for axis in frame.axes]
    reach = [(high - low) / k for (low, high), k in zip(ends, n, strict=True)]
    with torch.no_grad():
        times = torch.linspace(frame.start, frame.start + frame.duration, _TIMES, dtype=theta.dtype).tolist()
        smallest = search.smallest(times, ends, n)
        crossed = (smallest[:, 0] <= 0).nonzero()
        at = int(crossed[0]) if len(crossed) else int(smallest[:, 0].argmin())
        best, after, spacing = smallest[at], times[at], times[1] - times[0]
        if not len(crossed):
            best, after = search.closest(best, after, spacing, reach)
            if float(best[0]) > 0:
                return search.event(after, best, crossed=False)
        before = max(times[0], after - spacing)  # at the node before, or as far from a time between nodes
        reach = [8.0 * r for r in reach]
        for _ in range(_ZOOMS):  # an eighth of the interval in time each, the window of labels with it
            times = torch.linspace(before, after, 9, dtype=theta.dtype).tolist()
            found = search.smallest(times, search.window(best, reach), [_ZOOMED[d]] * d)
            inside = (found[:, 0] <= 0).nonzero()
            if not len(inside):
                before, reach = times[-2], [0.5 * r for r in reach]
                best = found[-1]
                continue
            first = int(inside[0])
            best, after = found[first], times[first]
            before = times[max(0, first - 1)]
            reach = [0.6 * r for r in reach]
        return search.event(after, best, crossed=True)


@final
class _Search:
    """J of one slab on products of labels, at places inside the domain.

    Arguments:
        map, theta, domain: as of ``first_crossing``.
    """

    def __init__(self, map: LabelMap, theta: Tensor, domain: Box) -> None:
        self.map, self.theta, self.axes = map, theta, map.frame.axes
        self.bounds = {axis: domain.bounds(axis) for axis in self.axes if axis not in map.frame.periodic}

    def smallest(self, times: Sequence[float], ends: Sequence[tuple[float, float]], counts: Sequence[int]) -> Tensor:
        """For each time the smallest J and its label, (time, 1 + axis)."""
        lines = [
            torch.linspace(low, high, n, dtype=self.theta.dtype, device=self.theta.device)
            for (low, high), n in zip(ends, counts, strict=True)
        ]
        nodes = [g.flatten() for g in torch.meshgrid(*lines, indexing="ij")]
        rows = []
        for time in times:
            at = {"t": torch.full_like(nodes[0], time), **dict(zip(self.axes, nodes, strict=True))}
            points = self.map.at(self.map.jets(at, self.axes))
            x = points.displaced(points.position.values(self.theta)).by_term()
            j = gradients(self.axes, x)[1]
            j = torch.where(torch.isfinite(j), j, -math.inf)
            j = torch.where(self._inside(x[""]), j, math.inf)
            i = j.argmin()
            rows.append(torch.stack([j[i], *(node[i] for node in nodes)]))
        return torch.stack(rows)

    def closest(self, best: Tensor, time: float, span: float, reach: Sequence[float]) -> tuple[Tensor, float]:
        """J, its label and its time where J is smallest around a node of the grid; the first J <= 0 that is met."""
        start, end = self.map.frame.start, self.map.frame.start + self.map.frame.duration
        count = [_ZOOMED[len(self.axes)]] * len(self.axes)
        for _ in range(_ROUNDS):
            times = [min(max(time + k * span, start), end) for k in (-1.0, -0.5, 0.0, 0.5, 1.0)]
            found = self.smallest(times, self.window(best, reach), count)
            at = int(found[:, 0].argmin())
            if float(found[at, 0]) <= float(best[0]):
                best, time = found[at], times[at]
            if float(best[0]) <= 0:
                break
            span, reach = 0.5 * span, [r / _CLOSER for r in reach]
        return best, time

    def window(self, best: Tensor, reach: Sequence[float]) -> list[tuple[float, float]]:
        """Labels around one, inside the box along axes that do not repeat."""
        found = []
        for axis, x, r in zip(self.axes, best[1:].tolist(), reach, strict=True):
            low, high = self.map.frame.box.bounds(axis) if axis in self.bounds else (-math.inf, math.inf)
            found.append((max(x - r, low), min(x + r, high)))
        return found

    def event(self, time: float, best: Tensor, crossed: bool) -> Crossing:
        """What is reported."""
        at = {"t": best.new_full((1,), time), **{a: best[1 + i : 2 + i] for i, a in enumerate(self.axes)}}
        points = self.map.at(at)
        place = points.displaced(points.position.values(self.theta))[0]
        return Crossing(0.0 if crossed else float(best[0]), time, tuple(float(x) for x in place), crossed)

    def _inside(self, position: Tensor) -> Tensor:
        inside = torch.ones_like(position[:, 0], dtype=torch.bool)
        for i, axis in enumerate(self.axes):
            if axis in self.bounds:
                low, high = self.bounds[axis]
                slack = 1e-9 * (high - low)
                inside = inside & (position[:, i] >= low - slack) & (position[:, i] <= high + slack)
        return inside
