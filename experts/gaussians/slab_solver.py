"""Solves a problem on one box, the whole of it or one slab of time, and judges the result on points not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition
from pdesolve.domains.geometry import Box
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.handed_over import HandedOver
from pdesolve.experts.gaussians.lattice_residual import LatticeResidual
from pdesolve.experts.gaussians.layout import Layout, MappedSampler
from pdesolve.experts.gaussians.nested import nested
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import GaussianFit
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.experts.gaussians.slab import Slab
from pdesolve.experts.gaussians.state import State
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractKeepingMinimiser, AbstractMinimiser, Minimised
from pdesolve.residual_minimisation.problem_rows import (
    Faces,
    Known,
    ProblemRows,
    condition_rows,
    equation_rows,
    sampled_faces,
)
from pdesolve.status import SolveStatus

FRESH = 2000
"""Points of the equation that judge a slab."""

_FACE = 64  # points on a face at least


@dataclass(frozen=True, eq=False)
class SolvedSlab:
    """A slab with how it was solved.

    Arguments:
        slab: the Gaussians with their weights.
        ended: how the minimiser ended.
        residual: |r| on fresh points over the size of the equation's terms for u = 1.
        size: largest |u| there, of several fields the mean by their parts of those terms.
    """

    slab: Slab
    ended: Minimised
    residual: float
    size: float

    @property
    def failed(self) -> bool:
        """Whether the minimiser ended without a result."""
        return self.ended.status is not SolveStatus.CONVERGED

    def relative(self, size: float) -> float:
        """The residual for u as large as it is here, or ``size`` if that is more."""
        largest = max(self.size, size) if math.isfinite(self.size) else math.inf
        return self.residual / largest if 0.0 < largest < math.inf else self.residual


@final
@dataclass(frozen=True, eq=False)
class SlabSolver:
    """Solves parts of one problem.

    Arguments:
        problem: the whole.
        minimiser: finds the weights.
        points: of the equation over unknowns.
        lifting: of the walls, whatever the slab.
        placement: moves Gaussians after the lattice's fit.
        seed: of the points, the same in every slab: equal slabs have equal rows.
        device: where.
    """

    problem: Problem
    minimiser: AbstractMinimiser
    points: float
    lifting: AbstractLifting
    placement: AbstractPlacement | None
    seed: int
    device: torch.device

    @property
    def keeps(self) -> bool:
        """Whether the minimiser may keep something of a slab for those that follow."""
        return isinstance(self.minimiser, AbstractKeepingMinimiser)

    def generator(self) -> torch.Generator:
        """On the CPU, so that points do not depend on the device."""
        return torch.Generator().manual_seed(self.seed)

    def initial(self, layout: Layout) -> State:
        """What the first slab sets out from."""
        return State.initial(self.problem, layout, self.generator(), self.lifting, self.device)

    def solve(self, part: Problem, layout: Layout, state: State | None) -> SolvedSlab:
        """One slab.

        Arguments:
            part: the problem on it, ``on_share``.
            layout: where Gaussians and points stand.
            state: what it sets out from; none where there is no time.
        """
        part, lifting, unseen = self._beginning(part, layout, state)
        cloud, generator = layout.cloud(self.device), self.generator()
        rows = _Rows(part, layout, sizes_of_terms(part, cloud), generator, self.device)
        if self.placement is None:
            residual = self._residual(rows, cloud, lifting)
            ended = self.minimiser.minimise(residual, residual.start())
            weights = ended.theta.reshape(len(part.field_names), -1)
        else:
            face = max(_FACE, math.ceil(2.0 * self.points * cloud.size / min(layout.counts.values())))
            draw = SampledRows(part, self.points, face, rows.weight, lifting=lifting)
            placed = self.placement.place(GaussianFit(part, draw, self.minimiser, lifting), cloud, generator)
            cloud, weights, ended = placed.cloud, placed.weights, placed.minimised
        slab = Slab(cloud, lifting, part.field_names, weights, layout)
        return self._judged(slab, ended, rows, lifting if unseen is None else unseen)

    def recall(self, part: Problem, layout: Layout, state: State | None) -> None:
        """Let the minimiser be as after ``solve``, so that what it kept serves the slabs that follow."""
        if not isinstance(self.minimiser, AbstractKeepingMinimiser):
            return
        part, lifting, _ = self._beginning(part, layout, state)
        cloud = layout.cloud(self.device)
        rows = _Rows(part, layout, sizes_of_terms(part, cloud), self.generator(), self.device)
        residual = self._residual(rows, cloud, lifting)
        self.minimiser.recall(residual, residual.start())

    def solved(self, part: Problem, layout: Layout, state: State | None, weights: Tensor, cloud: GaussianCloud) -> Slab:
        """A slab whose weights are known.

        Arguments:
            part, layout, state: as for ``solve``.
            weights: c, (fields, N).
            cloud: the Gaussians.
        """
        part, lifting, _ = self._beginning(part, layout, state)
        return Slab(cloud, lifting, part.field_names, weights, layout)

    def _beginning(
        self, part: Problem, layout: Layout, state: State | None
    ) -> tuple[Problem, AbstractLifting, AbstractLifting | None]:
        """The part with the state as its beginning, exact where that is stable, and what a judgement may leave out."""
        free = NoLifting(part.field_names)
        lifting: AbstractLifting = free
        unseen: AbstractLifting | None = None
        if state is not None:
            first = state.time == self.problem.box.bounds("t")[0]
            if state.orders == 1 and part.box.space_axes and not _open(part, layout):
                # A state that misses the initial condition imposes its own: the judgement asks for the condition's.
                lifting, unseen = HandedOver(state), free if first else None
            elif not first:
                others = [c for c in part.conditions if not isinstance(c, InitialCondition)]
                given = state.conditions(self.lifting, part.batch_parameters(device=self.device))
                part = replace(part, conditions=[*given, *others])
        return part, nested(self.lifting, lifting), unseen

    def _residual(self, rows: _Rows, cloud: GaussianCloud, lifting: AbstractLifting) -> LatticeResidual:
        part, layout = rows.part, rows.layout
        ratio = max(1.0, self.points * len(part.field_names) / part.trace.n_equations)

        def face(boundary: str) -> Mapping[str, Tensor]:
            return layout.face(boundary, 2.0 * self.points, _FACE, rows.generator)

        drawn = rows.at(layout.points(ratio, rows.generator), lifting, face)
        return LatticeResidual(part, cloud, lifting, drawn)

    def _judged(self, slab: Slab, ended: Minimised, rows: _Rows, open_to: AbstractLifting) -> SolvedSlab:
        drawn = MappedSampler(rows.layout).sample(slab.box, FRESH, rows.generator)
        inside = {axis: value.squeeze(0) for axis, value in drawn.items()}
        faces = sampled_faces(slab.box, FRESH // 4, MappedSampler(rows.layout), rows.generator)
        known = rows.part.batch_parameters(device=self.device)
        fresh = slab.residual(rows.at(inside, open_to, faces), known)
        left = float(torch.linalg.vector_norm(fresh)) / rows.weight
        points = torch.stack([inside[a].to(self.device) for a in slab.box.axes], dim=1)
        largest = slab.values(points, known).abs().amax(1).tolist()
        size = sum(share * u for share, u in zip(rows.sizes, largest, strict=True)) / rows.weight
        return SolvedSlab(slab, ended, left, size)


@final
@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of a part, those of conditions as heavy as the equation's terms; ``sizes`` are theirs by field."""

    part: Problem
    layout: Layout
    sizes: Sequence[float]
    generator: torch.Generator
    device: torch.device

    @property
    def weight(self) -> float:
        """Of conditions."""
        return sum(self.sizes)

    def at(self, inside: Known, lifting: AbstractLifting, faces: Faces) -> list[ProblemRows]:
        def face(boundary: str) -> Known:
            return self._here(faces(boundary))

        count = len(next(iter(inside.values())))
        omega = torch.full((count,), count**-0.5, dtype=torch.float64, device=self.device)
        equation = equation_rows(self.part, self._here(inside), omega)
        return [equation, *condition_rows(self.part, lifting, face, self.weight, self.layout.periodic)]

    def _here(self, points: Known) -> Known:
        return {axis: x.to(self.device) for axis, x in points.items()}


def on_share(problem: Problem, start: float, end: float) -> Problem:
    """The problem on a share of its time; ends meet exactly, and the last one is the problem's own."""
    if (start, end) == (0.0, 1.0):
        return problem
    box = problem.box
    low, high = box.bounds("t")

    def time(share: float) -> float:
        return high if share == 1.0 else low + share * (high - low)

    lower = tuple(time(start) if a == "t" else v for a, v in zip(box.axes, box.lower, strict=True))
    upper = tuple(time(end) if a == "t" else v for a, v in zip(box.axes, box.upper, strict=True))
    return replace(problem, domain=Box(box.axes, lower, upper))


def sizes_of_terms(problem: Problem, cloud: GaussianCloud) -> list[float]:
    """Σ_α |∂F/∂(∂^α u)| σ^-α by field: what an error of one in u, as wide as a Gaussian, makes of the equation."""
    widths = cloud.covariance.widths().median(dim=0).values.tolist()
    scale = dict(zip(problem.box.axes, widths, strict=True))
    points = torch.stack([cloud.centres[:, j].clamp(*problem.box.bounds(a)) for j, a in enumerate(scale)], dim=1)
    at = {axis: points[:, j] for j, axis in enumerate(scale)}
    ones = torch.ones_like(points[:, 0])
    rows = equation_rows(problem, at, ones)
    _, slopes, _ = rows.linearise(dict.fromkeys(rows.terms, ones), problem.batch_parameters(device=points.device))
    sizes = dict.fromkeys(problem.field_names, 0.0)
    for row in slopes:
        for (field, term), slope in row.items():
            sizes[field] += float(slope.abs().mean()) / math.prod(scale[axis] for axis in term)
    total = sum(sizes.values())
    return list(sizes.values()) if math.isfinite(total) and total > 0 else [1.0] * len(sizes)


def _open(problem: Problem, layout: Layout) -> bool:
    """Whether some periodic axis is not closed by the Gaussians, so that rows must close it."""
    return any(axis not in layout.periodic for axes in problem.resolved.periodic.values() for axis in axes)
