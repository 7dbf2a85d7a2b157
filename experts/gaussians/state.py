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
from pdesolve.experts.gaussians.lattice import places, product_tables
from pdesolve.experts.gaussians.lattice_jacobian import LatticeJacobian, independent
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.lifted import lifted_terms
from pdesolve.experts.gaussians.sums import sums
from pdesolve.frames.abstract import AbstractLifting, NoLifting
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
    """∂ⁿw_f/∂tⁿ = Σ_j a_fnj ψ_j at a time, w what a lifting of the walls leaves of u.

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
        lifting: AbstractLifting | None = None,
        device: torch.device | None = None,
    ) -> State:
        """The initial conditions of a problem, fitted by the Gaussians of a layout in space.

        Arguments:
            problem: whose.
            layout: its Gaussians along the axes in space.
            generator: shifts the points.
            lifting: of the walls (default none).
            device: where.
        """
        axes, time = problem.box.space_axes, problem.box.bounds("t")[0]
        along = layout.along(axes).points(_POINTS ** len(axes), generator) if axes else {}
        like = next(iter(along.values()), torch.zeros(1, dtype=torch.float64)).to(device)
        at = {"t": torch.full_like(like, time), **{axis: column.to(device) for axis, column in along.items()}}
        given, parameters = problem.resolved.initial, problem.batch_parameters(device=device)
        basis = space_basis(layout, device)
        fit = _fit(basis.cloud, at) if isinstance(basis, InSpace) else lambda wanted, over: wanted / over
        points = torch.stack([at[axis] for axis in axes], dim=1) if axes else like.new_zeros(1, 0)
        weights: dict[str, Tensor] = {}
        for name, orders in orders_of(problem).items():
            rows = like.new_zeros(0, basis.size)
            for order in range(orders):
                value = value_at(given[name, order], {**parameters, **at})
                wanted = torch.as_tensor(value, dtype=like.dtype, device=device).expand(len(like))
                lifted = lifted_terms(lifting or NoLifting((name,)), at, parameters, [(name, "t" * order)])
                lower = basis.sums(points, rows, ("",))[""] if order else rows
                known = {"t" * k: row for k, row in enumerate(lower)}
                row = fit(*lifted.solved((name, "t" * order), wanted, known))
                rows = torch.cat([rows, row.unsqueeze(0)])
            weights[name] = rows
        return State(time, basis, weights)

    def stacked(self) -> Tensor:
        """a of all fields and orders, (rows, N)."""
        return torch.cat(list(self.weights.values()))

    @staticmethod
    def of(problem: Problem, time: float, basis: SpaceBasis, rows: Tensor) -> State:
        """The state whose ``stacked`` these rows are."""
        orders = orders_of(problem)
        return State(time, basis, dict(zip(orders, rows.split(list(orders.values())), strict=True)))

    def conditions(self, lifting: AbstractLifting, parameters: Mapping[str, Tensor]) -> list[InitialCondition]:
        """u and its rates as initial conditions of a problem that begins with them.

        Arguments:
            lifting: of the walls.
            parameters: by name, (1,).
        """
        return [
            InitialCondition(self._function(field, order, lifting, parameters), field=field, order=order)
            for field, rows in self.weights.items()
            for order in range(len(rows))
        ]

    def _function(self, field: str, order: int, lifting: AbstractLifting, parameters: Mapping[str, Tensor]) -> Value:
        """A function of the space axes by name; a number where there are none."""
        axes, rows, term = self.basis.axes, self.weights[field][: order + 1], (field, "t" * order)

        def values(points: Tensor) -> Tensor:
            at = {"t": torch.full_like(rows[0, :1], self.time).expand(len(points))}
            at.update({axis: points[:, j] for j, axis in enumerate(axes)})
            known = self.basis.sums(points, rows, ("",))[""]
            return lifted_terms(lifting, at, parameters, [term]).values(
                {(field, "t" * k): row for k, row in enumerate(known)}
            )[term]

        if not axes:
            return float(values(rows.new_zeros(1, 0)))

        def value(**space: Any) -> Tensor:
            columns = torch.broadcast_tensors(*(torch.as_tensor(space[axis]) for axis in axes))
            points = torch.stack([c.flatten() for c in columns], dim=1).to(rows.device)
            return values(points).reshape(columns[0].shape).to(columns[0].device)

        names = [inspect.Parameter(axis, inspect.Parameter.KEYWORD_ONLY) for axis in axes]
        value.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
        return value


def orders_of(problem: Problem) -> dict[str, int]:
    """How many orders in time of each field are prescribed at the start."""
    return {name: sum(1 for field, _ in problem.resolved.initial if field == name) for name in problem.field_names}


def _fit(cloud: GaussianCloud, at: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """What finds the weights of Gaussians that are products from values on a lattice of points, given over m, and m."""
    lines = cloud.lines()
    assert lines is not None
    found_at = places({axis: at[axis] for axis in cloud.axes})
    for line, along in zip(lines, found_at, strict=True):
        require_damped_qr(len(along), along.new_empty(line.size))
    orders = (0,) * len(lines)
    tables = product_tables(lines, found_at, [orders])
    bases = independent(tables, _LEAST)
    changed = tables.changed(bases)

    def fit(wanted: Tensor, over: Tensor) -> Tensor:
        jacobian = LatticeJacobian([changed], bases, [{orders: over.reshape(1, 1, -1)}])

        def found(left: Tensor) -> Tensor:
            return jacobian.lifted(conjugate_gradients(jacobian, left, _TOLERANCE, _ITERATIONS).solution)

        weights = found(wanted)
        reached = tables.forward(weights.reshape(1, *(line.size for line in lines)), [orders])[orders].squeeze(0)
        return weights + found(wanted - over * reached)

    return fit
