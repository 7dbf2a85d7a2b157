"""One evaluation of an expert's residual, turned into a loss over the cases whose inner solve converged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pdesolve.experts.abstract import AbstractExpert
from pdesolve.status import SolveError, SolveStatus, describe
from pdesolve.training.errors import StepFailure
from pdesolve.training.objective import AbstractObjective


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The loss of one batch.

    Arguments:
        loss: scalar with gradient.
        squares: label -> mean over the converged cases of Σ rows².
        failed: how many cases were left out.
        converged: which cases count, (batch,).
        status: codes of all inner solves, (batch, n_patches).
    """

    loss: Tensor
    squares: dict[str, float]
    failed: int
    converged: Tensor
    status: Tensor


def squares_by_label(
    expert: AbstractExpert, cases: Mapping[str, Tensor], generator: torch.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Σ rows² of each case by label, (batch,) in float64, and the status codes.

    Raises:
        TypeError, ValueError: the expert's rows and codes do not have the agreed form.
    """
    rows, status = expert.residual(cases, generator)
    name = type(expert).__name__
    if not rows or not all(isinstance(r, Tensor) and r.ndim == 2 for r in rows.values()):
        raise TypeError(f"{name}.residual must give a non-empty mapping of labels to tensors (batch, n)")
    batch = {label: int(r.shape[0]) for label, r in rows.items()}
    if status.ndim != 2 or set(batch.values()) != {int(status.shape[0])}:
        raise ValueError(
            f"{name}.residual gave status codes of shape {tuple(status.shape)} and rows of {batch} cases: "
            "(batch, n_patches) codes for the same batch are needed"
        )
    return {label: r.to(torch.float64).square().sum(dim=1) for label, r in rows.items()}, status


def evaluate(
    expert: AbstractExpert, cases: Mapping[str, Tensor], objective: AbstractObjective, generator: torch.Generator
) -> Evaluation:
    """The loss of a batch of cases, those whose inner solve failed left out.

    Arguments:
        expert: what is trained.
        cases: name -> (batch,).
        objective: makes the loss of the costs.
        generator: draws the points.

    Raises:
        StepFailure: every case failed, or the loss is NaN or infinite.
        ValueError: the residual carries no gradient.
    """
    try:
        squares, status = squares_by_label(expert, cases, generator)
    except SolveError as error:
        raise StepFailure(str(error)) from error
    converged = (status == SolveStatus.CONVERGED).all(dim=1)
    if not bool(converged.any()):
        raise StepFailure(f"no case could be used: {describe(status.flatten().tolist())}")
    kept = squares
    if not bool(converged.all()):
        kept = {label: s[converged.to(s.device)] for label, s in squares.items()}
    loss = objective(torch.stack(list(kept.values())).sum(dim=0))
    if not bool(torch.isfinite(loss)):
        raise StepFailure(f"the loss is {loss.item()}: {_first_fault(squares, converged, cases)}")
    if not loss.requires_grad:
        raise ValueError(f"{type(expert).__name__}.residual carries no gradient to any trainable parameter")
    means = {label: float(s.detach().mean()) for label, s in kept.items()}
    return Evaluation(loss, means, int((~converged).sum()), converged, status)


def _first_fault(squares: Mapping[str, Tensor], converged: Tensor, cases: Mapping[str, Tensor]) -> str:
    for label, values in squares.items():
        faults = (~torch.isfinite(values.cpu()) & converged.cpu()).nonzero()
        if len(faults):
            case = int(faults[0])
            given = ", ".join(
                f"{k} = {v[case if len(v) > 1 else 0].item():g}" for k, v in cases.items() if isinstance(v, Tensor)
            )
            return (
                f"case {case} ({given or 'no parameters'}) is the first whose rows {label!r} are not finite; "
                "check the residual there, lower the learning rate, or clip the gradient"
            )
    return "the objective of finite residuals is not finite; check the objective"
