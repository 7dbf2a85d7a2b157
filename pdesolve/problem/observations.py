"""Measured values of a field at scattered points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.domains.sampling import AbstractSampler, UniformSampler
from pdesolve.namespace import nearest
from pdesolve.problem.problem import Problem


@dataclass(frozen=True, eq=False)
class Observations:
    """d_i = u(x_i) + noise.

    Arguments:
        coordinates: x by axis, (n,) each.
        values: d, (n,).
        field: name of u (default: the problem's only one).

    Raises:
        TypeError: values that are no real floating tensor.
        ValueError: no values, other shapes, values or points that are not finite.
    """

    coordinates: Mapping[str, Tensor]
    values: Tensor
    field: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.values, Tensor) or not self.values.is_floating_point():
            raise TypeError(f"values must be a real floating tensor, got {type(self.values).__name__}")
        if self.values.ndim != 1 or not len(self.values):
            raise ValueError(f"values must be a vector of at least one, got shape {tuple(self.values.shape)}")
        for name, tensor in (*self.coordinates.items(), ("values", self.values)):
            if tensor.shape != self.values.shape:
                raise ValueError(
                    f"{name} has shape {tuple(tensor.shape)}, the values {tuple(self.values.shape)}: one coordinate of "
                    "each axis is needed for each value"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} of the observations must be finite: leave out what was not measured")

    def __len__(self) -> int:
        return len(self.values)

    def field_of(self, problem: Problem) -> str:
        """The field that was observed.

        Raises:
            ValueError: it is not the problem's, or not named among several; points outside the domain or without an
                axis.
        """
        names = problem.field_names
        name = names[0] if self.field is None and len(names) == 1 else self.field
        if name not in names:
            hint = "name the one that was observed" if name is None else nearest(name, names).lstrip("; ")
            raise ValueError(f"observed field {name!r}: the problem has {', '.join(names)}; {hint}")
        inside = problem.box.contains(self.coordinates)
        if not bool(inside.all()):
            first = int((~inside).nonzero()[0])
            raise ValueError(f"observation {first} lies outside the domain, {int((~inside).sum())} do")
        return name

    @staticmethod
    def sampled(
        problem: Problem,
        count: int,
        noise: float,
        generator: torch.Generator,
        sampler: AbstractSampler | None = None,
        field: str | None = None,
    ) -> Observations:
        """Values of the problem's reference with normal noise, for trials.

        Arguments:
            problem: gives reference, parameters and domain.
            count: n.
            noise: standard deviation relative to the root mean square of the values, >= 0.
            generator: the only source of randomness.
            sampler: spreads the points (default uniform).
            field: which (default the only one).

        Raises:
            ValueError: a problem without a reference, a negative noise.
        """
        if problem.reference is None:
            raise ValueError("the problem has no reference to observe: give Problem(..., reference=...)")
        if finite_float(noise, "noise") < 0.0:
            raise ValueError(f"noise must not be negative, got {noise}")
        drawn = (sampler or UniformSampler()).sample(
            problem.box, positive_int(count, "count"), generator, torch.float64, generator.device
        )
        points = {axis: value.flatten() for axis, value in drawn.items()}
        values = problem.reference(points, problem.batch_parameters(device=generator.device))
        if len(problem.field_names) > 1:
            values = values[problem.field_names.index(field or problem.field_names[0])]
        scatter = torch.randn(count, generator=generator, dtype=torch.float64, device=generator.device)
        return Observations(points, values + noise * values.square().mean().sqrt() * scatter, field)
