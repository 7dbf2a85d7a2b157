"""Reading HDF5 files that others made: nothing is followed out of the file, nothing large is believed."""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterator
from typing import Any, final

MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"PK\x03\x04": "a ZIP archive (.npz, .pt or .zip)",
    b"\x93NUMPY": "a NumPy .npy file",
    b"CDF": "a NetCDF 3 file",
    b"\x80": "a Python pickle",
    b"<?xml": "an XML file (.vtu, .xdmf)",
    b"<VTKFile": "a VTK XML file",
    b"# vtk": "a legacy VTK file",
    b"$MeshFormat": "a Gmsh mesh",
    b"\x1f\x8b": "a gzip file",
}
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Filter -> how much larger than its stored bytes a chunk can be: DEFLATE 1032, LZF one match of 264 bytes in 3.
# Any other may be code that HDF5 loads from a plug-in.
_EXPANSION = {1: 1032, 2: 1, 3: 1, 32000: 88}


class ResultsFileError(ValueError):
    """A file that cannot be read as what it should be; the message says what was found and what to do."""


def refuse(path: str, what: str, expected: str, got: str, hint: str) -> ResultsFileError:
    """The error for ``path``, in one line."""
    line = f"{path!r}: {what}; expected {expected}; got {got}; {hint}"
    return ResultsFileError(" ".join(line.split()))


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str], kind: str, hint: str) -> Iterator[HDF5File]:
    """Open an HDF5 file for reading.

    Arguments:
        path: the file.
        kind: what it should be, for messages.
        hint: what to give instead of a file that is not HDF5.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as ``open`` does.
        ResultsFileError: it is none; also for HDF5 errors within the block.
    """
    import h5py

    name = os.fspath(path)
    size = _checked_size(name, kind, hint)
    try:
        with h5py.File(name, "r", locking=False) as file:
            yield HDF5File(file, name, size)
    except ResultsFileError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        copy = "the file is damaged or truncated: take another copy"
        got = str(error) or type(error).__name__
        raise refuse(name, "cannot be read", "an intact HDF5 file", got, copy) from error


def _checked_size(path: str, kind: str, hint: str) -> int:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, f"is a folder; {hint}", path)
    if not stat.S_ISREG(status.st_mode):
        raise refuse(path, f"not a {kind}", "a regular file", "a pipe, socket or device", hint)
    with open(path, "rb") as file:
        start = file.read(16)
    if not start.startswith(HDF5_SIGNATURE):
        kinds = [found for magic, found in MAGIC.items() if start.startswith(magic)]
        got = kinds[0] if kinds else f"a file that starts with {start!r}" if start else "an empty file"
        raise refuse(path, f"not a {kind}", "HDF5", got, hint)
    return status.st_size


@final
class HDF5File:
    """An open file whose every access is checked.

    Arguments:
        file: the open ``h5py.File``.
        path: for messages.
        size: bytes of the file.
    """

    def __init__(self, file: Any, path: str, size: int) -> None:
        self.file, self.path, self.size = file, path, size

    def error(
        self, what: str, expected: str, got: str, hint: str = "the file is damaged or was made by hand"
    ) -> ResultsFileError:
        """The error that names this file."""
        return refuse(self.path, what, expected, got, hint)

    def member(self, path: str) -> Any:
        """A data set of this file: every step there is a hard link, so no step leads elsewhere."""
        import h5py

        item = self._reached(path)
        if item is None:
            raise self.error(f"no {path}", "a data set of that name", "nothing of that name")
        if not isinstance(item, h5py.Dataset):
            raise self.error(f"no data at {path}", "a data set", type(item).__name__)
        return item

    def group(self, path: str) -> Any | None:
        """A group of this file, None if nothing or something else has that name."""
        import h5py

        item = self._reached(path)
        return item if isinstance(item, h5py.Group) else None

    def has(self, path: str) -> bool:
        """Whether something lies at a path."""
        return self._reached(path) is not None

    def number_type(self, dataset: Any, path: str) -> Any:
        """The NumPy type of a data set of plain numbers."""
        try:
            dtype = dataset.dtype
        except TypeError as error:  # HDF5 types without a NumPy equivalent
            raise self.error(f"type of {path}", "plain numbers", str(error)) from error
        if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
            raise self.error(f"type of {path}", "plain numbers", f"{dtype} (references, text or records)")
        return dtype

    def check_stored(self, dataset: Any, path: str, limit: int) -> None:
        """All of a data set lies in this file, and no chunk of it unpacks to more than ``limit`` bytes.

        What was never written would be read as a fill value, whatever size the data set claims to have.
        """
        import h5py

        properties = dataset.id.get_create_plist()
        layout, item = properties.get_layout(), dataset.dtype.itemsize
        if layout == h5py.h5d.VIRTUAL or properties.get_external_count() > 0:
            got = "a virtual data set" if layout == h5py.h5d.VIRTUAL else "external storage"
            raise self.error(f"storage of {path}", "data in this file", got)
        claimed, stored = math.prod(dataset.shape) * item, dataset.id.get_storage_size()
        factor, chunks = 1, 1
        if layout == h5py.h5d.CHUNKED:
            factor = math.prod(self._expansions(properties, path))
            chunk = properties.get_chunk()
            chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, chunk, strict=True))
            if math.prod(chunk) * item > limit:
                got = f"{math.prod(chunk) * item} bytes"
                raise self.error(f"a chunk of {path}", f"at most {limit} bytes", got, "allow more by max_bytes")
            there = dataset.id.get_num_chunks() == chunks
        else:
            there = stored == claimed
        if not there or stored > self.size or claimed > factor * stored:
            raise self.error(f"storage of {path}", f"{claimed} bytes of data", f"{stored} bytes in this file")

    def _expansions(self, properties: Any, path: str) -> Iterator[int]:
        for index in range(properties.get_nfilters()):
            code, _, _, name = properties.get_filter(index)
            if code not in _EXPANSION:
                hint = "rewrite your own copy with: h5repack -f GZIP=4"
                raise self.error(f"filter of {path}", "gzip, lzf, shuffle or fletcher32", f"{name!r} ({code})", hint)
            yield _EXPANSION[code]

    def _reached(self, path: str) -> Any | None:
        import h5py

        item = self.file
        for part in (part for part in path.split("/") if part):
            link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise self.error(f"link at {path}", "data in the file itself", type(link).__name__)
            item = item[part]
        return item
