"""All that decides how a training runs, in one object."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.training.early_stop import EarlyStop
from pdesolve.training.objective import AbstractObjective, LogResidual
from pdesolve.training.schedule import AbstractSchedule, Constant


@dataclass(frozen=True)
class TrainingSettings:
    """Stochastic gradient descent on fresh cases and points at every step.

    Arguments:
        steps: how many, at least 1.
        batch: cases of each step (default 8); a plain ``Problem`` has one.
        learning_rate: η > 0 (default 1e-3).
        schedule: ``Constant()`` (default), ``CosineDecay(warm_up)`` or ``StepHalving(every)``.
        gradient_clip: largest 2-norm of the gradient, scaled down to it (default None: as it is).
        objective: ``LogResidual()`` (default) or ``MeanSquare()``.
        early_stop: ``EarlyStop(patience)`` (default None).
        time_limit: seconds of wall time of one call of ``train`` or ``resume``; the step under way is finished
            (default None).
        checkpoint_every: steps between checkpoints (default 100); there is always one at the start and at the end.
        keep_checkpoints: how many are kept (default 3).
        skip_limit: consecutive steps without a finite gradient before it is an error (default 10).
        optimizer: called as ``optimizer(parameters, lr=η)`` (default ``torch.optim.Adam``);
            ``functools.partial`` gives it further arguments.

    Raises:
        TypeError, ValueError: a value of the wrong kind or out of range.

    Good values: batch 4 to 32, η 1e-3 with ``CosineDecay(0.05)``, gradient_clip 1 for deep networks.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 1e-3
    schedule: AbstractSchedule = field(default_factory=Constant)
    gradient_clip: float | None = None
    objective: AbstractObjective = field(default_factory=LogResidual)
    early_stop: EarlyStop | None = None
    time_limit: float | None = None
    checkpoint_every: int = 100
    keep_checkpoints: int = 3
    skip_limit: int = 10
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every", "keep_checkpoints", "skip_limit"):
            positive_int(getattr(self, name), name)
        for name in ("learning_rate", "gradient_clip", "time_limit"):
            value = getattr(self, name)
            if (value is not None or name == "learning_rate") and finite_float(value, name) <= 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        for name, kind in (("schedule", AbstractSchedule), ("objective", AbstractObjective)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be an {kind.__name__}, got {getattr(self, name)!r}")
        if self.early_stop is not None and not isinstance(self.early_stop, EarlyStop):
            raise TypeError(f"early_stop must be an EarlyStop or None, got {self.early_stop!r}")
        if not callable(self.optimizer):
            raise TypeError(f"optimizer must make an optimizer of parameters, got {self.optimizer!r}")

    def describe(self) -> dict[str, str]:
        """Each setting as text, the same in every process."""
        return {f.name: _text(getattr(self, f.name)) for f in dataclasses.fields(self)}


def _text(value: Any) -> str:
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
