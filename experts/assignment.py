"""Which network each patch of a mixture has."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from pdesolve.discretization.ansatz import AbstractAnsatz, Ansatz
from pdesolve.domains.decomposition import Decomposition
from pdesolve.experts.hard_constraint_layer import PatchSolve
from pdesolve.experts.network_stack import NetworkStack

Credit = Callable[[dict[str, Tensor], Sequence[PatchSolve]], dict[str, Tensor]]
"""Rows by label and the solves of the alternatives, to rows of the same values with further gradients."""


@dataclass(frozen=True, eq=False)
class Route:
    """The networks of one training step.

    Arguments:
        backbone: gives each patch its basis.
        alternatives: what is solved beside it, at the same points and without a gradient, to compare.
        credit: what the assignment itself learns from these.
    """

    backbone: AbstractAnsatz
    alternatives: tuple[AbstractAnsatz, ...] = ()
    credit: Credit = lambda rows, others: rows


class AbstractAssignment(abc.ABC):
    """Says which network makes the basis of each patch, and how that is learned."""

    @abc.abstractmethod
    def backbone(self, given: Ansatz, decomposition: Decomposition) -> AbstractAnsatz:
        """The ansatz of a mixture; it holds all trainable parameters.

        Arguments:
            given: the expert's own ansatz.
            decomposition: the mixture's patches.
        """

    @abc.abstractmethod
    def route(self, backbone: AbstractAnsatz, parameters: Mapping[str, Tensor], generator: torch.Generator) -> Route:
        """The networks of one training step.

        Arguments:
            backbone: what ``backbone`` made.
            parameters: name -> (batch,) or (1,).
            generator: draws what is drawn.
        """


@final
@dataclass(frozen=True)
class Shared(AbstractAssignment):
    """All patches share the expert's network; only their weights w_k differ.

    Source: Chalapathi, Du & Krishnapriyan, ICLR 2024.
    """

    def backbone(self, given: Ansatz, decomposition: Decomposition) -> AbstractAnsatz:
        return given

    def route(self, backbone: AbstractAnsatz, parameters: Mapping[str, Tensor], generator: torch.Generator) -> Route:
        return Route(backbone)


@final
@dataclass(frozen=True)
class OnePerPatch(AbstractAssignment):
    """Every patch has a network of its own, all of them evaluated together.

    They start as copies of the expert's network and part in training, as each sees its own patch: a mixture that is not
    trained gives what ``Shared`` gives.

    Raises:
        ValueError: when the mixture is made, a network that cannot be stacked.

    Notes:
        K times the parameters of ``Shared``, at about its cost for the same number of points: each network sees the
        points of its patch only. A network must be a function of its input (see ``NetworkStack``).
    """

    def backbone(self, given: Ansatz, decomposition: Decomposition) -> AbstractAnsatz:
        return PatchAnsatz(given, len(decomposition.patches))

    def route(self, backbone: AbstractAnsatz, parameters: Mapping[str, Tensor], generator: torch.Generator) -> Route:
        return Route(backbone)


@final
class PatchAnsatz(AbstractAnsatz):
    """u_c = g_c + m_c Σ_i w_ki N_kci(ξ(x; p)): patch k has the network N_k.

    Arguments:
        given: the ansatz whose network is copied.
        count: number of patches.
    """

    patchwise = True

    def __init__(self, given: Ansatz, count: int) -> None:
        super().__init__(given.coordinates, given.lifting, given.fields)
        self.network = NetworkStack([given.network] * count)

    def outputs(self, features: Any, parameters: Mapping[str, Tensor], patches: Tensor | None) -> Any:
        return self.network(features, named(patches).unsqueeze(0))


def named(patches: Tensor | None) -> Tensor:
    """The patches of pieces of points.

    Raises:
        ValueError: none were named.
    """
    if patches is None:
        raise ValueError("patches have networks of their own here: say which patch each piece of points belongs to")
    return patches
