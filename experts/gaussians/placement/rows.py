"""Rows of a problem on points as dense as the Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.domains.sampling import AbstractSampler, SobolSampler
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.placement.fit import Rows
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.problem_rows import condition_rows, equation_rows, sampled_faces


@final
@dataclass(frozen=True, eq=False)
class CloudSampler(AbstractSampler):
    """Some points spread evenly, the others around the Gaussians, each as far as its Gaussian is wide.

    Arguments:
        cloud: the Gaussians.
        near: share of points around them (default 0.5).
        base: spreads the rest (default scrambled Sobol).

    Raises:
        ValueError: a share outside [0, 1].

    Notes:
        A point that falls outside the box is replaced by one of ``base``.
    """

    cloud: GaussianCloud
    near: float = 0.5
    base: AbstractSampler = field(default_factory=SobolSampler)

    def __post_init__(self) -> None:
        if not 0.0 <= self.near <= 1.0:
            raise ValueError(f"the share of points near Gaussians must be in [0, 1], got {self.near}")

    def unit_points(self, axes: tuple[str, ...], n_boxes: int, n: int, generator: torch.Generator) -> Tensor:
        """See ``AbstractSampler.unit_points``."""
        spread = self.base.unit_points(axes, n_boxes, n, generator)
        count, device = round(self.near * n), generator.device
        if not count:
            return spread
        domain, size = self.cloud.domain, self.cloud.size
        columns = [domain.axes.index(a) for a in axes]
        low = torch.tensor([domain.bounds(a)[0] for a in axes], dtype=torch.float64, device=device)
        length = torch.tensor([domain.extent(a) for a in axes], dtype=torch.float64, device=device)
        # Every Gaussian has its turn before any has its second.
        turns = [torch.randperm(size, generator=generator, device=device) for _ in range(-(-n_boxes * count // size))]
        chosen = torch.cat(turns)[: n_boxes * count].reshape(n_boxes, count)
        noise = torch.randn(n_boxes, count, len(axes), generator=generator, dtype=torch.float64, device=device)
        centres, widths = (
            v[:, columns].to(device)[chosen] for v in (self.cloud.centres, self.cloud.covariance.widths())
        )
        unit = (centres + widths * noise - low) / length
        closed = torch.tensor([a in self.cloud.periodic for a in axes], device=device)
        unit = torch.where(closed, unit.remainder(1.0), unit)
        inside = ((unit >= 0.0) & (unit <= 1.0)).all(-1, keepdim=True)
        return torch.cat([torch.where(inside, unit, spread[:, :count]), spread[:, count:]], dim=1)


@final
@dataclass(frozen=True, eq=False)
class SampledRows:
    """Equation and conditions on new points; a ``DrawRows``.

    Arguments:
        problem: whose.
        points: equation rows for each unknown (default 2.5).
        face_points: on each face at least (default 60); more where the unknowns' (d - 1)/d-th power asks for it.
        condition_weight: of the conditions' rows (default 30).
        near: share of points around the Gaussians (default 0.5).
        lifting: says which conditions hold by themselves (default none).

    Raises:
        TypeError, ValueError: fewer points than unknowns, or numbers that are not positive.
    """

    problem: Problem
    points: float = 2.5
    face_points: int = 60
    condition_weight: float = 30.0
    near: float = 0.5
    lifting: AbstractLifting | None = None

    def __post_init__(self) -> None:
        positive_int(self.face_points, "face_points")
        if not finite_float(self.points, "points") >= 1.0:
            raise ValueError(f"points must be at least 1 for each unknown, got {self.points}: fewer leave some free")
        if not finite_float(self.condition_weight, "condition_weight") > 0.0:
            raise ValueError(f"condition_weight must be positive, got {self.condition_weight}")

    def __call__(self, cloud: GaussianCloud, unknowns: int, generator: torch.Generator) -> Rows:
        problem, device, d = self.problem, cloud.centres.device, len(cloud.domain.axes)
        lifting = NoLifting(problem.field_names) if self.lifting is None else self.lifting
        count = math.ceil(self.points * unknowns / problem.trace.n_equations)
        face = max(self.face_points, math.ceil(self.points * unknowns ** ((d - 1) / d)))
        sampler = CloudSampler(cloud, self.near)
        drawn = sampler.sample(problem.box, count, generator, torch.float64, device)
        inside = {axis: value.flatten() for axis, value in drawn.items()}
        omega = torch.full((count,), count**-0.5, dtype=torch.float64, device=device)
        faces = sampled_faces(problem.box, face, sampler, generator, device)
        conditions = condition_rows(problem, lifting, faces, self.condition_weight, cloud.periodic)
        return [equation_rows(problem, inside, omega), *conditions]
