"""Unknown coefficients of an equation, found together with its solution from observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from pdesolve.domains.geometry import finite_float, positive_int
from pdesolve.domains.sampling import AbstractSampler, SobolSampler
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.residual import GaussianResidual
from pdesolve.experts.gaussians.sums import sums
from pdesolve.experts.gaussians.unknowns import checked_guesses
from pdesolve.frames.abstract import NoLifting
from pdesolve.pde.trace import Term
from pdesolve.problem import Observations, Problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser, Minimised
from pdesolve.residual_minimisation.orthogonal import Orthogonal
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.residual_minimisation.problem_rows import Known, ProblemRows, condition_rows, equation_rows, sampled_faces
from pdesolve.status import raise_unless_converged


@dataclass(frozen=True, eq=False)
class Recovered:
    """Estimates of unknown parameters.

    Arguments:
        parameters: the estimates by name.
        standard_errors: of each, from the noise that the fit leaves.
        covariance: of all, (k, k), in the order of ``parameters``.
        noise: estimated standard deviation of one observation.
        minimised: status and history of the fit.
        residual: the rows, whose ``split(minimised.theta)`` gives weights, Gaussians and parameters.
    """

    parameters: Mapping[str, float]
    standard_errors: Mapping[str, float]
    covariance: Tensor
    noise: float
    minimised: Minimised
    residual: GaussianResidual

    def values(self, coordinates: Mapping[str, Tensor], field: str | None = None) -> Tensor:
        """The solution that belongs to the estimates, shaped like the coordinates."""
        names = self.residual.problem.field_names
        weights, cloud, _ = self.residual.split(self.minimised.theta)
        shape = next(iter(coordinates.values())).shape
        points = torch.stack([coordinates[a].flatten() for a in self.residual.problem.box.axes], dim=1)
        index = 0 if field is None else names.index(field)
        return sums(cloud, points, weights[index : index + 1], ("",))[""].reshape(shape)


def _default_minimiser() -> AbstractMinimiser:
    return ProbedLevenbergMarquardt(Orthogonal(1e-12), ftol=1e-4)


@final
@dataclass(frozen=True, eq=False)
class ParameterRecovery:
    """min over (u, p) of mean F(u; p)² + ω² mean (conditions)² + η² mean (u(x_i) - d_i)², u a sum of Gaussians.

    Weights of the Gaussians and unknown parameters are one vector, fitted by Levenberg-Marquardt. A coefficient that is
    a field is given as an ansatz in the residual: ``(p.k0 + p.k1 * torch.cos(c.x)) * f.u.xx`` has two parameters.

    Arguments:
        cloud: the Gaussians.
        points: where the equation is asked for (default 4 000).
        face_points: on each face of the domain (default 400).
        condition_weight: ω (default 30).
        data_weight: η (default 0.1: the equation is nearly exact, and noise goes into the misfit).
        minimiser: default ``ProbedLevenbergMarquardt(Orthogonal(1e-12), ftol=1e-4)``; ``Gram()`` above 1 500 Gaussians.
        sampler: spreads the points (default scrambled Sobol).

    Raises:
        TypeError, ValueError: counts or weights that are not positive.

    Notes:
        The standard error is that of the linearised fit: the estimate moves by A⁻¹ J_dᵀ ε for noise ε on the data,
        A = JᵀJ of all rows, J_d the data's rows; the noise is what the misfit shows, with n less the fit's effective
        number of parameters. It does not know of errors of the ansatz, nor of another minimum.

    Good values: Gaussians that leave a residual below η times the noise; with a larger one it pays to choose parameters
        for which the equation is easy, not those of the data. A result that moves by more than its standard error
        when η is halved or the Gaussians are refined is not to be trusted.

    Source: Bard, *Nonlinear Parameter Estimation* (1974), 7-5, for the covariance.
    """

    cloud: GaussianCloud
    points: int = 4000
    face_points: int = 400
    condition_weight: float = 30.0
    data_weight: float = 0.1
    minimiser: AbstractMinimiser = field(default_factory=_default_minimiser)
    sampler: AbstractSampler = field(default_factory=SobolSampler)

    def __post_init__(self) -> None:
        positive_int(self.points, "points")
        positive_int(self.face_points, "face_points")
        for name in ("condition_weight", "data_weight"):
            if finite_float(getattr(self, name), name) <= 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def recover(
        self,
        problem: Problem,
        observations: Observations | Sequence[Observations],
        unknown: Mapping[str, float],
        generator: torch.Generator,
        *,
        throw: bool = True,
    ) -> Recovered:
        """Fit solution and parameters.

        Arguments:
            problem: equation and conditions; its values of the unknown parameters are not used.
            observations: of one or several fields.
            unknown: first guesses by parameter name.
            generator: draws the points.
            throw: raise where the fit fails (default); false returns what there is with its status.

        Raises:
            ValueError: no unknown, one that the problem lacks, fewer observations than unknowns, observations that do
                not fit the problem.
            SolveError: the fit failed.
        """
        given = (observations,) if isinstance(observations, Observations) else tuple(observations)
        guesses = checked_guesses(problem, given, unknown)
        rows = self._rows(problem, given, generator)
        residual = GaussianResidual(problem, self.cloud, NoLifting(problem.field_names), rows, unknown=tuple(guesses))
        device = self.cloud.centres.device
        residual.parameters.update(
            {name: torch.tensor([guess], dtype=torch.float64, device=device) for name, guess in guesses.items()}
        )
        start = residual.start(torch.zeros(len(problem.field_names), self.cloud.size, dtype=torch.float64).to(device))
        minimised = self.minimiser.minimise(residual, start)
        if throw:
            raise_unless_converged(torch.tensor([int(minimised.status)]), minimised.detail)
        n_data = sum(len(observed) for observed in given)
        covariance, noise = _covariance(residual, minimised.theta, n_data, len(guesses), self.data_weight)
        estimates = minimised.theta[-len(guesses) :].tolist()
        errors = covariance.diagonal().clamp_min(0.0).sqrt().tolist()
        return Recovered(
            dict(zip(guesses, estimates, strict=True)),
            dict(zip(guesses, errors, strict=True)),
            covariance,
            noise,
            minimised,
            residual,
        )

    def _rows(self, problem: Problem, given: Sequence[Observations], generator: torch.Generator) -> list[ProblemRows]:
        device = self.cloud.centres.device
        drawn = self.sampler.sample(problem.box, self.points, generator, torch.float64, device)
        inside = {axis: value.flatten() for axis, value in drawn.items()}
        omega = torch.full((self.points,), self.points**-0.5, dtype=torch.float64, device=device)
        rows = [equation_rows(problem, inside, omega)]
        faces = sampled_faces(problem.box, self.face_points, self.sampler, generator, device)
        lifting = NoLifting(problem.field_names)
        rows += condition_rows(problem, lifting, faces, self.condition_weight, self.cloud.periodic)
        eta = self.data_weight * sum(len(observed) for observed in given) ** -0.5
        return rows + [_data_rows(problem, observed, eta, device) for observed in given]


def _data_rows(problem: Problem, observed: Observations, eta: float, device: torch.device) -> ProblemRows:
    name = observed.field_of(problem)
    data = observed.values.to(device, torch.float64)
    term: Term = (name, "")

    def function(values: Mapping[Term, Tensor], at: Known, parameters: Known) -> tuple[Tensor, ...]:
        return (values[term] - data,)

    points = {axis: observed.coordinates[axis].to(device, torch.float64) for axis in problem.box.axes}
    return ProblemRows(f"observations of {name}", points, (term,), torch.full_like(data, eta), function)


def _covariance(
    residual: GaussianResidual, theta: Tensor, n_data: int, n_unknown: int, data_weight: float
) -> tuple[Tensor, float]:
    """Covariance of the last parameters and the noise of one observation; the data are the last rows."""
    r, jacobian = residual.linearise(theta)
    scale = torch.linalg.vector_norm(jacobian, dim=0)
    scale = torch.where(scale > 0.0, scale, torch.ones_like(scale))
    jacobian = jacobian / scale
    n = jacobian.shape[1]
    damping = torch.finfo(jacobian.dtype).eps ** 0.5 * torch.eye(n, dtype=jacobian.dtype, device=jacobian.device)
    triangle = torch.linalg.qr(torch.cat([jacobian, 1e-4 * damping]), mode="r").R
    data = jacobian[-n_data:]
    # moved = A⁻¹ J_dᵀ = R⁻¹ R⁻ᵀ J_dᵀ; its square is the covariance of θ for rows of unit noise
    half = torch.linalg.solve_triangular(triangle.mT, data.mT, upper=False)
    moved = torch.linalg.solve_triangular(triangle, half, upper=True)[-n_unknown:] / scale[-n_unknown:, None]
    effective = float(half.square().sum())
    eta = data_weight / n_data**0.5
    misfit = r[-n_data:] / eta
    noise = float((misfit.square().sum() / max(n_data - effective, 1.0)).sqrt())
    return (eta * noise) ** 2 * moved @ moved.mT, noise
