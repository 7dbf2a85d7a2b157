"""Finite elements as a choice: order, stabilisation, steps in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pdesolve.discretization.finite_elements.order import check_order
from pdesolve.discretization.finite_elements.stabilisation import AbstractStabilisation, Unstabilised
from pdesolve.discretization.finite_elements.time_scheme import BDF2, AbstractTimeScheme
from pdesolve.domains.mesh_values import AbstractMeshValues
from pdesolve.problem import Problem

if TYPE_CHECKING:
    from pdesolve.discretization.finite_elements.discrete_problem import DiscreteProblem
    from pdesolve.discretization.finite_elements.weak_form import Case


@final
@dataclass(frozen=True)
class FiniteElements:
    """Continuous Lagrange elements on the problem's mesh.

    Arguments:
        order: polynomial degree p, 1 or 2 (default 2); the error of smooth solutions falls as h^(p+1) in L², h^p in H¹.
        stabilisation: ``Unstabilised()`` (default), or ``StreamlineUpwind()`` where transport outruns diffusion.
        time: steps of transient problems (default ``BDF2(100)``).

    Raises:
        TypeError, ValueError: another order, or something else than a stabilisation or a scheme.

    Source: scikit-fem (Gustafsson & McBain, JOSS 5, 2020) gives elements, numbering and quadrature.
    """

    order: int = 2
    stabilisation: AbstractStabilisation = field(default_factory=Unstabilised)
    time: AbstractTimeScheme = field(default_factory=lambda: BDF2(100))

    def __post_init__(self) -> None:
        check_order(self.order)
        if not isinstance(self.stabilisation, AbstractStabilisation):
            raise TypeError(f"stabilisation must be StreamlineUpwind() or Unstabilised(), got {self.stabilisation!r}")
        if not isinstance(self.time, AbstractTimeScheme):
            raise TypeError(f"time must be BDF2(steps) or ThetaMethod(steps), got {self.time!r}")

    def discretise(self, problem: Problem) -> DiscreteProblem:
        """The system of equations of a problem on a mesh.

        Raises:
            TypeError, ValueError: as ``DiscreteProblem`` and ``FiniteElementSpace``.
        """
        from pdesolve.discretization.finite_elements.discrete_problem import DiscreteProblem  # loads when first used
        from pdesolve.discretization.finite_elements.space import FiniteElementSpace

        space = FiniteElementSpace(problem.mesh_domain.mesh, self.order)
        return DiscreteProblem(problem, space, self.stabilisation)


def cases_of(problem: Problem, parameters: Mapping[str, Tensor | float | AbstractMeshValues] | None) -> list[Case]:
    """The parameters of each case, from numbers, (batch,) tensors and fields on the mesh.

    Raises:
        TypeError, ValueError: as ``Problem.batch_parameters``; a field of another length than the mesh's, fields and
            numbers of different batches.
    """
    given = dict(parameters or {})
    fields = {name: v for name, v in given.items() if isinstance(v, AbstractMeshValues)}
    numbers = {name: v for name, v in given.items() if not isinstance(v, AbstractMeshValues)}
    problem.batch_parameters({**numbers, **dict.fromkeys(fields, 0.0)})  # unknown names are named here
    values = {name: v for name, v in problem.batch_parameters(numbers).items() if name not in fields}
    mesh = problem.mesh_domain.mesh
    for name, value in fields.items():
        value.check(mesh, name)
    sizes = {name: v.batch for name, v in fields.items()} | {name: len(v) for name, v in values.items()}
    for name, size in sizes.items():
        if not size:
            raise ValueError(f"{name!r} has no cases, its batch is empty: give at least one")
    batches = {n for n in sizes.values() if n != 1}
    if len(batches) > 1:
        raise ValueError(f"parameters have different batch lengths: {sizes}")
    batch = max(sizes.values(), default=1)
    return [
        {
            **{name: v[i if len(v) > 1 else 0].to("cpu", torch.float64) for name, v in values.items()},
            **{name: replace(v, values=v.case(i).to("cpu", torch.float64)) for name, v in fields.items()},
        }
        for i in range(batch)
    ]


def device_of_inputs(parameters: Mapping[str, Tensor | float | AbstractMeshValues] | None) -> torch.device:
    """Where the tensors and fields among parameters are: that of the first, the CPU without any."""
    found = (v.device for v in (parameters or {}).values() if isinstance(v, Tensor | AbstractMeshValues))
    return next(found, torch.device("cpu"))
