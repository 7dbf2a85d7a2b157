"""What a slab sets out from: the fields at one time, and their rates, by Gaussians in space."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition, Value, value_at
from pdesolve.experts.gaussians.factored import Factor
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.damped_qr import DampedQR, require_damped_qr
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares

_POINTS = 1.7  # over Gaussians, along each axis


class SpaceBasis(Protocol):
    """Functions ψ of the space axes, such as a ``GaussianCloud``."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Of space."""

    @property
    def size(self) -> int:
        """N."""

    def table(self, points: Tensor, terms: Sequence[str]) -> Mapping[str, Tensor]:
        """∂^α ψ_j by name, (m, N), at points (m, d)."""


@final
class One:
    """ψ = 1, all that there is where time is the only axis."""

    axes: tuple[str, ...] = ()
    size = 1

    def table(self, points: Tensor, terms: Sequence[str]) -> dict[str, Tensor]:
        """See ``SpaceBasis.table``."""
        return {term: points.new_full((len(points), 1), 0.0 if term else 1.0) for term in terms}


@final
@dataclass(frozen=True, eq=False)
class State:
    """∂ⁿu_f/∂tⁿ = Σ_j a_fnj ψ_j at a time.

    Arguments:
        time: when.
        basis: ψ, in space.
        weights: a by field, (orders, N); no rows for a field that nothing is known of.
    """

    time: float
    basis: SpaceBasis
    weights: Mapping[str, Tensor]

    @property
    def orders(self) -> int:
        """The most that is known of a field: 1 its value, 2 its rate too."""
        return max(len(a) for a in self.weights.values())

    @staticmethod
    def initial(
        problem: Problem,
        layout: Layout,
        generator: torch.Generator,
        factor: Factor | None = None,
        device: torch.device | None = None,
    ) -> State:
        """The initial conditions of a problem, over a factor, fitted by the Gaussians of a layout in space.

        Raises:
            MemoryError: Gaussians in space whose matrix does not fit, said before it is allocated.
        """
        axes, time = problem.box.space_axes, problem.box.bounds("t")[0]
        if not axes:
            basis: SpaceBasis = One()
            columns = torch.zeros(1, 0, dtype=torch.float64, device=device)
        else:
            in_space = layout.along(axes)
            basis = in_space.cloud(device)
            points = in_space.points(_POINTS ** len(axes), generator)
            columns = torch.stack([points[axis] for axis in axes], dim=1).to(device)
        require_damped_qr(len(columns), columns.new_empty(basis.size))
        table = basis.table(columns, ("",))[""]
        at = {axis: columns[:, j] for j, axis in enumerate(axes)}
        known = {**problem.batch_parameters(device=device), **at, "t": columns.new_full((len(columns),), time)}

        def values(given: Value) -> Tensor:
            return torch.as_tensor(value_at(given, known), dtype=table.dtype, device=device).expand(len(table))

        if factor is not None:
            table = values(factor).unsqueeze(1) * table
        factors, given, weights = DampedQR(table, LinearLeastSquares().damping), problem.resolved.initial, {}
        for name in problem.field_names:
            rows = [table.new_zeros(0, basis.size)]
            for order in range(sum(1 for field, _ in given if field == name)):
                wanted = values(given[name, order])
                fitted = factors.solve(wanted)
                rows.append((fitted + factors.solve(wanted - table @ fitted)).unsqueeze(0))
            weights[name] = torch.cat(rows)
        return State(time, basis, weights)

    def conditions(self) -> list[InitialCondition]:
        """The state as initial conditions of a problem that begins with it."""
        return [
            InitialCondition(self._function(row), field=field, order=order)
            for field, rows in self.weights.items()
            for order, row in enumerate(rows)
        ]

    def _function(self, row: Tensor) -> Value:
        """A function of the space axes by name; a number where there are none."""
        axes = self.basis.axes
        if not axes:
            return float(row.sum())

        def value(**space: Any) -> Tensor:
            columns = torch.broadcast_tensors(*(torch.as_tensor(space[axis]) for axis in axes))
            points = torch.stack([c.flatten() for c in columns], dim=1).to(row.device)
            return (self.basis.table(points, ("",))[""] @ row).reshape(columns[0].shape).to(columns[0].device)

        names = [inspect.Parameter(axis, inspect.Parameter.KEYWORD_ONLY) for axis in axes]
        value.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
        return value
