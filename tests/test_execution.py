"""A compiled pass gives what the plain one gives, and is recorded once for each shape."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from pdesolve.condition import Dirichlet, InitialCondition
from pdesolve.domains.decomposition import cartesian_decomposition
from pdesolve.domains.geometry import Interval, TimeInterval
from pdesolve.execution import AbstractExecution, Compiled, Eager
from pdesolve.experts.coupling import Independent, InterfaceRows
from pdesolve.experts.parametric import parametric_expert
from pdesolve.experts.rows import RowCounts
from pdesolve.implicit import ImplicitAdjoint
from pdesolve.nonlinear.gauss_newton import GaussNewton
from pdesolve.nonlinear.least_squares import LeastSquares
from pdesolve.nonlinear.levenberg_marquardt import LevenbergMarquardt
from pdesolve.nonlinear.minimise import AbstractNonlinearSolver, Minimum, minimise
from pdesolve.nonlinear.rows import RowBlock
from pdesolve.pde.burgers import Burgers
from pdesolve.problem import Problem
from pdesolve.status import SolveStatus

COUPLINGS = {"independent": Independent(), "interfaces": InterfaceRows()}


@dataclass
class Recorder:
    """A back end of torch.compile that runs graphs as they are and counts them."""

    graphs: int = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


def burgers(coupling: Any = COUPLINGS["independent"], points: int = 40, viscosity: float = 0.05) -> LeastSquares:
    """Rows of four patches, with a front in two of them."""
    conditions = [InitialCondition(lambda x: -torch.sin(torch.pi * x)), Dirichlet(0.0)]
    problem = Problem(Burgers(viscosity), Interval(-1.0, 1.0) * TimeInterval(0.0, 1.0), conditions)
    expert = parametric_expert(problem, n_basis=6, rows=RowCounts(points, 8, 8), dtype=torch.float64)
    values, generator = problem.batch_parameters(None), torch.Generator().manual_seed(0)
    patches = cartesian_decomposition(problem.domain, {"x": 4})
    with torch.no_grad():
        return expert.layer.assemble(expert.backbone, values, generator, patches, coupling)


def solve(problem: LeastSquares, solver: AbstractNonlinearSolver, execution: AbstractExecution) -> tuple[Minimum, Any]:
    """The minimum, and the gradient of a function of it to every tensor."""
    leaves = [t.detach().clone().requires_grad_() for t in problem.tensors()]
    adjoint = ImplicitAdjoint(execution=execution)
    found = adjoint.solve(problem.with_tensors(leaves), lambda p: minimise(p, solver))
    grads = torch.autograd.grad(found.w.square().sum(), leaves, allow_unused=True)
    return found, grads


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("kind", [LevenbergMarquardt, GaussNewton])
def test_compiled_solves_and_gradients_are_those_of_eager(kind: Any, coupling: str) -> None:
    problem, compiled = burgers(COUPLINGS[coupling]), Compiled(backend=Recorder())
    plain, plain_grads = solve(problem, kind(max_steps=80), Eager())
    found, grads = solve(problem, kind(max_steps=80, execution=compiled), compiled)
    assert torch.equal(found.status, plain.status)
    assert torch.equal(found.stats["iterations"], plain.stats["iterations"])
    torch.testing.assert_close(found.w, plain.w, rtol=1e-9, atol=1e-11)
    for a, b in zip(grads, plain_grads, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9 * float(b.abs().max()))


def test_equal_equations_and_shapes_are_compiled_once() -> None:
    recorder = Recorder()
    solver = LevenbergMarquardt(max_steps=80, execution=Compiled(backend=recorder))
    minimise(burgers(), solver)
    first = recorder.graphs
    assert first >= 2  # the first look and the step
    minimise(burgers(), solver)  # another problem object, an equal equation
    assert recorder.graphs == first
    minimise(burgers(points=41), solver)
    assert recorder.graphs > first


def test_parameters_of_the_equation_are_read_anew() -> None:
    execution = Compiled(backend=Recorder())
    solver = LevenbergMarquardt(max_steps=80, execution=execution)
    for viscosity in (0.05, 0.2):
        found = minimise(burgers(viscosity=viscosity), solver)
        plain = minimise(burgers(viscosity=viscosity), LevenbergMarquardt(max_steps=80))
        torch.testing.assert_close(found.w, plain.w, rtol=1e-9, atol=1e-11)


def _cubic(terms: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (terms[0] + 0.1 * terms[0] ** 3 - inputs[0],)


def members(spoilt: float | None = None, patches: int = 8) -> LeastSquares:
    """Independent members of which the last need more steps; the first may be spoilt."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.randn(1, patches, 12, 3, generator=generator, dtype=torch.float64)
    data = torch.randn(1, patches, 12, generator=generator, dtype=torch.float64)
    data[:, -2:] *= 300.0
    if spoilt is not None:
        basis[:, 0] = spoilt
    zero = torch.zeros(1, patches, 12, dtype=torch.float64)
    return LeastSquares((RowBlock(_cubic, (basis,), (zero,), (data,), torch.ones(1, 1, 1, dtype=torch.float64)),))


@pytest.mark.parametrize("spoilt", [None, float("nan"), 0.0])
def test_members_that_go_on_alone_are_completed_to_a_power_of_two(spoilt: float | None) -> None:
    recorder = Recorder()
    solver = LevenbergMarquardt(max_steps=60, execution=Compiled(backend=recorder))
    found = minimise(members(spoilt), solver)
    plain = minimise(members(spoilt), LevenbergMarquardt(max_steps=60))
    assert torch.equal(found.status, plain.status)
    assert torch.equal(found.stats["iterations"], plain.stats["iterations"])
    torch.testing.assert_close(found.w, plain.w, rtol=1e-9, atol=1e-11, equal_nan=True)
    if spoilt is not None and spoilt != spoilt:
        assert found.status[0, 0] == SolveStatus.NON_FINITE
    assert len(set(plain.stats["iterations"].flatten().tolist())) > 1
    assert [Compiled().size(n) for n in (1, 2, 3, 4, 5, 9)] == [1, 2, 4, 4, 8, 16]


def test_large_passes_run_as_they_are() -> None:
    recorder = Recorder()
    minimise(members(), LevenbergMarquardt(max_steps=60, execution=Compiled(backend=recorder, largest=20)))
    assert recorder.graphs == 0


def test_an_equation_that_cannot_be_hashed_is_refused() -> None:
    @dataclass
    class Rows:
        power: int = 3

        def __call__(self, terms: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return _cubic(terms, inputs)

    block = members().rows[0]
    problem = LeastSquares((RowBlock(Rows(), block.basis, block.offset, block.inputs, block.weight),))
    with pytest.raises(TypeError, match="frozen dataclass"):
        minimise(problem, LevenbergMarquardt(execution=Compiled(backend=Recorder())))


def test_a_back_end_that_fails_says_what_to_do() -> None:
    def broken(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        raise OSError("no compiler")

    with pytest.raises(RuntimeError, match=r"leave execution at Eager\(\)"):
        minimise(members(), LevenbergMarquardt(execution=Compiled(backend=broken)))


def test_graphs_are_neither_copied_nor_stored() -> None:
    execution = Compiled(largest=7)
    assert copy.deepcopy(execution) is execution
    again = pickle.loads(pickle.dumps(execution))
    assert (again.backend, again.largest) == (execution.backend, 7)


@pytest.mark.slow
def test_the_default_back_end() -> None:
    problem, compiled = burgers(COUPLINGS["interfaces"]), Compiled()
    plain, plain_grads = solve(problem, LevenbergMarquardt(max_steps=80), Eager())
    found, grads = solve(problem, LevenbergMarquardt(max_steps=80, execution=compiled), compiled)
    assert torch.equal(found.status, plain.status)
    torch.testing.assert_close(found.w, plain.w, rtol=1e-8, atol=1e-10)
    for a, b in zip(grads, plain_grads, strict=True):
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8 * float(b.abs().max()))
