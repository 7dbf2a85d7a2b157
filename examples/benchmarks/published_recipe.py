"""The published recipe: Gaussians whose sums feed a small MLP, Adam, float32, derivatives by autograd.

Written from the paper's description (Kang, Oh, Hong & Park, ICLR 2025): 4 features, each a sum over its own Gaussians,
with trainable centres, diagonal log-scales and weights, then 4 -> 16 -> 1 with tanh; the loss is the sum of the mean
squares of equation and conditions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdesolve.condition import value_at
from pdesolve.domains.geometry import BOUNDARIES
from pdesolve.domains.sampling import UniformSampler, face_points
from pdesolve.pde.trace import evaluate
from pdesolve.problem import Problem


class GaussianFeatures(nn.Module):
    """(n, d) -> (n, 1)."""

    def __init__(self, problem: Problem, gaussians: int, generator: torch.Generator, features: int = 4) -> None:
        super().__init__()
        low, high = (torch.tensor(ends) for ends in (problem.domain.lower, problem.domain.upper))
        d = len(low)
        unit = torch.rand(features, gaussians, d, generator=generator)
        self.centres = nn.Parameter(low + (high - low) * unit)
        self.log_scale = nn.Parameter(torch.log((high - low) / gaussians ** (1.0 / d)).expand_as(unit).clone())
        self.weights = nn.Parameter(torch.randn(features, gaussians, generator=generator))
        self.head = nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, 1))
        with torch.no_grad():
            for parameter in self.head.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x[:, None, None] - self.centres) * torch.exp(-self.log_scale)
        bumps = torch.exp(-0.5 * scaled.square().sum(-1))  # (n, features, gaussians)
        out: Tensor = self.head((bumps * self.weights).sum(-1))
        return out


@dataclass(frozen=True)
class Recipe:
    """What the paper uses, or less of it for a race.

    Arguments:
        gaussians: of each feature.
        points: inside, drawn anew at each step.
        face_points: on each face.
        learning_rate: of Adam.
    """

    gaussians: int = 400
    points: int = 2000
    face_points: int = 200
    learning_rate: float = 1e-2


def derivatives(network: nn.Module, problem: Problem, points: Tensor, terms: set[str]) -> dict[str, Tensor]:
    """∂^α u by nested reverse mode, as the authors do."""
    points = points.requires_grad_()
    found = {"": network(points)[:, 0]}

    def find(term: str) -> Tensor:
        if term not in found:
            (slopes,) = torch.autograd.grad(find(term[:-1]).sum(), points, create_graph=True)
            for i, axis in enumerate(problem.domain.axes):
                found[term[:-1] + axis] = slopes[:, i]
        return found[term]

    return {term: find(term) for term in terms}


def loss(network: nn.Module, problem: Problem, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Equation, initial values and boundary values of a problem of one field with Dirichlet conditions."""
    axes, field = problem.domain.axes, problem.field_names[0]
    parameters = problem.batch_parameters(dtype=torch.float32)
    drawn = UniformSampler().sample(problem.domain, recipe.points, generator, torch.float32)
    points = torch.stack([drawn[a][0] for a in axes], dim=1)
    terms = {term for _, term in problem.trace.terms}
    values = {(field, t): v for t, v in derivatives(network, problem, points, terms).items()}
    coordinates = {a: points[:, i] for i, a in enumerate(axes)}
    total = evaluate(problem.pde, values, coordinates, parameters)[0].square().mean()
    wanted = [(face.boundary, "", face.value) for face in problem.resolved.faces]
    wanted += [(BOUNDARIES["t"][0], "t" * order, value) for (_, order), value in problem.resolved.initial.items()]
    for boundary, term, value in wanted:
        at = face_points(problem.domain, boundary, recipe.face_points, generator, dtype=torch.float32)
        on = torch.stack([at[a][0] for a in axes], dim=1)
        known = {**parameters, **{a: on[:, i] for i, a in enumerate(axes)}}
        total = total + (derivatives(network, problem, on, {term})[term] - value_at(value, known)).square().mean()
    return total


@dataclass(frozen=True)
class Raced:
    """How far the recipe came.

    Arguments:
        seconds: until the error was reached, or until it was stopped.
        error: at the end.
        steps: taken.
        step_seconds: of one.
    """

    seconds: float
    error: float
    steps: int
    step_seconds: float


def race(
    problem: Problem,
    recipe: Recipe,
    error_of: Callable[[Callable[[Mapping[str, Tensor]], Tensor]], float],
    goal: float,
    budget: float,
    seed: int,
) -> Raced:
    """Train until the error is reached or the seconds are spent; evaluating the error is not counted."""
    generator = torch.Generator().manual_seed(seed)
    network = GaussianFeatures(problem, recipe.gaussians, generator)
    optimiser = torch.optim.Adam(network.parameters(), recipe.learning_rate)
    spent, steps, error = 0.0, 0, float("inf")

    def values(coordinates: Mapping[str, Tensor]) -> Tensor:
        points = torch.stack([coordinates[a].flatten() for a in problem.domain.axes], dim=1).float()
        with torch.no_grad():
            parts = [network(part)[:, 0] for part in points.split(1024)]
        return torch.cat(parts).double().reshape(next(iter(coordinates.values())).shape)

    while error > goal and spent < budget:
        for _ in range(20):
            began = time.perf_counter()
            optimiser.zero_grad()
            loss(network, problem, recipe, generator).backward()
            optimiser.step()
            spent += time.perf_counter() - began
            steps += 1
            if spent >= budget:
                break
        error = error_of(values)
    return Raced(spent, error, steps, spent / steps)
