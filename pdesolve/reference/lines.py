"""A problem in one space dimension as a differential-algebraic system on nodes, with banded derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, arguments, value_at
from pdesolve.pde.trace import Term, evaluate
from pdesolve.problem import Problem
from pdesolve.reference.stencils import Array, folded, interpolation_matrix, stencils

Coefficients = tuple[Array, Array, Array]


@final
class Lines:
    """F(u_t, u, D u, D² u, ..., x, t) = 0 at every node, boundary conditions in its place at boundary nodes.

    An ``ImplicitSystem``. Unknowns are ordered (case, node, field): a batch is one longer band. Nodes of a
    periodic axis are folded (0, n-1, 1, n-2, ...), which turns the corners of wrapped stencils into a wider
    band.

    Arguments:
        problem: one space axis and time, checked by the caller.
        values: every parameter of the problem by name, (batch,) each, float64.
        nodes: (n,) rising, both ends included.
        order: formal order of the stencils, even.
        rtol, atol: an error is measured in units of atol + rtol max|u|.
    """

    def __init__(
        self,
        problem: Problem,
        values: Mapping[str, Tensor],
        nodes: Array,
        order: int,
        rtol: float,
        atol: float,
    ) -> None:
        self.problem, self.rtol, self.atol = problem, rtol, atol
        self.axis, self.names, self.terms = (
            problem.domain.space_axes[0],
            problem.field_names,
            problem.trace.terms,
        )
        self.parameters = {name: value[:, None] for name, value in values.items()}  # (batch, 1)
        self.batch = max((len(value) for value in values.values()), default=1)
        self.n_fields = len(self.names)
        self.periodic = bool(problem.resolved.periodic)
        self.faces = () if self.periodic else problem.resolved.faces
        self._steady: dict[tuple[str, str], Coefficients] = {}
        self._place_nodes(nodes, order)
        self._place_band()

    def _place_nodes(self, nodes: Array, order: int) -> None:
        from scipy.sparse import csr_array, vstack

        n = len(nodes) - 1 if self.periodic else len(nodes)
        self.n, self.width = n, order + 4  # the width of interpolation: two orders above the stencils
        powers = {term.count(self.axis) for _, term in self.terms} - {0}
        self.powers = tuple(sorted(powers | {1}))  # the boundary conditions read the first
        columns, weights = stencils(nodes, self.powers, order, periodic=self.periodic)
        self.order = folded(n) if self.periodic else np.arange(n)
        self.place = np.argsort(self.order)
        self.x = nodes[self.order]
        self.coordinate = torch.from_numpy(self.x)
        self.columns, self.weights = self.place[columns[self.order]], weights[:, self.order]
        start = np.arange(n + 1) * columns.shape[1]
        blocks = [csr_array((w.ravel(), self.columns.ravel(), start), shape=(n, n)) for w in self.weights]
        self.derivatives: Any = vstack(blocks, format="csr")  # (powers * n, n)
        spacing = np.gradient(nodes)[self.order]
        self.shares = spacing / spacing.sum()
        self.own = np.argmax(self.columns == np.arange(n)[:, None], axis=1)  # where a node stands in its stencil

    def _place_band(self) -> None:
        """Where in band storage ab[upper + row - column, column] each derivative of the system stands."""
        n, f = self.n, self.n_fields
        node, fields = np.arange(n), np.arange(f)
        row = (node[:, None] * f + fields)[:, :, None, None]  # (n, equation, 1, 1)
        column = (self.columns[:, None, :] * f + fields[:, None])[:, None]  # (n, 1, field, width)
        used = np.broadcast_to((self.weights != 0.0).any(0)[:, None, None], (n, f, f, self.columns.shape[1])).copy()
        used[node, :, :, self.own] = True
        distance = np.broadcast_to(row - column, used.shape)[used]
        self.used, self.total = used, self.batch * n * f
        self.lower, self.upper = int(distance.max()), int(-distance.min())
        case = np.arange(self.batch)[:, None] * n * f
        inner = (self.upper + distance) * self.total + np.broadcast_to(column, used.shape)[used]
        self.positions = inner + case  # (batch, entries)
        across = (fields[:, None] - fields).ravel()  # equation - field
        local = (self.upper + across) * self.total + np.tile(fields, f)
        self.mass_positions = (node[:, None] * f + local).ravel() + case  # (batch, n * f * f)

    def _corner(self, face: FaceCondition) -> tuple[int, int]:
        """Node and field of a boundary condition."""
        return (0 if face.side < 0 else self.n - 1), self.names.index(face.field)

    def _first(self, node: int) -> Array:
        """Weights of the first derivative at a node, (width,)."""
        out: Array = self.weights[self.powers.index(1), node]
        return out

    def _coefficients(self, face: FaceCondition, times: Array) -> Coefficients:
        """α, β, γ of a boundary condition, (times, batch) each, or (1, batch) if none reads the time."""
        key = (face.field, face.boundary)
        if key in self._steady:
            return self._steady[key]
        known: dict[str, Tensor] = {name: value[:, 0] for name, value in self.parameters.items()}
        known["t"] = torch.from_numpy(times)[:, None]
        known[self.axis] = torch.tensor(face.position, dtype=torch.float64)
        alpha, beta, gamma = (
            torch.as_tensor(value_at(value, known), dtype=torch.float64).expand(len(times), self.batch).numpy()
            for value in (face.alpha, face.beta, face.value)
        )
        if not any("t" in arguments(value) for value in (face.alpha, face.beta, face.value)):
            self._steady[key] = alpha[:1], beta[:1], gamma[:1]
        return alpha, beta, gamma

    def initial_at(self, points: Tensor) -> Tensor:
        """The initial condition itself at points (p,), (batch, field, p)."""
        start = torch.tensor(self.problem.domain.bounds("t")[0], dtype=torch.float64)
        known = {"t": start, self.axis: points, **self.parameters}
        values = (value_at(self.problem.resolved.initial[name, 0], known) for name in self.names)
        rows = [torch.as_tensor(v, dtype=torch.float64).expand(self.batch, len(points)) for v in values]
        return torch.stack(rows, dim=1)

    def initial(self) -> Array:
        """Initial values, (unknowns,), with boundary nodes such that the boundary conditions hold."""
        y = self.initial_at(self.coordinate).permute(0, 2, 1).contiguous().numpy()
        start = np.array([self.problem.domain.bounds("t")[0]])
        for face in self.faces:
            node, f = self._corner(face)
            alpha, beta, gamma = (value[0] for value in self._coefficients(face, start))
            weights = face.side * self._first(node)
            own = self.own[node]
            others = y[:, self.columns[node], f] @ np.where(np.arange(len(weights)) == own, 0.0, weights)
            with np.errstate(divide="ignore", invalid="ignore"):
                y[:, node, f] = (gamma - beta * others) / (alpha + beta * weights[own])
        return y.reshape(-1)

    def interpolated(self, states: Array, points: Tensor) -> Array:
        """States (t, unknowns) at points (p,) by local polynomials, (batch, field, t, p)."""
        t, pad = len(states), self.width
        values = states.reshape(t, self.batch, self.n, self.n_fields)[:, :, self.place]
        x = self.x[self.place]
        if self.periodic:
            lower, upper = self.problem.domain.bounds(self.axis)
            length = upper - lower
            x = np.concatenate([x[-pad:] - length, x, x[:pad] + length])
            values = np.concatenate([values[:, :, -pad:], values, values[:, :, :pad]], axis=2)
        matrix = interpolation_matrix(x, points.numpy(), self.width)
        flat = values.transpose(2, 1, 3, 0).reshape(len(x), -1)
        shape = (len(points), self.batch, self.n_fields, t)
        out: Array = (matrix @ flat).reshape(shape).transpose(1, 2, 3, 0)
        return out

    def _stack(self, times: Array, y: Array, slope: Array) -> tuple[dict[Term, Tensor], Array]:
        """What the residual reads, (times, batch, node) each, and all space derivatives of y."""
        s, b, n, f = len(times), self.batch, self.n, self.n_fields
        u, rate = y.reshape(s, b, n, f), slope.reshape(s, b, n, f)
        nodes_first = u.transpose(2, 0, 1, 3).reshape(n, s * b * f)
        spatial = (self.derivatives @ nodes_first).reshape(len(self.powers), n, s, b, f).transpose(0, 4, 2, 3, 1)
        terms: dict[Term, Tensor] = {}
        for name, term in self.terms:
            i = self.names.index(name)
            known = {"t": rate[..., i], "": u[..., i]}
            value = known[term] if term in known else spatial[self.powers.index(len(term)), i]
            terms[name, term] = torch.from_numpy(np.ascontiguousarray(value))
        return terms, spatial

    def _equations(self, times: Array, terms: Mapping[Term, Tensor]) -> tuple[Tensor, ...]:
        coordinates = {"t": torch.from_numpy(times)[:, None, None], self.axis: self.coordinate}
        return evaluate(self.problem.pde, terms, coordinates, self.parameters)

    def residual(self, times: Array, y: Array, slope: Array) -> Array:
        """F at times (s,), values and slopes (s, unknowns): (s, unknowns)."""
        with torch.no_grad():
            terms, spatial = self._stack(times, y, slope)
            equations = self._equations(times, terms)
        out = np.empty((len(times), self.batch, self.n, self.n_fields))
        for e, equation in enumerate(equations):
            out[..., e] = equation.numpy()
        u = y.reshape(out.shape)
        gradient = spatial[self.powers.index(1)]
        for face in self.faces:
            node, f = self._corner(face)
            alpha, beta, gamma = self._coefficients(face, times)
            out[:, :, node, f] = alpha * u[:, :, node, f] + face.side * beta * gradient[f, :, :, node] - gamma
        return out.reshape(len(times), -1)

    def linearise(self, time: float, y: Array, slope: Array) -> tuple[Array, Array]:
        """∂F/∂y and ∂F/∂y' in band storage, (lower + upper + 1, unknowns) each."""
        times = np.array([time])
        terms, _ = self._stack(times, y[None], slope[None])
        leaves = {term: value.requires_grad_() for term, value in terms.items()}
        b, n, f = self.batch, self.n, self.n_fields
        jacobian, mass = np.zeros((b, n, f, f, self.columns.shape[1])), np.zeros((b, n, f, f))
        for e, equation in enumerate(self._equations(times, leaves)):
            # F acts point by point, so the gradient of its sum is its derivative at each point
            gradients = torch.autograd.grad(equation.sum(), list(leaves.values()), allow_unused=True)
            for (name, term), gradient in zip(leaves, gradients, strict=True):
                if gradient is None:
                    continue
                g, i = gradient[0].numpy(), self.names.index(name)  # (batch, node)
                if term == "t":
                    mass[:, :, e, i] = g
                elif term == "":
                    jacobian[:, np.arange(n), e, i, self.own] += g
                else:
                    jacobian[:, :, e, i] += g[:, :, None] * self.weights[self.powers.index(len(term))]
        for face in self.faces:
            node, i = self._corner(face)
            alpha, beta, _ = (value[0] for value in self._coefficients(face, times))
            mass[:, node, i], jacobian[:, node, i] = 0.0, 0.0
            jacobian[:, node, i, i] = face.side * beta[:, None] * self._first(node)
            jacobian[:, node, i, i, self.own[node]] += alpha
        bands = np.zeros((2, self.lower + self.upper + 1, self.total))
        bands[0].reshape(-1)[self.positions] = jacobian[:, self.used]
        bands[1].reshape(-1)[self.mass_positions] = mass.reshape(b, -1)
        return bands[0], bands[1]

    def norm(self, error: Array, y: Array) -> float:
        """Root mean square over space of errors (s, unknowns), in units of the tolerance; the worst."""
        shape = (self.batch, self.n, self.n_fields)
        allowed = self.atol + self.rtol * np.abs(y.reshape(shape)).max(1)  # (batch, field)
        square = np.einsum("sbnf,n->sbf", error.reshape(-1, *shape) ** 2, self.shares)
        return float(np.sqrt((square / allowed**2).max()))
