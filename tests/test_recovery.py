"""Unknown coefficients from noisy observations: recovered, with a standard error that is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains import Interval, StructuredGrid, TimeInterval
from pdesolve.experts.gaussians.cloud import GaussianCloud
from pdesolve.experts.gaussians.diagonal import Diagonal
from pdesolve.experts.gaussians.recovery import ParameterRecovery, Recovered
from pdesolve.pde.abstract import FunctionPDE
from pdesolve.pde.heat import Heat
from pdesolve.problem import Observations, Problem
from pdesolve.reference.abstract import ExactSolution, relative_error
from pdesolve.residual_minimisation.probed_levenberg_marquardt import ProbedLevenbergMarquardt
from pdesolve.status import SolveError, SolveStatus

PI = math.pi
BOX = Interval(0.0, 1.0) * TimeInterval(0.0, 1.0)
KAPPA = 0.1


def decay(t: Any, x: Any) -> Any:
    return torch.exp(-KAPPA * PI * PI * t) * torch.sin(PI * x)


HEAT = Problem(
    Heat(KAPPA),
    BOX,
    [InitialCondition(lambda x: torch.sin(PI * x)), Dirichlet(0.0)],
    reference=ExactSolution(decay),
)


def lattice(n_t: int, n_x: int, overlap: float = 3.0) -> GaussianCloud:
    """Equally spaced Gaussians, one spacing beyond every end."""
    columns, widths = [], []
    for n in (n_t, n_x):
        step = 1.0 / (n - 3)
        columns.append((torch.arange(n, dtype=torch.float64) - 1.0) * step)
        widths.append(overlap * step)
    centres = torch.cartesian_prod(*columns)
    return GaussianCloud(BOX, centres, Diagonal.of(torch.tensor(widths, dtype=torch.float64).expand_as(centres)))


METHOD = ParameterRecovery(lattice(8, 10), points=400, face_points=50)


def recovered(seed: int = 0, noise: float = 0.02, count: int = 50, **changes: Any) -> Recovered:
    generator = torch.Generator().manual_seed(seed)
    observed = Observations.sampled(HEAT, count, noise, generator)
    return replace(METHOD, **changes).recover(HEAT, observed, {"kappa": 0.02}, generator)


def test_a_coefficient_is_found_within_its_standard_error() -> None:
    """Of normal errors 95 % lie within two standard errors; and they are neither all tiny."""
    off = []
    for seed in range(16):
        found = recovered(seed)
        off.append((found.parameters["kappa"] - KAPPA) / found.standard_errors["kappa"])
        assert found.minimised.status is SolveStatus.CONVERGED
    spread = float(torch.tensor(off).square().mean().sqrt())
    assert 0.5 < spread < 1.6, off


def test_the_noise_is_estimated() -> None:
    generator = torch.Generator().manual_seed(5)
    clean = Observations.sampled(HEAT, 200, 0.0, generator)
    scatter = 0.03 * torch.randn(200, generator=generator, dtype=torch.float64)
    noisy = Observations(clean.coordinates, clean.values + scatter)
    found = METHOD.recover(HEAT, noisy, {"kappa": 0.3}, generator)
    assert found.noise == pytest.approx(0.03, rel=0.2)


def test_without_noise_the_coefficient_is_exact_and_the_solution_too() -> None:
    found = recovered(noise=0.0)
    assert found.parameters["kappa"] == pytest.approx(KAPPA, rel=1e-3)
    points = StructuredGrid.uniform(BOX, (11, 13)).coordinates()
    assert relative_error(found.values(points), decay(**points)) < 1e-3


def test_standard_errors_fall_with_the_number_of_observations() -> None:
    few, many = (recovered(count=n).standard_errors["kappa"] for n in (25, 400))
    assert many == pytest.approx(few / 4.0, rel=0.5)


def test_a_coefficient_field_is_found_by_its_ansatz() -> None:
    """(k0 + k1 x) u_x, so that ln u is known: two parameters, first guesses far off."""
    k0, k1 = 0.5, 0.8

    def residual(f: Any, c: Any, p: Any) -> Any:
        return f.u.t + (p.k0 + p.k1 * c.x) * f.u - 0.0 * f.u.x

    def exact(t: Any, x: Any) -> Any:
        return (1.0 + x) * torch.exp(-(k0 + k1 * x) * t)

    problem = Problem(
        FunctionPDE(residual, parameters={"k0": k0, "k1": k1}),
        BOX,
        [InitialCondition(lambda x: 1.0 + x)],
        reference=ExactSolution(exact),
    )
    generator = torch.Generator().manual_seed(2)
    observed = Observations.sampled(problem, 100, 0.005, generator)
    found = METHOD.recover(problem, observed, {"k1": 0.0, "k0": 2.0}, generator)
    assert list(found.parameters) == ["k1", "k0"]
    for name, true in (("k0", k0), ("k1", k1)):
        assert found.parameters[name] == pytest.approx(true, abs=4.0 * found.standard_errors[name])
        assert found.standard_errors[name] < 0.05
    assert found.covariance[0, 1] < 0.0  # more of one needs less of the other


def test_two_sets_of_observations_are_one() -> None:
    generator = torch.Generator().manual_seed(0)
    whole = Observations.sampled(HEAT, 40, 0.02, generator)
    parts = [
        Observations({a: v[piece] for a, v in whole.coordinates.items()}, whole.values[piece])
        for piece in (slice(0, 15), slice(15, 40))
    ]
    one, two = (
        METHOD.recover(HEAT, data, {"kappa": 0.05}, torch.Generator().manual_seed(1)) for data in (whole, parts)
    )
    assert one.parameters["kappa"] == pytest.approx(two.parameters["kappa"], rel=1e-6)
    assert one.standard_errors["kappa"] == pytest.approx(two.standard_errors["kappa"], rel=1e-3)


def one(values: Tensor | None = None, **coordinates: float) -> Observations:
    points = {a: torch.tensor([v], dtype=torch.float64) for a, v in coordinates.items()}
    return Observations(points, torch.ones(1, dtype=torch.float64) if values is None else values)


def attempt(observed: Any, unknown: dict[str, float]) -> Recovered:
    return METHOD.recover(HEAT, observed, unknown, torch.Generator().manual_seed(0))


GUESS = {"kappa": 0.1}
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "no unknown": (lambda: attempt(one(t=0.5, x=0.5), {}), "no unknown parameter"),
    "no such parameter": (lambda: attempt(one(t=0.5, x=0.5), {"nu": 1.0}), "unknown parameter 'nu'"),
    "nothing observed": (lambda: attempt([], GUESS), "0 observations cannot fix 1"),
    "outside": (lambda: attempt(one(t=0.5, x=1.5), GUESS), "observation 0 lies outside"),
    "an axis lacks": (lambda: attempt(one(x=0.5), GUESS), "'t' are missing"),
    "another field": (
        lambda: attempt(Observations({"t": torch.ones(1), "x": torch.ones(1)}, torch.ones(1), "v"), GUESS),
        "observed field 'v'",
    ),
    "NaN": (lambda: one(torch.tensor([math.nan]), t=0.5, x=0.5), "must be finite"),
    "shapes": (lambda: one(torch.ones(2), t=0.5, x=0.5), "one coordinate of each axis"),
    "integers": (lambda: one(torch.ones(1, dtype=torch.int64), t=0.5, x=0.5), "real floating"),
    "empty": (lambda: Observations({}, torch.ones(0)), "at least one"),
    "guess": (lambda: attempt(one(t=0.5, x=0.5), {"kappa": math.nan}), "must be finite"),
    "weight": (lambda: replace(METHOD, data_weight=0.0), "data_weight must be positive"),
    "no reference": (
        lambda: Observations.sampled(replace(HEAT, reference=None), 5, 0.1, torch.Generator()),
        "no reference to observe",
    ),
    "negative noise": (lambda: Observations.sampled(HEAT, 5, -0.1, torch.Generator()), "must not be negative"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_a_fit_that_fails_raises_unless_asked_not_to() -> None:
    generator = torch.Generator().manual_seed(0)
    observed = Observations.sampled(HEAT, 20, 0.02, generator)
    capped = replace(METHOD, minimiser=ProbedLevenbergMarquardt(max_steps=1))
    with pytest.raises(SolveError, match="step cap"):
        capped.recover(HEAT, observed, {"kappa": 0.02}, generator)
    found = capped.recover(HEAT, observed, {"kappa": 0.02}, generator, throw=False)
    assert found.minimised.status is SolveStatus.STEP_CAP
