"""A backbone for fields on grids: a Fourier neural operator from gridded functions to basis fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

_AXES = 4


@final
class FourierNeuralOperator(nn.Module):
    """v_0 = P a;  v_{l+1} = σ(W_l v_l + b_l + F⁻¹(R_l F v_l));  b_1..b_n = Q v_L, with F the Fourier transform.

    a are functions on a grid (initial values, coefficients, coordinates: whatever the channels hold), P, W_l and Q act
    node by node, R_l is a complex matrix for each kept wave number. σ is GELU, left out in the last layer. What comes
    out is what ``HardConstraintLayer`` takes.

    Arguments:
        n_channels: functions in.
        n_basis: basis fields for each unknown field.
        n_axes: 1 to 4 grid axes, time among them.
        generator: draws the initial weights (required: nothing here depends on global state).
        n_fields: unknown fields (default 1).
        n_layers: L (default 5).
        modes: wave numbers kept along each axis, m for all or one for each: -m..m-1, and 0..m-1 along the last axis,
            as published (default 8).
        width: channels between layers (default 64).
        projection: channels within Q, which has one hidden layer (default 128).
        padding: zeros appended beyond the far end of each axis, as a fraction of its length, for all or one for each
            (default 0). Zero for periodic axes; 0.1 to 0.25 for others, whose ends would meet.
        dtype: of the parameters (default float32).

    Raises:
        ValueError: sizes below one, axes out of range, negative padding. At the call: a shape that does not fit, an
            empty batch, or an axis with 2 m nodes or fewer: its wave numbers would alias.
        TypeError: at the call, what is no real floating tensor of the parameters' dtype.

    Notes:
        The same weights are the same function on every grid that is fine enough: inputs without wave numbers beyond the
        grids' give the same fields, up to what σ puts beyond them. Without coordinates among the channels, on periodic
        grids and without padding, a shifted input gives the shifted fields. Parameters are real (R's last axis holds
        real and imaginary part), so ``double()``, safetensors and optimisers treat them as any others. Under
        ``torch.autocast`` the transforms keep the parameters' precision. R has width² (2m)^(n_axes-1) m numbers, two
        floats each.

    Good values: as published for diffusion-sorption 5 layers, 8 modes, width 64.

    Source: Li et al., *Fourier neural operator for parametric partial differential equations*, ICLR 2021; set-up of
        Chalapathi, Du & Krishnapriyan, ICLR 2024.
    """

    def __init__(
        self,
        n_channels: int,
        n_basis: int,
        n_axes: int,
        *,
        generator: torch.Generator,
        n_fields: int = 1,
        n_layers: int = 5,
        modes: int | Sequence[int] = 8,
        width: int = 64,
        projection: int = 128,
        padding: float | Sequence[float] = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if isinstance(n_axes, bool) or not isinstance(n_axes, int) or not 1 <= n_axes <= _AXES:
            raise ValueError(f"n_axes must be an integer from 1 to {_AXES}, got {n_axes!r}")
        self.modes: tuple[int, ...] = _for_each(modes, n_axes, "modes")
        self.padding: tuple[float, ...] = _for_each(padding, n_axes, "padding")
        sizes = (n_channels, n_basis, n_fields, n_layers, width, projection, *self.modes)
        if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(
                f"sizes must be integers >= 1, got channels {n_channels}, basis {n_basis}, fields {n_fields}, "
                f"layers {n_layers}, width {width}, projection {projection}, modes {modes}"
            )
        if any(not 0 <= fraction < float("inf") for fraction in self.padding):
            raise ValueError(f"padding must be finite and >= 0, got {padding}")
        self.n_basis, self.n_fields = n_basis, n_fields
        self.lift = _Pointwise(n_channels, width, generator, dtype)
        self.local = nn.ModuleList(_Pointwise(width, width, generator, dtype) for _ in range(n_layers))
        self.spectral = nn.ModuleList(
            _SpectralConvolution(width, self.modes, generator, dtype) for _ in range(n_layers)
        )
        self.project = _Pointwise(width, projection, generator, dtype)
        self.out = _Pointwise(projection, n_basis * n_fields, generator, dtype)

    def forward(self, functions: Tensor) -> Tensor:
        """Basis fields, (batch, n_basis, *grid), or (batch, n_basis, component, *grid) for several fields.

        Arguments:
            functions: a, (batch, channel, *grid).
        """
        self._check(functions)
        grid = functions.shape[2:]
        v: Tensor = _padded(self.lift(functions), self.padding)
        for i, (local, spectral) in enumerate(zip(self.local, self.spectral, strict=True)):
            v = local(v) + spectral(v)
            if i < len(self.local) - 1:
                v = nn.functional.gelu(v)
        for axis, n in enumerate(grid, 2):
            v = v.narrow(axis, 0, n)
        fields = self.out(nn.functional.gelu(self.project(v))).to(functions.dtype)
        components = (self.n_fields,) if self.n_fields > 1 else ()
        found: Tensor = fields.reshape(functions.shape[0], self.n_basis, *components, *grid)
        return found

    def _check(self, functions: Any) -> None:
        like, n_channels = self.lift.weight, self.lift.weight.shape[1]
        if not isinstance(functions, Tensor):
            raise TypeError(f"functions must be a tensor (batch, channel, *grid), got {type(functions).__name__}")
        if functions.dtype != like.dtype or functions.device != like.device:
            raise TypeError(
                f"functions are {functions.dtype} on {functions.device}, the parameters {like.dtype} on {like.device}: "
                "convert one of them, as in functions.to(next(network.parameters()))"
            )
        axes = len(self.modes)
        if functions.ndim != axes + 2 or functions.shape[0] == 0 or functions.shape[1] != n_channels:
            raise ValueError(
                f"functions have shape {tuple(functions.shape)}: (batch, {n_channels}, *grid) is needed with {axes} "
                "grid axes and at least one case"
            )
        for axis, (n, m) in enumerate(zip(functions.shape[2:], self.modes, strict=True)):
            if n <= 2 * m:
                raise ValueError(
                    f"grid axis {axis} has {n} nodes, too few for {m} modes: use at least {2 * m + 1} nodes, or at "
                    f"most {(n - 1) // 2} modes"
                )


class _Pointwise(nn.Module):
    """W v + b at every node, (batch, channel, *grid)."""

    def __init__(self, n_in: int, n_out: int, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        bound = n_in**-0.5
        self.weight = nn.Parameter(_uniform((n_out, n_in), -bound, bound, generator, dtype))
        self.bias = nn.Parameter(_uniform((n_out,), -bound, bound, generator, dtype))

    def forward(self, v: Tensor) -> Tensor:
        flat = torch.matmul(self.weight, v.flatten(2)) + self.bias.unsqueeze(-1)
        return flat.reshape(*flat.shape[:2], *v.shape[2:])


class _SpectralConvolution(nn.Module):
    """F⁻¹(R F v), F the Fourier transform over all grid axes, taken axis by axis: dropped modes are never computed."""

    def __init__(self, width: int, modes: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.modes = tuple(modes)
        kept = (*(2 * m for m in modes[:-1]), modes[-1])
        self.weight = nn.Parameter(_uniform((width, width, *kept, 2), 0.0, width**-2.0, generator, dtype))

    def forward(self, v: Tensor) -> Tensor:
        v = v.to(self.weight.dtype)  # transforms know no half precision, which torch.autocast may have chosen
        nodes, axes = v.shape[2:], range(2, v.ndim)
        spectrum = torch.fft.rfft(v, dim=-1, norm="forward")[..., : self.modes[-1]]
        for axis, m in zip(axes[:-1], self.modes[:-1], strict=True):
            full = torch.fft.fft(spectrum, dim=axis, norm="forward")
            n = full.shape[axis]
            spectrum = torch.cat([full.narrow(axis, 0, m), full.narrow(axis, n - m, m)], axis)
        spectrum = torch.einsum("bi...,io...->bo...", spectrum, torch.view_as_complex(self.weight))
        for axis, n, m in zip(axes[:-1], nodes[:-1], self.modes[:-1], strict=True):
            middle = spectrum.new_zeros((*spectrum.shape[:axis], n - 2 * m, *spectrum.shape[axis + 1 :]))
            wide = torch.cat([spectrum.narrow(axis, 0, m), middle, spectrum.narrow(axis, m, m)], axis)
            spectrum = torch.fft.ifft(wide, dim=axis, norm="forward")
        # A mean has no imaginary part. R may give it one, which transforms of different makers treat differently.
        real = torch.arange(self.modes[-1], device=v.device) == 0
        spectrum = torch.complex(spectrum.real, torch.where(real, 0.0, spectrum.imag))
        found: Tensor = torch.fft.irfft(spectrum, n=nodes[-1], dim=-1, norm="forward")
        return found


def _padded(v: Tensor, fractions: Sequence[float]) -> Tensor:
    """Zeros beyond the far end of each axis."""
    added = [round(f * n) for f, n in zip(fractions, v.shape[2:], strict=True)]
    return nn.functional.pad(v, [n for extra in reversed(added) for n in (0, extra)]) if any(added) else v


def _for_each(value: Any, n_axes: int, what: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence):
        return (value,) * n_axes
    if len(value) != n_axes:
        raise ValueError(f"{what} must be one number, or one for each of {n_axes} axes, got {value}")
    return tuple(value)


def _uniform(shape: Sequence[int], low: float, high: float, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"parameters must be float32 or float64, got {dtype}")
    drawn = torch.empty(tuple(shape), dtype=dtype, device=generator.device)
    return drawn.uniform_(low, high, generator=generator)
