"""Reads the transport form of an equation off its residual: velocity, diffusivity and source."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE
from pdesolve.pde.trace import Term, evaluate, trace

_PROBES = 9
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Coefficients:
    """u_t + a·∇u = Σ_d g_d u_dd + s at points.

    Arguments:
        velocity: a, (axis, point), common to all fields.
        diffusivity: g, (field, axis, point).
        source: s, (field, point).
    """

    velocity: Tensor
    diffusivity: Tensor
    source: Tensor


class TransportForm:
    """An equation, or a small system, as u_t + a(x,t,u)·∇u = Σ_d g_d(x,t,u) u_dd + s(x,t,u).

    The residual is affine in the derivatives, so the coefficients are differences of its values at unit derivatives:
    exact to rounding, and differentiable with respect to x, t, u and the parameters.

    Arguments:
        pde: the equation.
        parameters: values of its parameters.
        axes: axes of the domain, time among them.

    Raises:
        ValueError: an equation that is not of this form; the message names what it lacks. A residual that gives
            another shape than the points'.

    Notes:
        The check is one at random values of fields and derivatives: it errs on a set of measure zero only.
    """

    velocity_factor: float = 1.0
    diffusivity_factor: float = 1.0

    def __init__(self, pde: AbstractPDE, parameters: Mapping[str, float], axes: tuple[str, ...]) -> None:
        self.pde, self.axes = pde, axes
        self.space_axes = tuple(axis for axis in axes if axis != "t")
        self.parameters = dict(parameters)
        self.terms = trace(pde, parameters, axes).terms
        self.diffusive = any(len(term) == 2 for _, term in self.terms)
        self._check_terms()
        self._check_coefficients()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the unknowns."""
        return self.pde.field_names

    def at(self, coordinates: Mapping[str, Tensor], fields: Tensor) -> Coefficients:
        """The coefficients at points.

        Arguments:
            coordinates: by axis, (point,).
            fields: values of the unknowns, (field, point).
        """
        names = ("", "t", *self._read(1), *self._read(2))
        shape = (len(names), fields.shape[1])
        ones = torch.eye(len(names), dtype=fields.dtype, device=fields.device)
        derivatives = {
            (name, term): ones[:, names.index(term), None].expand(shape) for name, term in self.terms if term
        }
        values = {(name, ""): fields[i].expand(shape) for i, name in enumerate(self.fields)}
        raw = self._residual({**values, **derivatives}, {k: v.expand(shape) for k, v in coordinates.items()})
        slopes = raw[:, 1:] - raw[:, :1]  # (equation, term, point)
        slopes, source = slopes / slopes[:, :1], -raw[:, 0] / slopes[:, 0]
        zero = torch.zeros_like(source)
        velocity = torch.stack([slopes[0, names.index(a) - 1] if a in names else zero[0] for a in self.space_axes])
        diffusivity = [-slopes[:, names.index(2 * a) - 1] if 2 * a in names else zero for a in self.space_axes]
        spread = torch.stack(diffusivity, dim=1)
        return Coefficients(velocity * self.velocity_factor, spread * self.diffusivity_factor, source)

    def scaled(self, velocity: float, diffusivity: float) -> TransportForm:
        """The same equation with a and g times factors, for paths that lead to it from an easier one."""
        other = copy.copy(self)
        other.velocity_factor, other.diffusivity_factor = velocity, diffusivity
        return other

    def _read(self, order: int) -> tuple[str, ...]:
        """Pure derivatives in space of one order that the residual reads."""
        found = {term for _, term in self.terms}
        return tuple(axis * order for axis in self.space_axes if axis * order in found)

    def _residual(self, terms: Mapping[Term, Tensor], coordinates: Mapping[str, Tensor]) -> Tensor:
        like = next(iter(terms.values()))
        parameters = {name: torch.full_like(like[:1, :1], value) for name, value in self.parameters.items()}
        return torch.stack(evaluate(self.pde, terms, coordinates, parameters))

    def _check_terms(self) -> None:
        if "t" not in self.axes:
            raise _refused("the domain has no time axis")
        read = {term for _, term in self.terms}
        allowed = {"", "t", *self.space_axes, *(2 * axis for axis in self.space_axes)}
        for field, term in self.terms:
            if term not in allowed:
                raise _refused(f"it reads {field}.{term}, allowed are {', '.join(sorted(allowed - {''}))}")
        for field in self.fields:
            if (field, "t") not in self.terms:
                raise _refused(f"it lacks the time derivative {field}.t")
        if not read & set(self.space_axes) and not self.diffusive:
            raise _refused("it lacks derivatives in space: it is an ordinary differential equation")

    def _check_coefficients(self) -> None:
        """Affine in the derivatives, each equation in those of its own field, all with one velocity."""
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.5

        count = len(self.fields)
        coordinates = {axis: draw(1, _PROBES) for axis in self.axes}
        u = {(name, ""): draw(1, _PROBES) for name in self.fields}
        names = [term for term in self.terms if term[1]]
        zero = {term: torch.zeros_like(next(iter(u.values()))) for term in names}
        base = self._residual({**u, **zero}, coordinates)
        if base.shape[0] != count:
            raise _refused(f"it has {base.shape[0]} equations for {count} fields")
        slopes = {}
        for term in names:
            moved = {**zero, term: torch.ones_like(zero[term])}
            slopes[term] = self._residual({**u, **moved}, coordinates) - base
            twice = self._residual({**u, **zero, term: 2.0 * moved[term]}, coordinates) - base
            if not _same(twice, 2.0 * slopes[term]):
                raise _refused(f"it is not linear in {'.'.join(term)}")
        mixed = {term: draw(1, _PROBES) for term in names}
        whole = self._residual({**u, **mixed}, coordinates) - base
        parts = torch.stack([slopes[term] * mixed[term] for term in names]).sum(0)
        if not _same(whole, parts):
            raise _refused("it multiplies derivatives with each other")
        self._check_pairs(slopes)

    def _check_pairs(self, slopes: Mapping[Term, Tensor]) -> None:
        rates = torch.stack([slopes[name, "t"][i] for i, name in enumerate(self.fields)])
        if bool((rates.abs() < _ROUNDING).any()):
            raise _refused("the coefficient of a time derivative vanishes")
        for (name, term), slope in slopes.items():
            for i, own in enumerate(self.fields):
                if own != name and not _same(slope[i] + rates[i], rates[i]):
                    raise _refused(f"the equation of {own} reads {name}.{term}: fields are coupled in derivatives")
        for axis in self.space_axes:
            speeds = [
                slopes[name, axis][i] / rates[i] if (name, axis) in slopes else torch.zeros_like(rates[i])
                for i, name in enumerate(self.fields)
            ]
            if any(not _same(speed + 1.0, speeds[0] + 1.0) for speed in speeds[1:]):
                raise _refused(f"its fields are carried at different velocities along {axis}")


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal to rounding; what is not finite is judged later, where the solution is."""
    a, b = torch.nan_to_num(a), torch.nan_to_num(b)
    return bool(((a - b).abs() <= _ROUNDING * (1.0 + a.abs() + b.abs())).all())


def _refused(lack: str) -> ValueError:
    return ValueError(
        f"the equation is not of transport form u_t + a(x,t,u)·∇u = g Δu + s: {lack}; "
        "use an expert that takes any residual, such as HardConstraintExpert"
    )
