"""A tiny expert for the tests of training, and the script that they start in other processes.

-u'' = k on (0, 1) with u = 0 at both ends: u = k x (1 - x) / 2, which the expert can represent.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdesolve.condition import Dirichlet
from pdesolve.domains.geometry import Interval
from pdesolve.domains.grid import StructuredGrid
from pdesolve.experts.abstract import AbstractExpert
from pdesolve.field import Field
from pdesolve.problem import Problem, ProblemFamily, Uniform
from pdesolve.solution import Solution
from pdesolve.status import SolveStatus
from pdesolve.training import CosineDecay, TrainingSettings, load_expert, resume, train

PROBLEM = Problem(lambda u, _, p: u.u.xx + p.k, Interval(0, 1), [Dirichlet(0.0)], {"k": 1.0})
FAMILY = ProblemFamily(PROBLEM, {"k": Uniform(0.5, 2.0)})


class PolynomialExpert(AbstractExpert):
    """u = x (1 - x) Σ_j c_j(k) x^j with c linear in k.

    Arguments:
        width: number of coefficients.
        fails_above: cases with larger k end as STEP_CAP and have rows of NaN.
        status: the code of a failed case.
    """

    def __init__(self, width: int = 3, fails_above: float = float("inf"), dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.linear = nn.Linear(1, width, dtype=dtype)
        self.fails_above = fails_above
        self.register_buffer("powers", torch.arange(width, dtype=dtype))
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1, 1, width, dtype=dtype).unsqueeze(1))
            self.linear.bias.fill_(0.1)

    @property
    def problem(self) -> Problem:
        return PROBLEM

    def coefficients(self, k: Tensor) -> Tensor:
        return self.linear(k.to(self.linear.weight.dtype).unsqueeze(1))

    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        k, j = parameters["k"], self.powers
        x = torch.rand(16, generator=generator, dtype=torch.float64).to(j.dtype).unsqueeze(1)
        # (x^(j+1) - x^(j+2))'' without negative powers: the first term is (j+1) j x^(j-1)
        second = (j + 1) * j * x ** (j - 1).clamp(min=0) - (j + 2) * (j + 1) * x**j
        c = self.coefficients(k)
        failed = k > self.fails_above
        equation = (c @ second.T + k.unsqueeze(1).to(j.dtype)) / 4
        equation = equation * torch.where(failed, float("nan"), 1.0).unsqueeze(1)
        slope = 0.1 * (c[:, :1] - k.unsqueeze(1).to(j.dtype) / 2)
        status = torch.where(failed, int(SolveStatus.STEP_CAP), int(SolveStatus.CONVERGED)).unsqueeze(1)
        return {"equation": equation, "slope": slope}, status

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        x = grid.nodes[0].unsqueeze(1)
        values = self.coefficients(parameters["k"]) @ (x * (1 - x) * x**self.powers).T
        return Solution(Field(values.unsqueeze(1), grid, ("u",)), torch.zeros(len(values), 1, dtype=torch.int64))


def settings(**changes: Any) -> TrainingSettings:
    """Short settings with a schedule, clipping and a momentum, so that all of them must survive a resume."""
    given = {"steps": 60, "batch": 4, "learning_rate": 0.02, "schedule": CosineDecay(0.1), "gradient_clip": 1.0}
    return TrainingSettings(**{**given, "checkpoint_every": 5, **changes})


def parameters_of(expert: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in expert.parameters()]


def build(config: Mapping[str, Any]) -> PolynomialExpert:
    """The expert of a file's configuration."""
    return PolynomialExpert(config["width"])


def environment() -> dict[str, str]:
    """The variables of another process that finds this file and the package."""
    here = Path(__file__).resolve().parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}


def main(task: str, path: Path, steps: int) -> None:
    """In another process: ``train`` or ``resume`` slowly in a folder, or ``evaluate`` an expert file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    if task == "evaluate":
        case = {"k": torch.tensor([0.7, 1.9], dtype=torch.float64)}
        solution = load_expert(path, build)(case, StructuredGrid.uniform(Interval(0, 1), (11,)))
        sys.stdout.write(solution.field.values.detach().numpy().tobytes().hex())
        return

    def on_step(step: int, row: Mapping[str, float]) -> None:
        sys.stdout.write(f"{step}\n")
        sys.stdout.flush()
        time.sleep(0.01)

    expert = PolynomialExpert()
    if task == "train":
        report = train(expert, FAMILY, settings(steps=steps), seed=3, checkpoints=path, on_step=on_step)
    else:
        report = resume(expert, FAMILY, settings(steps=steps), path, on_step=on_step)
    sys.stdout.write(f"{report.reason.name}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
