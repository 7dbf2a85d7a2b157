"""Where curves first cross, and how near they come to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.experts.lagrangian.map import LabelMap, gradients

_LABELS = {1: 512, 2: 48}
_TIMES = 65
_ZOOMS, _ZOOMED = 14, {1: 33, 2: 9}


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


def first_crossing(map: LabelMap, theta: Tensor) -> Crossing:
    """Look for J <= 0 on a grid of labels and times, then close in on its first time.

    Arguments:
        map: of the slab.
        theta: parameters of the position branch.

    Notes:
        A crossing between the nodes of the first grid (512 labels, 48² in two dimensions, 65 times) can be missed.
    """
    frame, d = map.frame, len(map.frame.axes)
    low = [frame.box.bounds(axis)[0] for axis in frame.axes]
    high = [frame.box.bounds(axis)[1] for axis in frame.axes]
    times = torch.linspace(frame.start, frame.start + frame.duration, _TIMES, dtype=theta.dtype, device=theta.device)
    with torch.no_grad():
        smallest = _smallest(map, theta, times, low, high, _LABELS[d])
        crossed = (smallest[:, 0] <= 0).nonzero()
        if not len(crossed):
            at = int(smallest[:, 0].argmin())
            return _event(map, theta, float(times[at]), smallest[at], crossed=False)
        hit = int(crossed[0])
        before, after = float(times[max(0, hit - 1)]), float(times[hit])
        best, reach = smallest[hit], [(h - b) / _LABELS[d] * 8 for b, h in zip(low, high, strict=True)]
        for _ in range(_ZOOMS):  # halve the interval in time eight times over, the window of labels with it
            times = torch.linspace(before, after, 9, dtype=theta.dtype, device=theta.device)
            window = [(float(x) - r, float(x) + r) for x, r in zip(best[1:], reach, strict=True)]
            found = _smallest(map, theta, times, [w[0] for w in window], [w[1] for w in window], _ZOOMED[d])
            inside = (found[:, 0] <= 0).nonzero()
            if not len(inside):
                before, reach = float(times[-2]), [0.5 * r for r in reach]
                best = found[-1]
                continue
            first = int(inside[0])
            best, after = found[first], float(times[first])
            before = float(times[max(0, first - 1)])
            reach = [0.6 * r for r in reach]
        return _event(map, theta, after, best, crossed=True)


def _smallest(map: LabelMap, theta: Tensor, times: Tensor, low: list[float], high: list[float], n: int) -> Tensor:
    """For each time the smallest J and its label, (time, 1 + axis)."""
    axes = map.frame.axes
    lines = [torch.linspace(a, b, n, dtype=theta.dtype, device=theta.device) for a, b in zip(low, high, strict=True)]
    nodes = [g.flatten() for g in torch.meshgrid(*lines, indexing="ij")]
    rows = []
    for time in times:
        at = {"t": torch.full_like(nodes[0], float(time)), **dict(zip(axes, nodes, strict=True))}
        points = map.at(map.jets(at, axes))
        _, j = gradients(axes, points.displaced(points.position.values(theta)).by_term())
        j = torch.where(torch.isfinite(j), j, -math.inf)
        i = j.argmin()
        rows.append(torch.stack([j[i], *(node[i] for node in nodes)]))
    return torch.stack(rows)


def _event(map: LabelMap, theta: Tensor, time: float, best: Tensor, crossed: bool) -> Crossing:
    at = {"t": best.new_full((1,), time), **{a: best[1 + i : 2 + i] for i, a in enumerate(map.frame.axes)}}
    points = map.at(at)
    place = points.displaced(points.position.values(theta))[0]
    return Crossing(0.0 if crossed else float(best[0]), time, tuple(float(x) for x in place), crossed)
