"""Patches enlarged into their neighbours, and the partition of unity that makes one field of theirs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.geometry import Box, finite_float, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.domains.patch import AbstractDecomposition, Blend, Interface, Patch, Regions

WIDEST = 0.5


@final
@dataclass(frozen=True, eq=False)
class OverlappingDecomposition(AbstractDecomposition):
    """u(x) = Σ_k φ_k(x) u_k(x) with φ_k >= 0, Σ_k φ_k = 1, on patches that reach into their neighbours.

    Across an interface both patches are enlarged by δ = ``overlap`` times the width of the narrower one. There φ_k runs
    from 1 to 0 as the smoothstep S_n(s) = s^(n+1) Σ_j C(n+j, j) C(2n+1, n-j) (-s)^j, S_n(s) + S_n(1-s) = 1, and it is
    the product of such ramps over the axes: n times continuously differentiable, and so is the assembled field.

    Arguments:
        base: the patches without overlap, in rows and columns as ``cartesian_decomposition`` makes them.
        overlap: in (0, 0.5]; at 0.5 the neighbours on both sides of a patch meet in its middle.
        axes: along which patches overlap (default all); along the others they stay as they are, and a point belongs to
            one of them.
        smoothness: n >= 1 (default 2: right for equations of second order).

    Raises:
        TypeError: an overlap that is no number.
        ValueError: one outside (0, 0.5]; patches that are not in rows and columns; an axis that the domain lacks; a
            grid that has fewer than two nodes in some overlap.

    Notes:
        No patch reaches across the ends of the domain, those of a periodic axis neither.

    Source: Melenk & Babuška, Comput. Methods Appl. Mech. Engrg. 139 (1996), the partition of unity method.
    """

    base: Decomposition
    overlap: float
    axes: tuple[str, ...] | None = None
    smoothness: int = 2
    patches: tuple[Patch, ...] = field(init=False)
    interfaces: tuple[Interface, ...] = field(init=False)
    domain: Box = field(init=False)
    grid: StructuredGrid | None = field(init=False)
    _kept: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_overlap(self.overlap)
        base = self.base
        positive_int(self.smoothness, "the smoothness")
        for axis in self.axes or ():
            base.domain.bounds(axis)
        if not base.in_rows_and_columns:
            raise ValueError("patches can overlap only in rows and columns: make them with cartesian_decomposition")
        for name, known in (("interfaces", base.interfaces), ("domain", base.domain), ("grid", base.grid)):
            object.__setattr__(self, name, known)
        object.__setattr__(self, "patches", tuple(self._enlarged(patch) for patch in base.patches))
        overlapping = [face for face in base.interfaces if self.is_along(face.axis)]
        for interface, region in zip(overlapping, self.overlaps.patches, strict=True):
            if base.grid is not None and region.shape[base.grid.axes.index(interface.axis)] < 2:
                raise ValueError(
                    f"the overlap at {interface.axis} = {interface.position:g} holds fewer than 2 nodes of the grid: "
                    "raise the overlap, use a finer grid or fewer patches"
                )

    @cached_property
    def overlaps(self) -> Regions:
        """What the two patches of each interface have in common, in the order of ``interfaces`` along ``axes``."""
        faces = [face for face in self.interfaces if self.is_along(face.axis)]
        common = tuple(self._common(i, *face.patches) for i, face in enumerate(faces))
        return Regions(common, self.domain, self.grid)

    def overlaps_along(self, axis: str) -> Regions:
        pairs = zip((f for f in self.interfaces if self.is_along(f.axis)), self.overlaps.patches, strict=True)
        return Regions(tuple(region for face, region in pairs if face.axis == axis), self.domain, self.grid)

    def restrict(self, values: Tensor) -> list[Tensor]:
        self._checked(values)
        found = []
        for ranges in self.node_ranges:
            part = values
            for axis, (start, stop) in enumerate(ranges):
                part = part.narrow(axis - len(ranges), start, stop - start)
            found.append(part)
        return found

    def assemble(self, patch_values: Sequence[Tensor]) -> Tensor:
        batch, grid = self._checked_parts(patch_values), self._grid()
        flat = torch.cat([values.reshape(*batch, -1) for values in patch_values], -1)
        order, weight = self._shares_on(flat.device)
        whole = flat.new_zeros(*batch, grid.n_nodes).index_add(-1, order, flat * weight.to(flat.dtype))
        return whole.reshape(*batch, *grid.shape)

    def weights(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """φ_k at points, (n_patches, *points); arguments as ``blend``."""
        found = self.blend(coordinates)
        whole = found.weight.new_zeros(len(self.patches), *found.weight.shape[1:])
        return whole.scatter_add(0, found.index, found.weight)

    def blend(self, coordinates: Mapping[str, Tensor]) -> Blend:
        owner = self.base.owner(coordinates)
        index = self._near.to(owner.device)[owner]  # (*points, candidate)
        there = index >= 0
        index = torch.where(there, index, owner.unsqueeze(-1))
        wide = {axis: coordinates[axis].unsqueeze(-1) for axis in self.domain.axes}
        weight = torch.where(there, self.share(index, wide), 0.0)
        weight, order = torch.sort(weight, dim=-1, descending=True, stable=True)
        used = max(1, int((weight > 0).sum(-1).max())) if weight.numel() else 1
        weight, index = weight[..., :used], index.gather(-1, order[..., :used])
        index = torch.where(weight > 0, index, owner.unsqueeze(-1))
        return Blend(index.movedim(-1, 0), weight.movedim(-1, 0))

    def share(self, patches: Tensor, coordinates: Mapping[str, Tensor], derivative: str = "") -> Tensor:
        """A derivative of φ_k.

        Arguments:
            patches: k at each point, int64.
            coordinates: one tensor per axis, of shapes that broadcast against ``patches``.
            derivative: axis letters, "" for φ itself.
        """
        found = torch.ones((), dtype=coordinates[self.domain.axes[0]].dtype, device=patches.device)
        for position, axis in enumerate(self.domain.axes):
            lower, before, upper, after = self._ramps[position].to(found)[:, patches].unbind(0)
            x, m = coordinates[axis], derivative.count(axis)
            rise, fall = self._ramp(x - lower, before, 0), self._ramp(upper - x, after, 0)
            if m == 0:
                found = found * rise * fall
            else:  # where one ramp changes the other is one
                found = found * (
                    self._ramp(x - lower, before, m) * fall + (-1) ** m * rise * self._ramp(upper - x, after, m)
                )
        return found

    def _ramp(self, distance: Tensor, reach: Tensor, order: int) -> Tensor:
        """The derivative of S_n((x + δ) / 2δ) in the signed distance x from an end; a step where δ = 0."""
        width = torch.where(reach > 0, 2 * reach, 1.0)
        s = (distance + reach) / width
        lower = torch.minimum(s, 1.0 - s)  # S_n(s) = 1 - S_n(1 - s): both ramps round alike, so that they add up to one
        value = torch.zeros_like(s)
        for c in reversed(_smoothstep(self.smoothness, order)):
            value = value * lower + c
        mirrored = 1.0 - value if order == 0 else (-1.0) ** (order - 1) * value
        value = torch.where(s > 0.5, mirrored, value)
        inside = (s > 0) & (s < 1) & (reach > 0)
        beyond = (
            (torch.where(reach > 0, s >= 1, torch.ones_like(inside))).to(s.dtype) if order == 0 else torch.zeros_like(s)
        )
        return torch.where(inside, value / width**order, beyond)

    def is_along(self, axis: str) -> bool:
        """Whether patches overlap along an axis."""
        return self.axes is None or axis in self.axes

    def _reach(self, index: int, axis: str, side: int) -> float:
        """δ of a patch at one end of an axis; zero at the end of the domain."""
        box, ends = (
            self.base.patches[index].box,
            (self.base.domain.bounds(axis), self.base.patches[index].box.bounds(axis)),
        )
        position = 0 if side < 0 else 1
        if ends[0][position] == ends[1][position] or not self.is_along(axis):
            return 0.0
        beside = [b if side > 0 else a for a, b in self._pairs(axis) if (a if side > 0 else b) == index]
        return self.overlap * min(box.extent(axis), *(self.base.patches[i].box.extent(axis) for i in beside), math.inf)

    def _pairs(self, axis: str) -> list[tuple[int, int]]:
        return [face.patches for face in self.base.interfaces if face.axis == axis]

    def _enlarged(self, patch: Patch) -> Patch:
        axes = self.base.domain.axes
        box = patch.box
        lower = tuple(low - self._reach(patch.index, axis, -1) for axis, low in zip(axes, box.lower, strict=True))
        upper = tuple(high + self._reach(patch.index, axis, 1) for axis, high in zip(axes, box.upper, strict=True))
        ranges = None
        if patch.node_ranges is not None and self.base.grid is not None:
            nodes = self.base.grid.nodes
            ranges = tuple(
                (
                    min(start, int(torch.searchsorted(at, low, right=True))),
                    max(stop, int(torch.searchsorted(at, high))),
                )
                for (start, stop), at, low, high in zip(patch.node_ranges, nodes, lower, upper, strict=True)
            )
        return Patch(patch.index, Box(axes, lower, upper), ranges)

    def _common(self, index: int, first: int, second: int) -> Patch:
        a, b = self.patches[first], self.patches[second]
        lower, upper = map(max, a.box.lower, b.box.lower), map(min, a.box.upper, b.box.upper)
        ranges = None
        if a.node_ranges is not None and b.node_ranges is not None:
            ranges = tuple(
                (max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a.node_ranges, b.node_ranges, strict=True)
            )
        return Patch(index, Box(a.box.axes, tuple(lower), tuple(upper)), ranges)

    @cached_property
    def _ramps(self) -> list[Tensor]:
        """By axis the lower end of each patch and its δ, the upper end and its δ, (4, n_patches)."""
        found = []
        for axis in self.domain.axes:
            rows = [
                (low, self._reach(i, axis, -1), high, self._reach(i, axis, 1))
                for i, (low, high) in enumerate(patch.box.bounds(axis) for patch in self.base.patches)
            ]
            found.append(torch.tensor(rows, dtype=torch.float64).T.contiguous())
        return found

    @cached_property
    def _near(self) -> Tensor:
        """For each patch itself and all others that reach into it, filled up by -1, (n_patches, most)."""
        lower, upper, base_lower, base_upper = (
            torch.tensor(ends, dtype=torch.float64)
            for ends in (
                [patch.box.lower for patch in self.patches],
                [patch.box.upper for patch in self.patches],
                [patch.box.lower for patch in self.base.patches],
                [patch.box.upper for patch in self.base.patches],
            )
        )
        meets = ((lower < base_upper[:, None]) & (upper > base_lower[:, None])).all(-1)  # (owner, other)
        rows = [row.nonzero()[:, 0] for row in meets]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)

    def _shares_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The flat nodes of all patches, patch after patch, and φ of the patch there, float64."""
        if device not in self._kept:
            with torch.inference_mode(False):  # what is kept may meet autograd later
                grid = self._grid()
                numbers = torch.arange(grid.n_nodes).reshape(grid.shape)
                order, weight = [], []
                for patch, nodes in zip(self.patches, self.restrict(numbers), strict=True):
                    block = [at[slice(*pair)] for at, pair in zip(grid.nodes, patch.node_ranges or (), strict=True)]
                    found = self.blend(dict(zip(grid.axes, torch.meshgrid(*block, indexing="ij"), strict=True)))
                    order.append(nodes.flatten())
                    weight.append(torch.where(found.index == patch.index, found.weight, 0.0).sum(0).flatten())
                self._kept[device] = (torch.cat(order).to(device), torch.cat(weight).to(device))
        return self._kept[device]


def check_overlap(overlap: object) -> None:
    """Raise unless an overlap is a number in (0, 0.5]."""
    value = finite_float(overlap, "the overlap")
    if not 0 < value <= WIDEST:
        raise ValueError(
            f"the overlap must lie in (0, {WIDEST}], got {value}: it is the part of a patch that each neighbour "
            "reaches into, and those from both sides must not cross"
        )


@lru_cache(maxsize=64)
def _smoothstep(n: int, order: int) -> tuple[float, ...]:
    """Coefficients, the lowest first, of a derivative of S_n."""
    ramp = [math.comb(n + j, j) * math.comb(2 * n + 1, n - j) * (-1.0) ** j for j in range(n + 1)]
    coefficients = [0.0] * (n + 1) + ramp
    for _ in range(order):
        coefficients = [k * c for k, c in enumerate(coefficients)][1:]
    return tuple(coefficients)
