"""Slab after slab through time, from the first or from where another run ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.kept_slabs import HISTORY, KeptSlab, KeptSlabs
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.slab import Slab, handed_on
from pdesolve.experts.gaussians.slab_solver import SlabSolver, SolvedSlab, on_share
from pdesolve.experts.gaussians.slabs import AbstractSlabs
from pdesolve.experts.gaussians.spread import Spread
from pdesolve.experts.gaussians.state import State, space_basis
from pdesolve.experts.one_off import FitReport, Progress
from pdesolve.frames.contradictions import contradictions
from pdesolve.problem import Problem
from pdesolve.status import SolveStatus


@final
@dataclass(frozen=True, eq=False)
class March:
    """One attempt at a problem.

    Arguments:
        solver: of slabs.
        spread: where Gaussians stand.
        slabs: cuts time.
        overlaps: widths to choose from in the first slab.
        tolerance: of a slab's residual.
        kept: the slabs that are solved, more of them after each.
    """

    solver: SlabSolver
    spread: Spread
    slabs: AbstractSlabs
    overlaps: Sequence[float]
    tolerance: float
    kept: KeptSlabs

    def run(self, progress: Progress | None, after_slab: Callable[[], None] | None) -> FitReport:
        """Solve what is not kept; a kept slab that failed is tried again."""
        problem, kept = self.solver.problem, self.kept
        if len(kept) and kept[-1].numbers["status"] != SolveStatus.CONVERGED:
            kept.cut(len(kept) - 1)
        overlaps, start, end = self.overlaps, 0.0, self.slabs.first() if problem.box.has_time else 1.0
        size, longer = 0.0, math.inf  # of u so far; residual of a longer slab from the same start
        states: dict[float, State] = {}  # what the next slab sets out from, by overlap
        if len(kept):
            last = kept[-1].numbers
            start, end, size, overlaps = last["end"], last["following"], last["size"], (last["overlap"],)
            if start < 1.0:
                states = {last["overlap"]: handed_on(self._slab(kept[-1]), self._state(kept[-1]))}
                self._recall()
            if progress is not None:
                progress(start, last["residual"])
        while start < 1.0:
            overlap, solved = self._best(on_share(problem, start, end), overlaps, states)
            residual = solved.relative(size)
            judged = residual if math.isfinite(residual) and not solved.failed else math.inf
            following = self.slabs.following(start, end, judged, longer)
            if following < end:
                end, longer = following, judged
                continue
            status, size, longer = self._status(solved, residual), max(size, solved.size), math.inf
            shares = {"start": start, "end": end, "following": following, "size": size, "status": float(status)}
            shares["shared"] = float(solved.ended.shared)
            told = zip(HISTORY, _told(solved, residual, overlap), strict=True)
            kept.append(self._entry({**shares, **dict(told)}, solved.slab, states.get(overlap)))
            if after_slab is not None:
                after_slab()
            if progress is not None:
                progress(end, residual)
            if status is not SolveStatus.CONVERGED:
                return FitReport(status, residual, kept.history(), self._detail(solved, residual))
            if end < 1.0:
                states = {overlap: handed_on(solved.slab, states[overlap])}
            overlaps, start, end = (overlap,), end, following
        history = kept.history()
        return FitReport(SolveStatus.CONVERGED, max(history["residual"]), history)

    def restored(self) -> list[Slab]:
        """The kept slabs where the solver is."""
        return [self._slab(self.kept[index]) for index in range(len(self.kept))]

    def _recall(self) -> None:
        """Have the factors that served the last kept slab made anew from the rows that they were made from."""
        if not self.solver.keeps:
            return
        last = len(self.kept) - 1
        while last and self.kept[last].numbers["shared"]:
            last -= 1
        if last:
            self.solver.recall(*self._part(self.kept[last]), self._state(self.kept[last]))
            return
        # The first slab was solved with every overlap, and where it shares factors perhaps longer before.
        ends = [self.slabs.first()] if self.kept[0].numbers["shared"] else []
        for end in (*ends, self.kept[0].numbers["end"]):
            part = on_share(self.solver.problem, 0.0, end)
            for overlap in self.overlaps:
                layout = self.spread.layout(part, overlap)
                self.solver.recall(part, layout, self.solver.initial(layout))

    def _best(self, part: Problem, overlaps: Sequence[float], states: dict[float, State]) -> tuple[float, SolvedSlab]:
        """The slab with the overlap that leaves the smallest residual, results before failures."""
        found: list[tuple[float, SolvedSlab]] = []
        for overlap in overlaps:
            layout = self.spread.layout(part, overlap)
            if part.box.has_time and overlap not in states:
                states[overlap] = self.solver.initial(layout)
            found.append((overlap, self.solver.solve(part, layout, states.get(overlap))))

        def order(entry: tuple[float, SolvedSlab]) -> tuple[bool, float]:
            residual = entry[1].relative(0.0)
            return entry[1].failed, residual if math.isfinite(residual) else math.inf

        return min(found, key=order)

    def _status(self, solved: SolvedSlab, residual: float) -> SolveStatus:
        if solved.failed or residual <= self.tolerance:
            return solved.ended.status
        return SolveStatus.UNRESOLVED if math.isfinite(residual) else SolveStatus.NON_FINITE

    def _detail(self, solved: SolvedSlab, residual: float) -> str:
        """What is known of the last slab, which ended the fit."""
        problem = self.solver.problem
        where = f"slab {len(self.kept)}, which ends at t = {self.kept[-1].numbers['time']:.6g}"
        detail = f"residual {residual:.2g} on fresh points {solved.ended.detail}".strip()
        remedy = "; ".join(["take more Gaussians or shorter slabs", *contradictions(problem)])
        return f"{where if problem.box.has_time else 'the solve'}: {detail}; {remedy}"

    def _entry(self, numbers: dict[str, float], slab: Slab, state: State | None) -> KeptSlab:
        nothing = slab.weights.new_zeros(0, 0)
        moved = (nothing, nothing)
        if self.solver.placement is not None:
            moved = (slab.cloud.centres, slab.cloud.covariance.numbers)
        return KeptSlab(numbers, slab.weights, nothing if state is None else state.stacked(), *moved)

    def _slab(self, entry: KeptSlab) -> Slab:
        part, layout = self._part(entry)
        cloud = layout.cloud(self.solver.device)
        if entry.centres.numel():
            shapes = cloud.covariance.replaced(entry.shapes)
            cloud = GaussianCloud(cloud.domain, entry.centres, shapes, cloud.periodic)
        state = self._state(entry) if part.box.has_time else None
        return self.solver.solved(part, layout, state, entry.weights, cloud)

    def _state(self, entry: KeptSlab) -> State:
        """What a kept slab set out from."""
        part, layout = self._part(entry)
        basis = space_basis(layout, self.solver.device)
        return State.of(part, part.box.bounds("t")[0], basis, entry.states)

    def _part(self, entry: KeptSlab) -> tuple[Problem, Layout]:
        part = on_share(self.solver.problem, entry.numbers["start"], entry.numbers["end"])
        return part, self.spread.layout(part, entry.numbers["overlap"])


def _told(solved: SolvedSlab, residual: float, overlap: float) -> tuple[float, ...]:
    """What a history tells of a slab."""
    box, steps = solved.slab.box, len(solved.ended.history["cost"]) - 1.0
    time = box.bounds("t")[1] if box.has_time else 0.0
    return time, residual, overlap, steps, float(solved.slab.cloud.size)
