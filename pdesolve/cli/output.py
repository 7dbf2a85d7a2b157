"""Text for the terminal: safe to show whatever a file or a file name holds."""

from __future__ import annotations

import sys


def printable(text: str, encoding: str | None = None) -> str:
    """One line without control characters, and without what the encoding cannot show.

    Arguments:
        text: anything, such as a file name that is not UTF-8 or a string from somebody else's file.
        encoding: of the stream (default UTF-8).
    """
    spaced = " ".join(text.split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in spaced)
    return shown.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def emit(text: str) -> None:
    """Print one line to stdout."""
    print(printable(text, getattr(sys.stdout, "encoding", None)))


def complain(kind: str, message: str) -> None:
    """Print ``pdesolve: error: ...`` or ``pdesolve: warning: ...`` as one line to stderr."""
    line = printable(message, getattr(sys.stderr, "encoding", None))
    print(f"pdesolve: {kind}: {line}", file=sys.stderr)


def emit_table(rows: list[tuple[str, str]]) -> None:
    """Print names and texts in two columns."""
    width = max(len(name) for name, _ in rows)
    encoding = getattr(sys.stdout, "encoding", None)
    for name, text in rows:
        print(f"  {printable(name, encoding).ljust(width)}  {printable(text, encoding)}")
