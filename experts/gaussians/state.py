"""What a slab sets out from: the fields at one time, and their rates, by Gaussians in space."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

import torch
from torch import Tensor

from pdesolve.condition import InitialCondition, Value, value_at
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.factored import Factor
from pdesolve.experts.gaussians.lattice import places, product_tables
from pdesolve.experts.gaussians.lattice_jacobian import LatticeJacobian, independent
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.sums import sums
from pdesolve.problem import Problem
from pdesolve.residual_minimisation.conjugate_gradients import conjugate_gradients
from pdesolve.residual_minimisation.damped_qr import require_damped_qr

_POINTS = 1.7  # over Gaussians, along each axis
_LEAST = 1e-10  # as small as leaves no weights that round-off spoils: values at the start are exact
_TOLERANCE = 1e-12
_ITERATIONS = 500


class SpaceBasis(Protocol):
    """Functions ψ of the space axes."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Of space."""

    @property
    def size(self) -> int:
        """N."""

    def sums(self, points: Tensor, weights: Tensor, terms: Sequence[str]) -> Mapping[str, Tensor]:
        """Σ_j a_j ∂^α ψ_j by name, (fields, m), at points (m, d), of weights (fields, N)."""


@final
class One:
    """ψ = 1, all that there is where time is the only axis."""

    axes: tuple[str, ...] = ()
    size = 1

    def sums(self, points: Tensor, weights: Tensor, terms: Sequence[str]) -> dict[str, Tensor]:
        """See ``SpaceBasis.sums``."""
        return {term: (0.0 if term else 1.0) * weights.expand(-1, len(points)) for term in terms}


@final
@dataclass(frozen=True, eq=False)
class InSpace:
    """Gaussians.

    Arguments:
        cloud: in space.
    """

    cloud: GaussianCloud

    @property
    def axes(self) -> tuple[str, ...]:
        """Of space."""
        return self.cloud.axes

    @property
    def size(self) -> int:
        """N."""
        return self.cloud.size

    def sums(self, points: Tensor, weights: Tensor, terms: Sequence[str]) -> dict[str, Tensor]:
        """See ``SpaceBasis.sums``."""
        return sums(self.cloud, points, weights, terms)


def space_basis(layout: Layout, device: torch.device | None = None) -> SpaceBasis:
    """The Gaussians of a layout along its axes in space, or 1 where it has none."""
    axes = layout.domain.space_axes
    return InSpace(layout.along(axes).cloud(device)) if axes else One()


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
        """The initial conditions of a problem, over a factor, fitted by the Gaussians of a layout in space."""
        axes, time = problem.box.space_axes, problem.box.bounds("t")[0]
        points = layout.along(axes).points(_POINTS ** len(axes), generator) if axes else {}
        at = {axis: column.to(device) for axis, column in points.items()}
        like = next(iter(at.values()), torch.zeros(1, dtype=torch.float64, device=device))
        known = {**problem.batch_parameters(device=device), **at, "t": torch.full_like(like, time)}

        def values(given: Value) -> Tensor:
            return torch.as_tensor(value_at(given, known), dtype=like.dtype, device=device).expand(len(like))

        over = torch.ones_like(like) if factor is None else values(factor)
        basis = space_basis(layout, device)
        fit = _fit(basis.cloud, at, over) if isinstance(basis, InSpace) else lambda wanted: wanted / over
        given, weights = problem.resolved.initial, {}
        for name, orders in orders_of(problem).items():
            found = [fit(values(given[name, order])).unsqueeze(0) for order in range(orders)]
            weights[name] = torch.cat([like.new_zeros(0, basis.size), *found])
        return State(time, basis, weights)

    def stacked(self) -> Tensor:
        """a of all fields and orders, (rows, N)."""
        return torch.cat(list(self.weights.values()))

    @staticmethod
    def of(problem: Problem, time: float, basis: SpaceBasis, rows: Tensor) -> State:
        """The state whose ``stacked`` these rows are."""
        orders = orders_of(problem)
        return State(time, basis, dict(zip(orders, rows.split(list(orders.values())), strict=True)))

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
            return self.basis.sums(points, row.unsqueeze(0), ("",))[""].reshape(columns[0].shape).to(columns[0].device)

        names = [inspect.Parameter(axis, inspect.Parameter.KEYWORD_ONLY) for axis in axes]
        value.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
        return value


def orders_of(problem: Problem) -> dict[str, int]:
    """How many orders in time of each field are prescribed at the start."""
    return {name: sum(1 for field, _ in problem.resolved.initial if field == name) for name in problem.field_names}


def _fit(cloud: GaussianCloud, at: Mapping[str, Tensor], over: Tensor) -> Callable[[Tensor], Tensor]:
    """What finds the weights of Gaussians that are products from values over a factor on a lattice of points."""
    lines = cloud.lines()
    assert lines is not None
    found_at = places(at)
    for line, along in zip(lines, found_at, strict=True):
        require_damped_qr(len(along), along.new_empty(line.size))
    orders = (0,) * len(lines)
    tables = product_tables(lines, found_at, [orders])
    bases = independent(tables, _LEAST)
    jacobian = LatticeJacobian([tables.changed(bases)], bases, [{orders: over.reshape(1, 1, -1)}])

    def found(wanted: Tensor) -> Tensor:
        return jacobian.lifted(conjugate_gradients(jacobian, wanted, _TOLERANCE, _ITERATIONS).solution)

    def fit(wanted: Tensor) -> Tensor:
        weights = found(wanted)
        reached = tables.forward(weights.reshape(1, *(line.size for line in lines)), [orders])[orders].squeeze(0)
        return weights + found(wanted - over * reached)

    return fit
