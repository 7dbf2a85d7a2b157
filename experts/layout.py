"""Where patches carry rows, whose rows they are, and how fields on patches become one."""

from __future__ import annotations

from dataclasses import dataclass

from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.domains.patch import AbstractDecomposition


@dataclass(frozen=True, eq=False)
class Layout:
    """What a coupling makes of a decomposition.

    Arguments:
        rows: the boxes in which points of rows are drawn.
        field: assembles what the patches found.
        mixed: the rows are those of Σ_k φ_k u_k, φ from here; None: those of each patch's own field.
    """

    rows: AbstractDecomposition
    field: AbstractDecomposition
    mixed: OverlappingDecomposition | None = None
