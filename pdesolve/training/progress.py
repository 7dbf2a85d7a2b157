"""A progress line on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, final

from pdesolve.training.report import BOOKKEEPING

# What does not change the user's mind while a run goes on.
HIDDEN = BOOKKEEPING | {"total"}


@final
class Progress:
    """One line on stderr with step, losses by label and the number of failed solves so far.

    Arguments:
        steps: how many there are.
        done: how many are done already.
        failed: cases that failed so far.
        shown: true or false, or None for "when stderr is a terminal".
    """

    def __init__(self, steps: int, done: int, failed: int, shown: bool | None) -> None:
        self._failed = failed
        self._bar: Any = None
        if sys.stderr is not None and (sys.stderr.isatty() if shown is None else shown):
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=done, unit="step", dynamic_ncols=True)

    def update(self, row: Mapping[str, float]) -> None:
        """Show one more step."""
        self._failed += int(row["failed"])
        if self._bar is None:
            return
        losses = {name: f"{value:.3g}" for name, value in row.items() if name not in HIDDEN}
        try:
            self._bar.set_postfix({**losses, "failed": self._failed}, refresh=False)
            self._bar.update()
        except OSError:  # the terminal is gone; the training need not end for that
            self._bar = None

    def close(self) -> None:
        """End the line."""
        if self._bar is not None:
            try:
                self._bar.close()
            except OSError:
                self._bar = None
