"""A pseudo-spectral reference for transport on a periodic interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pdesolve.condition import value_at
from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.pde.transport_form import TransportForm
from pdesolve.problem import Problem
from pdesolve.status import SolveError, SolveStatus

Array = np.ndarray[Any, np.dtype[np.float64]]


@final
@dataclass(frozen=True)
class PseudoSpectral:
    """Fourier differentiation in space, Dormand-Prince 8(5,3) in time, for u_t + a u_x = g u_xx + s.

    The series is summed at the very points asked for; nothing is interpolated in space, in time the steps end at every
    time asked for.

    Arguments:
        nodes: n, even (default 512); the highest wave number is n/2.
        rtol: tolerance of a time step, relative to max|u₀| (default 1e-12).

    Raises:
        TypeError, ValueError: numbers out of range.

    Notes:
        Explicit, in the frame that moves with the mean velocity. Not dealiased, so it has to resolve u: ``error``
        compares with half the nodes and a hundredfold tolerance, and so states its own error.

    Good values: 512 nodes for fronts of width 0.1 on an interval of 2π.

    Source: Trefethen, *Spectral Methods in MATLAB* (2000), chapter 3; Hairer, Nørsett & Wanner, *Solving Ordinary
        Differential Equations I* (1993), II.5.
    """

    nodes: int = 512
    rtol: float = 1e-12

    def __post_init__(self) -> None:
        if positive_int(self.nodes, "nodes") < 4 or self.nodes % 2:
            raise ValueError(f"nodes must be even and at least 4, got {self.nodes}")
        if not 1e-13 <= finite_float(self.rtol, "rtol") < 1.0:
            raise ValueError(f"rtol must lie in [1e-13, 1), got {self.rtol}")

    def solve(self, problem: Problem, coordinates: Mapping[str, Tensor]) -> Tensor:
        """The solution at all pairs of times and positions, (1, field, n_t, n_x) float64 on the CPU.

        Arguments:
            problem: of transport form, periodic in its one space axis.
            coordinates: "t" (n_t,), rising, and the space axis (n_x,).

        Raises:
            ValueError: a problem that it does not cover, times outside the domain or out of order.
            SolveError: the integration broke down.
        """
        from scipy.integrate import solve_ivp

        space = problem.domain.space_axes
        if len(space) != 1 or any(space[0] not in problem.resolved.periodic.get(f, ()) for f in problem.field_names):
            raise ValueError("the pseudo-spectral reference covers one space axis, along which every field is periodic")
        axis = space[0]
        form = TransportForm(problem.pde, problem.parameters, problem.domain.axes)
        (low, high), (begin, end) = problem.domain.bounds(axis), problem.domain.bounds("t")
        times = torch.as_tensor(coordinates["t"], dtype=torch.float64)
        if not bool(((times >= begin) & (times <= end)).all() & (times.diff() >= 0).all()):
            raise ValueError(f"times must rise within [{begin}, {end}]")
        x = low + (high - low) / self.nodes * torch.arange(self.nodes, dtype=torch.float64)
        wave = 2j * math.pi / (high - low) * np.fft.rfftfreq(self.nodes, 1.0 / self.nodes)
        slope = wave.copy()
        slope[-1] = 0.0  # the derivative of the saw-tooth wave is not on the grid

        start = _initial(problem, axis, x)
        at_start = form.at({"t": torch.full_like(x, begin), axis: x}, start)
        drift = float(at_start.velocity.mean())

        def rate(time: float, flat: Array) -> Array:
            """In the frame that moves with the mean velocity: what is carried through needs no small steps."""
            state = flat.reshape(len(problem.field_names), -1)
            modes = np.fft.rfft(state)
            first, second = (torch.from_numpy(np.fft.irfft(m * modes, self.nodes)) for m in (slope, wave**2))
            moved = low + torch.remainder(x + drift * (time - begin) - low, high - low)
            known = {"t": torch.full_like(x, time), axis: moved}
            c = form.at(known, torch.from_numpy(state))
            change: Array = (c.diffusivity[:, 0] * second - (c.velocity[0] - drift) * first + c.source).numpy()
            return change.ravel()

        scale = max(float(start.abs().max()), 1e-300)
        wanted = times.unique()
        ends = wanted[wanted > begin]
        states, known = [start.numpy().ravel()], [begin]
        for until in ends.tolist():  # one integration for each: the solver's own interpolation has a lower order
            found = solve_ivp(
                rate, (known[-1], until), states[-1], method="DOP853", rtol=self.rtol, atol=self.rtol * scale
            )
            if not found.success or not np.isfinite(found.y).all():
                raise SolveError(
                    f"the pseudo-spectral integration broke down ({found.message}): raise nodes, or end before",
                    torch.tensor([int(SolveStatus.DIVERGED)]),
                )
            states.append(found.y[:, -1])
            known.append(until)
        rows = torch.from_numpy(np.stack(states)).reshape(len(known), len(problem.field_names), self.nodes)
        index = torch.searchsorted(torch.tensor(known, dtype=torch.float64), times)
        place = torch.as_tensor(coordinates[axis], dtype=torch.float64)
        turns = (place - low - drift * (torch.tensor(known, dtype=torch.float64) - begin)[:, None]) / (high - low)
        return _summed(rows, turns)[index].movedim(0, 1).unsqueeze(0)

    def error(self, problem: Problem, coordinates: Mapping[str, Tensor]) -> float:
        """The largest difference to half the nodes and a hundredfold tolerance, over the largest value."""
        fine = self.solve(problem, coordinates)
        rough = replace(self, nodes=self.nodes // 4 * 2, rtol=min(100 * self.rtol, 0.5)).solve(problem, coordinates)
        return float((fine - rough).abs().max() / fine.abs().max())


def _initial(problem: Problem, axis: str, x: Tensor) -> Tensor:
    known: dict[str, Any] = {axis: x, "t": torch.full_like(x, problem.domain.bounds("t")[0])}
    known |= problem.batch_parameters()
    rows = [value_at(problem.resolved.initial[name, 0], known) for name in problem.field_names]
    return torch.stack([torch.as_tensor(row, dtype=torch.float64).expand(x.shape) for row in rows])


def _summed(rows: Tensor, place: Tensor) -> Tensor:
    """Σ_k û_k exp(2πik x), (time, field, point), at places (time, point) in units of the period."""
    n = rows.shape[-1]
    modes = torch.fft.rfft(rows) / n
    weight = torch.full((modes.shape[-1],), 2.0, dtype=rows.dtype)
    weight[0] = weight[-1] = 1.0
    angle = 2.0 * math.pi * torch.arange(modes.shape[-1], dtype=rows.dtype)[:, None] * place.unsqueeze(1)
    scaled = modes * weight
    total: Tensor = scaled.real @ torch.cos(angle) - scaled.imag @ torch.sin(angle)
    return total
