"""Nodes, finite-difference stencils and local interpolation on one axis."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from pdesolve.discretization.finite_differences import fornberg_weights
from pdesolve.domains.geometry import finite_float

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Grading:
    """Nodes that crowd towards both ends, with spacings in proportion to the distance from the nearer end.

    h(x) ∝ 1 / [1/(x - a + δL) + 1/(b - x + δL) + c/L] on the interval [a, b] of length L. A layer of any
    thickness between δL and L holds about n/(2 log(1/δ) + c) nodes for each factor e of its thickness. So
    layers that grow from nothing, as from a jump between initial and boundary value, are resolved at all
    times but the very first.

    Arguments:
        layer: δ, the thinnest layer to resolve relative to the length of the interval (default 1e-5).
        core: c, the weight of equal spacing inside (default 10).

    Raises:
        TypeError, ValueError: δ outside [1e-9, 1], c negative or not finite.

    Good values: δ a tenth of the thinnest layer; c from log(1/δ)/2 (thin layers) to 4 log(1/δ) (fronts).
    """

    layer: float = 1e-5
    core: float = 10.0

    def __post_init__(self) -> None:
        if not 1e-9 <= finite_float(self.layer, "layer") <= 1.0:
            raise ValueError(f"layer must lie in [1e-9, 1] (lengths of the interval), got {self.layer!r}")
        if finite_float(self.core, "core") < 0.0:
            raise ValueError(f"core must not be negative, got {self.core!r}")

    def nodes(self, lower: float, upper: float, n: int) -> Array:
        """n nodes, (n,), from lower to upper, both included."""
        # s(x) = ∫ dx/h = log((x + δ)/δ) - log((1 - x + δ)/(1 + δ)) + c x, inverted by safe Newton steps
        delta, core, half = self.layer, self.core, (n + 1) // 2
        total = 2.0 * math.log((1.0 + delta) / delta) + core
        target = np.linspace(0.0, total, n)[:half]
        x = np.minimum(0.5, delta * np.expm1(target))
        low, high = np.zeros(half), np.full(half, 0.5)
        for _ in range(100):
            value = np.log1p(x / delta) - np.log1p(-x / (1.0 + delta)) + core * x - target
            low, high = np.where(value < 0.0, x, low), np.where(value < 0.0, high, x)
            step = x - value / (1.0 / (x + delta) + 1.0 / (1.0 - x + delta) + core)
            x = np.where((step >= low) & (step <= high), step, 0.5 * (low + high))
        x[0] = 0.0
        if n % 2:
            x[-1] = 0.5
        unit = np.concatenate([x, 1.0 - x[: n - half][::-1]])
        out: Array = lower + (upper - lower) * unit
        out[-1] = upper
        return out


def stencils(nodes: Array, powers: tuple[int, ...], order: int, *, periodic: bool) -> tuple[Indices, Array]:
    """Columns (n, width) and weights (powers, n, width) of the derivatives of the given powers.

    Central stencils inside, of the given order where the spacing varies smoothly, and one-sided ones of the
    same order at the ends. All powers share one window of columns for each node, padded by zero weights.

    Arguments:
        nodes: (n,) rising; (n + 1,) equally spaced with both ends if periodic.
        powers: derivatives m >= 1.
        order: even formal order p.
        periodic: whether stencils wrap around.
    """
    n = len(nodes) - 1 if periodic else len(nodes)
    width = (order + max(powers)) | 1  # odd, and wide enough for the one-sided stencils
    node = np.arange(n)
    if periodic:
        columns = (node[:, None] + np.arange(width) - width // 2) % n
    else:
        columns = np.clip(node - width // 2, 0, n - width)[:, None] + np.arange(width)
    weights = np.zeros((len(powers), n, width))
    for row, power in zip(weights, powers, strict=True):
        central = order + 2 * ((power + 1) // 2) - 1
        if periodic:
            spacing = (nodes[-1] - nodes[0]) / n
            window = np.arange(central) - central // 2
            first = width // 2 - central // 2
            row[:, first : first + central] = _weights(np.zeros(1), window[None] * spacing, power)
            continue
        inside = (node >= central // 2) & (node < n - central // 2)
        for size, chosen in ((central, inside), (order + power, ~inside)):
            window = np.clip(node[chosen] - size // 2, 0, n - size)[:, None] + np.arange(size)
            local = _weights(nodes[node[chosen]], nodes[window], power)
            row[np.flatnonzero(chosen)[:, None], window - columns[chosen, :1]] = local
    return columns, weights


def interpolation_matrix(nodes: Array, points: Array, width: int) -> Any:
    """Sparse (points, nodes) matrix: polynomials through the ``width`` nodes around each point."""
    from scipy.sparse import csr_array

    width = min(width, len(nodes))
    left = np.searchsorted(nodes, points, side="right") - 1
    starts = np.clip(left - (width - 1) // 2, 0, len(nodes) - width)
    window = starts[:, None] + np.arange(width)
    weights = _weights(points, nodes[window], 0)
    indptr = np.arange(len(points) + 1) * width
    return csr_array((weights.ravel(), window.ravel(), indptr), shape=(len(points), len(nodes)))


def folded(n: int) -> Indices:
    """0, n-1, 1, n-2, ...: neighbours on a ring stay within two places of one another."""
    out = np.empty(n, dtype=np.int64)
    out[0::2] = np.arange((n + 1) // 2)
    out[1::2] = n - 1 - np.arange(n // 2)
    return out


def _weights(points: Array, windows: Array, power: int) -> Array:
    if not len(points):
        return np.zeros(windows.shape)
    points, windows = np.ascontiguousarray(points, dtype=float), np.ascontiguousarray(windows, dtype=float)
    return np.ascontiguousarray(fornberg_weights(torch.from_numpy(points), torch.from_numpy(windows), power).numpy())
