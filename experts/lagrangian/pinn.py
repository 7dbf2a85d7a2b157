"""The Lagrangian expert: transport solved on its characteristics."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, final

import torch
from torch import Tensor, nn

from pdesolve.domains.geometry import Box, finite_float, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.lagrangian.branch import AbstractBranch, LabelFrame, joined
from pdesolve.experts.lagrangian.crossing import Crossing, first_crossing
from pdesolve.experts.lagrangian.fitting import LagrangianReport, Stage, StepWatch, WatchedStage, check_led
from pdesolve.experts.lagrangian.flow import AbstractFlow, Follow
from pdesolve.experts.lagrangian.map import LabelMap
from pdesolve.experts.lagrangian.points import cut, default_counts, label_points, random_points
from pdesolve.experts.lagrangian.setup import transport_setup
from pdesolve.experts.lagrangian.slab import Slab, Start
from pdesolve.experts.lagrangian.start import FittedSlab, HandedOver, Lifted
from pdesolve.experts.lagrangian.zero import ZeroBranch
from pdesolve.experts.provenance import provenance
from pdesolve.field import Field
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, Minimised
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus, raise_unless_converged

_log = logging.getLogger(__name__)
_DRAWN = 1024
_CHUNK = 1 << 15
_ROUND_OFF = 1e-9  # of rows that are one where nothing is met: no step lowers what is rounding
_NEW, _BEGUN = -1, -2  # in place of the code of a slab that no fit has touched, or not ended


@final
class LagrangianPINN(AbstractExpert):
    """u_t + a(x,t,u)·∇u = g Δu + s on its characteristics: X_t = a, U_t = g Δu + s, u(X(ξ,t), t) = U(ξ, t).

    X = ξ + τ (v + N_x) and U = S + τ N_u, two branches without common weights. Initial and boundary values and
    (quasi-)periodicity hold for any weights; u_x = U'/J and u_xx = (U'' - u_x X'')/J² with J = X', and their analogues
    in two dimensions. u at a point is found by solving X(ξ, t) = x for the label to 1e-12.

    Arguments:
        problem: an equation of transport form in one or two space dimensions and time, of one field or of several that
            are carried together; Periodic, Dirichlet, or no condition where an equation without diffusion flows out.
        position: the branch N_x, such as ``TanhBranch()`` or ``SpectralBranch()``.
        state: the branch N_u; ``ZeroBranch()`` where u is carried unchanged.
        flow: what labels follow (default ``Follow()``; ``Still()`` makes an Eulerian network of it).
        slabs: equal parts of the time, each with labels of its own that set out from the end of the one before
            (default 1).
        counts: nodes of the fit by axis and for "t" (default 96 or 24 along one or two axes, 24 or 10 in time).
        labels: a box in space larger than the domain, from which everything comes that enters it; initial condition
            and coefficients are read there, and conditions on the boundary are not imposed (default: the domain).
        tolerance: a slab whose residual between the nodes, in units of what u does, exceeds this is not resolved
            (default 0.1).
        generator: draws the first weights and shifts the nodes (required: nothing here depends on global state).

    Raises:
        ValueError: an equation that is not of transport form (what it lacks is named); an initial condition that does
            not repeat along a periodic axis; a diffusivity below zero; a velocity, diffusivity or source that is not
            finite or not shaped like its points; Neumann or Robin conditions; a value prescribed where everything flows
            out and nothing diffuses; more than two space axes; counts or labels that do not fit.
        TypeError: branches, flow or numbers of another type.

    Notes:
        Crossing characteristics, J <= 0, end the validity: status CROSSING, whose detail says when and where. With
        exact velocities and viscosity curves never cross, but J gets small, and errors grow like 1/J³. For small
        viscosity fit along a path of stages, or the minimiser ends beside a fold. Held ends (Dirichlet) keep labels
        inside: strong inflow stretches them, so take slabs of about layer · extent / a. A residual is no error: the
        status UNRESOLVED finds what is far off, not what is off.

    Good values: ``SpectralBranch`` where the flow is smooth; viscous fronts by stages of diffusivity 16, 8, 4, 2, 1.4,
        1.

    Source: Mojgani, Balajewicz & Hassanzadeh, CMAME 404 (2023) 115810; derivatives in label coordinates as there is
        none in the paper, where u_xx is taken for U_ξξ, which holds for J = 1 alone.
    """

    def __init__(
        self,
        problem: Problem,
        position: AbstractBranch,
        state: AbstractBranch,
        *,
        generator: torch.Generator,
        flow: AbstractFlow | None = None,
        slabs: int = 1,
        counts: Mapping[str, int] | None = None,
        labels: Box | None = None,
        tolerance: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(problem, Problem):
            raise TypeError(f"a Lagrangian expert solves a Problem, got {type(problem).__name__}")
        for name, branch in (("position", position), ("state", state)):
            if not isinstance(branch, AbstractBranch):
                raise TypeError(f"{name} must be a branch such as TanhBranch(), got {type(branch).__name__}")
        if not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
        self._problem = problem
        self.flow = Follow() if flow is None else flow
        if not isinstance(self.flow, AbstractFlow):
            raise TypeError(f"flow must be Follow() or Still(), got {type(flow).__name__}")
        self.setup = transport_setup(problem, labels)
        self.counts = default_counts(problem.box, counts)
        if not finite_float(tolerance, "tolerance") > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        self.tolerance = tolerance
        self.position = position if self.flow.moves else ZeroBranch()
        self.state = state
        box = self.setup.box
        edges = torch.linspace(*box.bounds("t"), positive_int(slabs, "slabs") + 1, dtype=torch.float64).tolist()
        boxes = [cut(box, pair) for pair in pairwise(edges)]
        self.shift: Tensor
        self.stages: Tensor
        self.ended: Tensor
        self.residuals: Tensor
        self.crossed_from: Tensor
        self.register_buffer("shift", torch.rand((), generator=generator, dtype=torch.float64, device=generator.device))
        self.maps = tuple(self._map(b) for b in boxes)
        self.theta = nn.ParameterList([nn.Parameter(m.start(generator)) for m in self.maps])
        self.register_buffer("stages", torch.zeros(len(boxes), dtype=torch.int64, device=generator.device))
        self.register_buffer("ended", torch.full_like(self.stages, _NEW))
        self.register_buffer("residuals", torch.full_like(self.stages, torch.nan, dtype=torch.float64))
        self.register_buffer("crossed_from", torch.full_like(self.shift, torch.inf))
        self.report: LagrangianReport | None = None

    @property
    def problem(self) -> Problem:
        return self._problem

    def fit(
        self,
        minimiser: AbstractMinimiser,
        path: Sequence[Stage] = (Stage(),),
        throw: bool = True,
        watch: StepWatch | None = None,
        after_stage: Callable[[], None] | None = None,
    ) -> LagrangianReport:
        """Minimise the residual of one slab after the other; see ``fit_slabs`` for a bar, a file and Ctrl-C.

        Arguments:
            minimiser: such as ``ProbedLevenbergMarquardt()``.
            path: stages that lead to the equation, the last one the equation itself (default: that alone).
            throw: raise ``SolveError`` where a slab's residual is not finite or nothing lowers it. A step cap is no
                failure, and a slab that is not resolved is told where u is asked for.
            watch: called after each step; true stops the fit, whose report then says so.
            after_stage: called whenever a stage of a slab is done, such as to store the state.

        Raises:
            ValueError: a path that does not end at the equation.
        """
        check_led(minimiser, path)
        self.stages.zero_()
        self.ended.fill_(_BEGUN)
        return self.resume(minimiser, path, throw, watch, after_stage)

    def resume(
        self,
        minimiser: AbstractMinimiser,
        path: Sequence[Stage] = (Stage(),),
        throw: bool = True,
        watch: StepWatch | None = None,
        after_stage: Callable[[], None] | None = None,
    ) -> LagrangianReport:
        """Go on with a fit that was stopped: slabs and stages that are done, as the state says, are kept.

        Arguments and errors as for ``fit``; the path is the same.
        """
        check_led(minimiser, path)
        self.report, ended, stopped = None, [], False
        unfinished = (self.ended != int(SolveStatus.CONVERGED)).nonzero()[:, 0].tolist()
        first = unfinished[0] if unfinished else len(self.theta)
        self.stages[first:][self.ended[first:] >= 0] = 0  # a slab that failed begins anew, and all that set out from it
        self.stages[first:].clamp_(max=len(path) - 1)  # one that was not judged is done again
        self.ended[first:] = _BEGUN
        for index in range(first, len(self.theta)):
            found, stopped = self._fit_slab(index, minimiser, path, watch, after_stage)
            if found is not None:
                ended.append(found)
            if stopped:
                break
            if throw and int(self.ended[index]) in (SolveStatus.NON_FINITE, SolveStatus.DIVERGED):
                status = torch.tensor([int(self.ended[index])])
                raise_unless_converged(status, f"slab {index}: {ended[-1].detail}" if ended else f"slab {index}")
        done = int((self.ended >= 0).sum())
        residuals = tuple(self.residuals[:done].tolist())
        event = self._crossing(done)
        self.crossed_from.fill_(event.time if event.crossed else torch.inf)
        self.report = LagrangianReport(tuple(ended), residuals, event, stopped)
        return self.report

    def _fit_slab(
        self,
        index: int,
        minimiser: AbstractMinimiser,
        path: Sequence[Stage],
        watch: StepWatch | None,
        after_stage: Callable[[], None] | None,
    ) -> tuple[Minimised | None, bool]:
        """What the minimiser returned last, and whether it was told to stop."""
        slab, theta, found = self._slab(index), self.theta[index], None
        points = self._nodes(index, self.counts, float(self.shift))
        for number in range(int(self.stages[index]), len(path)):
            stage, seen = path[number], WatchedStage(watch, index, len(self.theta), number, len(path))
            rows = replace(slab, form=slab.form.scaled(stage.velocity, stage.diffusivity)).rows(points)
            found = minimiser.minimise(rows, theta.detach(), seen)
            with torch.no_grad():
                theta.copy_(found.theta)
            if seen.stops:
                return found, True
            _log.info(
                "slab %d of %d, stage %d of %d: cost %.3g after %d steps, %s",
                index + 1, len(self.theta), number + 1, len(path), min(found.history["cost"]),
                len(found.history["cost"]) - 1, found.status.name,
            )  # fmt: skip
            self.stages[index] = number + 1
            if number + 1 == len(path):
                self.residuals[index] = self._checked_residual(index, slab)
                stuck = found.status is SolveStatus.DIVERGED and float(self.residuals[index]) > _ROUND_OFF
                failed = stuck or found.status is SolveStatus.NON_FINITE
                resolved = float(self.residuals[index]) <= self.tolerance
                status = SolveStatus.CONVERGED if resolved else SolveStatus.UNRESOLVED
                self.ended[index] = int(found.status if failed else status)
            if after_stage is not None:
                after_stage()
        return found, False

    def _checked_residual(self, index: int, slab: Slab) -> float:
        """Root mean square of the rows of a slab on points between those of the fit."""
        finer = {axis: n + 1 for axis, n in self.counts.items()}
        with torch.no_grad():
            rows = slab.rows(self._nodes(index, finer, float(self.shift) + 0.5))
            size = float(rows.residual(self.theta[index]).norm())
            return size if math.isfinite(size) else math.inf

    def crossing(self) -> Crossing:
        """The first crossing of characteristics, or where they come nearest to it."""
        return self._crossing(len(self.theta))

    def _crossing(self, slabs: int) -> Crossing:
        pairs = list(zip(self.maps, self.theta, strict=True))[: max(1, slabs)]
        found = [first_crossing(m, m.split(theta.detach())[0], self.problem.box, self.counts) for m, theta in pairs]
        crossed = [event for event in found if event.crossed]
        return crossed[0] if crossed else min(found, key=lambda event: event.jacobian)

    def at(self, coordinates: Mapping[str, Tensor], throw: bool = True) -> Tensor:
        """u at any points, (point, field); gradients flow to points that require them, and to the weights.

        Arguments:
            coordinates: by axis, (point,), inside the domain.
            throw: raise ``SolveError``; otherwise u is NaN where no label was found and from a crossing on, and what
                it is in slabs whose fit failed.

        Raises:
            ValueError: points outside the domain's box or time, or in a part that no characteristic reaches from
                where values are known; the first is named.
            SolveError: points whose label was not found, at or behind the crossing that the fit reported, or in a slab
                whose fit failed or is not resolved.
        """
        position, times = self._checked(coordinates)
        state, status, detail = self._evaluated(position, times)
        late = times >= self.crossed_from
        status = torch.where(late, int(SolveStatus.CROSSING), status)
        state = torch.where((late | (status == SolveStatus.STEP_CAP)).unsqueeze(-1), torch.nan, state)
        if throw:
            if bool(late.any()):
                detail = f"characteristics cross first at t = {float(self.crossed_from):.6g}"
            fitted = self.ended[self._slab_of(times)]
            raise_unless_converged(torch.where((status == 0) & (fitted > 0), fitted, status), detail)
        return state

    def curve(self, label: Tensor, times: Tensor) -> Tensor:
        """The characteristic X(ξ, t) of a label of the first slab, carried through the slabs, (time, axis).

        Arguments:
            label: ξ at the start, (axis,).
            times: t, (time,), rising, inside the domain.

        Raises:
            ValueError: a label that has no entry for each axis or is not finite, times that do not rise or lie outside.
        """
        times = times.to(self.theta[0])
        axes = self.problem.box.space_axes
        if label.shape != (len(axes),) or not bool(torch.isfinite(label).all()):
            raise ValueError(f"label must have a finite entry for each of {', '.join(axes)}, got {label.tolist()}")
        start, last = self.problem.box.bounds("t")
        inside = bool(((times >= start) & (times <= last)).all())
        if times.ndim != 1 or not inside or bool((times.diff() < 0).any()):
            raise ValueError(f"times must rise from {start:.6g} to {last:.6g} at most, got {times.tolist()}")
        places, here, slabs = [], label.to(times), self._slab_of(times)
        with torch.no_grad():
            for index, (map, theta) in enumerate(zip(self.maps, self.theta, strict=True)):
                end = times.new_tensor([map.frame.start + map.frame.duration])
                wanted = torch.cat([times[slabs == index], end])
                columns = zip(map.frame.axes, here, strict=True)
                points = map.at({"t": wanted, **{axis: value.expand(len(wanted)) for axis, value in columns}})
                found = points.displaced(points.position.values(map.split(theta)[0]))
                places.append(found[:-1])
                here = found[-1]
        return torch.cat(places)

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        self._check_parameters(parameters)
        found: dict[str, list[Tensor]] = {}
        for index, theta in enumerate(self.theta):
            drawn = random_points(self.maps[index].frame, _DRAWN, generator)
            points = {axis: value.to(theta.device) for axis, value in drawn.items()}
            for name, rows in self._slab(index).rows(points).labelled(theta).items():
                found.setdefault(name, []).append(rows)
        status = torch.full((1, len(self.theta)), int(SolveStatus.CONVERGED), device=self.theta[0].device)
        return {name: torch.cat(rows).unsqueeze(0) for name, rows in found.items()}, status

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        self._check_parameters(parameters)
        device = self.theta[0].device
        at = {axis: value.flatten().to(device) for axis, value in grid.coordinates().items()}
        with torch.no_grad():
            position, times = self._checked(at)
            state, point_status, detail = self._evaluated(position, times)
        event = self.crossing()
        status = torch.zeros(1, len(self.theta), dtype=torch.int64, device=device)
        slabs = self._slab_of(times)
        for index in range(len(self.theta)):
            status[0, index] = point_status[slabs == index].amax() if bool((slabs == index).any()) else 0
        status = torch.where((status == 0) & (self.ended > 0), self.ended, status)
        for index in (self.ended > 0).nonzero()[:, 0].tolist():
            detail = detail or f"slab {index}: residual {float(self.residuals[index]):.2g} between the nodes of the fit"
        last = float(times.max())
        if event.crossed and event.time <= last:
            first = int(self._slab_of(times.new_tensor([event.time]))[0])
            status[0, first : int(slabs.max()) + 1] = int(SolveStatus.CROSSING)
            state = torch.where((times >= event.time).unsqueeze(-1), torch.nan, state)
            detail = str(event)
        if throw:
            raise_unless_converged(status, detail)
        values = state.T.reshape(1, len(self.problem.field_names), *grid.shape)
        field = Field(values, grid, self.problem.field_names)
        stats = {
            "jacobian": torch.tensor([[event.jacobian]], dtype=torch.float64),
            "jacobian_time": torch.tensor([[event.time]], dtype=torch.float64),
            "jacobian_place": torch.tensor([event.place], dtype=torch.float64),
        }
        if bool((self.ended >= 0).all()):
            stats["worst_residual"] = self.residuals.max().reshape(1, 1).cpu()
        return Solution(field, status, stats, self.problem.batch_parameters(), provenance=self.record(detail=detail))

    def record(self, **more: object) -> dict[str, Any]:
        """Problem and settings as text, by which a stored state is known again.

        Arguments:
            more: settings beside those of the expert.
        """
        return provenance(
            self.problem, self, position=self.position, state=self.state, flow=self.flow, slabs=len(self.theta),
            counts=dict(self.counts), labels=self.setup.box, tolerance=self.tolerance, **more,
        )  # fmt: skip

    def _map(self, box: Box) -> LabelMap:
        frame = LabelFrame(box, self.setup.periodic)
        drift = self.setup.drift if self.flow.moves else (0.0,) * len(self.setup.drift)
        return LabelMap(frame, self.position, self.state, drift, self.setup.rests, len(self.problem.field_names))

    def _slab(self, index: int) -> Slab:
        """A slab that sets out from the parameters that the ones before have now."""
        setup, map, theta = self.setup, self.maps[index], self.theta[index].detach()
        time = map.frame.start
        start: Start = setup.initial if not index else HandedOver(self._fitted(index - 1), time)
        axes = map.frame.axes
        if len(axes) == 1 and any(setup.held[axes[0]]):
            start = Lifted(start, axes[0], map.frame.box.bounds(axes[0]), setup.ends[axes[0]], setup.parameters, time)
        return Slab(
            setup.form, self.problem.box, map, self.flow, start,
            self._vanishing if any(any(ends) for ends in setup.held.values()) else None,
            (theta.new_tensor([map.frame.box.extent(axis) for axis in axes]), theta.new_tensor(setup.spread)),
        )  # fmt: skip

    def _vanishing(self, labels: Mapping[str, Any]) -> Any:
        """B_u: zero at held ends, of the order of one between."""
        box, total = self.setup.box, labels["t"] * 0.0 + 1.0
        for axis, sides in self.setup.held.items():
            for end, is_held in zip(box.bounds(axis), sides, strict=True):
                if is_held:
                    total = total * ((labels[axis] - end) * (1.0 / box.extent(axis)))
        return total

    def _fitted(self, index: int) -> FittedSlab:
        return FittedSlab(self._slab(index), self.theta[index])

    def _nodes(self, index: int, counts: Mapping[str, int], shift: float) -> dict[str, Tensor]:
        frame = self.maps[index].frame
        return label_points(frame, counts, dict.fromkeys(frame.periodic, shift), self.theta[0].device)

    def _slab_of(self, times: Tensor) -> Tensor:
        """The slab of each time; an edge belongs to the one that ends there."""
        edges = times.new_tensor([m.frame.start for m in self.maps[1:]])
        return torch.searchsorted(edges, times)

    def _evaluated(self, position: Tensor, times: Tensor) -> tuple[Tensor, Tensor, str]:
        """u, (point, field), the code of each point, and a sentence about the first that failed."""
        slabs = self._slab_of(times)
        self._check_fitted(slabs)
        chunks: list[tuple[Tensor, Tensor, Tensor]] = []
        detail = ""
        for index in slabs.unique().tolist() or [0]:  # no points have a shape nevertheless
            fitted = self._fitted(index)
            for piece in (slabs == index).nonzero()[:, 0].split(_CHUNK):
                state, labels, converged = fitted(position[piece], times[piece])
                self._check_covered(labels.detach(), converged, position[piece], times[piece])
                finite = torch.isfinite(state).all(1)
                code = torch.where(converged, int(SolveStatus.CONVERGED), int(SolveStatus.STEP_CAP))
                code = torch.where(converged & ~finite, int(SolveStatus.NON_FINITE), code)
                if not detail and bool((code != 0).any()):
                    at = piece[int((code != 0).nonzero()[0, 0])]
                    detail = f"no label for {self._named(position[at], times[at])}: {self.crossing()}"
                chunks.append((piece, state, code))
        order = torch.cat([c[0] for c in chunks]).argsort()
        return torch.cat([c[1] for c in chunks])[order], torch.cat([c[2] for c in chunks])[order], detail

    def _check_fitted(self, slabs: Tensor) -> None:
        begun = (self.ended == _BEGUN).nonzero()[:, 0]
        if len(begun) and bool((slabs >= begun[0]).any()):
            first = int(begun[0])
            raise ValueError(
                f"slab {first} of {len(self.theta)} is not fitted, u is known up to "
                f"t = {self.maps[first].frame.start:.6g}: its fit was stopped; call resume"
            )

    def _check_covered(self, labels: Tensor, converged: Tensor, position: Tensor, times: Tensor) -> None:
        for i, axis in enumerate(self.setup.box.space_axes):
            if axis in self.setup.periodic:
                continue
            low, high = self.setup.box.bounds(axis)
            slack = 1e-9 * (high - low)
            outside = converged & ((labels[:, i] < low - slack) | (labels[:, i] > high + slack))
            if bool(outside.any()):
                at = int(outside.nonzero()[0, 0])
                raise ValueError(
                    f"{self._named(position[at], times[at])} is reached by no characteristic from where u is known "
                    f"(its label would be {axis} = {float(labels[at, i]):.6g}): give a Dirichlet condition where the "
                    "flow enters, or a larger box of labels"
                )

    def _checked(self, coordinates: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        domain, device = self.problem.box, self.theta[0].device
        columns = {}
        for axis in domain.axes:
            if axis not in coordinates:
                raise ValueError(
                    f"coordinates of axis {axis!r} are missing: given are {', '.join(coordinates) or 'none'}"
                )
            given = torch.as_tensor(coordinates[axis])
            if given.is_complex():
                raise TypeError(f"coordinates of axis {axis!r} must be real, got {given.dtype}")
            values = given.to(device=device, dtype=torch.float64)
            if values.ndim != 1:
                raise ValueError(f"coordinates of axis {axis!r} must be 1-D, got shape {tuple(values.shape)}")
            low, high = domain.bounds(axis)
            slack = 1e-12 * (high - low)
            free = axis in self.setup.periodic and bool(torch.isfinite(values).all())
            outside = ~((values >= low - slack) & (values <= high + slack))
            if not free and bool(outside.any()):
                first = float(values[outside][0])
                what = "time" if axis == "t" else "region"
                raise ValueError(f"{axis} = {first:.6g} is outside the {what} [{low:.6g}, {high:.6g}] of the problem")
            columns[axis] = values
        lengths = {len(v) for v in columns.values()}
        if len(lengths) > 1:
            raise ValueError(f"coordinates have different lengths: { {a: len(v) for a, v in columns.items()} }")
        return joined([columns[axis] for axis in domain.space_axes]), columns["t"]

    def _named(self, position: Tensor, time: Tensor) -> str:
        position, time = position.detach(), time.detach()
        places = ", ".join(f"{a} = {float(x):.6g}" for a, x in zip(self.setup.box.space_axes, position, strict=True))
        return f"the point {places}, t = {float(time):.6g}"

    def _check_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        for name, value in self.problem.batch_parameters(parameters).items():
            given = value.detach()
            if given.shape[0] != 1 or float(given[0]) != self.problem.parameters[name]:
                raise ValueError(
                    f"parameter {name!r} differs from the problem's {self.problem.parameters[name]}: a Lagrangian "
                    "expert is fitted to one problem; make one for each"
                )
