"""Gauss-Newton beside Levenberg-Marquardt: where it is enough, and what it says where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import least_squares
from torch import Tensor

from pdesolve.nonlinear.gauss_newton import GaussNewton
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import minimise
from pdesolve.nonlinear.rows import RowBlock
from pdesolve.status import SolveStatus


def scalar_rows(function: Any, start: float) -> LeastSquares:
    """One unknown, u = w + start at two points."""
    basis = torch.ones(1, 1, 2, 1, dtype=torch.float64)
    offset = torch.full((1, 1, 2), start, dtype=torch.float64)
    return LeastSquares((RowBlock(function, (basis,), (offset,), (), basis.new_ones(1, 1, 1)),))


@pytest.mark.parametrize("noise", [0.0, 0.08])
def test_it_finds_what_levenberg_marquardt_finds(noise):
    problem = least_squares(noise=noise, patches=3, coupled=True)
    ours, theirs = minimise(problem, GaussNewton(gtol=1e-10)), minimise(problem, LevenbergMarquardt(gtol=1e-10))
    assert bool((ours.status == SolveStatus.CONVERGED).all())
    torch.testing.assert_close(ours.w, theirs.w, rtol=1e-7, atol=1e-9)


def test_a_linear_problem_takes_one_step():
    found = minimise(least_squares(curved=0.0, noise=0.5), GaussNewton())
    assert found.stats["iterations"].unique().tolist() == [1]


def test_a_step_that_overshoots_is_halved():
    """arctan from 3: the full step runs away, |u| grows without bound."""
    found = minimise(scalar_rows(lambda t, i: (torch.arctan(t[0]),), 3.0), GaussNewton(gtol=1e-10))
    assert int(found.status) == SolveStatus.CONVERGED
    assert float(found.w) == pytest.approx(-3.0, abs=1e-8)


def test_no_descent_is_divergence():
    """A derivative of the wrong sign: no length of step lowers the cost."""

    def wrong(terms: list[Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
        return (2.0 * terms[0].detach() - terms[0],)

    assert int(minimise(scalar_rows(wrong, 1.0), GaussNewton()).status) == SolveStatus.DIVERGED


def test_too_few_steps_are_a_step_cap():
    found = minimise(scalar_rows(lambda t, i: (torch.arctan(t[0]),), 3.0), GaussNewton(max_steps=2))
    assert int(found.status) == SolveStatus.STEP_CAP


def test_a_nan_member_leaves_the_others_alone():
    problem = least_squares(noise=0.08, batch=3)
    tensors = [t.clone() for t in problem.tensors()]
    tensors[0][1] = torch.nan
    clean, spoilt = minimise(problem, GaussNewton()), minimise(problem.with_tensors(tensors), GaussNewton())
    assert torch.equal(clean.w[[0, 2]], spoilt.w[[0, 2]])
    assert spoilt.status.flatten().tolist() == [0, int(SolveStatus.NON_FINITE), 0]


@pytest.mark.parametrize(
    ("options", "match"), [({"gtol": 0.0}, "gtol"), ({"gtol": 2.0}, "gtol"), ({"max_steps": 0}, "max_steps")]
)
def test_bad_settings_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        GaussNewton(**options)
