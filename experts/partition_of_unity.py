"""Patches that overlap and are blended: the third way to tie them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from torch import Tensor

from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.overlap import OverlappingDecomposition, check_overlap
from pdesolve.experts.coupling import AbstractCoupling, Jump, add_jumps, agreement
from pdesolve.experts.flow import flow_along
from pdesolve.experts.layout import Layout
from pdesolve.experts.patch_context import PatchContext
from pdesolve.nonlinear.rows import InterfaceBlock
from pdesolve.problem import Problem


@final
@dataclass(frozen=True)
class PartitionOfUnity(AbstractCoupling):
    """TODO"""

    overlap: float = 0.5
    weight: float = 20.0
    _kept: dict[tuple[Decomposition, tuple[str, ...], int], OverlappingDecomposition] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        check_overlap(self.overlap)
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be finite and > 0, got {self.weight}")

    def layout(self, decomposition: Decomposition, problem: Problem) -> Layout:
        cut = tuple(axis for axis in problem.domain.axes if axis in decomposition.interface_positions)
        if not cut:
            return Layout(decomposition, decomposition)
        order = problem.trace.order
        smoothness = max(2, *(order(axis, name) for axis in cut for name in problem.field_names))
        one_way = tuple(axis for axis in cut if flow_along(problem, axis))
        both_ways = tuple(axis for axis in cut if axis not in one_way)
        return Layout(
            self._overlapping(decomposition, one_way, smoothness) if one_way else decomposition,
            self._overlapping(decomposition, cut, smoothness),
            self._overlapping(decomposition, both_ways, smoothness) if both_ways else None,
        )

    def interfaces(self, context: PatchContext, count: int) -> list[InterfaceBlock]:
        shared, blocks = tuple((name, "") for name in context.problem.field_names), []
        for axis in context.problem.domain.axes:
            regions = context.layout.rows.overlaps_along(axis)
            if regions.patches:
                blocks.append(agreement(context, axis, context.within(regions, count), shared, self.weight))
        return blocks

    def jumps(self, context: PatchContext, w: Tensor, count: int) -> dict[str, Jump]:
        found: dict[str, Jump] = {}
        for axis in context.problem.domain.axes:
            regions = context.layout.field.overlaps_along(axis)
            if regions.patches:
                add_jumps(found, context, axis, context.within(regions, count), w)
        return found

    def _overlapping(
        self, decomposition: Decomposition, axes: tuple[str, ...], smoothness: int
    ) -> OverlappingDecomposition:
        key = decomposition, axes, smoothness
        if key not in self._kept:
            self._kept[key] = OverlappingDecomposition(decomposition, self.overlap, axes, smoothness)
        return self._kept[key]
