"""What a slab sets out from: the fields at one time, and their rates, by Gaussians in space."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition, value_at
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.factored import Factor
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.damped_qr import DampedQR
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares

_POINTS = 1.7  # over Gaussians, along each axis


@final
@dataclass(frozen=True, eq=False)
class State:
    """∂ⁿu_f/∂tⁿ = Σ_j a_fnj ψ_j at a time.

    Arguments:
        time: when.
        cloud: ψ, in space.
        weights: a by field, (orders, N); no rows for a field that nothing is known of.
    """

    time: float
    cloud: GaussianCloud
    weights: Mapping[str, Tensor]

    @property
    def orders(self) -> int:
        """The most that is known of a field: 1 its value, 2 its rate too."""
        return max(len(a) for a in self.weights.values())

    @staticmethod
    def initial(problem: Problem, layout: Layout, generator: torch.Generator, factor: Factor | None = None) -> State:
        """The initial conditions of a problem, over a factor, fitted by the Gaussians of a layout in space."""
        cloud, time = layout.cloud(), problem.box.bounds("t")[0]
        points = layout.points(_POINTS ** len(layout.domain.axes), generator)
        columns = torch.stack([points[axis] for axis in layout.domain.axes], dim=1)
        table = cloud.table(columns, ("",))[""]
        if factor is not None:
            table = torch.as_tensor(value_at(factor, points), dtype=table.dtype).expand(len(table)).unsqueeze(1) * table
        factors = DampedQR(table, LinearLeastSquares().damping)
        known = {**problem.batch_parameters(), **points, "t": torch.full_like(columns[:, 0], time)}
        given = problem.resolved.initial
        weights = {}
        for name in problem.field_names:
            rows = []
            for order in range(sum(1 for field, _ in given if field == name)):
                wanted = torch.as_tensor(value_at(given[name, order], known), dtype=table.dtype).expand(len(columns))
                fitted = factors.solve(wanted)
                rows.append(fitted + factors.solve(wanted - table @ fitted))
            weights[name] = torch.stack(rows) if rows else table.new_zeros(0, cloud.size)
        return State(time, cloud, weights)

    def conditions(self) -> list[InitialCondition]:
        """The state as initial conditions of a problem that begins with it."""
        return [
            InitialCondition(self._function(row), field=field, order=order)
            for field, rows in self.weights.items()
            for order, row in enumerate(rows)
        ]

    def _function(self, row: Tensor) -> Callable[..., Tensor]:
        """A function of the space axes by name."""
        axes = self.cloud.domain.axes

        def value(**space: Any) -> Tensor:
            columns = torch.broadcast_tensors(*(torch.as_tensor(space[axis]) for axis in axes))
            points = torch.stack([c.flatten() for c in columns], dim=1)
            return (self.cloud.table(points, ("",))[""] @ row).reshape(columns[0].shape)

        names = [inspect.Parameter(axis, inspect.Parameter.KEYWORD_ONLY) for axis in axes]
        value.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
        return value
