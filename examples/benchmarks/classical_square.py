"""Chebyshev collocation in a rectangle and Runge-Kutta steps in time, for the benchmarks' Dirichlet problems."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
from scipy.interpolate import BarycentricInterpolator
from torch import Tensor

from pdesolve.condition import InitialCondition, value_at
from pdesolve.namespace import Namespace
from pdesolve.pde.klein_gordon import KleinGordon
from pdesolve.pde.linear_advection import LinearAdvection
from pdesolve.problem import Problem

_FACES = (("x", 0), ("x", -1), ("y", 0), ("y", -1))


class AbstractSquare(abc.ABC):
    """y' = F(t, y) at n² Chebyshev-Lobatto nodes, boundary values put in at every stage of Runge and Kutta's method.

    Values anywhere are those of the polynomial through the nodes, by the barycentric formula.

    Arguments:
        problem: of one field on (t, x, y), with Dirichlet values all around.
        n: nodes along x and along y.
    """

    def __init__(self, problem: Problem, n: int) -> None:
        self.problem, self.n, self.known = problem, n, dict(problem.parameters)
        self.parameters = Namespace(self.known, "parameter")
        unit = -torch.cos(math.pi * torch.arange(n, dtype=torch.float64) / (n - 1))
        self.lines = [_spread(unit, *problem.box.bounds(a)) for a in ("x", "y")]
        self.x, self.y = torch.meshgrid(*self.lines, indexing="ij")
        self.dx, self.dy = (_derivative(line) for line in self.lines)
        (self.dirichlet,) = {face.value for face in problem.resolved.faces}
        starts = {c.order: c.value for c in problem.conditions if isinstance(c, InitialCondition)}
        self.start = torch.stack([self.read(starts[k], problem.box.bounds("t")[0]) for k in sorted(starts)])

    @abc.abstractmethod
    def steps(self) -> int:
        """Of Runge-Kutta over the whole time."""

    @abc.abstractmethod
    def slope(self, t: float, y: Tensor) -> Tensor:
        """F, (order, node, node)."""

    @abc.abstractmethod
    def held(self, t: float, y: Tensor) -> Tensor:
        """y with the boundary values put in."""

    def read(self, value: Any, t: float) -> Tensor:
        """A condition's value at the nodes."""
        points = {"t": torch.full_like(self.x, t), "x": self.x, "y": self.y}
        return torch.as_tensor(value_at(value, {**points, **self.known}), dtype=torch.float64).expand_as(self.x)

    def points(self, t: float) -> Namespace:
        return Namespace({"t": torch.full_like(self.x, t), "x": self.x, "y": self.y}, "coordinate")

    def __call__(self, coordinates: Mapping[str, Tensor]) -> Tensor:
        """u on a product of rising times, x and y, (t, x, y)."""
        times = coordinates["t"][:, 0, 0].tolist()
        onto = [
            _interpolation(line, values)
            for line, values in zip(self.lines, (coordinates["x"][0, :, 0], coordinates["y"][0, 0]), strict=True)
        ]
        (t, end), y, found = self.problem.box.bounds("t"), self.start, []
        longest = (end - t) / self.steps()
        for time in times:
            count = math.ceil((time - t) / longest - 1e-9)
            for i in range(count):
                y = self._stepped(t + (time - t) * i / count, (time - t) / count, y)
            t = time
            found.append(onto[0] @ y[0] @ onto[1].mT)
        return torch.stack(found)

    def _stepped(self, t: float, h: float, y: Tensor) -> Tensor:
        """The classical method of order four."""
        a = self.slope(t, y)
        b = self.slope(t + h / 2, self.held(t + h / 2, y + h / 2 * a))
        c = self.slope(t + h / 2, self.held(t + h / 2, y + h / 2 * b))
        d = self.slope(t + h, self.held(t + h, y + h * c))
        return self.held(t + h, y + h / 6 * (a + 2 * b + 2 * c + d))


@final
class KleinGordonSquare(AbstractSquare):
    """u_tt = c² Δu - β u² + f as u' = v, v' = …; u is given all around, and so v is never read there.

    Steps of 2.4/ρ at most, where the eigenvalues of c² Δ reach ρ² ≈ 2 · 0.048 n⁴ (c/L)², L half the shorter side.
    Solutions that are linear in x and in y, as the suite's, leave the error of these steps alone.
    """

    def __init__(self, problem: Problem, n: int) -> None:
        super().__init__(problem, n)
        assert isinstance(problem.pde, KleinGordon)
        self.pde = problem.pde
        self.dxx, self.dyy = self.dx @ self.dx, self.dy @ self.dy

    def steps(self) -> int:
        box = self.problem.box
        half = 0.5 * min(box.extent("x"), box.extent("y"))
        return math.ceil(box.extent("t") * self.pde.speed / half * math.sqrt(0.096) * self.n**2 / 2.4)

    def slope(self, t: float, y: Tensor) -> Tensor:
        u, v = y
        source = torch.as_tensor(self.pde.source(self.points(t), self.parameters))
        bent = self.dxx @ u + u @ self.dyy.mT
        return torch.stack([v, self.pde.speed**2 * bent - self.pde.strength * u * u + source])

    def held(self, t: float, y: Tensor) -> Tensor:
        return torch.stack([_framed(y[0], self.read(self.dirichlet, t)), y[1]])


@final
class AdvectionSquare(AbstractSquare):
    """u_t = -a(x, y)·∇u, u given where the flow enters and nowhere else; 2 n steps."""

    def __init__(self, problem: Problem, n: int) -> None:
        super().__init__(problem, n)
        pde = problem.pde
        assert isinstance(pde, LinearAdvection)
        assert callable(pde.velocity)
        assert not pde.nu
        speeds = pde.velocity(self.points(problem.box.bounds("t")[0]), self.parameters)
        assert isinstance(speeds, tuple)
        self.speeds = [torch.as_tensor(speed).expand_as(self.x) for speed in speeds]
        self.enters = torch.zeros_like(self.x, dtype=torch.bool)
        for axis, end in _FACES:
            face = (end, slice(None)) if axis == "x" else (slice(None), end)
            inwards = self.speeds["xy".index(axis)][face] * (1.0 if end == 0 else -1.0)
            self.enters[face] |= inwards > 0

    def steps(self) -> int:
        return 2 * self.n

    def slope(self, t: float, y: Tensor) -> Tensor:
        u = y[0]
        return -(self.speeds[0] * (self.dx @ u) + self.speeds[1] * (u @ self.dy.mT)).unsqueeze(0)

    def held(self, t: float, y: Tensor) -> Tensor:
        return torch.where(self.enters, self.read(self.dirichlet, t), y)


SQUARES: Mapping[type, tuple[Sequence[int], Callable[[Problem, int], AbstractSquare]]] = {
    KleinGordon: ((8, 12, 16, 24, 32, 48, 64), KleinGordonSquare),
    LinearAdvection: ((32, 48, 64, 96, 128, 160, 192, 256), AdvectionSquare),
}
"""By equation, nodes along an axis that converge, and the solver."""


def _spread(unit: Tensor, low: float, high: float) -> Tensor:
    line = 0.5 * (low + high) + 0.5 * (high - low) * unit
    line[0], line[-1] = low, high
    return line


def _derivative(nodes: Tensor) -> Tensor:
    """The matrix that differentiates polynomials through the nodes."""
    through = BarycentricInterpolator(nodes.numpy(), torch.eye(len(nodes), dtype=torch.float64).numpy())
    return torch.from_numpy(through.derivative(nodes.numpy()))


def _interpolation(nodes: Tensor, points: Tensor) -> Tensor:
    """(point, node)."""
    through = BarycentricInterpolator(nodes.numpy(), torch.eye(len(nodes), dtype=torch.float64).numpy())
    return torch.from_numpy(through(points.numpy()))


def _framed(u: Tensor, edge: Tensor) -> Tensor:
    """u with the edge's values around."""
    out = edge.clone()
    out[1:-1, 1:-1] = u[1:-1, 1:-1]
    return out
