"""What must hold beside the equation: linear conditions on the solution that the least-squares solve respects."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition.value import Value, arguments, value_at
from pdesolve.experts.patch_context import PatchContext
from pdesolve.namespace import nearest
from pdesolve.nonlinear.constraints import LinearConstraints


class AbstractLinearConstraint(abc.ABC):
    """Makes rows lower <= C w <= upper from a basis: ``Bounds``, ``MassBalance``, or one of your own."""

    @abc.abstractmethod
    def rows(self, context: PatchContext) -> LinearConstraints:
        """The rows on all patches.

        Arguments:
            context: problem, patches and basis.
        """


@dataclass(frozen=True, eq=False)
class Violation:
    """How far the solution lies outside of one constraint.

    Arguments:
        name: of the constraint.
        amount: (batch, patch, row), at least 0, in the constraint's units; one patch for rows over all patches.
        coordinates: axis -> (patch, row), where the rows stand.
    """

    name: str
    amount: Tensor
    coordinates: Mapping[str, Tensor]

    def worst(self, sample: int, tolerance: float = 1e-6) -> str:
        """One line on a sample: how many rows are violated by more than ``tolerance``, and the worst of them."""
        amount = self.amount[sample]
        count = int((amount > tolerance).sum())
        if count == 0:
            return f"{self.name}: all {amount.numel()} rows hold"
        at = divmod(int(amount.argmax()), amount.shape[1])
        place = ", ".join(f"{axis} = {float(c[at]):.6g}" for axis, c in self.coordinates.items())
        return (
            f"{self.name}: {count} of {amount.numel()} rows violated, the worst by {float(amount[at]):.3g} at {place}"
        )


def violations(rows: tuple[LinearConstraints, ...], weights: Tensor) -> tuple[Violation, ...]:
    """One for each block of rows, at the weights (batch, patch, N)."""
    with torch.no_grad():
        w = weights.detach()
        return tuple(Violation(block.name, block.violation(w), block.coordinates) for block in rows)


def known_at(context: PatchContext, coordinates: Mapping[str, Tensor]) -> dict[str, Any]:
    """Coordinates (piece, point) and parameters by name, to broadcast to (batch, piece, point)."""
    at = {axis: value.unsqueeze(0) for axis, value in coordinates.items()}
    return {**at, **dict(zip(context.parameters, context.columns(), strict=True))}


def bound_at(value: Value, known: Mapping[str, Any], like: Tensor, what: str) -> Tensor:
    """A number or function of known names, as a tensor like ``like`` up to its batch.

    Raises:
        ValueError: a function that reads unknown names.
    """
    for name in arguments(value):
        if name not in known:
            raise ValueError(
                f"{what} reads {name!r}, which is neither an axis nor a parameter: "
                f"known are {', '.join(known)}{nearest(name, known)}"
            )
    found = torch.as_tensor(value_at(value, known), dtype=like.dtype, device=like.device)
    return found.expand(torch.broadcast_shapes(found.shape, like.shape))


def check_bound(value: Value, what: str) -> None:
    """Raise unless it is a number that is not NaN, or a function."""
    if isinstance(value, bool) or not (callable(value) or isinstance(value, (int, float))):
        raise TypeError(f"{what} must be a number or a function of axes and parameters, got {type(value).__name__}")
    if not callable(value) and value != value:
        raise ValueError(f"{what} is NaN: give a number, or a function of axes and parameters")


def field_index(context: PatchContext, field: str | None) -> int:
    """Place of a field; None is the only one.

    Raises:
        ValueError: an unknown field, or none named where there are several.
    """
    names = context.problem.field_names
    if field is None and len(names) == 1:
        return 0
    if field not in names:
        got = "none was named" if field is None else f"{field!r} is none of them{nearest(field, names)}"
        raise ValueError(f"a constraint must name its field: the fields are {', '.join(names)}, {got}")
    return names.index(field)
