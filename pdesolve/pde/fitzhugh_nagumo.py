"""FitzHugh-Nagumo reaction-diffusion, as in PDEBench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pdesolve.pde.abstract import AbstractPDE, Fields, Values, check_positive
from pdesolve.pde.laplacian import check_space_axes, laplacian


@dataclass(frozen=True)
class FitzHughNagumo(AbstractPDE):
    """u_t = D_u Δu + u - u³ - k - v and v_t = D_v Δv + u - v: an activator u and an inhibitor v.

    Arguments:
        D_u: diffusivity of the activator, in length²/time of the domain's own units (default 1e-3, PDEBench's).
        D_v: diffusivity of the inhibitor (default 5e-3).
        k: rate k, dimensionless like u and v (default 5e-3).
        axes: space axes, a choice of "xyz" (default "xy"); the domain must have them.

    Raises:
        ValueError: a parameter not positive and finite; an axis outside "xyz", twice, or none.
        TypeError: a parameter that is no number.

    Notes:
        Fronts between u near ±1 have the width sqrt(8 D_u), 0.09 for the defaults; the basis and the points must
        resolve them. PDEBench: domain (-1, 1)², T = 5, no flow through the boundary, initial values of independent
        normal noise at every cell, which no smooth basis represents before diffusion has smoothed it.

    Source: FitzHugh 1961; Nagumo, Arimoto & Yoshizawa 1962; this form and the defaults: Takamoto et al.,
        *PDEBench* (NeurIPS 2022), after Klaasen & Troy, SIAM J. Appl. Math. 44 (1984).
    """

    D_u: float = 1e-3
    D_v: float = 5e-3
    k: float = 5e-3
    axes: str = "xy"

    def __post_init__(self) -> None:
        check_positive(**self.parameters)
        check_space_axes(self.axes)

    @property
    def field_names(self) -> tuple[str, ...]:
        return ("u", "v")

    @property
    def parameters(self) -> Mapping[str, float]:
        return {"D_u": self.D_u, "D_v": self.D_v, "k": self.k}

    def residual(self, fields: Fields, coordinates: Values, parameters: Values) -> tuple[Tensor, Tensor]:
        u, v, p = fields.u, fields.v, parameters
        activator = u.t - p.D_u * laplacian(u, self.axes) - u + u * u * u + p.k + v
        inhibitor = v.t - p.D_v * laplacian(v, self.axes) - u + v
        return activator, inhibitor
