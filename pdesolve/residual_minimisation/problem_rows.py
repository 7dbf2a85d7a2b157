"""Rows of a problem at given points: the equation inside, conditions where a lifting leaves them open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import value_at
from pdesolve.domains.geometry import BOUNDARIES, Box
from pdesolve.domains.sampling import AbstractSampler, face_points
from pdesolve.frames.abstract import AbstractLifting
from pdesolve.pde.trace import Term, evaluate
from pdesolve.problem import Problem

Known = Mapping[str, Tensor]
PointRows = Callable[[Mapping[Term, Tensor], Known, Known], tuple[Tensor, ...]]
"""Called with terms, coordinates and parameters at points; returns one tensor for each equation."""
Faces = Callable[[str], Known]
"""Called with the name of a boundary, "initial" too; returns points on it by axis, (m,)."""


@dataclass(frozen=True, eq=False)
class ProblemRows:
    """ω F(∂^α u; x, p) at points, F acting point by point.

    Arguments:
        label: "equation" or what condition.
        coordinates: by axis, (m,).
        terms: the (field, α) that F reads.
        weight: ω, (m,).
        function: F.
        n_equations: how many tensors F returns.
        opposite: by axis, (m,): the terms are then differences to those at these points (periodic ends).
    """

    label: str
    coordinates: Known
    terms: tuple[Term, ...]
    weight: Tensor
    function: PointRows
    n_equations: int = 1
    opposite: Known | None = None

    @property
    def count(self) -> int:
        """Rows."""
        return self.n_equations * len(self.weight)

    def residual(self, values: Mapping[Term, Tensor], parameters: Known) -> Tensor:
        """ω F, (equation · point,), equations one after another."""
        equations = self.function(values, self.coordinates, parameters)
        return torch.cat([self.weight * e.expand(self.weight.shape) for e in equations])

    def linearise(
        self, values: Mapping[Term, Tensor], parameters: Known, unknown: Sequence[str] = ()
    ) -> tuple[Tensor, list[dict[Term, Tensor]], list[dict[str, Tensor]]]:
        """ω F, and for each equation ω ∂F/∂term and ω ∂F/∂p of the unknown parameters, each (m,); zeros left out."""
        with torch.enable_grad():
            terms = {term: value.detach().requires_grad_() for term, value in values.items()}
            free = {p: parameters[p].detach().expand(self.weight.shape).clone().requires_grad_() for p in unknown}
            equations = self.function(terms, self.coordinates, {**parameters, **free})
            inputs = [*terms.values(), *free.values()]
            slopes = []
            for e in equations:
                found: Sequence[Tensor | None] = [None] * len(inputs)
                if e.requires_grad:
                    found = torch.autograd.grad(e.sum(), inputs, retain_graph=True, allow_unused=True)
                slopes.append([None if s is None else s * self.weight for s in found])
        r = torch.cat([self.weight * e.detach().expand(self.weight.shape) for e in equations])
        by_term = [{t: s for t, s in zip(terms, row[: len(terms)], strict=True) if s is not None} for row in slopes]
        by_name = [{p: s for p, s in zip(free, row[len(terms) :], strict=True) if s is not None} for row in slopes]
        return r, by_term, by_name


def equation_rows(problem: Problem, coordinates: Known, weight: Tensor) -> ProblemRows:
    """The equation at points.

    Arguments:
        problem: whose.
        coordinates: by axis, (m,).
        weight: ω, (m,); 1/√m gives the mean square.
    """

    def function(values: Mapping[Term, Tensor], at: Known, parameters: Known) -> tuple[Tensor, ...]:
        return evaluate(problem.pde, values, at, parameters)

    trace = problem.trace
    return ProblemRows("equation", coordinates, trace.terms, weight, function, trace.n_equations)


def sampled_faces(
    box: Box, count: int, sampler: AbstractSampler, generator: torch.Generator, device: torch.device | None = None
) -> Faces:
    """``count`` points on each face, drawn anew at each call."""

    def face(boundary: str) -> Known:
        points = face_points(box, boundary, count, generator, sampler, device=device)
        return {axis: value.squeeze(0) for axis, value in points.items()}

    return face


def condition_rows(
    problem: Problem, lifting: AbstractLifting, faces: Faces, weight: float, skip: Sequence[str] = ()
) -> list[ProblemRows]:
    """One block for each initial, boundary and periodic condition that the lifting does not impose.

    Arguments:
        problem: whose.
        lifting: says what it imposes.
        faces: gives the points.
        weight: factor of all these rows; 1/√m of m points is applied besides.
        skip: axes along which the ansatz is periodic by itself.
    """

    def drawn(boundary: str) -> tuple[Known, Tensor]:
        points = faces(boundary)
        like = next(iter(points.values()))
        return points, torch.full_like(like, weight / len(like) ** 0.5)

    found = []
    for condition in problem.resolved.faces:
        if not lifting.imposes(condition.field, condition.boundary):
            slope = 0.0 if condition.is_dirichlet else 1.0 / problem.box.extent(condition.axis)
            found.append(_face_rows(condition, *drawn(condition.boundary), slope))
    for (field, order), value in problem.resolved.initial.items():
        if not lifting.imposes(field, BOUNDARIES["t"][0]):
            points, omega = drawn(BOUNDARIES["t"][0])
            found.append(_initial_rows(field, order, value, points, omega * problem.box.extent("t") ** order))
    for field, axes in problem.resolved.periodic.items():
        for axis in axes:
            if axis not in skip:
                found.append(_periodic_rows(problem, field, axis, *drawn(BOUNDARIES[axis][0])))
    return found


def _tensor(value: Any, like: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def _face_rows(condition: Any, coordinates: Known, omega: Tensor, slope: float) -> ProblemRows:
    """(α u + β ∂u/∂n - γ) / (|α| + |β|/extent)."""
    field, side = condition.field, condition.side
    normal = (field, condition.axis)
    terms: tuple[Term, ...] = ((field, ""),) if condition.is_dirichlet else ((field, ""), normal)

    def function(values: Mapping[Term, Tensor], at: Known, parameters: Known) -> tuple[Tensor, ...]:
        known, u = {**at, **parameters}, values[field, ""]
        alpha, beta, gamma = (
            _tensor(value_at(v, known), u) for v in (condition.alpha, condition.beta, condition.value)
        )
        flux = side * beta * values[normal] if normal in values else 0.0
        return ((alpha * u + flux - gamma) / (alpha.abs() + beta.abs() * slope),)

    return ProblemRows(f"{field} on {condition.boundary}", coordinates, terms, omega, function)


def _initial_rows(field: str, order: int, value: Any, coordinates: Known, omega: Tensor) -> ProblemRows:
    term: Term = (field, "t" * order)

    def function(values: Mapping[Term, Tensor], at: Known, parameters: Known) -> tuple[Tensor, ...]:
        u = values[term]
        return (u - _tensor(value_at(value, {**at, **parameters}), u),)

    return ProblemRows(f"{field} initial, order {order}", coordinates, (term,), omega, function)


def _periodic_rows(problem: Problem, field: str, axis: str, coordinates: Known, omega: Tensor) -> ProblemRows:
    """[∂_n^j u] extent^j for every j below the equation's order."""
    low, high = problem.box.bounds(axis)
    opposite = {**coordinates, axis: torch.full_like(coordinates[axis], high)}
    terms: tuple[Term, ...] = tuple((field, axis * j) for j in range(max(1, problem.trace.order(axis, field))))

    def function(values: Mapping[Term, Tensor], at: Known, parameters: Known) -> tuple[Tensor, ...]:
        return tuple(values[term] * (high - low) ** len(term[1]) for term in terms)

    return ProblemRows(f"{field} periodic along {axis}", coordinates, terms, omega, function, len(terms), opposite)
