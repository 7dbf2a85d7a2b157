"""A problem: equation, domain, conditions and parameters, written once for every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import AbstractCondition, ConditionRegister, ResolvedConditions, arguments
from pdesolve.domains.geometry import Box, is_finite
from pdesolve.domains.mesh_domain import MeshDomain
from pdesolve.namespace import nearest
from pdesolve.pde.abstract import AbstractPDE, FunctionPDE
from pdesolve.pde.trace import Trace, trace
from pdesolve.problem.distribution import AbstractDistribution


@dataclass(frozen=True)
class Problem:
    """F(u, ∂u, x; parameters) = 0 on a domain, with conditions on its named boundaries.

    Arguments:
        pde: an ``AbstractPDE``, or a plain function ``residual(fields, coordinates, parameters)`` of one field u.
        domain: a box of space and time, such as ``Interval(-1, 1) * TimeInterval(0, 1)``; or
            ``MeshDomain(mesh)``, with time ``MeshDomain(mesh, TimeInterval(0, 1))``.
        conditions: ``InitialCondition``, ``Dirichlet``, ``Neumann``, ``Robin``, ``Flux``, ``Periodic``, or any other
            ``AbstractCondition``.
        parameters: values that replace or add to the equation's defaults (those that only conditions read too).
        reference: optional solution to compare with, such as an ``AbstractReference``, called as
            ``reference(coordinates, parameters)`` with mappings; shaped like the points, (field, *points) for several.

    Raises:
        TypeError, ValueError: unknown boundary, field, parameter or axis (the nearest is named); a boundary
            without a condition or with two; a missing initial condition; a value that is not finite.
    """

    pde: AbstractPDE
    domain: Box | MeshDomain
    conditions: Sequence[AbstractCondition]
    parameters: Mapping[str, float] = field(default_factory=dict)
    reference: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pde, AbstractPDE):
            if not callable(self.pde):
                raise TypeError(f"pde must be an AbstractPDE or a function, got {type(self.pde).__name__}")
            object.__setattr__(self, "pde", FunctionPDE(self.pde))
        if not isinstance(self.domain, (Box, MeshDomain)):
            raise TypeError(
                f"domain must be a Box such as Interval(0, 1) or a MeshDomain(mesh), got {type(self.domain).__name__}"
            )
        merged = {**self.pde.parameters, **self.parameters}
        for name, value in merged.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_finite(value):
                raise ValueError(f"parameter {name!r} must be a finite number, got {value!r}")
            if name in self.domain.axes:
                raise ValueError(f"parameter {name!r} has the name of an axis: rename it")
        object.__setattr__(self, "parameters", merged)
        object.__setattr__(self, "conditions", _checked_conditions(self.conditions))
        self._check_read()
        _ = self.trace, self.resolved

    def _check_read(self) -> None:
        """Every parameter is the equation's own or read by a condition; a function may read any."""
        if isinstance(self.pde, FunctionPDE):
            return
        read = set(self.pde.parameters)
        for condition in self.conditions:
            for value in condition.values:
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
        register = ConditionRegister(self.domain, self.field_names, self.trace, self.parameters)
        for condition in self.conditions:
            condition.resolve(register)
        return register.resolved()

    @property
    def box(self) -> Box:
        """The domain, where it is a box.

        Raises:
            TypeError: it is a mesh.
        """
        if not isinstance(self.domain, Box):
            raise TypeError("this method covers boxes, the problem is on a mesh: use FiniteElements, or MeshMixture")
        return self.domain

    @property
    def mesh_domain(self) -> MeshDomain:
        """The domain, where it is a mesh.

        Raises:
            TypeError: it is a box.
        """
        if not isinstance(self.domain, MeshDomain):
            raise TypeError("this method works on meshes, the problem is on a box: give it a MeshDomain(mesh)")
        return self.domain

    @property
    def field_names(self) -> tuple[str, ...]:
        return self.pde.field_names

    @property
    def problem(self) -> Problem:
        """Itself: a problem is a family of one, see ``Family``."""
        return self

    @property
    def distributions(self) -> Mapping[str, AbstractDistribution]:
        """Nothing varies."""
        return {}

    def sample(self, n: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The one case that there is, however many are asked for: every parameter by name, (1,), float64."""
        return {name: torch.tensor([value], dtype=torch.float64) for name, value in self.parameters.items()}

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


def _checked_conditions(conditions: Sequence[AbstractCondition]) -> tuple[AbstractCondition, ...]:
    given = (conditions,) if isinstance(conditions, AbstractCondition) else tuple(conditions)
    for condition in given:
        if not isinstance(condition, AbstractCondition):
            raise TypeError(
                f"{type(condition).__name__} is no condition: use InitialCondition, Dirichlet, Neumann, Robin or "
                "Periodic, or derive your own from AbstractCondition"
            )
    return given


def _as_parameter(name: str, value: Any, dtype: torch.dtype, device: torch.device | None) -> Tensor:
    if not isinstance(value, (int, float, Tensor)) or isinstance(value, bool):
        raise TypeError(f"parameter {name!r} must be a number or a tensor of shape (batch,), got {value!r}")
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"parameter {name!r} must be real, got {tensor.dtype}")
    if tensor.numel() == 0:
        raise ValueError(f"parameter {name!r} holds an empty batch: its shape is {tuple(tensor.shape)}")
    return tensor.to(dtype=dtype, device=device)
