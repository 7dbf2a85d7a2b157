"""Tensors as plain HDF5 data sets and back, bit for bit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

# torch dtype -> what is stored. VTK knows no 16-bit floats, and float32 holds every one of them.
STORED: dict[torch.dtype, str] = {
    torch.float64: "<f8",
    torch.float32: "<f4",
    torch.float16: "<f4",
    torch.bfloat16: "<f4",
    torch.int64: "<i8",
    torch.int32: "<i4",
    torch.int16: "<i2",
    torch.int8: "|i1",
    torch.uint8: "|u1",
    torch.bool: "|u1",
}
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in STORED}

Array = np.ndarray[Any, np.dtype[Any]]


def to_array(tensor: Tensor, what: str) -> Array:
    """The C-ordered array that is stored for a tensor of any shape and device.

    Raises:
        TypeError: a dtype that no results file holds (complex, quantised).
    """
    if tensor.dtype not in STORED:
        raise TypeError(f"{what} has dtype {tensor.dtype}: a results file holds {', '.join(DTYPES)}")
    plain = tensor.detach().cpu()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        plain = plain.to(torch.float32)
    return np.ascontiguousarray(plain.numpy()).astype(STORED[tensor.dtype], copy=False).reshape(tensor.shape)


def to_tensor(array: Array, dtype: torch.dtype) -> Tensor:
    """The tensor that ``to_array`` was given; it may share the array's memory."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(native).to(dtype)


def digest(array: Array) -> str:
    """SHA-256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def dataset_names(names: Iterable[str]) -> list[str]:
    """A different HDF5 name for each name: letters, digits, ``_`` and ``-`` stay, the rest becomes ``_``."""
    chosen: dict[str, None] = {}
    for name in names:
        base = re.sub(r"[^\w-]", "_", name, flags=re.ASCII)[:64] or "_"
        candidate, count = base, 1
        while candidate in chosen:
            count += 1
            candidate = f"{base}-{count}"
        chosen[candidate] = None
    return list(chosen)
