"""One slab of time: the equation in label coordinates and its residual rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.domains.geometry import Box
from pdesolve.experts.lagrangian.flow import AbstractFlow
from pdesolve.experts.lagrangian.map import LabelMap, in_place
from pdesolve.jet import Jet
from pdesolve.pde.transport_form import TransportForm
from pdesolve.residual_minimisation.abstract import AbstractResidual

Start = Callable[[Mapping[str, Any]], Any]
"""S, (point, field), at labels by axis, tensors or jets: the state with which labels set out."""


@dataclass(frozen=True, eq=False)
class Slab:
    """The equation on one interval of time, in label coordinates.

    X_t = w and U_t = Σ g_d u_dd + s - (a - X_t)·∇u. The second row holds for any map X; where w = a and nothing
    diffuses, (a - X_t) is left out, since the first row says that it is zero, and no derivative by label is needed.

    Arguments:
        form: velocity, diffusivity and source.
        domain: the box of the problem.
        map: X and U.
        flow: w.
        start: S.
        vanishing: B_u at labels, or None for 1.
        scales: lengths by which rows are divided times the duration: of X by axis, and of U by field.
    """

    form: TransportForm
    domain: Box
    map: LabelMap
    flow: AbstractFlow
    start: Start
    vanishing: Callable[[Mapping[str, Any]], Any] | None
    scales: tuple[Tensor, Tensor]

    @property
    def slips(self) -> bool:
        """Whether the rows read derivatives by label."""
        held = any(self.map.rests.values())
        return self.form.diffusive or held or not self.flow.moves

    @property
    def terms(self) -> tuple[str, ...]:
        """Derivatives by label and time that the rows read."""
        axes = self.map.frame.axes
        if not self.slips:
            return ("t",)
        if not self.form.diffusive:
            return ("t", *axes)
        return ("t", *(a + b for i, a in enumerate(axes) for b in axes[i:]))

    def rows(self, labels: Mapping[str, Tensor]) -> SlabResidual:
        """The residual at labels and times, (point,) each."""
        return SlabResidual(self, labels)


@final
class SlabResidual(AbstractResidual):
    """Rows of one slab at fixed points, weighted so that their sum of squares is a mean over the points.

    Arguments:
        slab: the equation.
        labels: by space axis, and "t", (point,).

    Notes:
        Rows where curves have crossed (J <= 0) and the equation reads derivatives by label are NaN, so that no
        minimiser accepts such a step.
    """

    def __init__(self, slab: Slab, labels: Mapping[str, Tensor]) -> None:
        self.slab, self.labels = slab, labels
        jets = slab.map.jets(labels, slab.terms)
        self._points = slab.map.at(jets)
        with torch.no_grad():
            self._start = slab.start(jets)
            self._vanishing = None if slab.vanishing is None else slab.vanishing(jets)

    def residual(self, theta: Tensor) -> Tensor:
        first, second = self.slab.map.split(theta)
        curves, states = self._rows(self._points.position.values(first), self._points.state.values(second))
        return torch.cat([*curves, *states])

    def linearise(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self.slab.map.split(theta)
        n, rows_n = self._points.position.linearised(first)
        m, rows_m = self._points.state.linearised(second)
        n, m = n.detach().requires_grad_(), m.detach().requires_grad_()
        names = self._points.labels["t"].terms
        with torch.enable_grad():
            groups = [row for rows in self._rows(Jet(n, names), Jet(m, names)) for row in rows]
        blocks = []
        for group in groups:
            by_n, by_m = torch.autograd.grad(
                group, (n, m), torch.ones_like(group), retain_graph=True, allow_unused=True, materialize_grads=True
            )
            blocks.append(torch.cat([rows_n(by_n), rows_m(by_m)], dim=1))
        return torch.cat([group.detach() for group in groups]), torch.cat(blocks)

    def labelled(self, theta: Tensor) -> dict[str, Tensor]:
        """The rows of curves and of the equation, (row,) each."""
        first, second = self.slab.map.split(theta)
        curves, states = self._rows(self._points.position.values(first), self._points.state.values(second))
        named = {"curves": list(curves)} if self.slab.flow.moves else {}
        return {name: torch.cat(rows) for name, rows in {**named, "equation": list(states)}.items()}

    def _rows(self, n: Any, m: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Rows of X for each axis, and of U for each field, (point,) each."""
        slab, points = self.slab, self._points
        x = points.displaced(n).by_term()
        u = points.valued(m, self._start, self._vanishing).by_term()
        axes = slab.map.frame.axes
        position = x[""].T
        at = {"t": self.labels["t"], **dict(zip(axes, position, strict=True))}
        transport = slab.form.at(at, u[""].T)
        change = u["t"].T - transport.source  # (field, point)
        if slab.slips:
            slope, hessian, jacobian = in_place(axes, x, u, slab.form.diffusive)
            carried = torch.einsum("ap,pfa->fp", transport.velocity - x["t"].T, slope)
            change = change + carried
            if hessian is not None:
                change = change - torch.einsum("fap,pfaa->fp", transport.diffusivity, hessian)
            change = torch.where(jacobian > 0, change, torch.nan)
        weight = slab.map.frame.duration / position.shape[1] ** 0.5
        states = tuple(change * (weight / slab.scales[1]).unsqueeze(-1))
        if not slab.flow.moves:
            return (), states
        followed = slab.flow.shares(slab.domain, slab.map.rests, position) * transport.velocity
        return tuple((x["t"].T - followed) * (weight / slab.scales[0]).unsqueeze(-1)), states
