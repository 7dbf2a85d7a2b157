"""Numbers of Gaussians, slabs and maps for each problem.

Within a fit the residual on fresh points chooses the width; these numbers were chosen by hand, with errors in view.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.experts.gaussians.factor import Factor
from pdesolve.experts.gaussians.layout import AxisMap
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.frames.abstract import AbstractLifting
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
    sine_lid,
    unit_lid,
)
from pdesolve.residual_minimisation.abstract import AbstractMinimiser
from pdesolve.residual_minimisation.krylov_gauss_newton import KrylovGaussNewton


@dataclass(frozen=True)
class Setting:
    """Arguments of ``PhysicsInformedGaussians``."""

    count: Mapping[str, int]
    slabs: Sequence[float] = (1.0,)
    overlaps: Sequence[float] = (1.3,)
    maps: Mapping[str, AxisMap] = field(default_factory=dict)
    lifting: Callable[[Problem], AbstractLifting] | None = None
    points: float = 2.0
    tolerance: float = 1e-2
    minimiser: AbstractMinimiser | None = None

    @property
    def described(self) -> str:
        slabs = f", {len(self.slabs)} slabs" if len(self.slabs) > 1 else ""
        return f"{' x '.join(str(n) for n in self.count.values())} Gaussians{slabs}"

    def expert(self, seed: int) -> PhysicsInformedGaussians:
        """The expert, not fitted yet."""
        return PhysicsInformedGaussians(
            self.count,
            slabs=self.slabs,
            overlaps=self.overlaps,
            maps=self.maps,
            lifting=self.lifting,
            points=self.points,
            tolerance=self.tolerance,
            minimiser=self.minimiser,
            seed=seed,
        )


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Arguments:
        make: the problem.
        setting: for the full run.
        quick: for ``--quick``.
        grid: held-out, uniform, in the order of the axes.
        required: relative L2 error, None where it is only shown.
        seconds: allowed.
        published: best published error and where it is from.
    """

    make: Callable[[], Problem]
    setting: Setting
    quick: Setting
    grid: tuple[int, ...]
    required: float | None
    seconds: float | None
    published: str


def equal(n: int) -> tuple[float, ...]:
    """n slabs of one length."""
    return tuple((i + 1) / n for i in range(n))


def growing(n: int, power: float = 2.0) -> tuple[float, ...]:
    """n slabs that start short."""
    return tuple(((i + 1) / n) ** power for i in range(n))


def quarters(share: float) -> AxisMap:
    """[-1, 1], dense at ±1, ±1/2 and 0, where Allen-Cahn has its kink and its fronts."""
    return AxisMap.of(lambda s: -1.0 + 2.0 * (s - share * torch.sin(8.0 * math.pi * s) / (8.0 * math.pi)))


def middle(steepness: float, half: float = 1.0) -> AxisMap:
    """[-half, half], dense at 0."""
    return AxisMap.of(lambda s: half * torch.sinh(steepness * (2.0 * s - 1.0)) / math.sinh(steepness))


def walls(steepness: float, low: float, high: float) -> AxisMap:
    """Dense at both ends."""
    centre, half = 0.5 * (low + high), 0.5 * (high - low)
    return AxisMap.of(lambda s: centre + half * torch.tanh(steepness * (2.0 * s - 1.0)) / math.tanh(steepness))


def vortex() -> AxisMap:
    """[-4, 4], five times as dense at the centre, where the vortex winds up; widths change slowly from node to node."""
    x = torch.linspace(-4.0, 4.0, 8193, dtype=torch.float64)
    below = torch.cumulative_trapezoid(1.0 + 4.0 * torch.exp(-((x / 1.7) ** 2)), x)
    return AxisMap.by_density(x, torch.cat([below.new_zeros(1), below]))


def root(x: Tensor, y: Tensor) -> Tensor:
    """How u goes to zero where diffusivity does too."""
    return ((1.0 - x * x) * (1.0 - y * y)) ** 0.5


def _plane(n: int, at: AxisMap, in_time: int | None = None) -> tuple[dict[str, int], dict[str, AxisMap]]:
    time = {} if in_time is None else {"t": in_time}
    return {**time, "x": n, "y": n}, {"x": at, "y": at}


def _cavity(n: int, tolerance: float = 1e-2) -> Setting:
    count, maps = _plane(n, walls(1.5, 0.0, 1.0))
    return Setting(count, overlaps=(2.0,), maps=maps, tolerance=tolerance)


def _flow(n: int, in_time: int, slabs: int) -> Setting:
    count, maps = _plane(n, vortex(), in_time)
    return Setting(count, equal(slabs), maps=maps, points=1.7, minimiser=KrylovGaussNewton())


def _hills(n: int, slabs: int) -> Setting:
    count, maps = _plane(n, walls(2.0, -1.0, 1.0), 5)
    return Setting(count, growing(slabs), (2.0,), maps, lifting=Factor(root), minimiser=KrylovGaussNewton())


HELMHOLTZ = Setting({"x": 20, "y": 50}, overlaps=(2.5, 3.0))
CASES = {
    "helmholtz": Case(
        helmholtz_problem, HELMHOLTZ, HELMHOLTZ, (101, 101), 1e-8, 60.0, "2.0e-9 in 540 s on a GPU (SPRING); PIG 4.1e-5"
    ),
    "helmholtz-10": Case(
        lambda: helmholtz_problem(10, 10),
        Setting({"x": 52, "y": 52}, overlaps=(2.5,)),
        Setting({"x": 46, "y": 46}, overlaps=(2.5,)),
        (101, 101),
        1e-5,
        300.0,
        "7.1e-3 (PIG)",
    ),
    "allen-cahn": Case(
        allen_cahn_problem,
        Setting({"t": 6, "x": 300}, growing(16), maps={"x": quarters(0.85)}),
        Setting({"t": 5, "x": 160}, growing(8), maps={"x": quarters(0.7)}),
        (101, 201),
        1e-5,
        600.0,
        "1.15e-6 (self-scaled Broyden); PIG 1.0e-4",
    ),
    "klein-gordon": Case(
        klein_gordon_problem,
        Setting({"t": 12, "x": 8, "y": 8}, equal(20), overlaps=(2.5,)),
        Setting({"t": 9, "x": 8, "y": 8}, equal(40), overlaps=(2.5,)),
        (51, 31, 31),
        1e-5,
        300.0,
        "3.5e-5; PIG 2.8e-3",
    ),
    "flow-mixing": Case(
        flow_mixing_problem, _flow(96, 7, 10), _flow(64, 6, 8), (21, 61, 61), 5e-5, 600.0, "4.5e-4 (PIG)"
    ),
    "nonlinear-diffusion": Case(
        nonlinear_diffusion_problem, _hills(64, 6), _hills(48, 4), (11, 61, 61), 3e-4, 600.0, "1.4e-3; PIG 2.7e-3"
    ),
    "burgers": Case(
        burgers_problem,
        Setting({"t": 7, "x": 160}, equal(20), maps={"x": middle(4.0)}),
        Setting({"t": 6, "x": 120}, equal(20), maps={"x": middle(4.0)}),
        (101, 201),
        1e-6,
        300.0,
        "4.8e-7 in 9.8 s, 8e-14 in 346 s (H100)",
    ),
    "cavity": Case(cavity_problem, _cavity(36), _cavity(24), (101, 101), 1e-3, 600.0, "1.1e-4 in 403 s (H100)"),
    "cavity-sine": Case(
        lambda: cavity_problem(sine_lid), _cavity(28), _cavity(20), (101, 101), None, None, "4.0e-4 (PIG, from memory)"
    ),
    "cavity-unit": Case(
        lambda: cavity_problem(unit_lid),
        _cavity(28, tolerance=10.0),  # u jumps in the corners
        _cavity(20, tolerance=10.0),
        (101, 101),
        None,
        None,
        "none with this measure",
    ),
    "korteweg-de-vries": Case(
        korteweg_de_vries_problem,
        Setting({"t": 8, "x": 224}, equal(40)),
        Setting({"t": 5, "x": 128}, equal(25), tolerance=1.0),
        (51, 201),
        1e-5,
        600.0,
        "8e-11 in 1 210 s (H100)",
    ),
}
"""By section of the benchmark."""

RACE = {
    "helmholtz": Setting({"x": 12, "y": 24}, overlaps=(2.5,), tolerance=1.0),
    "klein-gordon": Setting({"t": 7, "x": 6, "y": 6}, equal(20), overlaps=(2.5,), tolerance=1.0),
}
"""For an error of 1e-2."""

INVERSE = Setting({"t": 5, "x": 160}, growing(8), maps={"x": quarters(0.7)})
QUICK_INVERSE = Setting({"t": 5, "x": 120}, growing(6), maps={"x": quarters(0.7)})
