"""Residual rows of a problem on patches: the equation inside, the conditions that the lifting leaves open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.condition import FaceCondition, Value, value_at
from pdesolve.discretization.abstract import Expansion, Points
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.experts.patch_context import PatchContext
from pdesolve.experts.row_weight import AbstractRowWeight
from pdesolve.experts.shared_pieces import shared_pieces
from pdesolve.nonlinear.joint_rows import JointBlock
from pdesolve.nonlinear.rows import PointFunction, RowBlock
from pdesolve.pde.abstract import AbstractPDE
from pdesolve.pde.trace import Term, evaluate

InitialData = Callable[[Points, int], Tensor]
"""Initial values at points for a component, (batch, piece, point)."""

_GIVEN = "given initial data"


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


@dataclass(frozen=True, eq=False)
class PatchRows:
    """Rows of one kind: on patches, and those that several patches share.

    Arguments:
        own: rows of each patch by itself.
        joint: rows of several.
    """

    own: RowBlock
    joint: tuple[JointBlock, ...] = ()


@dataclass(frozen=True)
class _Equation:
    """The equation's rows as a ``PointFunction``; equal ones are compiled once.

    Arguments:
        pde: the equation.
        terms: what the values are.
        parameters, axes: what the inputs are.
    """

    pde: AbstractPDE
    terms: tuple[Term, ...]
    parameters: tuple[str, ...]
    axes: tuple[str, ...]

    def __call__(self, values: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        known, at = inputs[: len(self.parameters)], inputs[len(self.parameters) :]
        coordinates, parameters = dict(zip(self.axes, at, strict=True)), dict(zip(self.parameters, known, strict=True))
        return evaluate(self.pde, dict(zip(self.terms, values, strict=True)), coordinates, parameters)


@dataclass(frozen=True)
class _Face:
    """(α u + β ∂u/∂n - γ) / (|α| + |β|/extent) of the values (u, ∂u/∂axis).

    Arguments:
        face: α, β, γ.
        extent: of the domain along the face's axis.
        names: what the inputs are.
    """

    face: FaceCondition
    extent: float
    names: tuple[str, ...]

    def __call__(self, values: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        known, face = dict(zip(self.names, inputs, strict=True)), self.face
        u, slope = values
        alpha, beta, gamma = (
            torch.as_tensor(value_at(v, known), dtype=u.dtype, device=u.device)
            for v in (face.alpha, face.beta, face.value)
        )
        return ((alpha * u + face.side * beta * slope - gamma) / (alpha.abs() + beta.abs() / self.extent),)


@dataclass(frozen=True)
class _Start:
    """(∂ⁿu/∂tⁿ - value) Tⁿ.

    Arguments:
        value: the condition's; None where it is among the inputs.
        scale: Tⁿ.
        names: what the inputs are.
    """

    value: Value | None
    scale: float
    names: tuple[str, ...]

    def __call__(self, values: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        known = dict(zip(self.names, inputs, strict=True))
        target = known[_GIVEN] if self.value is None else value_at(self.value, known)
        return ((values[0] - target) * self.scale,)


def interior_rows(context: PatchContext, count: int, weight: AbstractRowWeight) -> PatchRows:
    """ω F / sqrt(count) at interior points.

    Arguments:
        context: problem, patches and basis.
        count: points on each patch.
        weight: ω.
    """
    problem, terms = context.problem, context.problem.trace.terms
    points = context.interior(count)
    function = _Equation(problem.pde, terms, tuple(context.parameters), tuple(points.coordinates))
    omega = weight(points.coordinates, problem.box) * points.share()
    return _rows(context, points, terms, function, context.columns(), omega, problem.trace.n_equations, "equation")


def condition_rows(
    context: PatchContext, count: int, weight: float, initial: InitialData | None = None
) -> list[PatchRows]:
    """One block for every initial and boundary condition that the lifting does not impose.

    Arguments:
        context: problem, patches and basis.
        count: points on each face.
        weight: factor of the rows beside those of the equation.
        initial: data for order 0, as a function of points and component, in place of the problem's own.
    """
    resolved, imposes = context.problem.resolved, context.source.lifting.imposes
    faces = [_face_rows(context, f, count, weight) for f in resolved.faces if not imposes(f.field, f.boundary)]
    starts = [key for key in resolved.initial if not imposes(key[0], BOUNDARIES["t"][0])]
    return faces + [_initial_rows(context, *key, count, weight, initial) for key in starts]


def _face_rows(context: PatchContext, face: FaceCondition, count: int, weight: float) -> PatchRows:
    """(α u + β ∂u/∂n - γ) / (|α| + |β|/extent) on the patches that touch a face."""
    extent = context.problem.domain.extent(face.axis)
    points = context.face(face.boundary, count)
    function = _Face(face, extent, (*context.parameters, *points.coordinates))
    omega = weight * _touching(context, face.boundary, points) * points.share()
    terms: tuple[Term, ...] = ((face.field, ""), (face.field, face.axis))
    return _rows(context, points, terms, function, context.columns(), omega)


def _initial_rows(
    context: PatchContext, field: str, order: int, count: int, weight: float, initial: InitialData | None
) -> PatchRows:
    """(∂ⁿu/∂tⁿ - value) Tⁿ on the patches that touch the initial time."""
    problem, boundary = context.problem, BOUNDARIES["t"][0]
    points = context.face(boundary, count)
    own, span = problem.resolved.initial[field, order], problem.domain.extent("t")
    given = initial is not None and order == 0
    data = (initial(points, problem.field_names.index(field)),) if initial is not None and given else ()
    names = (*context.parameters, *(_GIVEN for _ in data), *points.coordinates)
    function = _Start(None if given else own, span**order, names)
    omega = weight * _touching(context, boundary, points) * points.share()
    terms: tuple[Term, ...] = ((field, "t" * order),)
    return _rows(context, points, terms, function, (*context.columns(), *data), omega)


def _touching(context: PatchContext, boundary: str, points: Points) -> Tensor:
    """(patch, 1): one for patches that touch a boundary of the domain, zero else."""
    decomposition, like = context.decomposition, next(iter(points.coordinates.values()))
    flags = [boundary in decomposition.boundaries_of(i) for i in range(len(decomposition.patches))]
    return torch.tensor(flags, dtype=like.dtype, device=like.device).unsqueeze(-1)


def _rows(
    context: PatchContext,
    points: Points,
    terms: Sequence[Term],
    function: PointFunction,
    inputs: tuple[Tensor, ...],
    weight: Tensor,
    n_equations: int = 1,
    label: str = "conditions",
) -> PatchRows:
    """Rows ω F at points, whose pieces are the patches.

    Arguments:
        terms: what F reads.
        function: F.
        inputs: further tensors that F reads, beside the coordinates.
        weight: ω, (patch, point).
        n_equations: how many values F gives.
        label: what the rows are, for reports.
    """
    derivatives = tuple(dict.fromkeys(d for _, d in terms))

    def block(at: Points, expansion: Expansion, read: tuple[Tensor, ...], omega: Tensor) -> RowBlock:
        index = {name: i for i, name in enumerate(context.problem.field_names)}
        fields = {d: value.unbind(-2) for d, value in expansion.basis.items()}
        offsets = {d: value.unbind(-1) for d, value in expansion.offset.items()}
        basis = tuple(fields[d][index[f]] for f, d in terms)
        offset = tuple(offsets[d][index[f]] for f, d in terms)
        coordinates = tuple(value.unsqueeze(0) for value in at.coordinates.values())
        return RowBlock(function, basis, offset, read, omega.unsqueeze(0), n_equations, coordinates)

    mixed = context.layout.mixed
    if mixed is None:
        return PatchRows(block(points, context.expand(points, derivatives), inputs, weight))
    own: RowBlock | None = None
    joint = []
    for piece in shared_pieces(mixed, points, weight):
        read = tuple(piece.chosen(t, points.shape) for t in inputs)
        omega = piece.weights(weight)
        expansion = context.expand_mixed(piece.points, piece.patches, mixed, derivatives)
        rows = block(piece.points, expansion, read, omega)
        if piece.patches.shape[1] == 1:
            own = rows
        else:
            joint.append(JointBlock(rows, tuple(map(tuple, piece.patches.tolist())), label))
    assert own is not None  # there is a piece for every patch, be it empty
    return PatchRows(own, tuple(joint))
