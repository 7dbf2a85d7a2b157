"""A trained expert in one file that another process, or another user, can open without running its code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pdesolve.atomic import replacing
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.training.errors import CheckpointError, DamagedError
from pdesolve.training.stored_tensors import (
    HEADER_LIMIT,
    bytes_of,
    check_signature,
    decode,
    digest_of,
    encode,
    load_into,
    read_bounded,
    signature,
    state_of,
)

SCHEMA = 1
FORMAT = "pdesolve-expert"
SUFFIX = ".safetensors"


def save_expert(
    expert: AbstractExpert,
    path: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write parameters and buffers with the configuration that the expert is built from.

    A safetensors file whose header holds version, configuration and the SHA-256 of every tensor; it appears whole
    or not at all.

    Arguments:
        expert: what is saved.
        path: a name that ends in ``.safetensors``.
        config: what ``build`` of ``load_expert`` needs, in JSON's types (default empty).
        overwrite: replace a file of this name (default False).

    Raises:
        TypeError, ValueError: the configuration is not JSON, or the path has another ending.
        FileExistsError, OSError: see ``pdesolve.atomic.replacing``.
    """
    name = expert_path(path)
    tensors = state_of(expert)
    entries = {key: {**entry, "sha256": digest_of(tensors[key])} for key, entry in signature(tensors).items()}
    record = {"schema": SCHEMA, "expert": type(expert).__qualname__, "config": _json(config or {}), "tensors": entries}
    text = json.dumps(record, sort_keys=True)
    header = {"format": FORMAT, "record": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    if sum(map(len, header.values())) > HEADER_LIMIT // 4:
        raise ValueError(f"the configuration has {len(text)} bytes: at most {HEADER_LIMIT // 4} can be stored")
    with replacing(name, overwrite=overwrite) as file:
        file.write(encode(tensors, header))


def load_expert(path: str | os.PathLike[str], build: Callable[[Mapping[str, Any]], AbstractExpert]) -> AbstractExpert:
    """Build an expert from a file's configuration and give it the file's parameters.

    Arguments:
        path: a file of ``save_expert``.
        build: makes an untrained expert of the configuration; yours, so the file decides nothing about what runs.

    Returns:
        The expert that ``build`` made, on the device where it made it.

    Raises:
        CheckpointError: the file is no expert file, damaged, of a newer version, or ``build`` made an expert with
            other names, shapes or dtypes.
        FileNotFoundError: there is no such file.

    Examples:
        ```python
        save_expert(expert, "heat.safetensors", {"width": 32})
        expert = load_expert("heat.safetensors", lambda config: make_expert(**config))
        ```
    """
    name = expert_path(path)
    if not name.exists():
        raise FileNotFoundError(f"{name}: there is no such file")
    record = _read_record(name)
    expert = build(record["config"])
    if not isinstance(expert, AbstractExpert):
        raise TypeError(f"build must return an AbstractExpert, got {type(expert).__name__}")
    stored = {key: {k: v for k, v in entry.items() if k != "sha256"} for key, entry in record["tensors"].items()}
    check_signature(stored, expert, name)
    tensors = decode(read_bounded(name, bytes_of(expert.state_dict()) + HEADER_LIMIT), name)
    for key, tensor in tensors.items():
        if key not in stored or digest_of(tensor) != record["tensors"][key].get("sha256"):
            raise DamagedError(f"{name}: tensor {key!r} was changed since it was written (its SHA-256 differs)")
    load_into(expert, tensors, name)
    return expert


def _read_record(path: Path) -> dict[str, Any]:
    """The verified record in a file's header, read without the tensors behind it."""
    if not path.is_file():  # opening a pipe would wait for a writer
        raise CheckpointError(f"{path}: not a regular file")
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size)) if 0 < size <= HEADER_LIMIT else None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path}: not a safetensors file, or damaged in its header") from error
    about = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(about, dict) or about.get("format") != FORMAT or not isinstance(about.get("record"), str):
        raise CheckpointError(f"{path}: no expert file; save_expert writes them")
    text = about["record"]
    if hashlib.sha256(text.encode()).hexdigest() != about.get("sha256"):
        raise DamagedError(f"{path}: its record was changed since it was written (its SHA-256 differs)")
    try:
        record: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its record is no JSON that save_expert writes") from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise CheckpointError(
            f"{path}: written by a newer pdesolve (schema {schema}, this one reads up to {SCHEMA}); update pdesolve"
        )
    tensors = record.get("tensors") if schema == SCHEMA else None
    sound = isinstance(tensors, dict) and all(isinstance(entry, dict) for entry in tensors.values())
    if not sound or not isinstance(record.get("config"), dict):
        raise CheckpointError(f"{path}: its record is not one that save_expert writes")
    return dict(record)


def expert_path(path: str | os.PathLike[str]) -> Path:
    """The path of an expert file.

    Raises:
        ValueError: it ends in something else than ``.safetensors``.
    """
    name = Path(path)
    if name.suffix != SUFFIX:
        raise ValueError(f"{name}: an expert file ends in {SUFFIX}")
    return name


def _json(config: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(config)
    try:
        back = json.loads(json.dumps(given, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"config must be JSON (numbers, strings, lists, mappings, None): {error}") from error
    if back != given:
        changed = next(key for key in given if back.get(key) != given[key])
        raise TypeError(f"config entry {changed!r} would come back changed: use strings as keys and lists, no tuples")
    return given
