"""The configuration of ``pdesolve run``: a TOML file as frozen dataclasses, checked before anything is computed.

What the names of problems and methods mean is known to ``pdesolve.cli.registry`` only.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pdesolve.cli.exits import CommandError, ExitCode, reading
from pdesolve.cli.readers import (
    LARGEST_SEED,
    ConfigError,
    Reader,
    boolean,
    check_names,
    count_or_lists,
    integer,
    interval,
    list_of,
    number,
    shown,
    table_of,
    text,
)
from pdesolve.experts.coordinate_network import WIDTHS

SCHEMA = 1
MAX_BYTES = 1 << 20
MAX_VALUES = 10**8
Section = TypeVar("Section")


def key(reader: Reader, default: Any = dataclasses.MISSING) -> Any:
    """A field that is read from the key of its name; a field without default must be given."""
    kept: Any = {"default_factory": lambda: dict(default)} if isinstance(default, dict) else {"default": default}
    return dataclasses.field(**kept, metadata={"reader": reader})


@dataclass(frozen=True)
class ProblemSection:
    """[problem]: which, and values that replace its parameters' defaults."""

    name: str = key(text)
    parameters: Mapping[str, float] = key(table_of(number()), {})


@dataclass(frozen=True)
class MethodSection:
    """[method]: kind of expert and its sizes; None is the method's own default.

    Arguments:
        name: mixture, single or soft.
        patches: axis -> number, of a mixture (default 4 along the first space axis).
        basis: number of basis fields (default 16).
        widths: hidden layers of the network.
        coupling: of the patches of a mixture.
        seed: of the initial weights.
        max_steps: step cap of each solve of [evaluation] (default the solver's, 50).
    """

    name: str = key(text, "mixture")
    patches: Mapping[str, int] | None = key(table_of(integer(1, 64)), None)
    basis: int | None = key(integer(1, 128), None)
    widths: tuple[int, ...] = key(list_of(integer(1, 4096), 1, 16), WIDTHS)
    coupling: str | None = key(text, None)
    seed: int = key(integer(0, LARGEST_SEED), 0)
    max_steps: int | None = key(integer(1, 10_000), None)


@dataclass(frozen=True)
class TrainingSection:
    """[training]: as ``TrainingSettings``; the learning rate falls along a cosine to a twentieth."""

    steps: int = key(integer(1, 10_000_000))
    batch: int = key(integer(1, 4096), 8)
    learning_rate: float = key(number(0.0, 10.0), 3e-3)
    checkpoint_every: int = key(integer(1, 10_000_000), 100)
    seed: int = key(integer(0, LARGEST_SEED), 0)
    time_limit: float | None = key(number(0.0), None)


@dataclass(frozen=True)
class EvaluationSection:
    """[evaluation]: members that are solved after training, and where.

    Arguments:
        cases: how many random members, or the varied parameters of each as lists.
        grid: axis -> number of equally spaced nodes, ends included.
        seed: of random members, another one than the training's.
        reference: compare with a converged classical solution.
    """

    cases: int | Mapping[str, tuple[float, ...]] = key(count_or_lists, 8)
    grid: Mapping[str, int] = key(table_of(integer(2, 1_000_000)), {"t": 101, "x": 256})
    seed: int = key(integer(0, LARGEST_SEED), 1)
    reference: bool = key(boolean, True)


@dataclass(frozen=True)
class OutputSection:
    """[output]: a folder below the one where the command is started (default runs/NAME for NAME.toml)."""

    folder: str | None = key(text, None)


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Arguments:
        problem, method, training, evaluation, output: the sections.
        family: varied parameter -> (lower, upper); empty is the problem's own family.
    """

    problem: ProblemSection
    family: Mapping[str, tuple[float, float]]
    method: MethodSection
    training: TrainingSection
    evaluation: EvaluationSection
    output: OutputSection

    def record(self) -> dict[str, Any]:
        """The configuration with its defaults, in JSON's types."""
        return {"schema": SCHEMA, **_plain(dataclasses.asdict(self))}


def read_text(path: str) -> str:
    """The text of a configuration file.

    Raises:
        CommandError: ``INPUT_FILE``: missing, a folder, unreadable, empty, over 1 MiB, or no plain UTF-8.
    """
    with reading(path):
        mode = os.stat(path).st_mode  # before it is opened: opening a pipe would wait for a writer
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise ConfigError(f"cannot read {path!r}: it is {what}; give a .toml file")
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        fault = _text_fault(data)
        if fault:
            raise ConfigError(f"{path!r}: {fault}")
        return data.decode("utf-8")


def parse(content: str) -> RunConfig:
    """A configuration from its text.

    Raises:
        ConfigError: no TOML, another version, an unknown key, or a value of the wrong kind or out of range.
    """
    try:
        document = tomllib.loads(content)
    except RecursionError:
        raise ConfigError("no valid TOML: it is nested too deeply; the sections are one level deep") from None
    except ValueError as error:  # an integer of 5000 digits too
        raise ConfigError(f"no valid TOML: {error}") from error
    return from_document(document)


def from_document(given: Mapping[str, Any]) -> RunConfig:
    """A configuration from nested tables: a parsed TOML file, or what ``RunConfig.record`` gave.

    Raises:
        ConfigError: another version, an unknown key, or a value of the wrong kind or out of range.
    """
    document = dict(given)
    _check_schema(document.pop("schema", None))
    names = [field.name for field in dataclasses.fields(RunConfig)]
    check_names(document, names, "configuration", "section")
    for name, table in document.items():
        if not isinstance(table, dict):
            raise ConfigError(f"[{name}] must be a section, got {shown(table)}; write [{name}] on a line of its own")
    config = RunConfig(
        problem=_section(ProblemSection, document, "problem"),
        family={name: interval(ends, f"[family] {name}") for name, ends in document.get("family", {}).items()},
        method=_section(MethodSection, document, "method"),
        training=_section(TrainingSection, document, "training"),
        evaluation=_section(EvaluationSection, document, "evaluation"),
        output=_section(OutputSection, document, "output"),
    )
    _check_together(config)
    return config


def load_config(path: str) -> tuple[RunConfig, str]:
    """A configuration and its text.

    Raises:
        CommandError: ``INPUT_FILE`` for a file that cannot be read as text, ``USAGE`` for what it says.
    """
    content = read_text(path)
    try:
        return parse(content), content
    except ConfigError as error:
        raise CommandError(ExitCode.USAGE, f"{path!r}: {error}") from error


def _text_fault(data: bytes) -> str:
    """Why these bytes are no text of a configuration; empty if they are."""
    if not data.strip():
        return "the file is empty; examples/quick.toml shows what belongs in it"
    if len(data) > MAX_BYTES:
        return f"the file has more than {MAX_BYTES} bytes: this is no configuration"
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return "the file starts with a byte order mark; save it as UTF-8 without BOM"
    if b"\0" in data:
        return f"a NUL byte stands at byte {data.index(0)}: this is no text file"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"
    return ""


def _check_schema(value: object) -> None:
    if value is None:
        raise ConfigError(f"the version is missing; write schema = {SCHEMA} on the first line")
    integer(1, 2**31)(value, "schema")
    if isinstance(value, int) and value > SCHEMA:
        raise ConfigError(f"schema {value} is newer than this pdesolve reads (up to {SCHEMA}); update pdesolve")


def _section(cls: type[Section], document: Mapping[str, Any], name: str) -> Section:
    """One section, every key of it read by its reader."""
    table = {key: value for key, value in document.get(name, {}).items() if value is not None}  # a record has None
    fields: dict[str, Any] = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    check_names(table, fields, f"[{name}]")
    for field in fields.values():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in table:
            raise ConfigError(f"[{name}] lacks the key {field.name!r}; add it")
    return cls(**{k: fields[k].metadata["reader"](value, f"[{name}] {k}") for k, value in table.items()})


def _check_together(config: RunConfig) -> None:
    evaluation = config.evaluation
    if not isinstance(evaluation.cases, int):
        n_cases = len(next(iter(evaluation.cases.values())))
    else:
        n_cases = evaluation.cases
        if evaluation.seed == config.training.seed:
            raise ConfigError(
                f"[evaluation] seed and [training] seed are both {evaluation.seed}: the held-out cases would be "
                "cases of the training; choose another seed"
            )
    values = n_cases
    for n in evaluation.grid.values():
        values *= n
    if values > MAX_VALUES:
        raise ConfigError(f"[evaluation] asks for {values:.1e} values: at most {MAX_VALUES:.0e}; fewer cases or nodes")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
