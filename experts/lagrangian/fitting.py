"""How a fit of a Lagrangian expert is led, watched and reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from pdesolve.domains.geometry import finite_float
from pdesolve.experts.lagrangian.crossing import Crossing
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, Minimised


@dataclass(frozen=True)
class Stage:
    """One step of a path that leads to the equation: its coefficients times factors.

    Arguments:
        velocity: factor of a (default 1).
        diffusivity: factor of g, not negative (default 1).

    Raises:
        TypeError: a factor that is no number.
        ValueError: one that is not finite, a diffusivity below zero.
    """

    velocity: float = 1.0
    diffusivity: float = 1.0

    def __post_init__(self) -> None:
        finite_float(self.velocity, "the factor of the velocity")
        if finite_float(self.diffusivity, "the factor of the diffusivity") < 0:
            raise ValueError(
                f"the factor of the diffusivity is {self.diffusivity}, below zero: that stage is ill-posed forward in "
                "time; give one of 0 or more"
            )


@dataclass(frozen=True)
class FitStep:
    """Where a fit stands after a step of its minimiser.

    Arguments:
        slab, slabs: the running slab, counted from 0, and how many there are.
        stage, stages: of the path, likewise.
        step: of the minimiser in this stage.
        cost: 1/2 |r|².
    """

    slab: int
    slabs: int
    stage: int
    stages: int
    step: int
    cost: float


StepWatch = Callable[[FitStep], bool]
"""Called after each step of a fit; true asks for a stop."""


@final
class WatchedStage:
    """Tells a watch where the minimiser of a stage is, and keeps whether it asked for a stop.

    Arguments:
        watch: asked after each step; None asks for nothing.
        slab, slabs, stage, stages: as in ``FitStep``.
    """

    def __init__(self, watch: StepWatch | None, slab: int, slabs: int, stage: int, stages: int) -> None:
        self._watch, self._place, self.stops = watch, (slab, slabs, stage, stages), False

    def __call__(self, step: int, theta: Tensor, cost: float) -> bool:
        self.stops = self._watch is not None and bool(self._watch(FitStep(*self._place, step, cost)))
        return self.stops


@dataclass(frozen=True, eq=False)
class LagrangianReport:
    """How a fit went.

    Arguments:
        minimised: what the minimiser returned for the last stage of each slab that this fit, or its continuation, ran.
        residual: root mean square of the weighted rows of each slab that is done, on points between those of the fit.
        crossing: the first crossing, or the smallest Jacobian, of the slabs that are done.
        stopped: whether the fit was told to stop; ``resume`` goes on with it.
    """

    minimised: tuple[Minimised, ...]
    residual: tuple[float, ...]
    crossing: Crossing
    stopped: bool = False


def check_led(minimiser: object, path: Sequence[Stage]) -> None:
    """Raise unless these are a minimiser and a path to the equation."""
    if not isinstance(minimiser, AbstractMinimiser):
        raise TypeError(f"minimiser must be one such as ProbedLevenbergMarquardt(), got {type(minimiser).__name__}")
    if any(not isinstance(stage, Stage) for stage in path):
        raise TypeError(f"the path must consist of Stage objects, got {tuple(path)}")
    if not path or path[-1] != Stage():
        raise ValueError(f"the path must end with Stage(), the equation itself, got {tuple(path)}")
