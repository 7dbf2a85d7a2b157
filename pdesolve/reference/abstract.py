"""What a reference solution is: values anywhere, and a statement of its own error."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.condition import arguments, value_at

Parameters = Mapping[str, Any]


class AbstractReference(abc.ABC):
    """A solution to compare with, made for ``Problem.reference``."""

    @abc.abstractmethod
    def __call__(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> Tensor:
        """The solution at points.

        Arguments:
            coordinates: by axis, all of one shape.
            parameters: the problem's, by name, numbers or tensors of one element.

        Returns:
            float64 on the coordinates' device, shaped like them; for several fields (field, *points).
        """

    @abc.abstractmethod
    def error(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> float:
        """Its own relative L2 error at points, as a refinement or a perturbation shows it."""


@final
@dataclass(frozen=True)
class ExactSolution(AbstractReference):
    """A closed formula.

    Its stated error is what rounding of the coordinates to float64 does to it; that the formula solves the problem is
    for tests to show.

    Arguments:
        formula: function of axes and parameters by name, written with torch functions: ``lambda t, x: ...``.

    Raises:
        TypeError: a formula that cannot be called.
    """

    formula: Callable[..., Any]

    def __post_init__(self) -> None:
        if not callable(self.formula):
            raise TypeError(f"formula must be a function of axes and parameters, got {type(self.formula).__name__}")
        arguments(self.formula)

    def __call__(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> Tensor:
        some = next(iter(coordinates.values()))
        points = {axis: value.to(torch.float64) for axis, value in coordinates.items()}
        known = {**{name: _number(value, some) for name, value in parameters.items()}, **points}
        values: Tensor = torch.as_tensor(value_at(self.formula, known), dtype=torch.float64, device=some.device)
        return values.expand(some.shape)

    def error(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> float:
        beside = {
            axis: torch.nextafter(value.to(torch.float64), torch.full_like(value, torch.inf, dtype=torch.float64))
            for axis, value in coordinates.items()
        }
        return relative_error(self(beside, parameters), self(coordinates, parameters))


class AbstractRefinable(AbstractReference):
    """A numerical reference whose error is its distance from a finer twin, which is at least as good."""

    @abc.abstractmethod
    def refined(self) -> AbstractReference:
        """The same method with every resolution raised, by 3/2 or more."""

    @final
    def error(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> float:
        return relative_error(self(coordinates, parameters), self.refined()(coordinates, parameters))


def relative_error(values: Tensor, exact: Tensor) -> float:
    """‖values - exact‖₂ / ‖exact‖₂ over all points and fields; NaN if either holds one."""
    return float(torch.linalg.vector_norm(values - exact) / torch.linalg.vector_norm(exact))


def number(parameters: Parameters, name: str) -> float:
    """One parameter as a number.

    Raises:
        ValueError: it is missing, or a batch of several.
    """
    if name not in parameters:
        raise ValueError(f"the reference needs the parameter {name!r}: given are {', '.join(parameters) or 'none'}")
    value = torch.as_tensor(parameters[name])
    if value.numel() != 1:
        raise ValueError(f"a reference is for one case at a time, parameter {name!r} holds {value.numel()}")
    return float(value)


def _number(value: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64, device=like.device).reshape(-1)[0]
