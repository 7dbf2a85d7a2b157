"""Stiff integration of F(t, y, y') = 0 with a banded Jacobian: Radau IIA of order 5."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NEWTON_STEPS = 7
_GROWTH = 8.0
_SHRINK = 0.2
_SHORT = 0.1


class ImplicitSystem(Protocol):
    """F(t, y, y') = 0, affine in y', whose derivatives are banded; rows without y' are algebraic."""

    lower: int
    upper: int

    def residual(self, times: Array, y: Array, slope: Array) -> Array:
        """F at several times: times (s,), y and slope (s, n) give (s, n)."""

    def linearise(self, time: float, y: Array, slope: Array) -> tuple[Array, Array]:
        """∂F/∂y and ∂F/∂y' in LAPACK's band storage, (lower + upper + 1, n) each."""

    def norm(self, error: Array, y: Array) -> float:
        """Size of errors (s, n) or (n,) at y, in units of the tolerance, the worst of them: 1 is accepted."""


class IntegrationError(ArithmeticError):
    """The integration cannot go on; ``time`` is where, ``finite`` whether the numbers were still finite."""

    def __init__(self, reason: str, time: float, *, finite: bool = True, capped: bool = False) -> None:
        super().__init__(f"{reason} at t = {time:.6g}")
        self.time = time
        self.finite = finite
        self.capped = capped


@final
@dataclass(frozen=True, eq=False)
class Trajectory:
    """Accepted steps: times (k,), values and slopes (k, n)."""

    times: Array
    values: Array
    slopes: Array

    def at(self, times: Array) -> Array:
        """Values at any times within the trajectory, (s, n), by quintic Hermite interpolation.

        Each time uses the values and slopes at the ends of its step and of the neighbouring step whose length
        is most like it: an error O(h⁶). A much shorter neighbour would amplify the errors of the steps; where
        both are much shorter, the cubic of the step alone is used.
        """
        from scipy.sparse import csr_array

        k = len(self.times)
        steps = np.diff(self.times)
        left = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, k - 2)
        padded = np.concatenate([[0.0], steps, [0.0]])
        before, after = padded[left] / steps[left], padded[left + 2] / steps[left]
        with np.errstate(divide="ignore"):
            use_before = np.abs(np.log(before)) < np.abs(np.log(after))
        start = np.where(use_before, left - 1, left)
        alone = np.maximum(before, after) < _SHORT
        rows, columns, data = [], [], []
        for chosen, first, width in ((alone, left, 2), (~alone, start, 3)):
            index = np.flatnonzero(chosen)
            knots = first[index][:, None] + np.arange(width)
            unit = steps[left[index]][:, None]
            weights = _hermite((self.times[knots] - times[index][:, None]) / unit)
            rows += [np.repeat(index, width)] * 2
            columns += [knots.ravel(), knots.ravel() + k]
            data += [weights[:, :width].ravel(), (weights[:, width:] * unit).ravel()]
        where = (np.concatenate(rows), np.concatenate(columns))
        matrix = csr_array((np.concatenate(data), where), shape=(len(times), 2 * k))
        out: Array = matrix @ np.concatenate([self.values, self.slopes])
        return out


def _hermite(knots: Array) -> Array:
    """Weights (s, 2 k) of values and slopes at knots (s, k) in the Hermite interpolant's value at zero."""
    s, k = knots.shape
    powers = np.arange(2 * k)
    rows = np.empty((s, 2 * k, 2 * k))
    rows[:, :, :k] = knots[:, None, :] ** powers[:, None]
    rows[:, :, k:] = powers[:, None] * knots[:, None, :] ** np.maximum(powers - 1, 0)[:, None]
    target = np.zeros((s, 2 * k, 1))
    target[:, 0] = 1.0
    out: Array = np.linalg.solve(rows, target)[..., 0]
    return out


@final
@dataclass(frozen=True, eq=False)
class _Tableau:
    """Butcher tableau of Radau IIA with three stages, and A⁻¹ = V diag(λ, μ, μ̄) V⁻¹."""

    nodes: Array  # c
    inverse: Array  # A^-1
    real: float  # λ
    complex: complex  # μ
    vectors: NDArray[np.complex128]  # V
    to_modes: NDArray[np.complex128]  # V^-1
    error: Array  # e: embedded third-order error = λ-filtered f + M (e·Z)/h
    polynomial: Array  # Z at the nodes -> coefficients of θ, θ², θ³


@lru_cache(maxsize=1)
def _tableau() -> _Tableau:
    r = math.sqrt(6.0)
    c = np.array([(4.0 - r) / 10.0, (4.0 + r) / 10.0, 1.0])
    a = np.array(
        [
            [(88.0 - 7.0 * r) / 360.0, (296.0 - 169.0 * r) / 1800.0, (-2.0 + 3.0 * r) / 225.0],
            [(296.0 + 169.0 * r) / 1800.0, (88.0 + 7.0 * r) / 360.0, (-2.0 - 3.0 * r) / 225.0],
            [(16.0 - r) / 36.0, (16.0 + r) / 36.0, 1.0 / 9.0],
        ]
    )
    inverse = np.linalg.inv(a)
    values, vectors = np.linalg.eig(inverse)
    order = np.argsort(np.abs(values.imag) * 2.0 - (values.imag > 0))  # real, positive imaginary, its conjugate
    values, vectors = values[order], vectors[:, order].astype(complex)
    error = np.array([-13.0 - 7.0 * r, -13.0 + 7.0 * r, -1.0]) / 3.0
    polynomial = np.linalg.inv(c[:, None] ** np.arange(1, 4))
    to_modes = np.linalg.inv(vectors)
    return _Tableau(c, inverse, float(values[0].real), complex(values[1]), vectors, to_modes, error, polynomial)


@final
class _Factors:
    """LU of (λ/h) M + J and (μ/h) M + J, the two systems into which the three stages fall apart."""

    def __init__(self, jacobian: Array, mass: Array, h: float, lower: int, upper: int) -> None:
        from scipy.linalg import lapack

        table = _tableau()
        self._bands = (lower, upper)
        self._backend: Any = lapack
        n = jacobian.shape[1]
        real = np.zeros((2 * lower + upper + 1, n), order="F")
        real[lower:] = table.real / h * mass + jacobian
        paired = np.zeros((2 * lower + upper + 1, n), dtype=complex, order="F")
        paired[lower:] = table.complex / h * mass + jacobian
        self._real = self._backend.dgbtrf(real, lower, upper, overwrite_ab=True)
        self._complex = self._backend.zgbtrf(paired, lower, upper, overwrite_ab=True)
        self.usable = self._real[2] == 0 and self._complex[2] == 0

    def filtered(self, right: Array) -> Array:
        """((λ/h) M + J)⁻¹ right."""
        out: Array = self._backend.dgbtrs(self._real[0], *self._bands, right, self._real[1])[0]
        return out

    def solve(self, right: Array) -> Array:
        """The Newton step (A⁻¹ ⊗ M/h + I ⊗ J)⁻¹ right, (3, n)."""
        table = _tableau()
        modes = table.to_modes[:2] @ right
        first = self.filtered(np.ascontiguousarray(modes[0].real))
        second = self._backend.zgbtrs(self._complex[0], *self._bands, modes[1], self._complex[1])[0]
        # the third mode is the conjugate of the second
        return np.outer(table.vectors[:, 0].real, first) + 2.0 * np.real(np.outer(table.vectors[:, 1], second))


def integrate(
    system: ImplicitSystem, y: Array, start: float, end: float, *, newton: float, max_steps: int
) -> Trajectory:
    """Solve F(t, y, y') = 0 from ``start`` to ``end`` with steps under control of ``system.norm``.

    Arguments:
        system: F, its linearisation and its norm.
        y: (n,) consistent initial values.
        start, end: the span of time, start < end.
        newton: tolerance κ of the stage equations in units of ``system.norm``; 1e-2 is usual.
        max_steps: cap on accepted and rejected steps together.

    Raises:
        IntegrationError: the step became too small, or the cap was reached.

    Notes:
        Stiffly accurate: algebraic rows (boundary conditions) hold at every accepted step. Simplified Newton
        iteration in the basis in which the stages decouple; predictive step control.

    Source: Hairer & Wanner, *Solving Ordinary Differential Equations II*, 2nd ed., IV.8; Gustafsson 1994.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # such steps are rejected
        return _Run(system, y, start, end, newton, max_steps).run()


@final
class _Run:
    """The state of one integration."""

    def __init__(
        self, system: ImplicitSystem, y: Array, start: float, end: float, newton: float, max_steps: int
    ) -> None:
        self.system, self.y, self.t, self.end = system, y, start, end
        self.newton, self.max_steps = newton, max_steps
        self.span = end - start
        self.slope = np.zeros_like(y)
        self.stages: Array | None = None  # of the last step
        self.last_h = 0.0
        self.last_error = 1.0
        self.factors: _Factors | None = None
        self.factored_h = 0.0
        self.fresh = False
        self.first_slope = self.slope
        self.rejected = False
        self.linear: tuple[Array, Array] | None = None

    def run(self) -> Trajectory:
        times, values, slopes = [self.t], [self.y], [self.slope]
        h = self._first_step()
        for _ in range(self.max_steps):
            left = self.end - self.t
            h = left if h > 0.999 * left else min(h, 0.5 * left)  # no sliver for a last step
            if h <= max(1e-15 * abs(self.t), 1e-22 * self.span) or self.t + h == self.t:
                finite = bool(np.isfinite(self._rate(self.t, self.y)).all())
                raise IntegrationError("the time step became too small", self.t, finite=finite)
            h, accepted = self._attempt(h)
            if accepted:
                times.append(self.t)
                values.append(self.y)
                slopes.append(self.slope)
                if self.t >= self.end:
                    slopes[0] = self.first_slope
                    return Trajectory(np.array(times), np.array(values), np.array(slopes))
        raise IntegrationError(f"{self.max_steps} time steps were not enough", self.t, capped=True)

    def _rate(self, t: float, y: Array) -> Array:
        """-F(t, y, 0): what drives y."""
        zero = np.zeros((1, len(y)))
        out: Array = -self.system.residual(np.array([t]), y[None], zero)[0]
        return out

    def _linearise(self) -> None:
        self.linear = self.system.linearise(self.t, self.y, self.slope)
        self.factors, self.fresh = None, True

    def _first_step(self) -> float:
        """A step over which the filtered rate moves y by about the tolerance."""
        self._linearise()
        assert self.linear is not None
        rate = self._rate(self.t, self.y)
        if not all(np.isfinite(values).all() for values in (rate, *self.linear)):
            raise IntegrationError("the equation is not finite", self.t, finite=False)
        h = 1e-3 * self.span
        for _ in range(60):
            move = _Factors(*self.linear, h, self.system.lower, self.system.upper).filtered(rate)
            size = self.system.norm(move, self.y) if np.isfinite(move).all() else math.inf
            if size <= 10.0:
                break
            h *= 0.1 if size > 1e3 else 0.5
            if h < 1e-20 * self.span:
                break
        return h

    def _attempt(self, h: float) -> tuple[float, bool]:
        """One step of size h; returns the next step to try and whether this one was accepted."""
        assert self.linear is not None
        if self.factors is None or self.factored_h != h:
            self.factors = _Factors(*self.linear, h, self.system.lower, self.system.upper)
            self.factored_h = h
        z, rounds, rate = self._stage_values(h) if self.factors.usable else (None, 0, 1.0)
        if z is None:
            if not self.fresh:
                self._linearise()
                return h, False
            return 0.25 * h, False
        error = self._error(z, h)
        safety = 0.9 * (2 * _NEWTON_STEPS + 1) / (2 * _NEWTON_STEPS + rounds)
        if not error <= 1.0:  # true for NaN too
            self.rejected = True
            factor = max(_SHRINK, safety * error**-0.25) if math.isfinite(error) else _SHRINK
            return h * factor, False
        growth = error**-0.25 if error > 0 else _GROWTH
        if self.last_h and error > 0:
            growth *= min(1.0, h / self.last_h * (self.last_error / error) ** 0.25)
        factor = min(_GROWTH, max(_SHRINK, safety * growth))
        self._accept(z, h, max(error, 1e-2))
        if rounds > 2 and rate > 1e-3:
            self._linearise()
        else:
            self.fresh = False
            if 1.0 <= factor < 1.2:  # the factorisation serves once more
                factor = 1.0
        return h * factor, True

    def _accept(self, z: Array, h: float, error: float) -> None:
        table = _tableau()
        if self.stages is None:
            self.first_slope = (table.polynomial[0] @ z) / h
        self.y = self.y + z[2]
        self.slope = (table.inverse[2] @ z) / h
        self.t = self.end if h == self.end - self.t else self.t + h
        self.stages, self.last_h, self.last_error, self.rejected = z, h, error, False

    def _predicted(self, h: float) -> Array:
        """The last step's collocation polynomial carried on into this step, relative to y."""
        table = _tableau()
        if self.stages is None:
            return np.zeros((3, len(self.y)))
        theta = 1.0 + table.nodes * (h / self.last_h)
        powers = theta[:, None] ** np.arange(1, 4)
        out: Array = powers @ (table.polynomial @ self.stages) - self.stages[2]
        return out

    def _stage_values(self, h: float) -> tuple[Array | None, int, float]:
        """Z with F(t + c h, y + Z, A⁻¹ Z / h) = 0, or None; the number of Newton steps and their rate."""
        table = _tableau()
        assert self.factors is not None
        z = self._predicted(h)
        times = self.t + h * table.nodes
        old, rate = 0.0, 1.0
        for k in range(_NEWTON_STEPS):
            step = self.factors.solve(self.system.residual(times, self.y + z, table.inverse @ z / h))
            size = self.system.norm(step, self.y)
            if not math.isfinite(size):
                return None, k, rate
            if old:
                rate = size / old
                left = _NEWTON_STEPS - k
                if rate >= 1.0 or rate**left / (1.0 - rate) * size > self.newton:
                    return None, k, rate
            z = z - step
            if size == 0.0 or (old and rate / (1.0 - rate) * size < self.newton) or size < 1e-2 * self.newton:
                return z, k + 1, rate if old else 0.0
            old = size
        return None, _NEWTON_STEPS, rate

    def _error(self, z: Array, h: float) -> float:
        table = _tableau()
        assert self.factors is not None
        slope = -(table.error @ z / h)[None]
        now = np.array([self.t])
        error = self.factors.filtered(-self.system.residual(now, self.y[None], slope)[0])
        size = self._size(error, z)
        if size > 1.0 and (self.stages is None or self.rejected):
            error = self.factors.filtered(-self.system.residual(now, (self.y + error)[None], slope)[0])
            size = self._size(error, z)
        return size

    def _size(self, error: Array, z: Array) -> float:
        size = self.system.norm(error, self.y + z[2])
        return size if math.isfinite(size) else math.inf
