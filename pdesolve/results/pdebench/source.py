"""What a PDEBench file says that it holds, one class for each layout; no value is read before it is asked for."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from pdesolve.results.codec import Array
from pdesolve.results.hdf5 import HDF5File

SPACE = ("x", "y", "z")
COORDINATE = "-coordinate"
_CONFIG_BYTES = 1 << 20


class AbstractSource(abc.ABC):
    """Samples of an open file.

    Attributes:
        file: the open file.
        numbers: of its samples.
        names: of the fields; ``named`` where they are the file's own.
        nodes: axis -> (n,), float64.
        dtype: of the values.
    """

    file: HDF5File
    numbers: tuple[int, ...]
    names: tuple[str, ...]
    named: bool
    nodes: dict[str, Array]
    dtype: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one component of one sample, (t, x, y, z)."""
        return tuple(len(array) for array in self.nodes.values())

    @abc.abstractmethod
    def check(self, samples: range, limit: int) -> None:
        """Some samples, by position, are there with one shape, type and grid; no value is read."""

    @abc.abstractmethod
    def read(self, samples: range, out: Array) -> None:
        """Fill (sample, component, t, x, y, z)."""

    @abc.abstractmethod
    def configs(self, samples: range) -> tuple[str, ...]:
        """Texts of the configurations that are there."""


def floats(file: HDF5File, path: str, limit: int) -> Any:
    """A data set of float32 or float64 that lies wholly in the file, not read."""
    dataset = file.member(path)
    dtype = file.number_type(dataset, path)
    if dtype.kind != "f" or dtype.itemsize not in (4, 8):
        raise file.error(f"type of {path}", "float32 or float64", str(dtype))
    file.check_stored(dataset, path, limit)
    return dataset


def coordinate(file: HDF5File, path: str, axis: str, count: int, limit: int, spare: int = 0) -> Array:
    """The first ``count`` nodes of an axis, of at most ``spare`` more."""
    dataset = floats(file, path, limit)
    if dataset.ndim != 1 or not count <= dataset.shape[0] <= count + spare:
        expected = f"({count},){f' or ({count + spare},)' if spare else ''} as the values have"
        raise file.error(f"shape of {path}", expected, str(tuple(dataset.shape)))
    array: Array = dataset[:count].astype(np.float64)
    if not np.isfinite(array).all() or not (np.diff(array) > 0).all():
        raise file.error(f"nodes {path}", "finite numbers that rise strictly", "others (repeated, falling, NaN or Inf)")
    if axis == "t" and array[0] < 0:
        raise file.error(f"times {path}", "none below zero", f"{array[0]:g}")
    return array


def config_of(file: HDF5File, item: Any, path: str) -> tuple[str, ...]:
    """The attribute ``config`` of a group, as a tuple of one text or none."""
    import h5py

    if "config" not in item.attrs:
        return ()
    attribute = h5py.h5a.open(item.id, b"config")
    text = h5py.check_string_dtype(attribute.dtype) is not None and attribute.shape == ()
    if not text or attribute.get_storage_size() > _CONFIG_BYTES:
        raise file.error(f"attribute config of {path}", "one text of at most 1 MiB", str(attribute.dtype))
    value = item.attrs["config"]
    found = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if len(found) > _CONFIG_BYTES:
        raise file.error(f"attribute config of {path}", "one text of at most 1 MiB", f"{len(found)} characters")
    return (found,)


@final
class PerSeedSource(AbstractSource):
    """Groups 0000, 0001, ... with ``data`` (t, x, y, z, component) and ``grid/t``, ``grid/x``, ...

    Arguments:
        file: the open file.
        keys: names of the groups.
        limit: most bytes of one chunk.
    """

    def __init__(self, file: HDF5File, keys: Sequence[str], limit: int) -> None:
        self.file, self._keys = file, sorted(keys, key=lambda key: (int(key), key))
        self.numbers = tuple(int(key) for key in self._keys)
        data, self.nodes = self._outline(self._keys[0], limit)
        self.names = ("u",) if data.shape[-1] == 1 else tuple(f"u{i}" for i in range(data.shape[-1]))
        self.named, self.dtype = False, data.dtype

    def check(self, samples: range, limit: int) -> None:
        for key in (self._keys[i] for i in samples):
            data, nodes = self._outline(key, limit)
            same = nodes.keys() == self.nodes.keys() and all(
                np.array_equal(nodes[axis], array) for axis, array in self.nodes.items()
            )
            if not same or data.shape[-1] != len(self.names) or data.dtype != self.dtype:
                expected, hint = f"the shape, type and grid of sample {self._keys[0]}", "choose samples that share them"
                raise self.file.error(f"sample {key}", expected, f"{data.dtype} {data.shape} on its own grid", hint)

    def read(self, samples: range, out: Array) -> None:
        for target, i in zip(out, samples, strict=True):
            target[...] = np.moveaxis(self.file.member(f"/{self._keys[i]}/data")[()], -1, 0)

    def configs(self, samples: range) -> tuple[str, ...]:
        found: list[str] = []
        for key in (self._keys[i] for i in samples):
            found += config_of(self.file, self.file.group(f"/{key}"), f"/{key}")
        return tuple(found)

    def _outline(self, key: str, limit: int) -> tuple[Any, dict[str, Array]]:
        """The data set of a sample, not read, and its nodes."""
        data = floats(self.file, f"/{key}/data", limit)
        if not 3 <= data.ndim <= 5 or 0 in data.shape:
            expected = "(t, x, component), or with y and z before component"
            raise self.file.error(f"shape of /{key}/data", expected, str(tuple(data.shape)))
        axes = ("t", *SPACE[: data.ndim - 2])
        extra = [axis for axis in SPACE if axis not in axes and self.file.has(f"/{key}/grid/{axis}")]
        if extra:
            raise self.file.error(f"axes of /{key}/grid", ", ".join(axes), f"{extra[0]} besides")
        counts = zip(axes, data.shape, strict=False)
        return data, {axis: coordinate(self.file, f"/{key}/grid/{axis}", axis, n, limit) for axis, n in counts}


@final
class FlatSource(AbstractSource):
    """Data sets (batch, t, x, y, z), one for each field, and ``t-coordinate``, ``x-coordinate``, ...

    Arguments:
        file: the open file.
        names: the data sets that are fields.
        limit: most bytes of one chunk.
    """

    def __init__(self, file: HDF5File, names: Sequence[str], limit: int) -> None:
        self.file, self.names, self.named = file, tuple(names), True
        hint = "choose the data sets that are fields by fields=..."
        self._fields = [floats(file, f"/{name}", limit) for name in names]
        shape, self.dtype = self._fields[0].shape, self._fields[0].dtype
        if not 3 <= len(shape) <= 5 or 0 in shape:
            raise file.error(f"shape of /{names[0]}", "(batch, t, x), or with y and z behind", str(tuple(shape)), hint)
        for name, field in zip(names, self._fields, strict=True):
            if field.shape != shape or field.dtype != self.dtype:
                expected, got = f"{self.dtype} {tuple(shape)} as /{names[0]}", f"{field.dtype} {tuple(field.shape)}"
                raise file.error(f"data of /{name}", expected, got, hint)
        self.numbers = tuple(range(shape[0]))
        axes = ("t", *SPACE[: len(shape) - 2])
        extra = [axis for axis in SPACE if axis not in axes and file.has(f"/{axis}{COORDINATE}")]
        if extra:
            raise file.error("axes of the file", ", ".join(axes), f"{extra[0]}{COORDINATE} besides")
        # Times of some files hold one entry more than there are frames: the end of the last step.
        self.nodes = {
            axis: coordinate(file, f"/{axis}{COORDINATE}", axis, n, limit, spare=int(axis == "t"))
            for axis, n in zip(axes, shape[1:], strict=True)
        }

    def check(self, samples: range, limit: int) -> None:
        """Nothing is left to check."""

    def read(self, samples: range, out: Array) -> None:
        chosen = slice(samples.start, samples.stop, samples.step)
        for component, field in enumerate(self._fields):
            out[:, component] = field[chosen]

    def configs(self, samples: range) -> tuple[str, ...]:
        return config_of(self.file, self.file.file, "/")
