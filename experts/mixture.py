"""A mixture of experts over patches: weights of their own on every patch, tied by a coupling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from pdesolve.discretization.ansatz import Ansatz
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.assignment import AbstractAssignment, Shared
from pdesolve.experts.coupling import AbstractCoupling, InterfaceRows, Jump
from pdesolve.experts.evaluation import device_of
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert, labelled_rows
from pdesolve.problem import Problem
from pdesolve.solution import Solution


@final
class MixtureOfExperts(AbstractExpert):
    """u = Σ_k φ_k(x) (g + m Σ_i w_ki b_ki): patch k of a decomposition has the weights w_k.

    The assignment gives each patch its network: the expert's own, shared by all, one for each, or one of a few that a
    gate chooses. The coupling makes one block least-squares problem of the patches: block diagonal for
    ``Independent``, with blocks between neighbours for ``InterfaceRows`` and ``PartitionOfUnity``, a sequence of such
    problems where information runs one way; and it says how the fields of the patches become one.

    Arguments:
        decomposition: the patches; they must fill the problem's domain.
        expert: backbone and constraint layer; its layer's own decomposition and coupling are not used.
        coupling: default ``InterfaceRows()``; φ_k is one on patch k and zero elsewhere, but for ``PartitionOfUnity()``.
        assignment: ``Shared()`` (default), ``OnePerPatch()`` or ``TopOneGate(experts)``.

    Raises:
        ValueError: a decomposition of another domain; at the call, fewer rows on a patch than basis fields.
        SolveError: at the call, a case or patch that did not converge, unless ``throw=False``.

    Notes:
        With sharp interfaces a node belongs to one patch; what its neighbour would say there differs by ``jumps``.

    Good values: patches where one expert's basis would have to be too large. One expert with all the basis fields is at
    least as accurate on the small problem of docs/benchmarks.md.

    Source: Chalapathi, Du & Krishnapriyan, ICLR 2024 (independent experts); interface rows are this package's.
    """

    def __init__(
        self,
        decomposition: Decomposition,
        expert: HardConstraintExpert,
        coupling: AbstractCoupling | None = None,
        *,
        assignment: AbstractAssignment | None = None,
    ) -> None:
        super().__init__()
        if decomposition.domain != expert.problem.domain:
            raise ValueError(
                f"the decomposition covers {decomposition.domain}, the problem {expert.problem.domain}: "
                "decompose problem.domain"
            )
        self.decomposition, self.coupling = decomposition, coupling or InterfaceRows()
        self.assignment = assignment or Shared()
        given = expert.backbone
        if not isinstance(given, Ansatz):
            raise TypeError(f"a mixture needs an expert with an Ansatz, got one with {type(given).__name__}")
        backbone = self.assignment.backbone(given, decomposition)
        same = backbone is given
        self.expert = expert if same else HardConstraintExpert(backbone, expert.layer, expert.training_layer)

    @property
    def problem(self) -> Problem:
        return self.expert.problem

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        backbone, values = self.expert.backbone, self.problem.batch_parameters(parameters, device=device_of(self))
        route = self.assignment.route(backbone, values, generator)
        again = [generator.clone_state() for _ in route.alternatives]
        patches, coupling = self.decomposition, self.coupling
        found = self.expert.training_solve(route.backbone, values, generator, patches, coupling)
        with torch.no_grad():
            others = [
                self.expert.training_solve(other, values, same, patches, coupling)
                for other, same in zip(route.alternatives, again, strict=True)
            ]
        return route.credit(labelled_rows(found), others), found.report.status

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        return self.expert.patch_solution(parameters, grid, generator, throw, self.decomposition, self.coupling)

    def jumps(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator | None = None, count: int = 200
    ) -> dict[str, Jump]:
        """Largest disagreement of neighbours where they meet, by derivative name ("" is the value).

        Where they meet is the coupling's: an interface, or what overlapping patches have in common.

        Arguments:
            count: points on each interface, other ones than the solve used.
        """
        layer, backbone = self.expert.layer, self.expert.backbone
        values = self.problem.batch_parameters(parameters, device=device_of(self))
        with torch.no_grad():
            found = layer.solve(
                backbone, values, generator=generator, decomposition=self.decomposition, coupling=self.coupling,
                throw=False,
            )  # fmt: skip
            fresh = torch.Generator(device_of(self)).manual_seed(layer.seed + 1)
            context = layer.context(backbone, values, fresh, self.coupling.layout(self.decomposition, self.problem))
            return self.coupling.jumps(context, found.weights, count)
