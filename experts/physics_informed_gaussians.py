"""One PDE solved by Gaussians, without a mesh."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition
from pdesolve.domains.geometry import Box, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.factored import Factor, Factored, imposed_by
from pdesolve.experts.gaussians.handed_over import HandedOver
from pdesolve.experts.gaussians.layout import AxisMap, Layout, MappedSampler
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.placement.fit import GaussianFit
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.experts.gaussians.slab import Slab, handed_on
from pdesolve.experts.gaussians.slabs import AbstractSlabs, GivenSlabs
from pdesolve.experts.gaussians.state import State
from pdesolve.experts.one_off import AbstractOneOffExpert, FitReport, Progress
from pdesolve.experts.provenance import provenance
from pdesolve.field import Field
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.frames.contradictions import contradictions
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, Minimised
from pdesolve.residual_minimisation.damped_qr import KeptQR
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.residual_minimisation.problem_rows import ProblemRows, condition_rows, equation_rows
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus, raise_unless_converged

_CLOSED_FORMS = 4  # highest order of the equation for which derivatives are tested
_FRESH = 2000
_IN_TIME = 7  # Gaussians of a slab along t where only a total is given
_TIME_OVERLAP = 2.5  # few Gaussians in time do best when they are wide, like a polynomial


@final
class PhysicsInformedGaussians(AbstractOneOffExpert):
    """u_f = Σ_i c_fi exp(-1/2 (x - μ_i)ᵀ Σ_i⁻¹ (x - μ_i)), c from least squares on the equation and its conditions.

    Linear problems take one solve, others Gauss-Newton in the weights. Problems in time go slab after slab: u = A(x) +
    (t - t₀) v, v the Gaussians of the slab and A those in space that carry what the slab before ended with, so that
    nothing is lost between slabs; equations of the second order in time get value and rate at t₀ as rows. The width is
    chosen by the residual on points that the fit has not seen.

    Arguments:
        count: N, Gaussians of each field on each slab: a total (the same along all axes in space, 7 in time), or a
            number along each axis.
        slabs: how many equal ones (default 1), their ends as shares of the time, the last one 1, or an object such as
            ``AdaptiveSlabs(1e-6)``.
        maps: x(s) of axes along which Gaussians are not evenly spread (default straight).
        overlaps: half widths over spacings to choose from (default 1.3, 2, 2.5).
        points: points of the equation over unknowns (default 2).
        tolerance: a slab whose residual on fresh points exceeds this, in units of the rows' terms, has failed
            (default 1e-3).
        factor: f, a function of axes by name, zero where u is: u = f times what stands above, so that these conditions
            hold exactly (default none).
        placement: moves, adds or removes Gaussians after the lattice's fit, such as ``Adapted()`` or ``Trained()``; of
            one slab only, since the next begins with the lattice's own (default none).
        minimiser: default ``LinearLeastSquares()`` or ``LineSearchGaussNewton()``, as the problem is.
        seed: of the points (default 0).

    Raises:
        ValueError: counts, slabs or overlaps that are not positive, fewer points than unknowns; in ``fit`` an
            equation of an order above four.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        Centres reach beyond boundaries, and points crowd there: without either the error at a boundary is orders of
        magnitude above that inside. 2 (m + N) N² operations a step; equal slabs of a linear equation whose coefficients
        do not change in time share one factorisation.

    A front that slabs and maps do not resolve may pass the tolerance and err more than it says: a residual is not an
    error.

    Good values: 1 000 to 3 000; overlaps 1.3 for hundreds along an axis, 2 and more for few; 6 to 8 in time and slabs
        so short that they suffice.

    Source: Kang, Oh, Hong & Park, PIG, ICLR 2025 (arXiv 2412.05994), for the basis; least squares in place of its Adam.
    """

    def __init__(
        self,
        count: int | Mapping[str, int] = 1000,
        *,
        slabs: int | Sequence[float] | AbstractSlabs = 1,
        maps: Mapping[str, AxisMap] | None = None,
        overlaps: Sequence[float] = (1.3, 2.0, 2.5),
        points: float = 2.0,
        tolerance: float = 1e-3,
        factor: Factor | None = None,
        placement: AbstractPlacement | None = None,
        minimiser: AbstractMinimiser | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.count: int | dict[str, int]
        if isinstance(count, Mapping):
            self.count = {axis: positive_int(n, f"count of {axis!r}") for axis, n in count.items()}
        else:
            self.count = positive_int(count, "count")
        if not overlaps or any(not (o > 0 and math.isfinite(o)) for o in overlaps):
            raise ValueError(f"overlaps, half widths over spacings, must be positive and finite, got {tuple(overlaps)}")
        if not points >= 1:
            raise ValueError(
                f"points must be at least 1 for each unknown, got {points}: fewer leave weights undetermined"
            )
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        self.slabs = _slabs(slabs)
        self.maps = dict(maps or {})
        self.overlaps, self.points, self.tolerance = tuple(overlaps), points, tolerance
        self.factor, self.placement = factor, placement
        if placement is not None and self.slabs.first() < 1.0:
            raise ValueError(
                f"{type(placement).__name__} moves Gaussians of one slab, and several are asked for: leave slabs or "
                "placement out"
            )
        self.minimiser, self.seed = minimiser, seed
        self._problem: Problem | None = None
        self._pieces: list[Slab] = []
        self.report: FitReport | None = None

    @property
    def problem(self) -> Problem:
        if self._problem is None:
            raise ValueError("this expert has no problem yet: call solve(problem, expert), or expert.fit(problem)")
        return self._problem

    def fit(self, problem: Problem, progress: Progress | None = None) -> FitReport:
        self._check(problem)
        self._problem, self._pieces = problem, []
        minimiser = self.minimiser or _minimiser(problem)
        history: dict[str, list[float]] = {"time": [], "residual": [], "overlap": [], "steps": []}
        overlaps, start, end = self.overlaps, 0.0, self.slabs.first() if problem.box.has_time else 1.0
        longer = math.inf  # residual of a longer slab from the same start
        states: dict[float, State] = {}  # what the next slab sets out from, by overlap
        while start < 1.0:
            tried = [self._tried(problem, (start, end), overlap, states, minimiser) for overlap in overlaps]
            best = min(tried, key=lambda t: t.residual if math.isfinite(t.residual) else math.inf)
            ended, residual = best.ended, best.residual
            failed = ended.status is not SolveStatus.CONVERGED
            judged = math.inf if failed or not math.isfinite(residual) else residual
            following = self.slabs.following(start, end, judged, longer)
            if following < end:
                end, longer = following, judged
                continue
            longer = math.inf
            overlaps = (best.overlap,)
            self._pieces.append(best.slab)
            time = best.slab.box.bounds("t")[1] if problem.box.has_time else 0.0
            steps = len(ended.history["cost"]) - 1.0
            row = {"time": time, "residual": residual, "overlap": best.overlap, "steps": steps}
            for name, value in row.items():
                history[name].append(value)
            if progress is not None:
                progress(end, residual)
            status = ended.status
            if not failed and not residual <= self.tolerance:
                status = SolveStatus.UNRESOLVED if math.isfinite(residual) else SolveStatus.NON_FINITE
            if status is not SolveStatus.CONVERGED:
                part = f"slab {len(self._pieces)}, which ends at t = {time:.6g}"
                detail = f"residual {residual:.2g} on fresh points {ended.detail}".strip()
                where = part if problem.box.has_time else "the solve"
                remedy = "; ".join(["take more Gaussians or shorter slabs", *contradictions(problem)])
                self.report = FitReport(status, residual, history, f"{where}: {detail}; {remedy}")
                return self.report
            if end < 1.0:
                states = {best.overlap: handed_on(best.slab, states[best.overlap], best.layout)}
            start, end = end, following
        self.report = FitReport(SolveStatus.CONVERGED, max(history["residual"]), history)
        return self.report

    def at(self, coordinates: Mapping[str, Tensor], term: str = "") -> Tensor:
        """A derivative of all fields at points, (fields, m); NaN where no slab was solved.

        Arguments:
            coordinates: by axis, (m,).
            term: such as "xx" (default the value).
        """
        points = torch.stack([coordinates[a].to(torch.float64) for a in self.problem.box.axes], dim=1)
        out = points.new_full((len(self.problem.field_names), len(points)), math.nan)
        known = self.problem.batch_parameters(device=points.device)
        left = torch.ones(len(points), dtype=torch.bool, device=points.device)
        for piece in self._pieces:
            here = left & piece.box.contains(coordinates)
            out[:, here] = piece.values(points[here], known, term)
            left &= ~here
        return out

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        labels: dict[str, list[Tensor]] = {}
        for piece in self._pieces:
            part = self.problem if len(self._pieces) == 1 else replace(self.problem, domain=piece.box)
            drawn = MappedSampler(self._layout(part, 2.0)).sample(piece.box, _FRESH, generator)
            points = {axis: value.squeeze(0) for axis, value in drawn.items()}
            rows = equation_rows(part, points, torch.full((_FRESH,), _FRESH**-0.5, dtype=torch.float64))
            check = GaussianResidual(part, piece.cloud, piece.lifting, [rows])
            for label, r in check.by_label(check.start(piece.weights)).items():
                labels.setdefault(label, []).append(r)
        status = torch.full((1, len(self._pieces)), int(SolveStatus.CONVERGED))
        return {label: torch.cat(parts).unsqueeze(0) for label, parts in labels.items()}, status

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        problem, report = self.problem, self.report
        for name, value in problem.batch_parameters(parameters).items():
            if value.shape[0] != 1 or float(value[0]) != problem.parameters[name]:
                raise ValueError(f"parameter {name!r} differs from the one fitted: fit an expert for each problem")
        assert report is not None
        coordinates = {axis: value.flatten() for axis, value in grid.coordinates().items()}
        values = self.at(coordinates).reshape(1, len(problem.field_names), *grid.shape)
        status = torch.tensor([[int(report.status)]])
        if throw:
            raise_unless_converged(status, report.detail)
        stats = {name: torch.tensor([numbers], dtype=torch.float64) for name, numbers in report.history.items()}
        stats["worst_residual"] = torch.tensor([[report.residual]], dtype=torch.float64)
        record = provenance(
            problem,
            self,
            count=self.count,
            slabs=len(self._pieces),
            points=self.points,
            seed=self.seed,
            detail=report.detail,
        )
        field = Field(values, grid, problem.field_names)
        return Solution(field, status, stats, problem.batch_parameters(), provenance=record)

    def _check(self, problem: Problem) -> None:
        order = max(len(term) for _, term in problem.trace.terms)
        if order > _CLOSED_FORMS:
            raise ValueError(
                f"the equation is of order {order}, closed derivatives of Gaussians go to order {_CLOSED_FORMS}: write "
                "it as a system of lower order"
            )
        axes = problem.box.axes
        if self.slabs.first() < 1.0 and not problem.box.has_time:
            raise ValueError(f"slabs need a time axis, the domain has {', '.join(axes)}")
        counted = self.count if isinstance(self.count, dict) else {}
        for axis in (*counted, *self.maps):
            if axis not in axes:
                raise ValueError(f"counts and maps name axis {axis!r}, the domain has {', '.join(axes)}")
        if counted and len(counted) < len(axes):
            lacking = ", ".join(a for a in axes if a not in counted)
            raise ValueError(f"counts are given for {', '.join(counted)}, not for {lacking}: give all or a total")

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def _layout(self, problem: Problem, overlap: float) -> Layout:
        box = problem.box
        if isinstance(self.count, dict):
            counts = self.count
        else:
            in_time = {"t": _IN_TIME} if box.has_time else {}
            side = (self.count / math.prod(in_time.values())) ** (1.0 / len(box.space_axes))
            counts = {**in_time, **{axis: max(2, round(side)) for axis in box.space_axes}}
        periodic = set(box.axes)
        for name in problem.field_names:
            periodic &= set(problem.resolved.periodic.get(name, ()))
        overlaps = {axis: _TIME_OVERLAP if axis == "t" else overlap for axis in box.axes}
        return Layout(box, counts, overlaps, self.maps, tuple(a for a in box.axes if a in periodic))

    def _tried(
        self,
        problem: Problem,
        shares: tuple[float, float],
        overlap: float,
        states: dict[float, State],
        minimiser: AbstractMinimiser,
    ) -> _Tried:
        part = _slab_of(problem, *shares)
        layout = self._layout(part, overlap)
        lifting: AbstractLifting = NoLifting(part.field_names)
        if part.box.has_time:
            if overlap not in states:
                states[overlap] = State.initial(part, layout.along(part.box.space_axes), self._generator(), self.factor)
            state = states[overlap]
            if state.orders == 1 and not _open(part, layout):
                lifting = HandedOver(state)
            elif shares[0] > 0.0:
                others = [c for c in part.conditions if not isinstance(c, InitialCondition)]
                part = replace(part, conditions=[*state.conditions(), *others])
        if self.factor is not None:
            lifting = Factored(lifting, self.factor, imposed_by(self.factor, part))
        generator = self._generator()  # the same points in every slab: equal slabs, equal rows
        cloud, names = layout.cloud(), part.field_names
        size = _size_of_terms(part, cloud)
        ratio = max(1.0, self.points * len(names) / part.trace.n_equations)
        face = max(64, math.ceil(2.0 * self.points * cloud.size / min(layout.counts.values())))
        if self.placement is not None:
            draw = SampledRows(part, max(1.0, self.points), face, size, lifting=lifting)
            placed = self.placement.place(GaussianFit(part, draw, minimiser, lifting), cloud, generator)
            slab = Slab(placed.cloud, lifting, names, placed.weights)
            return _Tried(slab, layout, overlap, placed.minimised, placed.residual / size)
        rows = _rows(part, layout, lifting, layout.points(ratio, generator), face, size, generator)
        residual = GaussianResidual(part, cloud, lifting, rows)
        ended = minimiser.minimise(residual, residual.start(cloud.centres.new_zeros(len(names), cloud.size)))
        weights = residual.split(ended.theta)[0]
        drawn = MappedSampler(layout).sample(part.box, _FRESH, generator)
        points = {axis: value.squeeze(0) for axis, value in drawn.items()}
        rows = _rows(part, layout, lifting, points, _FRESH // 4, size, generator)
        fresh = GaussianResidual(part, cloud, lifting, rows)
        left = float(torch.linalg.vector_norm(fresh.residual(fresh.start(weights)))) / size
        return _Tried(Slab(cloud, lifting, names, weights), layout, overlap, ended, left)


@dataclass(frozen=True, eq=False)
class _Tried:
    """A slab that was solved, and how."""

    slab: Slab
    layout: Layout
    overlap: float
    ended: Minimised
    residual: float


def _open(problem: Problem, layout: Layout) -> bool:
    """Whether some periodic axis is not closed by the Gaussians, so that rows must close it."""
    return any(axis not in layout.periodic for axes in problem.resolved.periodic.values() for axis in axes)


def _slabs(slabs: int | Sequence[float] | AbstractSlabs) -> AbstractSlabs:
    if isinstance(slabs, AbstractSlabs):
        return slabs
    return GivenSlabs.equal(slabs) if isinstance(slabs, int) else GivenSlabs(tuple(slabs))


def _minimiser(problem: Problem) -> AbstractMinimiser:
    if problem.trace.linear:
        return LinearLeastSquares(factorise=KeptQR())
    return LineSearchGaussNewton(ftol=0.1, max_steps=30, chords=20)


def _slab_of(problem: Problem, start: float, end: float) -> Problem:
    """The problem on a share of its time."""
    if (start, end) == (0.0, 1.0):
        return problem
    box = problem.box
    low, extent = box.bounds("t")[0], box.extent("t")
    lower = tuple(low + start * extent if a == "t" else v for a, v in zip(box.axes, box.lower, strict=True))
    upper = tuple(low + end * extent if a == "t" else v for a, v in zip(box.axes, box.upper, strict=True))
    return replace(problem, domain=Box(box.axes, lower, upper))


def _size_of_terms(problem: Problem, cloud: GaussianCloud) -> float:
    """Σ_α |∂F/∂(∂^α u)| σ^-α: what an error of one in u, as wide as a Gaussian, makes of the equation."""
    widths = cloud.covariance.widths().median(dim=0).values.tolist()
    scale = dict(zip(problem.box.axes, widths, strict=True))
    points = torch.stack([cloud.centres[:, j].clamp(*problem.box.bounds(a)) for j, a in enumerate(scale)], dim=1)
    at = {axis: points[:, j] for j, axis in enumerate(scale)}
    rows = equation_rows(problem, at, torch.ones(len(points), dtype=points.dtype))
    ones = {term: torch.ones(len(points), dtype=points.dtype) for term in rows.terms}
    _, slopes, _ = rows.linearise(ones, problem.batch_parameters())
    sizes = [
        float(slope.abs().mean()) / math.prod(scale[axis] for axis in term)
        for row in slopes
        for (_, term), slope in row.items()
    ]
    total = sum(sizes)
    return total if math.isfinite(total) and total > 0 else 1.0


def _rows(
    problem: Problem,
    layout: Layout,
    lifting: AbstractLifting,
    inside: Mapping[str, Tensor],
    face: int,
    weight: float,
    generator: torch.Generator,
) -> list[ProblemRows]:
    count = len(next(iter(inside.values())))
    omega = torch.full((count,), count**-0.5, dtype=torch.float64)
    conditions = condition_rows(problem, lifting, face, weight, MappedSampler(layout), generator, skip=layout.periodic)
    return [equation_rows(problem, inside, omega), *conditions]
