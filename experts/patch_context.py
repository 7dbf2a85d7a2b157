"""All that rows are made from: a problem, its patches, and a basis with its derivatives at points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.discretization.ansatz import AbstractAnsatz
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains.overlap import OverlappingDecomposition
from pdesolve.domains.patch import AbstractDecomposition, Interface, Regions
from pdesolve.experts.layout import Layout
from pdesolve.jet import closure, leibniz
from pdesolve.problem import Problem
from pdesolve.transforms import below


@dataclass(frozen=True, eq=False)
class PatchContext:
    """One call of a constraint layer, before it is solved.

    Arguments:
        problem: equation and conditions.
        discretization: chooses points and differentiates.
        layout: the patches, as the coupling arranges them.
        source: the basis, an ansatz or a ``GridBasis``.
        parameters: name -> (batch,) or (1,), float64.
        generator: draws the points.
    """

    problem: Problem
    discretization: AbstractDiscretization
    layout: Layout
    source: AbstractAnsatz | GridBasis
    parameters: Mapping[str, Tensor]
    generator: torch.Generator

    @property
    def decomposition(self) -> AbstractDecomposition:
        """The patches, with the boxes that carry rows."""
        return self.layout.rows

    def interior(self, count: int) -> Points:
        """``count`` points on every patch."""
        points = _drawn(lambda: self.discretization.interior(self.decomposition, count, self.generator))
        return self.owned(points)

    def owned(self, points: Points) -> Points:
        """Points that are given patch by patch."""
        return points.of(range(len(self.decomposition.patches)))

    def within(self, regions: Regions, count: int) -> Points:
        """``count`` points in each of some boxes."""
        return _drawn(lambda: self.discretization.interior(regions, count, self.generator))

    def face(self, boundary: str, count: int, patches: Sequence[int] | None = None) -> Points:
        """``count`` points on the face called ``boundary`` of each of the patches (default all)."""
        chosen = range(len(self.decomposition.patches)) if patches is None else patches
        points = _drawn(lambda: self.discretization.face(self.decomposition, chosen, boundary, count, self.generator))
        return points.of(chosen)

    def expand(self, points: Points, derivatives: Sequence[str]) -> Expansion:
        """The basis and its derivatives at points, in float64."""
        return self.discretization.expand(self.source, points, self.parameters, tuple(derivatives)).double()

    def expand_sides(
        self, points: Points, pairs: Sequence[tuple[int, int]], derivatives: Sequence[str]
    ) -> tuple[Expansion, Expansion]:
        """``expand`` for both patches of each piece's pair; once where all patches share their basis."""
        if not self.source.patchwise:
            shared = self.expand(points, derivatives)
            return shared, shared
        first, second = zip(*pairs, strict=True)
        return self.expand(points.of(first), derivatives), self.expand(points.of(second), derivatives)

    def expand_mixed(
        self, points: Points, patches: Tensor, mixed: OverlappingDecomposition, derivatives: Sequence[str]
    ) -> Expansion:
        """``expand`` of Σ_j φ_kj u_kj, the unknowns of a piece being those of its patches one after another.

        ∂^α (φ b) = Σ_β C(α, β) ∂^β φ ∂^(α-β) b.

        Arguments:
            points: pieces of points.
            patches: k_j of each piece, (piece, J).
            mixed: gives φ.
            derivatives: names, "" for the value.
        """
        needed, columns = closure(tuple(derivatives)), patches.unbind(1)
        if self.source.patchwise:
            each = [self.expand(points.of(own.tolist()), needed) for own in columns]
        else:
            each = [self.expand(points, needed)] * len(columns)
        shares = [
            {low: mixed.share(own.unsqueeze(1), points.coordinates, low)[..., None, None] for low in needed}
            for own in columns
        ]
        basis = {
            term: torch.cat(
                [
                    _summed([(c * share[low]) * part.basis[high] for c, low, high in leibniz(term)])
                    for share, part in zip(shares, each, strict=True)
                ],
                dim=-1,
            )
            for term in derivatives
        }
        return Expansion(basis, {term: each[0].offset[term] for term in derivatives})

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


def _summed(parts: Sequence[Tensor]) -> Tensor:
    return sum(parts[1:], parts[0])
