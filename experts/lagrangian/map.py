"""The map of one slab: X = ξ + τ (v + N_x), U = S + τ N_u, and its derivatives in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesolve.experts.lagrangian.branch import AbstractBranch, AbstractPreparedBranch, LabelFrame, joined
from pdesolve.experts.lagrangian.flow import Walls
from pdesolve.jet import Jet, closure

Terms = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class LabelMap:
    """X(ξ, t) = ξ + τ B_x (v + N_x) and U(ξ, t) = S(ξ, t) + τ B_u N_u, τ = t - t₀.

    At t₀ X = ξ and U = S whatever the branches give; X(ξ + P, t) = X(ξ, t) + P along periodic axes, since N_x repeats.
    B_x vanishes at walls that no label may leave or slide along, B_u where the value is prescribed.

    Arguments:
        frame: box of labels and times.
        position, state: the branches N_x and N_u; no weight is shared.
        drift: v, one number for each space axis: the frame that moves with the mean velocity.
        rests: by space axis, the walls where X does not move along it.
        n_fields: unknowns.
    """

    frame: LabelFrame
    position: AbstractBranch
    state: AbstractBranch
    drift: tuple[float, ...]
    rests: Mapping[str, Walls]
    n_fields: int

    @property
    def sizes(self) -> tuple[int, int]:
        """Parameters of the two branches."""
        d = len(self.frame.axes)
        return self.position.n_parameters(self.frame, d), self.state.n_parameters(self.frame, self.n_fields)

    def start(self, generator: torch.Generator) -> Tensor:
        """Parameters to begin from, of both branches behind each other."""
        x = self.position.start(self.frame, len(self.frame.axes), generator)
        return torch.cat([x, self.state.start(self.frame, self.n_fields, generator)])

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The parameters of each branch."""
        first, second = theta.split(self.sizes)
        return first, second

    def at(self, labels: Mapping[str, Any]) -> MappedPoints:
        """The map at points, features made once.

        Arguments:
            labels: by space axis, and "t": tensors or jets (point,).
        """
        position = self.position.prepare(self.frame, labels, len(self.frame.axes))
        return MappedPoints(self, labels, position, self.state.prepare(self.frame, labels, self.n_fields))

    def jets(self, labels: Mapping[str, Tensor], terms: tuple[str, ...]) -> dict[str, Any]:
        """Labels and times that carry derivatives."""
        closed = closure(terms)
        return {axis: Jet.variable(value, axis, closed) for axis, value in labels.items()}


@dataclass(frozen=True, eq=False)
class MappedPoints:
    """A label map at fixed points.

    Arguments:
        map: the map.
        labels: by space axis, and "t": tensors or jets (point,).
        position, state: its branches there.
    """

    map: LabelMap
    labels: Mapping[str, Any]
    position: AbstractPreparedBranch
    state: AbstractPreparedBranch

    def displaced(self, branch: Any) -> Any:
        """X, (point, axis), from what the position branch gives."""
        axes = self.map.frame.axes
        tau = self.elapsed()
        columns = []
        for i, axis in enumerate(axes):
            label = self.labels[axis]
            moved = (branch[:, i] + self.map.drift[i]) * tau
            for across, end in self.map.rests[axis]:
                moved = moved * ((self.labels[across] - end) * (1.0 / self.map.frame.box.extent(across)))
            columns.append(label + moved)
        return joined(columns)

    def valued(self, branch: Any, start: Any, vanishing: Any) -> Any:
        """U, (point, field), from what the state branch gives.

        Arguments:
            branch: N_u, (point, field).
            start: S, (point, field).
            vanishing: B_u, (point,), or None for 1.
        """
        factor = self.elapsed() if vanishing is None else self.elapsed() * vanishing
        return start + branch * factor.unsqueeze(-1)

    def elapsed(self) -> Any:
        """τ."""
        return self.labels["t"] - self.map.frame.start


def gradients(axes: tuple[str, ...], x: Terms) -> tuple[Tensor, Tensor]:
    """G = ∂X/∂ξ, (point, axis of X, axis of ξ), and its determinant J, (point,)."""
    g = torch.stack([x[axis] for axis in axes], dim=-1)  # (point, X, ξ)
    return g, determinant(g)


def determinant(g: Tensor) -> Tensor:
    """det G, (point,), written out for one and two axes."""
    if g.shape[-1] == 1:
        return g[:, 0, 0]
    return g[:, 0, 0] * g[:, 1, 1] - g[:, 0, 1] * g[:, 1, 0]


def inverse(g: Tensor) -> Tensor:
    """G⁻¹ = ∂ξ/∂x, (point, axis of ξ, axis of x), written out for one and two axes."""
    if g.shape[-1] == 1:
        return 1.0 / g
    a, b, c, d = g[:, 0, 0], g[:, 0, 1], g[:, 1, 0], g[:, 1, 1]
    rows = [torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)]
    return torch.stack(rows, dim=-2) / determinant(g)[:, None, None]


def in_place(axes: tuple[str, ...], x: Terms, u: Terms, second: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """∇u and ∇²u in place, and J.

    With G = ∂X/∂ξ and H = G⁻¹: ∇u = Hᵀ ∇_ξ U, and since ∇²_ξ U = Gᵀ ∇²u G + Σ_a u_a ∇²_ξ X_a,
    ∇²u = Hᵀ (∇²_ξ U - Σ_a u_a ∇²_ξ X_a) H. In one dimension: u_x = U'/J, u_xx = (U'' - u_x X'')/J².

    Arguments:
        axes: space axes.
        x, u: derivatives of X (point, axis) and of U (point, field) by label.
        second: whether the second ones are wanted.

    Returns:
        (point, field, axis), (point, field, axis, axis) or None, and (point,).
    """
    g, jacobian = gradients(axes, x)
    h = inverse(g)
    slope = torch.stack([u[axis] for axis in axes], dim=-1) @ h  # (point, field, axis)
    if not second:
        return slope, None, jacobian
    rows = []
    for b in axes:
        row = []
        for c in axes:
            term = b + c if b <= c else c + b
            row.append(u[term] - (slope @ x[term].unsqueeze(-1)).squeeze(-1))
        rows.append(torch.stack(row, dim=-1))
    curvature = torch.stack(rows, dim=-2)  # (point, field, ξ, ξ)
    return slope, h.mT.unsqueeze(1) @ curvature @ h.unsqueeze(1), jacobian
