"""The soft-constraint baseline: a physics-informed network, trained on the residual and never solved for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from pdesolve.discretization.ansatz import Ansatz
from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.experts.evaluation import device_of, evaluate
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.provenance import provenance
from pdesolve.frames.check import check_imposed
from pdesolve.problem import Problem
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus, raise_unless_converged


@final
class SoftConstraintExpert(AbstractExpert):
    """u = g + m N(ξ(x; p)): the same frame, network, points and row weights as its hard rival, without a solve.

    Arguments:
        backbone: an ansatz with one basis field, which is the solution's correction itself.
        layer: says which rows there are; its solver is not used.

    Raises:
        ValueError: an ansatz of other fields than the problem's; a layer with several patches.

    Notes:
        There is no solve that could fail: status is CONVERGED unless the field is not finite.

    Source: Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019).
    """

    def __init__(self, backbone: Ansatz, layer: HardConstraintLayer) -> None:
        super().__init__()
        if len(layer.decomposition.patches) > 1:
            raise ValueError("a SoftConstraintExpert has one patch: give it a layer without decomposition")
        if backbone.fields != layer.problem.field_names:
            raise ValueError(
                f"the ansatz has fields {backbone.fields}, the problem {layer.problem.field_names}: "
                "pass problem.field_names to Ansatz"
            )
        self.backbone, self.layer = backbone, layer

    @property
    def problem(self) -> Problem:
        return self.layer.problem

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        values = self.problem.batch_parameters(parameters, device=device_of(self))
        rows = self.layer.assemble(self.backbone, values, generator)
        ones = torch.ones_like(rows.zeros())
        labels = {"equation": rows.rows[0].residual(ones).movedim(0, 1).flatten(1)}
        if rows.rows[1:]:
            parts = [block.residual(ones).movedim(0, 1).flatten(1) for block in rows.rows[1:]]
            labels["conditions"] = torch.cat(parts, dim=1)
        status = torch.full(rows.shape[:2], int(SolveStatus.CONVERGED), device=ones.device)
        return labels, status

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        values = self.problem.batch_parameters(parameters, device=device_of(self))
        check_imposed(self.problem, self.backbone.lifting, values)
        batch = max((v.shape[0] for v in values.values()), default=1)
        decomposition = cartesian_decomposition(self.problem.box, {})
        with torch.no_grad():
            ones = torch.ones(batch, 1, 1, dtype=torch.float64, device=device_of(self))
            field = evaluate(self.backbone, values, grid, decomposition, ones)
        finite = torch.isfinite(field.values).flatten(1).all(1, keepdim=True)
        status = torch.where(finite, int(SolveStatus.CONVERGED), int(SolveStatus.NON_FINITE))
        if throw:
            raise_unless_converged(status)
        record = provenance(self.problem, self, rows=self.layer.rows, lifting=type(self.backbone.lifting).__name__)
        return Solution(field, status, {}, values, provenance=record)
