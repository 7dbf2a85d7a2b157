"""Tensors in files: safetensors, bounded reads, comparison with the model that is to take them."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdesolve.training.errors import CheckpointError, DamagedError

HEADER_LIMIT = 16 * 2**20
"""Bytes of a safetensors header or a JSON record; both describe tensors and stay far below it."""


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; links are not followed.

    Raises:
        DamagedError: missing, a link, a folder, unreadable, or larger.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise DamagedError(f"{path}: not a regular file")
            if about.st_size > limit:
                raise DamagedError(f"{path}: {about.st_size} bytes, where at most {limit} belong")
            return file.read(limit)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedError(f"{path}: is a link, which is not followed: give the file itself") from error
        raise DamagedError(f"{path}: cannot be read ({error.strerror})") from error


def encode(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    from safetensors.torch import save

    return save(dict(tensors), metadata)


def decode(data: bytes, path: Path) -> dict[str, Tensor]:
    """Tensors from the bytes of a safetensors file; ``path`` is for the message.

    Raises:
        DamagedError: no valid safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamagedError(f"{path}: not a valid safetensors file ({error})") from error


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as contiguous copies on the CPU.

    Raises:
        TypeError: the module keeps a state that is no tensor (``get_extra_state``).
    """
    state = module.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name!r} is a {type(value).__name__}: only tensors can be stored; keep it as a buffer")
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}


def signature(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Name -> dtype and shape, in JSON's types."""
    return {name: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape)} for name, t in tensors.items()}


def bytes_of(tensors: Mapping[str, Tensor]) -> int:
    """How much memory tensors take."""
    return sum(t.numel() * t.element_size() for t in tensors.values())


def check_signature(stored: Any, module: nn.Module, path: Path) -> None:
    """Raise unless the stored tensors are those of the module, by name, shape and dtype.

    Raises:
        CheckpointError: it names the first few differences.
    """
    own = signature(module.state_dict())
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path}: the record of its tensors is missing")
    faults = [f"{name!r} is missing in the file" for name in own if name not in stored]
    faults += [f"{name!r} is not in this expert" for name in stored if name not in own]
    faults += [
        f"{name!r} is {_text(stored[name])} in the file, {_text(own[name])} in this expert"
        for name in own
        if name in stored and stored[name] != own[name]
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(
            f"{path} holds another model than this {type(module).__name__}: {'; '.join(faults[:3])}{more}; "
            "build the expert with the sizes and dtype that it had"
        )


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a module, all or, when names, shapes or dtypes differ, none."""
    check_signature(signature(tensors), module, path)
    module.load_state_dict(dict(tensors), strict=True)


def digest_of(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def _text(entry: Any) -> str:
    if not isinstance(entry, dict):
        return repr(entry)
    return f"{entry.get('dtype')} {entry.get('shape')}"
