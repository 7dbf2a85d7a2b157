"""Steady flow in a square driven by its lid: Chebyshev collocation, corner jumps taken out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdesolve.domains.geometry import positive_int
from pdesolve.reference.abstract import AbstractRefinable, Parameters, number
from pdesolve.status import SolveError, SolveStatus

Array = NDArray[np.float64]
Lid = Callable[[Tensor], Tensor]
_FIRST = 16  # degree that Newton starts on
_STEPS = 60
_RATE = 0.3  # of steps on kept factors, above which they are made anew
_TOLERANCE = 1e-11


@final
@dataclass(frozen=True)
class CavityFlow(AbstractRefinable):
    """(u·∇) u + ∇p = Δu/Re, ∇·u = 0 on [0, 1]²; u = lid(x), v = 0 at y = 1, no slip on the other walls.

    Velocities of degree N and pressure of degree N - 2 in each direction, collocated at the inner Chebyshev-Lobatto
    nodes; Newton from lower degrees, with factors kept while they serve. A lid that does not vanish at its ends makes u
    jump there: the Stokes flow of such a corner, ψ = r f(θ), is taken out of the unknowns. Fields (u, v, p), p zero in
    the centre.

    Arguments:
        lid: u along y = 1, a torch function of x.
        degree: N (default 40).

    Raises:
        TypeError, ValueError: N that is no integer of at least 8.
        SolveError: Newton does not converge; by the call.

    Notes:
        Re is the problem's parameter "reynolds". N² unknowns for each field in a dense matrix: 0.2 GB for N = 40, which
        grows like N⁴, and the work like N⁶. Corners leave singularities of higher order, so convergence is algebraic.

    Source: Botella & Peyret, Comput. Fluids 27 (1998); Batchelor, *An Introduction to Fluid Dynamics*, 4.8, for the
        corner.
    """

    lid: Lid
    degree: int = 40

    def __post_init__(self) -> None:
        if not callable(self.lid):
            raise TypeError(f"lid must be a function of x, got {type(self.lid).__name__}")
        if positive_int(self.degree, "degree") < 8:
            raise ValueError(f"degree must be at least 8, got {self.degree}")

    def refined(self) -> CavityFlow:
        return replace(self, degree=math.ceil(1.3 * self.degree))

    def __call__(self, coordinates: Mapping[str, Tensor], parameters: Parameters) -> Tensor:
        x, y = torch.broadcast_tensors(*(coordinates[a].detach().to("cpu", torch.float64) for a in ("x", "y")))
        reynolds = number(parameters, "reynolds")
        flow = _solved(self.lid, self.degree, reynolds)
        found = flow.at(x.flatten(), y.flatten())
        found[2] -= flow.at(*torch.full((2, 1), 0.5, dtype=torch.float64))[2]
        top = y.flatten() == 1.0
        found[0, top] = self.lid(x.flatten()[top])
        return found.reshape(3, *x.shape).to(coordinates["x"].device)


@lru_cache(maxsize=8)
def _solved(lid: Lid, degree: int, reynolds: float) -> _Flow:
    """Newton on the degree, begun from a lower one's solution."""
    grid = _Nodes(degree)
    corners = _Corners(lid, reynolds)
    if degree > _FIRST:
        coarse = _solved(lid, max(_FIRST, round(degree / 1.4)), reynolds)
        start = coarse.smooth(grid)
    else:
        start = np.zeros(3 * grid.count)
    return _newton(_System(grid, corners, lid, reynolds), start)


class _Nodes:
    """Chebyshev-Lobatto nodes on [0, 1], rising, and the matrices of one direction."""

    def __init__(self, degree: int) -> None:
        self.x: Array = 0.5 - 0.5 * np.cos(math.pi * np.arange(degree + 1) / degree)
        self.first = _derivative(self.x)
        self.second = self.first @ self.first
        self.inner = self.x[1:-1]
        self.gradient = _derivative(self.inner)  # of the pressure, whose degree is two less
        self.count = len(self.inner) ** 2


class _Corners:
    """The Stokes flow of a jump at the lid's two ends; nothing where the lid vanishes there."""

    def __init__(self, lid: Lid, reynolds: float) -> None:
        self.reynolds = reynolds
        self.speeds = lid(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()

    def velocity(self, x: Tensor, y: Tensor) -> list[Tensor]:
        """u, v, u_x, u_y, v_x; v_y is -u_x. In a corner that corner's part is left out."""
        total = [torch.zeros_like(x) for _ in range(5)]
        for speed, at_right in zip(self.speeds, (False, True), strict=True):
            if speed:
                elsewhere = (x != float(at_right)) | (y != 1.0)
                for sum_, part in zip(total, _corner_velocity(speed, at_right, x, y), strict=True):
                    sum_ += torch.where(elsewhere, part, 0.0)
        return total

    def pressure(self, x: Tensor, y: Tensor) -> Tensor:
        """p with ∇p = Δu/Re."""
        total = torch.zeros_like(x)
        for side, speed, along in zip((1.0, -1.0), self.speeds, (x, 1.0 - x), strict=True):
            if speed:
                depth, quarter = 1.0 - y, 0.5 * math.pi
                c = speed / (1.0 - quarter**2)
                square = along * along + depth * depth
                total = total + side * 2.0 * c * (along + quarter * depth) / (square * self.reynolds)
        return total


def _corner_stream(speed: float, at_right: bool, x: Tensor, y: Tensor) -> Tensor:
    """ψ = r f(θ), θ from the lid to the wall: f(0) = f(π/2) = f'(π/2) = 0, f'(0) the lid's speed."""
    along, depth, quarter = 1.0 - x if at_right else x, 1.0 - y, 0.5 * math.pi
    theta = torch.atan2(depth, along)
    # r cos θ is the distance along the lid, r sin θ the depth; u = ∂ψ/∂y, and depth falls with y
    return -speed / (1.0 - quarter**2) * (theta * along - quarter**2 * depth + quarter * theta * depth)


def _corner_velocity(speed: float, at_right: bool, x: Tensor, y: Tensor) -> list[Tensor]:
    """u, v, u_x, u_y, v_x of one corner; means nothing in it."""
    with torch.enable_grad():
        x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
        stream = _corner_stream(speed, at_right, x, y)
        minus_v, u = torch.autograd.grad(stream.sum(), (x, y), create_graph=True)
        u_x, u_y = torch.autograd.grad(u.sum(), (x, y), retain_graph=True)
        (minus_v_x,) = torch.autograd.grad(minus_v.sum(), x)
    return [u.detach(), -minus_v.detach(), u_x, u_y, -minus_v_x]


class _System:
    """Residual and Jacobian of the smooth part at the inner nodes; one row and one multiplier fix the pressure."""

    def __init__(self, nodes: _Nodes, corners: _Corners, lid: Lid, reynolds: float) -> None:
        self.nodes, self.corners, self.reynolds = nodes, corners, reynolds
        m, one = len(nodes.inner), np.eye(len(nodes.inner))
        inner = (slice(1, -1), slice(1, -1))
        self.dx, self.dy = np.kron(nodes.first[inner], one), np.kron(one, nodes.first[inner])
        self.laplacian = np.kron(nodes.second[inner], one) + np.kron(one, nodes.second[inner])
        self.px, self.py = np.kron(nodes.gradient, one), np.kron(one, nodes.gradient)
        grid = [torch.from_numpy(a) for a in np.meshgrid(nodes.x, nodes.x, indexing="ij")]
        singular = [a.numpy() for a in corners.velocity(*grid)]
        self.edge = [-singular[0], -singular[1]]  # what the smooth part is on the walls
        self.edge[0][1:-1, -1] += lid(grid[0][1:-1, -1]).numpy()
        for edge in self.edge:
            edge[inner] = 0.0
        self.singular = [a[inner].reshape(-1) for a in singular]
        self.given = [
            [
                (nodes.first @ e)[inner].reshape(-1),
                (e @ nodes.first.T)[inner].reshape(-1),
                (nodes.second @ e + e @ nodes.second.T)[inner].reshape(-1),
            ]
            for e in self.edge
        ]
        self.m = m

    def residual(self, state: Array) -> Array:
        u, v, p = np.split(state[:-1], 3)
        (ux0, uy0, lu0), (vx0, vy0, lv0) = self.given
        us, vs, usx, usy, vsx = self.singular
        ux, uy, vx, vy = self.dx @ u + ux0, self.dy @ u + uy0, self.dx @ v + vx0, self.dy @ v + vy0
        first, second = u + us, v + vs
        along = first * (ux + usx) + second * (uy + usy) + self.px @ p - (self.laplacian @ u + lu0) / self.reynolds
        up = first * (vx + vsx) + second * (vy - usx) + self.py @ p - (self.laplacian @ v + lv0) / self.reynolds
        return np.concatenate([along, up, ux + vy + state[-1], [p.sum()]])

    def jacobian(self, state: Array) -> Array:
        u, v, _ = np.split(state[:-1], 3)
        (ux0, uy0, _), (vx0, vy0, _) = self.given
        us, vs, usx, usy, vsx = self.singular
        n = len(u)
        matrix = np.zeros((3 * n + 1, 3 * n + 1))
        carried = (u + us)[:, None] * self.dx + (v + vs)[:, None] * self.dy - self.laplacian / self.reynolds
        a, b, c = slice(0, n), slice(n, 2 * n), slice(2 * n, 3 * n)
        matrix[a, a] = matrix[b, b] = carried
        diagonal = np.arange(n)
        matrix[diagonal, diagonal] += self.dx @ u + ux0 + usx
        matrix[diagonal, n + diagonal] += self.dy @ u + uy0 + usy
        matrix[n + diagonal, diagonal] += self.dx @ v + vx0 + vsx
        matrix[n + diagonal, n + diagonal] += self.dy @ v + vy0 - usx
        matrix[a, c], matrix[b, c], matrix[c, a], matrix[c, b] = self.px, self.py, self.dx, self.dy
        matrix[c, -1] = matrix[-1, c] = 1.0
        return matrix


class _Flow:
    """A solution: the smooth part on the nodes, and the corners."""

    def __init__(self, system: _System, state: Array) -> None:
        self._nodes, self._corners = system.nodes, system.corners
        inner = [part.reshape(system.m, system.m) for part in np.split(state[:-1], 3)]
        self._velocity = [edge.copy() for edge in system.edge]
        for whole, part in zip(self._velocity, inner[:2], strict=True):
            whole[1:-1, 1:-1] = part
        self._pressure = inner[2]

    def smooth(self, nodes: _Nodes) -> Array:
        """The unknowns of another grid."""
        matrix, inner = _interpolation(self._nodes.x, nodes.inner), _interpolation(self._nodes.inner, nodes.inner)
        parts = [(matrix @ f @ matrix.T).reshape(-1) for f in self._velocity]
        return np.concatenate([*parts, (inner @ self._pressure @ inner.T).reshape(-1)])

    def at(self, x: Tensor, y: Tensor) -> Tensor:
        """(u, v, p) at points, (3, n)."""
        out = torch.empty(3, len(x), dtype=torch.float64)
        sheets = [(self._nodes.x, f) for f in self._velocity] + [(self._nodes.inner, self._pressure)]
        for row, (nodes, values) in zip(out, sheets, strict=True):
            across, up = (_interpolation(nodes, a.numpy()) for a in (x, y))
            row[:] = torch.from_numpy(np.einsum("ni,ni->n", across @ values, up))
        u, v, *_ = self._corners.velocity(x, y)
        out[0] += u
        out[1] += v
        out[2] += self._corners.pressure(x, y)
        return out


def _newton(system: _System, start: Array) -> _Flow:
    """Newton's method that keeps its factors while a step shrinks to less than a third of the last."""
    from scipy.linalg import lu_factor, lu_solve

    state = np.concatenate([start, [0.0]])
    factors, last = None, math.inf
    for _ in range(_STEPS):
        if factors is None:
            factors = lu_factor(system.jacobian(state), overwrite_a=True, check_finite=False)
        step = lu_solve(factors, system.residual(state), check_finite=False)
        size = float(np.abs(step[: -system.nodes.count - 1]).max())
        if not math.isfinite(size):
            break
        state = state - step
        if size <= _TOLERANCE:
            return _Flow(system, state)
        if size > _RATE * last:
            factors = None
        last = size
    raise SolveError(
        f"the cavity flow at Re = {system.reynolds:g} did not converge on degree {len(system.nodes.x) - 1}: "
        "raise the degree, or lower Re",
        torch.tensor([int(SolveStatus.DIVERGED)]),
    )


def _weights(nodes: Array) -> Array:
    """Barycentric weights, scaled to one."""
    gaps = 4.0 * (nodes[:, None] - nodes) + np.eye(len(nodes))
    weights = 1.0 / gaps.prod(1)
    scaled: Array = weights / np.abs(weights).max()
    return scaled


def _derivative(nodes: Array) -> Array:
    """The matrix that differentiates polynomials through the nodes (Berrut & Trefethen, SIAM Rev. 46, eq. 9.4)."""
    weights = _weights(nodes)
    matrix: Array = weights / weights[:, None] / (nodes[:, None] - nodes + np.eye(len(nodes)))
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(1))
    return matrix


def _interpolation(nodes: Array, points: Array) -> Array:
    """(points, nodes): polynomials through the nodes."""
    gaps = points[:, None] - nodes
    hit = np.abs(gaps) < 1e-14
    matrix = _weights(nodes) / np.where(hit, 1.0, gaps)
    on = hit.any(1)
    matrix[on] = hit[on]
    out: Array = matrix / matrix.sum(1, keepdims=True)
    return out
