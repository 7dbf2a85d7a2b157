"""Helmholtz with a manufactured wave."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import Dirichlet
from pdesolve.domains.geometry import Rectangle, positive_int
from pdesolve.pde.helmholtz import Helmholtz
from pdesolve.problem import Problem
from pdesolve.reference.abstract import ExactSolution


def helmholtz_problem(x_waves: int = 1, y_waves: int = 4, wavenumber: float = 1.0) -> Problem:
    """Δu + k² u = q on [-1, 1]², u = 0 around it, with the solution u = sin(a πx) sin(b πy).

    Arguments:
        x_waves, y_waves: a and b (default 1 and 4: the benchmark "(4, 1)", which names y first).
        wavenumber: k (default 1).

    Raises:
        TypeError, ValueError: waves that are no integers >= 1; as ``Helmholtz``.

    Source: Wang, Teng & Perdikaris, SIAM J. Sci. Comput. 43 (2021).
    """
    exact = _wave(math.pi * positive_int(x_waves, "x_waves"), math.pi * positive_int(y_waves, "y_waves"))
    squares = math.pi**2 * (x_waves**2 + y_waves**2)

    def source(c: Any, p: Any) -> Tensor:
        source: Tensor = (p.wavenumber * p.wavenumber - squares) * exact(c.x, c.y)
        return source

    return Problem(
        Helmholtz(wavenumber, source),
        Rectangle((-1.0, 1.0), (-1.0, 1.0)),
        [Dirichlet(0.0)],
        reference=ExactSolution(exact),
    )


def _wave(a: float, b: float) -> Callable[..., Any]:
    return lambda x, y: torch.sin(a * x) * torch.sin(b * y)
