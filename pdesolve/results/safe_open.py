"""Opening results files: plain contiguous numbers only.

One check per data set therefore shuts out compression bombs, unknown filters, huge fill values, virtual data sets and
external storage: its bytes must lie in the file, and all data sets together must not be larger than the file.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from pdesolve.results.codec import DTYPES, STORED, Array, digest
from pdesolve.results.hdf5 import HDF5File, ResultsFileError, open_hdf5
from pdesolve.results.header import MAX_BYTES, SCHEMA, ArrayRecord, Header

GROUP = "pdesolve"
HEADER = "/pdesolve/header"


@contextlib.contextmanager
def open_results(path: str | os.PathLike[str]) -> Iterator[ResultsFile]:
    """Open a results file for reading.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as ``open`` does.
        ResultsFileError: it is none; also for HDF5 errors within the block.
    """
    with open_hdf5(path, "results file", "give a .vtkhdf file written by pdesolve") as file:
        yield ResultsFile(file)


class ResultsFile:
    """An open results file whose every access is checked.

    Arguments:
        file: the open file; its size is the most that all its data sets may claim together.
    """

    def __init__(self, file: HDF5File) -> None:
        self._open = file
        self._file = file.file
        self._left = file.size
        self._check_schema()

    def error(
        self, what: str, expected: str, got: str, hint: str = "the file is damaged or was made by hand"
    ) -> ResultsFileError:
        """The error that names this file."""
        return self._open.error(what, expected, got, hint)

    def header(self) -> Header:
        """The checked description of all that the file holds."""
        text = self._header_text()
        if digest(np.frombuffer(text, dtype=np.uint8)) != self._header_digest():
            raise self.error("checksum of the header", "the one it was written with", "another", "take another copy")
        try:
            header = Header.from_json(text)
        except ValueError as error:
            raise self.error("bad header", "the fields of its schema", str(error)) from error
        if header.schema != self._schema:
            raise self.error("schema", f"{header.schema}, as its header has it", str(self._schema))
        return header

    def check(self, record: ArrayRecord) -> None:
        """Check a data set against its record and the bytes that are left, without reading it."""
        dataset = self._open.member(record.path)
        dtype, shape = np.dtype(STORED[DTYPES[record.dtype]]), record.shape
        if self._open.number_type(dataset, record.path) != dtype:
            got = str(self._open.number_type(dataset, record.path))
            raise self.error(f"type of {record.path}", f"{dtype.str} for {record.dtype}", got)
        if tuple(dataset.shape) != shape:
            raise self.error(f"shape of {record.path}", str(shape), str(tuple(dataset.shape)))
        self._check_storage(dataset, record.path, math.prod(shape) * dtype.itemsize)

    def read(self, record: ArrayRecord) -> Array:
        """The array of a record that ``check`` has passed, its checksum verified."""
        dataset = self._open.member(record.path)
        array = np.empty(record.shape, dtype=STORED[DTYPES[record.dtype]])
        if array.size:
            dataset.read_direct(array)
        if digest(array) != record.sha256:
            raise self.error(
                f"checksum of {record.path}", "the one it was written with", "another", "take another copy"
            )
        return array

    def _check_storage(self, dataset: Any, path: str, n_bytes: int) -> None:
        import h5py

        properties = dataset.id.get_create_plist()
        layout = properties.get_layout()
        if layout != h5py.h5d.CONTIGUOUS or properties.get_external_count() > 0:
            names = {h5py.h5d.CHUNKED: "chunked or compressed data", h5py.h5d.VIRTUAL: "a virtual data set"}
            names |= {h5py.h5d.CONTIGUOUS: "external storage", h5py.h5d.COMPACT: "compact data"}
            hint = "rewrite your own copy with: h5repack -l CONTI -f NONE"
            raise self.error(f"storage of {path}", "contiguous data in this file", names.get(layout, "another"), hint)
        if n_bytes > self._left:
            raise self.error(f"size of {path}", f"at most {self._left} bytes in this file", f"{n_bytes} bytes")
        offset = dataset.id.get_offset()
        if n_bytes and (
            offset is None or dataset.id.get_storage_size() != n_bytes or offset + n_bytes > self._open.size
        ):
            got = f"{dataset.id.get_storage_size()} bytes"
            raise self.error(f"storage of {path}", f"{n_bytes} bytes in this file", got)
        self._left -= n_bytes

    def _check_schema(self) -> None:
        import h5py

        hint = "only files written by pdesolve can be loaded"
        link = self._file.get(GROUP, getlink=True)
        if not isinstance(link, h5py.HardLink) or not isinstance(self._file[GROUP], h5py.Group):
            found = ", ".join(sorted(self._file)[:5]) or "nothing"
            raise self.error("not a results file", f"HDF5 with a group /{GROUP}", f"HDF5 with {found}", hint)
        schema = self._attribute("schema", np.dtype("<i8"))
        if schema > SCHEMA:
            hint = "upgrade pdesolve to read it"
            raise self.error("newer file", f"schema {SCHEMA} or older", f"schema {schema}", hint)
        if schema < 1:
            raise self.error("unknown schema", f"1 to {SCHEMA}", str(schema))
        self._schema = int(schema)

    def _attribute(self, name: str, dtype: Any) -> Any:
        import h5py

        group = self._file[GROUP]
        if name not in group.attrs:
            raise self.error(f"/{GROUP} lacks the attribute {name!r}", "a results file", "another HDF5 file")
        attribute = h5py.h5a.open(group.id, name.encode())
        if attribute.shape != () or attribute.dtype != dtype:
            raise self.error(f"attribute {name!r}", str(dtype), f"{attribute.dtype}, shape {attribute.shape}")
        value = np.empty((), dtype=dtype)
        attribute.read(value)
        return value[()]

    def _header_digest(self) -> str:
        return bytes(self._attribute("sha256", np.dtype("S64"))).decode("ascii", "replace")

    def _header_text(self) -> bytes:
        dataset = self._open.member(HEADER)
        dtype = self._open.number_type(dataset, HEADER)
        if dtype.kind != "S" or dataset.shape != () or dtype.itemsize > MAX_BYTES:
            got = f"{dtype}, shape {dataset.shape}"
            raise self.error(f"type of {HEADER}", f"one text of at most {MAX_BYTES} bytes", got)
        self._check_storage(dataset, HEADER, dtype.itemsize)
        return bytes(dataset[()])
