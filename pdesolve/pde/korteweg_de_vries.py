"""Korteweg-de Vries equation: steepening against dispersion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive


@dataclass(frozen=True)
class KortewegDeVries(AbstractPDE):
    """u_t + u u_x + δ² u_xxx = 0 on the axis x.

    Arguments:
        delta: δ > 0, in length^(3/2)/time^(1/2) (default 0.022, Zabusky & Kruskal's).

    Raises:
        ValueError: δ not positive and finite.
        TypeError: δ that is no number.

    Notes:
        A smooth start breaks into solitons of the width δ sqrt(12/amplitude), 0.04 to 0.06 for the defaults and a start
        cos πx; the basis and the points must resolve them. Nothing damps: early errors stay.

    Source: Korteweg & de Vries 1895; Zabusky & Kruskal, Phys. Rev. Lett. 15 (1965).
    """

    delta: float = 0.022

    def __post_init__(self) -> None:
        check_positive(delta=self.delta)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"delta": self.delta}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u, delta = fields.u, parameters.delta
        residual: Tensor = u.t + u * u.x + delta * delta * u.xxx
        return residual
