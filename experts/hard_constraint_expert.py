"""A network whose output meets the equation by construction: an ansatz and a constraint layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from pdesolve.discretization.ansatz import AbstractAnsatz
from pdesolve.domains.decomposition import Decomposition
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.coupling import AbstractCoupling
from pdesolve.experts.evaluation import device_of, evaluate
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer, PatchSolve
from pdesolve.experts.provenance import provenance
from pdesolve.frames.check import check_imposed
from pdesolve.problem import Problem
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus, raise_unless_converged


@final
class HardConstraintExpert(AbstractExpert):
    """u = g + m Σ w_i N_i(ξ(x; p)), w solved for on the whole domain.

    Arguments:
        backbone: the trainable ansatz.
        layer: the constraint layer, with a ``Collocation`` discretisation.
        training_layer: used by ``residual`` in its place (default the same). Fewer points and a looser solver do
            there, since every step draws new points. Its adjoint should be ``DetachedAdjoint()``: it is exact
            there, because training minimises the very cost that the inner solve minimises.

    Raises:
        TypeError: a layer on a grid.
    """

    def __init__(
        self, backbone: AbstractAnsatz, layer: HardConstraintLayer, training_layer: HardConstraintLayer | None = None
    ) -> None:
        super().__init__()
        if layer.discretization.grid is not None:
            raise TypeError("a HardConstraintExpert needs a layer with Collocation, got one on a grid")
        if backbone.fields != layer.problem.field_names:
            raise ValueError(
                f"the ansatz has fields {backbone.fields}, the problem {layer.problem.field_names}: "
                "pass problem.field_names to Ansatz"
            )
        self.backbone, self.layer = backbone, layer
        self.training_layer = training_layer or layer

    @property
    def problem(self) -> Problem:
        return self.layer.problem

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        found = self.training_solve(
            self.backbone, parameters, generator, self.layer.decomposition, self.layer.coupling
        )  # fmt: skip
        return labelled_rows(found), found.report.status

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        return self.patch_solution(parameters, grid, generator, throw, self.layer.decomposition, self.layer.coupling)

    def training_solve(
        self,
        backbone: AbstractAnsatz,
        parameters: Mapping[str, Tensor],
        generator: torch.Generator,
        decomposition: Decomposition,
        coupling: AbstractCoupling,
    ) -> PatchSolve:
        """The solve of a training step, with weights of their own on every patch of a decomposition."""
        values = self.problem.batch_parameters(parameters, device=device_of(self))
        return self.training_layer.solve(
            backbone, values, generator=generator, decomposition=decomposition, coupling=coupling, throw=False
        )

    def patch_solution(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None,
        throw: bool,
        decomposition: Decomposition,
        coupling: AbstractCoupling,
    ) -> Solution:
        """``forward`` with weights of their own on every patch of a decomposition."""
        values = self.problem.batch_parameters(parameters, device=device_of(self))
        check_imposed(self.problem, self.backbone.lifting, values)
        follow = torch.is_grad_enabled() and any(value.requires_grad for value in values.values())
        with torch.set_grad_enabled(follow):
            found = self.layer.solve(
                self.backbone, values, generator=generator, decomposition=decomposition, coupling=coupling,
                throw=throw,
            )  # fmt: skip
            field = evaluate(
                self.backbone, values, grid, coupling.layout(decomposition, self.problem).field, found.weights
            )
        finite = torch.isfinite(field.values).flatten(1).all(1, keepdim=True)
        status = torch.where(finite, found.report.status, int(SolveStatus.NON_FINITE))
        if throw:
            raise_unless_converged(status)
        record = provenance(
            self.problem, self, patches=len(decomposition.patches), n_basis=found.weights.shape[-1], coupling=coupling,
            solver=self.layer.solver, rows=self.layer.rows, row_weight=self.layer.row_weight,
            lifting=type(self.backbone.lifting).__name__, seed=self.layer.seed if generator is None else "a generator",
            **({"constraints": self.layer.constraints} if self.layer.constraints else {}),
        )  # fmt: skip
        return Solution(field, status, found.report.stats, values, decomposition.interface_positions, record)


def labelled_rows(found: PatchSolve) -> dict[str, Tensor]:
    """The weighted rows of a solve by label, each (batch, n)."""
    w, rows = found.weights, found.rows
    labels = {"equation": [rows.rows[0].residual(w).movedim(0, 1)]}
    if rows.rows[1:]:
        labels["conditions"] = [block.residual(w).movedim(0, 1) for block in rows.rows[1:]]
    for joint in rows.joint:
        labels.setdefault(joint.label, []).append(joint.block.residual(joint.gather(w)).movedim(0, 1))
    if rows.interfaces:
        labels["interfaces"] = [block.residual(w) for block in rows.interfaces]
    return {name: torch.cat([p.flatten(1) for p in parts], dim=1) for name, parts in labels.items()}
