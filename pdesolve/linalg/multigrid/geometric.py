"""Geometric multigrid as a preconditioner."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pdesolve.linalg.krylov.preconditioner import AbstractPreconditioner
from pdesolve.linalg.multigrid.cycle import v_cycle
from pdesolve.linalg.multigrid.grid_diffusion import GridDiffusion
from pdesolve.linalg.multigrid.hierarchy import Hierarchy, hierarchy
from pdesolve.linalg.multigrid.smoother import Chebyshev
from pdesolve.linalg.multigrid.stencil_operator import StencilOperator
from pdesolve.linalg.operators.abstract import AbstractLinearOperator, TransposedOperator


@dataclass(frozen=True, eq=False)
class GridState:
    """A hierarchy for A/scale.

    Arguments:
        grids: of A divided by its largest diagonal entry.
        scale: that entry, ().
        grid: cells along each axis.
    """

    grids: Hierarchy
    scale: Tensor
    grid: tuple[int, ...]


@dataclass(frozen=True)
class GeometricMultigrid(AbstractPreconditioner):
    """One V-cycle on a ``GridDiffusion``: z ≈ A⁻¹ r with work proportional to the number of cells.

    Coarse grids keep every second cell along the axes with strong coupling (all, where spacings are alike); the others
    follow when the coupling has become comparable, so anisotropy is met by coarsening and the smoother stays a stencil.
    Interpolation follows the coefficient, coarse conductances are those of resistors in series along an axis and
    weighted sums across (``coarsen.py``). Any number of cells coarsens, odd ones too; an axis of one cell stays. The
    last 256 cells or fewer are solved by a dense inverse, so a small problem is solved in one cycle.

    Arguments:
        smoother: sweeps before and after each coarse correction (default ``Chebyshev(2)``).
        dtype: of the cycle (default float32: half the memory traffic; the solver around it iterates in the type of the
            operator and loses no digit).

    Raises:
        TypeError: at ``init``, for any other operator.
        ValueError: at ``init``, where the coefficient is not positive or the reaction is negative.

    Notes:
        Symmetric positive definite, so ``CG(GeometricMultigrid())`` is valid; up to the round-off of ``dtype``, which
        the flexible form of CG takes. Runs on the device of the operator's tensors, for all right-hand sides together.
        Coarse conductances see averages only. Where the coefficient jumps from cell to cell at random by many orders,
        this fails (``STEP_CAP``) and ``AlgebraicMultigrid`` is the preconditioner to take. Anisotropy that
        changes its direction inside the domain is not met by coarsening either.

    Good values:
        Defaults. ``Chebyshev(3)`` for coefficients with many fine features; dtype=torch.float64 beyond jumps of 1e7.

    Source:
        Trottenberg, Oosterlee & Schüller, *Multigrid*, chapters 2, 5 and 7; Tatebe, *The multigrid preconditioned
        conjugate gradient method* (1993).
    """

    smoother: Chebyshev = field(default_factory=Chebyshev)
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float32 or torch.float64, not {self.dtype}")

    def init(self, operator: AbstractLinearOperator) -> GridState:
        if isinstance(operator, TransposedOperator):
            return self.init(operator.operator)
        if isinstance(operator, GridDiffusion):
            operator = operator.frozen()
        if not isinstance(operator, StencilOperator):
            raise TypeError(
                f"GeometricMultigrid works on a GridDiffusion, not on a {type(operator).__name__}: "
                "use AlgebraicMultigrid() for other elliptic operators"
            )
        stencil = operator.stencil
        with torch.no_grad():
            _require_network(stencil.mass, [part for links in stencil.links for part in links.parts()])
            scale = stencil.diagonal().amax()
            scale = torch.where(scale > 0, scale, 1.0)
            scaled = stencil.with_tensors([(t.detach() / scale).to(self.dtype) for t in stencil.tensors()])
            return GridState(hierarchy(scaled, self.smoother), scale, stencil.grid)

    def apply(self, state: GridState, r: Tensor) -> Tensor:
        cells = r.to(self.dtype).reshape(-1, *state.grid)
        z = v_cycle(state.grids, cells).reshape(r.shape).to(r.dtype)
        return z.div_(state.scale)

    def transpose(self, state: GridState) -> GridState:
        return state


def _require_network(mass: Tensor, conductances: list[Tensor]) -> None:
    if bool((mass < 0).any()):
        raise ValueError(
            f"GeometricMultigrid needs a reaction c >= 0, the smallest given is {float(mass.min()):g}: "
            "use MINRES or FGMRES with Jacobi() instead"
        )
    for part in conductances:
        if not bool((part > 0).all()):
            raise ValueError(
                f"GeometricMultigrid needs a coefficient a > 0 in every cell; a face has a/h² = {float(part.min()):g}"
            )
