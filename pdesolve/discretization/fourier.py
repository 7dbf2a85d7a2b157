"""Fourier spectral derivatives along periodic axes, finite differences along the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.discretization.finite_differences import FiniteDifferences
from pdesolve.discretization.gridded import AbstractGridDiscretization, check_indices, check_not_text, check_values
from pdesolve.domains.geometry import nearest_hint
from pdesolve.domains.grid import StructuredGrid
from pdesolve.transforms import below

_CACHED = 1 << 18
_RESIDENT = 1 << 22
_MATCH = 1e-9


@dataclass(frozen=True, eq=False)
class FourierSpectral(AbstractGridDiscretization):
    """∂ᵐu/∂xᵐ at the nodes = Σ_k (i k)ᵐ û_k exp(i k x), the derivative of the trigonometric interpolant.

    Along an axis of n nodes and length L, k = 2π j / L with |j| <= n/2. For even n the mode j = n/2 is a cosine that
    vanishes, with the sign of neither ±n/2, in odd derivatives. Mixed derivatives are tensor products. Along all
    other axes, such as time or between walls, derivatives are those of ``FiniteDifferences``. Spectral derivatives
    are taken of the whole field, once for each set of axes, and then read at the nodes that were sampled.

    Arguments:
        grid: equally spaced along the periodic axes, the end point not repeated: ``StructuredGrid.periodic``, or
            ``cell_centred``.
        axes: the periodic axes (default: every space axis).
        order: of the differences along the others, 2 or 4 (default 4).

    Raises:
        ValueError: "t" or an axis that the grid lacks, unequal spacing, a repeated end point, another order.
        ValueError: by ``HardConstraintLayer``, a field that is not ``Periodic`` along one of the axes.

    Notes:
        Exact for trigonometric polynomials of degree below n/2; the error of analytic fields falls exponentially in
        n. A field that is not periodic has a jump there and derivatives of size n/L beside it, without a warning; the
        same for m or g of a lifting. Products alias: a residual is evaluated at nodes, where u u_x has its exact
        value, and is never transformed back, so there is nothing to dealias (the 2/3 rule of pseudospectral time
        steppers removes what a product feeds into the next step).
        Work grows with the grid, not with the sampled nodes. Fields are transformed in groups that fit a processor's
        cache, or a GPU's memory, so that memory beyond the results does not grow with their number; a backward pass
        through them takes a few times that of the basis.

    Good values: 8 nodes or more for the shortest wave of solution and basis.

    Source: Trefethen, *Spectral Methods in MATLAB* (2000), chapters 2 and 3.
    """

    grid: StructuredGrid
    axes: Sequence[str] | None = None
    order: int = 4
    periodic_axes: tuple[str, ...] = field(init=False)
    _differences: FiniteDifferences = field(init=False, repr=False)
    _cast: dict[tuple[str, int, bool, torch.device, torch.dtype], Tensor] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        space = tuple(axis for axis in self.grid.axes if axis != "t")
        chosen = space if self.axes is None else tuple(self.axes)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"axes must name at least one axis and none twice, got {chosen}")
        for axis in chosen:
            if axis not in space:
                raise ValueError(f"{axis!r} is no axis in space of the grid; {nearest_hint(str(axis), space)}")
            _check_periodic(self.grid, axis)
        object.__setattr__(self, "periodic_axes", tuple(axis for axis in space if axis in chosen))
        object.__setattr__(self, "_differences", FiniteDifferences(self.grid, self.order))

    def derivatives(
        self,
        values: Tensor,  # (*batch, *grid)
        terms: Iterable[str],
        indices: Tensor | None = None,  # (*points, n_axes)
    ) -> dict[str, Tensor]:
        """See ``AbstractGridDiscretization.derivatives``; any order along periodic axes, up to 4 along others."""
        parts = self._parted(terms)
        check_values(values, self.grid)
        if indices is not None:
            check_indices(indices, self.grid)
            indices = indices.to(values.device)
        batch = values.shape[: values.ndim - len(self.grid.shape)]
        size = max(1, (_CACHED if values.device.type == "cpu" else _RESIDENT) // self.grid.n_nodes)
        pieces = [
            self._of_fields(fields, parts, indices) for fields in values.reshape(-1, *self.grid.shape).split(size)
        ]
        found = pieces[0] if len(pieces) == 1 else {term: torch.cat([p[term] for p in pieces]) for term in parts}
        return {term: found[term].reshape(*batch, *found[term].shape[1:]) for term in parts}

    def _parted(self, terms: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Each term's letters of periodic axes, in the grid's order, and of the others."""
        check_not_text(terms)
        parts = {}
        for term in terms:
            spectral = "".join(axis * term.count(axis) for axis in self.periodic_axes)
            parts[term] = spectral, "".join(axis for axis in term if axis not in self.periodic_axes)
        self._differences.check_terms([rest for _, rest in parts.values()])
        return parts

    def _of_fields(
        self, values: Tensor, parts: dict[str, tuple[str, str]], indices: Tensor | None
    ) -> dict[str, Tensor]:
        """Terms of some fields, (field, *grid)."""
        found: dict[str, Tensor] = {}
        for axes in dict.fromkeys("".join(dict.fromkeys(spectral)) for spectral, _ in parts.values()):
            spectrum = self._transformed(values, axes) if axes else values
            for spectral in dict.fromkeys(s for s, _ in parts.values() if "".join(dict.fromkeys(s)) == axes):
                whole = self._differentiated(spectrum, spectral, axes, values) if axes else values
                others = {rest: term for term, (s, rest) in parts.items() if s == spectral}
                taken = self._differences.derivatives(whole, list(others), indices)
                found |= {term: taken[rest] for term, (s, rest) in parts.items() if s == spectral}
        return found

    def _transformed(self, values: Tensor, axes: str) -> Tensor:
        transform = torch.fft.fftn if values.is_complex() else torch.fft.rfftn
        spectrum: Tensor = transform(values, dim=self._dims(axes))
        return spectrum

    def _differentiated(self, spectrum: Tensor, term: str, axes: str, like: Tensor) -> Tensor:
        dims = self._dims(axes)
        symbols = []
        for axis, dim in zip(axes, dims, strict=True):
            half = axis == axes[-1] and not like.is_complex()
            symbol = self._symbol(axis, term.count(axis), half, spectrum)
            symbols.append(symbol.reshape(-1, *(1,) * (-dim - 1)))
        product = spectrum * math.prod(symbols[1:], start=symbols[0])
        if like.is_complex():
            whole: Tensor = torch.fft.ifftn(product, dim=dims)
        else:
            whole = torch.fft.irfftn(product, s=[self.grid.shape[dim] for dim in dims], dim=dims)
        return whole

    def _dims(self, axes: str) -> list[int]:
        return [self.grid.axes.index(axis) - len(self.grid.axes) for axis in axes]

    def _symbol(self, axis: str, m: int, half: bool, like: Tensor) -> Tensor:
        """(i k)ᵐ for every mode of one axis; real where m is even."""
        key = (axis, m, half, like.device, like.dtype if m % 2 else like.real.dtype)
        if key not in self._cast:
            n, length, device, dtype = self.grid.shape[self.grid.axes.index(axis)], self.grid.box.extent(axis), *key[3:]
            with torch.inference_mode(False):  # what is kept may meet autograd later, or outlive a function transform
                self._cast[key] = below(lambda: _powers(n, length, m, half).to(device, dtype))
        return self._cast[key]


def _powers(n: int, length: float, m: int, half: bool) -> Tensor:
    """(i k)ᵐ for the modes of n nodes, or for those that are not negative."""
    modes = torch.arange(n, dtype=torch.float64)
    modes = torch.where(modes > n // 2, modes - n, modes)[: n // 2 + 1 if half else n]
    symbol = (2.0 * math.pi / length * modes) ** m * (-1.0) ** (m // 2)
    return 1j * torch.where(2 * modes == n, 0.0, symbol) if m % 2 else symbol


def _check_periodic(grid: StructuredGrid, axis: str) -> None:
    nodes, length = grid.axis_nodes(axis), grid.box.extent(axis)
    n, remedy = len(nodes), "make the grid by StructuredGrid.periodic"
    if not grid.is_uniform(axis):
        raise ValueError(f"axis {axis!r} is not equally spaced, which Fourier modes need: {remedy}")
    covered = float(nodes[-1] - nodes[0]) * n / (n - 1)
    if abs(covered - length) <= _MATCH * length:
        return
    if abs(float(nodes[-1] - nodes[0]) - length) <= _MATCH * length:
        raise ValueError(
            f"axis {axis!r} has nodes at both ends of its length {length:g}, which are one place on a periodic axis: "
            f"leave out the last, or {remedy}"
        )
    raise ValueError(f"{n} cells of axis {axis!r} cover {covered:g}, not its length {length:g}: {remedy}")
