"""Diffusion with Freundlich sorption, as in PDEBench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive


@dataclass(frozen=True)
class DiffusionSorption(AbstractPDE):
    """R(u) u_t = D u_xx with retardation R(u) = 1 + (1 - φ)/φ ρ_s k n_f u^(n_f - 1).

    The residual is u_t - D u_xx / R(u). R is singular at u = 0 for n_f < 1; there u^(n_f - 1) is
    evaluated at sqrt(u² + ε²), ε = ``regularisation``: R stays finite and smooth, is even in u, and differs
    from the unregularised one by a factor 1 + O((ε/u)²).

    Arguments:
        D: effective diffusion coefficient, m²/day in PDEBench (default 5e-4).
        porosity: φ, dimensionless, 0 < φ < 1 (default 0.29).
        bulk_density: ρ_s, kg/m³ (default 2880).
        k: Freundlich's parameter (default 3.5e-4).
        n_f: Freundlich's exponent (default 0.874).
        regularisation: ε (default 1e-6, PDEBench's shift of u).

    Raises:
        ValueError: a parameter that is not positive and finite, or φ >= 1.
        TypeError: a parameter that is no number.

    Notes:
        The solution stays in [0, 1] for boundary values there; the residual is evaluated for any u.

    Source: Takamoto et al., *PDEBench* (NeurIPS 2022), appendix D.4; Limousin et al. 2007 for R.
    """

    D: float = 5e-4
    porosity: float = 0.29
    bulk_density: float = 2880.0
    k: float = 3.5e-4
    n_f: float = 0.874
    regularisation: float = 1e-6

    def __post_init__(self) -> None:
        check_positive(**asdict(self))
        if self.porosity >= 1:
            raise ValueError(f"porosity must lie between 0 and 1, got {self.porosity}")

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u",)

    @property
    def parameters(self) -> Mapping[str, float]:
        return asdict(self)

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> Tensor:
        u = fields.u
        return u.t - parameters.D * u.xx / self.retardation(u.value, parameters)

    @staticmethod
    def retardation(u: Tensor, parameters: Values) -> Tensor:
        """R(u), dimensionless, shaped like u."""
        p = parameters
        factor = (1.0 - p.porosity) / p.porosity * p.bulk_density * p.k * p.n_f
        magnitude = u * u + p.regularisation**2
        return 1.0 + factor * torch.exp(0.5 * (p.n_f - 1.0) * torch.log(magnitude))
