"""What an expert is: a module that solves a problem on its patches and exposes the residual it is trained on."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pdesolve.domains.grid import StructuredGrid
from pdesolve.problem import Problem
from pdesolve.solution import Solution


class AbstractExpert(nn.Module, abc.ABC):
    """A solver of one problem for any of its parameters; training, results and the command line know only this."""

    @property
    @abc.abstractmethod
    def problem(self) -> Problem:
        """What it solves."""

    @abc.abstractmethod
    def residual(
        self, parameters: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Weighted residual rows of a batch of cases, at freshly drawn points.

        Arguments:
            parameters: name -> (batch,).
            generator: draws the points.

        Returns:
            Rows by label ("equation", "conditions", "interfaces", ...), each (batch, n), carrying gradients to
            the trainable parameters and weighted so that the cost of a case is 1/2 the sum of their squares; and
            the status codes of the inner solves, (batch, n_patches), zeros where there is none to fail.
        """

    @abc.abstractmethod
    def forward(
        self,
        parameters: Mapping[str, Tensor],
        grid: StructuredGrid,
        generator: torch.Generator | None = None,
        throw: bool = True,
    ) -> Solution:
        """Solve a batch of cases and evaluate them on a grid.

        Arguments:
            parameters: name -> (batch,) or numbers; those left out take the problem's values. The field carries
                gradients to those that require them, and only to them.
            grid: where the solution is wanted.
            generator: draws the points of the inner solve (default: a fixed seed, so that calls repeat).
            throw: raise ``SolveError`` if any case fails; otherwise read ``Solution.status``.
        """
