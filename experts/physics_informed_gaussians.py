"""One PDE solved by Gaussians, without a mesh."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition
from pdesolve.domains.geometry import Box, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.layout import AxisMap, Layout, MappedSampler
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.experts.one_off import AbstractOneOffExpert, FitReport, Progress
from pdesolve.experts.provenance import provenance
from pdesolve.field import Field
from pdesolve.frames.abstract import NoLifting
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, Minimised
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.residual_minimisation.problem_rows import ProblemRows, condition_rows, equation_rows
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus, raise_unless_converged

_CLOSED_FORMS = 4  # highest order of the equation for which derivatives are tested
_FRESH = 2000
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class _Piece:
    """Gaussians with weights (fields, N) on one box."""

    box: Box
    cloud: GaussianCloud
    weights: Tensor

    def values(self, points: Tensor, term: str = "") -> Tensor:
        """∂^α u, (fields, m)."""
        parts = [self.weights @ self.cloud.table(part, (term,))[term].mT for part in points.split(_CHUNK)]
        return torch.cat(parts, dim=1)


@final
class PhysicsInformedGaussians(AbstractOneOffExpert):
    """u_f = Σ_i c_fi exp(-1/2 (x - μ_i)ᵀ Σ_i⁻¹ (x - μ_i)), c from least squares on the equation and its conditions.

    Linear problems take one solve, others Gauss-Newton in the weights; problems in time go slab after slab, each from
    the end of the one before. The width is chosen by the residual on points that the fit has not seen.

    Arguments:
        count: N, Gaussians of each field on each slab.
        slabs: ends of the slabs as shares of the time, the last one 1, or how many equal ones (default 1).
        shares: how the numbers along the axes relate (default all 1): {"t": 0.2} gives time a fifth of the others'.
        maps: x(s) of axes along which Gaussians are not evenly spread (default straight).
        overlaps: half widths over spacings to choose from (default 1.5, 2, 2.5, 3).
        points: points of the equation over unknowns (default 2).
        tolerance: a slab whose residual on fresh points exceeds this, in units of the rows' terms, has failed
            (default 1e-3).
        minimiser: default ``LinearLeastSquares()`` or ``LineSearchGaussNewton()``, as the problem is.
        seed: of the points (default 0).

    Raises:
        ValueError: counts, slabs, shares or overlaps that are not positive, fewer points than unknowns; in ``fit`` an
            equation of an order above four.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        Centres reach beyond the boundary, by as many nodes as a quarter of them allows: Helmholtz (4, 1) with 900
        Gaussians went from 3.8e-5 without to 3.2e-8 with three nodes outside (one run).
        2 (m + N) N² operations a step.

    A front that slabs and maps do not resolve may pass the tolerance and err more than it says (Burgers, 1 150
    Gaussians: 5e-4): a residual is not an error.

    Good values: 1 000 to 3 000; as many in time as make the slab smooth, 8 to 12.

    Source: Kang, Oh, Hong & Park, PIG, ICLR 2025 (arXiv 2412.05994), for the basis; least squares in place of its Adam.
    """

    def __init__(
        self,
        count: int = 1000,
        *,
        slabs: int | Sequence[float] = 1,
        shares: Mapping[str, float] | None = None,
        maps: Mapping[str, AxisMap] | None = None,
        overlaps: Sequence[float] = (1.5, 2.0, 2.5, 3.0),
        points: float = 2.0,
        tolerance: float = 1e-3,
        minimiser: AbstractMinimiser | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.count = positive_int(count, "count")
        ends = [(k + 1) / slabs for k in range(positive_int(slabs, "slabs"))] if isinstance(slabs, int) else list(slabs)
        if not ends or ends[-1] != 1.0 or any(b <= a for a, b in zip([0.0, *ends], ends, strict=False)):
            raise ValueError(f"slabs must be rising shares of the time that end at 1, or a number of them, got {slabs}")
        if not overlaps or any(not (o > 0 and math.isfinite(o)) for o in overlaps):
            raise ValueError(f"overlaps, half widths over spacings, must be positive and finite, got {tuple(overlaps)}")
        if not points >= 1:
            raise ValueError(
                f"points must be at least 1 for each unknown, got {points}: fewer leave weights undetermined"
            )
        if any(not share > 0 for share in (shares or {}).values()):
            raise ValueError(f"shares must be positive, got {dict(shares or {})}")
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        self.slabs, self.shares, self.maps = tuple(ends), dict(shares or {}), dict(maps or {})
        self.overlaps, self.points, self.tolerance = tuple(overlaps), points, tolerance
        self.minimiser, self.seed = minimiser, seed
        self._problem: Problem | None = None
        self._pieces: list[_Piece] = []
        self.report: FitReport | None = None

    @property
    def problem(self) -> Problem:
        if self._problem is None:
            raise ValueError("this expert has no problem yet: call solve(problem, expert), or expert.fit(problem)")
        return self._problem

    def fit(self, problem: Problem, progress: Progress | None = None) -> FitReport:
        self._check(problem)
        self._problem, self._pieces = problem, []
        generator = torch.Generator().manual_seed(self.seed)
        history: dict[str, list[float]] = {"time": [], "residual": [], "overlap": [], "steps": []}
        overlaps, boxes = self.overlaps, self._boxes(problem.box)
        for k, box in enumerate(boxes):
            part = replace(problem, domain=box) if not k else _continued(problem, box, self._pieces[-1])
            tried = [self._solve(part, overlap, generator) for overlap in overlaps]
            piece, ended, residual, overlap = min(tried, key=lambda t: t[2] if math.isfinite(t[2]) else math.inf)
            overlaps = (overlap,)
            self._pieces.append(piece)
            end = box.bounds("t")[1] if box.has_time else 0.0
            row = {"time": end, "residual": residual, "overlap": overlap, "steps": len(ended.history["cost"]) - 1.0}
            for name, value in row.items():
                history[name].append(value)
            if progress is not None:
                progress((k + 1) / len(boxes), residual)
            status = ended.status
            if status is SolveStatus.CONVERGED and not residual <= self.tolerance:
                status = SolveStatus.UNRESOLVED if math.isfinite(residual) else SolveStatus.NON_FINITE
            if status is not SolveStatus.CONVERGED:
                where = f"slab {k + 1} of {len(boxes)}, which ends at t = {end:.6g}" if box.has_time else "the solve"
                detail = f"{where}: residual {residual:.2g} on fresh points {ended.detail}".strip()
                self.report = FitReport(status, residual, history, f"{detail}; take more Gaussians or shorter slabs")
                return self.report
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
        left = torch.ones(len(points), dtype=torch.bool, device=points.device)
        for piece in self._pieces:
            here = left & piece.box.contains(coordinates)
            out[:, here] = piece.values(points[here], term)
            left &= ~here
        return out

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        labels: dict[str, list[Tensor]] = {}
        for piece in self._pieces:
            part = self.problem if len(self._pieces) == 1 else replace(self.problem, domain=piece.box)
            drawn = MappedSampler(self._layout(part)).sample(piece.box, _FRESH, generator)
            points = {axis: value.squeeze(0) for axis, value in drawn.items()}
            rows = equation_rows(part, points, torch.full((_FRESH,), _FRESH**-0.5, dtype=torch.float64))
            check = GaussianResidual(part, piece.cloud, NoLifting(part.field_names), [rows])
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
            problem, self, count=self.count, slabs=self.slabs, points=self.points, seed=self.seed, detail=report.detail
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
        if len(self.slabs) > 1 and not problem.box.has_time:
            raise ValueError(f"{len(self.slabs)} slabs need a time axis, the domain has {', '.join(problem.box.axes)}")
        for axis in (*self.shares, *self.maps):
            if axis not in problem.box.axes:
                raise ValueError(f"shares and maps name axis {axis!r}, the domain has {', '.join(problem.box.axes)}")

    def _boxes(self, domain: Box) -> Sequence[Box]:
        if len(self.slabs) == 1:
            return (domain,)
        start, length = domain.bounds("t")[0], domain.extent("t")
        return domain.split("t", [start + share * length for share in self.slabs[:-1]])

    def _layout(self, problem: Problem) -> Layout:
        axes = problem.box.axes
        shares = {axis: self.shares.get(axis, 1.0) for axis in axes}
        side = (self.count / math.prod(shares.values())) ** (1.0 / len(axes))
        periodic = set(axes)
        for name in problem.field_names:
            periodic &= set(problem.resolved.periodic.get(name, ()))
        counts = {axis: max(2, round(side * share)) for axis, share in shares.items()}
        return Layout(problem.box, counts, self.maps, tuple(a for a in axes if a in periodic), outside=math.inf)

    def _solve(
        self, problem: Problem, overlap: float, generator: torch.Generator
    ) -> tuple[_Piece, Minimised, float, float]:
        layout = self._layout(problem)
        layout = replace(layout, outside=2.0 * overlap)
        cloud, names = layout.cloud(overlap), problem.field_names
        size = _size_of_terms(problem, cloud)
        count = math.ceil(self.points * cloud.size * len(names) / problem.trace.n_equations)
        face = max(64, math.ceil(2.0 * self.points * cloud.size / min(layout.counts.values())))
        rows = _rows(problem, layout, count, face, size, generator)
        residual = GaussianResidual(problem, cloud, NoLifting(names), rows)
        minimiser = self.minimiser or (
            LinearLeastSquares() if problem.trace.linear else LineSearchGaussNewton(ftol=1e-2, max_steps=30)
        )
        ended = minimiser.minimise(residual, residual.start(cloud.centres.new_zeros(len(names), cloud.size)))
        weights = residual.split(ended.theta)[0]
        fresh = GaussianResidual(
            problem, cloud, NoLifting(names), _rows(problem, layout, _FRESH, _FRESH // 4, size, generator)
        )
        left = float(torch.linalg.vector_norm(fresh.residual(fresh.start(weights)))) / size
        return _Piece(problem.box, cloud, weights), ended, left, overlap


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
    problem: Problem, layout: Layout, count: int, face: int, weight: float, generator: torch.Generator
) -> list[ProblemRows]:
    sampler = MappedSampler(layout)
    drawn = sampler.sample(problem.box, count, generator)
    inside = {axis: value.squeeze(0) for axis, value in drawn.items()}
    omega = torch.full((count,), count**-0.5, dtype=torch.float64)
    lifting = NoLifting(problem.field_names)
    conditions = condition_rows(problem, lifting, face, weight, sampler, generator, skip=layout.periodic)
    return [equation_rows(problem, inside, omega), *conditions]


def _continued(problem: Problem, box: Box, before: _Piece) -> Problem:
    """The problem on a later slab, which sets out from the end of the one before."""
    others = [c for c in problem.conditions if not isinstance(c, InitialCondition)]
    start = [
        InitialCondition(_end_of(before, problem.field_names.index(field), order), field=field, order=order)
        for field, order in problem.resolved.initial
    ]
    return replace(problem, domain=box, conditions=[*start, *others])


def _end_of(piece: _Piece, index: int, order: int) -> Callable[..., Tensor]:
    """∂ⁿu/∂tⁿ of a field at the end of a slab, a function of the space axes by name."""
    axes, end = piece.box.axes, piece.box.bounds("t")[1]

    def value(**space: Any) -> Tensor:
        columns = torch.broadcast_tensors(*(torch.as_tensor(v) for v in space.values()))
        at = dict(zip(space, (c.flatten() for c in columns), strict=True))
        at["t"] = torch.full_like(next(iter(at.values())), end)
        points = torch.stack([at[a] for a in axes], dim=1)
        return piece.values(points, "t" * order)[index].reshape(columns[0].shape)

    names = [inspect.Parameter(a, inspect.Parameter.KEYWORD_ONLY) for a in axes if a != "t"]
    value.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    return value
