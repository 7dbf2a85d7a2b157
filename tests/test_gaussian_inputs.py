"""Mistakes that concern Gaussians together with a problem and a minimiser: said in one sentence, before the work."""

from __future__ import annotations

import pytest
import torch
from helpers import seeded
from torch import Tensor

import pdesolve as ps
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.layout import Layout
from pdesolve.experts.gaussians.placement.fit import GaussianFit
from pdesolve.experts.gaussians.placement.rows import SampledRows
from pdesolve.experts.gaussians.placement.trained import Trained
from pdesolve.reference.suite import burgers_problem
from pdesolve.residual_minimisation.abstract import AbstractMinimiser
from pdesolve.residual_minimisation.adam import AdamDescent
from pdesolve.residual_minimisation.gram import Gram
from pdesolve.residual_minimisation.line_search_gauss_newton import LineSearchGaussNewton
from pdesolve.residual_minimisation.linear_least_squares import LinearLeastSquares
from pdesolve.residual_minimisation.orthogonal import Orthogonal
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.residual_minimisation.sketched import Sketched
from pdesolve.residual_minimisation.variable_projection import VariableProjection

BURGERS = burgers_problem(0.1)
SQUARE = ps.Rectangle((-1, 1), (-1, 1))
POISSON = ps.Problem(lambda f, c, p: f.u.xx + f.u.yy - 1.0, SQUARE, [ps.Dirichlet(0.0)])


def fit_of(problem: ps.Problem, minimiser: AbstractMinimiser) -> GaussianFit:
    return GaussianFit(problem, SampledRows(problem), minimiser)


def test_a_nonlinear_problem_is_refused_by_the_linear_solver() -> None:
    cloud = Layout(BURGERS.box, {"t": 5, "x": 9}, 1.5).cloud()
    with pytest.raises(ValueError, match=r"not affine.*ProbedLevenbergMarquardt"):
        fit_of(BURGERS, LinearLeastSquares()).fit(cloud, seeded())


class Watched(GaussianCloud):
    """Gaussians that nobody may evaluate."""

    def table(self, points: Tensor, terms: object) -> dict[str, Tensor]:
        raise AssertionError("a table was asked for before memory was")


def huge() -> GaussianCloud:
    centres = 2.0 * torch.rand(200_000, 2, generator=seeded(), dtype=torch.float64) - 1.0
    return Watched(SQUARE, centres, Diagonal.of(torch.full_like(centres, 0.01)))


@pytest.mark.parametrize(
    "minimiser",
    [
        LinearLeastSquares(),
        LineSearchGaussNewton(),
        ProbedLevenbergMarquardt(Orthogonal()),
        ProbedLevenbergMarquardt(Gram()),
        VariableProjection(1000),
    ],
)
def test_memory_that_the_jacobian_would_not_fit_into_is_said_before_any_gaussian_is_evaluated(
    minimiser: AbstractMinimiser,
) -> None:
    with pytest.raises(MemoryError, match=r"Jacobian of \d+ rows and 200000 parameters takes .* GiB.*Sketched"):
        fit_of(POISSON, minimiser).fit(huge(), seeded())


def test_methods_that_need_no_jacobian_are_not_stopped_by_its_size() -> None:
    for minimiser in (AdamDescent(max_steps=1), ProbedLevenbergMarquardt(Sketched(4))):
        with pytest.raises(AssertionError, match="a table was asked for"):
            fit_of(POISSON, minimiser).fit(huge(), seeded())


def test_training_all_parameters_asks_for_the_memory_of_all() -> None:
    cloud = huge()
    fit = fit_of(POISSON, AdamDescent(max_steps=1))
    with pytest.raises(MemoryError, match="1000000 parameters"):
        Trained()._moved(fit, cloud, torch.zeros(1, cloud.size, dtype=torch.float64), seeded())


def test_dependent_gaussians_are_fitted_all_the_same() -> None:
    """Every one twice, and wide: a Gram matrix singular to working precision."""
    once = Layout(SQUARE, {"x": 8, "y": 8}, 3.0).cloud()
    twice = GaussianCloud(
        SQUARE, once.centres.repeat(2, 1), once.covariance.replaced(once.covariance.numbers.repeat(2, 1))
    )
    table = twice.table(twice.centres, ("",))[""]
    assert int(torch.linalg.matrix_rank(table.mT @ table)) < once.size
    one, two = (fit_of(POISSON, LinearLeastSquares()).fit(cloud, seeded()) for cloud in (once, twice))
    assert two.residual < 1.5 * one.residual
    assert bool(torch.isfinite(two.weights).all())
