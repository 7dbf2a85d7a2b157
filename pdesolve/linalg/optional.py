"""Back ends that need not be installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class OptionalPackage:
    """A package that is imported when it is first used.

    Arguments:
        module: what to import.
        packages: its names in the package index; one of them has to be installed.
        minimum: oldest version that works, as numbers.
        install: the command that installs it.
    """

    module: str
    packages: tuple[str, ...]
    minimum: tuple[int, ...]
    install: str

    def load(self) -> Any:
        """The module.

        Raises:
            ImportError: it is missing, too old, or does not start; says how to install it.
        """
        package, version = self._found()
        if tuple(int(part) for part in re.findall(r"\d+", version)[: len(self.minimum)]) < self.minimum:
            wanted = ".".join(map(str, self.minimum))
            raise ImportError(f"{package} {version} is installed, {wanted} or newer is needed: {self.install}")
        try:
            return importlib.import_module(self.module)
        except (ImportError, OSError, RuntimeError) as error:
            raise ImportError(f"{package} {version} does not start ({error}): {self.install}") from error

    def _found(self) -> tuple[str, str]:
        for package in self.packages:
            try:
                return package, importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
        raise ImportError(f"{self.packages[0]} is not installed: {self.install}")
