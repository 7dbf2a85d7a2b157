"""Whether a coefficient makes diffusion positive everywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdesolve.discretization.finite_elements.weak_form import Integrand


def check_elliptic(integrand: Integrand, names: tuple[str, ...]) -> None:
    """Raise unless ∂F_a/∂u_a > 0 for each field and axis at every quadrature point, tried at u = 0 and ∇u = 0.

    Arguments:
        integrand: of the equation on cells, without stabilisation.
        names: of the fields.

    Raises:
        ValueError: it is zero or negative somewhere; names the first cell. NaN is left to the solve, which says so.
    """
    flat = [torch.zeros(integrand.table.shape, dtype=torch.float64) for _ in range(len(names) * len(integrand.terms))]
    n, tests = len(integrand.terms), len(integrand.tests)

    def densities(*values: Tensor) -> tuple[Tensor, ...]:
        found = integrand.function([list(values[i * n : (i + 1) * n]) for i in range(len(names))])
        return tuple(d.expand(values[0].shape) for own in found for d in own)

    for i, name in enumerate(names):
        for axis in integrand.axes:
            place = i * n + integrand.terms.index(axis)
            direction = tuple(torch.ones_like(v) if j == place else torch.zeros_like(v) for j, v in enumerate(flat))
            result: Any = torch.func.jvp(densities, tuple(flat), direction)
            slope = result[1][i * tests + integrand.tests.index(axis)].detach()
            if bool((slope <= 0).any()):
                cell, point = (slope <= 0).nonzero()[0].tolist()
                raise ValueError(
                    f"the flux of {name!r} along {axis} falls with its derivative in cell {cell} (coefficient "
                    f"{float(slope[cell, point]):.3g}): diffusion coefficients must be positive everywhere"
                )
