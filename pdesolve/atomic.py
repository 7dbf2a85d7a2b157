"""Files that appear whole or not at all, whatever kills the writer."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

FilePath = str | os.PathLike[str]


@contextlib.contextmanager
def replacing(path: FilePath, *, overwrite: bool = False) -> Iterator[PatientFile]:
    """A temporary file that becomes ``path`` when the block ends well, and vanishes when it fails.

    The file is synchronised to the disk before it gets its name and its folder after that, so a crash leaves
    the old file, the new one, or none. Its mode is that of a new file under the user's umask.

    Arguments:
        path: the file to write.
        overwrite: replace a file of this name (default False).

    Raises:
        FileExistsError: it exists and ``overwrite`` is false, also when another process made it meanwhile.
        FileNotFoundError: its folder does not exist.
        IsADirectoryError, PermissionError, OSError: it is a folder or device, its folder cannot be written,
            or the disk is full.
    """
    name = os.fspath(path)
    check_target(name, overwrite=overwrite)
    folder = os.path.dirname(name) or os.curdir
    # A short name of its own: the target's may already be as long as the file system allows.
    temporary = os.path.join(folder, f".pdesolve-{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "r+b", buffering=0) as raw:
            file = PatientFile(raw)
            try:
                yield file
            except Exception:
                file.finish(name)  # an error of the disk is the cause of whatever came after it
                raise
            file.finish(name)
        _rename(temporary, name, overwrite=overwrite)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    _synchronise_folder(folder)


class PatientFile:
    """A binary file that keeps the first error of a write to itself until it is asked.

    HDF5 crashes the process when the disk is full while it closes a file; so it is told that all went well.

    Arguments:
        raw: an unbuffered file open for reading and writing.
    """

    def __init__(self, raw: io.FileIO) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: Buffer) -> int:
        """Write all of it, or nothing more once a write has failed."""
        view = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(view):
            try:
                done += self._raw.write(view[done:])
            except OSError as error:
                self.error = error
        return len(view)

    def finish(self, name: str) -> None:
        """Have the file on the disk, or raise the first error under the name of the file that was meant."""
        try:
            if self.error is None:
                os.fsync(self._raw.fileno())
        except OSError as error:
            self.error = error
        if self.error is not None:
            code = self.error.errno or errno.EIO
            message = f"cannot write: {os.strerror(code)}; free some space or choose another place"
            raise OSError(code, message, name) from self.error

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file."""
        try:
            return self._raw.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """The position."""
        return self._raw.tell()

    def read(self, size: int = -1) -> bytes:
        """Part of what was written; h5py knows a file object by this method."""
        return self._raw.read(size)

    def readinto(self, buffer: Buffer) -> int:
        """Fill a buffer; what was never written reads as zeros."""
        view = memoryview(buffer).cast("B")
        done = self._raw.readinto(view) or 0
        view[done:] = bytes(len(view) - done)
        return len(view)

    def flush(self) -> None:
        """Nothing is buffered."""


def check_target(path: FilePath, *, overwrite: bool) -> None:
    """Raise as ``replacing`` does unless ``path`` can be written: for use before a long computation."""
    name = os.fspath(path)
    folder = os.path.dirname(name) or os.curdir
    if not os.path.isdir(folder):
        hint = f"create the folder {folder!r} first"
        raise FileNotFoundError(errno.ENOENT, f"cannot write: the folder does not exist; {hint}", name)
    try:
        mode = os.lstat(name).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(os.stat(name).st_mode if os.path.exists(name) else mode):
        raise IsADirectoryError(errno.EISDIR, "cannot write: it is a folder; give a file name in it", name)
    if mode is not None and not overwrite:
        raise FileExistsError(errno.EEXIST, "the file exists; choose another name or allow overwriting", name)
    if mode is not None and not os.path.isfile(name):
        raise OSError(errno.EINVAL, "cannot overwrite: it is no regular file; choose another name", name)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"cannot write: no permission for the folder {folder!r}", name)


def _rename(temporary: str, name: str, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, name)
        return
    try:
        os.link(temporary, name)  # unlike a rename, fails when the name was taken since it was checked
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "the file was made by another process meanwhile", name) from None
    except OSError:  # a file system without hard links
        check_target(name, overwrite=False)
        os.replace(temporary, name)


def _synchronise_folder(folder: str) -> None:
    """Have the new name on the disk; some systems cannot open or synchronise folders, and need not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
