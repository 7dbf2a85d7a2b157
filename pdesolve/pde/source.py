"""Right-hand sides and coefficients that are functions of position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pdesolve.pde.abstract import Values

Source = Callable[[Any, Any], Any]
"""Called as ``source(coordinates, parameters)``: ``lambda c, p: torch.sin(p.k * c.x)``, one value for each point."""


def no_source(coordinates: Values, parameters: Values) -> float:
    """Zero everywhere."""
    return 0.0


def check_source(source: object, what: str) -> None:
    """Raise ``TypeError`` unless ``source`` can be called."""
    if not callable(source):
        raise TypeError(
            f"{what} must be a function of coordinates and parameters, as in lambda c, p: torch.sin(c.x), "
            f"got {type(source).__name__}"
        )
