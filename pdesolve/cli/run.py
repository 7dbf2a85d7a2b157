"""``pdesolve run FILE.toml``: train an expert, solve held-out cases with it, and write everything down."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING, Any

from pdesolve.cli.exits import CommandError, ExitCode
from pdesolve.cli.output import complain, emit

if TYPE_CHECKING:
    from pdesolve.cli.config import RunConfig
    from pdesolve.cli.run_folder import RunFolder
    from pdesolve.cli.run_results import Evaluated
    from pdesolve.domains.grid import StructuredGrid
    from pdesolve.experts.abstract import AbstractExpert
    from pdesolve.problem import ProblemFamily
    from pdesolve.training.report import TrainingReport


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the command's arguments."""
    text = "train an expert as a TOML file says, solve held-out cases, and write results, figures and checkpoints"
    parser = subparsers.add_parser("run", help=text, description=text, allow_abbrev=False)
    parser.add_argument("file", metavar="FILE.toml", help="the configuration; see examples/quick.toml")
    parser.add_argument("--out", metavar="DIR", help="folder of the run (default: the file's, or runs/NAME)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    choice.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check everything, then train, solve, compare and save."""
    from pdesolve.cli import registry
    from pdesolve.cli.config import load_config
    from pdesolve.cli.readers import ConfigError
    from pdesolve.cli.run_folder import folder_of, opened

    config, content = load_config(arguments.file)
    try:
        family = registry.make_family(config.problem, config.family)
        expert = registry.make_expert(config, family)
        cases = registry.make_cases(config.evaluation, family, config.problem.name)
        grid = registry.make_grid(config.evaluation, family.problem.box)
    except ConfigError as error:
        raise CommandError(ExitCode.USAGE, f"{arguments.file!r}: {error}") from error
    folder = folder_of(config, arguments.file, arguments.out)
    with opened(folder, content, resume=arguments.resume, overwrite=arguments.overwrite):
        try:
            report = _train(expert, family, config, folder)
            _stop_if_interrupted(report, config, arguments.file, folder)
            return _evaluate(expert, family, cases, grid, config, report, folder)
        except KeyboardInterrupt as error:
            raise _interrupted("interrupted", arguments.file, folder) from error


def _train(expert: AbstractExpert, family: ProblemFamily, config: RunConfig, folder: RunFolder) -> TrainingReport:
    """Train from the start, or from the newest checkpoint."""
    from pdesolve.memory import is_out_of_memory
    from pdesolve.training import CheckpointError, CosineDecay, TrainingError, TrainingSettings, resume, train

    given = config.training
    settings = TrainingSettings(
        steps=given.steps,
        batch=given.batch,
        learning_rate=given.learning_rate,
        schedule=CosineDecay(final=0.05),
        time_limit=given.time_limit,
        checkpoint_every=given.checkpoint_every,
    )
    try:
        if folder.has_checkpoints:
            report = resume(expert, family, settings, folder.checkpoints)
        else:
            report = train(expert, family, settings, seed=given.seed, checkpoints=folder.checkpoints)
    except CheckpointError as error:
        raise CommandError(ExitCode.INPUT_FILE, f"{error}; start again with --overwrite") from error
    except TrainingError as error:
        code = ExitCode.RESOURCES if is_out_of_memory(error) else ExitCode.NOT_CONVERGED
        raise CommandError(code, str(error)) from error
    return report


def _stop_if_interrupted(report: TrainingReport, config: RunConfig, source: str, folder: RunFolder) -> None:
    if report.interrupted:
        done = f"interrupted after step {report.steps} of {config.training.steps}; checkpoint {report.checkpoint}"
        raise _interrupted(done, source, folder)
    emit(f"trained {report.steps} steps in {report.seconds:.1f} s: {report.reason.value}")


def _interrupted(what: str, source: str, folder: RunFolder) -> CommandError:
    if not folder.has_checkpoints:
        return CommandError(ExitCode.KILLED_BY_INTERRUPT, f"{what}; nothing was checkpointed yet")
    command = shlex.join(["pdesolve", "run", source, "--out", os.fspath(folder.path), "--resume"])
    return CommandError(ExitCode.INTERRUPTED, f"{what}; go on with: {command}")


def _evaluate(
    expert: AbstractExpert,
    family: ProblemFamily,
    cases: dict[str, Any],
    grid: StructuredGrid,
    config: RunConfig,
    report: TrainingReport,
    folder: RunFolder,
) -> int:
    """Solve the held-out cases in float64, save, and say how it went."""
    from pdesolve.cli import run_results
    from pdesolve.status import describe
    from pdesolve.training import save_expert

    for name in run_results.outside(cases, family):
        complain("warning", f"[evaluation] cases: {name} goes beyond the range that the training saw")
    expert.double()
    save_expert(expert, folder.file("expert.safetensors"), config.record(), overwrite=True)
    found = run_results.solve(expert, cases, grid, config, report)
    files = run_results.save_all(found, report, folder)
    _say(found, files)
    if found.reference_fault:
        raise CommandError(ExitCode.NOT_CONVERGED, f"no reference: {found.reference_fault}; all else was saved")
    if not bool(found.solution.converged.all()):
        failed = int((~found.solution.converged).sum())
        total = found.solution.field.batch
        what = describe(found.solution.status.flatten().tolist())
        hint = "everything was saved in"
        raise CommandError(
            ExitCode.NOT_CONVERGED,
            f"{failed} of {total} cases not converged: {what}; {hint} {os.fspath(folder.path)!r}",
        )
    return ExitCode.OK


def _say(found: Evaluated, files: list[tuple[str, str]]) -> None:
    from pdesolve.cli.output import emit_table

    solution = found.solution
    n, patches = solution.status.shape
    converged = int(solution.converged.sum())
    emit(f"solved {n} cases of {patches} patches each in {found.seconds['solve']:.2f} s: {converged} converged")
    errors = found.converged_errors()
    if errors:
        emit(
            f"relative L2 error against the reference, converged cases: median {errors['median']:.2e}, "
            f"largest {errors['largest']:.2e}"
        )
    emit_table(files)
