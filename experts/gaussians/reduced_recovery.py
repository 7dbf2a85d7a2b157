"""Unknown coefficients found by solving the equation anew for each guess."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.experts.gaussians.unknowns import checked_guesses
from pdesolve.experts.physics_informed_gaussians import PhysicsInformedGaussians
from pdesolve.problem import Observations, Problem
from pdesolve.status import SolveError, SolveStatus, raise_unless_converged

_HALVINGS = 6


@dataclass(frozen=True, eq=False)
class Estimate:
    """Estimates of unknown parameters, and the solution that belongs to them.

    Arguments:
        parameters: the estimates by name.
        standard_errors: of each, from the noise that the fit leaves.
        covariance: of all, (k, k), in the order of ``parameters``.
        noise: estimated standard deviation of one observation.
        expert: fitted to the problem with these parameters.
        status: CONVERGED, or STEP_CAP where the steps did not get small enough.
        fits: how many times the equation was solved.
    """

    parameters: Mapping[str, float]
    standard_errors: Mapping[str, float]
    covariance: Tensor
    noise: float
    expert: PhysicsInformedGaussians
    status: SolveStatus
    fits: int


@final
@dataclass(frozen=True, eq=False)
class ReducedRecovery:
    """min over p of Σ_i (u(x_i; p) - d_i)², u(·; p) the expert's solution of the equation with parameters p.

    Gauss-Newton in p, ∂u/∂p by differences of whole solutions, so every step costs one solve for each parameter and one
    more. The equation holds at every step; where time is cut into slabs, ``ParameterRecovery`` cannot follow.

    Arguments:
        expert: makes an expert that is not fitted yet, such as ``lambda: PhysicsInformedGaussians(1000, slabs=8)``.
        difference: of a parameter, relative to it (default 1e-3).
        enough: a step below this share of each standard error ends the search (default 0.01).
        max_steps: default 20.

    Raises:
        TypeError, ValueError: numbers that are not positive.

    Notes:
        For few parameters. The standard errors are those of the linearised fit, with the noise that the misfit shows;
        the error of the expert must be well below the noise.

    Source: Bard, *Nonlinear Parameter Estimation* (1974), 5-9 and 7-5.
    """

    expert: Callable[[], PhysicsInformedGaussians]
    difference: float = 1e-3
    enough: float = 0.01
    max_steps: int = 20

    def __post_init__(self) -> None:
        positive_int(self.max_steps, "max_steps")
        for name in ("difference", "enough"):
            if finite_float(getattr(self, name), name) <= 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def recover(
        self,
        problem: Problem,
        observations: Observations | Sequence[Observations],
        unknown: Mapping[str, float],
        *,
        throw: bool = True,
    ) -> Estimate:
        """Find the parameters.

        Arguments:
            problem: equation and conditions; its values of the unknown parameters are not used.
            observations: of one or several fields.
            unknown: first guesses by parameter name.
            throw: raise where the search fails (default); false returns the last estimates with their status.

        Raises:
            ValueError: no unknown, one that the problem lacks, fewer observations than unknowns or such as do not
                determine them, a guess of zero.
            SolveError: the equation could not be solved for the first guess or beside an estimate, or the search did
                not end; a step to parameters for which it cannot be solved is halved.
        """
        given = (observations,) if isinstance(observations, Observations) else tuple(observations)
        guesses = checked_guesses(problem, given, unknown)
        for name, guess in guesses.items():
            if guess == 0.0:
                raise ValueError(f"the guess of {name!r} must not be 0: differences are taken relative to it")
        names, p = tuple(guesses), torch.tensor(list(guesses.values()), dtype=torch.float64)
        fits = 0

        def misfit(at: Tensor) -> tuple[Tensor, PhysicsInformedGaussians]:
            nonlocal fits
            fits += 1
            values = dict(zip(names, at.tolist(), strict=True))
            trial, expert = replace(problem, parameters={**problem.parameters, **values}), self.expert()
            report = expert.fit(trial)
            where = ", ".join(f"{name} = {value:.6g}" for name, value in values.items())
            raise_unless_converged(torch.tensor([int(report.status)]), f"with {where}: {report.detail}")
            return torch.cat([_off(expert, trial, observed).to(at.device) for observed in given]), expert

        def lower(at: Tensor, than: Tensor) -> tuple[Tensor, PhysicsInformedGaussians] | None:
            try:
                found = misfit(at)
            except SolveError:
                return None
            return found if bool(found[0].square().sum() < than.square().sum()) else None

        (r, expert), status = misfit(p), SolveStatus.STEP_CAP
        for _ in range(self.max_steps):
            steps = self.difference * p.abs()
            columns = [(misfit(p + torch.diag(steps)[j])[0] - r) / steps[j] for j in range(len(names))]
            jacobian = torch.stack(columns, dim=1)
            covariance = _covariance(jacobian, r, names, self.difference)
            move = torch.linalg.lstsq(jacobian, -r.unsqueeze(1)).solution.squeeze(1)
            if bool((move.abs() <= self.enough * covariance.diagonal().sqrt()).all()):
                status = SolveStatus.CONVERGED
                break
            for halving in range(_HALVINGS):
                tried = p + 0.5**halving * move
                found = lower(tried, r)
                if found is not None:
                    p, (r, expert) = tried, found
                    break
            else:
                status = SolveStatus.DIVERGED
                break
        if throw:
            raise_unless_converged(torch.tensor([int(status)]), "the search for parameters: take another first guess")
        errors = covariance.diagonal().sqrt().tolist()
        noise = float((r.square().sum() / max(len(r) - len(names), 1)).sqrt())
        return Estimate(
            dict(zip(names, p.tolist(), strict=True)), dict(zip(names, errors, strict=True)), covariance, noise, expert,
            status, fits,
        )  # fmt: skip


def _covariance(jacobian: Tensor, r: Tensor, names: Sequence[str], accuracy: float) -> Tensor:
    """s² (JᵀJ)⁻¹, s² the square of the misfit over its degrees of freedom; ``accuracy`` is that of J's columns."""
    norms = torch.linalg.vector_norm(jacobian, dim=0)
    scaled = jacobian / norms
    if not bool((norms > 0).all()) or int(torch.linalg.matrix_rank(scaled, rtol=accuracy)) < len(names):
        raise ValueError(
            f"the observations do not determine {', '.join(names)}: some change of them leaves all observed values as "
            "they are; observe elsewhere, or fix one"
        )
    inverse = torch.linalg.inv(scaled.mT @ scaled) / (norms.unsqueeze(1) * norms)
    covariance: Tensor = inverse * r.square().sum() / max(len(r) - len(names), 1)
    return covariance


def _off(expert: PhysicsInformedGaussians, problem: Problem, observed: Observations) -> Tensor:
    """u(x_i) - d_i."""
    row = problem.field_names.index(observed.field_of(problem))
    at = {axis: observed.coordinates[axis].to(torch.float64) for axis in problem.box.axes}
    return expert.at(at)[row] - observed.values.to(torch.float64)
