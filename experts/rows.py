"""Residual rows of a problem on patches: the equation inside, the conditions that the lifting leaves open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, value_at
from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.experts.row_weight import AbstractRowWeight
from pdesolve.nonlinear.rows import RowBlock
from pdesolve.pde.trace import Term, evaluate
from pdesolve.problem import Problem

Expand = Callable[[Points, tuple[str, ...]], Expansion]
"""The basis of an expert at points, with the derivatives named."""


@dataclass(frozen=True)
class RowCounts:
    """How many points carry rows on each patch.

    Arguments:
        interior: points with rows of the equation.
        boundary: points on each face that has a condition as rows (default 64).
        interface: points on each interface (default 64).
    """

    interior: int
    boundary: int = 64
    interface: int = 64

    def __post_init__(self) -> None:
        for name in ("interior", "boundary", "interface"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}")


def interior_rows(
    problem: Problem, expansion: Expansion, points: Points, parameters: Mapping[str, Tensor], weight: AbstractRowWeight
) -> RowBlock:
    """ω F / sqrt(count) at interior points.

    Arguments:
        problem: gives F.
        expansion: the basis there, in float64.
        points: where.
        parameters: name -> (batch,) or (1,), float64.
        weight: ω.
    """
    terms = problem.trace.terms
    names = tuple(parameters)
    coordinates = {axis: value.unsqueeze(0) for axis, value in points.coordinates.items()}

    def function(values: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        by_term: dict[Term, Tensor] = dict(zip(terms, values, strict=True))
        return evaluate(problem.pde, by_term, coordinates, dict(zip(names, inputs, strict=True)))

    omega = weight(points.coordinates, problem.domain) * _share(points)
    block = _block(problem, expansion, terms, function, _columns(parameters), omega.unsqueeze(0))
    return replace(block, n_equations=problem.trace.n_equations)


def face_rows(
    problem: Problem,
    face: FaceCondition,
    expansion: Expansion,
    points: Points,
    parameters: Mapping[str, Tensor],
    weight: Tensor,
) -> RowBlock:
    """(α u + β ∂u/∂n - γ) / (|α| + |β|/extent) at points of one face.

    Arguments:
        problem, expansion, points, parameters: as ``interior_rows``; a piece for every patch.
        face: the condition.
        weight: (piece, 1), zero for patches that do not touch the face.
    """  # fmt: skip
    terms: tuple[Term, ...] = ((face.field, ""), (face.field, face.axis))
    names = tuple(parameters)
    coordinates = {axis: value.unsqueeze(0) for axis, value in points.coordinates.items()}
    extent = problem.domain.extent(face.axis)

    def function(values: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        known = {**coordinates, **dict(zip(names, inputs, strict=True))}
        u, slope = values
        alpha, beta, gamma = (
            torch.as_tensor(value_at(v, known), dtype=u.dtype, device=u.device)
            for v in (face.alpha, face.beta, face.value)
        )
        scale = alpha.abs() + beta.abs() / extent
        return ((alpha * u + face.side * beta * slope - gamma) / scale,)

    omega = (weight * _share(points)).unsqueeze(0)
    return _block(problem, expansion, terms, function, _columns(parameters), omega)


def initial_rows(
    problem: Problem,
    field: str,
    order: int,
    expansion: Expansion,
    points: Points,
    parameters: Mapping[str, Tensor],
    weight: Tensor,
    values: Tensor | None,
) -> RowBlock:
    """(∂ⁿu/∂tⁿ - value) Tⁿ at initial points; arguments as ``face_rows``.

    Arguments:
        values: initial data at the points, (batch, piece, point), in place of the problem's own; or None.
    """  # fmt: skip
    terms: tuple[Term, ...] = ((field, "t" * order),)
    names = tuple(parameters)
    coordinates = {axis: value.unsqueeze(0) for axis, value in points.coordinates.items()}
    own = problem.resolved.initial[field, order]
    span = problem.domain.extent("t")
    data = () if values is None else (values,)

    def function(terms_: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        known = {**coordinates, **dict(zip(names, inputs, strict=False))}
        target = inputs[-1] if data else value_at(own, known)
        return ((terms_[0] - target) * span**order,)

    omega = (weight * _share(points)).unsqueeze(0)
    return _block(problem, expansion, terms, function, (*_columns(parameters), *data), omega)


def touching(decomposition: Decomposition, boundary: str, like: Tensor) -> Tensor:
    """(patch, 1): one for patches that touch a boundary of the domain, zero else."""
    flags = [boundary in decomposition.boundaries_of(i) for i in range(len(decomposition.patches))]
    return torch.tensor(flags, dtype=like.dtype, device=like.device).unsqueeze(-1)


def condition_rows(
    problem: Problem,
    imposes: Callable[[str, str], bool],
    discretization: AbstractDiscretization,
    decomposition: Decomposition,
    expand: Expand,
    parameters: Mapping[str, Tensor],
    count: int,
    generator: torch.Generator,
    weight: float,
    initial: Callable[[Points, int], Tensor] | None = None,
) -> list[RowBlock]:
    """One block for every condition that the lifting does not impose.

    Arguments:
        imposes: ``AbstractLifting.imposes``.
        count: points on each face.
        weight: factor of the rows beside those of the equation.
        initial: data for order 0, as a function of points and component, in place of the problem's own.
    """
    patches = range(len(decomposition.patches))
    blocks = []
    like = torch.ones((), dtype=torch.float64, device=generator.device)
    for face in problem.resolved.faces:
        if not imposes(face.field, face.boundary):
            points = discretization.face(decomposition, patches, face.boundary, count, generator)
            omega = weight * touching(decomposition, face.boundary, like)
            expansion = expand(points, ("", face.axis)).double()
            blocks.append(face_rows(problem, face, expansion, points, parameters, omega))
    for field, order in problem.resolved.initial:
        if not imposes(field, BOUNDARIES["t"][0]):
            points = discretization.face(decomposition, patches, BOUNDARIES["t"][0], count, generator)
            omega = weight * touching(decomposition, BOUNDARIES["t"][0], like)
            expansion = expand(points, ("t" * order,)).double()
            data = initial(points, problem.field_names.index(field)) if initial is not None and order == 0 else None
            blocks.append(initial_rows(problem, field, order, expansion, points, parameters, omega, data))
    return blocks


def _share(points: Points) -> Tensor:
    """1 / sqrt(count) for each point, zero for a node that repeats, (piece, point)."""
    distinct = points.distinct()
    return distinct / distinct.sum(1, keepdim=True).sqrt()


def _columns(parameters: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(value.reshape(-1, 1, 1) for value in parameters.values())


def _block(
    problem: Problem,
    expansion: Expansion,
    terms: Sequence[Term],
    function: Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]],
    inputs: tuple[Tensor, ...],
    weight: Tensor,
) -> RowBlock:
    index = {name: i for i, name in enumerate(problem.field_names)}
    fields = {d: value.unbind(-2) for d, value in expansion.basis.items()}
    offsets = {d: value.unbind(-1) for d, value in expansion.offset.items()}
    basis = tuple(fields[d][index[f]] for f, d in terms)
    offset = tuple(offsets[d][index[f]] for f, d in terms)
    return RowBlock(function, basis, offset, inputs, weight)
