"""Finds, by running it once, which derivatives a residual needs, and evaluates it on tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.jet import AXES
from pdesolve.namespace import Namespace
from pdesolve.pde.abstract import AbstractPDE, Residual
from pdesolve.pde.variable import FieldVariable, MissingDerivative

Term = tuple[str, str]
"""(field, derivative): ("u", "xx") is u_xx, ("u", "") is u."""

_PROBES = 7
_MAX_TERMS = 64


@dataclass(frozen=True)
class Trace:
    """What one run of a residual showed.

    Arguments:
        terms: the (field, derivative) pairs it reads.
        n_equations: how many tensors it returns.
        linear: whether it is affine in the fields (checked at random values).
    """

    terms: tuple[Term, ...]
    n_equations: int
    linear: bool

    def order(self, axis: str, field: str | None = None) -> int:
        """The highest derivative along ``axis``, of one field or of any."""
        return max((term.count(axis) for name, term in self.terms if field in (None, name)), default=0)

    def derivatives(self) -> tuple[str, ...]:
        """Names of the derivatives that any field needs, "" always among them."""
        return tuple(sorted({"", *(term for _, term in self.terms)}, key=lambda s: (len(s), s)))


def evaluate(
    pde: AbstractPDE,
    terms: Mapping[Term, Tensor],
    coordinates: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> tuple[Tensor, ...]:
    """The residual's equations at points, each broadcast to the points' shape.

    Arguments:
        terms: every derivative that the residual reads, shape (*points).
        coordinates: by axis, broadcastable to (*points).
        parameters: by name, broadcastable to (*points).

    Raises:
        TypeError, ValueError: if the residual returns anything but tensors of the points' shape.
    """
    by_field: dict[str, dict[str, Tensor]] = {name: {} for name in pde.field_names}
    for (field, derivative), value in terms.items():
        by_field[field][derivative] = value
    fields = Namespace({name: FieldVariable(name, values) for name, values in by_field.items()}, "field")
    out = pde.residual(fields, Namespace(coordinates, "coordinate"), Namespace(parameters, "parameter"))
    return _checked(out, next(iter(terms.values())).shape if terms else torch.Size())


def _checked(out: Residual, shape: torch.Size) -> tuple[Tensor, ...]:
    equations = out if isinstance(out, tuple) else (out,)
    if not equations:
        raise ValueError("the residual returned an empty tuple: at least one equation is needed")
    for equation in equations:
        if isinstance(equation, FieldVariable) or not isinstance(equation, Tensor):
            raise TypeError(
                f"the residual must return a tensor or a tuple of tensors, got {type(equation).__name__}"
                + (": a field alone is no equation" if isinstance(equation, FieldVariable) else "")
            )
        if not equation.is_floating_point():
            raise TypeError(f"the residual must return real floating tensors, got {equation.dtype}")
        if equation.shape != shape:
            raise ValueError(
                f"the residual returned shape {tuple(equation.shape)} at points of shape {tuple(shape)}: "
                "it must act point by point and return one value for each point"
            )
    return equations


def trace(pde: AbstractPDE, parameters: Mapping[str, float], axes: tuple[str, ...]) -> Trace:
    """Run ``pde.residual`` on a few random points and note what it reads.

    Arguments:
        pde: the equation.
        parameters: values for its parameters.
        axes: axes of the domain; a derivative along any other axis is an error.

    Raises:
        ValueError: unknown parameter or axis, wrong shape, a residual that reads no field.
    """
    generator = torch.Generator().manual_seed(0)

    def positive() -> Tensor:
        return torch.rand(_PROBES, generator=generator, dtype=torch.float64) + 0.5

    def signed() -> Tensor:
        return torch.randn(_PROBES, generator=generator, dtype=torch.float64)

    coordinates = {axis: positive() for axis in axes}
    values = {name: torch.full((1,), float(v), dtype=torch.float64) for name, v in parameters.items()}
    terms: dict[Term, Tensor] = {(name, ""): positive() for name in pde.field_names}
    read: set[Term] = set()
    for _ in range(_MAX_TERMS):
        try:
            equations = evaluate(pde, terms, coordinates, values)
            break
        except MissingDerivative as missing:
            _check_axes(missing, axes)
            terms[missing.field, missing.term] = positive()
            read.add((missing.field, missing.term))
        except AttributeError as error:
            raise ValueError(f"the residual cannot be evaluated: {error}") from error
    else:
        raise ValueError(f"the residual reads more than {_MAX_TERMS} derivatives: simplify it")
    if not read:
        raise ValueError("the residual reads no derivative of any field: it is no differential equation")
    read |= {(name, "") for name in pde.field_names}
    _check_pointwise(pde, terms, coordinates, values, equations)
    ordered = tuple(sorted(read, key=lambda t: (pde.field_names.index(t[0]), len(t[1]), t[1])))
    return Trace(ordered, len(equations), _is_affine(pde, ordered, coordinates, values, signed))


def _check_pointwise(
    pde: AbstractPDE,
    terms: Mapping[Term, Tensor],
    coordinates: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    before: tuple[Tensor, ...],
) -> None:
    """Change the fields at the first point: the residual may change there only."""
    moved = {t: torch.cat([v[:1] + 0.125, v[1:]]) for t, v in terms.items()}
    for old, new in zip(before, evaluate(pde, moved, coordinates, values), strict=True):
        if not torch.equal(torch.nan_to_num(old[1:]), torch.nan_to_num(new[1:])):
            raise ValueError(
                "the residual at a point depends on the fields at other points (a mean, a sum, a shift?): "
                "it must act point by point"
            )


def _check_axes(missing: MissingDerivative, axes: tuple[str, ...]) -> None:
    wrong = [letter for letter in missing.term if letter not in axes]
    if wrong:
        raise ValueError(
            f"the residual reads {missing.field}.{missing.term}, but the domain has no axis {wrong[0]!r}: "
            f"its axes are {', '.join(axes)} (of {AXES!r})"
        )


def _is_affine(
    pde: AbstractPDE,
    terms: tuple[Term, ...],
    coordinates: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    draw: Callable[[], Tensor],
) -> bool:
    """r(a + b) - r(a) - r(b) + r(0) = 0 and r(2 a) - 2 r(a) + r(0) = 0 at random a, b of either sign.

    A random test: it errs only on a set of measure zero. A residual undefined at 0 (a power, a logarithm)
    gives NaN there, which compares false, and so counts as nonlinear.
    """
    a = {term: draw() for term in terms}
    b = {term: draw() for term in terms}

    def at(point: Mapping[Term, Tensor]) -> Tensor:
        return torch.stack(evaluate(pde, point, coordinates, values))

    zero = at({t: torch.zeros_like(v) for t, v in a.items()})
    at_a, at_b = at(a), at(b)
    total = at({t: a[t] + b[t] for t in a})
    double = at({t: 2.0 * a[t] for t in a})
    scale = float(torch.stack([at_a, at_b, zero, total, double]).abs().max())
    first = float((total - at_a - at_b + zero).abs().max())
    second = float((double - 2.0 * at_a + zero).abs().max())
    return math.isfinite(scale) and max(first, second) <= 1e-11 * max(scale, 1e-300)
