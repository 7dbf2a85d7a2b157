"""What a coordinate map and a lifting must give."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, final

import torch

from pdesolve.condition import Value, value_at
from pdesolve.domains.geometry import BOUNDARIES, nearest_hint
from pdesolve.jet import Jet
from pdesolve.namespace import Namespace

Points = Namespace[Any]
"""Coordinates (tensors or jets, (batch, patch, point)) and parameters (tensors, (batch, 1, 1)) by name."""


class AbstractCoordinateMap(abc.ABC):
    """Coordinates in which the solution is smooth: the inputs of a coordinate network.

    Write it with torch operations that ``Jet`` supports; it is called with jets to get derivatives.
    """

    @property
    @abc.abstractmethod
    def n_features(self) -> int:
        """Number of features."""

    @abc.abstractmethod
    def __call__(self, at: Points) -> list[Any]:
        """Features at points, each (batch, patch, point), of order one in size."""


class AbstractLifting(abc.ABC):
    """u = g + m v: g meets the initial and boundary conditions, m vanishes where they are imposed, v is free."""

    @abc.abstractmethod
    def lift(self, at: Points) -> dict[str, Any]:
        """g by field, each (batch, patch, point)."""

    @abc.abstractmethod
    def multiplier(self, at: Points) -> dict[str, Any]:
        """m by field, each (batch, patch, point)."""

    @abc.abstractmethod
    def imposes(self, field: str, boundary: str) -> bool:
        """Whether u = g + m v meets the condition on this boundary ("initial" too) exactly for every v.

        Conditions that are not imposed enter the least-squares problem as rows.
        """


@final
class FunctionCoordinates(AbstractCoordinateMap):
    """A user's own features.

    Arguments:
        functions: each reads axes and parameters by argument name, ``lambda x, t: x / torch.sqrt(t + 0.1)``, written
            with operations that ``Jet`` lists.

    Raises:
        ValueError: no function.
        TypeError: something that cannot be called.

    Good values: features of order one in size over the whole domain, parameters that vary among them.
    """

    def __init__(self, *functions: Callable[..., Any]) -> None:
        if not functions:
            raise ValueError("a coordinate map needs at least one feature")
        for function in functions:
            if not callable(function):
                raise TypeError(f"a feature must be a function of axes and parameters, got {type(function).__name__}")
        self._functions = functions

    @property
    def n_features(self) -> int:
        return len(self._functions)

    def __call__(self, at: Points) -> list[Any]:
        return [value_at(f, at) for f in self._functions]


@final
class JoinedCoordinates(AbstractCoordinateMap):
    """The features of several maps, one after another.

    Arguments:
        maps: such as ``SimilarityCoordinates(problem)``, and ``FunctionCoordinates`` of what else matters.

    Raises:
        TypeError: something that is no coordinate map.
        ValueError: no map.
    """

    def __init__(self, *maps: AbstractCoordinateMap) -> None:
        if not maps:
            raise ValueError("there must be at least one coordinate map to join, got none")
        for part in maps:
            if not isinstance(part, AbstractCoordinateMap):
                raise TypeError(
                    f"only coordinate maps can be joined, got {type(part).__name__}: use FunctionCoordinates"
                )
        self._maps = maps

    @property
    def n_features(self) -> int:
        return sum(part.n_features for part in self._maps)

    def __call__(self, at: Points) -> list[Any]:
        return [feature for part in self._maps for feature in part(at)]


@final
class FunctionLifting(AbstractLifting):
    """A user's own lifting for one field.

    Arguments:
        lift, multiplier: g and m, functions of axes and parameters by argument name, or numbers.
        imposed: names of the boundaries ("initial" too) on which g + m v is exact for every v; checked in every solve.
        field: the unknown (default "u").

    Raises:
        TypeError: ``imposed`` is one string instead of a tuple.
        ValueError: ``imposed`` holds a name that no box has.
    """

    def __init__(
        self,
        lift: Value,
        multiplier: Value,
        imposed: tuple[str, ...],
        field: str = "u",
    ) -> None:
        if isinstance(imposed, str):
            raise TypeError(f"imposed must be a tuple of boundary names, got {imposed!r}; write ({imposed!r},)")
        known = [name for ends in BOUNDARIES.values() for name in ends]
        for name in imposed:
            if name not in known:
                raise ValueError(f"imposed holds {name!r}, which is no boundary; {nearest_hint(str(name), known)}")
        self._lift, self._multiplier, self._imposed, self._field = lift, multiplier, imposed, field

    def lift(self, at: Points) -> dict[str, Any]:
        return {self._field: value_at(self._lift, at)}

    def multiplier(self, at: Points) -> dict[str, Any]:
        return {self._field: value_at(self._multiplier, at)}

    def imposes(self, field: str, boundary: str) -> bool:
        return field == self._field and boundary in self._imposed


@final
class NoLifting(AbstractLifting):
    """u = v: every condition becomes rows of the least-squares problem.

    Arguments:
        fields: names of the unknowns.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields

    def lift(self, at: Points) -> dict[str, Any]:
        return dict.fromkeys(self._fields, 0.0)

    def multiplier(self, at: Points) -> dict[str, Any]:
        return dict.fromkeys(self._fields, 1.0)

    def imposes(self, field: str, boundary: str) -> bool:
        return False


def points_at(coordinates: Mapping[str, Any], parameters: Mapping[str, Any]) -> Points:
    """Coordinates and parameters under one roof, for frames and conditions."""
    return Namespace({**coordinates, **parameters}, "axis or parameter")


def moved(at: Points, axis: str, position: float) -> Points:
    """The same points with one coordinate at a fixed place."""
    return Namespace({**at, axis: at[axis] * 0.0 + position}, "axis or parameter")


def full_like(value: Any, like: Any) -> Any:
    """A number, tensor or jet as a jet or tensor of the shape of ``like``."""
    if isinstance(value, Jet):
        return value.expand(*torch.broadcast_shapes(value.shape, like.shape))
    if isinstance(like, Jet):
        tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        return Jet.constant(tensor.expand(torch.broadcast_shapes(tensor.shape, like.shape)), like.terms)
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return tensor.expand(torch.broadcast_shapes(tensor.shape, like.shape))


__all__ = [
    "AbstractCoordinateMap",
    "AbstractLifting",
    "FunctionCoordinates",
    "FunctionLifting",
    "JoinedCoordinates",
    "NoLifting",
    "Points",
    "full_like",
    "moved",
    "points_at",
]
