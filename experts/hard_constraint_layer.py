"""The constraint layer: basis fields in, the combination that satisfies the equation out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from pdesolve.discretization.abstract import AbstractDiscretization
from pdesolve.discretization.ansatz import AbstractAnsatz
from pdesolve.discretization.grid_basis import GridBasis
from pdesolve.domains.decomposition import Decomposition, cartesian_decomposition
from pdesolve.experts.coupling import AbstractCoupling, Independent
from pdesolve.experts.evaluation import device_of
from pdesolve.experts.layout import Layout
from pdesolve.experts.linear_constraint import AbstractLinearConstraint, Violation, violations
from pdesolve.experts.patch_context import PatchContext
from pdesolve.experts.periodic import check_periodic_axes, periodic_rows
from pdesolve.experts.row_weight import AbstractRowWeight, default_row_weight
from pdesolve.experts.rows import InitialData, RowCounts, condition_rows, interior_rows
from pdesolve.frames.abstract import AbstractLifting, NoLifting
from pdesolve.frames.check import check_imposed
from pdesolve.implicit import AbstractAdjoint, ImplicitAdjoint
from pdesolve.nonlinear.cascade import solve_in_order
from pdesolve.nonlinear.constrained import minimise_constrained
from pdesolve.nonlinear.constraints import LinearConstraints
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, minimise
from pdesolve.nonlinear.solved import Solved
from pdesolve.problem import Problem
from pdesolve.status import SolveStatus, raise_unless_converged
from pdesolve.transforms import below


class LayerReport(NamedTuple):
    """How the inner solves ended; a tuple, so that ``torch.func`` transforms can return it.

    Arguments:
        status: ``SolveStatus`` codes, (batch, n_patches).
        stats: iterations, cost, relative_residual, stationarity, rank, each (batch, n_patches).
        weights: w, (batch, n_patches, n_basis).
        violations: how far u lies outside of each constraint, in their order.
    """

    status: Tensor
    stats: Mapping[str, Tensor]
    weights: Tensor
    violations: tuple[Violation, ...] = ()


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
        coupling: ``Independent()`` (default), ``InterfaceRows()`` or ``PartitionOfUnity()``.
        lifting: g and m for fields on a grid (default none: the conditions become rows); an ``Ansatz`` has its own.
        row_weight: default ``default_row_weight(problem)``: ``TimePower()`` where initial and boundary values
            disagree, else ``Unweighted()``.
        condition_weight: factor of rows of conditions beside those of the equation (default 1; rows of both have
            the units of u).
        solver: default ``LevenbergMarquardt()``.
        adjoint: default ``ImplicitAdjoint()``.
        constraints: what u must meet beside the equation, such as ``[Bounds(lower=0.0)]`` (default nothing). The solver
            then gives tolerance, step cap, ridge and whitening; its steps become quadratic programs.
        throw: raise ``SolveError`` when a member fails (default), or leave it to the report's status.
        seed: of the points when a call gives no generator.

    Raises:
        ValueError: a grid or decomposition of another domain; a discretisation that is periodic along an axis along
            which the problem is not.
        ValueError, TypeError: at the call, when basis, conditions and problem do not fit together.
        SolveError: at the call, when a member fails and ``throw`` is set; its ``status`` holds all codes.

    Notes:
        The solve runs in float64 whatever the dtype of the basis, under ``torch.autocast`` too; u comes back in the
        basis' dtype. No learned parameters of its own. ``docs/layer_in_your_model.md`` has a table of what works under
        which transform.

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
        constraints: Sequence[AbstractLinearConstraint] = (),
        throw: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        wrong = [type(c).__name__ for c in constraints if not isinstance(c, AbstractLinearConstraint)]
        if wrong:
            raise TypeError(f"constraints must be a list such as [Bounds(lower=0.0)], got {wrong[0]} in it")
        if not isinstance(discretization, AbstractDiscretization):
            raise TypeError(f"discretization must be an AbstractDiscretization, got {type(discretization).__name__}")
        if not 0 < condition_weight < float("inf"):
            raise ValueError(f"condition_weight must be finite and > 0, got {condition_weight}")
        for what, domain in (("grid", discretization.grid), ("decomposition", decomposition)):
            box = getattr(domain, "box", None) or getattr(domain, "domain", problem.box)
            if box != problem.box:
                raise ValueError(f"the {what} covers {box}, the problem {problem.box}: make it from problem.domain")
        check_periodic_axes(problem, discretization)
        self.problem, self.discretization = problem, discretization
        self.rows = rows or RowCounts(2000)
        self.decomposition = decomposition or cartesian_decomposition(discretization.grid or problem.box, {})
        self.coupling = coupling or Independent()
        self.lifting = lifting or NoLifting(problem.field_names)
        self.row_weight = row_weight or default_row_weight(problem)
        self.condition_weight = condition_weight
        self.solver = solver or LevenbergMarquardt()
        self.adjoint = adjoint or ImplicitAdjoint()
        self.constraints = tuple(constraints)
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
        if torch.compiler.is_compiling():  # the solve branches on values: it runs as it is, between compiled graphs
            return torch.compiler.disable(self.forward)(  # type: ignore[no-any-return]
                basis, initial_condition, parameters, generator=generator, start=start
            )
        with _full_precision(basis):
            return self._forward(basis, initial_condition, parameters, generator, start)

    def _forward(
        self,
        basis: Any,
        initial_condition: Tensor | None,
        parameters: Mapping[str, Tensor | float] | None,
        generator: torch.Generator | None,
        start: Tensor | None,
    ) -> tuple[Tensor, LayerReport]:
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
        below(
            lambda *plain: check_imposed(self.problem, self.lifting, dict(zip(values, plain, strict=True))),
            *values.values(),
        )
        found = self.solve(source, values, generator=generator, initial=initial, start=start)
        return source.combine(self.coupling.layout(self.decomposition, self.problem).field, found.weights), found.report

    def solve(
        self,
        source: AbstractAnsatz | GridBasis,
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
        if start is not None and start.device != problem.like.device:
            raise TypeError(f"start is on {start.device}, the basis on {problem.like.device}: move start there")

        def stage(rows: LeastSquares, patches: Sequence[int]) -> Solved:
            begin = None if start is None else start[:, list(patches)]
            run = minimise_constrained if rows.constraints else minimise
            return differentiated.solve(rows, lambda plain, *begin: run(plain, method, *begin), begin)

        found = solve_in_order(problem, stage)
        outside = violations(problem.constraints, found.w)
        if self.throw if throw is None else throw:
            below(raise_unless_converged, found.status) if not outside else raise_unless_converged(
                found.status, _first_infeasible(found.status, outside)
            )
        report = LayerReport(found.status, found.stats, found.w.detach(), outside)
        return PatchSolve(found.w, report, problem)

    def assemble(
        self,
        source: AbstractAnsatz | GridBasis,
        parameters: Mapping[str, Tensor],
        generator: torch.Generator,
        decomposition: Decomposition | None = None,
        coupling: AbstractCoupling | None = None,
        initial: InitialData | None = None,
    ) -> LeastSquares:
        """The least-squares problem, before it is solved; arguments as ``solve``."""
        coupling, counts = coupling or self.coupling, self.rows
        context = self.context(
            source, parameters, generator, coupling.layout(decomposition or self.decomposition, self.problem)
        )
        kinds = [interior_rows(context, counts.interior, self.row_weight)]
        kinds += condition_rows(context, counts.boundary, self.condition_weight, initial)
        interfaces = coupling.interfaces(context, counts.interface)
        ends = periodic_rows(context, counts.boundary, self.condition_weight, coupling.ties_patches)
        limits = self._limits(context)
        blocks = [kind.own for kind in kinds] + ends.rows
        joint = [block for kind in kinds for block in kind.joint] + ends.joint
        interfaces = interfaces + ends.interfaces
        sizes = [b.batch for b in blocks] + [i.batch for i in interfaces] + [j.batch for j in joint]
        batch = max(sizes + [c.batch for c in limits])
        found = LeastSquares(
            tuple(b.batched(batch) for b in blocks),
            tuple(i.batched(batch) for i in interfaces),
            joint=tuple(j.batched(batch) for j in joint),
            constraints=tuple(c.batched(batch) for c in limits),
        )
        fewest, n = int(found.row_counts().min()), found.shape[2]
        if fewest < n:
            raise ValueError(
                f"{fewest} rows on a patch for {n} basis fields: the solve is not determined; raise the points of "
                f"RowCounts, use a finer grid or fewer patches, or use at most {fewest} basis fields"
            )
        return found

    def context(
        self,
        source: AbstractAnsatz | GridBasis,
        parameters: Mapping[str, Tensor],
        generator: torch.Generator,
        layout: Layout,
    ) -> PatchContext:
        """What the rows of one call are made from; the layout is a coupling's."""
        return PatchContext(self.problem, self.discretization, layout, source, parameters, generator)

    def _limits(self, context: PatchContext) -> list[LinearConstraints]:
        """The rows of the constraints.

        Raises:
            ValueError: patches whose fields are blended: what holds for each of them need not hold for the whole.
        """
        layout = context.layout
        if self.constraints and layout.rows is not layout.field:
            raise ValueError(
                "constraints are for patches without overlap: use Independent() or InterfaceRows() as coupling, or "
                "leave constraints out"
            )
        return [constraint.rows(context) for constraint in self.constraints]


def _first_infeasible(status: Tensor, outside: tuple[Violation, ...]) -> str:
    """What the first infeasible sample violates; empty without one."""
    samples = (status == SolveStatus.INFEASIBLE).any(1)
    if not outside or not bool(samples.any()):
        return ""
    first = int(samples.nonzero()[0])
    return f"sample {first}: {'; '.join(violation.worst(first) for violation in outside)}"


def _full_precision(basis: Any) -> AbstractContextManager[Any]:
    """``torch.autocast`` off: three digits are not enough for derivatives, nor for what the solve found."""
    kind = basis.device.type if isinstance(basis, Tensor) else "cpu"
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
