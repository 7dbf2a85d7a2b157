"""Diffusion-sorption from random initial functions: a family of three parameters, one of them a function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition, Robin
from pdesolve.domains.geometry import Interval, TimeInterval
from pdesolve.frames.abstract import FunctionCoordinates, JoinedCoordinates
from pdesolve.frames.generic import Frame
from pdesolve.frames.similarity import SimilarityCoordinates, SimilarityLifting
from pdesolve.namespace import Namespace
from pdesolve.pde.diffusion_sorption import DiffusionSorption
from pdesolve.problem import Family, LogUniform, Problem, ProblemFamily, Uniform

_CORRELATION = 1.0 / (2.0 * math.pi)
_MIDDLE = 0.1


def diffusion_sorption_function_family() -> ProblemFamily:
    """Diffusion-sorption from a random initial function, with random D and k.

    u(x, 0) = 0.1 (1 + tanh s(x)), s(x) = Σ_{j=0..3} a_j cos(j π x) / (1 + (j π ℓ)²), ℓ = 1/(2π): the first terms of a
    random field of covariance (1 - ℓ² ∂²)⁻² on [0, 1], squashed into [0, 0.2]. The a_j are uniform in [-1, 1), D and k
    log-uniform within a factor of two of PDEBench's; the rest is that of ``diffusion_sorption_problem``.

    Notes:
        The state between the layers is not steady: by t = 500 its mode j has decayed by exp(-(j π)² D T / R), for j = 1
        to 0.86 for the slowest members and 0.12 for the fastest.

    Source: as for ``diffusion_sorption_problem``; the initial functions are this package's.
    """
    pde = DiffusionSorption()
    problem = Problem(
        pde,
        Interval(0.0, 1.0) * TimeInterval(0.0, 500.0),
        [InitialCondition(_initial), Dirichlet(1.0, on="left"), Robin(0.0, alpha=1.0, beta=lambda D: D, on="right")],
        parameters={"a0": 0.0, "a1": 0.0, "a2": 0.0, "a3": 0.0},
    )
    physics = {name: LogUniform(value / 2.0, 2.0 * value) for name, value in (("D", pde.D), ("k", pde.k))}
    return ProblemFamily(problem, {**{f"a{j}": Uniform(-1.0, 1.0) for j in range(4)}, **physics})


def diffusion_sorption_function_frame(family: Family) -> Frame:
    """Similarity coordinates and lifting about the state that diffuses between the layers.

    w(x, t) = 0.1 (1 + tanh Σ_j exp(-(j π)² κ t) s_j cos(j π x)), κ = D/R at the middle of the initial values: the
    initial function at t = 0, and near the solution wherever the layers have not arrived. It stands for that function
    twice: in the lifting, and among the features in place of the coefficients a_j.

    Arguments:
        family: ``diffusion_sorption_function_family()``, or its problem.

    Raises:
        ValueError: a problem without the parameters of that family.

    Notes:
        docs/benchmarks.md compares it with ``generic_frame``.
    """
    problem = family.problem
    varied = {name: value for name, value in family.distributions.items() if name in ("D", "k")}
    coordinates = JoinedCoordinates(SimilarityCoordinates(problem, "x", varied), FunctionCoordinates(_feature))
    return Frame(coordinates, SimilarityLifting(problem, between=_state))


def _initial(x: Any, a0: Tensor, a1: Tensor, a2: Tensor, a3: Tensor) -> Any:
    """u(x, 0), in [0, 0.2]."""
    return _MIDDLE * (1.0 + torch.tanh(_series(x, (a0, a1, a2, a3))))


def _feature(
    x: Any, t: Any, a0: Tensor, a1: Tensor, a2: Tensor, a3: Tensor,
    D: Tensor, k: Tensor, n_f: Tensor, porosity: Tensor, bulk_density: Tensor, regularisation: Tensor,
) -> Any:  # fmt: skip
    """w scaled to [-1, 1]."""
    soil = Namespace(
        {"k": k, "n_f": n_f, "porosity": porosity, "bulk_density": bulk_density, "regularisation": regularisation},
        "parameter",
    )
    kappa = D / DiffusionSorption.retardation(_MIDDLE * (1.0 + torch.tanh(a0)), soil)
    return torch.tanh(_series(x, (a0, a1, a2, a3), t * kappa))


def _state(
    x: Any, t: Any, a0: Tensor, a1: Tensor, a2: Tensor, a3: Tensor,
    D: Tensor, k: Tensor, n_f: Tensor, porosity: Tensor, bulk_density: Tensor, regularisation: Tensor,
) -> Any:  # fmt: skip
    """w(x, t)."""
    return _MIDDLE * (1.0 + _feature(x, t, a0, a1, a2, a3, D, k, n_f, porosity, bulk_density, regularisation))


def _series(x: Any, coefficients: Sequence[Tensor], diffused: Any = None) -> Any:
    """Σ_j exp(-(j π)² ``diffused``) a_j cos(j π x) / (1 + (j π ℓ)²)."""
    total: Any = coefficients[0]
    for j, a in enumerate(coefficients[1:], 1):
        wave = j * math.pi
        term = torch.cos(x * wave) * (a / (1.0 + (wave * _CORRELATION) ** 2))
        total = total + (term if diffused is None else term * torch.exp(diffused * (-(wave**2))))
    return total
