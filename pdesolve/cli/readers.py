"""Readers of single values of a configuration: each takes what TOML gave and says in one line what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pdesolve.namespace import nearest

Reader = Callable[[object, str], Any]
"""Takes a value and the name of its place; gives the checked value or raises ``ConfigError``."""

LARGEST_SEED = 2**63 - 1


class ConfigError(ValueError):
    """A configuration that cannot be run; the message says where, what was expected and what to do."""


def integer(low: int, high: int) -> Reader:
    """An integer from ``low`` to ``high``; no boolean, no text, no 3.0."""

    def read(value: object, where: str) -> int:
        wanted = f"an integer from {low} to {high}"
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{where} must be {wanted}, got {shown(value)}{_unquoted(value)}")
        if not low <= value <= high:
            raise ConfigError(f"{where} must be {wanted}, got {shown(value)}")
        return value

    return read


def number(low: float = -math.inf, high: float = math.inf) -> Reader:
    """A finite number strictly between ``low`` and ``high``; no boolean, no text."""

    def read(value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{where} must be a number, got {shown(value)}{_unquoted(value)}")
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if not math.isfinite(found):
            raise ConfigError(f"{where} must be a finite number, got {shown(value)}")
        if not low < found < high:
            raise ConfigError(f"{where} must be {_between(low, high)}, got {shown(value)}")
        return found

    return read


def boolean(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false, got {shown(value)}")
    return value


def text(value: object, where: str) -> str:
    """A text of at least one character, without control characters."""
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be a text in quotes, got {shown(value)}")
    if not value.strip() or not value.isprintable():
        raise ConfigError(f"{where} must be a text of printable characters, got {shown(value)}")
    return value


def list_of(item: Reader, low: int, high: int) -> Reader:
    """A list of ``low`` to ``high`` items, as a tuple."""

    def read(value: object, where: str) -> tuple[Any, ...]:
        count = f"{low}" if low == high else f"{low} to {high}"
        if not isinstance(value, list):
            raise ConfigError(f"{where} must be a list of {count} values, got {shown(value)}")
        if not low <= len(value) <= high:
            raise ConfigError(f"{where} must be a list of {count} values, got {len(value)}")
        return tuple(item(entry, f"{where}[{i}]") for i, entry in enumerate(value))

    return read


def table_of(item: Reader) -> Reader:
    """A table with values of one kind."""

    def read(value: object, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table such as {{x = ...}}, got {shown(value)}")
        return {name: item(entry, f"{where}.{name}") for name, entry in value.items()}

    return read


def interval(value: object, where: str) -> tuple[float, float]:
    """A pair of finite numbers, the lower before the upper."""
    low, high = list_of(number(), 2, 2)(value, where)
    if not low < high:
        raise ConfigError(f"{where} must be [lower, upper] with lower < upper, got [{low:g}, {high:g}]; swap the ends")
    return low, high


def count_or_lists(value: object, where: str) -> int | dict[str, tuple[float, ...]]:
    """A number of cases, or the parameters of each case by name, in lists of one length."""
    most = 10_000
    if not isinstance(value, dict):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"{where} must be a number of cases or a table of lists, got {shown(value)}")
        return int(integer(1, most)(value, where))
    lists: dict[str, tuple[float, ...]] = table_of(list_of(number(), 1, most))(value, where)
    lengths = {name: len(entries) for name, entries in lists.items()}
    if len(set(lengths.values())) != 1:
        got = ", ".join(f"{n} for {name}" for name, n in lengths.items()) or "no list"
        raise ConfigError(f"{where} needs lists of one length, a value for each case; got {got}")
    return lists


def check_names(given: Iterable[str], known: Iterable[str], where: str, what: str = "key") -> None:
    """Raise at the first name that is not known, and name the nearest."""
    allowed = list(known)
    for name in given:
        if name not in allowed:
            short = repr(name if len(name) <= 60 else f"{name[:57]}...")
            hint = f"allowed: {', '.join(allowed) or 'none'}{nearest(name, allowed)}"
            raise ConfigError(f"{where}: unknown {what} {short}; {hint}")


def check_complete(given: Iterable[str], needed: Iterable[str], where: str, what: str) -> None:
    """Raise at the first name that is needed and not given."""
    names = list(given)
    for name in needed:
        if name not in names:
            raise ConfigError(f"{where} lacks the {what} {name!r}; add it")


def shown(value: object) -> str:
    """A value as TOML has it, cut short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= 10**20:
        return "an integer of more than 20 digits"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)} values"
    kind = "the text " if isinstance(value, str) else ""
    whole = repr(value) if isinstance(value, (str, int, float)) else f"{value} ({type(value).__name__})"
    return kind + (whole if len(whole) <= 60 else f"{whole[:57]}...")


def _unquoted(value: object) -> str:
    return "; write it without quotes" if isinstance(value, str) and any(c.isdigit() for c in value) else ""


def _between(low: float, high: float) -> str:
    if math.isinf(high):
        return f"greater than {low:g}"
    return f"less than {high:g}" if math.isinf(low) else f"between {low:g} and {high:g}, ends excluded"
