"""Collocation: derivatives of an ansatz at points, exactly, by forward differentiation."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.discretization.abstract import AbstractDiscretization, Expansion, Points
from pdesolve.discretization.ansatz import AbstractAnsatz
from pdesolve.domains.geometry import Box
from pdesolve.domains.patch import AbstractPatches
from pdesolve.domains.sampling import AbstractSampler, SobolSampler, face_points
from pdesolve.jet import Jet, closure

_CACHED = 1 << 15
_RESIDENT = 1 << 22
Pair = tuple[Any, Any]


class AbstractDifferentiation(abc.ABC):
    """How an ansatz is differentiated."""

    @abc.abstractmethod
    def derivatives(
        self,
        ansatz: AbstractAnsatz,
        coordinates: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        terms: tuple[str, ...],
        patches: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """(offset, basis) by derivative name; arguments and shapes as ``Ansatz.forward``."""


@final
class TaylorMode(AbstractDifferentiation):
    """All derivatives in one forward pass of truncated Taylor arithmetic (``pdesolve.jet``).

    About three times cheaper than nested forward mode, and its backward pass is one of a plain network; the network
    and frame must be written in operations that ``Jet`` knows, or a ``TypeError`` names the one it does not.
    """

    def derivatives(
        self,
        ansatz: AbstractAnsatz,
        coordinates: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        terms: tuple[str, ...],
        patches: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        closed = closure(terms)
        jets = {axis: Jet.variable(value, axis, closed) for axis, value in coordinates.items()}
        offset, basis = ansatz(jets, parameters, patches)
        offsets, fields = offset.by_term(), basis.by_term()
        return {t: offsets[t] for t in terms}, {t: fields[t] for t in terms}


@final
class ForwardMode(AbstractDifferentiation):
    """Nested ``torch.func.jvp``: works for any module that torch.func can differentiate, at a multiple of the cost.

    Good values: for networks and frames that ``TaylorMode`` refuses.
    """

    def derivatives(
        self,
        ansatz: AbstractAnsatz,
        coordinates: Mapping[str, Tensor],
        parameters: Mapping[str, Tensor],
        terms: tuple[str, ...],
        patches: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        axes = tuple(coordinates)

        def value(*columns: Tensor) -> tuple[Pair, ...]:
            return (ansatz(dict(zip(axes, columns, strict=True)), parameters, patches),)

        found: dict[str, Pair] = {}
        maximal = [t for t in terms if not any(o != t and o.startswith(t) for o in terms)]
        for term in maximal:
            chain: Callable[..., tuple[Pair, ...]] = value
            for axis in term:
                chain = _extended(chain, axes.index(axis))
            results = chain(*coordinates.values())
            found.update({term[:k]: pair for k, pair in enumerate(results)})
        return {t: found[t][0] for t in terms}, {t: found[t][1] for t in terms}


def _extended(chain: Callable[..., tuple[Pair, ...]], position: int) -> Callable[..., tuple[Pair, ...]]:
    """The chain of derivatives with one more, along the axis at ``position``, of its last entry."""

    def longer(*columns: Tensor) -> tuple[Pair, ...]:
        tangents = tuple(torch.ones_like(c) if i == position else torch.zeros_like(c) for i, c in enumerate(columns))
        both: tuple[Any, ...] = torch.func.jvp(chain, columns, tangents)
        return (*both[0], both[1][-1])

    return longer


@final
@dataclass(frozen=True)
class Collocation(AbstractDiscretization):
    """Derivatives of an ``Ansatz`` at freely chosen points.

    Arguments:
        sampler: spreads the points over a patch (default scrambled Sobol points; for problems with an initial
            layer ``GradedSampler({"t": 2})`` spreads them evenly in the square root of time).
        differentiation: ``TaylorMode()`` (default), or ``ForwardMode()`` for modules it cannot run.

    Raises:
        TypeError: when it is given anything but an ``Ansatz``; an operation that ``TaylorMode`` does not know.
        ValueError: when a derivative along an axis is needed that the points do not have.
    """

    sampler: AbstractSampler = field(default_factory=SobolSampler)
    differentiation: AbstractDifferentiation = field(default_factory=TaylorMode)

    def interior(self, decomposition: AbstractPatches, n: int, generator: torch.Generator) -> Points:
        return Points(self.sampler.sample(_boxes(decomposition), n, generator))

    def face(
        self,
        decomposition: AbstractPatches,
        patches: Sequence[int],
        boundary: str,
        n: int,
        generator: torch.Generator,
    ) -> Points:
        boxes = _boxes(decomposition)
        return Points(face_points([boxes[i] for i in patches], boundary, n, generator, self.sampler))

    def expand(
        self, basis: Any, points: Points, parameters: Mapping[str, Tensor], derivatives: tuple[str, ...]
    ) -> Expansion:
        if not isinstance(basis, AbstractAnsatz):
            raise TypeError(
                f"Collocation differentiates an Ansatz, got {type(basis).__name__}: wrap the network with "
                "Ansatz(network, coordinates, lifting), or use FiniteDifferences for fields on a grid"
            )
        missing = {axis for term in derivatives for axis in term} - set(points.coordinates)
        if missing:
            raise ValueError(f"a derivative along {sorted(missing)} was asked for on axes {tuple(points.coordinates)}")
        at = {axis: value.unsqueeze(0) for axis, value in points.coordinates.items()}
        shaped = {name: value.reshape(-1, 1, 1) for name, value in parameters.items()}
        groups = _chunks(shaped, next(iter(at.values())))
        if len(groups) > 1 and basis.shares_basis(at, shaped):
            groups = [shaped]
        pieces = [self.differentiation.derivatives(basis, at, part, derivatives, points.patches) for part in groups]
        cases = max((value.shape[0] for value in groups[0].values()), default=1)
        offset, fields = pieces[0] if len(pieces) == 1 else (_joined([p[k] for p in pieces], cases) for k in (0, 1))
        return Expansion(fields, offset)


def _chunks(parameters: Mapping[str, Tensor], points: Tensor) -> list[dict[str, Tensor]]:
    """The cases in groups whose points fit a processor's cache, or a GPU's memory.

    All at once where a graph is recorded, since that keeps everything.
    """
    batch = max((value.shape[0] for value in parameters.values()), default=1)
    size = max(1, (_CACHED if points.device.type == "cpu" else _RESIDENT) // points.numel())
    if torch.is_grad_enabled() or batch <= size:
        return [dict(parameters)]
    return [
        {name: value.expand(batch, *value.shape[1:])[start : start + size] for name, value in parameters.items()}
        for start in range(0, batch, size)
    ]


def _joined(parts: Sequence[Mapping[str, Tensor]], cases: int) -> dict[str, Tensor]:
    """The parts of all groups; what one group of several ``cases`` shares does not depend on the case at all."""
    shared = {term for term, value in parts[0].items() if value.shape[0] < cases}
    return {term: parts[0][term] if term in shared else torch.cat([p[term] for p in parts]) for term in parts[0]}


def _boxes(decomposition: AbstractPatches) -> list[Box]:
    return [patch.box for patch in decomposition.patches]
