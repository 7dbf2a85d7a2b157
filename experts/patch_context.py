"""All that rows are made from: a problem, its patches, and a basis with its derivatives at points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains.decomposition import Decomposition, Interface
from pdesolve.problem import Problem
from pdesolve.transforms import below


@dataclass(frozen=True, eq=False)
class PatchContext:
    """One call of a constraint layer, before it is solved.

    Arguments:
        problem: equation and conditions.
        discretization: chooses points and differentiates.
        decomposition: the patches.
        source: the basis, an ``Ansatz`` or a ``GridBasis``.
        parameters: name -> (batch,) or (1,), float64.
        generator: draws the points.
    """

    problem: Problem
    discretization: AbstractDiscretization
    decomposition: Decomposition
    source: Ansatz | GridBasis
    parameters: Mapping[str, Tensor]
    generator: torch.Generator

    def interior(self, count: int) -> Points:
        """``count`` points on every patch."""
        return _drawn(lambda: self.discretization.interior(self.decomposition, count, self.generator))

    def face(self, boundary: str, count: int, patches: Sequence[int] | None = None) -> Points:
        """``count`` points on the face called ``boundary`` of each of the patches (default all)."""
        chosen = range(len(self.decomposition.patches)) if patches is None else patches
        return _drawn(lambda: self.discretization.face(self.decomposition, chosen, boundary, count, self.generator))

    def expand(self, points: Points, derivatives: Sequence[str]) -> Expansion:
        """The basis and its derivatives at points, in float64."""
        return self.discretization.expand(self.source, points, self.parameters, tuple(derivatives)).double()

    def columns(self) -> tuple[Tensor, ...]:
        """The parameters, each (batch, 1, 1), to broadcast against points."""
        return tuple(value.reshape(-1, 1, 1) for value in self.parameters.values())

    def interfaces(self, axis: str) -> list[Interface]:
        """Interfaces normal to an axis."""
        return [interface for interface in self.decomposition.interfaces if interface.axis == axis]

    def normal_derivatives(self, axis: str) -> tuple[tuple[str, str], ...]:
        """(field, derivative) of what neighbours share across an axis: as many as the order in each field."""
        order = self.problem.trace.order
        names = self.problem.field_names
        return tuple((field, axis * j) for field in names for j in range(max(1, order(axis, field))))


def _drawn(draw: Callable[[], Points]) -> Points:
    """Points are the same for all members of ``torch.vmap``, which refuses random numbers."""
    found: Points = below(draw)
    return found
