"""Degenerate diffusion in the plane: finite volumes on a grid graded to the walls, stabilised explicit steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdesolve.domains.geometry import Box, finite_float, positive_int
from pdesolve.domains.grid import StructuredGrid
from pdesolve.reference.abstract import AbstractRefinable, Parameters, number

Array = NDArray[np.float64]
_DAMPING = 2.0 / 13.0
_SAFETY = 1.05  # of the spectral radius


@final
@dataclass(frozen=True)
class DegenerateDiffusion(AbstractRefinable):
    """u_t = κ/2 Δ(u²) on a rectangle with u = 0 around it and u >= 0 at the start, which need not agree there.

    Second-order finite volumes in u² at the centres of a tanh-graded grid; second-order Runge-Kutta-Chebyshev in time,
    with steps that grow like t, as the layer that a contradiction leaves at the walls does; extrapolated in the cell
    size from ``cells`` and half as many. Between the centres u² is a cubic spline: it is linear at the walls,
    where u is like a square root.

    Arguments:
        initial: u at the start, function of (x, y).
        box: axes t, x, y.
        cells: along each axis, even (default 256).
        grading: strength towards the walls, see ``StructuredGrid.graded`` (default 1).
        steps: in time (default 1 000), besides one for each time asked for.

    Raises:
        TypeError, ValueError: another box, odd or no cells, no steps, a strength out of range.

    Notes:
        κ is the problem's parameter "kappa". The stages of a step grow like the square root of the stiffness.

    Source: Sommeijer, Shampine & Verwer, *RKC*, J. Comput. Appl. Math. 88 (1998), eq. 2.1 - 2.7.
    """

    initial: Callable[[Tensor, Tensor], Tensor]
    box: Box
    cells: int = 256
    grading: float = 1.0
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.box.axes != ("t", "x", "y"):
            raise ValueError(f"the box must have the axes t, x, y, got {', '.join(self.box.axes)}")
        if positive_int(self.cells, "cells") % 2 or self.cells < 16:
            raise ValueError(f"cells must be even and at least 16, got {self.cells}")
        positive_int(self.steps, "steps")
        finite_float(self.grading, "grading")

    def refined(self) -> DegenerateDiffusion:
        return replace(self, cells=3 * self.cells // 4 * 2, steps=3 * self.steps // 2)

    def __call__(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> Tensor:
        axes = self.box.axes
        t, x, y = torch.broadcast_tensors(*(coordinates[a].detach().to("cpu", torch.float64) for a in axes))
        start, end = self.box.bounds("t")
        times, member = torch.unique(t.flatten(), return_inverse=True)
        if len(times) and not start <= float(times[0]) <= float(times[-1]) <= end:
            raise ValueError(f"times must lie in [{start}, {end}], got {float(times[0])} to {float(times[-1])}")
        kappa = number(parameters, "kappa")
        coarse, fine = (self._run(n, times.numpy(), kappa) for n in (self.cells // 2, self.cells))
        out, x, y = torch.empty(t.numel(), dtype=torch.float64), x.flatten(), y.flatten()
        for i, time in enumerate(times.tolist()):
            here = member == i
            if time == start:
                out[here] = self.initial(x[here], y[here])
                continue
            at = x[here].numpy(), y[here].numpy()
            values = (4.0 * fine[i](*at) - coarse[i](*at)) / 3.0  # second order in the cell size
            out[here] = torch.from_numpy(values)
        return out.reshape(t.shape).to(coordinates["x"].device)

    def _run(self, cells: int, times: Array, kappa: float) -> list[Callable[[Array, Array], Array]]:
        """u as a function of (x, y) at each of the times, sorted."""
        grid = _Cells(self.box, cells, self.grading, kappa)
        start, end = self.box.bounds("t")
        u = self.initial(*(torch.from_numpy(a) for a in grid.centres())).numpy()
        growing = start + (end - start) * (np.arange(self.steps + 1) / self.steps) ** 2
        stops, now, found = np.union1d(growing, times), start, []
        for stop in stops[stops <= times[-1]] if len(times) else []:
            if stop > now:
                u, now = _chebyshev_step(grid.rate, u, stop - now, grid.radius(u)), stop
            if stop in times:
                found.append(grid.between(u))
        return found


@final
class _Cells:
    """Fluxes on one tensor grid."""

    def __init__(self, box: Box, cells: int, grading: float, kappa: float) -> None:
        plane = Box(("x", "y"), box.lower[1:], box.upper[1:])
        names = dict.fromkeys(plane.boundary_names, grading)
        nodes = [n.numpy() for n in StructuredGrid.graded(plane, (2 * cells + 1,) * 2, names).nodes]
        self.half_kappa = 0.5 * kappa
        self.padded = [np.concatenate([n[:1], n[1::2], n[-1:]]) for n in nodes]  # walls and centres
        self.widths = [np.diff(n[::2]) for n in nodes]
        self.gaps = [np.diff(p) for p in self.padded]
        x, y = ((1.0 / g[1:] + 1.0 / g[:-1]) / w for g, w in zip(self.gaps, self.widths, strict=True))
        self.coupling: Array = x[:, None] + y

    def centres(self) -> tuple[Array, Array]:
        x, y = np.meshgrid(*(p[1:-1] for p in self.padded), indexing="ij")
        return x, y

    def rate(self, u: Array) -> Array:
        """κ/2 Δ(u²) at the centres."""
        square = np.pad(u * u, 1)  # zero on the walls
        (dx, dy), (hx, hy) = self.gaps, self.widths
        along_x = np.diff(np.diff(square[:, 1:-1], axis=0) / dx[:, None], axis=0) / hx[:, None]
        along_y = np.diff(np.diff(square[1:-1], axis=1) / dy, axis=1) / hy
        out: Array = self.half_kappa * (along_x + along_y)
        return out

    def radius(self, u: Array) -> float:
        """A bound on the spectral radius of the rate's derivative, by Gershgorin: ∂(κ/2 u²)/∂u = κ u."""
        return _SAFETY * 4.0 * self.half_kappa * float((np.abs(u) * self.coupling).max())

    def between(self, u: Array) -> Callable[[Array, Array], Array]:
        from scipy.interpolate import RectBivariateSpline

        x, y = self.padded
        spline = RectBivariateSpline(x, y, np.pad(u * u, 1))
        return lambda x, y: np.sqrt(np.maximum(spline.ev(x, y), 0.0))


def _chebyshev_step(rate: Callable[[Array], Array], u: Array, h: float, radius: float) -> Array:
    """One step of Runge-Kutta-Chebyshev with as many stages as stability asks for."""
    stages = max(2, math.ceil(math.sqrt(1.0 + 1.54 * h * radius)))
    w0 = 1.0 + _DAMPING / stages**2
    t, d1, d2 = [1.0, w0], [0.0, 1.0], [0.0, 0.0]  # Chebyshev polynomials at w0 and their derivatives
    for _ in range(2, stages + 1):
        d2.append(4.0 * d1[-1] + 2.0 * w0 * d2[-1] - d2[-2])
        d1.append(2.0 * t[-1] + 2.0 * w0 * d1[-1] - d1[-2])
        t.append(2.0 * w0 * t[-1] - t[-2])
    w1 = d1[-1] / d2[-1]
    b: list[Any] = [d / f**2 for d, f in zip(d2[2:], d1[2:], strict=True)]
    b = [b[0], b[0], *b]
    first = rate(u)
    before: Array = u
    now: Array = u + b[1] * w1 * h * first
    for j in range(2, stages + 1):
        mu, nu, scale = 2.0 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], 2.0 * b[j] * w1 / b[j - 1] * h
        old = b[j - 1] * t[j - 1] - 1.0
        before, now = now, (1.0 - mu - nu) * u + mu * now + nu * before + scale * (rate(now) + old * first)
    return now
