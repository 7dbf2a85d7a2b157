"""Numbers of Gaussians, slabs and points for each problem.

Within a fit the residual on fresh points chooses; these numbers were chosen by hand, with errors in view.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.problem import Problem
from pdesolve.reference.suite import (
    allen_cahn_problem,
    burgers_problem,
    cavity_problem,
    flow_mixing_problem,
    helmholtz_problem,
    klein_gordon_problem,
    korteweg_de_vries_problem,
    nonlinear_diffusion_problem,
)

from gaussian_expert import ExpertSetting  # isort: skip
from gaussian_slabs import Setting  # isort: skip


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Arguments:
        make: the problem.
        setting: for the full run.
        quick: for ``--quick``.
        grid: held-out, uniform, in the order of the axes.
        required: relative L2 error.
        seconds: allowed.
        published: best published error and where it is from.
    """

    make: Callable[[], Problem]
    setting: Setting | ExpertSetting
    quick: Setting | ExpertSetting
    grid: tuple[int, ...]
    required: float
    seconds: float
    published: str


def equal(n: int) -> tuple[float, ...]:
    """n slabs of one length."""
    return tuple((i + 1) / n for i in range(n))


def growing(n: int, power: float = 2.0) -> tuple[float, ...]:
    """n slabs that start short."""
    return tuple(((i + 1) / n) ** power for i in range(n))


def quarters(s: Tensor) -> Tensor:
    """[-1, 1], dense at ±1, ±1/2 and 0, where Allen-Cahn has its kink and its fronts."""
    return -1.0 + 2.0 * (s - 0.6 * torch.sin(8.0 * math.pi * s) / (8.0 * math.pi))


def middle(s: Tensor) -> Tensor:
    """[-1, 1], dense at 0, where Burgers has its front."""
    return torch.sinh(4.0 * (2.0 * s - 1.0)) / math.sinh(4.0)


def walls(s: Tensor) -> Tensor:
    """[-1, 1], dense at both ends."""
    return torch.tanh(2.0 * s - 1.0) / math.tanh(1.0)


def unit_walls(s: Tensor) -> Tensor:
    """[0, 1], dense at both ends."""
    return 0.5 + 0.5 * walls(s)


HELMHOLTZ = ExpertSetting(1000, {"x": 0.4}, (2.0, 3.0))
CASES = {
    "helmholtz": Case(
        helmholtz_problem, HELMHOLTZ, HELMHOLTZ, (101, 101), 1e-8, 60.0, "2.0e-9 in 540 s on a GPU (SPRING); PIG 4.1e-5"
    ),
    "helmholtz-10": Case(
        lambda: helmholtz_problem(10, 10),
        ExpertSetting(3000, overlaps=(2.5,)),
        ExpertSetting(2500, overlaps=(2.5,)),
        (101, 101),
        1e-5,
        300.0,
        "7.1e-3 (PIG)",
    ),
    "allen-cahn": Case(
        allen_cahn_problem,
        Setting({"t": 8, "x": 260}, equal(10), overlap=2.0, points=1.8, outside=2, maps={"x": quarters}),
        Setting({"t": 8, "x": 160}, equal(10), overlap=2.0, points=2.0, outside=2, maps={"x": quarters}),
        (101, 201),
        1e-5,
        600.0,
        "1.15e-6 (self-scaled Broyden); PIG 1.0e-4",
    ),
    "klein-gordon": Case(
        klein_gordon_problem,
        Setting({"t": 14, "x": 8, "y": 8}, equal(20), overlap=3.0, outside=2),
        Setting({"t": 14, "x": 7, "y": 7}, equal(8), overlap=3.0, outside=2),
        (51, 31, 31),
        1e-5,
        300.0,
        "3.5e-5; PIG 2.8e-3",
    ),
    "flow-mixing": Case(
        flow_mixing_problem,
        Setting({"t": 5, "x": 24, "y": 24}, equal(8), overlap=1.8, points=1.6),
        Setting({"t": 5, "x": 14, "y": 14}, equal(4), overlap=1.8, points=2.0, outside=1),
        (21, 61, 61),
        5e-5,
        600.0,
        "4.5e-4 (PIG)",
    ),
    "nonlinear-diffusion": Case(
        nonlinear_diffusion_problem,
        Setting({"t": 4, "x": 26, "y": 26}, growing(4), overlap=1.8, points=1.6, maps={"x": walls, "y": walls}),
        Setting({"t": 5, "x": 14, "y": 14}, growing(3), overlap=1.8, points=2.0, maps={"x": walls, "y": walls}),
        (11, 61, 61),
        3e-4,
        600.0,
        "1.4e-3; PIG 2.7e-3",
    ),
    "burgers": Case(
        burgers_problem,
        Setting({"t": 9, "x": 180}, equal(20), overlap=2.0, points=1.8, outside=2, maps={"x": middle}),
        Setting({"t": 8, "x": 130}, equal(16), overlap=2.0, points=1.8, outside=2, maps={"x": middle}),
        (101, 201),
        1e-6,
        300.0,
        "4.8e-7 in 9.8 s, 8e-14 in 346 s (H100)",
    ),
    "cavity": Case(
        cavity_problem,
        Setting({"x": 26, "y": 26}, overlap=2.0, points=2.5, outside=2, maps={"x": unit_walls, "y": unit_walls}),
        Setting({"x": 18, "y": 18}, overlap=1.8, points=3.0, maps={"x": unit_walls, "y": unit_walls}),
        (101, 101),
        1e-3,
        600.0,
        "1.1e-4 in 403 s (H100)",
    ),
    "korteweg-de-vries": Case(
        korteweg_de_vries_problem,
        Setting({"t": 8, "x": 224}, equal(50), overlap=2.0, points=1.6, condition_weight=100.0, outside=2),
        Setting({"t": 6, "x": 128}, equal(10), overlap=2.0, condition_weight=100.0),
        (51, 201),
        1e-5,
        600.0,
        "8e-11 in 1 210 s (H100)",
    ),
}
"""By section of the benchmark."""
