"""Overlapping intervals of one axis of labels, closed to a ring where functions of the label repeat."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.geometry import Box
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.domains.patch import Interface, Patch
from pdesolve.jet import Jet, compose


@final
class AxisWindows:
    """Weights w_k(ξ) >= 0, Σ_k w_k = 1, on intervals that reach into their neighbours.

    Along a periodic axis a ghost interval at either end stands for the one at the other, so that no weight sees the
    seam; two intervals at most have weight at a label.

    Arguments:
        axis: its letter.
        edges: where the K >= 2 intervals begin and end, rising, those of the axis among them.
        overlap: see ``OverlappingDecomposition``.
        wraps: whether the axis is periodic.
    """

    def __init__(self, axis: str, edges: tuple[float, ...], overlap: float, wraps: bool) -> None:
        self.axis, self.count, self.wraps, self.ghosts = axis, len(edges) - 1, wraps, int(wraps)
        self.low, self.period = edges[0], edges[-1] - edges[0]
        ends = edges
        if wraps:
            ends = (edges[-2] - self.period, *edges, edges[1] + self.period)
        self.parts = OverlappingDecomposition(_intervals(axis, ends), overlap)
        self.boxes = torch.tensor([patch.box.bounds(axis) for patch in self.parts.patches], dtype=torch.float64)
        if wraps:  # a ghost at the end of the box has no overlap there, the interval it stands for has
            self.boxes[0], self.boxes[-1] = self.boxes[self.count] - self.period, self.boxes[1] + self.period
        inner = torch.tensor(edges, dtype=torch.float64)
        self._cuts, self._centres = inner[1:-1], 0.5 * (inner[1:] + inner[:-1])

    def near(self, label: Any) -> tuple[Any, Tensor]:
        """The label moved into the axis, and the two intervals, ghosts counted, that may have weight there, (point, 2).

        Arguments:
            label: ξ, a tensor or a jet (point,).
        """
        value = _value(label)
        if self.wraps:
            label = label - torch.floor((value - self.low) / self.period) * self.period
            value = _value(label)
        own = torch.searchsorted(self._cuts.to(value), value.contiguous(), right=True)
        side = torch.where(value > self._centres.to(value)[own], 1, -1)
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
def axis_windows(axis: str, edges: tuple[float, ...], overlap: float, wraps: bool) -> AxisWindows:
    """The windows of an axis, kept: a label solve asks for them at every step."""
    return AxisWindows(axis, edges, overlap, wraps)


def _intervals(axis: str, edges: tuple[float, ...]) -> Decomposition:
    """A line cut at places that need not be evenly spread."""
    patches = tuple(Patch(i, Box((axis,), (low,), (high,))) for i, (low, high) in enumerate(pairwise(edges)))
    faces = tuple(Interface((i, i + 1), axis, cut, (cut,), (cut,)) for i, cut in enumerate(edges[1:-1]))
    return Decomposition(patches, faces, Box((axis,), edges[:1], edges[-1:]))


def _value(label: Any) -> Tensor:
    value: Tensor = label.term("") if isinstance(label, Jet) else label
    return value.detach()
