"""Experts for a family of problems, put together with sensible defaults."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pdesolve.discretization.ansatz import Ansatz
from pdesolve.discretization.collocation import Collocation
from pdesolve.domains.sampling import AbstractSampler, GradedSampler, SobolSampler
from pdesolve.experts.coordinate_network import WIDTHS, CoordinateNetwork
from pdesolve.experts.hard_constraint_expert import HardConstraintExpert
from pdesolve.experts.hard_constraint_layer import HardConstraintLayer
from pdesolve.experts.row_weight import AbstractRowWeight, default_row_weight
from pdesolve.experts.rows import RowCounts
from pdesolve.experts.soft_constraint_expert import SoftConstraintExpert
from pdesolve.frames.generic import Frame, generic_frame
from pdesolve.implicit import DetachedAdjoint
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver
from pdesolve.problem import Family, Problem


def parametric_expert(
    family: Family,
    *,
    n_basis: int = 16,
    frame: Frame | None = None,
    widths: Sequence[int] = WIDTHS,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    rows: RowCounts | None = None,
    training_rows: RowCounts | None = None,
    sampler: AbstractSampler | None = None,
    row_weight: AbstractRowWeight | None = None,
    solver: AbstractNonlinearSolver | None = None,
) -> HardConstraintExpert:
    """A conditioned coordinate network behind a constraint layer, for every member of a family.

    Arguments:
        family: what varies; a plain ``Problem`` is a family of one.
        n_basis: basis fields N (default 16).
        frame: coordinates and lifting (default ``generic_frame(family)``).
        widths: hidden layers of the network (default (64, 64)).
        seed: of the initial weights.
        dtype: of the network while it is trained (default float32; call ``.double()`` for inference).
        rows: points of a solve, on each patch (default 1000 inside, 64 on each face).
        training_rows: points of a training step (default 250 inside, 32 on each face).
        sampler: default evenly spread Sobol points, for problems in time even in the square root of time.
        row_weight: default ``default_row_weight(family)``.
        solver: of a solve (default ``LevenbergMarquardt()``; training uses a looser one).

    Raises:
        ValueError: sizes below one; when it is called: conditions that the frame's lifting promises and misses.

    Good values: 16 basis fields and 4 patches for smooth families; more fields rather than more points.
    """
    problem, points = family.problem, Collocation(sampler or _default_sampler(family.problem))
    weight = row_weight or default_row_weight(family)
    layer = HardConstraintLayer(problem, points, rows or RowCounts(1000, 64, 64), row_weight=weight, solver=solver)
    training_layer = HardConstraintLayer(
        problem,
        points,
        training_rows or RowCounts(250, 32, 32),
        solver=LevenbergMarquardt(gtol=1e-4, max_steps=10),
        adjoint=DetachedAdjoint(),
        row_weight=weight,
    )
    backbone = _backbone(problem, frame or generic_frame(family), n_basis, widths, seed, dtype)
    return HardConstraintExpert(backbone, layer, training_layer)


def soft_expert(
    family: Family,
    *,
    frame: Frame | None = None,
    widths: Sequence[int] = WIDTHS,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    rows: RowCounts | None = None,
    sampler: AbstractSampler | None = None,
    row_weight: AbstractRowWeight | None = None,
) -> SoftConstraintExpert:
    """The soft-constraint rival: u = g + m N(ξ(x; p)) with the frame and network of ``parametric_expert``, no solve.

    Arguments:
        family: what varies; a plain ``Problem`` is a family of one.
        frame: coordinates and lifting (default ``generic_frame(family)``).
        widths: hidden layers of the network (default (64, 64)).
        seed: of the initial weights.
        dtype: of the network while it is trained (default float32; call ``.double()`` for inference).
        rows: points of a training step (default 1000 inside, 64 on each face: four times those on which
            ``parametric_expert`` trains).
        sampler: as for ``parametric_expert``.
        row_weight: default ``default_row_weight(family)``.

    Raises:
        ValueError: sizes below one; when it is called: conditions that the frame's lifting promises and misses.

    Source: Raissi, Perdikaris & Karniadakis, J. Comput. Phys. 378 (2019).
    """
    problem = family.problem
    layer = HardConstraintLayer(
        problem,
        Collocation(sampler or _default_sampler(problem)),
        rows or RowCounts(1000, 64, 64),
        row_weight=row_weight or default_row_weight(family),
    )
    return SoftConstraintExpert(_backbone(problem, frame or generic_frame(family), 1, widths, seed, dtype), layer)


def _backbone(
    problem: Problem, frame: Frame, n_basis: int, widths: Sequence[int], seed: int, dtype: torch.dtype
) -> Ansatz:
    fields = problem.field_names
    network = CoordinateNetwork(
        frame.coordinates.n_features,
        n_basis,
        generator=torch.Generator().manual_seed(seed),
        widths=widths,
        n_fields=len(fields),
        dtype=dtype,
    )
    return Ansatz(network, frame.coordinates, frame.lifting, fields)


def _default_sampler(problem: Problem) -> AbstractSampler:
    base = SobolSampler()
    return GradedSampler({"t": 2.0}, base) if problem.domain.has_time else base
