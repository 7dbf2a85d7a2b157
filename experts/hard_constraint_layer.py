"""The constraint layer: basis fields in, the combination that satisfies the equation out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from pdesolve.discretization.abstract import AbstractDiscretization
from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains.decomposition import Decomposition, cartesian_decomposition
from pdesolve.experts.coupling import AbstractCoupling, Independent
from pdesolve.experts.evaluation import device_of
from pdesolve.experts.patch_context import PatchContext
from pdesolve.experts.periodic import check_periodic_axes, periodic_rows
from pdesolve.experts.row_weight import AbstractRowWeight, default_row_weight
from pdesolve.experts.rows import InitialData, RowCounts, condition_rows, interior_rows
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.frames.check import check_imposed
from pdesolve.implicit import AbstractAdjoint, ImplicitAdjoint
from pdesolve.nonlinear.cascade import solve_in_order
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, Minimum, minimise
from pdesolve.problem import Problem
from pdesolve.status import raise_unless_converged


@dataclass(frozen=True, eq=False)
class LayerReport:
    """How the inner solves ended.

    Arguments:
        status: ``SolveStatus`` codes, (batch, n_patches).
        stats: iterations, cost, relative_residual, stationarity, rank, each (batch, n_patches).
        weights: w, (batch, n_patches, n_basis).
    """

    status: Tensor
    stats: Mapping[str, Tensor]
    weights: Tensor


@dataclass(frozen=True, eq=False)
class PatchSolve:
    """An inner solve with the rows it was made of.

    Arguments:
        weights: w, (batch, n_patches, n_basis), with the adjoint's gradient.
        report: status and statistics.
        rows: what was solved, with the gradient of its tensors; stage by stage where rows between patches have a flow.
    """

    weights: Tensor
    report: LayerReport
    rows: LeastSquares


@final
class HardConstraintLayer(nn.Module):
    """u = g + m Σ_i w_i b_i with w = argmin Σ rows², the rows being F(u) and the conditions on every patch.

    The solve is differentiated by the implicit function theorem, so the layer takes its place in any torch model.

    Arguments:
        problem: equation, domain, conditions.
        discretization: ``FiniteDifferences(grid)`` or, where it is periodic, ``FourierSpectral(grid)`` for basis
            fields on a grid, ``Collocation()`` for an ``Ansatz``.
        rows: points that carry rows on each patch (default ``RowCounts(2000)``).
        decomposition: patches, each with weights of its own (default one patch).
        coupling: ``Independent()`` (default) or ``InterfaceRows()``.
        lifting: g and m for fields on a grid (default none: the conditions become rows); an ``Ansatz`` has its own.
        row_weight: default ``default_row_weight(problem)``: ``TimePower()`` where initial and boundary values
            disagree, else ``Unweighted()``.
        condition_weight: factor of rows of conditions beside those of the equation (default 1; rows of both have
            the units of u).
        solver: default ``LevenbergMarquardt()``.
        adjoint: default ``ImplicitAdjoint()``.
        throw: raise ``SolveError`` when a member fails (default), or leave it to the report's status.
        seed: of the points when a call gives no generator.

    Raises:
        ValueError: a grid or decomposition of another domain; a discretisation that is periodic along an axis along
            which the problem is not.
        ValueError, TypeError: at the call, when basis, conditions and problem do not fit together.
        SolveError: at the call, when a member fails and ``throw`` is set; its ``status`` holds all codes.

    Notes:
        The solve runs in float64 whatever the dtype of the basis; u comes back in the basis' dtype. No learned
        parameters of its own.

    Good values: 8 to 64 basis fields; 20 or more rows for each; a lifting wherever ``generic_frame`` finds one.

    Source: Negiar, Mahoney & Krishnapriyan, ICLR 2023; Chalapathi, Du & Krishnapriyan, ICLR 2024.
    """

    def __init__(
        self,
        problem: Problem,
        discretization: AbstractDiscretization,
        rows: RowCounts | None = None,
        *,
        decomposition: Decomposition | None = None,
        coupling: AbstractCoupling | None = None,
        lifting: AbstractLifting | None = None,
        row_weight: AbstractRowWeight | None = None,
        condition_weight: float = 1.0,
        solver: AbstractNonlinearSolver | None = None,
        adjoint: AbstractAdjoint | None = None,
        throw: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(discretization, AbstractDiscretization):
            raise TypeError(f"discretization must be an AbstractDiscretization, got {type(discretization).__name__}")
        if not 0 < condition_weight < float("inf"):
            raise ValueError(f"condition_weight must be finite and > 0, got {condition_weight}")
        for what, domain in (("grid", discretization.grid), ("decomposition", decomposition)):
            box = getattr(domain, "box", None) or getattr(domain, "domain", problem.domain)
            if box != problem.domain:
                raise ValueError(f"the {what} covers {box}, the problem {problem.domain}: make it from problem.domain")
        check_periodic_axes(problem, discretization)
        self.problem, self.discretization = problem, discretization
        self.rows = rows or RowCounts(2000)
        self.decomposition = decomposition or cartesian_decomposition(discretization.grid or problem.domain, {})
        self.coupling = coupling or Independent()
        self.lifting = lifting or NoLifting(problem.field_names)
        self.row_weight = row_weight or default_row_weight(problem)
        self.condition_weight = condition_weight
        self.solver = solver or LevenbergMarquardt()
        self.adjoint = adjoint or ImplicitAdjoint()
        self.throw, self.seed = throw, seed

    def forward(
        self,
        basis: Any,
        initial_condition: Tensor | None = None,
        parameters: Mapping[str, Tensor | float] | None = None,
        *,
        generator: torch.Generator | None = None,
        start: Tensor | None = None,
    ) -> tuple[Tensor, LayerReport]:
        """Solve for the weights and combine.

        Arguments:
            basis: for a grid, (batch, n_basis, *grid), or (batch, n_basis, component, *grid) for several fields.
            initial_condition: (batch, *space) or (batch, component, *space) in place of the problem's own; only
                without a lifting.
            parameters: name -> number or (batch,).
            generator: draws the points; default the layer's seed.
            start: weights to begin from, such as an earlier ``report.weights``: a warm start.

        Returns:
            u, (batch, component, *grid), and the report.
        """
        grid = self.discretization.grid
        if grid is None:
            raise TypeError(
                f"{type(self.discretization).__name__} takes no fields on a grid: use FiniteDifferences(grid), or a "
                "HardConstraintExpert for an Ansatz"
            )
        device = basis.device if isinstance(basis, Tensor) else None
        values = self.problem.batch_parameters(parameters, device=device)
        source = GridBasis.lifted(self.problem, grid, basis, self.lifting, values)
        initial = None
        if initial_condition is not None:
            if not self.problem.domain.has_time:
                raise ValueError("initial_condition was given, but the problem has no time axis: leave it out")
            if any(self.lifting.imposes(name, "initial") for name in self.problem.field_names):
                raise ValueError(
                    "the lifting imposes the problem's own initial condition: pass no initial_condition, "
                    "or use a layer without lifting"
                )
            initial = source.initial_data(grid, initial_condition)
        check_imposed(self.problem, self.lifting, values)
        found = self.solve(source, values, generator=generator, initial=initial, start=start)
        return source.combine(self.decomposition, found.weights), found.report

    def solve(
        self,
        source: Ansatz | GridBasis,
        parameters: Mapping[str, Tensor],
        *,
        generator: torch.Generator | None = None,
        decomposition: Decomposition | None = None,
        coupling: AbstractCoupling | None = None,
        adjoint: AbstractAdjoint | None = None,
        solver: AbstractNonlinearSolver | None = None,
        initial: InitialData | None = None,
        throw: bool | None = None,
        start: Tensor | None = None,
    ) -> PatchSolve:
        """The weights on every patch; arguments left out are the layer's own.

        Arguments:
            source: an ``Ansatz`` for collocation, a ``GridBasis`` for a discretisation on a grid.
            parameters: name -> (batch,) or (1,), float64.
            start: weights to begin from, (batch, n_patches, n_basis): a warm start.
        """
        device = source.values.device if isinstance(source, GridBasis) else device_of(source)
        generator = generator or torch.Generator(device).manual_seed(self.seed)
        problem = self.assemble(source, parameters, generator, decomposition, coupling, initial)
        method, differentiated = solver or self.solver, adjoint or self.adjoint
        if start is not None and tuple(start.shape) != problem.shape:
            raise ValueError(
                f"start has shape {tuple(start.shape)}: (batch, n_patches, n_basis) = {problem.shape} is needed"
            )

        def stage(rows: LeastSquares, patches: Sequence[int]) -> Minimum:
            begin = None if start is None else start[:, list(patches)]
            return differentiated.solve(rows, lambda detached: minimise(detached, method, begin))

        found = solve_in_order(problem, stage)
        if self.throw if throw is None else throw:
            raise_unless_converged(found.status)
        report = LayerReport(found.status, found.stats, found.w.detach())
        return PatchSolve(found.w, report, problem)

    def assemble(
        self,
        source: Ansatz | GridBasis,
        parameters: Mapping[str, Tensor],
        generator: torch.Generator,
        decomposition: Decomposition | None = None,
        coupling: AbstractCoupling | None = None,
        initial: InitialData | None = None,
    ) -> LeastSquares:
        """The least-squares problem, before it is solved; arguments as ``solve``."""
        coupling, counts = coupling or self.coupling, self.rows
        context = self.context(source, parameters, generator, decomposition)
        blocks = [interior_rows(context, counts.interior, self.row_weight)]
        blocks += condition_rows(context, counts.boundary, self.condition_weight, initial)
        interfaces = coupling.interfaces(context, counts.interface)
        ends = periodic_rows(context, counts.boundary, self.condition_weight, coupling.ties_patches)
        blocks, interfaces = blocks + ends[0], interfaces + ends[1]
        batch = max([b.batch for b in blocks] + [i.batch for i in interfaces])
        found = LeastSquares(tuple(b.batched(batch) for b in blocks), tuple(i.batched(batch) for i in interfaces))
        fewest, n = int(found.row_counts().min()), found.shape[2]
        if fewest < n:
            raise ValueError(
                f"{fewest} rows on a patch for {n} basis fields: the solve is not determined; raise the points of "
                f"RowCounts, use a finer grid or fewer patches, or use at most {fewest} basis fields"
            )
        return found

    def context(
        self,
        source: Ansatz | GridBasis,
        parameters: Mapping[str, Tensor],
        generator: torch.Generator,
        decomposition: Decomposition | None = None,
    ) -> PatchContext:
        """What the rows of one call are made from."""
        patches = decomposition or self.decomposition
        return PatchContext(self.problem, self.discretization, patches, source, parameters, generator)
