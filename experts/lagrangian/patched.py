"""A mixture of branches: one expert in each patch of labels, blended by smooth weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product
from operator import mul
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box, finite_float, positive_int
from pdesolve.domains.overlap import check_overlap
from pdesolve.experts.lagrangian.branch import AbstractBranch, AbstractPreparedBranch, LabelFrame, Rows
from pdesolve.experts.lagrangian.windows import AxisWindows, axis_windows
from pdesolve.jet import Jet


@final
@dataclass(frozen=True)
class PatchedBranch(AbstractBranch):
    """N(ξ, t) = Σ_k w_k(ξ) N_k(ξ, t), w_k >= 0 twice continuously differentiable with Σ_k w_k = 1.

    Every expert N_k is ``branch`` with parameters of its own, in the coordinates of its patch: the box of patch k with
    its overlaps is mapped to [-1, 1] along the axes that are cut. Along a periodic one the patches form a ring. All
    experts run as one batch, each on the points where it has weight.

    Arguments:
        branch: of each patch.
        patches: by space axis, how many equal patches, at least 2, or the labels at which to cut, such as closely where
            a front comes from; axes that are not named are not cut.
        overlap: how far patches reach into each other, in units of the narrower's width, in (0, 0.5] (default 0.5).

    Raises:
        TypeError: a branch of another kind, or patched itself; counts that are no integers, cuts that are no numbers.
        ValueError: no axis, one that the labels lack, time (which ``slabs`` cut), fewer than 2 patches, cuts that do
            not rise or lie outside the labels, an overlap outside (0, 0.5].

    Notes:
        A point costs as many evaluations as patches meet there: 2 for each cut axis. Derivatives to second order are
        exact, those of the weights in closed form; third ones of u jump where a patch ends. A ``SpectralBranch`` has
        Chebyshev polynomials along a cut axis, also where it is periodic. Patches have more freedom than one branch of
        their degree: with few nodes they oscillate in between, which the report's residual shows.

    Good values: cuts closely around what is local in the labels; where they are smooth everywhere one branch does as
        well. Nodes along a cut axis at least twice the functions of all patches there.

    Source: Jacobs, Jordan, Nowlan & Hinton, Neural Comput. 3 (1991), mixtures of experts; Melenk & Babuška, Comput.
        Methods Appl. Mech. Engrg. 139 (1996), the partition of unity.
    """

    branch: AbstractBranch
    patches: Mapping[str, int | Sequence[float]]
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.branch, AbstractBranch):
            raise TypeError(f"branch must be one such as TanhBranch(), got {type(self.branch).__name__}")
        if isinstance(self.branch, PatchedBranch):
            raise TypeError("branch is patched itself: cut once, with the product of both counts")
        if not isinstance(self.patches, Mapping):
            raise TypeError(f"patches must be by axis, such as {{'x': 4}}, got {type(self.patches).__name__}")
        if not self.patches:
            raise ValueError("patches names no axis: give counts such as {'x': 4}, or use the branch itself")
        for axis, cuts in self.patches.items():
            if axis == "t":
                raise ValueError("patches are of labels, which have no time: cut that with slabs of the expert")
            if isinstance(cuts, Sequence) and not isinstance(cuts, str):
                places = [finite_float(cut, f"a cut along {axis!r}") for cut in cuts]
                if not places or any(b <= a for a, b in pairwise(places)):
                    raise ValueError(f"cuts along {axis!r} must rise, at least one of them, got {tuple(cuts)}")
            elif positive_int(cuts, f"the number of patches along {axis!r}") < 2:
                raise ValueError(f"patches has {cuts} along {axis!r}: give at least 2, or leave the axis out")
        check_overlap(self.overlap)

    def n_parameters(self, frame: LabelFrame, n_out: int) -> int:
        windows = self._windows(frame)
        return _count(windows) * self.branch.n_parameters(_patch_frame(frame, windows), n_out)

    def start(self, frame: LabelFrame, n_out: int, generator: torch.Generator) -> Tensor:
        windows = self._windows(frame)
        inner = _patch_frame(frame, windows)
        return torch.cat([self.branch.start(inner, n_out, generator) for _ in range(_count(windows))])

    def prepare(self, frame: LabelFrame, coordinates: Mapping[str, Any], n_out: int) -> AbstractPreparedBranch:
        windows = self._windows(frame)
        labels, candidates = dict(coordinates), {}
        for window in windows:
            labels[window.axis], candidates[window.axis] = window.near(coordinates[window.axis])
        patch, weights, local = [], [], []
        for sides in product(range(2), repeat=len(windows)):
            chosen = [(w, candidates[w.axis][:, side]) for w, side in zip(windows, sides, strict=True)]
            patch.append(_flat_index([(w.owner(interval), w.count) for w, interval in chosen]))
            weights.append(reduce(mul, (w.weight(labels[w.axis], interval) for w, interval in chosen)))
            local.append(labels | {w.axis: w.scaled(labels[w.axis], interval) for w, interval in chosen})
        spread = _Spread(torch.stack(patch), _count(windows))
        gathered = {axis: spread.gather(torch.stack([part[axis] for part in local])) for axis in coordinates}
        inner = self.branch.prepare(_patch_frame(frame, windows), gathered, n_out)
        return _PreparedPatches(inner, torch.stack(weights), spread)

    def _windows(self, frame: LabelFrame) -> list[AxisWindows]:
        for axis in self.patches:
            if axis not in frame.axes:
                raise ValueError(f"patches names the axis {axis!r}, labels have {', '.join(frame.axes)}")
        return [
            axis_windows(
                axis, _edges(axis, frame.box.bounds(axis), self.patches[axis]), self.overlap, axis in frame.periodic
            )
            for axis in frame.axes
            if axis in self.patches
        ]


@final
class _Spread:
    """Which points each expert sees: pairs (candidate, point) sorted by patch into rows of equal length.

    A row belongs to one patch, a patch may fill several. Rows are as long as the fullest patch, or twice the mean where
    points crowd: the work is at most three times that of the pairs, however they lie.

    Arguments:
        patch: of each pair, (candidate, point).
        count: K patches.
    """

    def __init__(self, patch: Tensor, count: int) -> None:
        self.count, self.patch = count, patch
        flat = patch.flatten()
        order = torch.argsort(flat, stable=True)
        sizes = torch.bincount(flat, minlength=count)
        length = max(1, min(int(sizes.max()), -(-2 * len(flat) // count)))
        rows = (sizes + length - 1) // length
        ranks = torch.arange(len(flat), device=flat.device) - (sizes.cumsum(0) - sizes)[flat[order]]
        first = (rows.cumsum(0) - rows)[flat[order]]
        self.row_patch = torch.repeat_interleave(torch.arange(count, device=flat.device), rows)  # (row,)
        place = (first + ranks // length) * length + ranks % length
        self.place = torch.empty_like(order).scatter(0, order, place)  # of each pair among the slots
        source = torch.zeros(len(self.row_patch) * length, dtype=torch.int64, device=flat.device)
        self.source = source.scatter(0, place, order).reshape(-1, length)  # slots left over repeat the first pair

    def gather(self, pairs: Any) -> Any:
        """(candidate, point) -> (row, slot)."""
        return pairs.flatten(0, 1)[self.source]

    def back(self, slots: Any) -> Any:
        """(row, slot, …) -> (candidate, point, …)."""
        return slots.flatten(0, 1)[self.place.reshape(self.patch.shape)]


@final
class _PreparedPatches(AbstractPreparedBranch):
    def __init__(self, inner: AbstractPreparedBranch, weights: Any, spread: _Spread) -> None:
        self.inner, self.weights, self.spread = inner, weights, spread

    def values(self, theta: Tensor) -> Any:
        return self._blended(self.inner.values(self._of_rows(theta)))

    def linearised(self, theta: Tensor) -> tuple[Tensor, Rows]:
        data, inner_rows = self.inner.linearised(self._of_rows(theta.detach()))
        terms = self.weights.terms
        data = data.detach().requires_grad_()
        with torch.enable_grad():
            blended = self._blended(Jet(data, terms)).data
        spread = self.spread

        def rows(cotangent: Tensor) -> Tensor:
            """The transposed blend, then the rows of each expert into the columns of its parameters."""
            (inner,) = torch.autograd.grad(blended, data, cotangent, retain_graph=True)
            found: Tensor = spread.back(inner_rows(inner))  # (candidate, point, n)
            whole = found.new_zeros(found.shape[1], spread.count, found.shape[2])
            index = spread.patch.T.unsqueeze(-1).expand(-1, -1, found.shape[2])
            return whole.scatter(1, index, found.movedim(0, 1)).flatten(1)

        return blended.detach(), rows

    def _of_rows(self, theta: Tensor) -> Tensor:
        return theta.reshape(self.spread.count, len(theta) // self.spread.count)[self.spread.row_patch]

    def _blended(self, slots: Any) -> Any:
        return (self.spread.back(slots) * self.weights.unsqueeze(-1)).sum(0)


def _edges(axis: str, ends: tuple[float, float], cuts: int | Sequence[float]) -> tuple[float, ...]:
    low, high = ends
    if not isinstance(cuts, Sequence):
        count = int(cuts)
        return (low, *(low + (high - low) * i / count for i in range(1, count)), high)
    if not low < cuts[0] <= cuts[-1] < high:
        raise ValueError(f"cuts along {axis!r} must lie inside the labels' [{low:.6g}, {high:.6g}], got {tuple(cuts)}")
    return (low, *map(float, cuts), high)


def _patch_frame(frame: LabelFrame, windows: list[AxisWindows]) -> LabelFrame:
    """What an expert sees: [-1, 1] and no period along the axes that are cut."""
    cut = {w.axis for w in windows}
    ends = [(-1.0, 1.0) if axis in cut else frame.box.bounds(axis) for axis in frame.box.axes]
    box = Box(frame.box.axes, tuple(low for low, _ in ends), tuple(high for _, high in ends))
    return LabelFrame(box, tuple(axis for axis in frame.periodic if axis not in cut))


def _count(windows: list[AxisWindows]) -> int:
    return math.prod(w.count for w in windows)


def _flat_index(places: list[tuple[Tensor, int]]) -> Tensor:
    """Row-major number of the patch."""
    total = places[0][0]
    for place, count in places[1:]:
        total = total * count + place
    return total
