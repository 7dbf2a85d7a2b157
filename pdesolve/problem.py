"""A problem: equation, domain, conditions and parameters, written once for every method."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import (
    Condition,
    FaceCondition,
    InitialCondition,
    Periodic,
    ResolvedConditions,
    Value,
    arguments,
    check_value,
)
from pdesolve.domains.geometry import Box
from pdesolve.namespace import nearest
from pdesolve.pde.abstract import AbstractPDE, FunctionPDE
from pdesolve.pde.trace import Trace, trace


@dataclass(frozen=True)
class Problem:
    """F(u, ∂u, x; parameters) = 0 on a domain, with conditions on its named boundaries.

    Arguments:
        pde: an ``AbstractPDE``, or a plain function ``residual(fields, coordinates, parameters)`` of one field u.
        domain: a box of space and time, such as ``Interval(-1, 1) * TimeInterval(0, 1)``.
        conditions: ``InitialCondition``, ``Dirichlet``, ``Neumann``, ``Robin``, ``Periodic``.
        parameters: values that replace or add to the equation's defaults (those that only conditions read too).
        reference: optional exact solution, called as ``reference(coordinates, parameters)`` with mappings.

    Raises:
        TypeError, ValueError: unknown boundary, field, parameter or axis (the nearest is named); a boundary
            without a condition or with two; a missing initial condition; a value that is not finite.
    """

    pde: AbstractPDE
    domain: Box
    conditions: Sequence[Condition]
    parameters: Mapping[str, float] = field(default_factory=dict)
    reference: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pde, AbstractPDE):
            if not callable(self.pde):
                raise TypeError(f"pde must be an AbstractPDE or a function, got {type(self.pde).__name__}")
            object.__setattr__(self, "pde", FunctionPDE(self.pde))
        if not isinstance(self.domain, Box):
            raise TypeError(f"domain must be a Box such as Interval(0, 1), got {type(self.domain).__name__}")
        merged = {**self.pde.parameters, **self.parameters}
        for name, value in merged.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"parameter {name!r} must be a finite number, got {value!r}")
            if name in self.domain.axes:
                raise ValueError(f"parameter {name!r} has the name of an axis: rename it")
        object.__setattr__(self, "parameters", merged)
        object.__setattr__(self, "conditions", tuple(self.conditions))
        self._check_read()
        _ = self.trace, self.resolved

    def _check_read(self) -> None:
        """Every parameter is the equation's own or read by a condition; a function may read any."""
        if isinstance(self.pde, FunctionPDE):
            return
        read = set(self.pde.parameters)
        for condition in self.conditions:
            for value in (getattr(condition, key, 0.0) for key in ("value", "alpha", "beta")):
                read |= set(arguments(value))
        for name in self.parameters:
            if name not in read:
                raise ValueError(
                    f"parameter {name!r} is read by neither the equation nor a condition: read are "
                    f"{', '.join(sorted(read - set(self.domain.axes)))}{nearest(name, sorted(read))}"
                )

    @cached_property
    def trace(self) -> Trace:
        """The derivatives that the residual reads, the number of equations, and linearity."""
        return trace(self.pde, self.parameters, self.domain.axes)

    @cached_property
    def resolved(self) -> ResolvedConditions:
        """The conditions by field and boundary, checked to be complete and free of contradictions."""
        return _Resolver(self).run()

    @property
    def field_names(self) -> tuple[str, ...]:
        return self.pde.field_names

    def batch_parameters(
        self,
        values: Mapping[str, Tensor | float] | None = None,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> dict[str, Tensor]:
        """All parameters as tensors: the given ones with their batch, the defaults for the rest with length one.

        Arguments:
            values: by name; numbers, or tensors of shape (batch,). Gradients flow to them.

        Returns:
            Name -> tensor (batch,) or (1,): what does not vary stays of length one and broadcasts.

        Raises:
            ValueError: unknown name, wrong shape or different batch lengths. Values that are not finite are left
            to the solve, which reports them for the samples concerned only.
        """
        given = dict(values or {})
        for name in given:
            if name not in self.parameters:
                raise ValueError(
                    f"unknown parameter {name!r}: the problem has {', '.join(self.parameters)}"
                    f"{nearest(name, self.parameters)}"
                )
        tensors = {
            name: _as_parameter(name, given.get(name, default), dtype, device)
            for name, default in self.parameters.items()
        }
        lengths = {name: value.shape[0] for name, value in tensors.items() if value.ndim == 1}
        deeper = [name for name, value in tensors.items() if value.ndim > 1]
        if deeper:
            raise ValueError(
                f"parameter {deeper[0]!r} must be a number or a tensor of shape (batch,), "
                f"got shape {tuple(tensors[deeper[0]].shape)}"
            )
        sizes = {n for n in lengths.values() if n != 1}
        if len(sizes) > 1:
            raise ValueError(f"parameters have different batch lengths: {lengths}")
        return {name: value.reshape(-1) for name, value in tensors.items()}


def _as_parameter(name: str, value: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    if not isinstance(value, (int, float, Tensor)) or isinstance(value, bool):
        raise TypeError(f"parameter {name!r} must be a number or a tensor of shape (batch,), got {value!r}")
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"parameter {name!r} must be real, got {tensor.dtype}")
    if tensor.numel() == 0:
        raise ValueError(f"parameter {name!r} holds an empty batch: its shape is {tuple(tensor.shape)}")
    return tensor.to(dtype=dtype, device=device)


@dataclass(frozen=True)
class Uniform:
    """A parameter drawn uniformly from [lower, upper)."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lower) and math.isfinite(self.upper) and self.lower < self.upper):
            raise ValueError(f"a range needs finite lower < upper, got [{self.lower}, {self.upper}]")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n values, shape (n,), float64."""
        unit = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
        return self.lower + (self.upper - self.lower) * unit

    def scaled(self, value: Tensor) -> Tensor:
        """The value mapped from the range to [-1, 1]: a network's feature."""
        return (value - (self.lower + self.upper) / 2) * (2.0 / (self.upper - self.lower))


@dataclass(frozen=True)
class LogUniform:
    """A positive parameter whose logarithm is uniform on [log lower, log upper)."""

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not (0 < self.lower < self.upper and math.isfinite(self.upper)):
            raise ValueError(f"a logarithmic range needs 0 < lower < upper, got [{self.lower}, {self.upper}]")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n values, shape (n,), float64."""
        unit = torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)
        return self.lower * (self.upper / self.lower) ** unit

    def scaled(self, value: Tensor) -> Tensor:
        """The value's logarithm mapped from that of the range to [-1, 1]: a network's feature."""
        low, high = math.log(self.lower), math.log(self.upper)
        return (torch.log(value) - (low + high) / 2) * (2.0 / (high - low))


@dataclass(frozen=True)
class ProblemFamily:
    """A problem whose parameters vary: what a parametric solver is trained on.

    Arguments:
        problem: the equation, domain and conditions; its own parameters are the defaults of those not varied.
        distributions: parameter name -> ``Uniform`` or ``LogUniform``; conditions read parameters by name, so a
            random initial condition is a condition that reads a random parameter.

    Raises:
        ValueError: a name that is no parameter of the problem, or no distribution at all.
    """

    problem: Problem
    distributions: Mapping[str, Uniform | LogUniform]

    def __post_init__(self) -> None:
        if not self.distributions:
            raise ValueError("a family needs at least one varying parameter")
        for name, distribution in self.distributions.items():
            if not isinstance(distribution, (Uniform, LogUniform)):
                raise TypeError(f"parameter {name!r} needs a Uniform or LogUniform, got {distribution!r}")
            if name not in self.problem.parameters:
                raise ValueError(
                    f"unknown parameter {name!r} in the family: the problem has "
                    f"{', '.join(self.problem.parameters)}{nearest(name, self.problem.parameters)}"
                )

    def sample(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """n members: the varied parameters by name, each of shape (n,), float64."""
        return {name: d.sample(n, generator) for name, d in self.distributions.items()}


_CHECKED_POINTS = 17


class _Resolver:
    """Turns the user's list of conditions into one entry per field and boundary."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.domain = problem.domain
        self.values = {k: torch.tensor(float(v), dtype=torch.float64) for k, v in problem.parameters.items()}
        self.initial: dict[tuple[str, int], Value] = {}
        self.faces: dict[tuple[str, str], FaceCondition] = {}
        self.periodic: dict[str, tuple[str, ...]] = {}

    def run(self) -> ResolvedConditions:
        for condition in self.problem.conditions:
            if isinstance(condition, InitialCondition):
                self._initial(condition)
            elif isinstance(condition, Periodic):
                self._periodic(condition)
            elif hasattr(condition, "alpha"):
                self._boundary(condition)
            else:
                raise TypeError(
                    f"{type(condition).__name__} is no condition: use InitialCondition, Dirichlet, Neumann, "
                    "Robin or Periodic"
                )
        self._complete()
        return ResolvedConditions(self.initial, tuple(self.faces.values()), self.periodic)

    def _known(self, **fixed: float) -> dict[str, Any]:
        """Points spread over the domain, with some axes fixed, and the parameters."""
        unit = torch.linspace(0.0, 1.0, _CHECKED_POINTS, dtype=torch.float64)
        points = {}
        for i, axis in enumerate(self.domain.axes):
            lower, upper = self.domain.bounds(axis)
            spread = lower + (upper - lower) * unit.roll(5 * i)
            points[axis] = torch.full_like(unit, fixed[axis]) if axis in fixed else spread
        return {**points, **self.values}

    def _fields(self, name: str | None) -> tuple[str, ...]:
        names = self.problem.field_names
        if name is None:
            if len(names) > 1:
                raise ValueError(f"a condition must name its field: the fields are {', '.join(names)}")
            return names
        if name not in names:
            raise ValueError(f"unknown field {name!r}: the fields are {', '.join(names)}{nearest(name, names)}")
        return (name,)

    def _initial(self, condition: InitialCondition) -> None:
        if not self.domain.has_time:
            raise ValueError("an initial condition needs a time axis: multiply the domain by a TimeInterval")
        if condition.order < 0 or condition.order >= max(1, self.problem.trace.order("t")):
            raise ValueError(
                f"an initial condition of order {condition.order} for an equation of order "
                f"{self.problem.trace.order('t')} in time: allowed are orders below it"
            )
        check_value(condition.value, self._known(t=self.domain.bounds("t")[0]), "initial condition")
        for name in self._fields(condition.field):
            if (name, condition.order) in self.initial:
                raise ValueError(f"field {name!r} has two initial conditions of order {condition.order}: keep one")
            self.initial[name, condition.order] = condition.value

    def _periodic(self, condition: Periodic) -> None:
        if condition.axis not in self.domain.space_axes:
            raise ValueError(f"Periodic({condition.axis!r}): the space axes are {', '.join(self.domain.space_axes)}")
        for name in self._fields(condition.field):
            if condition.axis in self.periodic.get(name, ()):
                raise ValueError(f"field {name!r} is declared periodic along {condition.axis!r} twice: keep one")
            self.periodic[name] = (*self.periodic.get(name, ()), condition.axis)

    def _boundary(self, condition: Any) -> None:
        kind = type(condition).__name__
        names = condition.on if condition.on is not None else self.domain.boundary_names
        if not isinstance(names, (str, tuple, list)):
            raise TypeError(f"{kind}: on must be a boundary name or a tuple of them, got {names!r}")
        if not names:
            raise ValueError(f"{kind}: on names no boundary; leave it out for all of them")
        for boundary_name in (names,) if isinstance(names, str) else names:
            boundary = self.domain.boundary(boundary_name)
            what = f"{kind} on {boundary_name!r}"
            if boundary.axis == "t":
                raise ValueError(
                    f"{what}: conditions at the start of time are InitialCondition, at its end there are none"
                )
            for value in (condition.alpha, condition.beta, condition.value):
                check_value(value, self._known(**{boundary.axis: boundary.position}), what)
            if condition.alpha == 0 and condition.beta == 0:
                raise ValueError(f"{what}: alpha and beta are both zero, so it says nothing about u")
            for name in self._fields(condition.field):
                if (name, boundary_name) in self.faces:
                    raise ValueError(
                        f"field {name!r} has two conditions on boundary {boundary_name!r}: keep one "
                        "(name the boundaries with on=...)"
                    )
                self.faces[name, boundary_name] = FaceCondition(
                    boundary_name,
                    boundary.axis,
                    boundary.side,
                    boundary.position,
                    name,
                    condition.alpha,
                    condition.beta,
                    condition.value,
                )

    def _complete(self) -> None:
        for name in self.problem.field_names:
            for order in range(self._order(name, "t") if self.domain.has_time else 0):
                if (name, order) not in self.initial:
                    raise ValueError(f"field {name!r} lacks an initial condition of order {order}: add one")
            for boundary_name in self.domain.boundary_names:
                self._complete_face(name, boundary_name)

    def _order(self, name: str, axis: str) -> int:
        """Highest derivative along an axis in which this field appears."""
        return max((term.count(axis) for f, term in self.problem.trace.terms if f == name), default=0)

    def _complete_face(self, name: str, boundary_name: str) -> None:
        axis = self.domain.boundary(boundary_name).axis
        periodic = axis in self.periodic.get(name, ())
        given = (name, boundary_name) in self.faces
        if periodic and given:
            raise ValueError(f"field {name!r} is periodic along {axis} and has a condition on {boundary_name!r}")
        if not periodic and not given and self._order(name, axis) >= 2:
            raise ValueError(
                f"field {name!r} has no condition on boundary {boundary_name!r}, but the equation is of second "
                f"or higher order along {axis}: add Dirichlet, Neumann, Robin or Periodic"
            )
