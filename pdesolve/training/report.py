"""What a training did and why it ended."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BOOKKEEPING = frozenset({"learning_rate", "gradient_norm", "failed", "skipped", "seconds"})
"""Series of a history that say how the steps went; the others are losses."""


class StopReason(enum.Enum):
    """Why a training ended; the value is a sentence."""

    FINISHED = "all steps were done"
    EARLY_STOP = "the watched number did not fall any more"
    TIME_LIMIT = "the time limit was reached"
    INTERRUPTED = "a signal asked to stop"


@dataclass(frozen=True, eq=False)
class TrainingReport:
    """The course of a training.

    Arguments:
        history: name -> one number for each step, those before a resume included:
            "loss" (the objective), each label of the expert's rows and their sum "total" (mean over the cases of
            Σ rows²), "learning_rate", "gradient_norm" (before clipping), "failed" (cases left out), "skipped"
            (1 where the gradient was not finite and the step was not taken), "seconds", and "monitor" with an
            early stop.
        steps: how many were done in all.
        seconds: their wall time, s.
        reason: why it ended.
        checkpoint: the last checkpoint, None where none is kept.
    """

    history: Mapping[str, Sequence[float]]
    steps: int
    seconds: float
    reason: StopReason
    checkpoint: Path | None = None

    @property
    def interrupted(self) -> bool:
        """SIGINT or SIGTERM ended it."""
        return self.reason is StopReason.INTERRUPTED

    @property
    def stopped_early(self) -> bool:
        """It ended before the last step by early stop or time limit."""
        return self.reason in (StopReason.EARLY_STOP, StopReason.TIME_LIMIT)

    @property
    def final_losses(self) -> dict[str, float]:
        """The numbers of the last step; empty when there was none."""
        return {name: values[-1] for name, values in self.history.items() if values}
