"""How a time step replaces u_t: the theta method and BDF2."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import final

from pdesolve.domains.geometry import finite_float, positive_int


@dataclass(frozen=True)
class Step:
    """R(θ u₁ + (1 - θ) u₀, c u₁ + Σ_j h_j u₋ⱼ) = 0 for the new u₁.

    Arguments:
        theta: θ in (0, 1]; the time of the residual is that part of the step.
        rate: c, in 1/time.
        history: h_0, h_1, ..., factors of the last value, the one before, ...
    """

    theta: float
    rate: float
    history: tuple[float, ...]


class AbstractTimeScheme(abc.ABC):
    """Equal steps over the time interval."""

    steps: int
    """Number of steps."""

    @abc.abstractmethod
    def step(self, index: int, length: float) -> Step:
        """The formula of step ``index``, counted from zero, of a given length."""


@final
@dataclass(frozen=True)
class ThetaMethod(AbstractTimeScheme):
    """u_t = (u₁ - u₀)/Δt with the residual at θ u₁ + (1 - θ) u₀: order 2 for θ = 1/2, else 1.

    Arguments:
        steps: number of steps.
        theta: θ in [1/2, 1] (default 1/2, Crank-Nicolson; 1 is implicit Euler).

    Raises:
        ValueError: no steps, or θ outside of [1/2, 1]: below 1/2 the method is unstable for fine meshes.

    Notes:
        With θ = 1/2 jumps in the initial values ring on for many steps: BDF2 damps them.
    """

    steps: int
    theta: float = 0.5

    def __post_init__(self) -> None:
        positive_int(self.steps, "steps")
        if not 0.5 <= finite_float(self.theta, "theta") <= 1:
            raise ValueError(f"theta must lie in [1/2, 1], got {self.theta}: below 1/2 fine meshes are unstable")

    def step(self, index: int, length: float) -> Step:
        return Step(self.theta, 1 / length, (-1 / length,))


@final
@dataclass(frozen=True)
class BDF2(AbstractTimeScheme):
    """u_t = (3 u₁ - 4 u₀ + u₋₁)/(2 Δt), the first step by implicit Euler: order 2, damps what is stiff.

    Arguments:
        steps: number of steps.

    Raises:
        ValueError: no steps.
    """

    steps: int

    def __post_init__(self) -> None:
        positive_int(self.steps, "steps")

    def step(self, index: int, length: float) -> Step:
        if index == 0:
            return Step(1.0, 1 / length, (-1 / length,))
        return Step(1.0, 1.5 / length, (-2 / length, 0.5 / length))
