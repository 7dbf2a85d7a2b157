"""A read-only mapping whose keys read as attributes: ``fields.u``, ``coordinates.x``, ``parameters.D``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, final

T = TypeVar("T")


def nearest(name: str, known: Mapping[str, Any] | tuple[str, ...] | list[str]) -> str:
    """A hint ``; did you mean 'x'?`` for a misspelt name, or nothing."""
    match = difflib.get_close_matches(name, [str(k) for k in known], n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


@final
class Namespace(Mapping[str, T], Generic[T]):
    """Named values, read as attributes or as items.

    Arguments:
        values: the mapping to expose.
        kind: what the values are, for the error message ("field", "parameter", ...).
    """

    __slots__ = ("_kind", "_values")

    def __init__(self, values: Mapping[str, T], kind: str = "name") -> None:
        self._values = dict(values)
        self._kind = kind

    def __getitem__(self, name: str) -> T:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(self._unknown(name)) from None

    def __getattr__(self, name: str) -> T:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(self._unknown(name)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Namespace({self._kind}: {', '.join(self._values)})"

    def _unknown(self, name: str) -> str:
        allowed = ", ".join(self._values) or "none"
        return f"unknown {self._kind} {name!r}: given are {allowed}{nearest(name, self._values)}"
