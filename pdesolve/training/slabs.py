"""The fit of a Lagrangian expert as a run: a bar, Ctrl-C, and a file from which a killed one goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pdesolve.experts.lagrangian.fitting import FitStep, LagrangianReport, Stage
from pdesolve.experts.lagrangian.pinn import LagrangianPINN
from pdesolve.residual_minimisation.abstract import AbstractMinimiser
from pdesolve.residual_minimisation.fingerprint import fingerprint
from pdesolve.training.fit_file import FitFile
from pdesolve.training.interrupt import InterruptGuard

logger = logging.getLogger(__name__)


def fit_slabs(
    expert: LagrangianPINN,
    minimiser: AbstractMinimiser,
    path: Sequence[Stage] = (Stage(),),
    *,
    file: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    throw: bool = True,
) -> LagrangianReport:
    """``expert.fit`` with a progress bar, an orderly end at Ctrl-C, and its state on the disk.

    Arguments:
        expert: what is fitted.
        minimiser, path, throw: as of ``LagrangianPINN.fit``.
        file: a name that ends in ``.safetensors``, written whenever a stage of a slab is done and at a stop. One that
            exists is gone on with, whatever ended its writer (default None: nothing is stored).
        progress: a bar on stderr with slab, stage and loss; None: where that is a terminal.

    Returns:
        The report; ``stopped`` says whether SIGINT or SIGTERM ended the fit after the step that ran. A second signal
        interrupts at once.

    Raises:
        CheckpointError: the file is of another problem or other settings, damaged, or of a newer version.
        SolveError, ValueError: as of ``LagrangianPINN.fit``.
        OSError: the file cannot be written, said before the fit begins.
    """
    if not isinstance(expert, LagrangianPINN):
        raise TypeError(f"expert must be a LagrangianPINN, got {type(expert).__name__}")
    kept, run = None if file is None else FitFile(file, _record(expert, path)), expert.fit
    if kept is not None and kept.load(expert):
        run = expert.resume
        logger.info("%s: %d of %d slabs are done", kept.path, int((expert.ended >= 0).sum()), len(expert.ended))

    def store() -> None:
        if kept is not None:
            kept.store(expert)

    with _bar(progress) as bar, InterruptGuard() as guard:

        def watch(at: FitStep) -> bool:
            if bar is not None:
                place = {"slab": f"{at.slab + 1}/{at.slabs}", "stage": f"{at.stage + 1}/{at.stages}"}
                bar.set_postfix({**place, "loss": f"{at.cost:.3g}"}, refresh=False)
                bar.update()
            return guard.requested

        report = run(minimiser, path, throw, watch, store)
    if report.stopped:
        store()
        left = "nothing is stored" if kept is None else f"call again to go on from {kept.path}"
        logger.info("stopped by a signal; %s", left)
    return report


def _record(expert: LagrangianPINN, path: Sequence[Stage]) -> dict[str, Any]:
    """What has to agree for a state to be gone on with: the problem, the expert, the path."""
    return {**expert.record(path=tuple(path)), "rows": fingerprint(expert.problem)}


@contextlib.contextmanager
def _bar(shown: bool | None) -> Iterator[Any]:
    if sys.stderr is None or not (sys.stderr.isatty() if shown is None else shown):
        yield None
        return
    from tqdm import tqdm

    with tqdm(unit="step", dynamic_ncols=True) as bar:
        yield bar
