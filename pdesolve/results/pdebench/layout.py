"""PDEBench's two layouts, as they are written.

Source: Takamoto et al., *PDEBench* (NeurIPS 2022), and the description of its data sets.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from pdesolve.results.codec import Array

STORED = "<f4"


class AbstractPDEBenchLayout(abc.ABC):
    """Where a file keeps values, coordinates and configuration."""

    @abc.abstractmethod
    def check(self, batch: int, components: int, configs: int) -> None:
        """Raise ValueError unless it can hold so many cases, components and texts."""

    @abc.abstractmethod
    def write(self, file: Any, values: Array, nodes: Mapping[str, Array], configs: Sequence[str]) -> None:
        """Write all to an open, empty h5py file.

        Arguments:
            values: (batch, component, t, x, y, z), axes that the grid lacks left out.
            nodes: axis -> (n,).
            configs: none, one or one for each case.
        """


@final
@dataclass(frozen=True)
class PerSeedLayout(AbstractPDEBenchLayout):
    """One group for each sample, as 1D_diff-sorp_NA_NA.h5 has: ``0000/data`` (t, x, y, z, component), ``0000/grid/x``.

    Arguments:
        first: number of the first sample (default 0).

    Raises:
        ValueError: a negative number.
    """

    first: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.first, bool) or not isinstance(self.first, int) or self.first < 0:
            raise ValueError(f"first must be an integer >= 0, the number of the first sample; got {self.first!r}")

    def check(self, batch: int, components: int, configs: int) -> None:
        if configs not in (0, 1, batch):
            raise ValueError(f"{configs} configurations for {batch} samples: give one for all, or one for each")

    def write(self, file: Any, values: Array, nodes: Mapping[str, Array], configs: Sequence[str]) -> None:
        for case, sample in enumerate(values):
            group = file.create_group(f"{self.first + case:04d}")
            group.create_dataset("data", data=np.ascontiguousarray(np.moveaxis(sample, 0, -1)), dtype=STORED)
            for axis, array in nodes.items():
                group.create_dataset(f"grid/{axis}", data=array, dtype=STORED)
            if configs:
                group.attrs["config"] = configs[case % len(configs)]


@final
@dataclass(frozen=True)
class FlatLayout(AbstractPDEBenchLayout):
    """One data set for each field, as 1D_Burgers_Sols_Nu0.01.hdf5: ``tensor`` (batch, t, x, y, z), ``x-coordinate``.

    Arguments:
        names: data set of each component (default ``tensor``, for one).

    Raises:
        ValueError: no names, twice the same, or one that a data set cannot have.
    """

    names: tuple[str, ...] = ("tensor",)

    def __post_init__(self) -> None:
        bad = [name for name in self.names if not name or "/" in name or "\0" in name or name.endswith("-coordinate")]
        if not self.names or len(set(self.names)) < len(self.names) or bad or "." in self.names:
            raise ValueError(f"names of data sets must differ, without '/' and '-coordinate'; got {self.names!r}")
        if all(name.isdecimal() for name in self.names):
            raise ValueError(f"a name of digits only is a sample of the other layout; got {self.names!r}")

    def check(self, batch: int, components: int, configs: int) -> None:
        if components != len(self.names):
            raise ValueError(
                f"{components} components for the data sets {', '.join(self.names)}: "
                "give FlatLayout one name for each component"
            )
        if configs > 1:
            raise ValueError(f"{configs} configurations: the flat layout has room for one; use PerSeedLayout()")

    def write(self, file: Any, values: Array, nodes: Mapping[str, Array], configs: Sequence[str]) -> None:
        for component, name in enumerate(self.names):
            file.create_dataset(name, data=np.ascontiguousarray(values[:, component]), dtype=STORED)
        for axis, array in nodes.items():
            file.create_dataset(f"{axis}-coordinate", data=array, dtype=STORED)
        if configs:
            file.attrs["config"] = configs[0]
