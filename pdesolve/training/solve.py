"""One problem, one expert, one solution."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.one_off import AbstractOneOffExpert, FitReport, Progress
from pdesolve.experts.resumable import AbstractResumableExpert
from pdesolve.problem import Problem
from pdesolve.solution import Solution
from pdesolve.training.fit_file import FitFile

logger = logging.getLogger(__name__)
_NODES = {1: 201, 2: 101, 3: 41, 4: 17}


def solve(
    problem: Problem,
    expert: AbstractOneOffExpert,
    grid: StructuredGrid | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    throw: bool = True,
    progress: bool | None = None,
) -> Solution:
    """Fit an expert to a problem and evaluate it.

    Arguments:
        problem: what to solve.
        expert: such as ``PhysicsInformedGaussians(1000)``; it keeps the fit, ``expert.at(points)`` evaluates it.
        grid: where the solution is wanted (default uniform, 101 nodes along each of two axes).
        file: a name that ends in ``.safetensors``, written whenever a slab is done. One that exists is gone on with,
            whatever ended its writer, to the same numbers where no slab failed (default None: nothing is stored).
        throw: raise ``SolveError`` if the fit fails; otherwise read ``Solution.status``.
        progress: a bar on stderr; None: where that is a terminal.

    Returns:
        A solution of one case: status, stats with the residual on fresh points ("worst_residual"), the history of the
        fit and "seconds".

    Raises:
        TypeError: a problem or an expert of another kind; experts for families are trained, see ``train``.
            A file is asked for, and the expert's fit is one piece.
        CheckpointError: the file is of another problem or other settings, damaged, or of a newer version.
        SolveError: a fit that failed.
        OSError: the file cannot be written, said before the fit begins.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, got {type(problem).__name__}")
    if not isinstance(expert, AbstractOneOffExpert):
        raise TypeError(
            f"expert must be fitted to one problem, such as PhysicsInformedGaussians, got {type(expert).__name__}: "
            "experts for families are trained with train(expert)"
        )
    nodes = _NODES[len(problem.box.axes)]
    chosen = grid or StructuredGrid.uniform(problem.box, (nodes,) * len(problem.box.axes))
    began = time.perf_counter()
    fit = expert.fit if file is None else _kept(problem, expert, file)
    bar = _bar(progress)

    def show(share: float, residual: float) -> None:
        if bar is not None:
            bar.set_postfix({"residual": f"{residual:.2g}"}, refresh=False)
            bar.update(round(100 * share) - bar.n)

    try:
        fit(problem, show)
    finally:  # a line on the terminal ends, whatever ended the fit
        if bar is not None:
            bar.close()
    solution: Solution = expert({}, chosen, throw=throw)
    seconds = torch.tensor([[time.perf_counter() - began]], dtype=torch.float64)
    return replace(solution, stats={**solution.stats, "seconds": seconds})


def _kept(
    problem: Problem, expert: AbstractOneOffExpert, path: str | os.PathLike[str]
) -> Callable[[Problem, Progress], FitReport]:
    """The fit that goes on from a file and keeps it up to date."""
    if not isinstance(expert, AbstractResumableExpert):
        raise TypeError(
            f"the fit of a {type(expert).__name__} cannot be gone on with, so that there is nothing to keep in a file: "
            "leave file out"
        )
    file = FitFile(path, expert.record(problem))
    run = expert.resume if file.load(expert, lambda shapes: expert.make_room(problem, shapes)) else expert.fit

    def fit(problem: Problem, progress: Progress) -> FitReport:
        try:
            return run(problem, progress, lambda: file.store(expert))
        except KeyboardInterrupt:
            logger.info("interrupted; call again to go on from %s", file.path)
            raise

    return fit


def _bar(shown: bool | None) -> Any:
    if sys.stderr is None or not (sys.stderr.isatty() if shown is None else shown):
        return None
    from tqdm import tqdm

    return tqdm(total=100, unit="%", dynamic_ncols=True)
