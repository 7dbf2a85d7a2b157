"""Patches solved one after another where information runs one way: upwind before downwind, early before late.

Rows with a ``flow`` determine the patch behind an interface and leave the one before it alone. That is no longer one
minimisation: the patches before are solved first, and their values enter the next ones as data. Gradients reach
through all of them, as every solve is differentiated with respect to the data it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.rows import InterfaceBlock, RowBlock, times
from pdesolve.nonlinear.solved import Solved
from pdesolve.status import SolveStatus

StageSolve = Callable[[LeastSquares, Sequence[int]], Solved]
"""Called with the problem of some patches, and their indices."""


@dataclass(frozen=True, eq=False)
class PatchWeights:
    """The weights on every patch, and how its solve ended.

    Arguments:
        w: (batch, patch, N), with the gradient of all solves.
        status: ``SolveStatus`` codes, (batch, patch). A patch behind a failed one carries that one's status.
        stats: by name, each (batch, patch).
    """

    w: Tensor
    status: Tensor
    stats: dict[str, Tensor]


def solve_in_order(problem: LeastSquares, solve: StageSolve) -> PatchWeights:
    """Solve a problem stage by stage, each with the weights of the stages before as data.

    Arguments:
        problem: rows on patches and between them; those with a ``flow`` order the patches.
        solve: how one stage is solved.
    """
    stages = stages_of(problem)
    if len(stages) == 1:
        found = solve(problem, stages[0])
        return PatchWeights(found.w, found.status, found.stats)
    inflows = [inflow for block in problem.interfaces if block.flow for inflow in _inflows(block)]
    weights: dict[int, Tensor] = {}
    status: dict[int, Tensor] = {}
    stats: dict[str, dict[int, Tensor]] = {}
    for stage in stages:
        entering = [inflow.rows(stage, weights) for inflow in inflows if inflow.enters(stage)]
        found = solve(_restricted(problem, stage, entering), stage)
        weights |= zip(stage, found.w.unbind(1), strict=True)
        for name, values in found.stats.items():
            stats.setdefault(name, {}).update(zip(stage, values.unbind(1), strict=True))
        for patch, codes in zip(stage, found.status.unbind(1), strict=True):
            status[patch] = _after(codes, [status[i.upwind[patch]] for i in inflows if patch in i.upwind])
    order = range(problem.shape[1])
    return PatchWeights(
        torch.stack([weights[p] for p in order], 1),
        torch.stack([status[p] for p in order], 1),
        {name: torch.stack([by_patch[p] for p in order], 1) for name, by_patch in stats.items()},
    )


def stages_of(problem: LeastSquares) -> list[list[int]]:
    """Patches that can be solved together, in order: every flow enters from an earlier stage.

    Raises:
        ValueError: patches that feed each other in a circle.
    """
    before: dict[int, set[int]] = {p: set() for p in range(problem.shape[1])}
    together: list[tuple[int, int]] = []
    for block in problem.interfaces:
        if block.flow:
            for (a, b), flow in zip(block.edges, block.flow, strict=True):
                before[b if flow > 0 else a].add(a if flow > 0 else b)
        else:
            together += block.edges
    together += [pair for block in problem.joint for pair in block.pairs]
    rank = dict.fromkeys(before, 0)
    for _ in range(len(before) + 1):
        raised = {p: max([rank[p], *(rank[q] + 1 for q in sources)]) for p, sources in before.items()}
        for a, b in together:
            raised[a] = raised[b] = max(raised[a], raised[b])
        if raised == rank:
            return [[p for p in rank if rank[p] == level] for level in sorted(set(rank.values()))]
        rank = raised
    raise ValueError("patches feed each other in a circle: tie them by rows without a flow")


@dataclass(frozen=True, eq=False)
class _Inflow:
    """Rows D w_p + U w_q + c with at most one upwind patch q for each patch p.

    Arguments:
        upwind: p -> q.
        edge: p -> the edge of ``block`` between them.
        block: where D, U and c are.
    """

    upwind: dict[int, int]
    edge: dict[int, int]
    block: InterfaceBlock

    def enters(self, stage: Sequence[int]) -> bool:
        return any(p in self.upwind for p in stage)

    def rows(self, stage: Sequence[int], weights: dict[int, Tensor]) -> RowBlock:
        """The rows of a stage's patches, U w_q being known; padding for a patch that nothing enters."""
        block, like = self.block, self.block.left
        some = next(p for p in stage if p in self.upwind)
        entered = [p if p in self.upwind else some for p in stage]
        edges = torch.tensor([self.edge[p] for p in entered], device=like.device)
        forward = torch.tensor([block.flow[self.edge[p]] > 0 for p in entered], device=like.device)[:, None, None]
        left, right = block.left.index_select(1, edges), block.right.index_select(1, edges)
        known = torch.stack([weights[self.upwind[p]] for p in entered], 1)
        offset = block.offset.index_select(1, edges) + times(torch.where(forward, left, -right), known)
        there = torch.tensor([p in self.upwind for p in stage], device=like.device, dtype=like.dtype)
        weight = block.weight.expand(-1, len(block.edges), -1).index_select(1, edges) * there.unsqueeze(-1)
        return RowBlock(_identity, (torch.where(forward, -right, left),), (offset,), (), weight)


def _inflows(block: InterfaceBlock) -> list[_Inflow]:
    """A block with a flow, parted so that one edge at most enters each patch."""
    parts: list[_Inflow] = []
    for e, ((a, b), flow) in enumerate(zip(block.edges, block.flow, strict=True)):
        source, target = (a, b) if flow > 0 else (b, a)
        free = next((part for part in parts if target not in part.upwind), None)
        if free is None:
            free = _Inflow({}, {}, block)
            parts.append(free)
        free.upwind[target], free.edge[target] = source, e
    return parts


def _restricted(problem: LeastSquares, stage: Sequence[int], entering: Sequence[RowBlock]) -> LeastSquares:
    """The problem of some patches."""
    chosen = torch.tensor(list(stage), device=problem.like.device)
    place = {p: i for i, p in enumerate(stage)}
    interfaces = []
    for block in problem.interfaces:
        inside = [e for e, (a, b) in enumerate(block.edges) if a in place and b in place]
        if inside and not block.flow:
            interfaces.append(_between(block, inside, place))
    rows = tuple(block.on(chosen) for block in problem.rows)
    ridge = None if problem.ridge is None else problem.ridge.index_select(1, chosen)
    constraints = tuple(block.on(chosen, problem.shape[1]) for block in problem.constraints)
    joint = tuple(kept for block in problem.joint if (kept := block.within(place)) is not None)
    return LeastSquares((*rows, *entering), tuple(interfaces), ridge, constraints, joint)


def _between(block: InterfaceBlock, inside: Sequence[int], place: dict[int, int]) -> InterfaceBlock:
    """Some edges of a block, with new numbers for the patches; ``place`` keeps their order."""
    index = torch.tensor(list(inside), device=block.left.device)
    edges = tuple((place[block.edges[e][0]], place[block.edges[e][1]]) for e in inside)
    kept = block.with_tensors([t.index_select(1, index) for t in block.tensors()])
    weight = block.weight.expand(-1, len(block.edges), -1).index_select(1, index)
    return replace(kept, edges=edges, weight=weight)


def _after(codes: Tensor, sources: Sequence[Tensor]) -> Tensor:
    """A patch's status, or that of a patch it draws on where only that one failed."""
    for source in sources:
        codes = torch.where(codes == SolveStatus.CONVERGED, source, codes)
    return codes


def _identity(terms: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (terms[0],)
