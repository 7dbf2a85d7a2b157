"""What a Lagrangian expert checks and reads off its problem before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.condition import Value, value_at
from pdesolve.domains.geometry import BOUNDARIES, Box
from pdesolve.experts.lagrangian.branch import LabelFrame
from pdesolve.experts.lagrangian.flow import Walls
from pdesolve.experts.lagrangian.points import label_points
from pdesolve.experts.lagrangian.start import InitialState
from pdesolve.jet import Jet
from pdesolve.pde.transport_form import TransportForm
from pdesolve.problem import Problem

_AGREE = 1e-8
_TRIED = {1: {"t": 9, "x": 65, "y": 65, "z": 65}, 2: {"t": 9, "x": 17, "y": 17, "z": 17}}

Ends = tuple[Value | None, Value | None]


@dataclass(frozen=True, eq=False)
class TransportSetup:
    """A problem as transport in a box of labels.

    Arguments:
        form: velocity, diffusivity, source.
        box: of labels, with the whole time.
        periodic: axes.
        held: by space axis, at which ends labels stay.
        rests: by space axis, the walls where labels do not move along it: its own held ends, and held ends of another
            axis along which the prescribed value varies, since a label carries its value.
        ends: by space axis and then field, the values prescribed at held ends.
        initial: u₀.
        drift: mean velocity at the start, (axis,).
        spread: size of what u does, (field,): the largest deviation from its mean.
        parameters: of the problem, shape (1,).
    """

    form: TransportForm
    box: Box
    periodic: tuple[str, ...]
    held: Mapping[str, tuple[bool, bool]]
    rests: Mapping[str, Walls]
    ends: Mapping[str, tuple[Ends, ...]]
    initial: InitialState
    drift: tuple[float, ...]
    spread: tuple[float, ...]
    parameters: Mapping[str, Tensor]


def transport_setup(problem: Problem, labels: Box | None) -> TransportSetup:
    """Read a problem's equation and conditions.

    Arguments:
        problem: one or two space axes and time.
        labels: box of labels in space where it is larger than the domain.

    Raises:
        ValueError: see ``LagrangianPINN``.
    """
    domain = problem.box
    form = TransportForm(problem.pde, problem.parameters, domain.axes)
    if len(domain.space_axes) > 2:
        raise ValueError(f"one or two space axes are covered, the domain has {', '.join(domain.space_axes)}")
    periodic = _periodic(problem)
    box = domain if labels is None else _label_box(domain, labels, periodic)
    held, ends = _ends(problem, form, periodic, free=labels is not None)
    parameters = problem.batch_parameters()
    initial = InitialState(
        tuple(problem.resolved.initial[name, 0] for name in problem.field_names), parameters, domain.bounds("t")[0]
    )
    points = _from_first_to_last(label_points(LabelFrame(box, periodic), _TRIED[len(box.space_axes)], {}), box)
    state = initial(points)  # (point, field)
    if not bool(torch.isfinite(state).all()):
        raise ValueError(f"the initial condition is not finite at {_first(points, torch.isfinite(state).all(1))}")
    for axis in periodic:
        _check_repeats(initial, domain, axis, points, problem.field_names)
    coefficients = form.at(points, state.T)
    for what, values in (
        ("velocity", coefficients.velocity),
        ("diffusivity", coefficients.diffusivity.flatten(0, 1)),
        ("source", coefficients.source),
    ):
        finite = torch.isfinite(values).all(0)
        if not bool(finite.all()):
            raise ValueError(
                f"the {what} is not finite at {_first(points, finite)}: it is read in the whole box of labels and "
                "times; check its function and parameters"
            )
    thin = (coefficients.diffusivity >= 0).all(0).all(0)
    if not bool(thin.all()):
        raise ValueError(
            f"the diffusivity is negative at {_first(points, thin)}: the equation is ill-posed forward in time; "
            "check the sign of its second derivatives and of its viscosity"
        )
    if not form.diffusive:
        _check_outflow(problem, form, held, state, points)
    vary = _check_corners(problem, initial, held, ends, parameters)
    rests = {
        axis: tuple(
            (across, domain.bounds(across)[side])
            for across in domain.space_axes
            for side in range(2)
            if held[across][side] and (across == axis or vary[across][side])
        )
        for axis in domain.space_axes
    }
    at_start = points["t"] == points["t"].min()
    drift = coefficients.velocity[:, at_start].mean(1)
    drifts = tuple(0.0 if rests[axis] else v for axis, v in zip(box.space_axes, drift.tolist(), strict=True))
    spread = (state - state.mean(0)).abs().amax(0)
    return TransportSetup(
        form, box, periodic, held, rests, ends, initial, drifts,
        tuple(s if s > 0 else 1.0 for s in spread.tolist()), parameters,
    )  # fmt: skip


def _periodic(problem: Problem) -> tuple[str, ...]:
    found = [problem.resolved.periodic.get(name, ()) for name in problem.field_names]
    for axis in problem.box.space_axes:
        some = [axis in axes for axes in found]
        if any(some) and not all(some):
            raise ValueError(f"only some fields are periodic along {axis}: all share the curves, so all must be")
    return tuple(axis for axis in problem.box.space_axes if axis in found[0])


def _label_box(domain: Box, labels: Box, periodic: tuple[str, ...]) -> Box:
    if not isinstance(labels, Box):
        raise TypeError(f"labels must be a box in space, such as Interval(-1, 2), got {type(labels).__name__}")
    if labels.axes != domain.space_axes:
        raise ValueError(f"labels has the axes {labels.axes}, the domain in space {domain.space_axes}")
    for axis in domain.space_axes:
        (low, high), (inner, outer) = labels.bounds(axis), domain.bounds(axis)
        if axis in periodic and (low, high) != (inner, outer):
            raise ValueError(f"labels along the periodic axis {axis} must be the domain's [{inner}, {outer}]")
        if low > inner or high < outer:
            raise ValueError(f"labels along {axis} cover [{low}, {high}], the domain needs [{inner}, {outer}]")
    time = Box(("t",), (domain.bounds("t")[0],), (domain.bounds("t")[1],))
    return labels * time


def _ends(
    problem: Problem, form: TransportForm, periodic: tuple[str, ...], free: bool
) -> tuple[dict[str, tuple[bool, bool]], dict[str, tuple[Ends, ...]]]:
    """Which ends are held, and the values there."""
    held, ends = {}, {}
    for axis in problem.box.space_axes:
        pairs: list[list[Value | None]] = [[None, None] for _ in problem.field_names]
        for face in problem.resolved.faces:
            if face.axis != axis or free:
                continue
            if not (face.is_dirichlet and face.alpha == 1.0):
                raise ValueError(
                    f"the condition on {face.boundary!r} is no Dirichlet condition: a Lagrangian expert has Periodic, "
                    "Dirichlet, or none where an equation without diffusion flows out"
                )
            pairs[problem.field_names.index(face.field)][face.side > 0] = face.value
        sides = []
        for side in (0, 1):
            given = [pair[side] is not None for pair in pairs]
            if any(given) and not all(given):
                raise ValueError(f"only some fields have a value on {BOUNDARIES[axis][side]!r}: all need one")
            sides.append(all(given))
        held[axis], ends[axis] = (sides[0], sides[1]), tuple((a, b) for a, b in pairs)
    return held, ends


def _check_repeats(
    initial: InitialState, domain: Box, axis: str, points: Mapping[str, Tensor], fields: tuple[str, ...]
) -> None:
    """u₀ and its slope agree on both ends of a periodic axis."""
    sides = []
    for end in domain.bounds(axis):
        at = {a: Jet.variable(torch.full_like(v, end) if a == axis else v, a, ("", axis)) for a, v in points.items()}
        sides.append(initial(at).data)
    scale = 1.0 + sides[0].abs().amax()
    for order, what in enumerate(("", "'s slope")):
        gap = (sides[0][order] - sides[1][order]).abs().amax(0) * (domain.extent(axis) if order else 1.0)
        for name, jump in zip(fields, gap.tolist(), strict=True):
            if jump > 1e-6 * float(scale):
                raise ValueError(
                    f"the initial condition of {name}{what} jumps by {jump:.3g} over the ends of axis {axis}, which "
                    f"is declared periodic: give one that repeats with period {domain.extent(axis):.6g}, or another "
                    "condition there"
                )


def _check_outflow(
    problem: Problem, form: TransportForm, held: Mapping[str, tuple[bool, bool]], state: Tensor,
    points: Mapping[str, Tensor],
) -> None:  # fmt: skip
    """Without diffusion nothing may be prescribed where everything flows out."""
    for i, axis in enumerate(problem.box.space_axes):
        for side, end in enumerate(problem.box.bounds(axis)):
            if not held[axis][side]:
                continue
            at = {**points, axis: torch.full_like(points[axis], end)}
            outward = form.at(at, state.T).velocity[i] * (2 * side - 1)
            if bool((outward > 0).all()):
                raise ValueError(
                    f"the flow leaves through {BOUNDARIES[axis][side]!r} and nothing diffuses: a value given there "
                    "contradicts the equation; leave the condition out"
                )


def _check_corners(
    problem: Problem, initial: InitialState, held: Mapping[str, tuple[bool, bool]],
    ends: Mapping[str, tuple[Ends, ...]], parameters: Mapping[str, Tensor],
) -> dict[str, list[bool]]:  # fmt: skip
    """u₀ and the prescribed values agree at the start; in two dimensions at all times, since there they are u₀'s.

    Returns:
        By axis and side, whether the values vary along a held end.
    """
    vary = {axis: [False, False] for axis in held}
    domain = problem.box
    frame = LabelFrame(domain, ())
    points = label_points(frame, _TRIED[len(domain.space_axes)], {})
    if len(domain.space_axes) == 1:
        points = {**points} | {"t": torch.full_like(points["t"], domain.bounds("t")[0])}
    for axis, sides in held.items():
        for side, is_held in enumerate(sides):
            if not is_held:
                continue
            at = {**points, axis: torch.full_like(points[axis], domain.bounds(axis)[side])}
            state = initial(at)
            for i, name in enumerate(problem.field_names):
                value = ends[axis][i][side]
                assert value is not None
                wanted = torch.as_tensor(value_at(value, {**at, **parameters}), dtype=state.dtype).expand(len(state))
                gap = float((state[:, i] - wanted).abs().max())
                if gap > _AGREE * (1.0 + float(state.abs().max())):
                    when = "at the start" if len(domain.space_axes) == 1 else "(in two dimensions: at all times)"
                    raise ValueError(
                        f"{name} on {BOUNDARIES[axis][side]!r} and the initial condition differ by {gap:.3g} {when}: "
                        "a Lagrangian expert needs values that fit together"
                    )
            span = state.amax(0) - state.amin(0)
            vary[axis][side] = bool((span > _AGREE * (1.0 + state.abs().amax(0))).any())
    return vary


def _from_first_to_last(points: Mapping[str, Tensor], box: Box) -> dict[str, Tensor]:
    """The points with their times stretched onto the whole interval: what fails at its end alone is seen too."""
    t, (start, end) = points["t"], box.bounds("t")
    share = (t - t.min()) / (t.max() - t.min())
    return {**points, "t": start + (end - start) * share}


def _first(points: Mapping[str, Tensor], good: Tensor) -> str:
    at = int((~good).nonzero()[0, 0])
    return ", ".join(f"{axis} = {float(values[at]):.6g}" for axis, values in points.items())
