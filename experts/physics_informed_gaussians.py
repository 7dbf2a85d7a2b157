"""One PDE solved by Gaussians, without a mesh."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import BOUNDARIES, finite_float, positive_int
from pdesolve.experts.function_expert import AbstractFunctionExpert
from pdesolve.experts.gaussians.kept_slabs import KeptSlabs, Mark
from pdesolve.experts.gaussians.layout import AxisMap, MappedSampler
from pdesolve.experts.gaussians.march import March
from pdesolve.experts.gaussians.placement.abstract import AbstractPlacement
from pdesolve.experts.gaussians.slab import Slab
from pdesolve.experts.gaussians.slab_solver import FRESH, SlabSolver
from pdesolve.experts.gaussians.slabs import AbstractSlabs, slabs_of
from pdesolve.experts.gaussians.spread import Spread, require_closed_forms
from pdesolve.experts.one_off import FitReport, Progress
from pdesolve.experts.provenance import provenance
from pdesolve.experts.resumable import AbstractResumableExpert
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.frames.check import check_imposed
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser
from pdesolve.residual_minimisation.damped_qr import KeptQR
from pdesolve.residual_minimisation.fingerprint import fingerprint, written
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.residual_minimisation.problem_rows import equation_rows
from pdesolve.status import SolveStatus

_KNOTS = 1025  # of a map, by which it is known again


@final
class PhysicsInformedGaussians(AbstractFunctionExpert, AbstractResumableExpert):
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
        maps: x(s) of axes along which Gaussians are not evenly spread (default straight); of t for one slab only.
        overlaps: half widths over spacings to choose from, in space (default 1.3, 2, 2.5; along t always 2.5).
        points: points of the equation over unknowns (default 2).
        tolerance: a slab whose residual on fresh points exceeds this has failed (default 1e-3): the root mean square
            over Σ_α |∂F/∂(∂^α u)| σ^-α and over the largest |u| so far.
        attempts: fits at most (default 1): where the residual exceeds the tolerance the next one has 1.4 times as many
            Gaussians along every axis in space; the history says how many there were.
        lifting: makes of the problem a lifting u = g + m w of its walls, w what stands above, so that their conditions
            hold exactly: ``WallLifting`` of all Dirichlet values, ``Factor(lambda x: 1.0 - x * x)`` of zeros, or a
            function that returns a ``FunctionLifting`` (default none).
        placement: moves, adds or removes Gaussians after the lattice's fit, such as ``Adapted()`` or ``Trained()``; of
            one slab only, since the next begins with the lattice's own (default none).
        minimiser: default ``LinearLeastSquares()`` or ``LineSearchGaussNewton()``, as the problem is;
            ``KrylovGaussNewton()`` for many Gaussians in space and time.
        seed: of the points (default 0).

    Raises:
        TypeError, ValueError: counts, slabs or overlaps that are not positive, fewer points than unknowns; in ``fit``
            an equation of an order above four, maps that do not end where their axis does, a lifting that does
            not meet what it says it imposes, or imposes initial values.
        MemoryError: a Jacobian that does not fit, said before it is allocated.

    Notes:
        Centres reach beyond boundaries, and points crowd there: without either the error at a boundary is orders of
        magnitude above that inside. 2 (m + N) N² operations a step; equal slabs of a linear equation whose coefficients
        do not change in time share one factorisation. It has no parameters of its own; ``expert.to("cuda")`` before
        ``fit`` says where the work is done. A front that slabs and maps do not resolve may pass the tolerance and err
        more than it says: a residual is not an error.

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
        attempts: int = 1,
        lifting: Callable[[Problem], AbstractLifting] | None = None,
        placement: AbstractPlacement | None = None,
        minimiser: AbstractMinimiser | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.spread = Spread(count, maps or {})
        self.overlaps = tuple(finite_float(overlap, "an overlap") for overlap in overlaps)
        if not self.overlaps or min(self.overlaps) <= 0.0:
            raise ValueError(f"overlaps, half widths over spacings, must be positive, got {self.overlaps}")
        self.points, self.tolerance = finite_float(points, "points"), finite_float(tolerance, "tolerance")
        if self.points < 1.0:
            raise ValueError(
                f"points must be at least 1 for each unknown, got {points}: fewer leave weights undetermined"
            )
        if self.tolerance <= 0.0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        for given, kind in ((placement, AbstractPlacement), (minimiser, AbstractMinimiser)):
            if given is not None and not isinstance(given, kind):
                raise TypeError(f"an {kind.__name__} is expected, got {type(given).__name__}")
        self.attempts = positive_int(attempts, "attempts")
        if lifting is not None and not callable(lifting):
            raise TypeError(
                "lifting must be a function that makes a lifting of a problem, such as WallLifting, got "
                f"{type(lifting).__name__}"
            )
        self.slabs, self.lifting, self.placement = slabs_of(slabs), lifting, placement
        if placement is not None and not self.slabs.single:
            raise ValueError(
                f"{type(placement).__name__} moves Gaussians of one slab, and several are asked for: leave slabs or "
                "placement out"
            )
        if "t" in self.spread.maps and not self.slabs.single:
            raise ValueError("a map along t is of one slab, and several are asked for: give their ends as shares")
        self.minimiser, self.seed = minimiser, seed
        self.kept = KeptSlabs()
        self._restored: tuple[Mark, list[Slab]] | None = None

    @property
    def device(self) -> torch.device:
        """Where fits are made: the CPU, or where ``to`` has put the expert."""
        return self.kept.numbers.device

    def fit(
        self, problem: Problem, progress: Progress | None = None, after_piece: Callable[[], None] | None = None
    ) -> FitReport:
        self._check(problem)
        self._problem = problem
        self.kept.clear(0)
        return self.resume(problem, progress, after_piece)

    def resume(
        self, problem: Problem, progress: Progress | None = None, after_piece: Callable[[], None] | None = None
    ) -> FitReport:
        if self._problem is None:
            return self.fit(problem, progress, after_piece)
        if self._problem is not problem:
            raise ValueError("resume goes on with the problem that was begun: call fit for another one")
        self.report = None
        report = self._march(problem).run(progress, after_piece)
        while report.status is SolveStatus.UNRESOLVED and int(self.kept.attempt) + 1 < self.attempts:
            self.kept.clear(int(self.kept.attempt) + 1)
            report = self._march(problem).run(progress, after_piece)
        self.report = report
        return report

    def _march(self, problem: Problem) -> March:
        """The running attempt."""
        minimiser, spread = self.minimiser or _minimiser(problem), self.spread
        walls = self._walls(problem)
        solver = SlabSolver(problem, minimiser, self.points, walls, self.placement, self.seed, self.device)
        for _ in range(int(self.kept.attempt)):
            spread = spread.refined(problem.box)
        return March(solver, spread, self.slabs, self.overlaps, self.tolerance, self.kept)

    @property
    def _pieces(self) -> Sequence[Slab]:
        """The kept slabs, those of an interrupted fit too."""
        mark = self.kept.mark()
        if self._restored is None or not self._restored[0].same(mark):
            self._restored = (mark, self._march(self.problem).restored())
        return self._restored[1]

    def record(self, problem: Problem) -> dict[str, Any]:
        self._check(problem)
        counts, knots = self.spread.counts(problem.box), torch.linspace(0.0, 1.0, _KNOTS, dtype=torch.float64)
        settings = {**self._settings(problem), "count": {axis: counts[axis] for axis in problem.box.axes}}
        del settings["ends"], settings["lifting"]
        maps = {axis: written(map(knots)) for axis, map in sorted(self.spread.maps.items())}
        rows = fingerprint(problem, self._walls(problem))
        return {**provenance(problem, self, **settings), "maps": maps, "rows": rows}

    def make_room(self, problem: Problem, shapes: Mapping[str, Sequence[int]]) -> None:
        self._check(problem)
        self._problem, self.report = problem, None
        self.kept.make_room({name.removeprefix("kept."): shape for name, shape in shapes.items()})

    def at(self, coordinates: Mapping[str, Tensor], term: str = "") -> Tensor:
        """A derivative of all fields at points, (fields, m); NaN outside the domain and where no slab was solved.

        Arguments:
            coordinates: by axis, (m,); where rounding to their type puts one beyond an end, it is at the end.
            term: such as "xx" (default the value).

        Raises:
            ValueError: coordinates of an axis that are missing; no fit yet.
        """
        box = self.problem.box
        lacking = [axis for axis in box.axes if axis not in coordinates]
        if lacking:
            raise ValueError(f"coordinates of {', '.join(lacking)} are missing: give all of {', '.join(box.axes)}")
        columns = {axis: _rounded(coordinates[axis], *box.bounds(axis)).to(self.device) for axis in box.axes}
        points = torch.stack(list(columns.values()), dim=1)
        out = points.new_full((len(self.problem.field_names), len(points)), math.nan)
        known = self.problem.batch_parameters(device=points.device)
        left = torch.ones(len(points), dtype=torch.bool, device=points.device)
        for piece in self._pieces:
            here = left & piece.box.contains(columns)
            if bool(here.any()):
                out[:, here] = piece.values(points[here], known, term)
                left &= ~here
        return out.to(coordinates[box.axes[0]].device)

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        report = self.reported(parameters)
        rows = []
        for piece in self._pieces:
            part = self.problem if piece.box == self.problem.box else replace(self.problem, domain=piece.box)
            drawn = MappedSampler(piece.layout).sample(piece.box, FRESH, generator, device=self.device)
            points = {axis: value.squeeze(0) for axis, value in drawn.items()}
            omega = torch.full((FRESH,), FRESH**-0.5, dtype=torch.float64, device=self.device)
            known = part.batch_parameters(device=self.device)
            rows.append(piece.residual([equation_rows(part, points, omega)], known))
        status = torch.full((1, len(self._pieces)), int(SolveStatus.CONVERGED), device=self.device)
        status[:, -1] = int(report.status)  # the fit ends with the first slab that fails
        return {"equation": torch.cat(rows).unsqueeze(0)}, status

    @property
    def settings(self) -> Mapping[str, object]:
        """What was asked for, and where slabs ended."""
        return self._settings(self.problem)

    def _settings(self, problem: Problem) -> Mapping[str, object]:
        return {
            "count": self.spread.count,
            "slabs": self.slabs,
            "ends": self.report.history["time"] if self.report else [],
            "maps": {
                axis: map(torch.linspace(0.0, 1.0, 17).double()).tolist() for axis, map in self.spread.maps.items()
            },
            "overlaps": self.overlaps,
            "points": self.points,
            "tolerance": self.tolerance,
            "attempts": self.attempts,
            "lifting": self.lifting,
            "placement": self.placement,
            "minimiser": self.minimiser or _minimiser(problem),
            "seed": self.seed,
        }

    def _check(self, problem: Problem) -> None:
        require_closed_forms(problem)
        box, axes = problem.box, problem.box.axes
        if not self.slabs.single and not box.has_time:
            raise ValueError(f"slabs need a time axis, the domain has {', '.join(axes)}")
        self.spread.check(box)
        self._walls(problem)

    def _walls(self, problem: Problem) -> AbstractLifting:
        if self.lifting is None:
            return NoLifting(problem.field_names)
        made = self.lifting(problem)
        if not isinstance(made, AbstractLifting):
            raise TypeError(f"lifting must return an AbstractLifting, got {type(made).__name__}")
        initial = [field for field, _ in problem.resolved.initial if made.imposes(field, BOUNDARIES["t"][0])]
        if initial:
            raise ValueError(
                f"{type(made).__name__} imposes the initial values of {', '.join(initial)}, which slabs hand on by "
                "themselves: give a lifting of the walls alone, such as WallLifting"
            )
        check_imposed(problem, made, problem.batch_parameters())
        return made


def _minimiser(problem: Problem) -> AbstractMinimiser:
    if problem.trace.linear:
        return LinearLeastSquares(factorise=KeptQR())
    return LineSearchGaussNewton(ftol=0.1, max_steps=30, chords=20)


def _rounded(x: Tensor, low: float, high: float) -> Tensor:
    """Coordinates in float64; beyond an end by no more than the rounding of their own type, at that end."""
    exact = x.to(torch.float64)
    room = (torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0) * max(abs(low), abs(high))
    near = (exact >= low - room) & (exact <= high + room)
    return torch.where(near, exact.clamp(low, high), exact)
