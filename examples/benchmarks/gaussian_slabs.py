"""One-off problems by Gaussians at fixed places, slab after slab in time, each slab one Gauss-Newton solve."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition, value_at
from pdesolve.domains.geometry import Box
from pdesolve.domains.sampling import SobolSampler
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.frames.abstract import NoLifting
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.damped_qr import DampedQR
from pdesolve.residual_minimisation.problem_rows import condition_rows, equation_rows

AxisMap = Callable[[Tensor], Tensor]
"""Rising, from [0, 1] onto the axis: where it is flat, Gaussians and points are dense."""


_CHORDS, _SHARES = 30, (1.0, 0.5, 0.25, 0.1, 0.02)


@dataclass(frozen=True)
class Setting:
    """How a problem is solved.

    Arguments:
        counts: Gaussians along each axis of one slab.
        slabs: ends of the slabs as shares of the time interval, the last one 1; one slab where there is no time.
        overlap: half width over spacing, one for all axes or by axis.
        outside: nodes beyond each end of an axis that is not periodic.
        points: where the equation is asked for, over the number of Gaussians.
        face_points: on each face, at least; ``points`` for each Gaussian of the largest one else.
        condition_weight: of initial and boundary rows.
        maps: by axis (default straight).
        steps: of Gauss-Newton for each slab.
        damping: of its columns.
    """

    counts: Mapping[str, int]
    slabs: Sequence[float] = (1.0,)
    overlap: float | Mapping[str, float] = 2.0
    outside: int = 1
    points: float = 2.5
    face_points: int = 200
    condition_weight: float = 30.0
    maps: Mapping[str, AxisMap] = field(default_factory=dict)
    steps: int = 12
    damping: float = 1e-13

    @property
    def described(self) -> str:
        slabs = f", {len(self.slabs)} slabs" if len(self.slabs) > 1 else ""
        return f"{' x '.join(str(n) for n in self.counts.values())} Gaussians{slabs}, laid out by hand"

    def solve(self, problem: Problem, seed: int) -> Solved:
        """All slabs, one after another."""
        return solve(problem, self, seed)


@dataclass(frozen=True, eq=False)
class Slab:
    """Gaussians on one box."""

    box: Box
    cloud: GaussianCloud
    weights: Tensor

    def values(self, coordinates: Mapping[str, Tensor], term: str = "") -> Tensor:
        """A derivative of all fields at points, (fields, n)."""
        points = torch.stack([coordinates[a] for a in self.box.axes], dim=1)
        parts = [self.weights @ self.cloud.table(part, (term,))[term].mT for part in points.split(2048)]
        return torch.cat(parts, dim=1)


@dataclass(frozen=True, eq=False)
class Solved:
    """All slabs, the mean-square equation residual on fresh points, and the time it took."""

    slabs: Sequence[Slab]
    residual: float
    seconds: float
    steps: int

    def __call__(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """(fields, *points)."""
        flat = {axis: value.flatten() for axis, value in coordinates.items()}
        out = torch.empty(len(self.slabs[0].weights), len(next(iter(flat.values()))), dtype=torch.float64)
        done = torch.zeros(out.shape[1], dtype=torch.bool)
        for slab in self.slabs:
            here = slab.box.contains(flat) & ~done
            out[:, here] = slab.values({a: v[here] for a, v in flat.items()})
            done |= here
        return out.reshape(-1, *next(iter(coordinates.values())).shape)


def lattice(box: Box, setting: Setting, periodic: Sequence[str], shift: Tensor) -> GaussianCloud:
    """Products of nodes along each axis, some beyond every end, moved by a share ``shift`` of the spacing."""
    columns, widths = [], []
    for position, axis in enumerate(box.axes):
        n, (low, high) = setting.counts[axis], box.bounds(axis)
        index = torch.arange(n, dtype=torch.float64) + shift[position]
        closed = axis in periodic
        outside = min(setting.outside, (n - 1) / 4 - 0.2)  # half the extent at most
        step = 1.0 / n if closed else 1.0 / (n - 1 - 2 * outside)
        s = index * step if closed else (index - outside) * step
        straight: AxisMap = lambda s, low=low, high=high: low + (high - low) * s  # noqa: E731
        along = setting.maps.get(axis, straight)
        columns.append(along(s))
        overlap = setting.overlap if isinstance(setting.overlap, float) else setting.overlap[axis]
        widths.append(0.5 * overlap * (along(s + step) - along(s - step)))
    centres, spread = (
        torch.stack([c.flatten() for c in torch.meshgrid(*parts, indexing="ij")], dim=1) for parts in (columns, widths)
    )
    return GaussianCloud(box, centres, Diagonal.of(spread), tuple(periodic))


def solve(problem: Problem, setting: Setting, seed: int) -> Solved:
    """Every slab from the last one's end."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    domain, slabs, total, squares = problem.domain, [], 0, []
    for box in _boxes(domain, setting):
        part = problem if not slabs else _continued(problem, box, slabs[-1])
        part = part if part.domain == box else replace(part, domain=box)
        slab, steps = _solve_slab(part, setting, generator)
        slabs.append(slab)
        total += steps
        squares.append(_fresh_residual(part, slab, generator))
    return Solved(slabs, math.sqrt(sum(squares) / len(squares)), time.perf_counter() - began, total)


def _boxes(domain: Box, setting: Setting) -> Sequence[Box]:
    if len(setting.slabs) == 1:
        return (domain,)
    start, length = domain.bounds("t")[0], domain.extent("t")
    return domain.split("t", [start + share * length for share in setting.slabs[:-1]])


def _continued(problem: Problem, box: Box, before: Slab) -> Problem:
    """The problem on a later slab."""
    start, names = box.bounds("t")[0], problem.field_names

    def end(field_name: str, order: int) -> Callable[..., Tensor]:
        def value(**space: Tensor) -> Tensor:
            shape = torch.broadcast_shapes(*(v.shape for v in space.values()))
            at = {a: v.expand(shape).flatten() for a, v in space.items()}
            at["t"] = torch.full_like(next(iter(at.values())), start)
            return before.values(at, "t" * order)[names.index(field_name)].reshape(shape)

        known: dict[tuple[str, ...], Callable[..., Tensor]] = {
            ("x",): lambda x: value(x=x),
            ("x", "y"): lambda x, y: value(x=x, y=y),
        }
        return known[box.space_axes]

    others = [c for c in problem.conditions if not isinstance(c, InitialCondition)]
    initial = [InitialCondition(end(f, n), field=f, order=n) for f, n in problem.resolved.initial]
    return replace(problem, domain=box, conditions=[*initial, *others])


def _solve_slab(problem: Problem, setting: Setting, generator: torch.Generator) -> tuple[Slab, int]:
    names = problem.field_names
    periodic = problem.resolved.periodic.get(names[0], ())
    shift = 0.5 * torch.rand(len(problem.domain.axes), generator=generator, dtype=torch.float64) - 0.25
    cloud = lattice(problem.domain, setting, periodic, shift)
    rows = _rows(problem, setting, cloud, generator)
    residual = GaussianResidual(problem, cloud, NoLifting(names), rows)
    theta = residual.start(torch.zeros(len(names), cloud.size, dtype=torch.float64))
    if problem.domain.has_time and not problem.trace.linear:
        theta = _constant_start(residual, problem, generator)
    theta, steps = gauss_newton(residual, theta, setting)
    return Slab(problem.domain, cloud, residual.split(theta)[0]), steps


def _rows(problem: Problem, setting: Setting, cloud: GaussianCloud, generator: torch.Generator) -> list[Any]:
    sampler, count = SobolSampler(), int(setting.points * cloud.size)
    unit = sampler.unit_points(problem.domain.axes, 1, count, generator)[0]
    inside = {}
    for i, axis in enumerate(problem.domain.axes):
        low, high = problem.domain.bounds(axis)
        along = setting.maps.get(axis)
        inside[axis] = low + (high - low) * unit[:, i] if along is None else along(unit[:, i])
    omega = torch.full((count,), count**-0.5, dtype=torch.float64)
    conditions = condition_rows(
        problem,
        NoLifting(problem.field_names),
        max(setting.face_points, int(setting.points * cloud.size / min(setting.counts.values()))),
        setting.condition_weight,
        _Mapped(setting.maps, problem.domain),
        generator,
        skip=cloud.periodic,
    )
    return [equation_rows(problem, inside, omega), *conditions]


@dataclass(frozen=True)
class _Mapped(SobolSampler):
    """Sobol points through the maps."""

    maps: Mapping[str, AxisMap] = field(default_factory=dict)
    domain: Box | None = None

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        unit = super().unit_points(axes, n_boxes, n, generator)
        assert self.domain is not None
        columns = []
        for i, axis in enumerate(axes):
            low, high = self.domain.bounds(axis)
            s = unit[..., i]
            columns.append((self.maps[axis](s) - low) / (high - low) if axis in self.maps else s)
        return torch.stack(columns, dim=-1).clamp(0.0, 1.0)


def _constant_start(residual: GaussianResidual, problem: Problem, generator: torch.Generator) -> Tensor:
    """Weights that carry the initial values on unchanged."""
    drawn = SobolSampler().sample(problem.domain, 2 * residual.cloud.size, generator, torch.float64)
    points = {axis: value.flatten() for axis, value in drawn.items()}
    known = {**problem.batch_parameters(), **points}
    columns = torch.stack([points[a] for a in problem.domain.axes], dim=1)
    factors = DampedQR(residual.cloud.table(columns, ("",))[""], 1e-8)
    values = [problem.resolved.initial[name, 0] for name in problem.field_names]
    wanted = [torch.as_tensor(value_at(v, known), dtype=torch.float64).expand(len(columns)) for v in values]
    return residual.start(torch.stack([factors.solve(row) for row in wanted]))


def gauss_newton(residual: GaussianResidual, theta: Tensor, setting: Setting) -> tuple[Tensor, int]:
    """Gauss-Newton steps, halved where they do not lower the cost; the factors of one serve as long as they pay.

    Repeated steps on the same factors are also what makes up for their damping.
    """
    r = residual.residual(theta)
    for step in range(setting.steps):
        start = r.square().sum()
        r, jacobian = residual.linearise(theta)
        factors = DampedQR(jacobian, setting.damping)
        for _ in range(_CHORDS):
            before = r.square().sum()
            theta, r = _lowered(residual, theta, factors.solve(-r), r)
            if r.square().sum() > 0.6 * before:
                break
        if residual.problem.trace.linear or r.square().sum() > 0.5 * start:
            return theta, step + 1
    return theta, setting.steps


def _lowered(residual: GaussianResidual, theta: Tensor, move: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The first share of a move that lowers the cost, or none."""
    for share in _SHARES:
        tried = residual.residual(theta + share * move)
        if tried.square().sum() < r.square().sum():
            return theta + share * move, tried
    return theta, r


def _fresh_residual(problem: Problem, slab: Slab, generator: torch.Generator) -> float:
    """Mean square of the equation on points that no fit has seen."""
    drawn = SobolSampler().sample(problem.domain, 1000, generator, torch.float64)
    points = {axis: value.flatten() for axis, value in drawn.items()}
    rows = [equation_rows(problem, points, torch.full((1000,), 1000**-0.5, dtype=torch.float64))]
    check = GaussianResidual(problem, slab.cloud, NoLifting(problem.field_names), rows)
    return float(check.residual(check.start(slab.weights)).square().sum())
