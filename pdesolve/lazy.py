"""Names of a package that are loaded when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def loader(package: str, homes: Mapping[str, str], packages: Sequence[str] = ()) -> Callable[[str], Any]:
    """A package's ``__getattr__`` (PEP 562).

    Arguments:
        package: its ``__name__``.
        homes: name -> the module below the package that defines it.
        packages: those below the package that are loaded when they are asked for (default none).
    """

    def load(name: str) -> Any:
        if name in packages:
            return import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
