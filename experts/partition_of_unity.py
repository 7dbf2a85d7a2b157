"""Patches that overlap and are blended: the third way to tie them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from pdesolve.discretization.abstract import Points
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.overlap import OverlappingDecomposition, check_overlap
from pdesolve.domains.patch import Regions
from pdesolve.experts.coupling import AbstractCoupling, Jump, add_jumps, agreement
from pdesolve.experts.patch_context import PatchContext
from pdesolve.nonlinear.rows import InterfaceBlock


@final
@dataclass(frozen=True)
class PartitionOfUnity(AbstractCoupling):
    """TODO"""

    overlap: float = 0.25
    weight: float = 20.0
    derivatives: int = 0
    _covers: dict[Decomposition, OverlappingDecomposition] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_overlap(self.overlap)
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be finite and > 0, got {self.weight}")

    def cover(self, decomposition: Decomposition) -> OverlappingDecomposition:
        if decomposition not in self._covers:
            self._covers[decomposition] = OverlappingDecomposition(decomposition, self.overlap)
        return self._covers[decomposition]

    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        axes = [axis for axis in context.problem.domain.axes if context.interfaces(axis)]
        return [self._block(context, axis, count) for axis in axes]

    def jumps(self, context: PatchContext, w: Tensor, count: int) -> dict[str, Jump]:
        found: dict[str, Jump] = {}
        for axis in context.problem.domain.axes:
            if context.interfaces(axis):
                add_jumps(found, context, axis, overlap_points(context, axis, count), w)
        return found

    def _block(self, context: PatchContext, axis: str, count: int) -> InterfaceBlock:
        if self.derivatives:
            shared = context.normal_derivatives(axis)
        else:
            shared = tuple((name, "") for name in context.problem.field_names)
        return agreement(context, axis, overlap_points(context, axis, count), shared, self.weight)


def overlap_points(context: PatchContext, axis: str, count: int) -> Points:
    """Points in what neighbours along one axis have in common."""
    cover = context.decomposition
    assert isinstance(cover, OverlappingDecomposition)  # as ``cover`` made it
    pairs = zip(cover.interfaces, cover.overlaps.patches, strict=True)
    chosen = tuple(region for face, region in pairs if face.axis == axis)
    return context.within(Regions(chosen, cover.domain, cover.grid), count)
