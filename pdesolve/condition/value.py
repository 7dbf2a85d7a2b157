"""Values of conditions: numbers, or functions that say by their argument names what they read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pdesolve.domains.geometry import is_finite
from pdesolve.namespace import nearest

Value = float | Callable[..., Any]
"""A constant, or a function whose argument names say what it reads: axes ("x", "t") or parameters ("u0")."""


def arguments(value: Value) -> tuple[str, ...]:
    """The names that a condition's value reads.

    Raises:
        TypeError: a callable whose argument names cannot be read.
    """
    if not callable(value):
        return ()
    try:
        return tuple(inspect.signature(value).parameters)
    except ValueError:
        raise TypeError(
            f"the argument names of {value!r} cannot be read: wrap it, for example lambda x: {value!r}(x)"
        ) from None


def value_at(value: Value, known: Mapping[str, Any]) -> Any:
    """The condition's value where ``known`` maps axes and parameters to tensors or jets.

    Returns a number, tensor or jet; broadcast it against the points.
    """
    if not callable(value):
        return value
    return value(**{name: known[name] for name in arguments(value)})


def check_value(value: Value, known: Mapping[str, Any], what: str) -> None:
    """Raise unless ``value`` is a finite number or a function of known names that gives finite values."""
    if isinstance(value, bool) or not (callable(value) or isinstance(value, (int, float))):
        raise TypeError(f"{what}: a number or a function is expected, got {type(value).__name__}")
    for name in arguments(value):
        if name not in known:
            raise ValueError(
                f"{what}: its function reads {name!r}, which is neither an axis nor a parameter: "
                f"known are {', '.join(known)}{nearest(name, known)}"
            )
    if isinstance(value, (int, float)) and not is_finite(value):
        raise ValueError(f"{what}: its value is not finite")
    try:
        given = value_at(value, known)
        found = given if isinstance(given, Tensor) else torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{what}: its function fails on tensors ({error}): write it with torch functions, torch.sin for math.sin"
        ) from error
    if found.is_complex():
        raise TypeError(f"{what}: its function must be real, got {found.dtype}")
    points = torch.broadcast_shapes(*(torch.as_tensor(entry).shape for entry in known.values()))
    if found.shape not in (torch.Size(), torch.Size([1]), points):
        raise ValueError(
            f"{what}: its function gives shape {tuple(found.shape)} at points of shape {tuple(points)}: "
            "it must give one value for each point"
        )
    sample = found.to(torch.float64)
    bad = ~torch.isfinite(sample)
    if bool(bad.any()):
        raise ValueError(
            f"{what}: its value is not finite ({sample[bad].flatten()[0].item()}) somewhere on its boundary"
        )
