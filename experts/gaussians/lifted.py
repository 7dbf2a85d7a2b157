"""Derivatives of u = g + m v from those of v, the product rule with known g and m."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.frames.abstract import AbstractLifting, NoLifting, full_like, points_at
from pdesolve.jet import Jet, closure, leibniz
from pdesolve.pde.trace import Term


@dataclass(frozen=True, eq=False)
class LiftedTerms:
    """∂^α u = ∂^α g + Σ_β C(α, β) ∂^(α-β) m ∂^β v at points.

    Arguments:
        offset: ∂^α g by term, (m,).
        factors: by term, the β with their C ∂^(α-β) m, (m,); None stands for one.
    """

    offset: Mapping[Term, Tensor]
    factors: Mapping[Term, Sequence[tuple[str, Tensor | None]]]

    @property
    def needed(self) -> tuple[str, ...]:
        """The β of v that any term needs."""
        return tuple(dict.fromkeys(beta for rows in self.factors.values() for beta, _ in rows))

    def values(self, of_v: Mapping[tuple[str, str], Tensor]) -> dict[Term, Tensor]:
        """∂^α u by term, from ∂^β v by (field, β)."""
        out = {}
        for (field, alpha), rows in self.factors.items():
            total = self.offset[field, alpha]
            for beta, factor in rows:
                total = total + (of_v[field, beta] if factor is None else factor * of_v[field, beta])
            out[field, alpha] = total
        return out

    def solved(self, term: Term, wanted: Tensor, of_v: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """∂^α v from ∂^α u and the other ∂^β v by name: what m times it is, and m, (m,) each."""
        left, over = wanted - self.offset[term], torch.ones_like(wanted)
        for beta, factor in self.factors[term]:
            if beta == term[1]:
                over = over if factor is None else factor
            else:
                left = left - (of_v[beta] if factor is None else factor * of_v[beta])
        return left, over

    def pulled(self, slopes: Mapping[Term, Tensor]) -> dict[tuple[str, str], Tensor]:
        """∂F/∂(∂^β v) by (field, β), from ∂F/∂(∂^α u)."""
        out: dict[tuple[str, str], Tensor] = {}
        for (field, alpha), slope in slopes.items():
            for beta, factor in self.factors[field, alpha]:
                piece = slope if factor is None else slope * factor
                out[field, beta] = out[field, beta] + piece if (field, beta) in out else piece
        return out


def lifted_terms(
    lifting: AbstractLifting,
    coordinates: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    terms: Sequence[Term],
    opposite: Mapping[str, Tensor] | None = None,
) -> LiftedTerms:
    """g and m with their derivatives at points.

    Arguments:
        lifting: gives them.
        coordinates: by axis, (m,).
        parameters: by name, (1,).
        terms: which derivatives of which field.
        opposite: for differences of terms at two places, the second; a lifting that imposes something is refused there.

    Raises:
        ValueError: a lifting between the two ends of a periodic axis.
    """
    like = next(iter(coordinates.values()))
    if isinstance(lifting, NoLifting):
        zero = torch.zeros_like(like)
        return LiftedTerms(dict.fromkeys(terms, zero), {term: [(term[1], None)] for term in terms})
    if opposite is not None:
        raise ValueError("a lifting cannot stand on a periodic axis that the Gaussians do not close: use NoLifting")
    closed = closure(tuple(sorted({alpha for _, alpha in terms})))
    jets = {axis: Jet.variable(value, axis, closed) for axis, value in coordinates.items()}
    at = points_at(jets, parameters)
    lift, multiplier = lifting.lift(at), lifting.multiplier(at)
    g = {f: full_like(value, next(iter(jets.values()))).by_term() for f, value in lift.items()}
    m = {f: full_like(value, next(iter(jets.values()))).by_term() for f, value in multiplier.items()}
    offset = {(f, alpha): g[f][alpha].expand_as(like) for f, alpha in terms}
    factors = {
        (f, alpha): [(low, c * m[f][high].expand_as(like)) for c, low, high in leibniz(alpha)] for f, alpha in terms
    }
    return LiftedTerms(offset, factors)
