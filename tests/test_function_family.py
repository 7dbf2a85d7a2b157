"""Diffusion-sorption from random initial functions: what is drawn, and the frame about the state that diffuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import pdesolve as ps
from pdesolve.condition import value_at
from pdesolve.frames.abstract import points_at
from pdesolve.frames.check import check_imposed
from pdesolve.namespace import Namespace
from pdesolve.reference.function_family import diffusion_sorption_function_family, diffusion_sorption_function_frame

FAMILY = diffusion_sorption_function_family()
PROBLEM = FAMILY.problem
X = torch.linspace(0.0, 1.0, 41, dtype=torch.float64)


def drawn(n: int, seed: int = 0) -> dict[str, Tensor]:
    return FAMILY.sample(n, torch.Generator().manual_seed(seed))


def state_at(time: float, members: dict[str, Tensor]) -> Tensor:
    """w on the nodes, (batch, x): what the lifting has between the layers."""
    lifting = diffusion_sorption_function_frame(FAMILY).lifting
    assert isinstance(lifting, ps.SimilarityLifting)
    parameters = {k: v.reshape(-1, 1, 1) for k, v in PROBLEM.batch_parameters(members).items()}
    at = {"t": torch.full((1, 1, 41), time, dtype=torch.float64), "x": X.reshape(1, 1, -1)}
    found: Tensor = value_at(lifting.between, points_at(at, parameters))[:, 0]
    return found


def initial(members: dict[str, Tensor]) -> Tensor:
    columns = {k: v.reshape(-1, 1) for k, v in PROBLEM.batch_parameters(members).items()}
    found: Tensor = value_at(PROBLEM.resolved.initial["u", 0], {"x": X, **columns})
    return found


def test_members_are_functions_in_range_with_physics_within_a_factor_of_two() -> None:
    members = drawn(1000)
    u = initial(members)
    assert u.shape == (1000, 41)
    assert float(u.min()) > 0.0
    assert float(u.max()) < 0.2
    assert float(u.min()) < 0.01
    assert float(u.max()) > 0.19
    assert float((u.amax(1) - u.amin(1)).mean()) > 0.05  # functions, not constants
    for name in ("D", "k"):
        ratio = members[name] / PROBLEM.parameters[name]
        assert 0.5 <= float(ratio.min()) < 0.51
        assert 1.96 < float(ratio.max()) <= 2.0


def test_the_state_starts_as_the_initial_function_and_levels_as_its_first_mode_does() -> None:
    members = drawn(20)
    torch.testing.assert_close(state_at(0.0, members), initial(members), rtol=1e-14, atol=1e-16)
    one = {"a1": torch.tensor([0.8], dtype=torch.float64)}
    parameters = Namespace(
        {k: torch.tensor(v, dtype=torch.float64) for k, v in PROBLEM.parameters.items()}, "parameter"
    )
    level = ps.DiffusionSorption.retardation(torch.tensor(0.1, dtype=torch.float64), parameters)
    decay = math.exp(-(math.pi**2) * PROBLEM.parameters["D"] * 300.0 / float(level))
    waves = [torch.atanh(state_at(t, one)[0] / 0.1 - 1.0) for t in (0.0, 300.0)]
    torch.testing.assert_close(waves[1], decay * waves[0], rtol=1e-9, atol=1e-12)


def test_the_frame_imposes_what_it_says_for_every_member() -> None:
    frame = diffusion_sorption_function_frame(FAMILY)
    check_imposed(PROBLEM, frame.lifting, PROBLEM.batch_parameters(drawn(50)))
    assert frame.coordinates.n_features == 7  # two layers, x, sqrt t, D, k and the state: no coefficient


def test_an_untrained_basis_in_this_frame_beats_the_generic_one() -> None:
    members = drawn(3, seed=4)
    nodes = {"t": torch.linspace(0.0, 500.0, 11, dtype=torch.float64), "x": X[1:-1]}
    exact = ps.reference_solution(PROBLEM, members, nodes, method=ps.MethodOfLines(97, order=4, rtol=1e-6))
    grid = ps.StructuredGrid(("t", "x"), (nodes["t"], nodes["x"]), PROBLEM.domain)
    errors = []
    for frame in (diffusion_sorption_function_frame(FAMILY), ps.generic_frame(FAMILY)):
        expert = ps.parametric_expert(FAMILY, n_basis=32, frame=frame, dtype=torch.float64)
        mixture = ps.MixtureOfExperts(ps.cartesian_decomposition(PROBLEM.domain, {"x": 4}), expert)
        errors.append(float(mixture(members, grid).relative_error(exact).mean()))
    assert errors[0] < 4e-3
    assert errors[0] < 0.8 * errors[1]


def test_a_problem_without_the_coefficients_is_refused() -> None:
    with pytest.raises(ValueError, match="between: its function reads 'a0'"):
        diffusion_sorption_function_frame(ps.diffusion_sorption_family())
