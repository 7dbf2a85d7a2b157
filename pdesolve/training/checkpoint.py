"""One checkpoint: a folder of safetensors and JSON files with the SHA-256 of each; nothing in it can run code."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdesolve.experts.abstract import AbstractExpert
from pdesolve.training.errors import CheckpointError, DamagedError
from pdesolve.training.stored_tensors import (
    HEADER_LIMIT,
    bytes_of,
    check_signature,
    decode,
    encode,
    read_bounded,
    signature,
)

SCHEMA = 1
SUMS = "SHA256SUMS"
RECORD = "metadata.json"
FILES = ("model.safetensors", "optimizer.safetensors", "generator.safetensors", "history.safetensors", RECORD)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The whole state of a training between two steps.

    Arguments:
        step: steps done.
        model: state of the expert.
        optimizer: ``state_dict()`` of the optimizer.
        generator: state of the random numbers, uint8.
        history: name -> one number for each step.
        about: expert, optimizer and settings, as JSON.
    """

    step: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    generator: Tensor
    history: Mapping[str, list[float]]
    about: Mapping[str, Any] = field(default_factory=dict)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into an existing empty folder and have it on the disk.

    Raises:
        TypeError: the optimizer keeps something that is neither tensor nor JSON.
        OSError: no space, no permission.
    """
    tensors, scalars = _split_optimizer(checkpoint.optimizer["state"])
    record = {
        "schema": SCHEMA,
        "step": checkpoint.step,
        "torch": torch.__version__,
        "tensors": signature(checkpoint.model),
        "series": list(checkpoint.history),  # safetensors does not keep the order
        "optimizer": {"scalars": scalars, "groups": checkpoint.optimizer["param_groups"]},
        **checkpoint.about,
    }
    try:
        text = json.dumps(record, indent=1)
    except TypeError as error:
        raise TypeError(f"the optimizer's state cannot be stored: {error}; choose another optimizer") from error
    history = {name: torch.tensor(v, dtype=torch.float64) for name, v in checkpoint.history.items()}
    generator = {"state": checkpoint.generator}
    groups = (checkpoint.model, tensors, generator, history)
    contents = [encode(group) for group in groups]
    sums = ""
    for name, data in zip(FILES, [*contents, text.encode()], strict=True):
        _write(folder / name, data)
        sums += f"{hashlib.sha256(data).hexdigest()}  {name}\n"
    _write(folder / SUMS, sums.encode())
    synchronise(folder)


def read_checkpoint(folder: Path, expert: AbstractExpert) -> Checkpoint:
    """Read and verify a checkpoint of this expert; the expert is not touched.

    Raises:
        DamagedError: a file is missing, cut off, changed, a link, or larger than it can be.
        CheckpointError: it is of another model, dtype or a newer version.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise DamagedError(f"{folder}: not a folder")
    sums = _read_sums(folder)
    record = _read_record(folder, sums)
    check_signature(record.get("tensors"), expert, folder)
    own = bytes_of(expert.state_dict())
    # Optimizers keep a few copies of the parameters; the history grows with the steps.
    limits = (own, 32 * own, 2**16, 2**10 * (record["step"] + 1))
    model, state, generator, history = (
        decode(_verified(folder / name, limit + HEADER_LIMIT, sums), folder / name)
        for name, limit in zip(FILES, limits, strict=False)
    )
    if signature(model) != record["tensors"] or "state" not in generator:
        raise DamagedError(f"{folder}: its files do not belong together")
    optimizer = record.pop("optimizer")
    merged = _join_optimizer(state, optimizer["scalars"])
    series = {name: history[name].tolist() for name in record.pop("series")}
    return Checkpoint(
        record.pop("step"),
        model,
        {"state": merged, "param_groups": optimizer["groups"]},
        generator["state"],
        series,
        record,
    )


def synchronise(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _verified(path: Path, limit: int, sums: Mapping[str, str]) -> bytes:
    data = read_bounded(path, limit)
    if hashlib.sha256(data).hexdigest() != sums[path.name]:
        raise DamagedError(f"{path}: its SHA-256 is not the one written in {SUMS}; the file was changed or cut off")
    return data


def _read_sums(folder: Path) -> dict[str, str]:
    text = read_bounded(folder / SUMS, 2**12).decode("ascii", "replace")
    sums = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  ([a-z.]+)$", text, re.MULTILINE)}
    if set(sums) != set(FILES):
        raise DamagedError(f"{folder / SUMS}: does not list {', '.join(FILES)}")
    return sums


def _read_record(folder: Path, sums: Mapping[str, str]) -> dict[str, Any]:
    path = folder / RECORD
    try:
        record: Any = json.loads(_verified(path, HEADER_LIMIT, sums))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"{path}: not valid JSON ({error})") from error
    schema = record.get("schema") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(schema, int) or schema < 1:
        raise CheckpointError(f"{path}: no checkpoint of pdesolve (its schema is {schema!r})")
    if schema > SCHEMA:
        raise CheckpointError(
            f"{path}: written by a newer pdesolve (schema {schema}, this one reads up to {SCHEMA}); update pdesolve"
        )
    step, optimizer = record.get("step"), record.get("optimizer")
    if not isinstance(step, int) or step < 0 or not isinstance(optimizer, dict):
        raise DamagedError(f"{path}: step or optimizer is missing")
    return record


def _split_optimizer(state: Mapping[int, Mapping[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, entries in state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value.detach().to("cpu", copy=True).contiguous()
            else:
                scalars[f"{index}.{name}"] = value
    return tensors, scalars


def _join_optimizer(tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **scalars}.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    return state
