"""Overlapping intervals of one axis of labels, closed to a ring where functions of the label repeat."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.geometry import Box
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.jet import Jet, compose


@final
class AxisWindows:
    """Weights w_k(ξ) >= 0, Σ_k w_k = 1, on equal intervals that reach into their neighbours.

    Along a periodic axis a ghost interval at either end stands for the one at the other, so that no weight sees the
    seam; two intervals at most have weight at a label.

    Arguments:
        axis: its letter.
        bounds: of the axis.
        count: K >= 2 intervals.
        overlap: see ``OverlappingDecomposition``.
        wraps: whether the axis is periodic.
    """

    def __init__(self, axis: str, bounds: tuple[float, float], count: int, overlap: float, wraps: bool) -> None:
        self.axis, self.bounds, self.count, self.wraps = axis, bounds, count, wraps
        self.width = (bounds[1] - bounds[0]) / count
        self.ghosts = int(wraps)
        box = Box((axis,), (bounds[0] - self.ghosts * self.width,), (bounds[1] + self.ghosts * self.width,))
        self.parts = OverlappingDecomposition(cartesian_decomposition(box, {axis: count + 2 * self.ghosts}), overlap)
        self.boxes = torch.tensor([patch.box.bounds(axis) for patch in self.parts.patches], dtype=torch.float64)
        if wraps:  # a ghost at the end of the box has no overlap there, the interval it stands for has
            period = bounds[1] - bounds[0]
            self.boxes[0], self.boxes[-1] = self.boxes[count] - period, self.boxes[1] + period

    def near(self, label: Any) -> tuple[Any, Tensor]:
        """The label moved into the axis, and the two intervals, ghosts counted, that may have weight there, (point, 2).

        Arguments:
            label: ξ, a tensor or a jet (point,).
        """
        value = _value(label)
        if self.wraps:
            period = self.bounds[1] - self.bounds[0]
            label = label - torch.floor((value - self.bounds[0]) / period) * period
            value = _value(label)
        place = (value - self.bounds[0]) / self.width
        own = place.floor().clamp(0, self.count - 1).long()
        side = torch.where(place - own > 0.5, 1, -1)
        if not self.wraps:  # no neighbour beyond the ends: the inner one, whose weight is zero there
            side = torch.where(own == 0, 1, torch.where(own == self.count - 1, -1, side))
        own = own + self.ghosts
        return label, torch.stack([own, own + side], dim=-1)

    def weight(self, label: Any, interval: Tensor) -> Any:
        """w of intervals at labels in the axis, with the derivatives of a jet."""

        def share(value: Tensor, order: int) -> list[Tensor]:
            return [self.parts.share(interval, {self.axis: value}, self.axis * k) for k in range(order + 1)]

        return compose(share, label) if isinstance(label, Jet) else share(label, 0)[0]

    def scaled(self, label: Any, interval: Tensor) -> Any:
        """The label in the coordinate of its interval, which maps it with its overlaps to [-1, 1]."""
        low, high = self.boxes.to(interval.device)[interval].unbind(-1)
        return (label - 0.5 * (low + high)) * (2.0 / (high - low))

    def owner(self, interval: Tensor) -> Tensor:
        """The interval that a ghost stands for."""
        return torch.remainder(interval - self.ghosts, self.count)


@lru_cache(maxsize=64)
def axis_windows(axis: str, bounds: tuple[float, float], count: int, overlap: float, wraps: bool) -> AxisWindows:
    """The windows of an axis, kept: a label solve asks for them at every step."""
    return AxisWindows(axis, bounds, count, overlap, wraps)


def _value(label: Any) -> Tensor:
    value: Tensor = label.term("") if isinstance(label, Jet) else label
    return value.detach()
