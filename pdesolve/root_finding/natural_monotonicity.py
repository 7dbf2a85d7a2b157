"""Line search on the size of the next correction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pdesolve.root_finding.line_search import AbstractLineSearch


@dataclass(frozen=True)
class NaturalMonotonicity(AbstractLineSearch):
    """|J⁻¹F(u + λd)| <= (1 - λ/4) |J⁻¹F(u)|, J at u: the simplified correction has to fall.

    Does not change when equations are scaled or combined: the same steps for A F as for F with any regular A. One solve
    with the factors at hand for each trial, so it goes with direct solvers.

    Notes:
        Can cycle on problems made for that purpose (Ascher & Osborne 1987); the step cap ends it.

    Source: Deuflhard, *Newton Methods for Nonlinear Problems* (2004), section 3.3.
    """

    def measure(self, residual: Tensor, correct: Callable[[Tensor], Tensor]) -> Tensor:
        return correct(residual).abs().amax(-1)

    def enough(self, before: Tensor, after: Tensor, length: Tensor) -> Tensor:
        return after <= (1.0 - 0.25 * length) * before
