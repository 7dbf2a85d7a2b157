"""Fourier modes of the label times Chebyshev polynomials in time as a branch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.experts.lagrangian.branch import AbstractBranch, AbstractPreparedBranch, LabelFrame, Rows, joined


@final
@dataclass(frozen=True)
class SpectralBranch(AbstractBranch):
    """N = Σ θ_ij φ_i(ξ) T_j(t): Fourier modes along periodic axes, Chebyshev polynomials along the others and in time.

    A linear branch, no network: where solution and curves are smooth in the label it converges spectrally, and the
    solve is a Gauss-Newton iteration whose only nonlinearity is the equation's.

    Arguments:
        modes: highest wave number along each periodic axis (default 16: 33 functions), highest degree along others.
        degree: highest degree in time (default 10).

    Raises:
        TypeError, ValueError: numbers that are no integers of at least 1.

    Good values: enough that the residual reported on points between those of the solve is as small as on them.

    Source: Boyd, *Chebyshev and Fourier Spectral Methods* (2001).
    """

    modes: int = 16
    degree: int = 10

    def __post_init__(self) -> None:
        positive_int(self.modes, "modes")
        positive_int(self.degree, "degree")

    def n_parameters(self, frame: LabelFrame, n_out: int) -> int:
        count = n_out * (self.degree + 1)
        for axis in frame.axes:
            count *= 2 * self.modes + 1 if axis in frame.periodic else self.modes + 1
        return count

    def start(self, frame: LabelFrame, n_out: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(self.n_parameters(frame, n_out), dtype=torch.float64, device=generator.device)

    def prepare(self, frame: LabelFrame, coordinates: Mapping[str, Any], n_out: int) -> AbstractPreparedBranch:
        factors = []
        for axis in frame.axes:
            if axis in frame.periodic:
                factors.append(_waves(frame.angle(axis, coordinates[axis]), self.modes))
            else:
                factors.append(_chebyshev(frame.scaled(axis, coordinates[axis]), self.modes))
        factors.append(_chebyshev(frame.scaled("t", coordinates["t"]), self.degree))
        return _PreparedSpectral(factors, n_out)


@final
class _PreparedSpectral(AbstractPreparedBranch):
    def __init__(self, factors: list[Any], n_out: int) -> None:
        self.factors, self.n_out = factors, n_out
        self._whole: Tensor | None = None

    def values(self, theta: Tensor) -> Any:
        """Contracted axis by axis: the product basis is never formed."""
        first, *others = self.factors
        sizes = [factor.shape[-1] for factor in self.factors]
        group = theta.ndim - 1
        table = theta.unflatten(-1, (self.n_out, *sizes)).movedim(group, group + 1).flatten(group + 1)
        total = (first @ table).reshape(*first.shape[:-1], self.n_out, *sizes[1:])  # first @ (first, output * others)
        for factor in others:
            beside = factor.unsqueeze(-2)  # (point, 1, function), and ones for the axes still to come
            for _ in range(total.ndim - group - 3):
                beside = beside.unsqueeze(-1)
            total = (total * beside).sum(group + 2)
        return total

    def linearised(self, theta: Tensor) -> tuple[Tensor, Rows]:
        basis = self._basis()  # (term, point, function)
        weights = theta.detach().unflatten(-1, (self.n_out, -1))

        def rows(cotangent: Tensor) -> Tensor:
            return torch.cat([torch.einsum("k...,k...b->...b", part, basis) for part in cotangent.unbind(-1)], dim=-1)

        return basis @ weights.mT, rows

    def _basis(self) -> Tensor:
        if self._whole is None:
            whole = self.factors[0]
            for factor in self.factors[1:]:
                whole = (whole.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(-2)
            self._whole = whole.data
        return self._whole


def _waves(angle: Any, modes: int) -> Any:
    """1, cos k θ, sin k θ for k up to ``modes``, (point, 2 modes + 1)."""
    k = torch.arange(1, modes + 1, dtype=angle.dtype, device=angle.device)
    phases = angle.unsqueeze(-1) * k
    one = (angle * 0.0 + 1.0).unsqueeze(-1)
    return torch.cat([one, torch.cos(phases), torch.sin(phases)], dim=-1)


def _chebyshev(s: Any, degree: int) -> Any:
    """T_0 … T_degree at s, (point, degree + 1)."""
    rows = [s * 0.0 + 1.0, s]
    for _ in range(degree - 1):
        rows.append(s * rows[-1] * 2.0 - rows[-2])
    return joined(rows)
