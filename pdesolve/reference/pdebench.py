"""PDEBench's own scheme for diffusion-sorption, to tell how far its data is from the equation's solution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.reference.radau import Array, integrate


def pdebench_solution(
    u0: Tensor | float,
    times: Tensor,
    *,
    cells: int = 1024,
    pde: DiffusionSorption | None = None,
    rtol: float = 1e-7,
) -> Tensor:
    """Diffusion-sorption on x in [0, 1] as PDEBench discretises it, with a negligible error in time.

    du_i/dt = D/R(u_i) (u_{i-1} - 2 u_i + u_{i+1})/h² at the cell centres x_i = (i + 1/2) h; ghost values
    u_{-1} = 1 and u_n = D (u_{n-2} - u_{n-1})/h; R(u) = 1 + (1 - φ)/φ ρ_s k n_f (u + ε)^(n_f - 1).

    Arguments:
        u0: initial values, a number or (batch,).
        times: (n_t,), from 0 on.
        cells: n (default 1024, PDEBench's).
        pde: D, φ, ρ_s, k, n_f and ε (default PDEBench's).
        rtol: tolerance of a time step's root mean square error.

    Returns:
        (batch, 1, n_t, cells) float64.

    Raises:
        ValueError: fewer than 3 cells; times or u0 that are negative or not finite.

    Notes:
        The boundary value 1 acts at x = -h/2 instead of x = 0, an error O(h): at u0 = 0.1 the scheme is 0.2 %
        (relative L2) from the converged solution.

    Source: Takamoto et al., *PDEBench* (NeurIPS 2022), appendix D.4, from its description.
    """
    if positive_int(cells, "cells") < 3:
        raise ValueError(f"at least 3 cells are needed, got {cells}")
    initial, instants = _not_negative(u0, "u0"), _not_negative(times, "times")
    out = np.repeat(initial[:, None, None], len(instants), 1) * np.ones(cells)
    later = instants > 0.0
    if later.any():
        system = _GhostCells(pde or DiffusionSorption(), len(initial), cells, rtol)
        start = np.repeat(initial, cells)
        end = float(instants.max())
        trajectory = integrate(system, start, 0.0, end, newton=1e-2, max_steps=20_000)
        states = trajectory.at(instants[later]).reshape(-1, len(initial), cells)
        out[:, later] = states.transpose(1, 0, 2)
    return torch.from_numpy(out[:, None])


def _not_negative(values: Tensor | float, what: str) -> Array:
    """Values as an array (n,)."""
    array: Array = torch.as_tensor(values, dtype=torch.float64).detach().cpu().reshape(-1).numpy()
    if not (np.isfinite(array).all() and (array >= 0.0).all()):
        raise ValueError(f"{what} must be finite and not negative, got {array.tolist()}")
    return array


@final
class _GhostCells:
    """F = u_t - D/R(u) (second difference with ghost values), an ``ImplicitSystem`` of bandwidth one."""

    lower = 1
    upper = 1

    def __init__(self, pde: DiffusionSorption, batch: int, cells: int, rtol: float) -> None:
        self.p: Mapping[str, float] = pde.parameters
        self.batch, self.cells, self.rtol, self.h = batch, cells, rtol, 1.0 / cells
        self.right = self.p["D"] / self.h  # the last ghost value is right * (u_{n-2} - u_{n-1})
        p = self.p
        self.factor = (1.0 - p["porosity"]) / p["porosity"] * p["bulk_density"] * p["k"] * p["n_f"]

    def _diffusivity(self, u: Array) -> tuple[Array, Array]:
        """D/(R h²) and its derivative by u."""
        power, shifted = self.p["n_f"] - 1.0, np.maximum(u + self.p["regularisation"], 1e-12)
        retardation = 1.0 + self.factor * shifted**power
        value = self.p["D"] / (retardation * self.h**2)
        return value, -value / retardation * self.factor * power * shifted ** (power - 1.0)

    def _difference(self, u: Array) -> Array:
        padded = np.empty((*u.shape[:-1], self.cells + 2))
        padded[..., 1:-1] = u
        padded[..., 0] = 1.0
        padded[..., -1] = self.right * (u[..., -2] - u[..., -1])
        out: Array = padded[..., :-2] - 2.0 * u + padded[..., 2:]
        return out

    def residual(self, times: Array, y: Array, slope: Array) -> Array:
        u = y.reshape(len(times), self.batch, self.cells)
        return slope - (self._diffusivity(u)[0] * self._difference(u)).reshape(y.shape)

    def linearise(self, time: float, y: Array, slope: Array) -> tuple[Array, Array]:
        u = y.reshape(self.batch, self.cells)
        value, derivative = self._diffusivity(u)
        band = np.zeros((3, self.batch, self.cells))  # rows: upper, diagonal, lower; column = unknown
        band[1] = 2.0 * value - derivative * self._difference(u)
        band[0, :, 1:] = -value[:, :-1]
        band[2, :, :-1] = -value[:, 1:]
        band[1, :, -1] += value[:, -1] * self.right
        band[2, :, -2] -= value[:, -1] * self.right
        mass = np.zeros((3, y.size))
        mass[1] = 1.0
        return band.reshape(3, -1), mass

    def norm(self, error: Array, y: Array) -> float:
        square = (error.reshape(-1, self.batch, self.cells) ** 2).mean(-1)
        return float(np.sqrt(square.max()) / self.rtol)
