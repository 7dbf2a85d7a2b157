"""Hard members of a batch go on by themselves: the others neither pay for them nor change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers import least_squares, uniform
from torch import Tensor

from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.members import Members
from pdesolve.nonlinear.minimise import minimise
from pdesolve.status import SolveStatus

COUPLED = pytest.mark.parametrize("coupled", [False, True], ids=["independent", "coupled"])


def mixed(coupled: bool, batch: int = 6) -> tuple[LeastSquares, list[int]]:
    """A batch whose samples 0 and 3 are strongly curved, the rest nearly linear; and the batches that F was given."""
    problem = least_squares(batch=batch, patches=3, coupled=coupled, noise=0.5)
    (block,) = problem.rows
    curved = torch.full((batch, 1, 1), 0.01, dtype=torch.float64)
    curved[[0, 3]] = 6.0
    seen: list[int] = []

    def function(terms: list[Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
        seen.append(terms[0].shape[0] * terms[0].shape[1])
        return block.function(terms, inputs)

    rows = replace(block, function=function, inputs=(block.inputs[0], curved, block.inputs[2]))
    return replace(problem, rows=(rows,)), seen


def alone(problem: LeastSquares, sample: int) -> LeastSquares:
    tensors = [t if t.shape[0] == 1 else t[sample : sample + 1] for t in problem.tensors()]
    return problem.with_tensors(tensors)


@COUPLED
@pytest.mark.parametrize("solver", [LevenbergMarquardt(), LevenbergMarquardt(damping=1e-2, max_steps=200)])
def test_a_member_ends_as_it_would_alone(coupled, solver):
    problem, _ = mixed(coupled)
    found = minimise(problem, solver)
    assert found.stats["iterations"][0].max() > found.stats["iterations"][1].max()
    for sample in range(6):
        own = minimise(alone(problem, sample), solver)
        assert torch.equal(found.w[sample], own.w[0])
        assert torch.equal(found.status[sample], own.status[0])
        for name, values in found.stats.items():
            torch.testing.assert_close(values[sample], own.stats[name][0], rtol=1e-12, atol=1e-300)


@COUPLED
def test_the_easy_members_are_not_evaluated_again(coupled):
    problem, seen = mixed(coupled)
    minimise(problem, LevenbergMarquardt())
    assert max(seen) == 18
    assert seen == sorted(seen, reverse=True)
    assert min(seen) <= 6


def test_a_step_cap_counts_steps_before_and_after_the_cut():
    problem, _ = mixed(True)
    for cap in (1, 2, 3, 4):
        found = minimise(problem, LevenbergMarquardt(gtol=1e-15, max_steps=cap))
        assert int(found.stats["iterations"].max()) == cap
        assert int(found.status[0, 0]) == SolveStatus.STEP_CAP


@COUPLED
def test_the_linearisation_is_that_of_the_result(coupled):
    """What the adjoint starts from belongs to the weights that are returned, for every member."""
    problem, _ = mixed(coupled)
    found = minimise(problem, LevenbergMarquardt())
    again = found.problem.linearise(found.c)
    torch.testing.assert_close(found.normal.gram.diagonal, again.gram.diagonal, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.normal.gram.coupling, again.gram.coupling, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.normal.cost, again.cost, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("columns", [1, 3])
def test_what_is_cut_can_be_put_back(columns):
    chosen = torch.tensor([[True], [False], [True]]).expand(3, columns).clone()
    if columns > 1:
        chosen[0, 1] = False
    members = Members(chosen, (3, 3))
    values = uniform(3, 3, 4)
    part = members.cut(values)
    assert part.shape == ((2, 3, 4) if columns == 1 else (int(chosen.sum()), 1, 4))
    assert torch.equal(members.put(values, part), values)
    changed = members.put(values, part + 1.0) - values
    wide = chosen.expand(3, 3).unsqueeze(-1).expand(3, 3, 4)
    torch.testing.assert_close(changed, wide.double())
