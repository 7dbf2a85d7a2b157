"""Equations in divergence form: what finite elements integrate by parts."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.jet import canonical
from pdesolve.namespace import Namespace
from pdesolve.pde.abstract import AbstractPDE, Fields, Residual, Values
from pdesolve.pde.variable import FieldVariable

Fluxes = tuple[tuple[Any, ...], ...]
"""F_ij: for each field its components along the space axes."""


class AbstractDivergenceForm(AbstractPDE):
    """-∇·F(u, ∇u, x) + S(u, ∇u, u_t, x) = 0, one flux and one source for each field.

    Subclasses give F and S; the strong residual follows by differentiating F along each axis.

    Notes:
        Where a coefficient jumps the strong residual lacks what finite elements see: the flux is continuous, its
        derivative is not.
    """

    axes: str
    """Space axes, such as "xy"."""

    @abc.abstractmethod
    def flux(self, fields: Fields, coordinates: Values, parameters: Values) -> Fluxes:
        """F at points, for each field a tuple with one tensor or number for each axis; reads u, u.x, u.y, ... only."""

    @abc.abstractmethod
    def source(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Any, ...]:
        """S at points, one for each field; reads u, first derivatives and u.t."""

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Residual:
        sources = self.source(fields, coordinates, parameters)
        shape = _shape(fields, self.field_names)
        spread = [_divergence(self, fields, coordinates, parameters, axis) for axis in self.axes]
        totals = [
            torch.as_tensor(_plain(s), dtype=shape.dtype) - sum(along[i] for along in spread)
            for i, s in enumerate(sources)
        ]
        return totals[0] if len(totals) == 1 else tuple(totals)


@final
class DivergenceForm(AbstractDivergenceForm):
    """-∇·F + S = 0 from two functions.

    Arguments:
        flux: called as ``flux(fields, coordinates, parameters)``, gives (F_x, F_y, ...) of one field, or one such tuple
            for each field.
        source: called likewise, gives S of one field, or a tuple (default 0).
        axes: space axes (default "xy").
        fields: names of the unknowns (default ("u",)).
        parameters: defaults by name.

    Raises:
        TypeError: something that cannot be called.
        ValueError: no fields; by ``Problem``, which runs it, all else.
    """

    def __init__(
        self,
        flux: Callable[[Any, Any, Any], Any],
        source: Callable[[Any, Any, Any], Any] = lambda fields, coordinates, parameters: 0.0,
        *,
        axes: str = "xy",
        fields: Sequence[str] = ("u",),
        parameters: Mapping[str, float] | None = None,
    ) -> None:
        if not (callable(flux) and callable(source)):
            raise TypeError("flux and source must be functions of (fields, coordinates, parameters)")
        if isinstance(fields, str) or not fields:
            raise ValueError(f"fields must be a sequence of names such as ('u',), got {fields!r}")
        self._flux, self._source, self.axes = flux, source, axes
        self._fields, self._parameters = tuple(fields), dict(parameters or {})

    @property
    def name(self) -> str:
        return f"{self._flux.__module__}.{getattr(self._flux, '__qualname__', type(self._flux).__name__)}"

    @property
    def field_names(self) -> tuple[str, ...]:
        return self._fields

    @property
    def parameters(self) -> Mapping[str, float]:
        return self._parameters

    def flux(self, fields: Fields, coordinates: Values, parameters: Values) -> Fluxes:
        found = self._flux(fields, coordinates, parameters)
        return (tuple(found),) if len(self._fields) == 1 and not isinstance(found[0], tuple) else tuple(found)

    def source(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Any, ...]:
        found = self._source(fields, coordinates, parameters)
        return found if isinstance(found, tuple) else (found,)


def _shape(fields: Fields, names: Sequence[str]) -> Tensor:
    return fields[names[0]].value


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, FieldVariable) else value


def _divergence(
    form: AbstractDivergenceForm, fields: Fields, coordinates: Values, parameters: Values, axis: str
) -> list[Tensor]:
    """d/da of F_a of each field, by the chain rule in u, ∇u and x."""
    place = form.axes.index(axis)
    like = _shape(fields, form.field_names)
    terms = [(name, term) for name in form.field_names for term in ("", *form.axes)]
    read = [torch.as_tensor(_term(fields[n], t)).contiguous() for n, t in terms]
    slopes = [torch.as_tensor(_term(fields[n], canonical(t + axis))).expand_as(like).contiguous() for n, t in terms]
    at = {a: torch.as_tensor(coordinates[a]).expand_as(like).contiguous() for a in coordinates}
    along = [torch.ones_like(like) if a == axis else torch.zeros_like(like) for a in at]

    def flux(*inputs: Tensor) -> tuple[Tensor, ...]:
        by_field: dict[str, dict[str, Tensor]] = {name: {} for name in form.field_names}
        for (name, term), value in zip(terms, inputs, strict=False):
            by_field[name][term] = value
        space = Namespace(dict(zip(at, inputs[len(terms) :], strict=True)), "coordinate")
        variables = Namespace({n: FieldVariable(n, v) for n, v in by_field.items()}, "field")
        parts = form.flux(variables, space, parameters)
        return tuple(torch.as_tensor(_plain(p[place]), dtype=like.dtype).expand_as(like) for p in parts)

    result: Any = torch.func.jvp(flux, (*read, *at.values()), (*slopes, *along))
    return list(result[1])


def _term(field: FieldVariable, term: str) -> Tensor:
    value: Tensor = getattr(field, term) if term else field.value
    return value


def second_terms(axes: str) -> tuple[str, ...]:
    """xx, xy, yy, ... of space axes, in the package's spelling."""
    return tuple(canonical("".join(pair)) for pair in combinations_with_replacement(axes, 2))
